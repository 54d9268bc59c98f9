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
from collections.abc import Collection, Mapping, Sequence

from ..errors import AdapterError
from ..facts import DatabaseFact, Databases, Gap, SizeFact, Sizes, TableSize
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
TABLESPACES = """SELECT NAME, IF(ALLOCATED_SIZE > 0, LEAST(FILE_SIZE, ALLOCATED_SIZE), FILE_SIZE)
FROM information_schema.{}"""

#: For MySQL 5.7, which omits the system tablespace from the view above.
SYSTEM_FILES = """SELECT TABLESPACE_NAME, SUM(TOTAL_EXTENTS * EXTENT_SIZE) FROM information_schema.FILES
WHERE ENGINE = 'InnoDB' AND TABLESPACE_NAME LIKE 'innodb\\_%' GROUP BY TABLESPACE_NAME"""

#: Engines that store nothing on disk, or have their files in the view above.
ELSEWHERE = "'BLACKHOLE', 'FEDERATED', 'InnoDB', 'MEMORY', 'MRG_MyISAM', 'PERFORMANCE_SCHEMA', 'SPIDER'"

#: ENGINE is null for a table that the server cannot open.
OTHER_TABLES = f"""SELECT TABLE_SCHEMA, TABLE_NAME, DATA_LENGTH, INDEX_LENGTH, TABLE_COMMENT
FROM information_schema.TABLES WHERE (ENGINE IS NULL OR ENGINE NOT IN ({ELSEWHERE}))
AND TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW', 'TEMPORARY')
AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')"""  # noqa: S608 -- constants


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
    for name, size in session.query(TABLESPACES.format(session.features.tablespaces)):
        folder = _folder(name, folders)
        if folder:
            total[folders[folder]] += int(size)
        else:
            part = name.partition("/")[0]
            shared[part] = shared.get(part, 0) + int(size)
    gaps = _add_system_files(session, shared)
    unopened: dict[str, str] = {}
    for database, table, data, index, comment in _other_tables(session, gaps):
        if database not in total:
            continue
        if data is None:
            unopened[database] = f"{table}: {comment}" if comment else table
        else:
            total[database] += int(data) + int(index or 0)
    gaps += [Gap("sizes", "server_error", f"cannot open a table: {why}", name) for name, why in unopened.items()]
    # List the databases again: one dropped meanwhile would look like one without tables.
    if session.features.has_roles:
        # MySQL 8 lists the databases of the snapshot until it ends.
        session.query("COMMIT")
    now = _folders(session)
    for folder in now.keys() - folders.keys():
        shared.pop(folder, None)
    dropped = frozenset(total.keys() - set(now.values()))
    found = [SizeFact(name, size) for name, size in total.items() if name not in dropped and name not in unopened]
    return Sizes(found, shared, dropped, gaps)


def table_sizes(session: Session, database: str, limit: int) -> list[TableSize]:
    """InnoDB's files by table, with partitions added up, and the visible tables of other engines."""
    folders = _folders(session)
    if database not in folders.values():
        raise AdapterError(
            f"no database {database}", code="no_such_database", hint="It was dropped, or the account may not see it."
        )
    total: dict[str, int] = {}
    for name, size in session.query(TABLESPACES.format(session.features.tablespaces)):
        folder = _folder(name, folders)
        if folder and folders[folder] == database:
            table = _table(name[len(folder) + 1 :])
            total[table] = total.get(table, 0) + int(size)
    largest = sorted(total, key=total.__getitem__, reverse=True)[:limit]
    found = [TableSize(database, name, total[file]) for file, name in _table_names(session, largest).items()]
    found += [
        TableSize(database, table, int(data) + int(index or 0), int(data), int(index or 0))
        for schema, table, data, index, _ in _other_tables(session, [])
        if schema == database and data is not None
    ]
    return sorted(found, key=lambda table: (-table.size, table.name))[:limit]


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


def _other_tables(session: Session, gaps: list[Gap]) -> list[tuple[str, str, int | None, int | None, str]]:
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
    return "(full-text indexes)" if re.match(r"FTS_[0-9a-f]{16}_", table, re.IGNORECASE) else table


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
