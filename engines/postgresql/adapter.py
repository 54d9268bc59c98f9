"""PostgreSQL 12 to 18, through any role that can log in; levels B and C also want CONNECT on each database.

One read-only transaction holds both phases, so that they see one snapshot. `postgresql_sql` says what is read,
`postgresql_driver` how and `postgresql_facts` what it means; here is in what order, in which database and time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..adapter import Adapter
from ..certificates import Certificate
from ..derived import Derived
from ..errors import AdapterError
from ..facts import AccountFact, Databases, Examination, Gap, Inventory, Permissions, ServerInfo, Sizes, TableSize
from . import check as postgresql_doctor
from . import facts as postgresql_facts
from . import reads as sql
from . import sizes as postgresql_sizes
from .facts import Entry
from .session import certificate_of, connect, connect_denied, driver, fetch
from .sizes import RESERVED, TEMPLATES

KINDS_AT_A = ("memberships", "attribute", "database", "tablespace", "parameter")
KINDS_AT_B = tuple(kind for kind in sql.OBJECTS if kind != "column")
OBJECT_KINDS: dict[str, tuple[str, ...]] = {"A": (), "B": KINDS_AT_B, "C": (*KINDS_AT_B, "column")}

#: Object grants read per database; a gap is reported when there are more.
ROW_LIMIT = 200_000

#: Seconds to wait for a catalogue that somebody has locked: longer, and we would be in the way.
LOCK_TIMEOUT = 10

#: Seconds the server has to keep its own statement timeout before the connection is cut from this side.
GRACE = 5

_IDLE = 0  # psycopg2.extensions.TRANSACTION_STATUS_IDLE
_IN_TRANSACTION = 2  # psycopg2.extensions.TRANSACTION_STATUS_INTRANS


class PostgreSQLAdapter(Adapter):
    """Scopes inside a database:

    schema, language, large object  dotted(database, name or oid)
    table, sequence, type           dotted(database, schema, name)
    routine                         dotted(database, schema, name) + "(" + its argument types + ")"
    column                          dotted(database, schema, table, name)
    foreign                         dotted(database, "wrapper" or "server", name)
    default                         dotted(database, creating role, schema or "" for all, kind of object)

    Ownership is the privilege OWNER, beside what the ACL gives the owner. That the owner of a database is a
    member of pg_database_owner (14+) inside it stands in no catalogue, and in no fact.
    """

    _connection: Any = None
    _certificate: Certificate | None = None

    def connect(self) -> ServerInfo:
        self._listed: dict[int, str] = {}
        self._accounts: Derived[AccountFact] | None = None
        self._database = self.target.database or "postgres"
        self._certificate = certificate_of(self.target, self.remaining()) if self.target.is_guarded else None
        self._connection = self._open(self._database)
        version, self._database, self.has_options, has_parameters = self.begin()
        self.membership_sql = sql.MEMBERSHIPS if self.has_options else sql.MEMBERSHIPS_WITHOUT_OPTIONS
        self.grant_sql = sql.INSTANCE_GRANTS + (sql.PARAMETER_GRANTS if has_parameters else "")
        if not self.has_options:
            self.grant_sql += sql.NOINHERIT
        fingerprint = self._certificate.fingerprint if self._certificate else ""
        return ServerInfo("PostgreSQL", version, f"psycopg2 {driver().__version__.split()[0]}", fingerprint)

    def inventory(self) -> Inventory:
        """pg_roles, and PUBLIC. PostgreSQL has no lock: locked is a user whose VALID UNTIL has passed.

        `valid_until` is None for infinity, and for what a datetime cannot hold (BC, after 9999). There is no
        password age, and how a password is hashed is for superusers to see.
        """
        if self._connection is None:
            self.connect()
        elif self._idle():
            self.begin()
        self._accounts = Derived(postgresql_facts.accounts, self.query(sql.ACCOUNTS))
        return Inventory(self._accounts)

    def permissions(self) -> Permissions:
        """pg_auth_members and every ACL. A database that cannot be read is a gap for each kind in it."""
        if self._idle() or self._accounts is None:
            self.inventory()
        known = self._accounts
        memberships = Derived(postgresql_facts.memberships, known, self.query(self.membership_sql))
        entries = [Derived(postgresql_facts.instance_entries, self.query(self.grant_sql))]
        kinds = OBJECT_KINDS[self.target.level]
        gaps = self._visit_databases(kinds, entries) if kinds else []
        grants = Derived(postgresql_facts.grants, known, *entries)
        beyond = frozenset(OBJECT_KINDS["C"]) - set(kinds)
        return Permissions(memberships, grants, frozenset((*KINDS_AT_A, *kinds)), gaps, beyond)

    def databases(self) -> Databases:
        """See `postgresql_sizes`."""
        self._listed, databases = postgresql_sizes.databases(self)
        return databases

    def sizes(self) -> Sizes:
        if not self._listed:
            self.databases()
        return postgresql_sizes.sizes(self, self._listed)

    def table_sizes(self, database: str, limit: int) -> list[TableSize]:
        return postgresql_sizes.table_sizes(self, database, limit)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def examine(self, hash_blind: bool = False) -> Examination:
        """See `postgresql_doctor`. PostgreSQL shows password hashes to no ordinary role: one that sees them always
        has a right beyond need."""
        return postgresql_doctor.examine(self, OBJECT_KINDS[self.target.level])

    @property
    def database(self) -> str:
        """The one we are in."""
        return self._database

    def candidates(self) -> list[tuple[int, str, bool, tuple[str, str, str] | None]]:
        """Databases to look for grants in: oid, name, whether we have CONNECT, and for one that nobody asks why: code,
        message, hint."""
        return [
            (oid, name, allowed, _unvisited(name, connectable, template))
            for oid, name, connectable, template, allowed in self.query(sql.DATABASES)
            if name not in TEMPLATES
        ]

    def _visit_databases(self, kinds: tuple[str, ...], entries: list[Derived[Entry]]) -> list[Gap]:
        """Read the object grants of every database; what goes wrong in one stays there, as gaps."""
        gaps: list[Gap] = []
        for oid, name, allowed, reason in self.candidates():
            if reason:
                gaps += _gaps(kinds, name, *reason)
                continue
            try:
                if not allowed:
                    raise connect_denied(self.target, name)
                gaps += self._visit_database(name, kinds, entries)
            except AdapterError as error:
                # A database dropped meanwhile leaves no gap; a lost server fails here again, and for good.
                if error.code == "budget_exceeded":
                    raise
                if self.exists(oid):
                    gaps += _gaps(kinds, name, error.code, str(error), error.hint)
        return gaps

    def _visit_database(self, name: str, kinds: tuple[str, ...], entries: list[Derived[Entry]]) -> list[Gap]:
        with self.inside(name):
            rows = self.query(sql.object_grants(kinds), {"limit": ROW_LIMIT + 1})
        entries.append(Derived(postgresql_facts.object_entries, name, kinds, rows[:ROW_LIMIT]))
        if len(rows) <= ROW_LIMIT:
            return []
        message = f"more than {ROW_LIMIT} grants on objects in database {name}: the rest was not read"
        hint = "Lower the instance's read depth."
        return _gaps(kinds[rows[ROW_LIMIT][0] :], name, "row_limit", message, hint)

    def exists(self, oid: int) -> bool:
        """Whether there is such a database now, in a snapshot of its own."""
        self.begin()
        found = self.query(sql.DATABASE_EXISTS, {"oid": oid})
        self._rollback()
        return bool(found)

    @contextlib.contextmanager
    def inside(self, database: str) -> Iterator[None]:
        """`query()` asks in that database meanwhile. The main transaction ends first: it holds vacuum back."""
        if database == self._database:
            yield
            return
        self._rollback()
        main = self._connection, self._database
        self._connection, self._database = self._open(database), database
        try:
            self.begin()
            yield
        finally:
            self._connection.close()
            self._connection, self._database = main

    def _open(self, database: str) -> Any:
        try:
            return connect(self.target, database, self.remaining(), self._certificate)
        except AdapterError:
            self.remaining()
            raise

    def begin(self) -> tuple[Any, ...]:
        """Start a transaction; the row that `sql.BEGIN` ends with."""
        self._rollback()
        limits = {
            "statement_timeout": self._milliseconds(self.target.statement_timeout),
            "lock_timeout": self._milliseconds(LOCK_TIMEOUT),
            "idle_timeout": self._milliseconds(self.target.budget),
        }
        return self.query(sql.BEGIN, limits)[0]

    def _rollback(self) -> None:
        if not self._idle():
            self.query("ROLLBACK")

    def _idle(self) -> bool:
        """Whether no transaction is open."""
        return self._connection is None or self._connection.info.transaction_status == _IDLE

    def _milliseconds(self, seconds: float) -> int:
        """No more than is left of the budget, but for the one that lets a statement overstep it."""
        return math.ceil(min(seconds, self.remaining()) * 1000) + 1

    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        limit = self._milliseconds(self.target.statement_timeout)
        if self._connection.info.transaction_status == _IN_TRANSACTION:
            sql = f"SET LOCAL statement_timeout = {limit}; {sql}"
        try:
            return fetch(self._connection, self.target, self._database, sql, parameters, limit / 1000 + GRACE)
        except AdapterError:
            self.remaining()
            raise


def _unvisited(name: str, connectable: bool, template: bool) -> tuple[str, str, str] | None:
    """Code, message and hint for a database that nobody asks; None for one to visit."""
    if name in RESERVED:
        return "provider_reserved", f"database {name} is the provider's own", "Nothing to do."
    if template:
        return "not_visited", f"database {name} is a template", "Nothing to do, unless it should not be one."
    if not connectable:
        return "not_visited", f"database {name} takes no connections", "Nothing to do, unless it should."
    return None


def _gaps(kinds: Sequence[str], database: str, code: str, message: str, hint: str) -> list[Gap]:
    return [Gap(kind, code, message, database, hint) for kind in kinds]
