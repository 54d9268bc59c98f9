"""The reads of a visit to MySQL or MariaDB: one statement per grant table.

The simple way is GRANT SELECT ON mysql.* to the collection account. That includes password hashes, which Taifish does
not read. To exclude them, grant SELECT on each grant table, and on mysql.user only the columns named in `user_table`.

https://dev.mysql.com/doc/refman/8.4/en/grant-tables.html
https://mariadb.com/kb/en/the-mysql-database-tables/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..facts import Capability
from ..reads import Read, read_only
from ..session import Rows, Session
from ..statements import Statement
from .account import global_grant
from .decode import DB_COLUMNS, held_globally
from .user_table import HASH, Server, Source, select_on_user, user_columns

SHOW_GRANTS = "SHOW GRANTS"

#: Each of these on *.* shows the names of all databases.
SHOW_DATABASES = frozenset({"ALL PRIVILEGES", "SHOW DATABASES"})

#: Each of these on *.* shows all tables in information_schema.
SHOW_TABLES = frozenset({"ALL PRIVILEGES", "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES"}) | {
    "INDEX",
    "ALTER",
    "CREATE VIEW",
    "SHOW VIEW",
    "TRIGGER",
}

RESTRICTIONS = "User_attributes"

#: `Source.lacks` in words.
LACKED = {"system": "privileges on *.*", "default_role": "memberships"}


def database_columns(server: Server) -> tuple[str, ...]:
    """Columns of mysql.db that hold a privilege on this server."""
    listed = server.columns.get("db", ())
    return tuple(sorted(DB_COLUMNS.union(name for name in listed if name.endswith("_priv"))))


def _select(place: str, purpose: str) -> Callable[[Any, str, bool], list[Statement]]:
    def grants(server: Server, grantee: str, hash_blind: bool) -> list[Statement]:
        if not hash_blind:
            return [Statement(f"GRANT SELECT ON mysql.* TO {grantee};", "accounts, roles and all grants")]
        if place:
            return [Statement(f"GRANT SELECT ON {place} TO {grantee};", purpose)]
        columns = select_on_user(user_columns(server.is_mariadb, server.has_roles))
        return [Statement(f"GRANT SELECT {columns} TO {grantee};", purpose)]

    return grants


def _table(table: str, columns: str | Callable[[Server], str], title: str, *yields: str, **more: Any) -> Read:
    """The read of a grant table, named after it."""
    place = f"mysql.{table}"
    if isinstance(columns, str):
        sql: str | Callable[[Server], str] = f"SELECT {columns} FROM {place}"  # noqa: S608 -- constants
    else:
        sql = lambda server: f"SELECT {columns(server)} FROM {place}"  # noqa: E731, S608 -- constants
    return Read(table, title, sql, yields, place=place, grants=_select(place, title), **more)


def _on_everything(
    name: str, title: str, privilege: str, purpose: str, cost: str, sql: str = SHOW_GRANTS, **more: Any
) -> Read:
    """A read that needs a privilege on *.*."""

    def grants(server: Server, grantee: str, hash_blind: bool) -> list[Statement]:
        return [Statement(global_grant(grantee, privilege), purpose)]

    return Read(name, title, sql, sample=None, place=privilege, grants=grants, cost=cost, **more)


def _if_held(privilege: str, enough: frozenset[str]) -> Callable[[Any, Capability, Rows | None], Iterable[Capability]]:
    """Check SHOW GRANTS for the privilege or an equivalent one: without it the server hides rows and raises no
    error."""

    def judge(session: Session, capability: Capability, rows: Rows | None) -> Iterable[Capability]:
        if rows is not None and not held_globally(rows) & enough:
            missing = global_grant(session.account, privilege)
            capability = replace(capability, works=False, message="not granted", missing=missing)
        yield capability

    return judge


def _fields(session: Session, listed: Capability, rows: Rows | None) -> Iterable[Capability]:
    """Capabilities for the fields of accounts, by readable columns of mysql.user; MariaDB's document has all fields."""
    yield listed
    source = Source(session.features)
    name, cost = "fields of accounts", "Lock, password, limits and privileges on *.* of each account."
    if rows is None:
        yield Capability(name, None, "not checked, because the list of accounts failed", cost=cost)
        return
    missing = source.missing - {RESTRICTIONS, HASH}
    unread = ", ".join(sorted(source.unread | {LACKED[name] for name in source.lacks & LACKED.keys()}))
    grant = f"GRANT SELECT {select_on_user(missing)} TO {session.account};" if missing else ""
    message = f"no permission to read {', '.join(sorted(missing))}" if missing else "works"
    yield Capability(name, not missing, message, grant, f"Of each account: {unread}." if missing else cost)
    if source.server.is_mariadb and source.unread:
        yield Capability(
            "lock, age and method of passwords, newer privileges",
            False,
            "no permission to read mysql.global_priv",
            f"GRANT SELECT ON mysql.global_priv TO {session.account};",
            "Lock, password age and authentication method of each account; each visit ends as partial. That grant"
            " includes password hashes.",
        )
    if HASH in source.missing:
        yield Capability(
            "roles apart from locked users",
            False,
            f"no permission to read {HASH}",
            f"GRANT SELECT {select_on_user([HASH])} TO {session.account};",
            "Whether locked accounts with an expired password are roles or users, and which roles these have at login;"
            " while there are such accounts, each visit ends as partial. That grant includes password hashes, which"
            " Taifish does not read: the server tests whether there is one.",
        )
    if RESTRICTIONS in source.missing:
        yield Capability(
            "partial revokes",
            False,
            f"no permission to read {RESTRICTIONS}",
            f"GRANT SELECT {select_on_user([RESTRICTIONS])} TO {session.account};",
            "Which grants are revoked for a database. That column also contains the hashes of second passwords.",
        )


