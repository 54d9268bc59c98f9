"""The reads of a visit to Oracle: one statement per view of the dictionary.

In the root of a multitenant server they use the CDB_ views, which cover all open containers, elsewhere the DBA_ views
of one container. They use only SQL that Oracle 12.1 and the emulated dictionary of the tests support.
https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/static-data-dictionary-views.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..facts import AccountKey, Capability
from ..reads import Read, applicable
from ..session import Rows, Session
from ..statements import Statement
from .account import container_data, is_common, select_grant

CONTAINERS = "SELECT CON_ID, NAME, GUID, OPEN_MODE, RESTRICTED FROM V$CONTAINERS"

#: The containers with rows that the account may see from the root.
CONTAINER_DATA = """
SELECT ALL_CONTAINERS, CONTAINER_NAME FROM DBA_CONTAINER_DATA
 WHERE USERNAME = SYS_CONTEXT('USERENV', 'SESSION_USER') AND DEFAULT_ATTR = 'Y'
"""

#: The template of new PDBs: open, but not in the root's views.
SEED = "PDB$SEED"

#: Kinds of grants on objects.
OBJECTS = ("table", "sequence", "routine", "type", "object")

#: Grants on Oracle's own objects to its own accounts and to PUBLIC: tens of thousands of rows in each container.
_OF_THE_ENGINE = """EXISTS (SELECT 1 FROM {view}_USERS o
                    WHERE o.USERNAME = p.OWNER AND {o} = {p} AND o.ORACLE_MAINTAINED = 'Y')
       AND (p.GRANTEE = 'PUBLIC'
            OR EXISTS (SELECT 1 FROM {view}_USERS u
                        WHERE u.USERNAME = p.GRANTEE AND {u} = {p} AND u.ORACLE_MAINTAINED = 'Y')
            OR EXISTS (SELECT 1 FROM {view}_ROLES r
                        WHERE r.ROLE = p.GRANTEE AND {r} = {p} AND r.ORACLE_MAINTAINED = 'Y'))"""


#: CON_ID of the root.
ROOT = 1


@dataclass(frozen=True)
class Features:
    """The major version, whether this is the root of a multitenant server, the name of the current container, and the
    rows of `session.COLUMNS`."""

    major: int = 23
    in_root: bool = False
    here: str = ""
    columns: frozenset[tuple[str, str]] = frozenset()


def described(product: str, version: str, account: AccountKey) -> Features:
    """A server given by version ("" for the newest) and collection account."""
    major = re.match(r"\d+", version)
    return Features(int(major[0]) if major else 23, is_common(account))


def statement(sql: str, features: Features) -> str:
    """The SQL for this container, with NULL for missing columns."""
    view = "CDB" if features.in_root else "DBA"

    def column(table: str, name: str) -> str:
        return f"p.{name}" if (table, name) in features.columns else "NULL"

    return sql.format(
        view=view,
        **{alias: f"{alias}.CON_ID" if features.in_root else "0" for alias in "bopru"},
        changed=column(f"{view}_USERS", "PASSWORD_CHANGE_DATE"),
        login="SYS_EXTRACT_UTC(p.LAST_LOGIN)",
        role_id=column(f"{view}_ROLES", "ROLE_ID"),
        common=column("V_$PWFILE_USERS", "COMMON"),
    )


def views(sql: str) -> list[str]:
    """The views in a statement that need a grant, in the syntax of GRANT: "SYS.V_$CONTAINERS"."""
    found = re.findall(r"\b(?:DBA|CDB)_\w+|\bV\$\w+", sql)
    return [f"SYS.{name.replace('V$', 'V_$')}" for name in dict.fromkeys(found)]


def _view(name: str, columns: str, title: str, yields: str, where: str = "", since: int = 12, **more: Any) -> Read:
    """The read of a view, named without its prefix; `since` is the first major version that has it.

    Placeholders in the SQL: {view} is CDB or DBA; {p} (and {b}, {o}, {u}, {r}) the container id of a row of the view
    with that alias; {changed}, {role_id}, {common} are columns of later versions; {login} is the last login in UTC.
    """
    listed = ", ".join(column if column.startswith("{") else f"p.{column}" for column in columns.split())
    sql = more.pop("sql", f"SELECT {{p}}, {listed} FROM {{view}}_{name} p" + (where and f" WHERE {where}"))  # noqa: S608
    purpose = more.pop("purpose", title)

    def made(features: Features) -> str:
        return statement(sql, features)

    def grants(features: Features, grantee: str, hash_blind: bool) -> list[Statement]:
        granted = [select_grant(view, grantee, features.in_root) for view in views(made(features))]
        return [Statement(grant, purpose) for grant in granted]

    def place(features: Features) -> str:
        return views(made(features))[0].removeprefix("SYS.")

    more.setdefault("when", lambda features: features.major >= since)
    return Read(name, title, made, tuple(yields.split(", ")), place=place, grants=grants, **more)


def _only_root(sql: str) -> dict[str, Any]:
    return {"sql": sql, "probe": sql, "when": lambda features: features.in_root}


def _all_rows(session: Session, capability: Capability, rows: Rows | None) -> Iterable[Capability]:
    """The capability from the rows of CONTAINER_DATA."""
    if rows is not None and (allowed := allowed_containers(rows)):
        message, missing = f"the account can see only {allowed}", container_data(session.account)
        capability = replace(capability, works=False, message=message, missing=missing)
    yield capability


def allowed_containers(rows: Rows) -> str:
    """The containers that the account may see from the root, by the rows of CONTAINER_DATA; "" for all.

    The views of containers omit all others, so a hidden PDB would look like a missing one.
    """
    if any(every == "Y" for every, _ in rows):
        return ""
    return ", ".join(sorted({name for _, name in rows if name})) or "CDB$ROOT"


def _containers(session: Session, capability: Capability, rows: Rows | None) -> Iterable[Capability]:
    yield capability
    for _, name, _, mode, restricted in rows or ():
        if name != SEED and (closed := why_closed(mode, restricted)):
            cost = f"Accounts and sizes of container {name}: those of the last successful read remain."
            yield Capability(f"container {name}", False, closed, cost=cost)


def why_closed(mode: str, restricted: str | None) -> str:
    """Why the root's views omit a container; "" if it is open."""
    if not mode.startswith("READ"):
        return f"is {mode.lower()}, not open"
    return "is open in restricted mode" if restricted == "YES" else ""


