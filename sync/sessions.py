"""Send the visits of a session to the workers, and close the session after the last one."""

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

    The records of a StoreKind share one task per session. The reaper sends records again that were not claimed.
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
 WHERE s.id = %(session)s AND s.status = 'running' AND NOT r.statuses && '{pending,running}'
RETURNING s.kind
"""
