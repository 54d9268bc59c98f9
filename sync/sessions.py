"""The ends of a session: sending its visits to the workers, and closing it when the last one is done."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from itertools import chain, islice

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from work import enqueue
from work.enqueue import Message

from .models import SyncRecord, SyncSession
from .registry import KINDS, StoreKind

log = logging.getLogger(__name__)


def send(delays: Mapping[int, float]) -> None:
    """Enqueue a task per record when the transaction commits; `delays` maps record id to countdown in seconds.

    Records that are worked on as a set share one task for all of their session. The reaper sends again what was not
    claimed.
    """
    transaction.on_commit(lambda: _send(delays))


def _send(delays: Mapping[int, float]) -> None:
    sets = [kind.name for kind in KINDS.values() if isinstance(kind, StoreKind)]
    session_of = dict(SyncRecord.objects.filter(pk__in=delays, kind__in=sets).values_list("pk", "session_id"))
    messages: dict[tuple[str, int], list[int]] = defaultdict(list)
    for pk in delays:
        messages["sync.work" if pk in session_of else "sync.visit", session_of.get(pk, pk)].append(pk)
    sent = enqueue.send(Message(task, (key,), delays[pks[0]]) for (task, key), pks in messages.items())
    records = chain.from_iterable(islice(messages.values(), sent))
    SyncRecord.objects.filter(pk__in=[*records]).update(sent_at=Now(), sent_times=F("sent_times") + 1)


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
