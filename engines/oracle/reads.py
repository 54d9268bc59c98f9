"""The statements of the Oracle adapter: one for each view of the dictionary, whatever the number of accounts.

In the root of a multitenant server they ask the CDB_ views, which show every container that is open, and everywhere
else the DBA_ views of the one container. Only what both Oracle 12.1 and the tests' emulated dictionary understand is
used. https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/static-data-dictionary-views.html
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from ..facts import LEVELS

#: Refuses writes, and lets all statements see one moment.
BEGIN = "SET TRANSACTION READ ONLY"

#: Asks for no privilege. CON_ID is 0 where there are no containers, and 1 in the root; CON_NAME is then the database's
#: name. Dates are in the time zone of the server's operating system.
SESSION = """
SELECT SYS_CONTEXT('USERENV', 'CON_ID'), SYS_CONTEXT('USERENV', 'CON_NAME'),
       SYS_CONTEXT('USERENV', 'DATABASE_ROLE'), SYS_CONTEXT('USERENV', 'SESSION_USER'),
       TO_CHAR(SYSTIMESTAMP, 'TZH:TZM')
  FROM DUAL
"""

#: A column is listed to whoever may read it.
COLUMNS = """
SELECT TABLE_NAME, COLUMN_NAME FROM ALL_TAB_COLUMNS
 WHERE OWNER = 'SYS' AND TABLE_NAME IN ('DBA_USERS', 'CDB_USERS', 'DBA_ROLES', 'CDB_ROLES', 'V_$PWFILE_USERS')
"""

CONTAINERS = "SELECT CON_ID, NAME, GUID, OPEN_MODE, RESTRICTED FROM V$CONTAINERS"

#: Of which containers the account may see rows while it is in the root.
CONTAINER_DATA = """
SELECT ALL_CONTAINERS, CONTAINER_NAME FROM DBA_CONTAINER_DATA
 WHERE USERNAME = SYS_CONTEXT('USERENV', 'SESSION_USER') AND DEFAULT_ATTR = 'Y'
"""

#: What Oracle's own scripts granted to its own accounts and to PUBLIC: tens of thousands of rows in every container.
_OF_THE_ENGINE = """EXISTS (SELECT 1 FROM {view}_USERS o
                    WHERE o.USERNAME = p.OWNER AND {o} = {p} AND o.ORACLE_MAINTAINED = 'Y')
       AND (p.GRANTEE = 'PUBLIC'
            OR EXISTS (SELECT 1 FROM {view}_USERS u
                        WHERE u.USERNAME = p.GRANTEE AND {u} = {p} AND u.ORACLE_MAINTAINED = 'Y')
            OR EXISTS (SELECT 1 FROM {view}_ROLES r
                        WHERE r.ROLE = p.GRANTEE AND {r} = {p} AND r.ORACLE_MAINTAINED = 'Y'))"""


@dataclass(frozen=True)
class Read:
    """A statement, what it tells, the depth from which on that is asked, and the first major version that has it.

    In `sql` stand {view} for CDB or DBA, {p} (and {o}, {u}, {r}) for the id of the container of a row of the view with
    that alias, and {changed}, {role_id}, {common} for columns that came with later versions.
    """

    sql: str
    tells: str
    level: str = "A"
    since: int = 12


#: By the name of the view, less its prefix. Each row begins with the id of its container.
READS = {
    "USERS": Read(
        """
SELECT {p}, p.USERNAME, p.USER_ID, p.ACCOUNT_STATUS, p.EXPIRY_DATE, p.PROFILE, p.AUTHENTICATION_TYPE,
       p.PASSWORD_VERSIONS, p.PROXY_ONLY_CONNECT, p.COMMON, p.ORACLE_MAINTAINED, {changed}
  FROM {view}_USERS p
""",
        "users",
    ),
    "ROLES": Read(
        "SELECT {p}, p.ROLE, {role_id}, p.AUTHENTICATION_TYPE, p.ORACLE_MAINTAINED FROM {view}_ROLES p", "roles"
    ),
    "PROFILES": Read(
        "SELECT {p}, p.PROFILE, p.LIMIT FROM {view}_PROFILES p WHERE p.RESOURCE_NAME = 'SESSIONS_PER_USER'",
        "connection limits",
    ),
    "PWFILE_USERS": Read(
        """
SELECT p.CON_ID, p.USERNAME, {common}, p.SYSDBA, p.SYSOPER, p.SYSASM, p.SYSBACKUP, p.SYSDG, p.SYSKM
  FROM V$PWFILE_USERS p
