from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("planning", "0003_tablespaces_and_measured_volumes")]

    operations = [
        # The next run counts the instances of each total. Until then there is no forecast, as before the first run.
        migrations.RunSQL(
            "DELETE FROM planning_projection WHERE kind IN ('fleet', 'untagged', 'tag', 'volume')",
            migrations.RunSQL.noop,
        ),
        migrations.AddField("projection", "n_parts", models.IntegerField(default=0)),
        migrations.AddField("projection", "n_sized", models.IntegerField(default=0)),
    ]
