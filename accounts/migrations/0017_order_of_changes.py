from django.db import migrations

#: Ids of changes are assigned under a lock, so that they can be forwarded in their order: audit/forwarding.py.
TRIGGER = """
CREATE TRIGGER audit_order BEFORE INSERT ON accounts_accountchange
    FOR EACH STATEMENT EXECUTE FUNCTION audit_order('taifish account changes')
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0016_grant_by_path"),
        ("audit", "0001_trail"),
    ]

    operations = [
        migrations.RunSQL(TRIGGER, "DROP TRIGGER audit_order ON accounts_accountchange"),
    ]
