"""Start, retry, cancel, resume, reap and delete visits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import BigIntegerField, Case, Exists, F, Min, OuterRef, Q, QuerySet, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Greatest, Least, Now
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from audit import services as audit
from console.visibility import limit_of, shown_to, within
from instances.models import Instance, InstanceQuerySet
from work.days import local_day, midnight
from work.lease import brief_transaction, process_name

from .models import SyncRecord, SyncSession, VisitHealth, VisitHealthQuerySet
from .registry import KINDS, StoreKind, store_kinds
from .sessions import begin_feeding, call_workers, close, feed, follow_up
from .visits import being_cancelled, note_failures, visit
from .work import work

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)

Status = SyncRecord.Status
Trigger = SyncSession.Trigger

#: Triggers that skip paused instances: no user is waiting for these visits.
UNATTENDED = (Trigger.SCHEDULE, Trigger.FOLLOW_UP, Trigger.CATCH_UP)

HIDDEN_VISITS = gettext_lazy("You cannot cancel this session: it also visits instances that you do not see.")


@transaction.atomic
def start(
    kind: str,
    instances: InstanceQuerySet,
    *,
    trigger: str,
    user: User | None = None,
    enqueue: bool = True,
    attempts: int | None = None,
    slot: str | None = None,
    retry_of: SyncSession | None = None,
    confirmed: Mapping[int, int] | None = None,
    params: Mapping[str, Any] | None = None,
) -> SyncSession:
    """Create a session with a pending record per active instance, and send the records to the workers on commit.

    `slot` identifies a scheduled run: a second call with the same slot returns the existing session. `attempts` limits
    the attempts of a visit (default: TAIFISH_VISIT_ATTEMPTS). `confirmed` maps instance id to the number of
    disappearances that a user accepted. `params` are further parameters of the kind. Raises ValueError for an unknown
    kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of visit {kind!r}; choose from: {', '.join(sorted(KINDS))}")
    values = {
        "kind": kind,
        "trigger": trigger,
        "requested_by": user,
        "retry_of": retry_of,
        "params": dict(params or {}),
    }
    if slot:
        session, created = SyncSession.objects.get_or_create(slot=slot, defaults=values)
        if not created:
            return session
    else:
        session = SyncSession.objects.create(**values)
    # Users start visits only of instances that they see.
    ids = list(shown_to(instances.active(), user).order_by("name").values_list("pk", flat=True))
    waiting = _waiting(session, ids)
    for instance_id, count in (confirmed or {}).items():
        if instance_id in waiting:
            # The pending visit takes over what the user confirmed.
            SyncRecord.objects.filter(kind=kind, instance=instance_id, status=Status.PENDING).update(
                confirmed_count=count
            )
    paused = (
        set(VisitHealth.objects.paused().filter(kind=kind).values_list("instance_id", flat=True))
        if trigger in UNATTENDED
        else set()
    )
    is_set = isinstance(KINDS[kind], StoreKind)
    # Someone waits for the others.
    is_spread = trigger in UNATTENDED and not is_set
    spread = settings.TAIFISH_START_SPREAD * min(1, len(ids) / 1000) if is_spread else 0
    reasons = ["waiting" if pk in waiting else "paused" if pk in paused else "" for pk in ids]
    rows: dict[str, Any] = {
        "session": session.pk,
        "kind": kind,
        "attempts": attempts or settings.TAIFISH_VISIT_ATTEMPTS,
        "spread": spread if enqueue and spread >= 1 else None,
        # What this process runs, and sets, need no feeding unless they wait for long.
        "fed": enqueue and not is_set,
        "ids": ids,
        "reasons": reasons,
        "others": [waiting.get(pk) for pk in ids],
        "confirmed": [(confirmed or {}).get(pk) for pk in ids],
    }
    with connection.cursor() as cursor:
        cursor.execute(_ADD_RECORDS, rows)
    if enqueue and is_set:
        transaction.on_commit(partial(call_workers, session.pk))
    elif enqueue:
        transaction.on_commit(begin_feeding)
    if all(reasons):
        transaction.on_commit(lambda: close(session.pk))
    return session


