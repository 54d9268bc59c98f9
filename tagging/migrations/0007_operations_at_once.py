from django.db import migrations, models
from django.db.models.functions import Now

# What a worker would have done, and the outcome of each pair.
FINISH = """
WITH judged AS (
    SELECT p.instance_id, p.tag_id,
           CASE WHEN i.id IS NULL OR t.id IS NULL THEN 'unknown'
                WHEN i.retired_at IS NOT NULL THEN 'retired'
                WHEN %(action)s = 'assign' AND NOT t.active THEN 'inactive'
                WHEN %(action)s = 'assign' THEN CASE WHEN x.id IS NULL THEN 'added' ELSE 'already_there' END
                ELSE CASE WHEN x.id IS NULL THEN 'not_there' ELSE 'removed' END END AS outcome
      FROM (SELECT * FROM unnest(%(instances)s::bigint[]) instance_id, unnest(%(tags)s::bigint[]) tag_id) p
      LEFT JOIN instances_instance i ON i.id = p.instance_id
      LEFT JOIN tagging_tag t ON t.id = p.tag_id
      LEFT JOIN tagging_instancetag x ON x.instance_id = p.instance_id AND x.tag_id = p.tag_id
), added AS (
    INSERT INTO tagging_instancetag (instance_id, tag_id, added_at, added_by_id)
    SELECT instance_id, tag_id, now(), %(user)s FROM judged WHERE outcome = 'added'
), removed AS (
    DELETE FROM tagging_instancetag x USING judged j
     WHERE j.outcome = 'removed' AND x.instance_id = j.instance_id AND x.tag_id = j.tag_id
)
SELECT outcome, tag_id, array_agg(instance_id ORDER BY instance_id) FROM judged GROUP BY 1, 2 ORDER BY 1, 2
"""


def finish(apps, schema_editor):
    """Do what was left to a worker: operations of more than 100,000 pairs. Few are open at a time, as a rule none."""
    operations = apps.get_model("tagging", "TagOperation").objects.filter(finished_at=None).order_by("pk")
    for operation in operations:
        outcomes = {}
        for block in operation.asked:
            with schema_editor.connection.cursor() as cursor:
                values = {**block, "action": operation.action, "user": operation.requested_by_id}
                cursor.execute(FINISH, values)
                for outcome, tag, instances in cursor.fetchall():
                    outcomes.setdefault(outcome, []).append({"tags": [tag], "instances": instances})
        operations.filter(pk=operation.pk).update(outcomes=outcomes, finished_at=Now())
    with schema_editor.connection.cursor() as cursor:
        # The table cannot be altered while checks of its rows are due.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def drop_schedule(apps, schema_editor):
    apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(task="tagging.resume").delete()


class Migration(migrations.Migration):

    dependencies = [
        ("tagging", "0006_limits"),
        ("instances", "0005_choices_by_function"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [
        migrations.RunPython(finish, migrations.RunPython.noop),
        migrations.RunPython(drop_schedule, migrations.RunPython.noop),
        migrations.RemoveIndex(model_name="tagoperation", name="tag_operation_waiting"),
        migrations.RemoveField(model_name="tagoperation", name="asked"),
        migrations.AlterField(
            model_name="tagoperation",
            name="finished_at",
            field=models.DateTimeField(verbose_name="done"),
        ),
    ]
