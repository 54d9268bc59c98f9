from django.db import migrations

#: Name, kind, threshold, bytes at least. All are switched off. People's from then on: edited or deleted, they are never
#: put back.
RULES = [
    ("Visits keep failing", "failing", 3, None),
    ("Visits are paused", "paused", None, None),
    ("New superuser", "new_superuser", None, None),
    ("Privileges changed", "privilege_changes", 1, None),
    ("Abnormal growth", "growth", 50, 10 * 1024**3),
    ("Size limit near", "limit_near", 30, None),
    ("Nothing collected yesterday", "nothing_collected", None, None),
    ("Schedule late", "schedule_late", None, None),
]


def install(apps, schema_editor):
    rule = apps.get_model("alerts", "AlertRule")
    rule.objects.bulk_create(
        [
            rule(name=name, kind=kind, threshold=threshold, min_bytes=min_bytes)
            for name, kind, threshold, min_bytes in RULES
        ],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("alerts", "0001_initial")]

    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
