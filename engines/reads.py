"""The table of an engine's reads, and the loop that runs them for a visit. `check` and `Engine.script` use the same
table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import AdapterError
from .facts import GRANT_KINDS, Capability, Gap
from .session import Rows, Session
from .statements import Statement

#: Scopes of `Read.yields`, by the phase of a visit that reads them.
ACCOUNTS = frozenset({"accounts", "account fields"})
GRANTS = frozenset({"memberships", *GRANT_KINDS})
#: What is added to grants. A visit that could not read it is complete.
DETAILS = frozenset({"object ids"})
SIZES = frozenset({"databases", "sizes", "used", "shared", "tablespaces"})

#: Rows that a limited read returns at most; a gap is reported when there are more.
ROW_LIMIT = 200_000

#: Codes of errors that leave a gap. Every other error fails the visit.
UNREADABLE = ("denied", "unsupported")

VISIT_FAILS = "Everything: visits fail, and the stored state of this instance becomes stale."

Text = str | Callable[[Any], str]
"""A text, or a function that makes it from the session's features."""


def _always(features: Any) -> bool:
    return True


def _none(features: Any, account: str, hash_blind: bool) -> Iterable[Statement]:
    return ()


def _as_found(session: Any, capability: Capability, rows: Rows | None) -> Iterable[Capability]:
    yield capability


@dataclass(frozen=True)
class Read:
    """One statement and its properties.

    `title` describes what it reads, `place` names the table or privilege. `yields` are the scopes it covers (values of
    `Gap.scope`) and `fields` the account fields; a read without scopes is for the check only. `levels` are the read
    depths that run it, `when` tests whether the server has what it reads. A failed read leaves a gap for each scope, or
    fails the visit if it is `required`. If the read `after` is incomplete, this one is skipped and gets the same gaps.
    A `limited` read returns at most ROW_LIMIT rows; if it is `ordered`, each row begins with the index of its scope,
    and the limit cuts off only the last scopes. A `per_database` read runs in each database.

    `grants` makes the statements that permit the read. The check runs `probe`, else `sql` with `sample` rows (None: all
    rows, which are passed to the search for rights beyond need); `judge` makes capabilities from the result, and `cost`
    is what stays unknown without it.
    """

    name: str
    title: str
    sql: Text
    yields: tuple[str, ...] = ()
    levels: str = "ABC"
    place: Text = ""
    when: Callable[[Any], bool] = _always
    fields: tuple[str, ...] = ()
    required: bool = False
    after: str = ""
    limited: bool = False
    ordered: bool = False
    per_database: bool = False
    grants: Callable[[Any, str, bool], Iterable[Statement]] = _none
    probe: Text = ""
    sample: int | None = 0
    judge: Callable[[Any, Capability, Rows | None], Iterable[Capability]] = _as_found
    cost: str = ""

    def statement(self, features: Any) -> str:
        return text_of(self.sql, features)


def text_of(text: Text, features: Any) -> str:
    return text if isinstance(text, str) else text(features)


def applicable(reads: Iterable[Read], level: str, features: Any) -> list[Read]:
    """The reads of a visit to this depth, and of its check, on a server with these features."""
    return [read for read in reads if level in read.levels and read.when(features)]


def statements_for(reads: Iterable[Read], features: Any, account: str, hash_blind: bool) -> list[Statement]:
    """The statements that permit these reads, without duplicates."""
    found: dict[str, Statement] = {}
    for read in reads:
        for statement in read.grants(features, account, hash_blind):
            found.setdefault(statement.sql, statement)
    return list(found.values())


def needed(session: Session, reads: Iterable[Read], hash_blind: bool = False) -> list[str]:
    """The grants that the collection account needs for visits to the depth of the target."""
    selected = applicable(reads, session.target.level, session.features)
    return [statement.sql for statement in statements_for(selected, session.features, session.account, hash_blind)]


