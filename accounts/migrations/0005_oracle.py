from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_filter_fields"),
    ]

    operations = [
        migrations.AlterField(
            model_name="accountfilter",
            name="engine",
            field=models.CharField(
                blank=True,
                choices=[
                    ("postgresql", "PostgreSQL"),
                    ("mysql", "MySQL / MariaDB"),
                    ("oracle", "Oracle (verified against an emulated dictionary)"),
                ],
                help_text="Empty: all engines.",
                max_length=20,
                verbose_name="engine",
            ),
        ),
        migrations.AlterField(
            model_name="grant",
            name="kind",
            field=models.CharField(
                choices=[
                    ("system", "system"),
                    ("attribute", "attribute"),
                    ("parameter", "parameter"),
                    ("tablespace", "tablespace"),
                    ("database", "database"),
                    ("schema", "schema"),
                    ("table", "table"),
                    ("sequence", "sequence"),
                    ("routine", "routine"),
                    ("type", "type"),
                    ("language", "language"),
                    ("foreign", "foreign"),
                    ("large_object", "large_object"),
                    ("object", "object"),
                    ("default", "default"),
                    ("column", "column"),
                    ("proxy", "proxy"),
                ],
                max_length=20,
                verbose_name="kind",
            ),
        ),
    ]
