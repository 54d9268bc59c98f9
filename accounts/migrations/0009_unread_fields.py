import django.contrib.postgres.fields
from django.db import migrations, models

#: Coverage said only in the wording of its gaps which fields could not be read: MySQL named them, elsewhere the hint
#: names the view or table.
FILL = """
UPDATE accounts_coverage c
   SET unread = ARRAY(
       SELECT DISTINCT field
         FROM jsonb_array_elements(c.gaps) gap
        CROSS JOIN LATERAL (
              SELECT regexp_split_to_table(substring(gap->>'message' FROM '^could not be read: (.+)$'), ', ')
               UNION ALL SELECT unnest('{can_login,kind}'::text[]) WHERE gap->>'hint' ~ 'role_edges'
               UNION ALL SELECT 'connection_limit' WHERE gap->>'hint' ~ '_PROFILES'
               UNION ALL SELECT 'is_superuser' WHERE gap->>'hint' ~ 'PWFILE_USERS'
               UNION ALL SELECT 'is_locked' WHERE gap->>'code' = 'standby'
              ) fields(field)
        WHERE gap->>'scope' = 'account fields' AND field IS NOT NULL
        ORDER BY field)
 WHERE c.gaps @? '$[*] ? (@.scope == "account fields")'
"""

#: A first visit stored a no for what it could not read. The next visit stores again what is certain.
FORGET = """
UPDATE accounts_account a
   SET kind = CASE WHEN 'kind' = ANY(c.unread) AND a.kind <> 'public' THEN NULL ELSE a.kind END,
       can_login = CASE WHEN 'can_login' = ANY(c.unread) THEN NULL ELSE a.can_login END,
       is_locked = CASE WHEN 'is_locked' = ANY(c.unread) THEN NULL ELSE a.is_locked END,
       is_superuser = CASE WHEN 'is_superuser' = ANY(c.unread) THEN NULL ELSE a.is_superuser END,
       valid_until = CASE WHEN 'valid_until' = ANY(c.unread) THEN NULL ELSE a.valid_until END,
       password_changed_at =
           CASE WHEN 'password_changed_at' = ANY(c.unread) THEN NULL ELSE a.password_changed_at END,
       password_expired = CASE WHEN 'password_expired' = ANY(c.unread) THEN NULL ELSE a.password_expired END,
       auth_method = CASE WHEN 'auth_method' = ANY(c.unread) THEN NULL ELSE a.auth_method END,
       connection_limit = CASE WHEN 'connection_limit' = ANY(c.unread) THEN NULL ELSE a.connection_limit END
  FROM accounts_coverage c
 WHERE c.instance_id = a.instance_id AND c.until IS NULL AND c.unread <> '{}'
"""

BACK = """
UPDATE accounts_account SET kind = coalesce(kind, 'user'), auth_method = coalesce(auth_method, '')
 WHERE kind IS NULL OR auth_method IS NULL
"""


class Migration(migrations.Migration):

    dependencies = [("accounts", "0008_fewer_indexes")]

    operations = [
        migrations.AddField(
            model_name="account",
            name="last_known",
            field=models.JSONField(default=dict, editable=False),
        ),
        migrations.AddField(
            model_name="coverage",
            name="unread",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=30),
                default=list,
                size=None,
                verbose_name="unread fields of accounts",
            ),
        ),
        migrations.AlterField(
            model_name="account",
            name="auth_method",
            field=models.CharField(
                blank=True, default="", max_length=200, null=True, verbose_name="authentication"
            ),
        ),
        migrations.AlterField(
            model_name="account",
            name="kind",
            field=models.CharField(
                choices=[("user", "user"), ("role", "role"), ("public", "everyone")],
                max_length=10,
                null=True,
                verbose_name="kind",
            ),
        ),
        migrations.RunSQL([FILL, FORGET], BACK),
    ]
