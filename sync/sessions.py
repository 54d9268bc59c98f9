"""Feed the pending visits of sessions to the workers, and close a session after its last one."""

from __future__ import annotations

import logging

from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from work import enqueue
from work.enqueue import Message

from .models import SyncRecord, SyncSession
from .registry import KINDS, store_kinds

log = logging.getLogger(__name__)

#: The most records whose messages may wait in the broker. The others wait in the store, and each visit that ends has
#: the next one sent.
QUEUE = 200

#: The most messages that a request sends: each takes 3 ms. A worker sends the others.
AT_ONCE = 20


def feed(most: int | None = None) -> int:
    """Enqueue tasks for the pending visits that are due soonest, at most `most`; by default as many as the queue has
    room for. Returns how many.

    Do not call it inside a transaction: workers must find what it took.
    """
    most = _room() if most is None else most
    if not most:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_UNSENT, {"most": most, "sets": store_kinds()})
        rows = sorted(cursor.fetchall(), key=lambda row: row[::-1])
    sent = enqueue.send(Message("sync.visit", (pk,), delay) for pk, delay in rows)
    if sent < len(rows):
        # The broker cannot be reached. The reaper tries again.
        unsent = SyncRecord.objects.filter(pk__in=[pk for pk, _ in rows[sent:]], status=SyncRecord.Status.PENDING)
        unsent.update(sent_at=None, sent_times=F("sent_times") - 1)
    return sent


def begin_feeding() -> None:
    """As `feed`, for a request that must return soon: sends AT_ONCE messages, and has a worker send the others."""
    if feed(min(_room(), AT_ONCE)) == AT_ONCE:
        enqueue.send([Message("sync.feed")])


def _room() -> int:
    """The number of messages that the queue has room for."""
    with connection.cursor() as cursor:
        cursor.execute(_QUEUED, {"sets": store_kinds()})
        return max(0, QUEUE - cursor.fetchone()[0])


def call_workers(session_id: int, delay: float = 0, *, again: bool = False) -> None:
    """Enqueue the task of a session of a StoreKind. `again`: the last message may be lost, see `services.reap`."""
    if enqueue.send([Message("sync.work", (session_id,), delay)]):
        pending = SyncRecord.objects.filter(session=session_id, status=SyncRecord.Status.PENDING)
        pending.update(sent_at=Now(), sent_times=F("sent_times") + 1 if again else 1)


def close(session_id: int) -> bool:
    """Close the session if none of its records is open, and call its follow-ups. Returns whether it did."""
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, {"session": session_id})
        closed = cursor.fetchone()
    if closed:
        follow_up(session_id, *closed)
    return bool(closed)


def follow_up(session_id: int, kind: str) -> None:
    """Call the follow-ups of a closed session. If one raises, the reaper calls them again."""
    try:
        for callback in KINDS[kind].follow_ups if kind in KINDS else ():
            callback(session_id)
    except Exception:
        # Follow-ups belong to other apps: their errors must not affect the visit.
        log.exception("a follow-up of %s #%s failed", kind, session_id)
        return
    SyncSession.objects.filter(pk=session_id, followed_up_at=None).update(followed_up_at=Now())


_QUEUED = """
SELECT count(*) FROM sync_syncrecord
 WHERE status = 'pending' AND sent_at IS NOT NULL AND sent_times > 0 AND kind <> ALL(%(sets)s)
"""

# Workers may feed at the same time.
_TAKE_UNSENT = """
UPDATE sync_syncrecord r SET sent_at = now(), sent_times = r.sent_times + 1
  FROM (SELECT u.id, greatest(0, extract(epoch FROM u.not_before - now()))::float AS delay
          FROM sync_syncrecord u JOIN sync_syncsession s ON s.id = u.session_id
         WHERE u.status = 'pending' AND u.sent_at IS NULL AND u.kind <> ALL(%(sets)s) AND s.cancel_requested_at IS NULL
         ORDER BY u.not_before NULLS FIRST, u.id
         LIMIT %(most)s
           FOR NO KEY UPDATE OF u SKIP LOCKED) n
 WHERE r.id = n.id
RETURNING r.id, coalesce(n.delay, 0)
"""

# Every visit that ends asks. While records are open the first condition is false, and they are not gathered.
_CLOSE = """
UPDATE sync_syncsession s
   SET finished_at = statement_timestamp(),
       status = CASE WHEN s.cancel_requested_at IS NOT NULL AND 'cancelled' = ANY(r.statuses) THEN 'cancelled'
                     WHEN 'failed' = ANY(r.statuses) AND NOT r.statuses && '{completed,partial}' THEN 'failed'
                     WHEN r.statuses && '{failed,partial,cancelled}' THEN 'partial'
                     WHEN r.statuses = '{skipped}' THEN 'skipped'
                     ELSE 'completed' END
  FROM (SELECT coalesce(array_agg(DISTINCT status::text), '{}') AS statuses
          FROM sync_syncrecord WHERE session_id = %(session)s) r
 WHERE NOT EXISTS (SELECT FROM sync_syncrecord WHERE session_id = %(session)s AND status IN ('pending', 'running'))
   AND s.id = %(session)s AND s.status = 'running'
RETURNING s.kind
"""