#: Reads are named after views. Each row begins with the id of its container. BYTES is null for an unreadable file.
#: USED_SPACE is in blocks of the tablespace.
_FILES = "TABLESPACE_NAME BYTES AUTOEXTENSIBLE MAXBYTES"
_OBJECT = "GRANTEE OWNER TABLE_NAME"
_NOT_THE_ENGINES = f"NOT ({_OF_THE_ENGINE})"


def _ids(name: str, title: str, privileges: str, type_: str, levels: str) -> Read:
    """The read of the ids of objects in a view of privileges. `type_` excludes partitions and package bodies, which
    have the same names and ids of their own."""
    return _view(
        name,
        "",
        title,
        "object ids",
        sql=f"SELECT DISTINCT {{p}}, p.OWNER, p.TABLE_NAME, b.OBJECT_TYPE, b.OBJECT_ID FROM {{view}}_OBJECTS b"  # noqa: S608
        f" JOIN {{view}}_{privileges} p ON p.OWNER = b.OWNER AND p.TABLE_NAME = b.OBJECT_NAME AND {{p}} = {{b}}"
        f" WHERE b.OBJECT_TYPE {type_} AND {_NOT_THE_ENGINES}",
        levels=levels,
        limited=True,
        cost=f"{title}: a renamed object appears as one that lost its grants and one that was granted.",
    )


