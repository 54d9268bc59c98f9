"""Run one visit: claim its record, read the server, then write the facts and end the record in one transaction.

Each statement on a record checks that it is still running, with the same attempt and worker. So a visit whose record
was reaped, claimed again or cancelled changes nothing.
"""

from __future__ import annotations

import logging
import random
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import Case, Exists, Model, OuterRef, QuerySet, Value, When
from django.db.models.functions import Now
from structlog.contextvars import bound_contextvars

from engines.errors import AdapterError
from engines.facts import KNOWN_STATES
from instances.models import Credential, Instance
from work.lease import brief_transaction, renewed, worker_name
from work.store import is_full

from .models import SyncRecord, SyncSession
from .registry import KINDS, ImplausibleShrink, Outcome, StoreKind, store_kinds
from .sessions import call_workers, close
from .texts import stored_advice

log = logging.getLogger(__name__)

Status = SyncRecord.Status

Row = TypeVar("Row", bound=Model)


class VisitLost(Exception):
    """The lease of the record expired, or another process ended it."""


class _PutOff(Exception):
    """The record cannot be claimed yet, and waits."""


class VisitCancelled(Exception):
    """A user cancelled the session."""


def visit(record_id: int) -> bool:
    """Run the visit of a pending record. Errors of the server and of the kind are stored in it.

    Returns False if there was nothing to do, as for the second message of a record. Else the record was claimed or put
    off, and there is room for another message in the queue.
    """
    try:
        record = _claim(record_id, worker_name())
    except _PutOff:
        return True
    if record is None:
        return False
    with bound_contextvars(session=record.session_id, record=record.pk):
        if record.instance.is_retired:
            _end(record, Status.SKIPPED, error_code="retired")
        else:
            _run(record)
        close(record.session_id)
    return True


def _run(record: SyncRecord) -> None:
    try:
        kind = KINDS[record.kind]
        ours = _claimed(record)
        with renewed(ours):
            facts = kind.read(record.instance, partial(_enter, record))
            _enter(record, "write")
        with brief_transaction():
            # The lock keeps the reaper away. If the process is killed, all is rolled back.
            if not ours.select_for_update().exists():
                raise VisitLost
            outcome = kind.write(record.instance, facts, record)
            if not _end(record, **ended(outcome)):
                raise VisitLost
            note_successes([record.pk])
    except VisitLost:
        log.warning("visit %s was lost to another worker or to the reaper; nothing was written", record.pk)
    except VisitCancelled:
        _end(record, Status.CANCELLED)
    except ImplausibleShrink as shrink:
        _fail(record, error_code=shrink.code, parameters=shrink.parameters, held_count=shrink.ending)
    except AdapterError as error:
        advice = {"advice": error.hint, "parameters": stored_advice(error.hint)}
        _fail(record, error.transient, error_code=error.code, message=str(error), **advice)
    except Exception as error:
        log.exception("visit %s of %s failed", record.pk, record.instance)
        fail_internally(record, error)


def ended(outcome: Outcome) -> dict[str, Any]:
    """Return the fields of a record with this outcome."""
    failed = any(gap.code not in KNOWN_STATES for gap in outcome.gaps)
    return {
        "status": Status.SKIPPED if outcome.skipped else Status.PARTIAL if failed else Status.COMPLETED,
        "error_code": outcome.skipped,
        "summary": dict(outcome.summary),
        "gaps": [asdict(gap) for gap in outcome.gaps],
    }


def _claim(record_id: int, worker: str) -> SyncRecord | None:
    """Claim a pending record, or return None. Raises _PutOff if it is due and cannot be claimed yet."""
    try:
        with brief_transaction(), connection.cursor() as cursor:
            # Two claims must not both take the last place of a host.
            cursor.execute(_LOCK_HOST, [record_id])
            pending = cursor.fetchone()
            if not pending:
                return None
            # Batches on the store are no load on the host.
            most = {"host": pending[0], "most": settings.TAIFISH_VISITS_PER_HOST, "no_visits": store_kinds()}
            values = {"id": record_id, **most, **claimed_by(worker, phase="connect")}
            for record in SyncRecord.objects.raw(_CLAIM, values):
                record.instance = _row(Instance, record.instance_id)
                record.instance.credential = _row(Credential, record.instance.credential_id)
                return record
    except IntegrityError:
        # one_running_visit_per_kind: another session visits this instance now.
        pass
    if _wait_turn(record_id):
        raise _PutOff
    return None


