from django.db import migrations

#: Whoever writes a size, by whatever way, leaves its day to be aggregated again. Deleting does not: what is no longer
#: kept stays in the aggregates.
NOTE = """
CREATE SEQUENCE aggregation_changedday_version;

CREATE FUNCTION aggregation_note_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aggregation_changedday (instance_id, day, version)
    SELECT instance_id, day, nextval('aggregation_changedday_version')
      FROM (SELECT DISTINCT d.instance_id, c.day
              FROM changed c JOIN capacity_database d ON d.id = c.database_id ORDER BY 1, 2) days
        ON CONFLICT (instance_id, day) DO UPDATE SET version = excluded.version;
    RETURN NULL;
END $$;

CREATE FUNCTION aggregation_note_totals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO aggregation_changedday (instance_id, day, version)
    SELECT instance_id, day, nextval('aggregation_changedday_version') FROM changed ORDER BY 1, 2
        ON CONFLICT (instance_id, day) DO UPDATE SET version = excluded.version;
    RETURN NULL;
END $$;

CREATE TRIGGER aggregation_size_added AFTER INSERT ON capacity_databasesize
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION aggregation_note_days();
CREATE TRIGGER aggregation_size_corrected AFTER UPDATE ON capacity_databasesize
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION aggregation_note_days();
CREATE TRIGGER aggregation_total_added AFTER INSERT ON capacity_instancesize
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION aggregation_note_totals();
CREATE TRIGGER aggregation_total_corrected AFTER UPDATE ON capacity_instancesize
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION aggregation_note_totals();

-- What was collected before there was anybody to aggregate it.
INSERT INTO aggregation_changedday (instance_id, day, version)
SELECT instance_id, day, nextval('aggregation_changedday_version') FROM capacity_instancesize;
"""

UNDO = """
DROP FUNCTION aggregation_note_days() CASCADE;
DROP FUNCTION aggregation_note_totals() CASCADE;
DROP SEQUENCE aggregation_changedday_version;
"""


class Migration(migrations.Migration):
    dependencies = [("aggregation", "0001_initial"), ("capacity", "0002_default_filters")]

    operations = [migrations.RunSQL(NOTE, UNDO)]
