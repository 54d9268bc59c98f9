"""Databases of a MySQL or MariaDB server and their sizes on disk.

Sizes of InnoDB are those of its files, which needs PROCESS; the lengths in information_schema.TABLES are estimates and
may be much too small. For other engines those lengths are exact, but the server shows only tables on which the account
has any privilege. SHOW VIEW ON *.* shows them all and gives no access to data. The server does not report how a file
divides into data and indexes.
https://dev.mysql.com/doc/refman/8.4/en/information-schema-innodb-tablespaces-table.html
https://mariadb.com/kb/en/information-schema-innodb_sys_tablespaces-table/
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ..errors import AdapterError
from ..facts import DatabaseFact, Databases, Gap, SizeFact, Sizes, TableSize, TablespaceFact
from ..session import Session
from .account import global_grant
from .decode import held_globally
from .reads import SHOW_DATABASES, SHOW_GRANTS, SHOW_TABLES

#: Views of the server's state, not databases.
VIRTUAL = frozenset({"information_schema", "performance_schema"})
SYSTEM = frozenset({"mysql", "sys"})

#: Name of the database, and encoded name of its folder.
NAMES = "SELECT SCHEMA_NAME, CAST(CONVERT(SCHEMA_NAME USING filename) AS BINARY) FROM information_schema.SCHEMATA"
PLAIN_NAMES = "SELECT SCHEMA_NAME, SCHEMA_NAME FROM information_schema.SCHEMATA"

#: A sparse file (page compression) takes less space than its length.
TABLESPACES = """SELECT NAME, IF(ALLOCATED_SIZE > 0, LEAST(FILE_SIZE, ALLOCATED_SIZE), FILE_SIZE), {kind}
FROM information_schema.{tablespaces}"""

#: Tables without a file of their own, and the tablespace that holds them. MySQL 5.7 does not list the system
#: tablespace.
SHARED_TABLES = """SELECT t.NAME, COALESCE(s.NAME, 'innodb_system') FROM information_schema.{tables} t
LEFT JOIN information_schema.{tablespaces} s ON s.SPACE = t.SPACE WHERE t.SPACE_TYPE <> 'Single'"""

#: For MySQL 5.7, which omits the system tablespace from the view above.
SYSTEM_FILES = """SELECT TABLESPACE_NAME, SUM(TOTAL_EXTENTS * EXTENT_SIZE) FROM information_schema.FILES
WHERE ENGINE = 'InnoDB' AND TABLESPACE_NAME LIKE 'innodb\\_%' GROUP BY TABLESPACE_NAME"""

#: Engines that store nothing on disk, or have their files in the view above.
ELSEWHERE = "'BLACKHOLE', 'FEDERATED', 'InnoDB', 'MEMORY', 'MRG_MyISAM', 'PERFORMANCE_SCHEMA', 'SPIDER'"

#: ENGINE is null for a table that the server cannot open.
OTHER_TABLES = f"""SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE, DATA_LENGTH, INDEX_LENGTH, TABLE_COMMENT
FROM information_schema.TABLES WHERE (ENGINE IS NULL OR ENGINE NOT IN ({ELSEWHERE}))
AND TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW', 'TEMPORARY')
AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')"""  # noqa: S608 -- constants

#: The server reports a length of 0 for every table of this engine.
UNMEASURED = "CSV"

FULL_TEXT = "(full-text indexes)"


def databases(session: Session) -> tuple[dict[str, str], Databases]:
    """Names by folder, and the databases of information_schema.SCHEMATA."""
    folders = _folders(session)
    gaps = []
    if not held_globally(session.query(SHOW_GRANTS)) & SHOW_DATABASES:
        message = "databases without a grant for the account are not listed"
        gaps.append(Gap("databases", "denied", message, hint=global_grant(session.account, "SHOW DATABASES")))
    return folders, Databases([DatabaseFact(name, is_system=name in SYSTEM) for name in sorted(folders.values())], gaps)


