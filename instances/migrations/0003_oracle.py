from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("instances", "0002_use_credential"),
    ]

    operations = [
        migrations.AlterField(
            model_name="instance",
            name="database",
            field=models.CharField(
                blank=True,
                help_text="Maintenance database to connect to. Empty: the engine's default. Oracle: the service, which is required.",
                max_length=128,
                verbose_name="database",
            ),
        ),
        migrations.AlterField(
            model_name="instance",
            name="engine",
            field=models.CharField(
                choices=[
                    ("postgresql", "PostgreSQL"),
                    ("mysql", "MySQL / MariaDB"),
                    ("oracle", "Oracle (verified against an emulated dictionary)"),
                ],
                max_length=20,
                verbose_name="engine",
            ),
        ),
    ]
