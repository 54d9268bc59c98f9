"""Databases of a MySQL or MariaDB server, and what they take on disk.

InnoDB's sizes are those of its files, which takes PROCESS; the lengths in information_schema.TABLES are estimates that
may be a fraction of them. For other engines those lengths are what the files hold, shown of tables that the account has
any privilege on: SHOW VIEW ON *.* is the one that shows all, and lets it read nothing. How a file divides into data and
indexes the server does not say.
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

#: Views of the server's memory, not databases.
VIRTUAL = frozenset({"information_schema", "performance_schema"})
SYSTEM = frozenset({"mysql", "sys"})

#: Name, and the name of its folder where the server encodes that.
NAMES = "SELECT SCHEMA_NAME, CAST(CONVERT(SCHEMA_NAME USING filename) AS BINARY) FROM information_schema.SCHEMATA"
PLAIN_NAMES = "SELECT SCHEMA_NAME, SCHEMA_NAME FROM information_schema.SCHEMATA"

#: A file with holes (page compression, sparse) takes less than its length.
TABLESPACES = """SELECT NAME, IF(ALLOCATED_SIZE > 0, LEAST(FILE_SIZE, ALLOCATED_SIZE), FILE_SIZE)
FROM information_schema.{}"""

#: MySQL 5.7 keeps the system tablespace out of the list above.
SYSTEM_FILES = """SELECT TABLESPACE_NAME, SUM(TOTAL_EXTENTS * EXTENT_SIZE) FROM information_schema.FILES
WHERE ENGINE = 'InnoDB' AND TABLESPACE_NAME LIKE 'innodb\\_%' GROUP BY TABLESPACE_NAME"""

#: Engines that keep nothing on disk, or whose files are in the list above.
ELSEWHERE = "'BLACKHOLE', 'FEDERATED', 'InnoDB', 'MEMORY', 'MRG_MyISAM', 'PERFORMANCE_SCHEMA', 'SPIDER'"

#: A table that cannot be opened has no engine.
OTHER_TABLES = f"""SELECT TABLE_SCHEMA, TABLE_NAME, DATA_LENGTH, INDEX_LENGTH, TABLE_COMMENT
FROM information_schema.TABLES WHERE (ENGINE IS NULL OR ENGINE NOT IN ({ELSEWHERE}))
AND TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW', 'TEMPORARY')
AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')"""  # noqa: S608 -- constants


def databases(session: Session) -> tuple[dict[str, str], Databases]:
    """information_schema.SCHEMATA, and each name by that of its folder."""
    folders = _folders(session)
    gaps = []
    if not held_globally(session.query(SHOW_GRANTS)) & SHOW_DATABASES:
        message = "only databases are listed on which the account has a grant"
        gaps.append(Gap("databases", "denied", message, hint=global_grant(session.account, "SHOW DATABASES")))
    return folders, Databases([DatabaseFact(name, is_system=name in SYSTEM) for name in sorted(folders.values())], gaps)


def sizes(session: Session, folders: Mapping[str, str]) -> Sizes:
    """A database without a table has size 0. What is in a folder of no database is told as shared, by its name."""
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
    gaps += [Gap("sizes", "server_error", f"a table cannot be opened: {why}", name) for name, why in unopened.items()]
    # One dropped meanwhile would look like one without a table.
    if session.features.has_roles:
        # Until the snapshot ends, MySQL 8 lists the databases of its beginning.
        session.query("COMMIT")
    now = _folders(session)
    for folder in now.keys() - folders.keys():
        shared.pop(folder, None)
    dropped = frozenset(total.keys() - set(now.values()))
    found = [SizeFact(name, size) for name, size in total.items() if name not in dropped and name not in unopened]
    return Sizes(found, shared, dropped, gaps)


def table_sizes(session: Session, database: str, limit: int) -> list[TableSize]:
    """InnoDB's files by table, its partitions together, and other tables as far as they are shown."""
    folders = _folders(session)
    if database not in folders.values():
        raise AdapterError(
            f"there is no database {database}", code="no_such_database", hint="It was dropped, or is not shown to us."
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
    """Name of the folder, as InnoDB has it, → name of the database. From MySQL 8 on the two are the same."""
    rows = session.query(PLAIN_NAMES if session.features.has_roles else NAMES)
    folders = {folder.decode() if isinstance(folder, bytes) else folder: name for name, folder in rows}
    # A folder that is no encoded name is shown with this prefix.
    plain = {name.removeprefix("#mysql50#"): name for name in folders.values() if name.startswith("#mysql50#")}
    return {folder: name for folder, name in (folders | plain).items() if name.lower() not in VIRTUAL}


def _folder(tablespace: str, folders: Collection[str]) -> str:
    """The folder that a tablespace is in, "" for one that is in none; a plain name may have a slash itself."""
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
    return [Gap("shared", "unsupported", "the server does not tell the size of InnoDB's system tablespace")]


def _other_tables(session: Session, gaps: list[Gap]) -> list[tuple[str, str, int | None, int | None, str]]:
    """Tables of engines other than InnoDB. Those that are not shown, or cannot be asked for, are a gap."""
    if not held_globally(session.query(SHOW_GRANTS)) & SHOW_TABLES:
        message = "tables of engines other than InnoDB are not shown, and in no size"
        gaps.append(Gap("sizes", "denied", message, hint=global_grant(session.account, "SHOW VIEW")))
    try:
        if session.features.has_roles:
            # MySQL 8 remembers these figures for a day.
            session.query("SET SESSION information_schema_stats_expiry = 0")
        return session.query(OTHER_TABLES)
    except AdapterError as error:
        if error.code not in ("denied", "timeout", "server_error"):
            raise
        message = f"tables of engines other than InnoDB are in no size: {error}"
        gaps.append(Gap("sizes", error.code, message, hint=error.hint))
        return []


def _table(file: str) -> str:
    """The table that a file belongs to: `t#p#p0` is a partition of t, FTS_… an index for full-text search."""
    table = re.split(r"#p#", file, maxsplit=1, flags=re.IGNORECASE)[0]
    return "(full-text indexes)" if re.match(r"FTS_[0-9a-f]{16}_", table, re.IGNORECASE) else table


def _table_names(session: Session, files: Sequence[str]) -> dict[str, str]:
    """File → table. Where the server encodes names of files, only it can turn the letters of all scripts back."""
    names = dict(zip(files, files, strict=True))
    encoded = (
        [] if session.features.has_roles else [file for file in files if re.fullmatch(r"[\w@$#]+", file, re.ASCII)]
    )
    if encoded:
        words = ", ".join(f"CONVERT(_filename'{file}' USING utf8mb4)" for file in encoded)
        (row,) = session.query(f"SELECT {words}")
        names |= dict(zip(encoded, row, strict=True))
    return names
