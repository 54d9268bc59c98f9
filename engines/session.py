"""One connection to one instance, and how long it may take."""

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
    """A database to look for grants in. `skipped` is code, message and hint where no visit enters it; `refused` is the
    error that entering it would end in."""

    native_id: Any
    name: str
    skipped: tuple[str, str, str] | None = None
    refused: AdapterError | None = None


class Session(ABC):
    """One connection to one instance, read-only. Use as a context manager: entering connects and sets `server`.

    `account` is the collection account as messages and GRANT name it, `features` what the reads depend on, `database`
    the one that the session is in, where grants lie inside databases. SQL runs through `query()` only, which counts
    statements and keeps the wall-clock budget.
    """

    #: Seconds to wait for a catalogue that somebody has locked: longer, and we would be in the way.
    lock_timeout: float = 10

    #: Seconds the server has to keep its own statement timeout before the connection is cut from this side.
    grace: float = 5

    account = ""
    database = ""
    features: Any = None

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
        """Close whatever is open. Never raises."""

    @abstractmethod
    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> Rows:
        """Run one statement, return all rows. Raises AdapterError."""

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Rows:
        """All rows of one statement. Raises AdapterError; "budget_exceeded" when the visit's time is used up."""
        self.remaining()
        self.statements += 1
        return self._execute(sql, parameters)

    def remaining(self) -> float:
        """Seconds left of the visit's budget. Raises AdapterError when there are none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise AdapterError(
                f"the visit took longer than its budget of {self.target.budget} s",
                code="budget_exceeded",
                hint="Raise the instance's time budget, lower its read depth, or visit it at a quieter hour.",
            )
        return left

    @property
    def idle(self) -> bool:
        """Whether a read needs `begin()` first."""
        return False

    def begin(self) -> object:
        """Start a transaction, where a failed statement would spoil the one that is open."""
        return None

    def limited(self, sql: str, rows: int) -> str:
        """`sql` with so many rows at most."""
        return f"{sql} LIMIT {rows}"

    # Where grants lie inside databases that have to be entered, the engine's session overrides these.

    def candidates(self) -> list[Candidate]:
        """The databases of the server. Raises AdapterError."""
        return []

    def inside(self, database: str) -> AbstractContextManager[None]:
        """`query()` asks in that database meanwhile. Raises AdapterError."""
        raise NotImplementedError

    def exists(self, native_id: Any) -> bool:
        """Whether there still is such a database. Raises AdapterError."""
        raise NotImplementedError
