"""Databases of a PostgreSQL server and their sizes on disk.

pg_database_size() is the size of a database's files in all tablespaces. The division into tables and indexes can be
read only inside each database. WAL belongs to no database and needs pg_monitor. Visits read neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import AdapterError
from ..facts import DatabaseFact, Databases, Gap, SizeFact, Sizes, TableSize, TablespaceFact
from .account import stats_grant
from .reads import SIZES, TABLESPACE_SIZES, TABLESPACES
from .session import DATABASES, RESERVED, TEMPLATES, PostgreSQLSession

#: After these errors, further statements fail too.
LOST = ("budget_exceeded", "connection_lost")

#: The tablespace of the catalogues that all databases share.
SHARED = "pg_global"

#: The data includes TOAST. Each partition is a separate table.
TABLE_SIZES = """
SELECT n.nspname, c.relname, pg_total_relation_size(c.oid), pg_table_size(c.oid), pg_indexes_size(c.oid)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND NOT c.relisshared
 ORDER BY 3 DESC NULLS LAST, 1, 2 LIMIT %(limit)s
"""


def databases(session: PostgreSQLSession) -> tuple[dict[int, str], Databases]:
    """Names by oid, and the databases of pg_database, including those that allow no connections. The database postgres
    is not a system database."""
    session.begin()
    listed = dict(sorted(((row[0], row[1]) for row in session.query(DATABASES)), key=lambda item: item[1]))
    return listed, Databases(
        [DatabaseFact(name, str(oid), name in TEMPLATES or name in RESERVED) for oid, name in listed.items()]
    )


def sizes(session: PostgreSQLSession, listed: Mapping[int, str]) -> Sizes:
    """Sizes by one statement, or by one per database if that fails."""
    try:
        measured = _measure(session, SIZES, oids=list(listed))
    except AdapterError as error:
        if error.code in LOST:
            raise
        # A query per database: one database is broken, and the others still have sizes.
        measured = [row for oid in listed for row in _measure_alone(session, oid)]
    found, gaps, dropped = [], [], set()
    for oid, size, state in measured:
        name = listed[oid]
        if isinstance(state, AdapterError):
            gaps.append(Gap("sizes", state.code, str(state), name, state.hint))
        elif size is not None:
            found.append(SizeFact(name, size))
        elif state:
            gaps.append(_denied(session, "sizes", f"no permission to read the size of database {name}", name))
        else:
            dropped.add(name)
    if gaps and not found:
        raise AdapterError(gaps[0].message, code=gaps[0].code, hint=gaps[0].hint)
    tablespaces = _tablespaces(session, gaps)
    shared = {fact.name: fact.size for fact in tablespaces if fact.name == SHARED and fact.size is not None}
    return Sizes(found, shared, frozenset(dropped), gaps, tablespaces, frozenset({""}))


def table_sizes(
    session: PostgreSQLSession, databases: Sequence[str], limit: int
) -> Iterator[tuple[str, list[TableSize] | AdapterError]]:
    """pg_total_relation_size() of tables and materialized views. It takes CONNECT and nothing else."""
    for database in databases:
        try:
            with session.inside(database):
                rows = session.query(TABLE_SIZES, {"limit": limit})
        except AdapterError as error:
            if error.code in LOST:
                raise
            session.begin()
            yield database, error
        else:
            # One dropped meanwhile has no size.
            yield database, [TableSize(*row) for row in rows if row[2] is not None]


def _tablespaces(session: PostgreSQLSession, gaps: list[Gap]) -> list[TablespaceFact]:
    """All in one statement; each by itself where that fails. Those that cannot be measured are in `gaps` too."""
    try:
        measured = _measure(session, TABLESPACE_SIZES, name=None)
    except AdapterError as error:
        if error.code in LOST:
            raise
        session.begin()
        measured = [row for (name,) in session.query(TABLESPACES) for row in _tablespace_alone(session, name)]
    found = []
    for name, size, state in measured:
        found.append(TablespaceFact(name, size))
        scope = "shared" if name == SHARED else "tablespaces"
        if isinstance(state, AdapterError):
            gaps.append(Gap(scope, state.code, f"tablespace {name}: {state}", hint=state.hint))
        elif not state:
            what = "shared catalogues (pg_global)" if name == SHARED else f"tablespace {name}"
            gaps.append(_denied(session, scope, f"the size of the {what} may not be read"))
        elif size is None:
            hint = "Look whether its folder under pg_tblspc, and the volume behind it, is there."
            gaps.append(
                Gap(scope, "server_error", f"the server cannot open the folder of tablespace {name}", hint=hint)
            )
    return found


def _tablespace_alone(session: PostgreSQLSession, name: str) -> list[tuple[Any, ...]]:
    try:
        return _measure(session, TABLESPACE_SIZES, name=name)
    except AdapterError as error:
        if error.code in LOST:
            raise
        return [(name, None, error)]


def _measure(session: PostgreSQLSession, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Rows of SIZES or TABLESPACE_SIZES, read in a new transaction."""
    session.begin()
    return session.query(sql, parameters)


def _measure_alone(session: PostgreSQLSession, oid: int) -> list[tuple[Any, ...]]:
    """The same for one database. The last column is the error if the database exists and the read fails."""
    try:
        return _measure(session, SIZES, oids=[oid])
    except AdapterError as error:
        if error.code in LOST:
            raise
        return [(oid, None, error if session.exists(oid) else False)]


def _denied(session: PostgreSQLSession, scope: str, message: str, database: str = "") -> Gap:
    return Gap(scope, "denied", message, database, stats_grant(session.target.username))
