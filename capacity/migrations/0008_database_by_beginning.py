from django.db import migrations, models
from django.db.models.functions import Collate, Upper


class Migration(migrations.Migration):
    """An index of names, which Search looks up by their beginning."""

    dependencies = [("capacity", "0007_name_of_present_databases")]

    operations = [
        migrations.AddIndex("database", models.Index(Collate(Upper("name"), "C"), name="database_by_beginning"))
    ]
