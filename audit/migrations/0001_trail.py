import django.db.models.functions.datetime
from django.db import migrations, models

#: The lock that writers share and forwarding takes alone: ids up to the greatest are then committed.
LOCK = "hashtext('taifish audit trail')"

TABLE = """
CREATE TABLE audit_event (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    kind varchar(20) NOT NULL,
    door varchar(10) NOT NULL,
    user_id bigint,
    user_name text NOT NULL DEFAULT '',
    address inet,
    request varchar(36) NOT NULL DEFAULT '',
    command text NOT NULL DEFAULT '',
    model varchar(100) NOT NULL DEFAULT '',
    object_id varchar(100) NOT NULL DEFAULT '',
    object text NOT NULL DEFAULT '',
    instance_id bigint,
    before jsonb,
    after jsonb
);
CREATE SEQUENCE audit_event_id_seq OWNED BY audit_event.id;
CREATE INDEX audit_event_at ON audit_event (at);
CREATE INDEX audit_event_kind ON audit_event (kind, id);
CREATE INDEX audit_event_door ON audit_event (door, id);
CREATE INDEX audit_event_user ON audit_event (user_name, id);
CREATE INDEX audit_event_object ON audit_event (model, object_id, id);
CREATE INDEX audit_event_login ON audit_event (address, at) WHERE kind = 'login';
CREATE INDEX audit_event_instance ON audit_event (instance_id, id) WHERE instance_id IS NOT NULL;
"""

STAMP = f"""
CREATE FUNCTION audit_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
-- Time and origin are not for the client to say. The id comes after the lock: see audit/forward.py.
DECLARE
    origin jsonb := nullif(current_setting('taifish.origin', true), '')::jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock_shared({LOCK});
    NEW.id := nextval('audit_event_id_seq');
    NEW.at := clock_timestamp();
    NEW.door := coalesce(origin ->> 'door', 'database');
    NEW.address := (origin ->> 'address')::inet;
    NEW.request := coalesce(origin ->> 'request', '');
    NEW.command := coalesce(origin ->> 'command', '');
    IF NEW.user_name = '' THEN
        NEW.user_id := (origin ->> 'user_id')::bigint;
        NEW.user_name := coalesce(origin ->> 'user_name', session_user);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_stamp BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_stamp();
"""

TRACK = """
CREATE FUNCTION audit_track() RETURNS trigger LANGUAGE plpgsql AS $$
-- Arguments: model; columns; secrets as column=word; SQL about the row r: name, instance, whether it is written.
DECLARE
    old_row jsonb := '{}';
    new_row jsonb := '{}';
    before jsonb;
    after jsonb;
    secret text[];
    was text;
    is_now text;
    called text;
    instance bigint;
    written boolean;
BEGIN
    IF TG_OP <> 'INSERT' THEN old_row := to_jsonb(OLD); END IF;
    IF TG_OP <> 'DELETE' THEN new_row := to_jsonb(NEW); END IF;
    SELECT coalesce(jsonb_object_agg(name, old_row -> name), '{}'), coalesce(jsonb_object_agg(name, new_row -> name), '{}')
      INTO before, after
      FROM unnest(string_to_array(TG_ARGV[1], ',')) name
     WHERE TG_OP <> 'UPDATE' OR old_row -> name IS DISTINCT FROM new_row -> name;
    FOR secret IN SELECT string_to_array(pair, '=') FROM unnest(string_to_array(TG_ARGV[2], ',')) pair LOOP
        was := coalesce(old_row ->> secret[1], '');
        is_now := coalesce(new_row ->> secret[1], '');
        IF was <> is_now THEN
            before := before || jsonb_build_object(secret[2], CASE was WHEN '' THEN NULL ELSE 'set' END);
            after := after || jsonb_build_object(
                secret[2], CASE WHEN is_now = '' THEN 'removed' WHEN was = '' THEN 'set' ELSE 'changed' END
            );
        END IF;
    END LOOP;
    IF TG_OP = 'UPDATE' AND after = '{}' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        EXECUTE 'SELECT ' || TG_ARGV[3] || ' FROM (SELECT $1.*) r' INTO called, instance, written USING OLD;
    ELSE
        EXECUTE 'SELECT ' || TG_ARGV[3] || ' FROM (SELECT $1.*) r' INTO called, instance, written USING NEW;
    END IF;
    IF written THEN
        INSERT INTO audit_event (kind, model, object_id, object, instance_id, before, after)
        VALUES (
            lower(TG_OP), TG_ARGV[0], coalesce(new_row ->> 'id', old_row ->> 'id', ''), left(coalesce(called, ''), 500),
            instance,
            CASE WHEN TG_OP <> 'INSERT' THEN before END, CASE WHEN TG_OP <> 'DELETE' THEN after END
        );
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION audit_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_event (kind, model) VALUES ('truncate', TG_ARGV[0]);
    RETURN NULL;
END $$;
"""

