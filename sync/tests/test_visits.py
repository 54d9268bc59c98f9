"""What is true of every visit, whatever its kind: claim, lease, fence, retry, cancel, pause, close."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat, Now
from django.utils import timezone

from engines.errors import AdapterError
from engines.facts import Gap
from instances.models import Credential, Instance
from sync import services, sessions, tasks, visits
from sync.models import SyncRecord, SyncSession, VisitHealth
from sync.registry import ImplausibleShrink, Outcome
from sync.tests.workers import QUEUE, empty_queue
from work.lease import worker_name


def statuses(session: SyncSession) -> list[str]:
    return list(session.records.order_by("instance__name").values_list("status", flat=True))


def raising(error: BaseException):
    def read(instance, phase):
        raise error

    return read


UNREACHABLE = AdapterError("no route to host", code="unreachable", hint="Look at the network.")
DENIED = AdapterError("permission denied", code="denied", hint="GRANT pg_read_all_stats TO taifish")


def test_a_session_visits_every_active_instance_once_and_closes(probe, make_instances):
    """F6.1: a session always ends, and its counts add up."""
    instances = make_instances(5)
    instances[4].retire()
    session = probe.run()
    assert (session.status, session.finished_at is not None) == ("completed", True)
    assert sorted(probe.visited) == ["db0000", "db0001", "db0002", "db0003"]
    counted = SyncSession.objects.with_counts().get(pk=session.pk)
    assert (counted.n_total, counted.n_completed) == (4, 4)
    assert set(session.records.values_list("summary__rows", flat=True)) == {1}


def test_a_session_without_instances_closes_at_once(probe):
    assert probe.start().pk
    assert SyncSession.objects.get().status == "completed"


def test_an_unknown_kind_is_refused(transactional_db):
    with pytest.raises(ValueError, match="choose from: accounts"):
        services.start("acounts", Instance.objects.all(), trigger="manual")


def test_one_failed_of_many_is_partial(probe, make_instances):
    """F1.12: one failed of 200 is "partial" with 199 counted."""
    make_instances(200)

    def read(instance, phase):
        if instance.name == "db0013":
            raise DENIED

    probe.read = read
    session = probe.run()
    counted = SyncSession.objects.with_counts().get(pk=session.pk)
    assert (counted.status, counted.n_completed, counted.n_failed) == ("partial", 199, 1)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (["completed", "completed"], "completed"),
        (["completed", "skipped"], "completed"),
        (["skipped", "skipped"], "skipped"),
        (["completed", "partial"], "partial"),
        (["completed", "failed"], "partial"),
        (["failed", "failed"], "failed"),
        (["failed", "skipped"], "failed"),
    ],
)
def test_the_state_of_a_session_follows_from_its_records(probe, make_instances, ends, expected):
    instances = make_instances(len(ends))
    session = SyncSession.objects.create(kind="probe", trigger="manual")
    for instance, status in zip(instances, ends, strict=True):
        SyncRecord.objects.create(session=session, instance=instance, kind="probe", status=status)
    assert services.close(session.pk)
    session.refresh_from_db()
    assert session.status == expected


@pytest.mark.parametrize("error", [DENIED, ZeroDivisionError("boom"), OperationalError("the store hiccuped")])
def test_any_exception_ends_the_record(probe, make_instances, error):
    """F1.2, F1.4: whatever a visit raises, its record ends, says why, and a single manual visit is no exception."""
    make_instances()
    probe.read = raising(error)
    session = probe.run(attempts=1)
    record = session.records.get()
    assert (session.status, record.status) == ("failed", "failed")
    assert str(error) in record.error
    assert record.hint
    assert record.lease_until is None


def test_a_visit_that_a_full_store_refused_says_so(probe, make_instances):
    """The advice is to free space, and the visit is tried again."""
    make_instances()

    def write(instance, facts, record):
        with connection.cursor() as cursor:
            # The state that PostgreSQL reports if a table cannot grow.
            cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$")

    probe.write = write
    record = probe.run(attempts=1).records.get()
    assert (record.status, record.error_code) == ("failed", "store_full")
    assert "The disk of Taifish's store is full" in record.hint


def test_a_failure_is_logged(probe, make_instances, settings, caplog):
    """F1.4: an operator finds each failure in the log; alert rules report it."""
    make_instances()
    probe.read = raising(DENIED)
    probe.run()
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [
        "probe visit of db0000 failed (denied): permission denied"
    ]


def test_transient_failures_are_tried_again_and_permanent_ones_are_not(probe, make_instances, settings):
    """F1.3: a failed connection does not poison the next attempt."""
    settings.TAIFISH_RETRY_DELAY = 0.01
    make_instances()
    answers = [UNREACHABLE, UNREACHABLE, None]

    def read(instance, phase):
        if error := answers.pop(0):
            raise error

    probe.read = read
    session = probe.run()
    record = session.records.get()
    assert (record.status, record.attempt, record.error) == ("completed", 3, "")
    probe.read = raising(DENIED)
    assert probe.run().records.get().attempt == 1


def test_transient_failures_are_tried_so_often_and_no_more(probe, make_instances, settings):
    settings.TAIFISH_RETRY_DELAY = 0.01
    make_instances()
    probe.read = raising(UNREACHABLE)
    record = probe.run().records.get()
    assert (record.status, record.attempt, record.error_code) == ("failed", 3, "unreachable")
    assert len(probe.visited) == 3


def test_retry_delays_double_with_jitter_up_to_a_quarter_of_an_hour(settings):
    settings.TAIFISH_RETRY_DELAY = 30
    for attempt, middle in [(1, 30), (2, 60), (3, 120), (9, 900), (50, 900)]:
        delays = [visits.retry_delay(attempt) for _ in range(50)]
        assert middle * 0.75 <= min(delays) < max(delays) <= middle * 1.25


def test_facts_and_the_end_of_the_record_are_one_transaction(probe, make_instances):
    """F1.1: a write that fails half way leaves nothing."""
    make_instances()

    def write(instance, facts, record):
        Credential.objects.create(name="half", username="half")
        raise IntegrityError("the second half")

    probe.write = write
    assert probe.run().status == "failed"
    assert not Credential.objects.filter(name="half").exists()


def test_gaps_make_a_visit_partial_and_are_named(probe, make_instances):
    make_instances()
    gap = Gap("table", "denied", "permission denied for database shop", database="shop", hint="GRANT CONNECT")
    probe.write = lambda instance, facts, record: Outcome({}, [gap])
    session = probe.run()
    assert session.status == "partial"
    assert session.records.get().gaps == [
        {
            "scope": "table",
            "code": "denied",
            "message": "permission denied for database shop",
            "database": "shop",
            "hint": "GRANT CONNECT",
            "fields": [],
        }
    ]


def test_a_closed_database_does_not_make_a_visit_partial(probe, make_instances):
    """F1.5: it is a known state: named in every record, and what is in it stays unknown."""
    gap = Gap("table", "not_visited", "database old allows no connections", "old")
    probe.write = lambda instance, facts, record: Outcome({}, [gap])
    make_instances()
    session = probe.run()
    record = session.records.get()
    assert (session.status, record.status) == ("completed", "completed")
    assert [found["database"] for found in record.gaps] == ["old"]


@pytest.mark.parametrize("thief", ["reaped", "reaped and claimed again", "ended"])
def test_a_visit_that_lost_its_record_leaves_no_trace(probe, make_instances, thief):
    """F1.1, F1.2: a reaped or doubled visit that goes on all the same changes nothing."""
    make_instances()

    def steal():
        SyncRecord.objects.update(lease_until=Now() - timedelta(seconds=1))
        services.reap()
        if thief == "reaped and claimed again":
            assert visits._claim(SyncRecord.objects.get().pk, worker_name())
        if thief == "ended":
            SyncRecord.objects.update(status="failed", message="somebody else's words")

    def write(instance, facts, record):
        Credential.objects.create(name="trace", username="trace")
        return Outcome({})

    def read(instance, phase):
        phase("inventory")
        thread = threading.Thread(target=lambda: (steal(), connection.close()))
        thread.start()
        thread.join()
        if thief != "ended":
            return
        with pytest.raises(visits.VisitLost):
            phase("permissions")
        raise visits.VisitLost

    probe.read, probe.write = read, write
    session = probe.start()
    visits.visit(session.records.get().pk)
    record = session.records.get()
    assert not Credential.objects.filter(name="trace").exists()
    expected = {"reaped": "pending", "reaped and claimed again": "running", "ended": "failed"}
    assert record.status == expected[thief]
    assert record.summary == {}


def test_two_visits_of_a_kind_to_one_instance_never_overlap(probe, make_instances, settings):
    """F1.10: also when many ask at once; whoever asked second waits, and is served."""
    settings.TAIFISH_VISITS_PER_HOST = 10
    make_instances(1)
    inside, most = [], []
    lock = threading.Lock()

    def read(instance, phase):
        with lock:
            inside.append(instance.name)
            most.append(len(inside))
        # Until the others have asked.
        until = time.monotonic() + 30
        while len(most) == 1 and unasked.exists() and time.monotonic() < until:
            threading.Event().wait(0.02)
        with lock:
            inside.remove(instance.name)

    unasked = SyncRecord.objects.filter(status="pending", not_before=None)
    probe.read = read
    sessions = [SyncSession.objects.create(kind="probe", trigger="manual") for _ in range(4)]
    instance = Instance.objects.get()
    records = [SyncRecord.objects.create(session=s, instance=instance, kind="probe") for s in sessions]
    threads = [threading.Thread(target=lambda pk=r.pk: (visits.visit(pk), connection.close())) for r in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SyncRecord.objects.filter(status="completed").count() == 1
    waiting = SyncRecord.objects.filter(status="pending").exclude(not_before=None)
    assert waiting.count() == 3
    SyncRecord.objects.update(not_before=None)
    for session in sessions:
        services.run_here(session)
    assert max(most) == 1
    assert set(SyncRecord.objects.values_list("status", flat=True)) == {"completed"}


def test_the_store_itself_refuses_a_second_running_visit(probe, make_instances):
    """F1.10"""
    (instance,) = make_instances()
    for _ in range(2):
        session = SyncSession.objects.create(kind="probe", trigger="manual")
        SyncRecord.objects.create(session=session, instance=instance, kind="probe")
    with pytest.raises(IntegrityError):
        SyncRecord.objects.update(status="running")


def test_visits_per_host_are_bounded(probe, make_instances, settings):
    settings.TAIFISH_VISITS_PER_HOST = 2
    make_instances(6, host="one-machine")
    now, most = [], []
    lock = threading.Lock()

    def read(instance, phase):
        with lock:
            now.append(1)
            most.append(len(now))
        threading.Event().wait(0.1)
        with lock:
            now.pop()

    probe.read = read
    session = probe.start()
    pks = list(session.records.values_list("pk", flat=True))
    for _ in range(3):
        SyncRecord.objects.update(not_before=None)
        threads = [threading.Thread(target=lambda pk=pk: (visits.visit(pk), connection.close())) for pk in pks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(most) == 2
    assert set(statuses(session)) == {"completed"}


def test_a_second_session_does_not_queue_what_is_waiting_already(probe, make_instances):
    make_instances(2)
    first = probe.start()
    second = probe.start()
    assert statuses(second) == ["skipped", "skipped"]
    assert f"session {first.pk}" in second.records.first().error
    second.refresh_from_db()
    assert second.status == "skipped"


def test_a_person_who_asks_again_brings_a_waiting_visit_forward(probe, make_instances):
    make_instances()
    first = probe.start()
    first.records.update(not_before=timezone.now() + timedelta(minutes=10))
    probe.start(trigger="schedule")
    assert first.records.get().not_before is not None
    probe.start(trigger="manual")
    assert first.records.get().not_before is None


def test_cancel_ends_pending_visits_at_once_and_running_ones_at_the_next_phase(probe, make_instances):
    """F1.11: and nothing overwrites the cancelled state."""
    make_instances(3)
    session = probe.start()
    reached = []

    def read(instance, phase):
        phase("inventory")
        assert services.cancel(session) == 2
        assert sorted(statuses(session)) == ["cancelled", "cancelled", "running"]
        reached.append("inventory")
        phase("permissions")
        reached.append("permissions")

    probe.read = read
    visits.visit(session.records.first().pk)
    session.refresh_from_db()
    assert reached == ["inventory"]
    assert (session.status, set(statuses(session))) == ("cancelled", {"cancelled"})
    for record in session.records.all():
        visits.visit(record.pk)
    services.reap()
    assert set(statuses(session)) == {"cancelled"}


def test_a_cancelled_visit_that_fails_is_not_tried_again(probe, make_instances):
    """F1.11"""
    make_instances()
    session = probe.start()

    def read(instance, phase):
        services.cancel(session)
        raise UNREACHABLE

    probe.read = read
    visits.visit(session.records.get().pk)
    session.refresh_from_db()
    assert (session.status, statuses(session)) == ("cancelled", ["cancelled"])


def test_the_lease_is_renewed_while_the_target_is_read(probe, make_instances, settings):
    settings.TAIFISH_LEASE = 3
    make_instances()

    def read(instance, phase):
        leases, until = set(), time.monotonic() + 60
        while len(leases) < 4 and time.monotonic() < until:
            threading.Event().wait(0.2)
            leases.add(SyncRecord.objects.get().lease_until)
            assert services.reap()["lost"] == 0
        assert len(leases) == 4

    probe.read = read
    assert probe.run().status == "completed"


def test_a_dead_workers_visit_is_tried_again_and_then_fails(probe, make_instances):
    """F6.1: the lease and the reaper's interval are under two minutes together."""
    from taifish.schedules import TIMETABLE

    make_instances()
    session = probe.start(attempts=1)
    record = session.records.get()
    for expected in ("pending", "failed"):
        assert visits._claim(record.pk, "a worker that dies")
        record.refresh_from_db()
        lease = (record.lease_until - record.started_at).total_seconds()
        assert lease + next(when for _, task, when, _ in TIMETABLE if task == "sync.reap") < 120
        SyncRecord.objects.update(lease_until=Now() - timedelta(seconds=1))
        services.reap()
        record.refresh_from_db()
        assert (record.status, record.error_code) == (expected, "worker_lost")
    session.refresh_from_db()
    assert session.status == "failed"
    assert VisitHealth.objects.get().failures == 1