def sizes(session: Session, folders: Mapping[str, str]) -> Sizes:
    """A database without tables has size 0. Files outside the folders of databases are shared, by name."""
    total = dict.fromkeys(folders.values(), 0)
    shared: dict[str, int] = {}
    tablespaces = []
    for name, size, kind in _files(session):
        folder = _folder(name, folders)
        if folder:
            total[folders[folder]] += int(size)
        else:
            part = name.partition("/")[0]
            shared[part] = shared.get(part, 0) + int(size)
            tablespaces += [TablespaceFact(name, int(size))] if kind == "General" else []
    gaps = _add_system_files(session, shared)
    elsewhere = _in_shared_parts(session, folders, gaps)
    unopened: dict[str, str] = {}
    unmeasured: dict[str, list[str]] = {}
    for database, table, engine, data, index, comment in _other_tables(session, gaps):
        if database not in total:
            continue
        if data is None:
            unopened[database] = f"{table}: {comment}" if comment else table
        elif engine == UNMEASURED:
            unmeasured.setdefault(database, []).append(table)
        else:
            total[database] += int(data) + int(index or 0)
    gaps += _unmeasured_gaps(session, unmeasured)
    gaps += [Gap("sizes", "server_error", f"cannot open a table: {why}", name) for name, why in unopened.items()]
    # List the databases again: one dropped meanwhile would look like one without tables.
    if session.features.has_roles:
        # MySQL 8 lists the databases of the snapshot until it ends.
        session.query("COMMIT")
    now = _folders(session)
    for folder in now.keys() - folders.keys():
        shared.pop(folder, None)
    dropped = frozenset(total.keys() - set(now.values()))
    found = []
    for name in total.keys() - dropped - unopened.keys():
        parts = None if elsewhere is None else elsewhere.get(name, {})
        if name in unmeasured:
            parts = {**(parts or {}), "": len(unmeasured[name])}
        found.append(SizeFact(name, total[name], elsewhere=parts))
    listed_in = frozenset[str]() if session.features.is_mariadb else frozenset({""})
    return Sizes(found, shared, dropped, gaps, tablespaces, listed_in)


def table_sizes(
    session: Session, databases: Sequence[str], limit: int
) -> Iterator[tuple[str, list[TableSize] | AdapterError]]:
    """InnoDB's files by table, with partitions added up, and the visible tables of other engines. Tables in shared
    tablespaces and CSV tables have no size, and are left out."""
    folders = _folders(session)
    files: dict[str, dict[str, int]] = {name: {} for name in databases}
    for name, size, _ in _files(session):
        folder = _folder(name, folders)
        if folder and (total := files.get(folders[folder])) is not None:
            table = _table(name[len(folder) + 1 :])
            total[table] = total.get(table, 0) + int(size)
    others: dict[str, list[TableSize]] = {}
    for schema, table, engine, data, index, _ in _other_tables(session, []):
        if schema in files and data is not None and engine != UNMEASURED:
            size = TableSize(schema, table, int(data) + int(index or 0), int(data), int(index or 0))
            others.setdefault(schema, []).append(size)
    for database, total in files.items():
        if database not in folders.values():
            hint = "It was dropped, or the account may not see it."
            yield database, AdapterError(f"no database {database}", code="no_such_database", hint=hint)
            continue
        largest = sorted(total, key=total.__getitem__, reverse=True)[:limit]
        # A statement for each database where names are encoded: one for all would have too many columns.
        found = [TableSize(database, name, total[file]) for file, name in _table_names(session, largest).items()]
        found += others.get(database, [])
        yield database, sorted(found, key=lambda table: (-table.size, table.name))[:limit]


def _files(session: Session) -> list[tuple[Any, ...]]:
    """InnoDB's files: name, bytes, and "General" for a general tablespace, which MariaDB does not have."""
    kind = "'Single'" if session.features.is_mariadb else "SPACE_TYPE"
    return session.query(TABLESPACES.format(kind=kind, tablespaces=session.features.tablespaces))


def _in_shared_parts(session: Session, folders: Mapping[str, str], gaps: list[Gap]) -> dict[str, dict[str, int]] | None:
    """Database → shared part → how many of its tables are there. None, and a gap, if that cannot be read."""
    names = {"tables": session.features.tables, "tablespaces": session.features.tablespaces}
    try:
        rows = session.query(SHARED_TABLES.format(**names))
    except AdapterError as error:
        if error.code not in ("denied", "timeout", "server_error"):
            raise
        message = f"which tables are in shared tablespaces was not read: {error}"
        gaps.append(Gap("tablespaces", error.code, message, hint=error.hint))
        return None
    tables: dict[tuple[str, str], set[str]] = {}
    for name, part in rows:
        folder = _folder(name, folders)
        if folder and (table := _table(name[len(folder) + 1 :])) != FULL_TEXT:
            tables.setdefault((folders[folder], part), set()).add(table)
    found: dict[str, dict[str, int]] = {}
    for (database, part), members in tables.items():
        found.setdefault(database, {})[part] = len(members)
    return found


