from django.db import migrations, models

FIELD = models.DateTimeField(help_text="Without interruption.", verbose_name="held since")


class Migration(migrations.Migration):
    """Every interval has the moment now."""

    dependencies = [("accounts", "0014_held_since")]

    operations = [
        migrations.AlterField("grant", "held_since", FIELD),
        migrations.AlterField("membership", "held_since", FIELD),
    ]