""",
        "who may connect AS SYSDBA and the like",
    ),
    "ROLE_PRIVS": Read(
        "SELECT {p}, p.GRANTEE, p.GRANTED_ROLE, p.ADMIN_OPTION, p.DEFAULT_ROLE FROM {view}_ROLE_PRIVS p", "memberships"
    ),
    "SYS_PRIVS": Read(
        "SELECT {p}, p.GRANTEE, p.PRIVILEGE, p.ADMIN_OPTION FROM {view}_SYS_PRIVS p", "system privileges"
    ),
    "TS_QUOTAS": Read(
        "SELECT {p}, p.USERNAME, p.TABLESPACE_NAME, p.MAX_BYTES FROM {view}_TS_QUOTAS p"
        " WHERE p.DROPPED = 'NO' AND p.MAX_BYTES <> 0",
        "quotas on tablespaces",
    ),
    "PROXIES": Read(
        "SELECT {p}, p.PROXY, p.CLIENT FROM {view}_PROXIES p WHERE p.PROXY IS NOT NULL",
        "rights to connect through another account",
    ),
    "SCHEMA_PRIVS": Read(
        "SELECT {p}, p.GRANTEE, p.SCHEMA, p.PRIVILEGE, p.ADMIN_OPTION FROM {view}_SCHEMA_PRIVS p",
        "privileges on schemas",
        level="B",
        since=23,
    ),
    "TAB_PRIVS": Read(
        "SELECT {p}, p.GRANTEE, p.OWNER, p.TABLE_NAME, p.TYPE, p.PRIVILEGE, p.GRANTABLE FROM {view}_TAB_PRIVS p"  # noqa: S608 -- constants
        f"\n WHERE NOT ({_OF_THE_ENGINE})",
        "grants on objects",
        level="B",
    ),
    "COL_PRIVS": Read(
        "SELECT {p}, p.GRANTEE, p.OWNER, p.TABLE_NAME, p.COLUMN_NAME, p.PRIVILEGE, p.GRANTABLE FROM {view}_COL_PRIVS p"  # noqa: S608 -- constants
        f"\n WHERE NOT ({_OF_THE_ENGINE})",
        "grants on columns",
        level="C",
    ),
}

#: Of a file that cannot be read BYTES is null.
_FILES = "SELECT {{p}}, p.TABLESPACE_NAME, p.BYTES, p.AUTOEXTENSIBLE, p.MAXBYTES FROM {{view}}_{} p"

#: What a reading of sizes asks. USED_SPACE is in blocks of the tablespace.
SIZES = {
    "TABLESPACES": Read(
        "SELECT {p}, p.TABLESPACE_NAME, p.CONTENTS, p.BLOCK_SIZE FROM {view}_TABLESPACES p", "names of tablespaces"
    ),
    "DATA_FILES": Read(_FILES.format("DATA_FILES"), "sizes of tablespaces"),
    "TEMP_FILES": Read(_FILES.format("TEMP_FILES"), "sizes of temporary tablespaces"),
    "TABLESPACE_USAGE_METRICS": Read(
        "SELECT {p}, p.TABLESPACE_NAME, p.USED_SPACE FROM {view}_TABLESPACE_USAGE_METRICS p", "how full tablespaces are"
    ),
}

#: What is asked when somebody wants to know, and granted only if they do: it is slow on a large dictionary.
ON_DEMAND = {
    "SEGMENTS": Read(
        "SELECT {p}, p.OWNER, p.SEGMENT_NAME, p.BYTES FROM {view}_SEGMENTS p WHERE p.SEGMENT_TYPE IN"
        " ('TABLE', 'TABLE PARTITION', 'TABLE SUBPARTITION', 'NESTED TABLE', 'CLUSTER')",
        "sizes of tables",
    ),
}


def reads(level: str, major: int) -> dict[str, Read]:
    """Those of `READS` that a visit to this depth makes of this major version."""
    depths = LEVELS[: LEVELS.index(level) + 1]
    return {name: read for name, read in READS.items() if read.level in depths and read.since <= major}


def statement(sql: str, in_root: bool, columns: Collection[tuple[str, str]] = ()) -> str:
    """`sql` of a `Read` as this container takes it. `columns` are rows of `COLUMNS`: what is not there is null."""
    view = "CDB" if in_root else "DBA"

    def column(table: str, name: str) -> str:
        return f"p.{name}" if (table, name) in columns else "NULL"

    return sql.format(
        view=view,
        **{alias: f"{alias}.CON_ID" if in_root else "0" for alias in "poru"},
        changed=column(f"{view}_USERS", "PASSWORD_CHANGE_DATE"),
        role_id=column(f"{view}_ROLES", "ROLE_ID"),
        common=column("V_$PWFILE_USERS", "COMMON"),
    )


def views(sql: str) -> list[str]:
    """The views that a statement reads and that not everybody may, as GRANT takes them: "SYS.V_$CONTAINERS"."""
    found = re.findall(r"\b(?:DBA|CDB)_\w+|\bV\$\w+", sql)
    return [f"SYS.{name.replace('V$', 'V_$')}" for name in dict.fromkeys(found)]


def granted_views(level: str, major: int, in_root: bool) -> dict[str, str]:
    """Every view that visits to this depth and readings of sizes read, as GRANT takes it → what it tells."""
    wanted = {**reads(level, major), **SIZES}
    if in_root:
        wanted["CONTAINERS"] = Read(CONTAINERS, "which containers there are, and which are open")
        wanted["CONTAINER_DATA"] = Read(CONTAINER_DATA, "whether the account may see all of them")
    found: dict[str, str] = {}
    for read in wanted.values():
        for view in views(statement(read.sql, in_root)):
            found.setdefault(view, read.tells)
    return found


def identifier(name: str) -> str:
    """`name` as an SQL identifier: plain names mean the same in any case, others stand in double quotes.

    A name has no double quote in it.
    """
    plain = name.strip('"')
    if name.startswith('"') and not re.fullmatch(r"[A-Z][A-Z0-9_$#]*", plain):
        return _quoted(plain)
    return plain.upper() if re.fullmatch(r"[A-Za-z][A-Za-z0-9_$#]*", plain) else _quoted(plain)


def exact_identifier(name: str) -> str:
    """The same for a name as the dictionary has it, where case counts."""
    return name if re.fullmatch(r"[A-Z][A-Z0-9_$#]*", name) else _quoted(name)


def _quoted(name: str) -> str:
    """Oracle has no way to write a double quote in a name, and no name with one."""
    return '"' + name.replace('"', "") + '"'


def select_grant(view: str, grantee: str, in_root: bool) -> str:
    return f"GRANT SELECT ON {view} TO {grantee}{' CONTAINER=ALL' if in_root else ''};"