def test_a_visit_that_is_being_written_is_not_reaped(probe, make_instances, settings):
    settings.TAIFISH_LEASE = 1
    make_instances()
    reaped = []

    def reap():
        reaped.append(services.reap()["lost"])
        connection.close()

    def write(instance, facts, record):
        with connection.cursor() as cursor:
            # The transaction must not end because the reaper takes its time.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_sleep(1.2)")
        thread = threading.Thread(target=reap)
        thread.start()
        thread.join(60)
        return Outcome({})

    probe.write = write
    assert probe.run().status == "completed"
    assert reaped == [0]


def test_the_reaper_closes_a_session_whose_last_worker_died_before_closing_it(probe, make_instances):
    """F6.1"""
    make_instances()
    session = probe.start()
    session.records.update(status="completed")
    assert services.reap()["closed"] == 1
    session.refresh_from_db()
    assert session.status == "completed"


def test_the_reaper_sends_a_lost_message_again_after_a_minute_and_then_every_two(probe, make_instances, monkeypatch):
    """F6.1: a broker that dies again and again must not put a visit off for longer each time."""
    make_instances()
    sent = []
    monkeypatch.setattr("work.enqueue.current_app.send_task", lambda name, args, **options: sent.append(args[0]))
    session = probe.start(enqueue=True)
    record = session.records.get()
    assert sent == [record.pk]
    assert services.reap()["sent_again"] == 0
    for minutes in (1, *[2] * 20):
        SyncRecord.objects.update(sent_at=Now() - timedelta(minutes=minutes, seconds=-5))
        assert services.reap()["sent_again"] == 0
        SyncRecord.objects.update(sent_at=Now() - timedelta(minutes=minutes, seconds=5))
        assert services.reap()["sent_again"] == 1
    assert sent == [record.pk] * 22