def _waiting(session: SyncSession, ids: list[int]) -> dict[int, int]:
    """Return the instances with the same visit pending in another session: instance id → session id.

    A second visit would read nothing new. If a user requests it, the pending one starts at once.
    """
    pending = SyncRecord.objects.filter(kind=session.kind, status=Status.PENDING, session__params=session.params)
    # Ten thousand ids would take longer to send than the few pending records take to compare.
    wanted = set(ids)
    waiting = {pk: other for pk, other in pending.values_list("instance_id", "session_id") if pk in wanted}
    if waiting and session.trigger not in UNATTENDED:
        pending.filter(instance__in=waiting, not_before__gt=Now()).update(not_before=None, sent_at=None, sent_times=0)
        transaction.on_commit(begin_feeding)
    return waiting


def run_here(
    session: SyncSession, parallel: int = 4, on_end: Callable[[int], None] = lambda record_id: None
) -> SyncSession:
    """Run the visits of a session in this process, with retries, until it is closed. Returns the session, refreshed.

    Visits that are pending in other sessions, so that this one skips them, are run too: no worker may be running.
    Workers may run some of the visits. KeyboardInterrupt cancels the session. `on_end` is called in this thread, with
    the id of a record, after each attempt that this process made.
    """
    awaited = list(_awaited(session).values_list("pk", flat=True))
    open_records = SyncRecord.objects.filter(Q(session=session) | Q(pk__in=awaited), status__in=SyncRecord.OPEN)
    due = open_records.filter(Q(not_before=None) | Q(not_before__lte=Now()), status=Status.PENDING)
    named: set[int] = set()

    def one(record_id: int) -> int:
        try:
            visit(record_id)
        finally:
            connection.close()
        return record_id

    with ThreadPoolExecutor(parallel, thread_name_prefix="visit") as pool:
        try:
            while True:
                if isinstance(KINDS[session.kind], StoreKind):
                    work(session.pk, on_end)
                else:
                    attempts = [pool.submit(one, pk) for pk in due.values_list("pk", flat=True)]
                    for attempt in as_completed(attempts):
                        on_end(attempt.result())
                close(session.pk)
                if not open_records.exists():
                    break
                _name_holders(session, open_records, named)
                time.sleep(0.5)
                reap()
        except KeyboardInterrupt:
            cancel(session)
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    session.refresh_from_db()
    return session


def _awaited(session: SyncSession) -> QuerySet[SyncRecord]:
    """The records of other sessions that were pending when this session skipped their instances."""
    skipped = SyncRecord.objects.filter(session=session, error_code="waiting")
    pairs = skipped.annotate(other=Cast(KT("parameters__session"), BigIntegerField()))
    here = Exists(pairs.filter(instance=OuterRef("instance"), other=OuterRef("session")))
    return SyncRecord.objects.filter(here, kind=session.kind)


def results(session: SyncSession) -> QuerySet[SyncRecord]:
    """The visit of each instance of a session: its record, or the one in another session that it was skipped for."""
    return SyncRecord.objects.filter(
        Q(session=session) & ~Q(error_code="waiting") | Q(pk__in=_awaited(session).values("pk"))
    )


def _name_holders(session: SyncSession, open_records: QuerySet[SyncRecord], named: set[int]) -> None:
    """Log each visit of another process that open records wait for: of the same instance, or to the same host."""
    running = SyncRecord.objects.filter(
        status=Status.RUNNING, instance__host__in=open_records.values("instance__host")
    ).exclude(Q(worker__startswith=process_name()) | Q(kind__in=store_kinds()) & ~Q(kind=session.kind))
    for record in running.exclude(pk__in=named).select_related("instance", "session"):
        named.add(record.pk)
        log.warning(
            "%s waits for the %s visit of %s in session %s: worker %s runs it, and holds it until %s unless it renews",
            *(session, record.kind, record.instance, record.session_id, record.worker),
            timezone.localtime(record.lease_until).strftime("%H:%M:%S") if record.lease_until else "it ends",
        )


def finish_open(kind: str) -> None:
    """Run the open sessions of a kind in this process. Otherwise a new session would skip what is pending in them, and
    they may wait for a worker that is not running."""
    for session in SyncSession.objects.filter(kind=kind, status=SyncSession.Status.RUNNING).order_by("pk"):
        run_here(session)


@transaction.atomic
def retry_failed(
    session: SyncSession, user: User | None, trigger: str = Trigger.RETRY, *, enqueue: bool = True
) -> SyncSession | None:
    """Start a session for the instances that failed in this one. Returns None if none did."""
    failed = shown_to(Instance.objects.active(), user).filter(
        Exists(SyncRecord.objects.filter(session=session, instance=OuterRef("pk"), status=Status.FAILED))
    )
    if not failed.exists():
        return None
    return start(
        session.kind, failed, trigger=trigger, user=user, enqueue=enqueue, retry_of=session, params=session.params
    )