def _row(model: type[Row], pk: int) -> Row:
    """Return a row. Django takes longer to write 70 columns into a statement than the store takes to run it."""
    return model._default_manager.raw(f"SELECT * FROM {model._meta.db_table} WHERE id = %s", [pk])[0]  # noqa: S608


def being_cancelled() -> Exists:
    """A condition for queries over records: a user has cancelled the session."""
    return Exists(SyncSession.objects.filter(pk=OuterRef("session_id")).exclude(cancel_requested_at=None))


def claimed_by(worker: str, *, phase: str) -> dict[str, Any]:
    """Return the parameters of CLAIMED."""
    return {"worker": worker, "phase": phase, "lease": settings.TAIFISH_LEASE}


def _wait_turn(record_id: int) -> bool:
    """Put a due record off by some seconds. Returns whether it was due."""
    with connection.cursor() as cursor:
        cursor.execute(_WAIT, {"id": record_id, "delay": random.uniform(3, 8)})
        return cursor.rowcount == 1


def _enter(record: SyncRecord, phase: str) -> None:
    """Enter a phase of a visit. Raises VisitCancelled or VisitLost."""
    claim = {"id": record.pk, "attempt": record.attempt, "worker": record.worker}
    with connection.cursor() as cursor:
        cursor.execute(_ENTER_PHASE, {"phase": phase, "lease": settings.TAIFISH_LEASE, **claim})
        if not cursor.rowcount:
            raise VisitCancelled if _claimed(record).exists() else VisitLost


def _claimed(record: SyncRecord) -> QuerySet[SyncRecord]:
    """Return the record while this worker has it."""
    return SyncRecord.objects.filter(pk=record.pk, status=Status.RUNNING, attempt=record.attempt, worker=record.worker)


def _end(record: SyncRecord, status: str, **values: object) -> bool:
    """End a running record. Returns whether this worker still had it."""
    return _claimed(record).update(status=status, phase="", lease_until=None, finished_at=Now(), **values) == 1


def _fail(record: SyncRecord, transient: bool = False, **values: Any) -> None:
    """End a record as failed with these values, or put it back for another attempt if the error is transient."""
    connection.close_if_unusable_or_obsolete()
    if transient and record.attempt < record.max_attempts:
        delay = retry_delay(record.attempt)
        cancelled = being_cancelled()
        again = _claimed(record).update(
            status=Case(When(cancelled, then=Value(Status.CANCELLED)), default=Value(Status.PENDING)),
            finished_at=Case(When(cancelled, then=Now()), default=None),
            phase="",
            lease_until=None,
            not_before=Now() + timedelta(seconds=delay),
            sent_at=None,
            sent_times=0,
            **values,
        )
        if again:
            log.warning("visit %s of %s: %s; again in %.0f s", record.pk, record.instance, values["message"], delay)
            if isinstance(KINDS.get(record.kind), StoreKind):
                call_workers(record.session_id, delay)
    else:
        with transaction.atomic():
            if _end(record, Status.FAILED, **values):
                note_failures([record.pk])


def fail_internally(record: SyncRecord, error: Exception) -> None:
    """End a record, or put it back for another attempt, after an unexpected exception."""
    transient = isinstance(error, OperationalError)
    code = "store_full" if is_full(error) else "internal_error"
    _fail(record, transient, error_code=code, message=f"{type(error).__name__}: {error}")


def retry_delay(attempt: int) -> float:
    """Return the seconds until the next attempt: TAIFISH_RETRY_DELAY, doubled per attempt, at most 15 minutes. Jitter
    keeps instances that failed together from being retried together."""
    return min(settings.TAIFISH_RETRY_DELAY * 2 ** (attempt - 1), 900) * random.uniform(0.75, 1.25)


def note_successes(record_ids: list[int]) -> None:
    """Reset the failure counts of the instances of these records."""
    with connection.cursor() as cursor:
        cursor.execute(_CLEAR_FAILURES, [record_ids])


def note_failures(record_ids: list[int]) -> None:
    """Count the failures of their instances, pause those with too many in a row, and log each failure.

    Failed catch-ups do not count: they are made hourly while a server is down. Nor do changed certificates: visits
    continue as soon as a user accepts the new one.
    """
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_FAILURES, {"ids": record_ids, "limit": settings.TAIFISH_PAUSE_AFTER})
    transaction.on_commit(lambda: _log_failures(record_ids))