def test_a_broker_that_is_down_loses_nothing(probe, make_instances, monkeypatch):
    make_instances()

    def refuse(*args, **options):
        raise ConnectionRefusedError("broker")

    monkeypatch.setattr("work.enqueue.current_app.send_task", refuse)
    session = probe.start(enqueue=True)
    assert statuses(session) == ["pending"]
    monkeypatch.undo()


def test_many_failures_in_a_row_pause_an_instance_for_that_kind(probe, make_instances, settings):
    settings.TAIFISH_PAUSE_AFTER = 3
    make_instances(2)

    def read(instance, phase):
        if instance.name == "db0000":
            raise DENIED

    probe.read = read
    for _ in range(3):
        probe.run(trigger="schedule")
    assert list(VisitHealth.objects.paused().values_list("instance__name", "failures")) == [("db0000", 3)]
    session = probe.run(trigger="schedule")
    assert statuses(session) == ["skipped", "completed"]
    assert "Resume" in session.records.first().error
    assert statuses(probe.run(trigger="manual")) == ["failed", "completed"]
    assert services.resume(VisitHealth.objects.all()) == 1
    assert statuses(probe.run(trigger="schedule")) == ["failed", "completed"]


def test_a_success_ends_the_streak_and_the_pause(probe, make_instances, settings):
    settings.TAIFISH_PAUSE_AFTER = 2
    make_instances()
    probe.read = raising(DENIED)
    probe.run()
    probe.run()
    probe.read = lambda instance, phase: None
    probe.run(trigger="manual")
    health = VisitHealth.objects.get()
    assert (health.failures, health.paused_at, health.error) == (0, None, "")
    assert health.succeeded_at


