from django.db import migrations

GUARD = """
CREATE FUNCTION reviews_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Reviews are append-only: % of % is refused.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'Make another decision: the last one counts.';
END $$;
CREATE FUNCTION reviews_is(campaign bigint, states text[]) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM reviews_campaign WHERE id = campaign AND state = ANY(states))
$$;
CREATE FUNCTION reviews_guard_campaign() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'sealed' THEN
        RAISE EXCEPTION 'The campaign is sealed: % is refused.', TG_OP USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'DELETE' THEN
        IF OLD.state <> 'draft' THEN
            RAISE EXCEPTION 'Only drafts can be deleted.' USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION reviews_guard_part() RETURNS trigger LANGUAGE plpgsql AS $$
-- Arguments: columns that change while the campaign runs.
DECLARE
    was jsonb := to_jsonb(OLD);
    is_now jsonb;
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- Of a draft that is deleted, its row is gone by now.
        IF reviews_is(OLD.campaign_id, '{running,closed,acknowledged,sealed}') THEN
            RAISE EXCEPTION 'The population is frozen: % of % is refused.', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN OLD;
    END IF;
    is_now := to_jsonb(NEW);
    IF (was - TG_ARGV::text[]) <> (is_now - TG_ARGV::text[]) OR NOT reviews_is(OLD.campaign_id, '{running}') THEN
        RAISE EXCEPTION 'The population is frozen: % of % is refused.', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION reviews_guard_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT reviews_is(NEW.campaign_id, '{draft,running}') THEN
        RAISE EXCEPTION 'The campaign is closed: INSERT into % is refused.', TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION reviews_guard_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM decided d JOIN reviews_item i ON i.id = d.item_id WHERE i.reviewed_id = d.by_id) THEN
        RAISE EXCEPTION 'No user decides about their own account.' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM decided d JOIN reviews_item i ON i.id = d.item_id
                 JOIN reviews_campaign c ON c.id = i.campaign_id WHERE c.state <> 'running') THEN
        RAISE EXCEPTION 'The campaign is not running.' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reviews_guard BEFORE UPDATE OR DELETE ON reviews_campaign
    FOR EACH ROW EXECUTE FUNCTION reviews_guard_campaign();
CREATE TRIGGER reviews_guard BEFORE UPDATE OR DELETE ON reviews_campaigninstance
    FOR EACH ROW EXECUTE FUNCTION reviews_guard_part('n_left_out');
CREATE TRIGGER reviews_guard BEFORE UPDATE OR DELETE ON reviews_item
    FOR EACH ROW EXECUTE FUNCTION reviews_guard_part('reviewer_id', 'verdict');
CREATE TRIGGER reviews_guard_new BEFORE INSERT ON reviews_item FOR EACH ROW EXECUTE FUNCTION reviews_guard_new();
CREATE TRIGGER reviews_guard_new BEFORE INSERT ON reviews_campaigninstance
    FOR EACH ROW EXECUTE FUNCTION reviews_guard_new();
CREATE TRIGGER reviews_guard_new BEFORE INSERT ON reviews_delegation
    FOR EACH ROW EXECUTE FUNCTION reviews_guard_new();
CREATE TRIGGER reviews_guard AFTER INSERT ON reviews_decision REFERENCING NEW TABLE AS decided
    FOR EACH STATEMENT EXECUTE FUNCTION reviews_guard_decision();
CREATE TRIGGER reviews_refuse BEFORE UPDATE OR DELETE ON reviews_decision
    FOR EACH ROW EXECUTE FUNCTION reviews_refuse();
CREATE TRIGGER reviews_refuse BEFORE UPDATE OR DELETE ON reviews_observation
    FOR EACH ROW EXECUTE FUNCTION reviews_refuse();
CREATE TRIGGER reviews_refuse BEFORE UPDATE OR DELETE ON reviews_delegation
    FOR EACH ROW EXECUTE FUNCTION reviews_refuse();
-- Also for sessions with session_replication_role = replica.
ALTER TABLE reviews_campaign ENABLE ALWAYS TRIGGER reviews_guard;
ALTER TABLE reviews_campaigninstance ENABLE ALWAYS TRIGGER reviews_guard, ENABLE ALWAYS TRIGGER reviews_guard_new;
ALTER TABLE reviews_item ENABLE ALWAYS TRIGGER reviews_guard, ENABLE ALWAYS TRIGGER reviews_guard_new;
ALTER TABLE reviews_decision ENABLE ALWAYS TRIGGER reviews_guard, ENABLE ALWAYS TRIGGER reviews_refuse;
ALTER TABLE reviews_observation ENABLE ALWAYS TRIGGER reviews_refuse;
ALTER TABLE reviews_delegation ENABLE ALWAYS TRIGGER reviews_refuse, ENABLE ALWAYS TRIGGER reviews_guard_new;
"""

UNDO = """
DROP FUNCTION reviews_refuse() CASCADE;
DROP FUNCTION reviews_guard_campaign() CASCADE;
DROP FUNCTION reviews_guard_part() CASCADE;
DROP FUNCTION reviews_guard_new() CASCADE;
DROP FUNCTION reviews_guard_decision() CASCADE;
DROP FUNCTION reviews_is(bigint, text[]);
"""


class Migration(migrations.Migration):
    dependencies = [("reviews", "0001_campaigns")]
    operations = [migrations.RunSQL(GUARD, UNDO)]
