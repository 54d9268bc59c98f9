"""The ends of a session: sending its visits to the workers, and closing it when the last one is done."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from celery import current_app
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerError

from .models import SyncRecord, SyncSession
from .registry import KINDS, StoreKind

log = logging.getLogger(__name__)


def send(delays: Mapping[int, float]) -> None:
    """Ring the workers' bell, after commit, for each record id, to be answered after so many seconds.

    Records that are worked on as a set are answered together, so that one message serves all of their session. A
    message that cannot be sent is no error: the rows are the truth, and the reaper sends again what nobody claimed.
    """
    transaction.on_commit(lambda: _send(delays))


def _send(delays: Mapping[int, float]) -> None:
    sets = [kind.name for kind in KINDS.values() if isinstance(kind, StoreKind)]
    session_of = dict(SyncRecord.objects.filter(pk__in=delays, kind__in=sets).values_list("pk", "session_id"))
    rung: set[int] = set()
    sent = []
    try:
        with current_app.producer_or_acquire() as producer:
            for record_id, delay in delays.items():
                session_id = session_of.get(record_id)
                if session_id is None:
                    current_app.send_task("sync.visit", (record_id,), countdown=delay or None, producer=producer)
                elif session_id not in rung:
                    current_app.send_task("sync.work", (session_id,), countdown=delay or None, producer=producer)
                    rung.add(session_id)
                sent.append(record_id)
    except (BrokerError, OSError) as error:
        log.warning("broker not reachable (%s): %d visits wait for the reaper", error, len(delays) - len(sent))
    SyncRecord.objects.filter(pk__in=sent).update(sent_at=Now(), sent_times=F("sent_times") + 1)


def close(session_id: int) -> bool:
    """Close the session if none of its records is open, and call its follow-ups. True for the one who closed it."""
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, {"session": session_id})
        closed = cursor.fetchone()
    if closed:
        follow_up(session_id, *closed)
    return bool(closed)


def follow_up(session_id: int, kind: str) -> None:
    """Call the follow-ups of a closed session of that kind. One that raises is called again by the reaper."""
    try:
        for callback in KINDS[kind].follow_ups if kind in KINDS else ():
            callback(session_id)
    except Exception:
        # What follows belongs to another app: its fault must not undo the visit that is done.
        log.exception("a follow-up of %s #%s failed", kind, session_id)
        return
    SyncSession.objects.filter(pk=session_id, followed_up_at=None).update(followed_up_at=Now())


_CLOSE = """
UPDATE sync_syncsession s
   SET finished_at = statement_timestamp(),
       status = CASE WHEN s.cancel_requested_at IS NOT NULL AND 'cancelled' = ANY(r.statuses) THEN 'cancelled'
                     WHEN 'failed' = ANY(r.statuses) AND NOT r.statuses && '{completed,partial}' THEN 'failed'
                     WHEN r.statuses && '{failed,partial,cancelled}' THEN 'partial'
                     ELSE 'completed' END
  FROM (SELECT coalesce(array_agg(DISTINCT status::text), '{}') AS statuses
          FROM sync_syncrecord WHERE session_id = %(session)s) r
 WHERE s.id = %(session)s AND s.status = 'running' AND NOT r.statuses && '{pending,running}'
RETURNING s.kind
"""
