"""What an error of the store means, and what to do about it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

#: https://www.postgresql.org/docs/current/errcodes-appendix.html
DISK_FULL = "53100"
_NO_SPACE = os.strerror(errno.ENOSPC)
_NOT_READY = ("starting up", "shutting down", "in recovery mode", "not yet accepting connections")

#: Bytes. A server with less cannot write.
_TOO_LITTLE = 1024 * 1024


def is_full(error: BaseException) -> bool:
    """Whether the store refused a statement because its disk is full."""
    return getattr(error.__cause__, "pgcode", None) == DISK_FULL or _NO_SPACE in str(error)


def explained(error: BaseException, folder: Path | None = None) -> str:
    """What happened, and what to do. `folder` is that of a store on this machine: a server that ran out of space may
    have stopped, and its clients see only that."""
    message = " ".join(str(error).split())
    if is_full(error) or (folder and folder.exists() and shutil.disk_usage(folder).free < _TOO_LITTLE):
        where = f" ({folder})" if folder else ""
        return f"the disk of the store{where} is full: {message}\nFree some space on it, and try again."
    if any(words in message for words in _NOT_READY):
        return f"the store is not ready: {message}\nWait until it accepts connections. If it does not, see its log."
    return f"the store does not answer: {message}\nStart it, or correct DATABASE_URL."