def _with_roles(server: Server) -> bool:
    return server.has_roles


#: Reads of tables are named after them. MariaDB has roles_mapping; MySQL 8 and later have role_edges, default_roles and
#: global_grants.
READS = (
    # MySQL has the first variable, MariaDB up to 11.0 the second.
    read_only("SHOW SESSION VARIABLES WHERE Variable_name IN ('transaction_read_only', 'tx_read_only')", "ON"),
    Read(
        "accounts",
        "accounts",
        lambda server: Source(server).sql,
        ("accounts", "account fields", "system"),
        required=True,
        judge=_fields,
        grants=_select("", "accounts and privileges on *.*, without hashes"),
    ),
    # Rows without a user apply to all accounts from their host, and become an account.
    _table(
        "db",
        lambda server: f"User, Host, Db, CONCAT({', '.join(database_columns(server))})",
        "grants on databases",
        "accounts",
        "database",
    ),
    _table(
        "proxies_priv",
        "User, Host, Proxied_user, Proxied_host, With_grant, Grantor",
        "rights to act as another account",
        "proxy",
    ),
    _table(
        "roles_mapping",
        "User, Host, Role, Admin_option",
        "memberships",
        "memberships",
        when=lambda server: server.is_mariadb,
    ),
    _table(
        "role_edges",
        "FROM_USER, FROM_HOST, TO_USER, TO_HOST, WITH_ADMIN_OPTION",
        "memberships",
        "memberships",
        when=_with_roles,
    ),
    _table(
        "default_roles",
        "USER, HOST, DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST",
        "roles that are active at login",
        "memberships",
        when=_with_roles,
    ),
    _table("global_grants", "USER, HOST, PRIV, WITH_GRANT_OPTION", "dynamic privileges", "system", when=_with_roles),
    _table(
        "tables_priv",
        "User, Host, Db, Table_name, Table_priv, Grantor",
        "grants on tables",
        "table",
        levels="BC",
        limited=True,
    ),
    _table(
        "procs_priv",
        "User, Host, Db, Routine_name, Routine_type, Proc_priv, Grantor",
        "grants on routines",
        "routine",
        levels="BC",
        limited=True,
    ),
    # The grant option for a column is stored with its table.
    _table(
        "columns_priv",
        "User, Host, Db, Table_name, Column_name, Column_priv",
        "grants on columns",
        "column",
        levels="C",
        limited=True,
        after="tables_priv",
    ),
    _on_everything(
        "files",
        "sizes of databases",
        "PROCESS",
        "sizes: the list of InnoDB's files (information_schema)",
        "Sizes of all databases.",
        # With LIMIT 0 the server would not check the privilege.
        probe=lambda server: f"SELECT NAME FROM information_schema.{server.tablespaces} LIMIT 1",  # noqa: S608
    ),
    _on_everything(
        "databases",
        "names of all databases",
        "SHOW DATABASES",
        "the names of all databases, including those without any grant",
        "Databases on which the account has no grant.",
        judge=_if_held("SHOW DATABASES", SHOW_DATABASES),
    ),
    _on_everything(
        "other tables",
        "sizes of tables of all engines",
        "SHOW VIEW",
        "sizes: tables of engines other than InnoDB, in every database",
        "Tables of engines other than InnoDB in the sizes of databases.",
        judge=_if_held("SHOW VIEW", SHOW_TABLES),
    ),
)
