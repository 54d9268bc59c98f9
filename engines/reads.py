"""The reads of an engine as a table, and the loop that runs them for a visit. `check` and `Engine.script` use the same
table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import AdapterError
from .facts import GRANT_KINDS, Capability, Gap
from .session import Rows, Session
from .statements import Statement

#: Scopes of `Read.yields`, by the phase of a visit that asks for them.
ACCOUNTS = frozenset({"accounts", "account fields"})
GRANTS = frozenset({"memberships", *GRANT_KINDS})
SIZES = frozenset({"databases", "sizes", "used", "shared"})

#: Rows that a limited read returns at most; a gap is reported when there are more.
ROW_LIMIT = 200_000

#: Codes of errors that leave a gap. Every other error fails the visit.
UNREADABLE = ("denied", "unsupported")

VISIT_FAILS = "Everything: a visit fails, and what is known of this instance grows old."

Text = str | Callable[[Any], str]
"""A text, or the function that makes it of the session's features."""


def _always(features: Any) -> bool:
    return True


def _none(features: Any, account: str, hash_blind: bool) -> Iterable[Statement]:
    return ()


def _as_found(session: Any, capability: Capability, rows: Rows | None) -> Iterable[Capability]:
    yield capability


@dataclass(frozen=True)
class Read:
    """One statement, and what depends on it.

    `title` says in words what it reads, `place` where. `yields` are the scopes it covers (as `Gap.scope` has them) and
    `fields` the account fields; a read that yields nothing is for the check only. `levels` are the read depths that
    ask for it, `when` says whether a server has what it reads. A failed read is a gap for each scope, or fails the
    visit if it is `required`. It is not asked, and has the same gaps, if the read `after` is incomplete. A `limited`
    one returns at most ROW_LIMIT rows, and if it is `ordered`, each row begins with the index of its scope and only
    the last scopes are cut off. `per_database` repeats it in each database.

    `grants` makes the statements that let an account read it. The check runs `probe`, else `sql` with `sample` rows
    (None: all, which the search for excess rights needs too); `judge` makes capabilities of the outcome, and `cost` is
    what is unknown without it.
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
    """The reads that a visit to this depth, or its check, makes of a server with these features."""
    return [read for read in reads if level in read.levels and read.when(features)]


def statements_for(reads: Iterable[Read], features: Any, account: str, hash_blind: bool) -> list[Statement]:
    """What these reads need to be granted, each statement once."""
    found: dict[str, Statement] = {}
    for read in reads:
        for statement in read.grants(features, account, hash_blind):
            found.setdefault(statement.sql, statement)
    return list(found.values())


def needed(session: Session, reads: Iterable[Read], hash_blind: bool = False) -> list[str]:
    """The grants that the collection account needs for visits to the depth of the target."""
    asked = applicable(reads, session.target.level, session.features)
    return [statement.sql for statement in statements_for(asked, session.features, session.account, hash_blind)]


def read_only(sql: str, on: str) -> Read:
    """The read of the check for whether the server refuses writes: it does where `on` ends each row of `sql`."""

    def judge(session: Session, capability: Capability, rows: Rows | None) -> Iterable[Capability]:
        if rows is not None and {row[-1] for row in rows} != {on}:
            capability = replace(capability, works=False, message="the server lets this session write")
        yield capability

    return Read("read-only", "read-only session", sql, sample=None, judge=judge, cost=VISIT_FAILS)


class Answers:
    """The rows that one visit read: `rows` by name of the read, and those `inside` databases as (read, database, rows).
    `gaps` are those of each read that was asked, by its name."""

    def __init__(self, session: Session, reads: Sequence[Read]) -> None:
        self.session = session
        self.rows: dict[str, Rows] = {}
        self.inside: list[tuple[Read, str, Rows]] = []
        self.gaps: dict[str, list[Gap]] = {}
        self._reads = applicable(reads, session.target.level, session.features)
        self._deepest = applicable(reads, "C", session.features)

    def ask(self, phase: frozenset[str]) -> None:
        """Run the reads that yield a scope of this phase, once. Raises AdapterError."""
        for read in self._reads:
            if read.name not in self.gaps and phase.intersection(read.yields):
                self.gaps[read.name] = []
                self._ask(read)

    def gaps_in(self, scopes: frozenset[str]) -> list[Gap]:
        return [gap for gaps in self.gaps.values() for gap in gaps if gap.scope in scopes]

    @property
    def covered(self) -> frozenset[str]:
        """What the depth covers of grants and memberships. An engine without memberships has none to miss."""
        return GRANTS.intersection(["memberships", *(scope for read in self._reads for scope in read.yields)])

    @property
    def beyond(self) -> frozenset[str]:
        """What the server has and the depth leaves out."""
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
                    hint = "There is always one, the collection account: look at what it may read."
                    raise AdapterError("the server lists no accounts", code="server_error", hint=hint)

    def _query(self, read: Read, database: str = "") -> Rows:
        sql = read.statement(self.session.features)
        if not read.limited:
            return self.session.query(sql)
        rows = self.session.query(self.session.limited(sql, ROW_LIMIT + 1))
        if len(rows) > ROW_LIMIT:
            cut = read.yields[rows[ROW_LIMIT][0] :] if read.ordered else read.yields
            message = f"{read.title}: there are more than {ROW_LIMIT}, and the rest was not read"
            self._add(read, cut, "row_limit", message, "Lower the instance's read depth.", database)
        return rows[:ROW_LIMIT]

    def _ask_each_database(self, read: Read) -> None:
        """What fails in one database leaves gaps for that one."""
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
                # A database dropped meanwhile leaves no gap. A lost server fails here again, and fails the visit.
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
