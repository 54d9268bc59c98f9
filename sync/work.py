"""Run a session of a StoreKind: claim and write its records in batches.

Several workers may share a session. As with visits, each statement checks that the records still belong to the worker,
here by a name that is unique to each run.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from work.halving import failing
from work.lease import brief_transaction, lease_end, worker_name

from .models import SyncRecord, SyncSession
from .registry import KINDS, Outcome, StoreKind
from .sessions import call_workers, close
from .visits import (
    CLAIMED,
    being_cancelled,
    claimed_by,
    ended,
    fail_internally,
    note_successes,
)

log = logging.getLogger(__name__)

Status = SyncRecord.Status

#: Seconds until a session tries again to claim records that were taken.
TURN = 5.0


def work(session_id: int, on_end: Callable[[int], None] = lambda record_id: None) -> None:
    """Process the pending records of a session. Errors of the kind are stored in them. `on_end` is called with the id
    of each record that was processed."""
    session = SyncSession.objects.filter(pk=session_id, status=SyncSession.Status.RUNNING).first()
    if session is None:
        return
    kind = KINDS[session.kind]
    claim = f"{worker_name()}:{secrets.token_hex(8)}"
    _skip_retired(session)
    while records := _claim(session, kind.batch, claim):
        _write(kind, session, records, claim)
        for record in records:
            on_end(record.pk)
    if not close(session_id) and _due(session).exists():
        # Other sessions process the remaining instances.
        call_workers(session_id, TURN)


def _due(session: SyncSession) -> QuerySet[SyncRecord]:
    """The session's records that may be claimed now, unless the session is being cancelled."""
    return SyncRecord.objects.filter(
        ~being_cancelled(), Q(not_before=None) | Q(not_before__lte=Now()), session=session, status=Status.PENDING
    )


def _skip_retired(session: SyncSession) -> None:
    retired = SyncRecord.objects.filter(session=session, status=Status.PENDING, instance__retired_at__isnull=False)
    SyncRecord.objects.filter(pk__in=retired.values("pk"), status=Status.PENDING).update(
        status=Status.SKIPPED, finished_at=Now(), error_code="retired"
    )


def _claim(session: SyncSession, size: int, claim: str) -> list[SyncRecord]:
    """Claim up to `size` pending records whose instances no other session processes, in the order of instances."""
    busy = SyncRecord.objects.filter(kind=session.kind, instance=OuterRef("instance"), status=Status.RUNNING)
    with brief_transaction(), connection.cursor() as cursor:
        # One claim at a time: two sessions that claim the same instances would meet in one_running_visit_per_kind, and
        # UPDATE takes rows in the order of storage, so each could wait for the other.
        cursor.execute(_LOCK, [session.kind])
        free = _due(session).filter(~Exists(busy)).order_by("instance_id").select_for_update(skip_locked=True)
        ids = list(free.values_list("pk", flat=True)[:size])
        cursor.execute(_CLAIM, {"ids": ids, **claimed_by(claim, phase="write")})
    return list(_claimed(ids, claim).select_related("instance").order_by("instance_id"))


def _claimed(ids: list[int], claim: str) -> QuerySet[SyncRecord]:
    return SyncRecord.objects.filter(pk__in=ids, status=Status.RUNNING, worker=claim)


def _write(kind: StoreKind, session: SyncSession, records: list[SyncRecord], claim: str) -> None:
    """Write a batch. If it fails, find the records that fail alone, fail them, and write the others."""

    def attempt(some: Sequence[SyncRecord]) -> None:
        claimed = _claimed([record.pk for record in some], claim)
        claimed.update(lease_until=lease_end())
        with brief_transaction():
            # The locks keep the reaper away. If the process is killed, all is rolled back.
            locked = dict(claimed.select_for_update().values_list("instance_id", "pk"))
            if locked:
                outcomes = kind.write(session, sorted(locked))
                _end({pk: outcomes[instance_id] for instance_id, pk in locked.items()})

    for record, error in failing(records, attempt):
        log.error("%s of %s failed", kind.name, record.instance, exc_info=error)
        fail_internally(record, error)


def _end(outcomes: Mapping[int, Outcome]) -> None:
    """End claimed and locked records: record id → outcome."""
    rows = [{"id": pk, **ended(outcome)} for pk, outcome in outcomes.items()]
    with connection.cursor() as cursor:
        cursor.execute(_END, [json.dumps(rows)])
    note_successes(list(outcomes))


_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('taifish.claim.' || %s, 0))"

_CLAIM = f"UPDATE sync_syncrecord SET {CLAIMED} WHERE id = ANY(%(ids)s)"  # noqa: S608 - the code's own

_END = """
UPDATE sync_syncrecord r
   SET status = o.status, error_code = o.error_code, summary = o.summary, gaps = o.gaps, phase = '',
       lease_until = NULL, finished_at = now()
  FROM jsonb_to_recordset(%s::jsonb)
       AS o(id bigint, status varchar, error_code varchar, summary jsonb, gaps jsonb)
 WHERE r.id = o.id
"""
