"""F9: what Prometheus scrapes."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from prometheus_client.parser import text_string_to_metric_families

from alerts.models import Alert, AlertRule, Channel, Delivery
from capacity.tests.stored import total
from instances.models import Credential, Instance
from instances.tests.pages import staff
from sync.models import SyncRecord, SyncSession, VisitHealth
from taifish import schedules

TOKEN = "a-token-of-some-length"


def instances(count: int) -> list[Instance]:
    credential, _ = Credential.objects.get_or_create(name="c", defaults={"username": "u"})
    made = Instance.objects.bulk_create(
        Instance(name=f"db{n:04}", engine="postgresql", host=f"host{n}", credential=credential) for n in range(count)
    )
    Instance.objects.update(created_at=timezone.now() - timedelta(days=9))
    return made


def record(session: SyncSession, instance: Instance, status: str, took: float = 0, ago: float = 60, **fields: object):
    now = timezone.now()
    ended = {} if status in SyncRecord.OPEN else {"finished_at": now - timedelta(seconds=ago)}
    if took:
        fields["started_at"] = now - timedelta(seconds=ago + took)
    return SyncRecord.objects.create(
        session=session, instance=instance, kind=session.kind, status=status, **ended, **fields
    )


def health(instance: Instance, kind: str = "accounts", **fields: object) -> VisitHealth:
    return VisitHealth.objects.create(instance=instance, kind=kind, **fields)


@pytest.fixture
def scraped(settings):
    """Name and labels → value, as a scraper with the token gets them."""
    settings.TAIFISH_METRICS_TOKEN = TOKEN

    def scrape() -> dict[str, float]:
        answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain; version=")
        return {
            " ".join([sample.name.removeprefix("taifish_"), *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(answer.content.decode())
            for sample in family.samples
        }

    return scrape


def test_who_may_scrape(db, settings):
    def asks(token: str = "", client: Client | None = None) -> int:
        headers = {"authorization": token} if token else {}
        return (client or Client()).get("/metrics", headers=headers).status_code

    assert asks() == 401
    assert asks("Bearer ") == 401
    assert asks(f"Bearer {TOKEN}") == 401
    assert Client().get("/metrics").headers["WWW-Authenticate"] == "Bearer"
    assert asks(client=staff()) == 403
    assert asks(client=staff("sync.view_syncsession")) == 200
    settings.TAIFISH_METRICS_TOKEN = TOKEN
    assert asks() == 401
    assert asks("Bearer ") == 401
    assert asks("Bearer ü") == 401
    assert asks(f"Bearer {TOKEN}x") == 401
    assert asks(f"Basic {TOKEN}") == 401
    assert asks(f"bearer {TOKEN}") == 200


def test_an_empty_store_has_metrics_too(db, scraped):
    told = scraped()
    assert told["visits accounts failed"] == 0
    assert told["visits_open capacity due"] == 0
    assert told["instances active"] == 0
    assert told["store_bytes"] > 1_000_000
    assert "last_success_seconds accounts" not in told


def test_visits_of_the_last_day(db, scraped):
    one, two, three = instances(3)
    session = SyncSession.objects.create(kind="accounts", trigger="schedule")
    record(session, one, "completed", took=10)
    record(session, two, "completed", took=20)
    record(session, three, "failed", took=90)
    second = SyncSession.objects.create(kind="accounts", trigger="schedule")
    record(second, one, "skipped")
    record(second, two, "completed", took=500, ago=25 * 3600)
    told = scraped()
    assert told["visits accounts completed"] == 2
    assert told["visits accounts failed"] == 1
    assert told["visits accounts skipped"] == 1
    assert told["visits capacity completed"] == 0
    assert told["visit_seconds accounts 0.5"] == pytest.approx(20, abs=0.1)
    assert told["visit_seconds accounts 1"] == pytest.approx(90, abs=0.1)
    # Nothing falls when old sessions are purged: they are in no figure.
    SyncSession.objects.filter(pk=second.pk).update(created_at=timezone.now() - timedelta(days=200))
    assert scraped()["visits accounts completed"] == 2


def test_the_backlog(db, scraped):
    one, two, three = instances(3)
    session = SyncSession.objects.create(kind="capacity", trigger="schedule")
    SyncSession.objects.update(created_at=timezone.now() - timedelta(hours=1))
    record(session, one, "pending")
    record(session, two, "pending", not_before=timezone.now() + timedelta(minutes=5))
    record(session, three, "running")
    told = scraped()
    assert [told[f"visits_open capacity {state}"] for state in ("due", "later", "running")] == [1, 1, 1]
    assert told["visits_due_seconds capacity"] == pytest.approx(3600, abs=30)


def test_last_successes(db, scraped):
    made = instances(7)
    now = timezone.now()
    for instance, hours in zip(made, (1, 20, 30, 100, 1000), strict=False):
        health(instance, succeeded_at=now - timedelta(hours=hours))
    health(made[5], failures=7, paused_at=now)
    made[4].retire()
    told = scraped()
    ages = [told[f"instances_by_last_success {age} accounts"] for age in ("1d", "2d", "7d", "older", "never")]
    assert ages == [2, 1, 1, 0, 2]
    assert told["last_success_seconds accounts"] == pytest.approx(100 * 3600, abs=30)
    assert told["instances_paused accounts"] == 1
    assert (told["instances active"], told["instances retired"]) == (6, 1)
    assert told["instances_by_last_success never capacity"] == 6


def test_gaps_and_schedules(db, scraped):
    one, two, _ = instances(3)
    total(one, 1, ago=1)
    total(two, 1, ago=1, is_complete=False)
    PeriodicTask.objects.all().delete()
    schedules.install()
    PeriodicTask.objects.update(last_run_at=timezone.now())
    PeriodicTask.objects.filter(task="sync.reap").update(last_run_at=timezone.now() - timedelta(hours=1))
    told = scraped()
    assert (told["capacity_gaps missing"], told["capacity_gaps incomplete"]) == (1, 1)
    assert told["schedule_late Reap lost visits"] == 1
    assert told["schedule_late Sync accounts"] == 0
    assert told["schedule_last_run_timestamp_seconds Sync accounts"] == pytest.approx(time.time(), abs=30)


def test_alerts(db, scraped):
    (one,) = instances(1)
    now = timezone.now()
    rule = AlertRule.objects.create(name="Paused ones", kind="paused", active=True, evaluated_at=now)
    AlertRule.objects.create(name="Growth", kind="growth", threshold=1, min_bytes=0)
    for key, over in (("a", None), ("b", None), ("c", now)):
        Alert.objects.create(
            rule=rule, instance=one, key=key, text="x", first_seen_at=now, last_seen_at=now, resolved_at=over
        )
    channel = Channel.objects.create(name="c", kind="email", addresses="dba@example.com")
    for status, attempts in (("sent", 1), ("failed", 8), ("failed", 8), ("pending", 0), ("pending", 3)):
        Delivery.objects.create(channel=channel, digest={}, status=status, attempts=attempts)
    Delivery.objects.create(channel=channel, digest={}, status="failed", is_test=True)
    told = scraped()
    assert told["alerts_open paused Paused ones"] == 2
    assert told["alerts_evaluated_timestamp_seconds"] == pytest.approx(now.timestamp())
    assert [told[f"alert_deliveries {status}"] for status in ("sent", "failed", "pending")] == [1, 2, 2]
    assert told["alert_deliveries_overdue"] == 1
    assert "alerts_open growth Growth" not in told


def test_a_thousand_instances_take_no_more_queries(db, scraped, django_assert_num_queries):
    made = instances(1000)
    for kind in ("accounts", "capacity"):
        VisitHealth.objects.bulk_create(
            VisitHealth(instance=instance, kind=kind, succeeded_at=timezone.now()) for instance in made
        )
        session = SyncSession.objects.create(kind=kind, trigger="schedule")
        SyncRecord.objects.bulk_create(
            SyncRecord(
                session=session,
                instance=instance,
                kind=kind,
                status="completed",
                started_at=timezone.now(),
                finished_at=timezone.now(),
            )
            for instance in made
        )
    with django_assert_num_queries(10):
        scraped()
