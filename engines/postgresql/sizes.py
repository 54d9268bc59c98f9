"""Databases of a PostgreSQL server and their sizes on disk.

pg_database_size() is the size of a database's files in all tablespaces. The division into tables and indexes can be
read only inside each database. WAL belongs to no database and needs pg_monitor. Visits read neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import AdapterError
from ..facts import DatabaseFact, Databases, Gap, SizeFact, Sizes, TableSize
from .account import stats_grant
from .reads import SIZES
from .session import DATABASES, RESERVED, TEMPLATES, PostgreSQLSession

#: After these errors, further statements fail too.
LOST = ("budget_exceeded", "connection_lost")

#: The size of the shared catalogues; null if access is denied.
SHARED_SIZE = """
SELECT CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') OR has_tablespace_privilege('pg_global', 'CREATE')
            THEN pg_tablespace_size('pg_global') END
"""

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
        measured = _measure(session, list(listed))
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
    session.begin()
    ((shared,),) = session.query(SHARED_SIZE)
    if shared is None:
        gaps.append(_denied(session, "shared", "no permission to read the size of the shared catalogues (pg_global)"))
    return Sizes(found, {} if shared is None else {"pg_global": shared}, frozenset(dropped), gaps)


def table_sizes(session: PostgreSQLSession, database: str, limit: int) -> list[TableSize]:
    """pg_total_relation_size() of tables and materialized views. Needs only CONNECT."""
    with session.inside(database):
        # A table dropped meanwhile has no size.
        return [TableSize(*row) for row in session.query(TABLE_SIZES, {"limit": limit}) if row[2] is not None]


def _measure(session: PostgreSQLSession, oids: list[int]) -> list[tuple[Any, ...]]:
    """Rows of `SIZES`, read in a new transaction."""
    session.begin()
    return session.query(SIZES, {"oids": oids})


def _measure_alone(session: PostgreSQLSession, oid: int) -> list[tuple[Any, ...]]:
    """The same for one database. The last column is the error if the database exists and the read fails."""
    try:
        return _measure(session, [oid])
    except AdapterError as error:
        if error.code in LOST:
            raise
        return [(oid, None, error if session.exists(oid) else False)]


def _denied(session: PostgreSQLSession, scope: str, message: str, database: str = "") -> Gap:
    return Gap(scope, "denied", message, database, stats_grant(session.target.username))
