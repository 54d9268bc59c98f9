from django.db import migrations


def install(apps, schema_editor):
    """Inactive, like the first rules: `services.activate_shipped` decides."""
    rule = apps.get_model("alerts", "AlertRule")
    made = [
        rule(name="Conflict of duties", kind="duty_conflict"),
        rule(name="Review due soon", kind="review_near", threshold=3),
    ]
    rule.objects.bulk_create(made, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0006_reviews")]

    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
