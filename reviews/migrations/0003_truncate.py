from django.db import migrations

TABLES = ("campaign", "campaigninstance", "item", "decision", "observation", "delegation")

GUARD = """
CREATE FUNCTION reviews_guard_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM reviews_campaign WHERE state <> 'draft') THEN
        RAISE EXCEPTION 'The population is frozen: % of % is refused.', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
""" + "".join(
    f"CREATE TRIGGER reviews_truncate BEFORE TRUNCATE ON reviews_{table}"
    " FOR EACH STATEMENT EXECUTE FUNCTION reviews_guard_truncate();\n"
    # Also for sessions with session_replication_role = replica.
    f"ALTER TABLE reviews_{table} ENABLE ALWAYS TRIGGER reviews_truncate;\n"
    for table in TABLES
)

UNDO = "DROP FUNCTION reviews_guard_truncate() CASCADE"


class Migration(migrations.Migration):
    dependencies = [("reviews", "0002_guards")]
    operations = [migrations.RunSQL(GUARD, UNDO)]
