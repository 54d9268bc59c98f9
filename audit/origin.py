"""The origin of changes: who makes them, through which door. Triggers read it from a setting of the transaction.

It is sent in front of each statement that writes, so it costs no round trip, and SQL without it is known as such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

SETTING = "taifish.origin"

#: Longest texts that are kept of names that people enter.
LONGEST = 150


@dataclass(frozen=True)
class Origin:
    door: str
    user_id: int | None = None
    user_name: str = ""
    address: str | None = None
    request: str = ""
    command: str = ""


_current: ContextVar[Callable[[], Origin] | None] = ContextVar("origin", default=None)
#: Of all threads of a worker or a command.
_process: list[Origin] = []

_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|TRUNCATE|WITH|DO|CALL)\b", re.IGNORECASE)


def of_process(origin: Origin) -> None:
    """Set the origin of what this process does outside requests and tasks."""
    _process[:] = [origin]


@contextmanager
def origin_is(origin: Callable[[], Origin]) -> Iterator[None]:
    """Within it, `origin()` is called for each statement that writes: the user may become known on the way."""
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Origin | None:
    if origin := _current.get():
        return origin()
    return _process[0] if _process else None


def send_origin(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Execute wrapper: set the origin for the statement's transaction, in the same message."""
    if isinstance(sql, str) and _WRITES.match(sql) and not getattr(context["cursor"].cursor, "name", None):
        origin = current()
        if origin is not None:
            # ASCII without control characters; "'" cannot end the literal, and "%" is no placeholder.
            value = json.dumps(asdict(origin)).replace("'", "''")
            setting = f"SELECT set_config('{SETTING}', '{value}', true); "
            sql = (setting if params is None else setting.replace("%", "%%")) + sql
    return execute(sql, params, many, context)


def wrap(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Receiver of `connection_created`."""
    if send_origin not in connection.execute_wrappers:
        connection.execute_wrappers.append(send_origin)
