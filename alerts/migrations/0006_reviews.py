from django.db import migrations

#: Name, kind and threshold of the rules about owners, drift and reviews.
RULES = [
    ("End date near", "end_date_near", 14),
    ("End date passed", "end_date_passed", None),
    ("Drift", "drift", None),
    ("Review overdue", "review_due", None),
]


def install(apps, schema_editor):
    """Inactive, like the first rules: `services.activate_shipped` decides."""
    rule = apps.get_model("alerts", "AlertRule")
    new = [rule(name=name, kind=kind, threshold=threshold) for name, kind, threshold in RULES]
    rule.objects.bulk_create(new, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0005_inbox")]

    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
