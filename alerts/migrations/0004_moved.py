from django.db import migrations


def install(apps, schema_editor):
    """Inactive, like the first rules."""
    rule = apps.get_model("alerts", "AlertRule")
    rule.objects.bulk_create([rule(name="Instance moved", kind="moved")], ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0003_two_more_kinds")]

    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
