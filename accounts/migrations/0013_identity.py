from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models import Q

ENDED = [
    ("revoked", "revoked"),
    ("dropped", "account or object dropped"),
    ("changed", "continued with other options, grantors or another name"),
    ("unrecorded", "no longer recorded"),
]
EVENTS = [
    ("appeared", "appeared"),
    ("disappeared", "disappeared"),
    ("reappeared", "reappeared"),
    ("recreated", "dropped and created anew"),
    ("locked", "locked"),
    ("unlocked", "unlocked"),
    ("attributes", "attributes changed"),
    ("privileges", "privileges changed"),
    ("memberships", "memberships changed"),
    ("renamed", "renamed"),
    ("probably_renamed", "probably renamed"),
    ("expired", "expired"),
    ("password", "password changed"),
    ("end_date", "end date changed"),
    ("options", "options changed"),
    ("grantors", "grantors changed"),
    ("objects", "objects renamed"),
]


def of_intervals(model):
    """The new columns of an interval. All are null at first, so that no row is rewritten here."""
    return [
        migrations.AddField(
            model, "grantors", ArrayField(models.TextField(), null=True, size=None, verbose_name="granted by")
        ),
        migrations.AddField(
            model,
            "held_since",
            models.DateTimeField(help_text="Without interruption.", null=True, verbose_name="held since"),
        ),
        migrations.AddField(
            model, "ended", models.CharField(choices=ENDED, max_length=10, null=True, verbose_name="ended because")
        ),
    ]


class Migration(migrations.Migration):
    """Room for what identifies objects, for grantors, and for when possession began."""

    dependencies = [("accounts", "0012_last_login"), ("instances", "0005_choices_by_function")]

    operations = [
        migrations.RemoveConstraint("account", "account_once"),
        migrations.AddIndex(
            "account", models.Index(fields=["instance", "name", "host"], name="account_of_instance")
        ),
        migrations.AddConstraint(
            "account",
            models.UniqueConstraint(
                fields=["instance", "name", "host"], condition=Q(gone_at=None), name="account_once_now"
            ),
        ),
        migrations.AddField("grant", "object_id", models.TextField(null=True, verbose_name="id of the object")),
        *of_intervals("grant"),
        *of_intervals("membership"),
        migrations.AlterField(
            "accountchange",
            "events",
            ArrayField(models.CharField(choices=EVENTS, max_length=20), size=None, verbose_name="events"),
        ),
    ]