GUARD = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit trail is append-only: % is refused.', TG_OP
        USING ERRCODE = 'insufficient_privilege', HINT = 'Old events are removed by manage.py prune_audit only.';
END $$;
CREATE FUNCTION audit_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
-- Only what an event of the same transaction says that it removes, and no such event.
BEGIN
    IF EXISTS (
        SELECT FROM gone
         WHERE gone.kind = 'prune' OR NOT EXISTS (
             SELECT FROM audit_event pruned
              WHERE pruned.kind = 'prune' AND pruned.at >= now()
                AND pruned.after ->> 'transaction' = txid_current()::text
                AND gone.at < (pruned.after ->> 'until')::timestamptz)
    ) THEN
        RAISE EXCEPTION 'The audit trail is append-only: % is refused.', TG_OP
            USING ERRCODE = 'insufficient_privilege', HINT = 'Old events are removed by manage.py prune_audit only.';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_refuse BEFORE UPDATE OR TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_refuse_delete AFTER DELETE ON audit_event REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_delete();
-- Also for sessions with session_replication_role = replica.
ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_stamp, ENABLE ALWAYS TRIGGER audit_refuse,
    ENABLE ALWAYS TRIGGER audit_refuse_delete;
"""

ORDER = """
CREATE FUNCTION audit_order() RETURNS trigger LANGUAGE plpgsql AS $$
-- For a table that is forwarded too: its ids are assigned after the lock that is named by the argument.
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext(TG_ARGV[0]));
    RETURN NULL;
END $$;
"""

UNDO = """
DROP TABLE audit_event;
DROP FUNCTION audit_track() CASCADE;
DROP FUNCTION audit_truncate() CASCADE;
DROP FUNCTION audit_stamp();
DROP FUNCTION audit_refuse();
DROP FUNCTION audit_refuse_delete();
DROP FUNCTION audit_order() CASCADE;
"""


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.RunSQL(TABLE + STAMP + TRACK + GUARD + ORDER, UNDO),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', models.BigIntegerField(db_default=0, primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='time')),
                ('kind', models.CharField(choices=[('insert', 'added'), ('update', 'changed'), ('delete', 'deleted'), ('truncate', 'all rows deleted'), ('login', 'login'), ('failed_login', 'failed login'), ('locked_login', 'locked login'), ('logout', 'logout'), ('token_use', 'use of a token'), ('export', 'export'), ('decision', 'decision'), ('command', 'command'), ('prune', 'events removed')], max_length=20, verbose_name='kind')),
                ('door', models.CharField(choices=[('admin', 'admin'), ('api', 'API'), ('command', 'command'), ('shell', 'shell'), ('worker', 'worker'), ('database', 'database')], default='', max_length=10, verbose_name='door')),
                ('user_id', models.BigIntegerField(null=True, verbose_name='user id')),
                ('user_name', models.TextField(default='', help_text='The user; of commands the user of the machine, of SQL the role.', verbose_name='person')),
                ('address', models.GenericIPAddressField(null=True, verbose_name='address')),
                ('request', models.CharField(default='', max_length=36, verbose_name='request')),
                ('command', models.TextField(default='', verbose_name='command or task')),
                ('model', models.CharField(default='', max_length=100, verbose_name='object type')),
                ('object_id', models.CharField(default='', max_length=100, verbose_name='object id')),
                ('object', models.TextField(default='', verbose_name='object')),
                ('instance_id', models.BigIntegerField(null=True, verbose_name='instance id')),
                ('before', models.JSONField(null=True, verbose_name='old values')),
                ('after', models.JSONField(null=True, verbose_name='new values')),
            ],
            options={
                'verbose_name': 'audit event',
                'verbose_name_plural': 'audit trail',
                'ordering': ['-id'],
                'managed': False,
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='Position',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('stream', models.CharField(max_length=50, unique=True)),
                ('last_id', models.BigIntegerField(default=0)),
            ],
            options={
                'verbose_name': 'position of forwarding',
                'verbose_name_plural': 'positions of forwarding',
                'default_permissions': (),
            },
        ),
    ]
