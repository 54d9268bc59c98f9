"""The queue stays short, with real workers and the real broker."""

from __future__ import annotations

import socket

from instances.models import Credential, Instance
from sync import services, sessions
from sync.models import SyncSession
from sync.tests.workers import QUEUE, Workers, empty_queue, ended

INSTANCES = sessions.QUEUE + 60


def test_workers_get_through_more_visits_than_the_queue_holds(transactional_db, workers: Workers):
    """F6.1, F11.1: each message that is consumed is replaced, so that a session ends without the reaper."""
    credential = Credential.objects.create(name="c", username="u")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        # Nothing listens there, so that a visit fails at once.
        address = {"host": "127.0.0.1", "port": closed.getsockname()[1], "tls_mode": "disable"}
        Instance.objects.bulk_create(
            Instance(name=f"db{n:03}", engine="postgresql", credential=credential, **address) for n in range(INSTANCES)
        )
        empty_queue()
        session = services.start("accounts", Instance.objects.all(), trigger="manual", attempts=1)
        assert len(list(QUEUE.glob("*.msg"))) == sessions.AT_ONCE + 1
        workers.start(concurrency=2, TAIFISH_START_SPREAD="0")
        most = 0

        def closed_session() -> bool:
            nonlocal most
            most = max(most, len(list(QUEUE.glob("*.msg"))))
            return not SyncSession.objects.get(pk=session.pk).is_open

        workers.until(closed_session, "the session closes", 120)
    # A worker has filled the queue. Two processes that feed at the same moment may each take the last place.
    assert sessions.AT_ONCE + 1 < most <= sessions.QUEUE + 2
    ended(session, "failed", failed=INSTANCES)
