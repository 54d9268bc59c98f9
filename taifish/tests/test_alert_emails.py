"""F1.4: the addresses of TAIFISH_ALERT_EMAILS keep getting every failed visit, by a channel and a rule."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.core import mail
from django.core.checks import run_checks
from django.core.management import call_command
from django.utils import timezone

from alerts import services
from alerts.models import AlertRule, Channel
from instances.models import Credential, Instance
from sync.models import VisitHealth

SETTING = "TAIFISH_ALERT_EMAILS"


def upgrade() -> None:
    """From the migration before."""
    call_command("migrate", "taifish", "0003", verbosity=0)
    call_command("migrate", verbosity=0)


def failed(instance: Instance, **fields: object) -> None:
    values = {"failures": 1, "failed_at": timezone.now(), "error_code": "unreachable", "message": "no route"} | fields
    VisitHealth.objects.update_or_create(instance=instance, kind="accounts", defaults=values)


def test_the_same_people_get_every_failed_visit(transactional_db, monkeypatch):
    credential = Credential.objects.create(name="c", username="u")
    instance = Instance.objects.create(name="pg", engine="postgresql", host="pg", credential=credential)
    failed(instance, failed_at=timezone.now() - timedelta(days=1))
    monkeypatch.setenv(SETTING, " dba@example.com, On call <night@example.com>,")
    upgrade()
    (channel,) = Channel.objects.all()
    (rule,) = AlertRule.objects.filter(active=True)
    for row in (channel, rule):
        row.full_clean()
    assert (channel.recipients, list(rule.channels.all())) == (["dba@example.com", "night@example.com"], [channel])
    # Mails about earlier failures were sent before the upgrade.
    services.evaluate()
    assert services.deliver() == {}
    for failures in (2, 3):
        failed(instance, failures=failures, failed_at=timezone.now())
        services.evaluate()
        assert services.deliver() == {"sent": 1}
    # A catch-up: the streak does not grow.
    failed(instance, failures=3, failed_at=timezone.now())
    services.evaluate()
    services.deliver()
    assert [message.to for message in mail.outbox] == [["dba@example.com", "night@example.com"]] * 3
    assert "- pg: visits of the kind “Accounts” failed at " in mail.outbox[0].body


def test_nothing_is_made_without_the_setting(transactional_db, monkeypatch):
    monkeypatch.delenv(SETTING, raising=False)
    upgrade()
    assert not Channel.objects.exists()
    assert not AlertRule.objects.filter(active=True).exists()


def test_names_that_are_taken_do_not_stop_the_upgrade(transactional_db, monkeypatch, tmp_path: Path):
    name = "Failed visits (TAIFISH_ALERT_EMAILS)"
    other = Channel.objects.create(name=name, kind="email", addresses="other@example.com")
    (tmp_path / "addresses").write_text("dba@example.com\n")
    monkeypatch.delenv(SETTING, raising=False)
    monkeypatch.setenv(f"{SETTING}_FILE", str(tmp_path / "addresses"))
    upgrade()
    assert Channel.objects.exclude(pk=other.pk).get().recipients == ["dba@example.com"]
    other.refresh_from_db()
    assert other.addresses == "other@example.com"


@pytest.mark.parametrize("value", ["", "dba@example.com"])
def test_the_check_says_where_the_setting_went(monkeypatch, value):
    monkeypatch.setenv(SETTING, value)
    found = [message for message in run_checks(include_deployment_checks=True) if message.id == "taifish.W003"]
    assert [("Alert channels" in message.hint) for message in found] == ([True] if value else [])
    assert all(message.id != "taifish.W003" for message in run_checks())
