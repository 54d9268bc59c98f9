"""What is true of every session that works on the store as a set: claim by batch, fence, split, retry, cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from engines.facts import Gap
from instances.models import Credential, Instance
from sync import registry, services, visits
from sync import work as work_module
from sync.models import SyncRecord, SyncSession, VisitHealth
from sync.registry import Outcome, StoreKind
from sync.work import work

GAP = Gap("rule", "server_error", "rule PG-01 could not be run")


@dataclass
class SetProbe:
    """The kind "set": replace `write`; `written` lists the batches that were tried."""

    write: Callable[[SyncSession, Sequence[int]], Mapping[int, Outcome]] = lambda session, ids: dict.fromkeys(
        ids, Outcome({"rows": 1})
    )
    written: list[list[int]] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)

    def start(self, **options: Any) -> SyncSession:
        options = {"trigger": "manual", "enqueue": False} | options
        return services.start("set", options.pop("instances", Instance.objects.all()), **options)

    def run(self, **options: Any) -> SyncSession:
        return services.run_here(self.start(**options))


@pytest.fixture
def sets(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[SetProbe]:
    it = SetProbe()

    def write(session: SyncSession, ids: Sequence[int]) -> Mapping[int, Outcome]:
        it.written.append(list(ids))
        return it.write(session, ids)

    monkeypatch.setitem(registry.KINDS, "set", StoreKind("set", "Set", write, 4, [it.closed.append]))
    return it


def failing_for(bad: set[int], error: Exception) -> Callable[..., Mapping[int, Outcome]]:
    def write(session: SyncSession, ids: Sequence[int]) -> Mapping[int, Outcome]:
        Credential.objects.create(name=f"trace {sorted(ids)}", username="u")
        if bad & set(ids):
            raise error
        return dict.fromkeys(ids, Outcome({"rows": 2}))

    return write


def statuses(session: SyncSession) -> list[str]:
    return list(session.records.order_by("instance").values_list("status", flat=True))


def test_all_instances_are_worked_on_in_batches_and_the_session_closes(sets, make_instances):
    """F6.1: such a session ends, its counts add up, and its follow-ups are called once."""
    make_instances(10)[9].retire()
    session = sets.run()
    assert [len(batch) for batch in sets.written] == [4, 4, 1]
    assert (session.status, sets.closed) == ("completed", [session.pk])
    counted = SyncSession.objects.with_counts().get(pk=session.pk)
    assert (counted.n_total, counted.n_completed) == (9, 9)
    record = session.records.first()
    assert (record.summary, record.attempt, record.lease_until, record.phase) == ({"rows": 1}, 1, None, "")


def test_an_instance_retired_meanwhile_is_skipped(sets, make_instances):
    instances = make_instances(2)
    session = sets.start()
    instances[0].retire()
    assert statuses(services.run_here(session)) == ["skipped", "completed"]
    assert sets.written == [[instances[1].pk]]


def test_a_failing_batch_is_split_until_the_culprit_stands_alone(sets, make_instances):
    """F1.12: what fails alone fails alone, and what it had written is gone."""
    instances = make_instances(8)
    culprit = instances[2].pk
    sets.write = failing_for({culprit}, ValueError("impossible row"))
    session = sets.run()
    assert statuses(session) == ["completed"] * 2 + ["failed"] + ["completed"] * 5
    assert session.status == "partial"
    record = session.records.get(instance=culprit)
    assert (record.error_code, record.error) == ("internal_error", "ValueError: impossible row")
    traces = Credential.objects.filter(name__startswith="trace").values_list("name", flat=True)
    assert sorted(traces) == sorted(
        f"trace {[one.pk for one in part]}" for part in (instances[:2], [instances[3]], instances[4:])
    )
    health = VisitHealth.objects.get(instance=culprit)
    assert (health.failures, health.error) == (1, "ValueError: impossible row")


def test_gaps_make_a_record_partial(sets, make_instances):
    make_instances(1)
    sets.write = lambda session, ids: dict.fromkeys(ids, Outcome({"rows": 1}, [GAP]))
    session = sets.run()
    assert (session.status, session.records.get().gaps[0]["message"]) == ("partial", GAP.message)


def test_a_success_ends_a_streak_of_failures(sets, make_instances):
    (instance,) = make_instances(1)
    VisitHealth.objects.create(instance=instance, kind="set", failures=7, paused_at=timezone.now(), message="boom")
    sets.run()
    health = VisitHealth.objects.get()
    assert (health.failures, health.paused_at, health.error, health.succeeded_at is None) == (0, None, "", False)


def test_a_fault_of_the_store_is_tried_again(sets, make_instances, settings):
    settings.TAIFISH_RETRY_DELAY = 0.01
    make_instances(1)
    answers = [OperationalError("deadlock detected"), None]

    def write(session, ids):
        if error := answers.pop(0):
            raise error
        return dict.fromkeys(ids, Outcome({"rows": 1}))

    sets.write = write
    session = sets.run()
    assert (session.status, session.records.get().attempt) == ("completed", 2)


def test_an_outcome_that_is_missing_is_a_failure(sets, make_instances):
    """A handler that forgot an instance must not leave it running for ever, nor call it done."""
    forgotten = make_instances(2)[0].pk
    sets.write = lambda session, ids: {pk: Outcome({}) for pk in ids if pk != forgotten}
    assert statuses(sets.run()) == ["failed", "completed"]


def test_two_sessions_with_the_same_request_share_the_work_and_others_do_not(sets, make_instances):
    make_instances(2)
    first = sets.start(params={"day": "2026-11-01"})
    same, other = sets.start(params={"day": "2026-11-01"}), sets.start(params={"day": "2026-11-02"})
    assert statuses(same) == ["skipped", "skipped"]
    assert statuses(other) == ["pending", "pending"]
    asked = []
    sets.write = lambda session, ids: asked.append(session.params["day"]) or dict.fromkeys(ids, Outcome({}))
    for session in (first, other):
        services.run_here(session)
    assert asked == ["2026-11-01", "2026-11-02"]


def test_what_another_session_works_on_waits_its_turn(sets, make_instances):
    """F1.10: two of a kind never overlap on one instance."""
    busy, _ = make_instances(2)
    other = SyncSession.objects.create(kind="set", trigger="manual")
    running = SyncRecord.objects.create(session=other, instance=busy, kind="set", status="running")
    session = sets.start()
    work(session.pk)
    assert statuses(session) == ["pending", "completed"]
    SyncRecord.objects.filter(pk=running.pk).update(status="completed")
    assert services.run_here(session).status == "completed"


def test_a_session_that_waits_for_its_turn_is_sent_again_as_soon_as_others(sets, make_instances):
    """F6.1: waiting is no lost message, so that the reaper's wait for one does not grow with it."""
    [busy] = make_instances(1)
    other = SyncSession.objects.create(kind="set", trigger="manual")
    SyncRecord.objects.create(session=other, instance=busy, kind="set", status="running")
    session = sets.start(enqueue=True)
    for _ in range(5):
        work(session.pk)
        assert session.records.get().sent_times == 1
    SyncRecord.objects.filter(session=session).update(sent_at=timezone.now() - timedelta(seconds=65))
    assert services.reap()["sent_again"] == 1
    assert session.records.get().sent_times == 2


