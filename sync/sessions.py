"""The ends of a session: sending its visits to the workers, and closing it when the last one is done."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from celery import current_app
from django.db import transaction
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerError

from .models import SyncRecord, SyncSession
from .registry import KINDS, StoreKind

log = logging.getLogger(__name__)

Status = SyncSession.Status


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
    records = SyncRecord.objects.filter(session_id=OuterRef("pk"))
    has = {status: Exists(records.filter(status=status)) for status in SyncRecord.Status.values}
    done = Exists(records.filter(status__in=SyncRecord.DONE))
    spoilt = Exists(records.filter(status__in=["failed", "partial", "cancelled"]))
    closed = (
        SyncSession.objects.filter(pk=session_id, status=Status.RUNNING)
        .exclude(Exists(records.filter(status__in=SyncRecord.OPEN)))
        .update(
            status=Case(
                When(Q(cancel_requested_at__isnull=False) & has["cancelled"], then=Value(Status.CANCELLED)),
                When(has["failed"] & ~done, then=Value(Status.FAILED)),
                When(spoilt, then=Value(Status.PARTIAL)),
                default=Value(Status.COMPLETED),
            ),
            finished_at=Now(),
        )
    )
    if closed:
        follow_up(session_id)
    return bool(closed)


def follow_up(session_id: int) -> None:
    """Call the follow-ups of a closed session's kind. One that raises is called again by the reaper."""
    session = SyncSession.objects.get(pk=session_id)
    try:
        for callback in KINDS[session.kind].follow_ups if session.kind in KINDS else ():
            callback(session_id)
    except Exception:
        # What follows belongs to another app: its fault must not undo the visit that is done.
        log.exception("a follow-up of %s failed", session)
        return
    SyncSession.objects.filter(pk=session_id, followed_up_at=None).update(followed_up_at=Now())
