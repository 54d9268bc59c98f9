from django.db import migrations


def install(apps, schema_editor):
    """Hide what the engine itself maintains; from here on the filter is people's to edit or delete."""
    apps.get_model("capacity", "DatabaseFilter").objects.create(
        pattern="*", system_only=True, note="Databases that the engine maintains for itself"
    )


class Migration(migrations.Migration):
    dependencies = [("capacity", "0001_initial")]

    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