def test_retry_failed_visits_the_failed_ones_only(probe, make_instances):
    """F6.3"""
    make_instances(3)

    def read(instance, phase):
        if instance.name != "db0001":
            raise DENIED

    probe.read = read
    session = probe.run()
    probe.read = lambda instance, phase: None
    again = services.run_here(services.retry_failed(session, None))
    assert (again.trigger, again.retry_of) == ("retry", session)
    assert sorted(again.records.values_list("instance__name", flat=True)) == ["db0000", "db0002"]
    assert again.status == "completed"
    assert services.retry_failed(again, None) is None


def test_held_facts_wait_for_a_persons_word(probe, make_instances):
    """F1.6: the word covers as much as was held, and no more."""
    make_instances()

    def write(instance, facts, record):
        if (record.confirmed_count or 0) < 12:
            raise ImplausibleShrink("accounts", present=12, ending=12)
        return Outcome({})

    probe.write = write
    held = probe.run().records.get()
    assert (held.status, held.error_code, held.held_count) == ("failed", "suspicious_shrink", 12)
    again = services.run_here(services.confirm_shrink(held, None))
    assert again.status == "completed"
    with pytest.raises(ValueError, match="not held"):
        services.confirm_shrink(again.records.get(), None)


def test_follow_ups_are_called_once_and_again_after_a_fault(probe, make_instances):
    """F1.13: what follows a session is called when it closes; a follow-up that failed is called by the reaper."""
    make_instances()
    session = probe.run()
    assert probe.closed == [session.pk]
    services.reap()
    assert probe.closed == [session.pk]
    SyncSession.objects.update(followed_up_at=None, finished_at=timezone.now() - timedelta(minutes=5))
    services.reap()
    assert probe.closed == [session.pk] * 2


