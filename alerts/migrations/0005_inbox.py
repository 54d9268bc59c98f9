import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

#: Name, kind and threshold of two more rules.
RULES = [("Account expires", "account_expires", 14), ("Password expired", "password_expired", None)]


def install(apps, schema_editor):
    """Inactive, like the first rules: `services.activate_shipped` decides."""
    rule = apps.get_model("alerts", "AlertRule")
    new = [rule(name=name, kind=kind, threshold=threshold) for name, kind, threshold in RULES]
    rule.objects.bulk_create(new, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0004_moved"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="channel",
            name="daily",
            field=models.BooleanField(
                default=True,
                help_text="For e-mail: once a day, new alerts and the number of open ones. Sent also if there is none.",
                verbose_name="daily summary",
            ),
        ),
        migrations.CreateModel(
            name="ReadAlert",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "alert",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="read_by",
                        to="alerts.alert",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="readalert",
            constraint=models.UniqueConstraint(fields=("alert", "user"), name="alert_read_once"),
        ),
        migrations.RunPython(install, migrations.RunPython.noop),
    ]
