"""Running a session of a StoreKind: its records are claimed and written batch by batch.

Several workers may share a session, each with batches of its own. As with visits, whoever holds records proves it with
each statement; here by a name that no other claim has.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping, Sequence

from django.db import IntegrityError, connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from work.halving import failing
from work.lease import brief_transaction, lease_end, worker_name

from .models import SyncRecord, SyncSession
from .registry import KINDS, Outcome, StoreKind
from .sessions import close, send
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

#: Seconds until a session looks again for records that others held.
TURN = 5.0


def work(session_id: int) -> None:
    """Work on whatever is pending in a session, until nothing is. Never raises for what the handler does."""
    session = SyncSession.objects.filter(pk=session_id, status=SyncSession.Status.RUNNING).first()
    if session is None:
        return
    kind = KINDS[session.kind]
    holder = f"{worker_name()}:{secrets.token_hex(8)}"
    _skip_retired(session)
    while records := _claim(session, kind.batch, holder):
        _write(kind, session, records, holder)
    if not close(session_id):
        # Others are at work on the rest of these instances, or one of ours is to be tried again.
        waiting = _due(session).values_list("pk", flat=True)[:1]
        send(dict.fromkeys(waiting, TURN))


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


def _claim(session: SyncSession, size: int, holder: str) -> list[SyncRecord]:
    """Make as many pending records ours, in the order of their instances, as no other session works on."""
    busy = SyncRecord.objects.filter(kind=session.kind, instance=OuterRef("instance"), status=Status.RUNNING)
    try:
        with brief_transaction():
            free = _due(session).filter(~Exists(busy)).order_by("instance_id").select_for_update(skip_locked=True)
            ids = list(free.values_list("pk", flat=True)[:size])
            with connection.cursor() as cursor:
                cursor.execute(_CLAIM, {"ids": ids, **claimed_by(holder, phase="write")})
    except IntegrityError:
        # one_running_visit_per_kind: another session claimed one of them at this very moment.
        return []
    return list(_ours(ids, holder).select_related("instance").order_by("instance_id"))


def _ours(ids: list[int], holder: str) -> QuerySet[SyncRecord]:
    return SyncRecord.objects.filter(pk__in=ids, status=Status.RUNNING, worker=holder)


def _write(kind: StoreKind, session: SyncSession, records: list[SyncRecord], holder: str) -> None:
    """Write a batch. Where that fails, a record that fails alone fails, and the others are written."""

    def attempt(some: Sequence[SyncRecord]) -> None:
        ours = _ours([record.pk for record in some], holder)
        ours.update(lease_until=lease_end())
        with brief_transaction():
            # Locked from here on: the reaper passes over them, and a kill leaves nothing.
            held = dict(ours.select_for_update().values_list("instance_id", "pk"))
            if held:
                outcomes = kind.write(session, sorted(held))
                _end({pk: outcomes[instance_id] for instance_id, pk in held.items()})

    for record, error in failing(records, attempt):
        log.error("%s of %s failed", kind.name, record.instance, exc_info=error)
        fail_internally(record, error)


def _end(outcomes: Mapping[int, Outcome]) -> None:
    """End records that are ours and locked: record id → outcome."""
    rows = [{"id": pk, **ended(outcome)} for pk, outcome in outcomes.items()]
    with connection.cursor() as cursor:
        cursor.execute(_END, [json.dumps(rows)])
    note_successes(list(outcomes))


_CLAIM = f"UPDATE sync_syncrecord SET {CLAIMED} WHERE id = ANY(%(ids)s)"  # noqa: S608 - the code's own

_END = """
UPDATE sync_syncrecord r
   SET status = o.status, error_code = o.error_code, summary = o.summary, gaps = o.gaps, phase = '',
       lease_until = NULL, finished_at = now()
  FROM jsonb_to_recordset(%s::jsonb)
       AS o(id bigint, status varchar, error_code varchar, summary jsonb, gaps jsonb)
 WHERE r.id = o.id
"""