def catch_up(kind: str, late: Callable[[datetime], InstanceQuerySet]) -> SyncSession | None:
    """Visit late instances again, except paused ones and those with an open record.

    `late` returns the instances that lack a visit, from the time when today's first scheduled session began. Returns
    None if there are none, or if there was no such session.
    """
    sessions = SyncSession.objects.filter(kind=kind, trigger=Trigger.SCHEDULE, created_at__gte=midnight(local_day()))
    begun = sessions.aggregate(begun=Min("created_at"))["begun"]
    if begun is None:
        return None
    of_instance = {"kind": kind, "instance": OuterRef("pk")}
    paused = VisitHealth.objects.paused().filter(**of_instance)
    open_ones = SyncRecord.objects.filter(**of_instance, status__in=SyncRecord.OPEN)
    instances = late(begun).exclude(Exists(paused)).exclude(Exists(open_ones))
    return start(kind, instances, trigger=Trigger.CATCH_UP) if instances.exists() else None


def confirm_shrink(record: SyncRecord, user: User | None) -> SyncSession:
    """Visit the instance of a held visit again, and accept at most as many disappearances as were held.

    Raises ValueError if the visit was not held.
    """
    if record.held_count is None:
        raise ValueError(gettext("This visit was not held for confirmation."))
    audit.record("decision", record, instance_id=record.instance_id, decision=f"{record.held_count} are really gone")
    return start(
        record.kind,
        Instance.objects.filter(pk=record.instance_id),
        trigger=Trigger.MANUAL,
        user=user,
        retry_of=record.session,
        confirmed={record.instance_id: record.held_count},
    )


def held_counts(kind: str, instances: QuerySet[Instance]) -> dict[int, int]:
    """Return instance id → disappearances of its last held visit, unless a later visit succeeded."""
    newer = SyncRecord.objects.filter(
        Q(held_count__isnull=False) | Q(status__in=SyncRecord.DONE),
        instance=OuterRef("instance"),
        kind=kind,
        pk__gt=OuterRef("pk"),
    )
    held = SyncRecord.objects.filter(~Exists(newer), kind=kind, instance__in=instances, held_count__isnull=False)
    rows = held.values_list("instance_id", "held_count")
    return {instance_id: count for instance_id, count in rows if count is not None}


def visits_hidden(session: SyncSession, user: User | None) -> bool:
    """Return whether the session visits instances that the user does not see."""
    records = SyncRecord.objects.filter(session=session)
    return limit_of(user) is not None and records.exclude(within("instance", user)).exists()


def cancel(session: SyncSession) -> int:
    """Cancel a session: pending visits end at once, running ones after their phase. Returns how many ended at once."""
    running = SyncSession.objects.filter(pk=session.pk, status=SyncSession.Status.RUNNING, cancel_requested_at=None)
    running.update(cancel_requested_at=Now())
    cancelled = _cancel_pending(SyncRecord.objects.filter(session=session))
    close(session.pk)
    # Their messages have no effect any more, and feed nothing.
    transaction.on_commit(begin_feeding)
    return cancelled


def _cancel_pending(records: QuerySet[SyncRecord]) -> int:
    return records.filter(status=Status.PENDING).update(status=Status.CANCELLED, finished_at=Now())


def resume(health: VisitHealthQuerySet) -> int:
    """Resume paused visits and reset their failure counts. Returns how many."""
    return health.paused().update(paused_at=None, failures=0)


def reap() -> dict[str, int]:
    """Recover visits of dead workers, lost messages, and sessions that were not closed.

    May run several times at once. Returns counts by action.
    """
    counts = {"lost": _reap_lost()}
    cancelled = SyncRecord.objects.filter(session__status="running").exclude(session__cancel_requested_at=None)
    counts["cancelled"] = _cancel_pending(SyncRecord.objects.filter(pk__in=cancelled.values("pk")))
    counts["sent_again"] = _send_again()
    still_open = SyncRecord.objects.filter(session_id=OuterRef("pk"), status__in=SyncRecord.OPEN)
    # Each needs its own conditional UPDATE. Few sessions are left for the reaper.
    finished = SyncSession.objects.filter(~Exists(still_open), status=SyncSession.Status.RUNNING)
    counts["closed"] = sum(close(pk) for pk in finished.values_list("pk", flat=True))
    unfollowed = SyncSession.objects.filter(
        followed_up_at=None,
        finished_at__lt=Now() - timedelta(minutes=1),
        finished_at__gt=Now() - timedelta(days=1),
    )
    for pk, kind in unfollowed.values_list("pk", "kind"):
        follow_up(pk, kind)
    return counts


