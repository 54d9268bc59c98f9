import django.db.models.deletion
from django.db import migrations, models

GUARD = """
CREATE FUNCTION reviews_guard_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        RAISE EXCEPTION 'Time stamps are append-only: % of % is refused.', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT reviews_is(NEW.campaign_id, '{sealed}') THEN
        RAISE EXCEPTION 'The campaign is not sealed: INSERT into % is refused.', TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER reviews_guard BEFORE INSERT OR UPDATE OR DELETE ON reviews_stamp
    FOR EACH ROW EXECUTE FUNCTION reviews_guard_stamp();
CREATE TRIGGER reviews_truncate BEFORE TRUNCATE ON reviews_stamp
    FOR EACH STATEMENT EXECUTE FUNCTION reviews_guard_truncate();
-- Also for sessions with session_replication_role = replica.
ALTER TABLE reviews_stamp ENABLE ALWAYS TRIGGER reviews_guard, ENABLE ALWAYS TRIGGER reviews_truncate;
"""

UNDO = "DROP FUNCTION reviews_guard_stamp() CASCADE"


class Migration(migrations.Migration):
    dependencies = [("reviews", "0004_known_from")]
    operations = [
        migrations.CreateModel(
            name="Stamp",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sha256", models.CharField(max_length=64)),
                ("token", models.BinaryField()),
                ("at", models.DateTimeField(verbose_name="time stamp")),
                ("authority", models.TextField(verbose_name="time stamp authority")),
                (
                    "campaign",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="stamps",
                        to="reviews.campaign",
                    ),
                ),
            ],
            options={
                "verbose_name": "time stamp",
                "verbose_name_plural": "time stamps",
                "ordering": ["pk"],
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("campaign", "sha256"), name="stamp_of_manifest_once")
                ],
            },
        ),
        migrations.RunSQL(GUARD, UNDO),
    ]
