"""The collection account: the SQL that makes it, with the least that a visit needs.

Pure: nothing here connects or imports a driver. What is granted is what the adapters read, by their own constants.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .base import AccountKey
from .mysql_accounts import select_on_user, user_columns
from .mysql_grants import quoted_account
from .mysql_sql import reads
from .oracle_sql import granted_views, identifier, select_grant
from .postgresql_driver import quoted

#: Stands where the password goes. Oracle's is a name in double quotes.
PASSWORD = "'…'"  # noqa: S105 -- nobody's
ORACLE_PASSWORD = '"…"'  # noqa: S105 -- nobody's

STATS_ROLE = "pg_read_all_stats"

#: Privileges on *.* that reading sizes takes → what for.
GLOBAL = {
    "PROCESS": "sizes: the list of InnoDB's files (information_schema)",
    "SHOW DATABASES": "the names of all databases, of those without any grant too",
    "SHOW VIEW": "sizes: that there are tables of engines other than InnoDB, in every database",
}

#: What people call it → engine and product.
PRODUCTS = {
    "postgresql": ("postgresql", "PostgreSQL"),
    "mysql": ("mysql", "MySQL"),
    "mariadb": ("mysql", "MariaDB"),
    "oracle": ("oracle", "Oracle"),
}

#: Engines whose accounts have no host.
HOSTLESS = frozenset({"postgresql", "oracle"})

#: How names of common users begin, unless the parameter COMMON_USER_PREFIX says otherwise.
COMMON_PREFIX = "C##"

NEWEST_ORACLE = 23

#: Engines where depths B and C need a right on each database.
PER_DATABASE = frozenset({"postgresql"})


@dataclass(frozen=True)
class Statement:
    """One statement, ready to run but for the password, and what it is for."""

    sql: str
    purpose: str


def script(
    engine: str, level: str, account: AccountKey, *, product: str = "", version: str = "", hash_blind: bool = False
) -> list[Statement]:
    """The statements that make the collection account for visits to this depth and for sizes.

    An empty product is the one the engine is named for, an empty version its newest. `hash_blind` keeps the account
    from password hashes as far as the product lets it. Raises ValueError for an engine that has no such script.
    """
    try:
        write = _SCRIPTS[engine]
    except KeyError:
        raise ValueError(f"there is no script for the engine {engine!r}: {', '.join(sorted(_SCRIPTS))}") from None
    return write(level, account, product, version, hash_blind)


def remarks(engine: str, level: str, *, product: str = "", hash_blind: bool = False) -> list[str]:
    """What the statements leave open: sentences for whoever runs them."""
    told = []
    if engine in PER_DATABASE and level != "A":
        told.append(
            f"Depth {level} also needs CONNECT on each database. PUBLIC has it unless somebody took it away; then it is"
            " GRANT CONNECT ON DATABASE … to this account."
        )
    if engine == "postgresql" and hash_blind:
        told.append("PostgreSQL shows password hashes to superusers only: there is nothing more to keep from it.")
    if engine == "mysql" and hash_blind and product == "MariaDB":
        told.append(
            "MariaDB keeps lock, age and method of a password, and newer privileges, in one document with its hash"
            " (mysql.global_priv): without that these stay unknown, and each visit ends as partial and says so."
        )
    if engine == "mysql" and hash_blind and product != "MariaDB":
        told.append(
            "Where partial_revokes is ON, these also need SELECT (User_attributes) ON mysql.user; that column holds"
            " the hashes of second passwords too. Without it grants on databases are told as partly unread."
        )
    if engine == "mysql" and not hash_blind:
        told.append(
            "SELECT ON mysql.* lets the account see password hashes, of which Taifish reads none: --hash-blind."
        )
    if engine == "oracle":
        told += [
            "Run it in the database or PDB that the instance's service leads to. An account named C##… is for the root:"
            " run its script there, and one instance then tells of all PDBs that are open.",
            "On Amazon RDS, GRANT SELECT ON SYS.… is rdsadmin.rdsadmin_util.grant_sys_object('…', 'NAME', 'SELECT').",
        ]
    if engine == "oracle" and hash_blind:
        told.append("None of these views shows password hashes: there is nothing more to keep from it.")
    return told


def postgresql_stats_grant(role: str) -> str:
    return f"GRANT {STATS_ROLE} TO {quoted(role)};"


def mysql_global_grant(grantee: str, *privileges: str) -> str:
    return f"GRANT {', '.join(privileges)} ON *.* TO {grantee};"


def mysql_select_grants(
    level: str, grantee: str, is_mariadb: bool, has_roles: bool, hash_blind: bool
) -> list[Statement]:
    """What lets an account read the grant tables; `grantee` is quoted already."""
    if not hash_blind:
        return [Statement(f"GRANT SELECT ON mysql.* TO {grantee};", "accounts, roles and all grants")]
    columns = select_on_user(user_columns(is_mariadb, has_roles))
    return [
        Statement(f"GRANT SELECT {columns} TO {grantee};", "accounts and privileges on *.*, without hashes"),
        *(
            Statement(f"GRANT SELECT ON mysql.{table} TO {grantee};", read.tells)
            for table, read in reads(level, is_mariadb, has_roles).items()
        ),
    ]


def oracle_needs(level: str, grantee: str, major: int, in_root: bool) -> list[Statement]:
    """What lets an account, as GRANT takes it, be visited with; in the root for all containers."""
    session = [Statement(f"GRANT CREATE SESSION TO {grantee};", "to connect")]
    if in_root:
        session = [
            Statement(
                f"GRANT CREATE SESSION, SET CONTAINER TO {grantee} CONTAINER=ALL;", "to connect, and read in PDBs"
            ),
            Statement(
                f"ALTER USER {grantee} SET CONTAINER_DATA=ALL CONTAINER=CURRENT;", "to be shown the rows of all PDBs"
            ),
        ]
    views = granted_views(level, major, in_root)
    return [*session, *(Statement(select_grant(view, grantee, in_root), tells) for view, tells in views.items())]


def _postgresql(level: str, account: AccountKey, product: str, version: str, hash_blind: bool) -> list[Statement]:
    role = account[0]
    return [
        Statement(f"CREATE ROLE {quoted(role)} LOGIN PASSWORD {PASSWORD};", "the account; put in a password"),
        Statement(postgresql_stats_grant(role), "sizes of databases on which it has no CONNECT"),
    ]


def _mysql(level: str, account: AccountKey, product: str, version: str, hash_blind: bool) -> list[Statement]:
    grantee = quoted_account(*account)
    is_mariadb = product == "MariaDB"
    major = re.match(r"\d+", version)
    has_roles = not is_mariadb and (major is None or int(major[0]) >= 8)
    return [
        Statement(f"CREATE USER {grantee} IDENTIFIED BY {PASSWORD};", "the account; put in a password"),
        *mysql_select_grants(level, grantee, is_mariadb, has_roles, hash_blind),
        *(Statement(mysql_global_grant(grantee, privilege), purpose) for privilege, purpose in GLOBAL.items()),
    ]


def _oracle(level: str, account: AccountKey, product: str, version: str, hash_blind: bool) -> list[Statement]:
    user = identifier(account[0])
    in_root = user.strip('"').upper().startswith(COMMON_PREFIX)
    major = re.match(r"\d+", version)
    everywhere = " CONTAINER=ALL" if in_root else ""
    return [
        Statement(f"CREATE USER {user} IDENTIFIED BY {ORACLE_PASSWORD}{everywhere};", "the account; put in a password"),
        *oracle_needs(level, user, int(major[0]) if major else NEWEST_ORACLE, in_root),
    ]


_SCRIPTS: dict[str, Callable[[str, AccountKey, str, str, bool], list[Statement]]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "oracle": _oracle,
}