def test_no_message_is_sent_again_for_a_session_that_a_worker_has_begun(sets, make_instances):
    """F6.1: the worker goes on until the last record; another message would take a second worker from others."""
    first, _ = make_instances(2)
    session = sets.start(enqueue=True)
    session.records.update(sent_at=timezone.now() - timedelta(hours=1))
    session.records.filter(instance=first).update(status="running", lease_until=timezone.now() + timedelta(minutes=5))
    assert services.reap()["sent_again"] == 0
    # Its worker died: the record is due again, and so is the session.
    session.records.filter(instance=first).update(lease_until=timezone.now() - timedelta(seconds=1))
    counts = services.reap()
    assert (counts["lost"], counts["sent_again"]) == (1, 1)


def test_batches_do_not_count_as_visits_to_a_host(sets, probe, make_instances, settings):
    """TAIFISH_VISITS_PER_HOST bounds the load of a host, on which a batch on the store is none."""
    settings.TAIFISH_VISITS_PER_HOST = 1
    make_instances(3, host="one-machine")
    batch = sets.start()
    batch.records.update(status="running")
    session = probe.start()
    assert visits.visit(session.records.first().pk)
    assert sorted(session.records.values_list("status", flat=True)) == ["completed", "pending", "pending"]


def test_cancel_ends_what_has_not_begun(sets, make_instances):
    """F1.11: the batch under way is finished, the others are not begun, and nothing overwrites the state."""
    make_instances(8)

    def write(session, ids):
        if len(sets.written) == 1:
            services.cancel(session)
        return dict.fromkeys(ids, Outcome({}))

    sets.write = write
    session = sets.run()
    assert statuses(session) == ["completed"] * 4 + ["cancelled"] * 4
    assert session.status == "cancelled"


def test_a_record_that_was_reaped_is_left_alone(sets, make_instances, monkeypatch):
    """F1.2: whoever was reaped between claim and write writes nothing more."""
    kept, lost = make_instances(2)
    session = sets.start()
    claim = work_module._claim

    def claim_and_lose(*args):
        records = claim(*args)
        SyncRecord.objects.filter(instance=lost).update(worker="somebody else")
        return records

    monkeypatch.setattr(work_module, "_claim", claim_and_lose)
    work(session.pk)
    assert sets.written == [[kept.pk]]
    assert statuses(session) == ["completed", "running"]


def test_the_number_of_statements_does_not_grow_with_the_instances(sets, make_instances, monkeypatch):
    kind = registry.KINDS["set"]
    monkeypatch.setitem(registry.KINDS, "set", StoreKind("set", "Set", kind.write, 500))
    counts = []
    for size in (2, 200):
        Instance.objects.all().delete()
        make_instances(size)
        session = sets.start()
        with CaptureQueriesContext(connection) as captured:
            work(session.pk)
        assert set(statuses(session)) == {"completed"}
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_retrying_what_failed_asks_for_the_same(sets, make_instances):
    """F6.3: a retry is of the same request."""
    bad = make_instances(3)[1].pk
    sets.write = failing_for({bad}, ValueError("boom"))
    session = sets.run(params={"day": "2026-11-01"})
    again = services.retry_failed(session, None)
    assert again.params == {"day": "2026-11-01"}
    assert list(again.records.values_list("instance", flat=True)) == [bad]