def test_an_instance_retired_meanwhile_is_skipped(probe, make_instances):
    (instance,) = make_instances()
    session = probe.start()
    instance.retire()
    session = services.run_here(session)
    assert (statuses(session), session.records.get().error_code) == (["skipped"], "retired")
    assert probe.visited == []


def test_a_scheduled_occurrence_is_served_once(probe, make_instances):
    """F6.2"""
    make_instances()
    first = probe.start(trigger="schedule", slot="Sync after 2026-05-03T01:00:00+00:00")
    second = probe.start(trigger="schedule", slot="Sync after 2026-05-03T01:00:00+00:00")
    assert first == second
    assert SyncRecord.objects.count() == 1


@pytest.fixture
def sent(monkeypatch) -> list[tuple[int, float]]:
    """The messages of visits: record id, and seconds until it is due."""
    messages: list[tuple[int, float]] = []
    monkeypatch.setattr(
        "work.enqueue.current_app.send_task",
        lambda name, args, countdown, **options: (
            messages.append((args[0], countdown or 0)) if name == "sync.visit" else tasks.feed()
        ),
    )
    return messages


def test_a_large_fleet_starts_spread_out_and_in_few_statements(probe, make_instances, sent, django_assert_num_queries):
    """The queue gets the visits that are due soonest, and stays short; the others wait in the store."""
    make_instances(1000)
    # Paused instances take one. Two of them are of the worker that fills the queue.
    with django_assert_num_queries(11):
        session = probe.start("schedule", enqueue=True)
    waits = session.records.annotate(wait=F("not_before") - Now()).order_by("not_before")
    # Those that are due already have no order.
    assert {pk for pk, _ in sent} == {record.pk for record in waits[: sessions.QUEUE]}
    for batch in (sent[: sessions.AT_ONCE], sent[sessions.AT_ONCE :]):
        assert batch == sorted(batch, key=lambda message: message[1])
    assert len(sent) == sessions.QUEUE
    seconds = [record.wait.total_seconds() for record in waits]
    assert max(sum(second <= wait < second + 1 for wait in seconds) for second in range(60)) < 60


