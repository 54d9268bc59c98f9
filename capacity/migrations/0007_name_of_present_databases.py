from django.db import migrations, models


class Migration(migrations.Migration):
    """The name of a database that is gone may be given to another one."""

    dependencies = [("capacity", "0006_tables_counted_elsewhere")]

    operations = [
        migrations.RemoveConstraint("database", "database_once"),
        migrations.AddConstraint(
            "database",
            models.UniqueConstraint(
                condition=models.Q(("gone_at", None)), fields=("instance", "name"), name="database_once"
            ),
        ),
        migrations.AddIndex("database", models.Index(fields=["instance", "name"], name="database_by_name")),
    ]
