"""One connection to one instance."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import AdapterError
from .facts import Capability, Databases, Examination, Inventory, Permissions, ServerInfo, Sizes, TableSize, failed
from .target import Target


class Adapter(ABC):
    """One connection to one instance, read-only. Use as a context manager: entering connects and sets `server`.

    Subclasses give the abstract methods, and run SQL through `query()` only, which counts statements and keeps the
    wall-clock budget.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.server = ServerInfo("", "", "")
        self.statements = 0
        self._deadline = time.monotonic() + target.budget

    def __enter__(self) -> Adapter:
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
        """Open the session (read-only, named, with time limits) and say who answered. Raises AdapterError."""

    @abstractmethod
    def inventory(self) -> Inventory:
        """Every user and role of the instance."""

    @abstractmethod
    def permissions(self) -> Permissions:
        """Memberships and grants, to the depth of `target.level`."""

    @abstractmethod
    def databases(self) -> Databases:
        """Every database of the instance."""

    @abstractmethod
    def sizes(self) -> Sizes:
        """What each of those databases takes on disk, and what they share. Raises AdapterError when no size at all
        could be read."""

    @abstractmethod
    def table_sizes(self, database: str, limit: int) -> list[TableSize]:
        """The largest tables of one database, largest first. It looks at each table: not for a visit."""

    @abstractmethod
    def examine(self, hash_blind: bool = False) -> Examination:
        """Try out whatever a visit to the depth of `target.level` and a reading of sizes do, and look for rights beyond
        need. With `hash_blind`, to be able to read password hashes is beyond need too.

        Never raises AdapterError: what failed is a capability that does not work.
        """

    @abstractmethod
    def close(self) -> None:
        """Close whatever is open. Never raises."""

    @abstractmethod
    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        """Run one statement, return all rows. Raises AdapterError."""

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of one statement. Raises AdapterError; "budget_exceeded" when the visit's time is used up."""
        self.remaining()
        self.statements += 1
        return self._execute(sql, parameters)

    def probe(
        self, name: str, sql: str, begin: Callable[[], object] = tuple, **described: str
    ) -> tuple[Capability, list[tuple[Any, ...]] | None]:
        """Whether a statement can be run, as a capability `described` by its other fields, and its rows. `begin` is
        called before it."""
        try:
            begin()
            rows = self.query(sql)
        except AdapterError as error:
            return failed(name, error, **described), None
        return Capability(name, True, "works", **described), rows

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