def read_only(sql: str, on: str) -> Read:
    """A read for the check: the server refuses writes if each row of `sql` ends with `on`."""

    def judge(session: Session, capability: Capability, rows: Rows | None) -> Iterable[Capability]:
        if rows is not None and {row[-1] for row in rows} != {on}:
            capability = replace(capability, works=False, message="this session can write")
        yield capability

    return Read("read-only", "read-only session", sql, sample=None, judge=judge, cost=VISIT_FAILS)


class Answers:
    """The rows that one visit read: `rows` by name of the read, and those `inside` databases as (read, database, rows).
    `gaps` maps the name of each read that ran to its gaps."""

    def __init__(self, session: Session, reads: Sequence[Read]) -> None:
        self.session = session
        self.rows: dict[str, Rows] = {}
        self.inside: list[tuple[Read, str, Rows]] = []
        self.gaps: dict[str, list[Gap]] = {}
        self._reads = applicable(reads, session.target.level, session.features)
        self._deepest = applicable(reads, "C", session.features)

    def ask(self, phase: frozenset[str]) -> None:
        """Run each read that yields a scope of this phase, unless it has run already. Raises AdapterError."""
        for read in self._reads:
            if read.name not in self.gaps and phase.intersection(read.yields):
                self.gaps[read.name] = []
                self._ask(read)

    def gaps_in(self, scopes: frozenset[str]) -> list[Gap]:
        return [gap for gaps in self.gaps.values() for gap in gaps if gap.scope in scopes]

    @property
    def covered(self) -> frozenset[str]:
        """The scopes of phase two that this depth reads. "memberships" is always one, also for an engine without."""
        return GRANTS.intersection(["memberships", *(scope for read in self._reads for scope in read.yields)])

    @property
    def beyond(self) -> frozenset[str]:
        """The scopes of phase two that only greater depths read."""
        return GRANTS.intersection(scope for read in self._deepest for scope in read.yields) - self.covered

    def _ask(self, read: Read) -> None:
        if before := self.gaps.get(read.after):
            self._add(read, read.yields, before[0].code, before[0].message, before[0].hint)
        elif read.per_database:
            self._ask_each_database(read)
        else:
            try:
                self.rows[read.name] = self._query(read)
            except AdapterError as error:
                if read.required or error.code not in UNREADABLE:
                    raise
                self._add(read, read.yields, error.code, str(error), error.hint)
            else:
                if read.required and ACCOUNTS.issubset(read.yields) and not self.rows[read.name]:
                    hint = "At least the collection account must be listed: check its rights."
                    raise AdapterError("the server lists no accounts", code="server_error", hint=hint)

    def _query(self, read: Read, database: str = "") -> Rows:
        sql = read.statement(self.session.features)
        if not read.limited:
            return self.session.query(sql)
        rows = self.session.query(self.session.limited(sql, ROW_LIMIT + 1))
        if len(rows) > ROW_LIMIT:
            cut = read.yields[rows[ROW_LIMIT][0] :] if read.ordered else read.yields
            message = f"{read.title}: only the first {ROW_LIMIT} were read"
            self._add(read, cut, "row_limit", message, "Lower the instance's read depth.", database)
        return rows[:ROW_LIMIT]

    def _ask_each_database(self, read: Read) -> None:
        """Run the read in each database. A failure in one database leaves gaps for that database only."""
        for native_id, name, skipped, refused in self.session.candidates():
            if skipped:
                self._add(read, read.yields, *skipped, name)
                continue
            try:
                if refused:
                    raise refused
                with self.session.inside(name):
                    rows = self._query(read, name)
                self.inside.append((read, name, rows))
            except AdapterError as error:
                # A database dropped meanwhile leaves no gap. If the connection is lost, exists() raises and the visit
                # fails.
                if error.code == "budget_exceeded":
                    raise
                if self.session.exists(native_id):
                    self._add(read, read.yields, error.code, str(error), error.hint, name)

    def _add(
        self, read: Read, scopes: Iterable[str], code: str, message: str, hint: str = "", database: str = ""
    ) -> None:
        for scope in scopes:
            gap = Gap(scope, code, message, database, hint)
            self.gaps[read.name].append(replace(gap, fields=read.fields) if scope == "account fields" else gap)
