from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("instances", "0001_initial")]

    operations = [
        migrations.AlterModelOptions(
            name="credential",
            options={
                "ordering": ["name"],
                "permissions": [("use_credential", "Can say where a stored password is sent")],
                "verbose_name": "credential",
                "verbose_name_plural": "credentials",
            },
        ),
    ]