def _unmeasured_gaps(session: Session, unmeasured: Mapping[str, Sequence[str]]) -> list[Gap]:
    """The gap for tables without a known size. Every server has two for its logs: these count if they are written."""
    names = [
        f"{database}.{table}"
        for database, tables in sorted(unmeasured.items())
        for table in sorted(tables)
        if database != "mysql" or session.features.logs_to_tables
    ]
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    message = f"the server gives no size of {UNMEASURED} tables: {', '.join(names[:3])}{more}"
    hint = "The sizes of their databases are too small. Change the engine of these tables, or look at their files."
    return [Gap("sizes", "unsupported", message, hint=hint)]


def _folders(session: Session) -> dict[str, str]:
    """Name of the folder in InnoDB → name of the database. From MySQL 8 on they are equal."""
    rows = session.query(PLAIN_NAMES if session.features.has_roles else NAMES)
    folders = {folder.decode() if isinstance(folder, bytes) else folder: name for name, folder in rows}
    # The server marks a folder without an encoded name by this prefix.
    plain = {name.removeprefix("#mysql50#"): name for name in folders.values() if name.startswith("#mysql50#")}
    return {folder: name for folder, name in (folders | plain).items() if name.lower() not in VIRTUAL}


def _folder(tablespace: str, folders: Collection[str]) -> str:
    """The folder of a tablespace, or ""; a plain name may contain a slash."""
    end = tablespace.rfind("/")
    while end > 0:
        if tablespace[:end] in folders:
            return tablespace[:end]
        end = tablespace.rfind("/", 0, end)
    return ""


def _add_system_files(session: Session, shared: dict[str, int]) -> list[Gap]:
    if "innodb_system" in shared:
        return []
    try:
        rows = session.query(SYSTEM_FILES)
    except AdapterError as error:
        return [Gap("shared", error.code, str(error), hint=error.hint)]
    shared |= {name: int(size) for name, size in rows if name not in shared and size is not None}
    if "innodb_system" in shared:
        return []
    return [Gap("shared", "unsupported", "the server does not report the size of InnoDB's system tablespace")]


def _other_tables(session: Session, gaps: list[Gap]) -> list[tuple[Any, ...]]:
    """Tables of engines other than InnoDB. Appends a gap if some are hidden or the read fails."""
    if not held_globally(session.query(SHOW_GRANTS)) & SHOW_TABLES:
        message = "sizes leave out hidden tables of engines other than InnoDB"
        gaps.append(Gap("sizes", "denied", message, hint=global_grant(session.account, "SHOW VIEW")))
    try:
        if session.features.has_roles:
            # MySQL 8 caches these figures for a day.
            session.query("SET SESSION information_schema_stats_expiry = 0")
        return session.query(OTHER_TABLES)
    except AdapterError as error:
        if error.code not in ("denied", "timeout", "server_error"):
            raise
        message = f"sizes leave out tables of engines other than InnoDB: {error}"
        gaps.append(Gap("sizes", error.code, message, hint=error.hint))
        return []


def _table(file: str) -> str:
    """The table of a file: `t#p#p0` is a partition of t, FTS_… an index for full-text search."""
    table = re.split(r"#p#", file, maxsplit=1, flags=re.IGNORECASE)[0]
    return FULL_TEXT if re.match(r"FTS_[0-9a-f]{16}_", table, re.IGNORECASE) else table


def _table_names(session: Session, files: Sequence[str]) -> dict[str, str]:
    """File → table. If the server encodes file names, only the server can decode all scripts."""
    names = dict(zip(files, files, strict=True))
    encoded = (
        [] if session.features.has_roles else [file for file in files if re.fullmatch(r"[\w@$#]+", file, re.ASCII)]
    )
    if encoded:
        words = ", ".join(f"CONVERT(_filename'{file}' USING utf8mb4)" for file in encoded)
        (row,) = session.query(f"SELECT {words}")
        names |= dict(zip(encoded, row, strict=True))
    return names
