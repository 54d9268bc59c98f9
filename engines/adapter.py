"""One visit to one instance of any engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

from .check import check
from .engine import Engine
from .errors import AdapterError
from .facts import Databases, Examination, Inventory, Permissions, ServerInfo, Sizes, TableSize
from .reads import ACCOUNTS, DETAILS, GRANTS, Answers
from .target import Target


class Adapter:
    """A read-only reader of one instance. Use as a context manager: entering connects and sets `server`. Every method
    raises AdapterError unless its docstring says otherwise."""

    def __init__(self, engine: Engine, target: Target) -> None:
        self._engine = engine
        self.session = engine.session(replace(target, **engine.tls))
        self._answers: Answers | None = None
        self._known: Any = None
        self._listed: Any = None

    def __enter__(self) -> Self:
        self.session.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.session.close()

    @property
    def server(self) -> ServerInfo:
        return self.session.server

    @property
    def statements(self) -> int:
        """The number of statements run so far."""
        return self.session.statements

    def inventory(self) -> Inventory:
        """Every user and role of the instance."""
        if self.session.idle:
            self.session.begin()
        self._answers = Answers(self.session, self._engine.reads)
        self._answers.ask(ACCOUNTS)
        inventory, self._known = self._engine.facts.inventory(self.session, self._answers)
        return inventory

    def permissions(self) -> Permissions:
        """Memberships and grants of the accounts in `inventory()`, to the depth of the target. Reads the accounts again
        if the transaction that read them has ended."""
        if self._answers is None or self.session.idle:
            self.inventory()
        answers = self._answers
        assert answers is not None  # noqa: S101 -- inventory() has set it
        answers.ask(GRANTS | DETAILS)
        return self._engine.facts.permissions(self.session, answers, self._known)

    def databases(self) -> Databases:
        """Every database of the instance."""
        self._listed, databases = self._engine.sizes.databases(self.session)
        return databases

    def sizes(self) -> Sizes:
        """The size on disk of each of those databases, and of what they share. Raises AdapterError if no size could be
        read."""
        if self._listed is None:
            self.databases()
        return self._engine.sizes.sizes(self.session, self._listed)

    def table_sizes(self, database: str, limit: int) -> list[TableSize]:
        """The largest tables of one database, largest first."""
        ((_, tables),) = self.largest_tables([database], limit)
        if isinstance(tables, AdapterError):
            raise tables
        return tables

    def largest_tables(
        self, databases: Sequence[str], limit: int
    ) -> Iterator[tuple[str, list[TableSize] | AdapterError]]:
        """The largest tables of each database, largest first, or the error of that database. Raises AdapterError if the
        visit cannot go on."""
        return self._engine.sizes.table_sizes(self.session, databases, limit)

    def examine(self, hash_blind: bool = False) -> Examination:
        """Try each read of a visit to the depth of the target and of sizes, and find rights beyond need. With
        `hash_blind`, access to password hashes is beyond need too. Never raises AdapterError."""
        return check(self.session, self._engine.reads, self._engine.excess, hash_blind)
