"""Several programs as one: started together, restarted when they die, stopped in good order.

Each child leads a session of its own, so a Ctrl-C in the terminal reaches only the supervisor, and a stop is told
to the child's main process alone: a Celery worker whose pool gets the signal too may never finish its shutdown.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
#: Seconds of life after which a death counts as the first again.
SETTLED = 60.0
STOP_TIMEOUT = 15.0
ROUND = 1.0
PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """A program to keep running; `keep_open` are file descriptors it inherits under the same numbers."""

    name: str
    argv: Sequence[str]
    keep_open: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    delay: float = field(default=FIRST_DELAY, init=False)
    started: float = field(default=0.0, init=False)
    due: float = field(default=0.0, init=False)


def supervise(
    children: Sequence[Child],
    *,
    folder: Path,
    environment: Mapping[str, str],
    tend: Callable[[], None] = lambda: None,
) -> None:
    """Run the children until SIGTERM, SIGINT or SIGHUP, then stop them; a second signal kills them.

    `tend` is called about once a second. Must run in a main thread that has no others beside it.
    """
    prepare = _tie_to_parent()
    with _signals() as wait_for_signal:
        try:
            while True:
                for child in children:
                    _keep_running(child, folder, environment, prepare)
                if wait_for_signal(ROUND):
                    break
                tend()
        finally:
            _stop(children, wait_for_signal)


def _keep_running(
    child: Child, folder: Path, environment: Mapping[str, str], prepare: Callable[[], None] | None
) -> None:
    now = time.monotonic()
    if child.process:
        if not _dead(child.process):
            return
        # Its own children first, while its process id is still its own.
        _kill_group(child.process)
        code = child.process.wait()
        child.process = None
        if now - child.started > SETTLED:
            child.delay = FIRST_DELAY
        child.due = now + child.delay
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        logger.error("%s %s: starting it again in %.0f s", child.name, how, child.delay)
        child.delay = min(child.delay * 2, LONGEST_DELAY)
    if now >= child.due:
        child.started = now
        child.process = subprocess.Popen(  # noqa: S603
            child.argv,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=child.keep_open,
            start_new_session=True,
            preexec_fn=prepare,
        )


def _stop(children: Sequence[Child], wait_for_signal: Callable[[float], bool]) -> None:
    running = [child.process for child in children if child.process]
    for process in running:
        if not _dead(process):
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while any(not _dead(process) for process in running) and time.monotonic() < deadline:
        if wait_for_signal(0.1):
            break
    for process in running:
        _kill_group(process)
        process.wait()


def _dead(process: subprocess.Popen[bytes]) -> bool:
    """True when it has ended; its process id stays its own until `wait`."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _signals() -> Iterator[Callable[[float], bool]]:
    """Inside, signals wake a wait instead of ending us. Yields wait(seconds) → was a stop asked for?"""
    stops = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)

    def wait(seconds: float) -> bool:
        select.select([receiver], [], [], seconds)
        try:
            return not stops.isdisjoint(receiver.recv(4096))
        except BlockingIOError:
            return False

    before = {number: signal.signal(number, lambda *_: None) for number in (*stops, signal.SIGCHLD)}
    wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    try:
        yield wait
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        receiver.close()
        sender.close()


def _tie_to_parent() -> Callable[[], None] | None:
    """What a child runs before its program, so that it is told to stop when we are killed (Linux only)."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
