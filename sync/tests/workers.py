"""Real Celery workers on this test's store and broker, and what gets in their way: a pytest plugin.

A worker is a process group of its own, started as `up` starts it, so it can be killed and frozen as a machine is.
A `Proxy` stands before a PostgreSQL and halts a visit in the phase of the test's choice.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection

from sync import services
from sync.models import SyncRecord, SyncSession

QUEUE = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"])
OURS = ("DATABASE_URL", "CELERY_", "TAIFISH_", "DJANGO_SETTINGS_MODULE")


@dataclass
class Worker:
    """One `celery worker`: the main process and its pool."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def pool(self) -> list[int]:
        """Process ids of the pool, without the main process."""
        return [pid for pid in _pids() if pid != self.pid and _group(pid) == self.pid]

    def signal(self, number: signal.Signals) -> None:
        """To the whole group at once, as a machine would fare."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        if self.process.returncode is None:
            self.signal(signal.SIGKILL)
            self.process.wait()


class Workers:
    """The workers of one test. `LEASE` is short, so that a test need not wait a minute for it to run out."""

    LEASE = 5

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Worker] = []
        self.mark = secrets.token_hex(16)

    def environment(self, **more: str) -> dict[str, str]:
        store = connection.settings_dict
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            "DATABASE_URL": f"postgresql://{store['USER']}@{quote(store['HOST'], safe='')}:{store['PORT']}/{store['NAME']}",
            "TAIFISH_SECRET_KEY": settings.SECRET_KEY,
            "TAIFISH_CREDENTIAL_KEYS": ",".join(settings.TAIFISH_CREDENTIAL_KEYS),
            "TAIFISH_DATA_DIR": str(settings.TAIFISH_DATA_DIR),
            "TAIFISH_LEASE": str(self.LEASE),
            "TAIFISH_RETRY_DELAY": "1",
            "TAIFISH_VISITS_PER_HOST": "100",
            "TAIFISH_TEST_MARK": self.mark,
            **more,
        }

    def start(self, concurrency: int = 1, **environment: str) -> Worker:
        """A worker that takes work; returns when it is ready."""
        options = f"worker --concurrency={concurrency} --without-gossip --without-mingle --without-heartbeat --pidfile="
        worker = self.celery(options, f"--hostname=test-{self.mark}-{len(self.all)}@%h", **environment)
        self.until(lambda: " ready." in worker.said or worker.process.poll() is not None, "a worker starts")
        assert worker.process.poll() is None, worker.said
        return worker

    def celery(self, options: str, *more: str, **environment: str) -> Worker:
        """`celery -A taifish` with these options."""
        log = self.folder / f"celery{len(self.all)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "taifish", *options.split(), *more],
                cwd=settings.BASE_DIR,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.all.append(Worker(process, log))
        return self.all[-1]

    def processes(self) -> list[int]:
        """Every process that was started with this test's environment."""
        return [pid for pid in _pids() if self.mark.encode() in _read(Path(f"/proc/{pid}/environ"))]

    def until(self, condition: Callable[[], object], what: str, seconds: float = 240) -> None:
        """Wait until the condition holds; fails, with what the workers said, when it never does."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                records = list(
                    SyncRecord.objects.values_list("pk", "status", "phase", "attempt", "worker", "error_code")
                )
                said = "\n".join(f"{worker.log.name}: {worker.said[-3000:]}" for worker in self.all)
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{records}\n{said}")
            time.sleep(0.05)

    def finish(self, *sessions: SyncSession, seconds: float = 240) -> None:
        """Reap, as the schedule would, until these sessions are closed."""

        def closed() -> bool:
            services.reap()
            return not SyncSession.objects.filter(pk__in=[s.pk for s in sessions], status="running").exists()

        self.until(closed, "the sessions close", seconds)

    def end(self) -> None:
        for worker in self.all:
            worker.kill()
        deadline = time.monotonic() + 30
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        # Somebody who left the group and would outlive the test.
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def empty_queue() -> int:
    """Lose every message that no worker has taken yet. Returns how many."""
    messages = list(QUEUE.glob("*.msg"))
    for message in messages:
        message.unlink(missing_ok=True)
    return len(messages)


def ended(session: SyncSession, status: str, **counts: int) -> list[SyncRecord]:
    """The session's records, after a look at what must be true of each session that has ended (F6.1): its state,
    its counts, which add up, and nothing left of work in its records."""
    session = SyncSession.objects.with_counts().get(pk=session.pk)
    records = list(session.records.order_by("instance__name"))
    told = {name: getattr(session, f"n_{name}") for name in SyncRecord.Status.values}
    assert {name: count for name, count in told.items() if count} == counts, [(r.status, r.error) for r in records]
    assert sum(told.values()) == session.n_total == len(records)
    assert (session.status, session.finished_at is not None) == (status, True)
    assert all((r.phase, r.lease_until, r.finished_at is not None) == ("", None, True) for r in records)
    assert Counter(r.status for r in records) == counts
    return records


@dataclass
class Proxy:
    """`host`:`port` leads to the server's port; a client that is about to send `halt_at` is halted there.

    The server never sees those bytes until `go_on`. b"" halts at the start packet. Without TLS, that is.
    """

    server_port: int
    host: str = "127.0.0.1"
    halt_at: bytes | None = None
    halted: int = 0
    open: int = 0
    most: int = 0
    _going: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    #: What the PostgreSQL adapter sends first in each phase.
    PHASES = {"connect": b"", "inventory": b"FROM pg_roles", "permissions": b"FROM pg_auth_members"}

    def __post_init__(self) -> None:
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def halt(self, phase: str) -> None:
        """From now on every visit stops in this phase."""
        self._going.clear()
        self.halt_at = self.PHASES[phase]

    def go_on(self) -> None:
        """Let everybody through, the halted first of all."""
        self.halt_at = None
        self._going.set()

    def close(self) -> None:
        self.go_on()
        # Wakes the thread that accepts; closing alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        self._count(open=1)
        try:
            with client, socket.create_connection(("127.0.0.1", self.server_port)) as server:
                sent = b""
                while True:
                    for source in select.select([client, server], [], [])[0]:
                        data = source.recv(65536)
                        if not data:
                            return
                        if source is client:
                            sent = (sent + data)[-100_000:]
                            if self.halt_at is not None and self.halt_at in sent and not self._may_go(client, server):
                                return
                        (server if source is client else client).sendall(data)
        except OSError:
            pass
        finally:
            self._count(open=-1)

    def _may_go(self, client: socket.socket, server: socket.socket) -> bool:
        """Wait for `go_on`. False when client or server hung up meanwhile."""
        self._count(halted=1)
        try:
            while not self._going.is_set():
                ready = select.select([client, server], [], [], 0.05)[0]
                if client in ready and not client.recv(1, socket.MSG_PEEK):
                    return False
                if server in ready:
                    # It may have something to say at its end.
                    data = server.recv(65536)
                    if not data:
                        return False
                    client.sendall(data)
            return True
        finally:
            self._count(halted=-1)

    def _count(self, *, open: int = 0, halted: int = 0) -> None:
        with self._lock:
            self.open += open
            self.halted += halted
            self.most = max(self.most, self.open)


@pytest.fixture
def workers(transactional_db: None, tmp_path: Path) -> Iterator[Workers]:
    empty_queue()
    it = Workers(tmp_path)
    yield it
    it.end()
    empty_queue()


@pytest.fixture
def proxy_to() -> Iterator[Callable[[int], Proxy]]:
    """Makes proxies to ports of 127.0.0.1."""
    made: list[Proxy] = []

    def make(port: int) -> Proxy:
        made.append(Proxy(port))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()
