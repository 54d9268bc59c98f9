from django.db import migrations, models

_FILL = """
UPDATE accounts_coverage c
   SET read_at = (SELECT max(a.last_seen_at) FROM accounts_account a WHERE a.instance_id = c.instance_id)
 WHERE c.until IS NULL;
UPDATE accounts_coverage c SET read_at = c.since WHERE c.read_at IS NULL;
UPDATE accounts_account a
   SET unobserved_since = a.last_seen_at
 WHERE a.gone_at IS NOT NULL
    OR NOT EXISTS (SELECT FROM accounts_coverage c
                    WHERE c.instance_id = a.instance_id AND c.until IS NULL AND c.read_at = a.last_seen_at);
"""

_BACK = """
UPDATE accounts_account a
   SET last_seen_at = coalesce(
       a.unobserved_since,
       (SELECT c.read_at FROM accounts_coverage c WHERE c.instance_id = a.instance_id AND c.until IS NULL));
"""


class Migration(migrations.Migration):
    """When an account was last seen is told by its instance's coverage, unless a visit did not see it: a visit that
    finds nothing new writes one row. With that no page need keep room for other versions of its rows."""

    dependencies = [("accounts", "0006_room_for_last_seen")]

    operations = [
        migrations.AddField(
            model_name="coverage",
            name="read_at",
            field=models.DateTimeField(
                help_text="When the last visit that read this much began.", null=True, verbose_name="last read"
            ),
        ),
        migrations.AddField(
            model_name="account",
            name="unobserved_since",
            field=models.DateTimeField(
                help_text="The last visit that saw it; later ones did not. Empty: all saw it.",
                null=True,
                verbose_name="not observed since",
            ),
        ),
        migrations.AlterField(
            model_name="account",
            name="last_seen_at",
            field=models.DateTimeField(null=True, verbose_name="last seen"),
        ),
        migrations.RunSQL(_FILL, _BACK),
        migrations.AlterField(
            model_name="coverage",
            name="read_at",
            field=models.DateTimeField(
                help_text="When the last visit that read this much began.", verbose_name="last read"
            ),
        ),
        migrations.RemoveField(model_name="account", name="last_seen_at"),
        migrations.RunSQL(
            "ALTER TABLE accounts_account RESET (fillfactor)", "ALTER TABLE accounts_account SET (fillfactor = 50)"
        ),
    ]
