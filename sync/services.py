"""Starting, retrying, cancelling, resuming, reaping and forgetting visits."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Least, Now
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from console.visibility import limit_of, shown_to, within
from instances.models import Instance, InstanceQuerySet
from work.lease import brief_transaction

from .models import SyncRecord, SyncSession, VisitHealth, VisitHealthQuerySet
from .registry import KINDS, StoreKind
from .sessions import close, follow_up, send
from .visits import being_cancelled, note_failures, visit
from .work import work

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)

Status = SyncRecord.Status
Trigger = SyncSession.Trigger

#: Nobody is watching these: a paused instance is left alone, and said to be.
UNATTENDED = (Trigger.SCHEDULE, Trigger.FOLLOW_UP, Trigger.CATCH_UP)

NOT_YOURS = gettext_lazy("It also visits instances that you do not see: you cannot cancel it.")


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
    """Write a session with one pending record per active instance, and send them to the workers on commit.

    `slot` names a scheduled occurrence: asked for again, it returns the session that serves it already.
    `attempts` bounds how often a transient failure is tried (TAIFISH_VISIT_ATTEMPTS); `confirmed` maps instance id
    to the number of disappearances a person accepted; `params` is for the kinds that ask for more than instances.
    Raises ValueError for a kind nobody registered.
    """
    if kind not in KINDS:
        raise ValueError(f"no visit is of the kind {kind!r}; there are: {', '.join(sorted(KINDS))}")
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
    # Wherever it is asked for: nobody starts visits of instances that they do not see.
    ids = list(shown_to(instances.active(), user).order_by("name").values_list("pk", flat=True))
    waiting = _waiting(session, ids)
    for instance_id, count in (confirmed or {}).items():
        if instance_id in waiting:
            # A person confirmed these one by one; the visit that will happen carries it.
            SyncRecord.objects.filter(kind=kind, instance=instance_id, status=Status.PENDING).update(
                confirmed_count=count
            )
    paused = (
        set(VisitHealth.objects.paused().filter(kind=kind, instance__in=ids).values_list("instance_id", flat=True))
        if trigger in UNATTENDED
        else set()
    )
    spread = 0 if isinstance(KINDS[kind], StoreKind) else settings.TAIFISH_START_SPREAD * min(1, len(ids) / 1000)
    now = timezone.now()
    records = []
    for instance_id in ids:
        record = SyncRecord(
            session=session,
            instance_id=instance_id,
            kind=kind,
            max_attempts=attempts or settings.TAIFISH_VISIT_ATTEMPTS,
            confirmed_count=(confirmed or {}).get(instance_id),
            sent_at=now,
        )
        if instance_id in waiting:
            record.status, record.finished_at, record.error_code = Status.SKIPPED, now, "waiting"
            record.parameters = {"session": waiting[instance_id]}
        elif instance_id in paused:
            record.status, record.finished_at, record.error_code = Status.SKIPPED, now, "paused"
        elif enqueue and spread >= 1:
            record.not_before = now + timedelta(seconds=random.uniform(0, spread))
        records.append(record)
    SyncRecord.objects.bulk_create(records, batch_size=1000)
    if enqueue:
        send(
            {
                record.pk: (record.not_before - now).total_seconds() if record.not_before else 0
                for record in records
                if record.status == Status.PENDING
            }
        )
    if all(record.status == Status.SKIPPED for record in records):
        transaction.on_commit(lambda: close(session.pk))
    return session


def _waiting(session: SyncSession, ids: list[int]) -> dict[int, int]:
    """Instances for which another session has the same pending already: instance id → session id.

    What is still pending will see today's state, so a second one adds nothing; a person who asks brings it forward.
    """
    pending = SyncRecord.objects.filter(
        kind=session.kind, instance__in=ids, status=Status.PENDING, session__params=session.params
    )
    waiting = dict(pending.values_list("instance_id", "session_id"))
    if waiting and session.trigger not in UNATTENDED:
        hurried = dict.fromkeys(pending.filter(not_before__gt=Now()).values_list("pk", flat=True), 0.0)
        pending.filter(pk__in=hurried).update(not_before=None)
        send(hurried)
    return waiting


def run_here(session: SyncSession, parallel: int = 4) -> SyncSession:
    """Run a session's visits in this process, retries included, until it is closed; returns it refreshed.

    Workers may take part: every record is claimed by one of them only. KeyboardInterrupt cancels the session.
    """

    def one(record_id: int) -> None:
        try:
            visit(record_id)
        finally:
            connection.close()

    with ThreadPoolExecutor(parallel, thread_name_prefix="visit") as pool:
        try:
            while not close(session.pk):
                session.refresh_from_db()
                if not session.is_open:
                    break
                if isinstance(KINDS[session.kind], StoreKind):
                    work(session.pk)
                else:
                    due = session.records.filter(Q(not_before=None) | Q(not_before__lte=Now()), status=Status.PENDING)
                    list(pool.map(one, list(due.values_list("pk", flat=True))))
                if session.records.filter(status__in=SyncRecord.OPEN).exists():
                    time.sleep(0.5)
                    reap()
        except KeyboardInterrupt:
            cancel(session)
            raise
    session.refresh_from_db()
    return session


def finish_open(kind: str) -> None:
    """Run, in this process, the sessions of a kind that are still open: what is asked for next would be left to them,
    who may wait for a worker that is not there."""
    for session in SyncSession.objects.filter(kind=kind, status=SyncSession.Status.RUNNING).order_by("pk"):
        run_here(session)


@transaction.atomic
def retry_failed(session: SyncSession, user: User | None, trigger: str = Trigger.RETRY) -> SyncSession | None:
    """A new session for the instances that failed in this one; None when none did."""
    failed = shown_to(Instance.objects.active(), user).filter(
        Exists(SyncRecord.objects.filter(session=session, instance=OuterRef("pk"), status=Status.FAILED))
    )
    if not failed.exists():
        return None
    return start(session.kind, failed, trigger=trigger, user=user, retry_of=session, params=session.params)


def confirm_shrink(record: SyncRecord, user: User | None) -> SyncSession:
    """Visit again an instance whose visit was held, accepting as many disappearances as were held, no more.

    Raises ValueError when the record holds nothing.
    """
    if record.held_count is None:
        raise ValueError(gettext("This visit was not held for confirmation."))
    return start(
        record.kind,
        Instance.objects.filter(pk=record.instance_id),
        trigger=Trigger.MANUAL,
        user=user,
        retry_of=record.session,
        confirmed={record.instance_id: record.held_count},
    )


def held_counts(kind: str, instances: QuerySet[Instance]) -> dict[int, int]:
    """Instance id → how many disappearances its last held visit counted, unless a visit has succeeded since."""
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
    """Whether it visits instances that the person does not see: then it is not theirs to cancel."""
    records = SyncRecord.objects.filter(session=session)
    return limit_of(user) is not None and records.exclude(within("instance", user)).exists()


def cancel(session: SyncSession) -> int:
    """End a session: pending visits at once, running ones when their phase ends. Returns how many ended at once."""
    asked = SyncSession.objects.filter(pk=session.pk, status=SyncSession.Status.RUNNING, cancel_requested_at=None)
    asked.update(cancel_requested_at=Now())
    cancelled = _cancel_pending(SyncRecord.objects.filter(session=session))
    close(session.pk)
    return cancelled


def _cancel_pending(records: QuerySet[SyncRecord]) -> int:
    return records.filter(status=Status.PENDING).update(status=Status.CANCELLED, finished_at=Now())


def resume(health: VisitHealthQuerySet) -> int:
    """Take paused instances back into their schedules, with a clean streak. Returns how many."""
    return health.paused().update(paused_at=None, failures=0)


def reap() -> dict[str, int]:
    """Make good what was lost: visits whose worker died, messages nobody got, sessions nobody closed.

    Set-based and safe to run anywhere, any number of times at once. Returns counts by what was done.
    """
    counts = {"lost": _reap_lost()}
    cancelled = SyncRecord.objects.filter(session__status="running").exclude(session__cancel_requested_at=None)
    counts["cancelled"] = _cancel_pending(SyncRecord.objects.filter(pk__in=cancelled.values("pk")))
    counts["sent_again"] = _send_again()
    still_open = SyncRecord.objects.filter(session_id=OuterRef("pk"), status__in=SyncRecord.OPEN)
    # Each close is one conditional UPDATE of its own, and there are seldom any left to the reaper.
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
    """Running records whose lease is over: to another attempt, or to their end."""
    with brief_transaction():
        # One that is being written is locked by its own transaction, and not lost.
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
    """Pending records that are due and whose message seems lost: after a minute, for it may have died with a worker.
    The wait doubles each time, to an hour, so that a long backlog is not buried under repeated messages."""
    wait = Value(timedelta(seconds=60)) * 2 ** (Least(F("sent_times"), 7) - 1)
    due = SyncRecord.objects.filter(
        Q(sent_at=None) | Q(sent_at__lt=Now() - wait),
        Q(not_before=None) | Q(not_before__lt=Now() - timedelta(seconds=30)),
        status=Status.PENDING,
        session__cancel_requested_at=None,
    )
    ids = list(due.values_list("pk", flat=True)[:5000])
    send(dict.fromkeys(ids, 0.0))
    return len(ids)


def purge_sessions(batch: int = 1000) -> int:
    """Delete closed sessions older than TAIFISH_KEEP_SESSIONS_DAYS, in batches. Returns how many."""
    old = SyncSession.objects.filter(
        finished_at__lt=timezone.now() - timedelta(days=settings.TAIFISH_KEEP_SESSIONS_DAYS)
    )
    total = 0
    # A batch a transaction: one huge delete would hold its locks for minutes.
    while ids := list(old.values_list("pk", flat=True)[:batch]):
        total += SyncSession.objects.filter(pk__in=ids).delete()[1].get(SyncSession._meta.label, 0)
    return total
