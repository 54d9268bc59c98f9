"""Run several programs: start them, restart them when they end, and stop them gracefully.

Each child has a separate session: Ctrl-C in the terminal reaches only the supervisor, which signals only the child's
main process. If the pool of a Celery worker gets the signal too, the worker may never finish its shutdown.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

logger = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
#: Seconds after which a running child's delay is reset.
SETTLED = 60.0
STOP_TIMEOUT = 15.0
PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """A program to keep running; `keep_open` are file descriptors that it inherits under the same numbers."""

    name: str
    argv: Sequence[str]
    keep_open: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    delay: float = field(default=FIRST_DELAY, init=False)
    #: When it was started; if it has ended, when to start it again.
    moment: float = field(default=0.0, init=False)


def supervise(
    children: Sequence[Child], *, folder: Path, environment: Mapping[str, str], tend: Callable[[], None]
) -> None:
    """Run the children until SIGTERM, SIGINT or SIGHUP, then stop them; a second signal kills them.

    `tend` is called about once a second. Call this in the main thread of a process without other threads.
    """
    # SimpleQueue.put() is safe in signal handlers, and a signal ends get().
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.put(number))
    prepare = _tie_to_parent()
    try:
        while True:
            for child in children:
                _keep_running(child, folder, environment, prepare)
            with suppress(Empty):
                signals.get(timeout=1)
                break
            tend()
    finally:
        _stop([child.process for child in children if child.process], signals)


def _keep_running(child: Child, folder: Path, environment: Mapping[str, str], prepare: Callable[[], None]) -> None:
    now = time.monotonic()
    if child.process and _ended(child.process):
        code = _bury(child.process)
        child.process = None
        if now - child.moment > SETTLED:
            child.delay = FIRST_DELAY
        child.moment = now + child.delay
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        logger.error("%s %s: starting it again in %.0f s", child.name, how, child.delay)
        child.delay = min(child.delay * 2, LONGEST_DELAY)
    if not child.process and now >= child.moment:
        child.moment = now
        child.process = subprocess.Popen(  # noqa: S603
            child.argv,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=child.keep_open,
            start_new_session=True,
            preexec_fn=prepare,
        )


def _stop(running: Sequence[subprocess.Popen[bytes]], signals: SimpleQueue[int]) -> None:
    for process in running:
        # Not Popen.send_signal: it may reap the process, which `_ended` still needs.
        os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while any(not _ended(process) for process in running) and time.monotonic() < deadline:
        with suppress(Empty):
            signals.get(timeout=0.1)
            break
    for process in running:
        _bury(process)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended. It is not reaped, so its process id is not reused before `wait`."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _bury(process: subprocess.Popen[bytes]) -> int:
    """Kill the process and its children, then reap it. Returns its exit code."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _tie_to_parent() -> Callable[[], None]:
    """The function that a child runs before its program. On Linux the child gets SIGTERM when this process ends."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    parent = os.getpid()

    def prepare() -> None:
        if prctl:
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
