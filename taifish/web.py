"""The gunicorn worker: threads, and one of its own for probes."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from selectors import EVENT_READ

from gunicorn.workers.gthread import DEFAULT_WORKER_DATA_TIMEOUT, TConn, ThreadWorker

PROBES = (b"GET /healthz ", b"HEAD /healthz ")
#: In bytes. A longer request waits its turn.
LONGEST_PROBE = 8192


class Worker(ThreadWorker):
    """Answers /healthz in a separate thread, so that a probe does not queue behind pages.

    gunicorn gives a new connection to a thread at once, which then waits for the request. Here the main loop waits, and
    looks at what has arrived. Only a request that is there as a whole is a probe: a client that sends half of one
    cannot hold the thread of the others.
    """

    def init_process(self) -> None:
        self.probes = ThreadPoolExecutor(max_workers=1)
        super().init_process()

    def enqueue_req(self, conn: TConn) -> None:
        if not (conn.initialized or conn.data_ready):
            conn.timeout = time.monotonic() + DEFAULT_WORKER_DATA_TIMEOUT
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))
            return
        pool = self.probes if is_probe(conn.sock) else self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))


def is_probe(connection: socket.socket) -> bool:
    """Whether a whole request of /healthz waits to be read."""
    try:
        head = connection.recv(LONGEST_PROBE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    return head.startswith(PROBES) and head.endswith(b"\r\n\r\n")