def test_each_visit_that_ends_sends_the_next(probe, make_instances, sent, settings, monkeypatch):
    """Every record gets one message, although the queue never has more than it has room for."""
    settings.TAIFISH_START_SPREAD = 0
    monkeypatch.setattr(sessions, "QUEUE", 3)
    make_instances(10)
    session = probe.start(enqueue=True)
    assert len(sent) == 3
    done = 0
    while done < len(sent):
        tasks.visit(sent[done][0])
        done += 1
        assert len(sent) - done <= 3
    assert sorted(pk for pk, _ in sent) == sorted(session.records.values_list("pk", flat=True))
    assert set(statuses(session)) == {"completed"}
    # A second message of a record has no effect, and makes no room.
    probe.start(enqueue=True)
    del sent[2:]
    tasks.visit(session.records.first().pk)
    assert len(sent) == 2


def test_what_a_visit_puts_off_is_sent_again_when_it_is_due(probe, make_instances, sent):
    """F1.3: a retry is fed with its delay, without the reaper."""
    make_instances()
    probe.read = raising(UNREACHABLE)
    record = probe.start(enqueue=True).records.get()
    tasks.visit(record.pk)
    (first, at_once), (second, later) = sent
    assert (first, second, at_once) == (record.pk, record.pk, 0)
    assert 20 < later < 40


def test_cancelling_makes_room_in_the_queue(probe, make_instances, sent, settings, monkeypatch):
    settings.TAIFISH_START_SPREAD = 0
    monkeypatch.setattr(sessions, "QUEUE", 3)
    make_instances(5)
    first = probe.start(enqueue=True)
    Instance.objects.update(name=Concat(Value("old"), "name"))
    make_instances(2)
    second = probe.start(enqueue=True, instances=Instance.objects.filter(name__startswith="db"))
    assert len(sent) == 3
    services.cancel(first)
    assert [pk for pk, _ in sent[3:]] == list(second.records.order_by("pk").values_list("pk", flat=True))


def test_the_request_for_a_session_of_ten_thousand_visits_returns_within_a_second(probe, make_instances):
    """F6.1: with the real broker. The best of twenty, because other processes may take the processors."""
    make_instances(10_000)
    taken = []
    while min(taken, default=1) >= 1 and len(taken) < 20:
        SyncSession.objects.all().delete()
        empty_queue()
        started = time.monotonic()
        session = probe.start(enqueue=True)
        taken.append(time.monotonic() - started)
    assert min(taken) < 1
    assert session.records.filter(status="pending").count() == 10_000
    # The last one has a worker send more.
    assert len(list(QUEUE.glob("*.msg"))) == sessions.AT_ONCE + 1
    empty_queue()


def test_old_sessions_are_forgotten_in_batches(probe, make_instances, settings):
    settings.TAIFISH_KEEP_SESSIONS_DAYS = 30
    make_instances()
    sessions = [probe.run() for _ in range(5)]
    old = [s.pk for s in sessions[:4]]
    SyncSession.objects.filter(pk__in=old).update(finished_at=timezone.now() - timedelta(days=31))
    open_one = SyncSession.objects.create(kind="probe", trigger="manual")
    assert services.purge_sessions(batch=3) == 4
    assert set(SyncSession.objects.values_list("pk", flat=True)) == {sessions[4].pk, open_one.pk}
    assert SyncRecord.objects.count() == 1


def test_a_session_with_open_visits_is_not_gathered(probe, make_instances):
    """F11.2: each visit that ends asks whether it was the last one, so the answer must not take reading all the others."""
    make_instances(30)
    session = services.start("probe", Instance.objects.all(), trigger="command", enqueue=False)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS off) {sessions._CLOSE}", {"session": session.pk})
        plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "never executed" in plan.partition("Aggregate")[2].splitlines()[0], plan
    assert not sessions.close(session.pk)
    session.records.update(status="completed")
    assert sessions.close(session.pk)


def test_a_phase_does_not_wait_for_the_disk(probe, make_instances):
    """F11.2: claims and results do."""
    make_instances(1)
    seen = []

    def setting(*_):
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            seen.append(cursor.fetchone()[0])

    session = services.start("probe", Instance.objects.all(), trigger="command", enqueue=False)
    record = visits._claim(session.records.get().pk, "w")
    setting()
    with transaction.atomic():
        visits._enter(record, "read")
        setting()
    setting()
    record.refresh_from_db()
    assert (record.phase, seen) == ("read", ["on", "off", "on"])