READS = (
    _view(
        "containers",
        "",
        "list of containers",
        "accounts, databases, sizes",
        required=True,
        judge=_containers,
        purpose="the containers, and which of them are open",
        **_only_root(CONTAINERS),
    ),
    _view(
        "container data",
        "",
        "rows of all containers",
        "accounts, databases, sizes",
        judge=_all_rows,
        purpose="whether the account may see all of them",
        cost="Accounts and sizes of the other containers.",
        **_only_root(CONTAINER_DATA),
    ),
    _view(
        "USERS",
        "USERNAME USER_ID ACCOUNT_STATUS EXPIRY_DATE PROFILE AUTHENTICATION_TYPE PASSWORD_VERSIONS PROXY_ONLY_CONNECT "
        "COMMON ORACLE_MAINTAINED {changed} {login}",
        "users",
        "accounts, account fields, attribute",
        required=True,
    ),
    _view("ROLES", "ROLE {role_id} AUTHENTICATION_TYPE ORACLE_MAINTAINED", "roles", "accounts", required=True),
    _view(
        "PROFILES",
        "PROFILE LIMIT",
        "connection limits",
        "account fields",
        "p.RESOURCE_NAME = 'SESSIONS_PER_USER'",
        fields=("connection_limit",),
    ),
    _view(
        "PWFILE_USERS",
        "",
        "administrative privileges (SYSDBA …)",
        "account fields, system",
        sql="SELECT p.CON_ID, p.USERNAME, {common}, p.SYSDBA, p.SYSOPER, p.SYSASM, p.SYSBACKUP, p.SYSDG, p.SYSKM "
        "FROM V$PWFILE_USERS p",
        fields=("is_superuser",),
    ),
    _view("ROLE_PRIVS", "GRANTEE GRANTED_ROLE ADMIN_OPTION DEFAULT_ROLE", "memberships", "memberships"),
    _view("SYS_PRIVS", "GRANTEE PRIVILEGE ADMIN_OPTION", "system privileges", "system"),
    _view(
        "TS_QUOTAS",
        "USERNAME TABLESPACE_NAME MAX_BYTES",
        "quotas on tablespaces",
        "tablespace",
        "p.DROPPED = 'NO' AND p.MAX_BYTES <> 0",
    ),
    _view("PROXIES", "PROXY CLIENT", "rights to connect through another account", "proxy", "p.PROXY IS NOT NULL"),
    _view(
        "SCHEMA_PRIVS",
        "GRANTEE SCHEMA PRIVILEGE ADMIN_OPTION",
        "privileges on schemas",
        "schema",
        levels="BC",
        since=23,
    ),
    _view(
        "TAB_PRIVS",
        f"{_OBJECT} TYPE PRIVILEGE GRANTABLE GRANTOR",
        "grants on objects",
        ", ".join(OBJECTS),
        _NOT_THE_ENGINES,
        levels="BC",
        limited=True,
    ),
    _view(
        "COL_PRIVS",
        f"{_OBJECT} COLUMN_NAME PRIVILEGE GRANTABLE GRANTOR",
        "grants on columns",
        "column",
        _NOT_THE_ENGINES,
        levels="C",
        limited=True,
    ),
    _ids("OBJECTS", "ids of objects", "TAB_PRIVS", "= p.TYPE", "BC"),
    # A materialized view is also a table of the same name; its columns are those of the table.
    _ids("COLUMN_OBJECTS", "ids of tables with grants on columns", "COL_PRIVS", "IN ('TABLE', 'VIEW')", "C"),
    _view(
        "TABLESPACES",
        "TABLESPACE_NAME CONTENTS BLOCK_SIZE",
        "names of tablespaces",
        "sizes",
        required=True,
        cost="names of tablespaces: those of the last successful read remain.",
    ),
    _view("DATA_FILES", _FILES, "sizes of tablespaces", "sizes"),
    _view("TEMP_FILES", _FILES, "sizes of temporary tablespaces", "sizes"),
    _view("TABLESPACE_USAGE_METRICS", "TABLESPACE_NAME USED_SPACE", "how full tablespaces are", "used"),
)

#: Read only on request, and not in the grant script: it is slow on a large dictionary.
SEGMENTS = (
    "SELECT {p}, p.OWNER, p.SEGMENT_NAME, p.BYTES FROM {view}_SEGMENTS p WHERE p.SEGMENT_TYPE IN"
    " ('TABLE', 'TABLE PARTITION', 'TABLE SUBPARTITION', 'NESTED TABLE', 'CLUSTER')"
)


def granted_views(level: str, features: Features) -> list[str]:
    """The views that visits to this depth and readings of sizes read, in the syntax of GRANT."""
    read = applicable(READS, level, features)
    return list(dict.fromkeys(view for one in read for view in views(one.statement(features))))
