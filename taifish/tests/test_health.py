"""F2.8: health is red when something did not run."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from alerts.models import Channel, Delivery
from capacity.tests.stored import database, total
from instances.models import Credential, Instance
from instances.tests.pages import superstaff
from sync.models import SyncRecord, SyncSession
from taifish import schedules
from taifish.health import checks


@pytest.fixture
def running(db: None) -> Instance:
    """Everything as it is where all goes well."""
    credential = Credential.objects.create(name="c", username="u")
    instance = Instance.objects.create(name="pg", engine="postgresql", host="pg", credential=credential)
    Instance.objects.update(created_at=timezone.now() - timedelta(days=9))
    PeriodicTask.objects.all().delete()
    schedules.install()
    PeriodicTask.objects.update(last_run_at=timezone.now())
    total(instance, 1, ago=1)
    return instance


def red() -> set[str]:
    return {check.name for check in checks() if not check.ok}


def test_all_is_well(running, django_assert_num_queries):
    assert red() == set()
    with django_assert_num_queries(13):
        checks()
    page = superstaff().get(reverse("health")).content.decode()
    assert "not well" not in page


def test_a_dead_scheduler(running):
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(hours=2))
    assert {"Scheduler", "Schedules"} <= red()
    assert "Reap lost visits" in next(check.text for check in checks() if check.name == "Schedules")
    assert "Start the scheduler" in superstaff().get(reverse("health")).content.decode()
    PeriodicTask.objects.update(last_run_at=None, date_changed=timezone.now() - timedelta(days=2))
    assert {"Scheduler", "Schedules"} <= red()


def test_one_schedule_that_does_not_run(running):
    PeriodicTask.objects.filter(task="capacity.purge").update(last_run_at=timezone.now() - timedelta(days=3))
    assert red() == {"Schedules"}
    PeriodicTask.objects.filter(task="capacity.purge").update(enabled=False)
    assert red() == set()


def test_nothing_collected(running):
    running.sizes.update(day=timezone.localdate() - timedelta(days=3))
    assert red() == {"Last collection"}
    Instance.objects.update(created_at=timezone.now())
    assert red() == set()


def test_no_worker(running):
    session = SyncSession.objects.create(kind="capacity", trigger="schedule")
    record = SyncRecord.objects.create(session=session, instance=running, kind="capacity")
    assert red() == set()
    SyncSession.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert red() == {"Workers"}
    record.status = "running"
    record.save()
    assert red() == set()


def test_an_alert_that_nobody_got(running):
    channel = Channel.objects.create(name="dba", kind="email", addresses="dba@example.com")
    Delivery.objects.create(channel=channel, digest={}, status="failed", is_test=True)
    Delivery.objects.create(channel=channel, digest={}, status="pending", attempts=3)
    assert red() == set()
    Delivery.objects.filter(is_test=False).update(status="failed")
    assert red() == {"Alerts not delivered"}
    Delivery.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert red() == set()


def test_what_should_have_been_deleted(running):
    day = timezone.localdate() - timedelta(days=settings.TAIFISH_KEEP_SIZES_DAYS + 3)
    database(running, "shop", 1, size_day=day)
    assert red() == {"Old sizes"}
    old = timezone.now() - timedelta(days=settings.TAIFISH_KEEP_SESSIONS_DAYS + 3)
    SyncSession.objects.create(kind="capacity", trigger="schedule", status="completed", finished_at=old)
    assert red() == {"Old sizes", "Old sessions"}


def test_probes_ask_by_ip_and_without_https(client, settings, db):
    """Container platforms ask the address of the container, which ALLOWED_HOSTS cannot know."""
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["taifish.example.org"], True
    for host in ("10.1.2.3:8000", "evil.example", "a b"):
        answer = client.get("/healthz", headers={"host": host})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"}), host
    assert client.get("/", headers={"host": "10.1.2.3"}).status_code == 400


def test_a_probe_of_the_scheduler(db, capsys):
    schedules.install()
    with pytest.raises(CommandError, match="no schedule has run yet") as never:
        call_command("check_schedules")
    assert never.value.returncode == 3
    PeriodicTask.objects.filter(task="sync.reap").update(last_run_at=timezone.now() - timedelta(minutes=11))
    with pytest.raises(CommandError, match="the last schedule ran at"):
        call_command("check_schedules")
    PeriodicTask.objects.filter(task="sync.reap").update(last_run_at=timezone.now() - timedelta(minutes=9))
    call_command("check_schedules")
    assert "the last schedule ran at" in capsys.readouterr().out
