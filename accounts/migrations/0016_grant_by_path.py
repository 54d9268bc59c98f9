from django.db import migrations, models
from django.db.models.functions import Collate, Left, Lower


class Migration(migrations.Migration):
    """An index of paths, which Who can completes. Takes seconds on two million grants."""

    dependencies = [("accounts", "0015_held_since_known")]

    operations = [
        migrations.AddIndex(
            "grant", models.Index(Collate(Lower(Left("scope", 200)), "C"), name="grant_by_path")
        )
    ]
