"""What the rows of the MySQL adapter mean: pure functions, no connection. See `derived`.

The rows are those of the statements in `mysql_sql.READS`, by the name of the table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ..fact_set import GRANT_OPTION, FactSet
from ..facts import AccountFact, AccountKey, GrantFact, MembershipFact
from ..paths import dotted
from .decode import database_scope, restrictions, role_names, set_members, yes_no
from .user_table import Account, Server, Source, everybody

Rows = Iterable[Sequence[Any]]


def accounts(
    server: Server, rows: Rows, ended: Iterable[AccountKey], role_edges: Rows | None, mandatory: str, nameless: Rows
) -> list[Account]:
    """Of the rows of `Source.sql`. `role_edges` is None where they could not be read. `nameless` are the hosts of rows
    in mysql.db that hold for everybody from there."""
    source = Source(server)
    granted = {(role, host) for role, host, *_ in role_edges or ()}.union(role_names(mandatory))
    over, complete = frozenset(ended), role_edges is not None
    found = {account.fact.key: account for account in (source.account(row, granted, over, complete) for row in rows)}
    for (host,) in nameless:
        found.setdefault(("", host), everybody(host))
    return list(found.values())


def account_facts(known: Iterable[Account]) -> list[AccountFact]:
    return [account.fact for account in known]


def mariadb_memberships(known: Iterable[Account], roles_mapping: Rows) -> list[MembershipFact]:
    accounts = _by_key(known)
    facts = FactSet(accounts)
    for user, host, role, admin in roles_mapping:
        member = accounts.get((user, host))
        if member:
            active = member.fact.kind != "user" or member.default_role == role
            facts.membership(member.fact.key, (role, ""), admin == "Y", active)
    return facts.memberships


def mysql_memberships(
    server: Server, known: Iterable[Account], role_edges: Rows, mandatory: str, default_roles: Rows
) -> list[MembershipFact]:
    accounts = _by_key(known)
    facts = FactSet(accounts)
    defaults = {((row[0], row[1]), (row[2], row[3])) for row in default_roles}
    all_active = server.variables.get("activate_all_roles_on_login") == "ON"
    users = {key for key, account in accounts.items() if account.fact.kind == "user"}
    for role_name, role_host, name, host, admin in role_edges:
        role, member = (role_name, role_host), (name, host)
        active = all_active or member not in users or (member, role) in defaults
        facts.membership(member, role, admin == "Y", active)
    for role in role_names(mandatory):
        for member in users - {role}:
            facts.membership(member, role, False, all_active or (member, role) in defaults)
    return facts.memberships


def system_grants(server: Server, known: Iterable[Account], global_grants: Rows) -> list[GrantFact]:
    """Privileges on *.*."""
    source, accounts = Source(server), _by_key(known)
    facts = FactSet(accounts)
    if source.knows_grant_option:
        for key, account in accounts.items():
            # The grant option alone is a fact only if nothing else may hide beside it.
            if not ("system" in source.lacks and account.privileges == {GRANT_OPTION}):
                facts.grant(key, "system", account.privileges)
    for user, host, privilege, grantable in global_grants:
        facts.grant((user, host), "system", [privilege.upper()], grantable=grantable == "Y")
    return facts.grants


def database_grants(server: Server, known: Iterable[Account], columns: Sequence[str], db: Rows) -> list[GrantFact]:
    """Of mysql.db, whose letters stand for these columns, and partial revokes."""
    accounts = _by_key(known)
    facts = FactSet(accounts)
    # With partial_revokes the server takes the wildcards in these names for what they look like.
    literal = server.variables.get("partial_revokes") == "ON"
    privileges: dict[str, Collection[str]] = {}
    for user, host, name, flags in db:
        if flags not in privileges:
            privileges[flags] = yes_no(columns, flags, server.is_mariadb)
        database, scope = database_scope(name, literal)
        facts.grant((user, host), "database", privileges[flags], dotted(scope), database)
    for key, account in accounts.items():
        for name, privilege in restrictions(account.restrictions):
            database, scope = database_scope(name, literal=True)
            facts.grant(key, "database", [privilege], dotted(scope), database, denied=True)
    return facts.grants


def other_grants(
    server: Server,
    known: Iterable[Account],
    proxies_priv: Rows,
    tables_priv: Rows,
    columns_priv: Rows,
    procs_priv: Rows,
) -> list[GrantFact]:
    """Rights to act as another account, and grants on objects."""
    mariadb, passed_on = server.is_mariadb, set()
    facts = FactSet(_by_key(known))
    for user, host, name, from_host, grantable in proxies_priv:
        # To the server, no host is any host.
        facts.grant((user, host), "proxy", ["PROXY"], dotted(name, from_host or "%"), grantable=bool(grantable))
    for user, host, database, table, words in tables_priv:
        privileges = set_members(words, mariadb)
        facts.grant((user, host), "table", privileges, dotted(database, table), database)
        if GRANT_OPTION in privileges:
            passed_on.add((user, host, database, table))
    for user, host, database, table, column, words in columns_priv:
        facts.grant(
            (user, host),
            "column",
            set_members(words, mariadb),
            dotted(database, table, column),
            database,
            grantable=(user, host, database, table) in passed_on,
        )
    for user, host, database, name, kind, words in procs_priv:
        facts.grant(
            (user, host), "routine", set_members(words, mariadb), dotted(database, kind.lower(), name), database
        )
    return facts.grants


def together(*several: Iterable[GrantFact]) -> list[GrantFact]:
    return [grant for grants in several for grant in grants]


def _by_key(known: Iterable[Account]) -> dict[AccountKey, Account]:
    return {account.fact.key: account for account in known}