def _log_failures(record_ids: list[int]) -> None:
    for record in SyncRecord.objects.filter(pk__in=record_ids).select_related("instance"):
        log.error("%s visit of %s failed (%s): %s", record.kind, record.instance, record.error_code, record.error)


_LOCK_HOST = """
SELECT i.host, pg_advisory_xact_lock(hashtextextended('visit:' || i.host, 0))
  FROM sync_syncrecord r JOIN instances_instance i ON i.id = r.instance_id
 WHERE r.id = %s AND r.status = 'pending'
"""

_NEXT_LEASE = "statement_timestamp() + %(lease)s * interval '1 second'"
_NOT_CANCELLED = (
    "NOT EXISTS (SELECT FROM sync_syncsession s WHERE s.id = r.session_id AND s.cancel_requested_at IS NOT NULL)"
)
# The clocks of workers and store differ slightly: a message may be one second early.
_DUE = "r.status = 'pending' AND (r.not_before IS NULL OR r.not_before <= statement_timestamp() + interval '1 second')"

#: The SET clause that gives a pending record to a worker, with the parameters of `claimed_by`.
CLAIMED = f"""
       status = 'running', attempt = attempt + 1, worker = %(worker)s, phase = %(phase)s,
       lease_until = {_NEXT_LEASE}, started_at = statement_timestamp(),
       error_code = '', parameters = '{{}}', message = '', advice = ''
"""

# Composed of the constants above.
_CLAIM = f"""
UPDATE sync_syncrecord r SET {CLAIMED}
 WHERE r.id = %(id)s AND {_DUE} AND {_NOT_CANCELLED}
   AND (SELECT count(*) FROM sync_syncrecord o JOIN instances_instance i ON i.id = o.instance_id
         WHERE o.status = 'running' AND i.host = %(host)s AND o.kind <> ALL(%(no_visits)s)) < %(most)s
RETURNING r.*
"""  # noqa: S608

_WAIT = f"""
UPDATE sync_syncrecord r
   SET not_before = statement_timestamp() + %(delay)s * interval '1 second', sent_at = NULL, sent_times = 0
 WHERE r.id = %(id)s AND {_DUE}
"""  # noqa: S608

# Not waiting until it is on the disk: a store that crashes then loses the phase, and at worst the lease's last renewal.
_ENTER_PHASE = f"""
UPDATE sync_syncrecord r SET phase = %(phase)s, lease_until = {_NEXT_LEASE}
 WHERE r.id = %(id)s AND r.status = 'running' AND r.attempt = %(attempt)s AND r.worker = %(worker)s AND {_NOT_CANCELLED}
   AND set_config('synchronous_commit', 'off', true) IS NOT NULL
"""  # noqa: S608

_CLEAR_FAILURES = """
INSERT INTO sync_visithealth (instance_id, kind, failures, succeeded_at, error_code, parameters, message)
SELECT instance_id, kind, 0, now(), '', '{}', '' FROM sync_syncrecord WHERE id = ANY(%s)
 ORDER BY instance_id
    ON CONFLICT (instance_id, kind) DO UPDATE
   SET failures = 0, succeeded_at = now(), paused_at = NULL, error_code = '', parameters = '{}', message = ''
"""

_COUNT_FAILURES = """
INSERT INTO sync_visithealth (instance_id, kind, failures, failed_at, error_code, parameters, message, paused_at)
SELECT r.instance_id, r.kind, c.weight, now(), r.error_code, r.parameters, r.message,
       CASE WHEN %(limit)s <= c.weight THEN now() END
  FROM sync_syncrecord r JOIN sync_syncsession s ON s.id = r.session_id
 CROSS JOIN LATERAL (
           SELECT (s.trigger <> 'catch_up' AND r.error_code <> 'certificate_changed')::int AS weight) c
 WHERE r.id = ANY(%(ids)s)
    ON CONFLICT (instance_id, kind) DO UPDATE
   SET failures = sync_visithealth.failures + excluded.failures,
       failed_at = now(),
       error_code = excluded.error_code,
       parameters = excluded.parameters,
       message = excluded.message,
       paused_at = CASE WHEN sync_visithealth.failures + excluded.failures >= %(limit)s
                        THEN coalesce(sync_visithealth.paused_at, now()) END
"""
