"""One connection to one instance, with its time limits."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Self

from .errors import AdapterError
from .facts import ServerInfo
from .target import Target

Rows = list[tuple[Any, ...]]


class Candidate(NamedTuple):
    """A database that may contain grants. `skipped` is code, message and hint if visits leave it out; `refused` is the
    error if connecting to it would fail."""

    native_id: Any
    name: str
    skipped: tuple[str, str, str] | None = None
    refused: AdapterError | None = None


class Session(ABC):
    """One connection to one instance, read-only. Use as a context manager: entering connects and sets `server`.

    `account` is the collection account in the form of messages and GRANT, `features` are properties of the server that
    reads depend on, `database` is the current database if the engine stores grants inside databases. SQL runs through
    `query()` only, which counts statements and enforces the wall-clock budget.
    """

    #: Seconds to wait for a locked catalogue. Waiting longer could block others.
    lock_timeout: float = 10

    #: Seconds that the server may exceed its statement timeout before Taifish cuts the connection.
    grace: float = 5

    account = ""
    database = ""
    features: Any = None

    _connection: Any = None
    #: The connection that Taifish closed because the server did not answer, and the error.
    _cut: tuple[Any, AdapterError] | None = None

    def __init__(self, target: Target) -> None:
        self.target = target
        self.server = ServerInfo("", "", "")
        self.statements = 0
        self._deadline = time.monotonic() + target.budget

    def __enter__(self) -> Self:
        try:
            self.server = self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abstractmethod
    def connect(self) -> ServerInfo:
        """Open the session (read-only, named, with time limits). Raises AdapterError."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection, if any. Never raises."""

    @abstractmethod
    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> Rows:
        """Run one statement, return all rows. Raises AdapterError."""

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Rows:
        """All rows of one statement. Raises AdapterError; "budget_exceeded" if the visit has no time left.

        The message of a timeout ends with the statement. On a connection that Taifish closed after a timeout, later
        statements raise that timeout again, not the loss of the connection.
        """
        self.remaining()
        if self._cut and self._cut[0] is self._connection:
            raise self._cut[1]
        self.statements += 1
        try:
            return self._execute(sql, parameters)
        except AdapterError as error:
            if error.code != "timeout":
                raise
            late = AdapterError(f"{error}; statement: {_shortened(sql)}", code="timeout", hint=error.hint)
            if self._is_cut(error):
                self._cut = self._connection, late
            raise late from None

    def _is_cut(self, error: AdapterError) -> bool:
        """Whether the connection was closed by this timeout."""
        return False

    def remaining(self) -> float:
        """Seconds left of the visit's budget. Raises AdapterError if there are none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise AdapterError(
                f"the visit took longer than its budget of {self.target.budget} s",
                code="budget_exceeded",
                hint="Raise the instance's time budget, lower its read depth, or visit it when its load is lower.",
            )
        return left

    @property
    def idle(self) -> bool:
        """Whether a read needs `begin()` first."""
        return False

    def begin(self) -> object:
        """Start a new transaction, if a failed statement aborts the open one on this engine."""
        return None

    def limited(self, sql: str, rows: int) -> str:
        """`sql` limited to this number of rows."""
        return f"{sql} LIMIT {rows}"

    # An engine that stores grants inside databases overrides these.

    def candidates(self) -> list[Candidate]:
        """The databases of the server. Raises AdapterError."""
        return []

    def inside(self, database: str) -> AbstractContextManager[None]:
        """Within this context, `query()` runs in that database. Raises AdapterError."""
        raise NotImplementedError

    def exists(self, native_id: Any) -> bool:
        """Whether that database still exists. Raises AdapterError."""
        raise NotImplementedError


def _shortened(sql: str) -> str:
    """A statement in one line of at most 200 characters."""
    line = " ".join(sql.split())
    return line if len(line) <= 200 else f"{line[:199]}…"
