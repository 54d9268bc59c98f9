from email.utils import parseaddr

from django.db import migrations
from django.utils import timezone

from taifish.environment import words


def make_channel(apps, schema_editor):
    """Make TAIFISH_ALERT_EMAILS a channel, with an active rule that reports every failed visit to it."""
    addresses = [parseaddr(word)[1] or word for word in words("TAIFISH_ALERT_EMAILS")]
    if not addresses:
        return
    name = "Failed visits (TAIFISH_ALERT_EMAILS)"
    channels, rules = apps.get_model("alerts", "Channel").objects, apps.get_model("alerts", "AlertRule").objects
    while channels.filter(name=name).exists() or rules.filter(name=name).exists():
        name += "+"
    channel = channels.create(name=name, kind="email", addresses="\n".join(addresses))
    rule = rules.create(name=name, kind="visit_failed", active=True, active_since=timezone.now())
    rule.channels.add(channel)


class Migration(migrations.Migration):
    dependencies = [("taifish", "0003_identities"), ("alerts", "0003_two_more_kinds")]

    operations = [migrations.RunPython(make_channel, migrations.RunPython.noop)]
