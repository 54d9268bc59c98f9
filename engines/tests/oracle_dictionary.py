"""The views of Oracle's dictionary that the adapter may read, from the Database Reference: view → its page, its first
version, and column → type and first version, for the columns in use.

Pages are under https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/, those of later views under
…/23/refrn/. A version is (major, minor), at least 12.1. A CDB_ view has the columns of the DBA_ view and CON_ID (page
"About CDB Views"). Only a real server can prove that it has these columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

Version = tuple[int, int]

REFERENCE = "https://docs.oracle.com/en/database/oracle/oracle-database/{}/refrn/{}"
OLDEST: Version = (12, 1)


@dataclass(frozen=True)
class View:
    page: str
    columns: dict[str, str]
    since: Version = OLDEST
    #: Column → first version, if later than that of the view.
    later: tuple[tuple[str, Version], ...] = ()

    @property
    def url(self) -> str:
        return REFERENCE.format(19 if self.since < (20, 0) else self.since[0], self.page)

    def of(self, version: Version) -> dict[str, str]:
        """The columns on a server of this version; empty if it lacks the view."""
        later = dict(self.later)
        if version < self.since:
            return {}
        return {name: kind for name, kind in self.columns.items() if later.get(name, OLDEST) <= version}


def _columns(**kinds: str) -> dict[str, str]:
    """Type → names."""
    return {name: kind for kind, names in kinds.items() for name in names.split()}


VIEWS = {
    "ALL_TAB_COLUMNS": View("ALL_TAB_COLUMNS.html", _columns(text="OWNER TABLE_NAME COLUMN_NAME")),
    "DBA_USERS": View(
        "DBA_USERS.html",
        _columns(
            text="USERNAME PASSWORD ACCOUNT_STATUS PROFILE AUTHENTICATION_TYPE PASSWORD_VERSIONS PROXY_ONLY_CONNECT"
            " COMMON ORACLE_MAINTAINED",
            number="USER_ID",
            date="LOCK_DATE EXPIRY_DATE CREATED PASSWORD_CHANGE_DATE",
            moment="LAST_LOGIN",
        ),
        later=(("PASSWORD_CHANGE_DATE", (19, 0)),),
    ),
    "DBA_ROLES": View(
        "DBA_ROLES.html",
        _columns(text="ROLE PASSWORD_REQUIRED AUTHENTICATION_TYPE COMMON ORACLE_MAINTAINED", number="ROLE_ID"),
        later=(("ROLE_ID", (12, 2)),),
    ),
    "DBA_PROFILES": View("DBA_PROFILES.html", _columns(text="PROFILE RESOURCE_NAME RESOURCE_TYPE LIMIT COMMON")),
    "DBA_ROLE_PRIVS": View(
        "DBA_ROLE_PRIVS.html", _columns(text="GRANTEE GRANTED_ROLE ADMIN_OPTION DEFAULT_ROLE COMMON")
    ),
    "DBA_SYS_PRIVS": View("DBA_SYS_PRIVS.html", _columns(text="GRANTEE PRIVILEGE ADMIN_OPTION COMMON")),
    "DBA_TS_QUOTAS": View(
        "DBA_TS_QUOTAS.html", _columns(text="TABLESPACE_NAME USERNAME DROPPED", number="BYTES MAX_BYTES")
    ),
    "DBA_PROXIES": View("DBA_PROXIES.html", _columns(text="PROXY CLIENT AUTHENTICATION AUTHORIZATION_CONSTRAINT ROLE")),
    "DBA_SCHEMA_PRIVS": View(
        "DBA_SCHEMA_PRIVS.html", _columns(text="GRANTEE PRIVILEGE SCHEMA ADMIN_OPTION COMMON"), since=(23, 0)
    ),
    "DBA_TAB_PRIVS": View(
        "DBA_TAB_PRIVS.html",
        _columns(text="GRANTEE OWNER TABLE_NAME GRANTOR PRIVILEGE GRANTABLE HIERARCHY COMMON TYPE"),
    ),
    "DBA_COL_PRIVS": View(
        "DBA_COL_PRIVS.html",
        _columns(text="GRANTEE OWNER TABLE_NAME COLUMN_NAME GRANTOR PRIVILEGE GRANTABLE COMMON"),
    ),
    "DBA_OBJECTS": View(
        "DBA_OBJECTS.html", _columns(text="OWNER OBJECT_NAME SUBOBJECT_NAME OBJECT_TYPE", number="OBJECT_ID")
    ),
    "DBA_TABLESPACES": View(
        "DBA_TABLESPACES.html", _columns(text="TABLESPACE_NAME STATUS CONTENTS", number="BLOCK_SIZE")
    ),
    "DBA_DATA_FILES": View(
        "DBA_DATA_FILES.html",
        _columns(text="FILE_NAME TABLESPACE_NAME AUTOEXTENSIBLE ONLINE_STATUS", number="BYTES MAXBYTES"),
    ),
    "DBA_TEMP_FILES": View(
        "DBA_TEMP_FILES.html", _columns(text="FILE_NAME TABLESPACE_NAME AUTOEXTENSIBLE", number="BYTES MAXBYTES")
    ),
    "DBA_TABLESPACE_USAGE_METRICS": View(
        "DBA_TABLESPACE_USAGE_METRICS.html", _columns(text="TABLESPACE_NAME", number="USED_SPACE TABLESPACE_SIZE")
    ),
    "DBA_SEGMENTS": View(
        "DBA_SEGMENTS.html", _columns(text="OWNER SEGMENT_NAME PARTITION_NAME SEGMENT_TYPE", number="BYTES")
    ),
    "DBA_CONTAINER_DATA": View(
        "DBA_CONTAINER_DATA.html",
        _columns(text="USERNAME DEFAULT_ATTR OWNER OBJECT_NAME ALL_CONTAINERS CONTAINER_NAME"),
    ),
    "USER_SYS_PRIVS": View("USER_SYS_PRIVS.html", _columns(text="USERNAME PRIVILEGE ADMIN_OPTION COMMON")),
    "USER_ROLE_PRIVS": View(
        "USER_ROLE_PRIVS.html", _columns(text="USERNAME GRANTED_ROLE ADMIN_OPTION DEFAULT_ROLE COMMON")
    ),
    "USER_TAB_PRIVS": View(
        "USER_TAB_PRIVS.html", _columns(text="GRANTEE OWNER TABLE_NAME GRANTOR PRIVILEGE GRANTABLE COMMON TYPE")
    ),
    "USER_TS_QUOTAS": View("USER_TS_QUOTAS.html", _columns(text="TABLESPACE_NAME", number="BYTES MAX_BYTES")),
    "ROLE_ROLE_PRIVS": View("ROLE_ROLE_PRIVS.html", _columns(text="ROLE GRANTED_ROLE ADMIN_OPTION COMMON")),
    "ROLE_SYS_PRIVS": View("ROLE_SYS_PRIVS.html", _columns(text="ROLE PRIVILEGE ADMIN_OPTION COMMON")),
    "ROLE_TAB_PRIVS": View(
        "ROLE_TAB_PRIVS.html", _columns(text="ROLE OWNER TABLE_NAME COLUMN_NAME PRIVILEGE GRANTABLE COMMON")
    ),
    "V$CONTAINERS": View(
        "V-CONTAINERS.html", _columns(text="NAME OPEN_MODE RESTRICTED", number="CON_ID DBID CON_UID", raw="GUID")
    ),
    "V$PWFILE_USERS": View(
        "V-PWFILE_USERS.html",
        _columns(text="USERNAME SYSDBA SYSOPER SYSASM SYSBACKUP SYSDG SYSKM COMMON", number="CON_ID"),
        later=(("COMMON", (12, 2)),),
    ),
}

#: Every user may read these.
PUBLIC_VIEWS = frozenset(name for name in VIEWS if name.startswith(("ALL_", "USER_", "ROLE_")))


def tables(version: Version) -> dict[str, dict[str, str]]:
    """View on a server of this version → its columns with their types, including CDB_ views."""
    found = {}
    for name, view in VIEWS.items():
        if columns := view.of(version):
            found[name] = columns
            if name.startswith("DBA_") and name != "DBA_CONTAINER_DATA":
                found[name.replace("DBA_", "CDB_", 1)] = {**columns, "CON_ID": "number"}
    return found


#: Mistakes that sqlglot accepts as Oracle's SQL.
_FOREIGN = (exp.Limit, exp.Boolean, exp.ILike)


@cache
def check(sql: str, version: Version) -> None:
    """Raise an error for a statement that is not Oracle's SQL, or that uses a view or column that is not documented for
    this version."""
    statement = sqlglot.parse_one(sql, read="oracle")
    if isinstance(statement, exp.Select | exp.Union):
        for node in statement.walk():
            assert not isinstance(node, _FOREIGN), f"{node.sql('oracle')} is not Oracle's"
        for select in statement.find_all(exp.Select):
            for column in select.expressions:
                assert not isinstance(column.unalias(), exp.Predicate), f"Oracle selects no {column.sql('oracle')}"
        schema = {
            name.replace("V$", "V_$") if owned else name: dict.fromkeys(columns, "VARCHAR")
            for name, columns in tables(version).items()
            for owned in (False, True)
        }
        for table in statement.find_all(exp.Table):
            # Not the alias of a subquery, nor DUAL, which every user may read.
            assert table.name == "DUAL" or table.name in schema, f"{version} has no view {table.name}"
            table.set("db", None)
        schema["DUAL"] = {"DUMMY": "VARCHAR", "SYSTIMESTAMP": "TIMESTAMP"}
        qualify(statement, schema=schema, dialect="oracle", validate_qualify_columns=True)