def _reap_lost() -> int:
    """Retry or end the running records whose lease has expired. Returns how many."""
    with brief_transaction():
        # A record that is being written is locked by that transaction, and is not lost.
        lost = list(
            SyncRecord.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(status=Status.RUNNING, lease_until__lt=Now())
            .values_list("pk", flat=True)
        )
        if not lost:
            return 0
        cancelled = being_cancelled()
        again = Q(attempt__lt=F("max_attempts")) | Q(attempt__lt=2)
        SyncRecord.objects.filter(pk__in=lost).update(
            status=Case(
                When(cancelled, then=Value(Status.CANCELLED)),
                When(again, then=Value(Status.PENDING)),
                default=Value(Status.FAILED),
            ),
            finished_at=Case(When(~cancelled & again, then=None), default=Now()),
            error_code="worker_lost",
            phase="",
            lease_until=None,
            not_before=None,
            sent_at=None,
            sent_times=0,
        )
        failed = SyncRecord.objects.filter(pk__in=lost, status=Status.FAILED).values_list("pk", flat=True)
        note_failures(list(failed))
    return len(lost)


def _send_again() -> int:
    """Feed the workers, and send pending records again that are due and were sent over a minute ago, or two from the
    second time on: their message may be lost. A message too many does nothing, and the broker holds few. Returns how
    many messages were sent."""
    # Sent 0 times: a command runs them, or the broker could not be reached.
    wait = Value(timedelta(seconds=60)) * Least(Greatest(F("sent_times"), 1), 2)
    due = SyncRecord.objects.filter(
        Q(not_before=None) | Q(not_before__lt=Now() - timedelta(seconds=30)),
        status=Status.PENDING,
        session__cancel_requested_at=None,
    )
    lost = due.filter(Q(sent_at=None) | Q(sent_at__lt=Now() - wait))
    # A worker that has begun with a session goes on until the last record.
    begun = SyncRecord.objects.filter(session=OuterRef("session"), status=Status.RUNNING)
    sets = lost.filter(~Exists(begun), kind__in=store_kinds())
    sessions = set(sets.values_list("session_id", flat=True))
    for session_id in sessions:
        call_workers(session_id, again=True)
    visits = lost.exclude(kind__in=store_kinds()).exclude(sent_at=None)
    SyncRecord.objects.filter(pk__in=visits.values("pk")).update(sent_at=None)
    return feed() + len(sessions)


def purge_sessions(batch: int = 1000) -> int:
    """Delete closed sessions older than TAIFISH_KEEP_SESSIONS_DAYS, in batches. Returns how many."""
    old = SyncSession.objects.filter(
        finished_at__lt=timezone.now() - timedelta(days=settings.TAIFISH_KEEP_SESSIONS_DAYS)
    )
    total = 0
    # One transaction per batch: a single large delete would hold locks for minutes.
    while ids := list(old.values_list("pk", flat=True)[:batch]):
        total += SyncSession.objects.filter(pk__in=ids).delete()[1].get(SyncSession._meta.label, 0)
    return total


# One statement: objects for ten thousand records would take a second.
_ADD_RECORDS = """
INSERT INTO sync_syncrecord (
       session_id, instance_id, kind, status, phase, attempt, max_attempts, not_before, sent_at, sent_times, worker,
       finished_at, error_code, parameters, message, advice, confirmed_count, summary, gaps)
SELECT %(session)s, n.id, %(kind)s, CASE n.reason WHEN '' THEN 'pending' ELSE 'skipped' END, '', 0, %(attempts)s,
       CASE n.reason WHEN '' THEN statement_timestamp() + random() * %(spread)s * interval '1 second' END,
       CASE WHEN NOT %(fed)s THEN statement_timestamp() END, 0, '',
       CASE WHEN n.reason <> '' THEN statement_timestamp() END, n.reason,
       CASE WHEN n.other IS NULL THEN '{}' ELSE jsonb_build_object('session', n.other) END, '', '', n.confirmed,
       '{}', '[]'
  FROM unnest(%(ids)s::bigint[], %(reasons)s::text[], %(others)s::bigint[], %(confirmed)s::integer[])
       WITH ORDINALITY AS n(id, reason, other, confirmed, place)
 ORDER BY n.place
"""
