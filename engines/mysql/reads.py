"""The grant tables that the MySQL adapter reads beside that of the accounts: one statement each.

https://dev.mysql.com/doc/refman/8.4/en/grant-tables.html
https://mariadb.com/kb/en/the-mysql-database-tables/
"""

from __future__ import annotations

from dataclasses import dataclass

from ..facts import LEVELS


@dataclass(frozen=True)
class Read:
    """A statement, what its table tells, the depth from which on that is asked, and the servers that have the table:
    "MySQL 8" (and later), "MariaDB", or "" for all."""

    sql: str
    tells: str
    level: str = "A"
    servers: str = ""


#: By the name of the table in the schema mysql. `{columns}` are those of mysql.db that hold a privilege.
READS = {
    "db": Read("SELECT User, Host, Db, CONCAT({columns}) FROM mysql.db", "grants on databases"),
    "proxies_priv": Read(
        "SELECT User, Host, Proxied_user, Proxied_host, With_grant FROM mysql.proxies_priv",
        "rights to act as another account",
    ),
    "roles_mapping": Read(
        "SELECT User, Host, Role, Admin_option FROM mysql.roles_mapping", "memberships", servers="MariaDB"
    ),
    "role_edges": Read(
        "SELECT FROM_USER, FROM_HOST, TO_USER, TO_HOST, WITH_ADMIN_OPTION FROM mysql.role_edges",
        "roles and memberships",
        servers="MySQL 8",
    ),
    "default_roles": Read(
        "SELECT USER, HOST, DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST FROM mysql.default_roles",
        "which roles are active from login on",
        servers="MySQL 8",
    ),
    "global_grants": Read(
        "SELECT USER, HOST, PRIV, WITH_GRANT_OPTION FROM mysql.global_grants", "dynamic privileges", servers="MySQL 8"
    ),
    "tables_priv": Read(
        "SELECT User, Host, Db, Table_name, Table_priv FROM mysql.tables_priv", "grants on tables", level="B"
    ),
    "procs_priv": Read(
        "SELECT User, Host, Db, Routine_name, Routine_type, Proc_priv FROM mysql.procs_priv",
        "grants on routines",
        level="B",
    ),
    "columns_priv": Read(
        "SELECT User, Host, Db, Table_name, Column_name, Column_priv FROM mysql.columns_priv",
        "grants on columns",
        level="C",
    ),
}


def reads(level: str, is_mariadb: bool, has_roles: bool) -> dict[str, Read]:
    """Those of `READS` that a visit to this depth makes. `has_roles` says that this is MySQL 8 or later."""
    depths = LEVELS[: LEVELS.index(level) + 1]
    servers = {"", "MariaDB" if is_mariadb else "MySQL 8" if has_roles else ""}
    return {table: read for table, read in READS.items() if read.level in depths and read.servers in servers}
