"""Failed account visits are caught up the same day, on real servers."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from accounts import services
from instances.models import Instance
from sync import services as visits
from sync.models import SyncRecord, SyncSession, VisitHealth
from taifish.schedules import TIMETABLE


def test_a_failed_account_visit_is_caught_up_the_same_day(add, private_postgres, settings):
    """F11.2: when the server is back, neither before its turn nor twice, and without counting against the instance."""
    settings.TAIFISH_PAUSE_AFTER = 2
    instance = add("prod", private_postgres.collector())
    assert services.catch_up() is None
    private_postgres.stop()
    session = visits.start("accounts", Instance.objects.all(), trigger="schedule", enqueue=False, attempts=1)
    assert services.catch_up() is None
    assert visits.run_here(session).status == "failed"
    for _ in range(2):
        late = services.catch_up()
        assert late.trigger == "catch_up"
        assert services.catch_up() is None
        late.records.update(max_attempts=1)
        assert visits.run_here(late).records.get().error_code == "unreachable"
    health = VisitHealth.objects.get(instance=instance)
    assert (health.failures, health.paused_at) == (1, None)
    private_postgres.start()
    assert visits.run_here(services.catch_up()).status == "completed"
    assert services.catch_up() is None


def test_what_is_not_caught_up(add):
    """F11.2: what was read, held or paused today, and failures of yesterday, which today's session will visit."""
    session = SyncSession.objects.create(kind="accounts", trigger="schedule", status="partial")
    now = timezone.now()
    states = {
        "read": {"status": "partial"},
        "held": {"status": "failed", "error_code": "suspicious_shrink", "held_count": 12},
        "paused": {"status": "failed", "error_code": "timeout"},
        "failed": {"status": "failed", "error_code": "timeout"},
    }
    for name, state in states.items():
        record = {"session": session, "kind": "accounts", "finished_at": now} | state
        SyncRecord.objects.create(instance=add(name), **record)
    paused = Instance.objects.get(name="paused")
    VisitHealth.objects.create(instance=paused, kind="accounts", failures=5, paused_at=now)
    SyncSession.objects.update(created_at=now - timedelta(days=1))
    assert services.catch_up() is None
    SyncSession.objects.update(created_at=max(now - timedelta(hours=1), midnight()))
    SyncRecord.objects.update(finished_at=now + timedelta(seconds=1))
    late = services.catch_up()
    assert list(late.records.values_list("instance__name", flat=True)) == ["failed"]


def midnight():
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)


def test_the_schedule_is_shipped():
    """F11.2"""
    assert "accounts.catch_up" in [task for _, task, _, _ in TIMETABLE]
