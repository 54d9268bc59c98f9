"""Records store a code and parameters; texts are made when shown. What the server said stays as it is."""

from django.db import migrations, models

#: The texts of ours that had no parameters, by code. Any other text of an earlier release stays, and is shown.
PLAIN = {
    "retired": "The instance was retired.",
    "paused": "Paused after too many failures in a row. Resume it under Health of visits, or sync it by hand.",
    "worker_lost": "The worker that ran this visit died or lost the store; nothing of it was stored.",
    "no_sizes": "No sizes in the selected periods.",
    "no_databases": "Nothing to measure: only system databases exist, or filters hide the rest.",
}

MAP = """
UPDATE {table} SET message = '' WHERE message <> '' AND (error_code, message) IN ({plain});
UPDATE {table} SET message = '', parameters = jsonb_build_object('session', substring(message FROM '\\d+')::bigint)
 WHERE error_code = 'waiting' AND message ~ '^A visit of this kind is waiting already, in session \\d+\\.$';
UPDATE {table}
   SET message = '',
       parameters = (SELECT jsonb_build_object('ending', m[1]::bigint, 'present', m[2]::bigint, 'what', m[3])
                       FROM regexp_match(message, '^(\\d+) of (\\d+) ([a-z]+)') m)
 WHERE error_code = 'suspicious_shrink'
   AND message ~ '^\\d+ of \\d+ (accounts|databases|grants) would end at once; nothing was stored\\.$';
"""


def map_texts(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        values = [value for pair in PLAIN.items() for value in pair]
        for table in ("sync_syncrecord", "sync_visithealth"):
            cursor.execute(MAP.format(table=table, plain=", ".join(["(%s, %s)"] * len(PLAIN))), values)


class Migration(migrations.Migration):

    dependencies = [
        ('sync', '0004_fewer_indexes'),
    ]

    operations = [
        migrations.RenameField(model_name='syncrecord', old_name='error', new_name='message'),
        migrations.RenameField(model_name='syncrecord', old_name='hint', new_name='advice'),
        migrations.RenameField(model_name='visithealth', old_name='error', new_name='message'),
        migrations.AlterField(
            model_name='syncrecord',
            name='message',
            field=models.TextField(blank=True, verbose_name='message'),
        ),
        migrations.AlterField(
            model_name='syncrecord',
            name='advice',
            field=models.TextField(blank=True, verbose_name='advice'),
        ),
        migrations.AlterField(
            model_name='visithealth',
            name='message',
            field=models.TextField(blank=True, verbose_name='last message'),
        ),
        migrations.AddField(
            model_name='syncrecord',
            name='parameters',
            field=models.JSONField(blank=True, default=dict, verbose_name='parameters'),
        ),
        migrations.AddField(
            model_name='visithealth',
            name='parameters',
            field=models.JSONField(blank=True, default=dict, verbose_name='parameters'),
        ),
        migrations.AlterField(
            model_name='syncsession',
            name='params',
            field=models.JSONField(blank=True, default=dict, help_text='What the session was started with besides instances.', verbose_name='parameters'),
        ),
        migrations.AlterField(
            model_name='syncsession',
            name='cancel_requested_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='cancellation requested'),
        ),
        migrations.AlterField(
            model_name='syncrecord',
            name='confirmed_count',
            field=models.PositiveIntegerField(blank=True, help_text='How many disappearances a user has accepted for this visit.', null=True, verbose_name='confirmed'),
        ),
        migrations.RunPython(map_texts, migrations.RunPython.noop),
    ]
