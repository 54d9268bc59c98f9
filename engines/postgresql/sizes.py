"""Databases of a PostgreSQL server, and what they take on disk.

pg_database_size() is what the files of a database hold, in all tablespaces. How that divides into tables and indexes is
known only inside each database; WAL belongs to no database, and takes pg_monitor to see. Neither is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import AdapterError
from ..facts import DatabaseFact, Databases, Gap, SizeFact, Sizes, TableSize
from . import reads as sql
from .account import stats_grant

if TYPE_CHECKING:
    from .adapter import PostgreSQLAdapter

#: What initdb makes to copy new databases from.
TEMPLATES = ("template0", "template1")

#: Databases that cloud providers keep to themselves, whatever the ACL says.
RESERVED = ("rdsadmin", "azure_maintenance", "cloudsqladmin")

#: After these, no other statement will do better.
LOST = ("budget_exceeded", "connection_lost")


def databases(adapter: PostgreSQLAdapter) -> tuple[dict[int, str], Databases]:
    """pg_database, those that take no connections too, and their names by oid. The database postgres is anybody's."""
    adapter.begin()
    listed = dict(sorted(((row[0], row[1]) for row in adapter.query(sql.DATABASES)), key=lambda item: item[1]))
    return listed, Databases(
        [DatabaseFact(name, str(oid), name in TEMPLATES or name in RESERVED) for oid, name in listed.items()]
    )


def sizes(adapter: PostgreSQLAdapter, listed: Mapping[int, str]) -> Sizes:
    """All in one statement; each by itself where that fails, so that one cannot fail the rest."""
    try:
        measured = _measure(adapter, list(listed))
    except AdapterError as error:
        if error.code in LOST:
            raise
        # A loop, for once: what is broken is one of them, and only asking each alone tells which.
        measured = [row for oid in listed for row in _measure_alone(adapter, oid)]
    found, gaps, dropped = [], [], set()
    for oid, size, state in measured:
        name = listed[oid]
        if isinstance(state, AdapterError):
            gaps.append(Gap("sizes", state.code, str(state), name, state.hint))
        elif size is not None:
            found.append(SizeFact(name, size))
        elif state:
            gaps.append(_denied(adapter, "sizes", f"the size of database {name} may not be read", name))
        else:
            dropped.add(name)
    if gaps and not found:
        raise AdapterError(gaps[0].message, code=gaps[0].code, hint=gaps[0].hint)
    adapter.begin()
    ((shared,),) = adapter.query(sql.SHARED_SIZE)
    if shared is None:
        gaps.append(_denied(adapter, "shared", "the size of the shared catalogues (pg_global) may not be read"))
    return Sizes(found, {} if shared is None else {"pg_global": shared}, frozenset(dropped), gaps)


def table_sizes(adapter: PostgreSQLAdapter, database: str, limit: int) -> list[TableSize]:
    """pg_total_relation_size() of tables and materialized views. It takes CONNECT and nothing else."""
    with adapter.inside(database):
        # One dropped meanwhile has no size.
        return [TableSize(*row) for row in adapter.query(sql.TABLE_SIZES, {"limit": limit}) if row[2] is not None]


def _measure(adapter: PostgreSQLAdapter, oids: list[int]) -> list[tuple[Any, ...]]:
    """Oid, size, and whether the database is there; in a transaction of its own, to see what is there now."""
    adapter.begin()
    return adapter.query(sql.SIZES, {"oids": oids})


def _measure_alone(adapter: PostgreSQLAdapter, oid: int) -> list[tuple[Any, ...]]:
    """The same for one database; where it is there and cannot be measured, with the error in the last place."""
    try:
        return _measure(adapter, [oid])
    except AdapterError as error:
        if error.code in LOST:
            raise
        return [(oid, None, error if adapter.exists(oid) else False)]


def _denied(adapter: PostgreSQLAdapter, scope: str, message: str, database: str = "") -> Gap:
    return Gap(scope, "denied", message, database, stats_grant(adapter.target.username))
