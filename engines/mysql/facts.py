"""Facts from the rows of a visit to MySQL or MariaDB: pure functions, no connection. See `derived`.

Scopes:

database  dotted(name in mysql.db), a LIKE pattern (`team%`, `shop\\_a`): see `database_scope`
table     dotted(database, name)
column    dotted(database, table, name)
routine   dotted(database, "function" or "procedure" or "package" or "package body", name)
proxy     dotted(name, host) of the account to act as; the one without a name stands for all

`inherit` of a membership means that the role is active at login; other roles need SET ROLE.

`grantors` of grants on tables and routines and of proxies is the Grantor of the row as stored, "name@host". For a table
or routine that is the account that last granted or revoked one of its privileges, for a proxy the first that granted
it. Other grants have none. Objects have no id.

Rows of mysql.db without a user apply to all accounts from their host. They are grants of the anonymous account of that
host or, if there is none, of an account of kind "public" with an empty name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..derived import Derived, together
from ..fact_set import GRANT_OPTION, FactSet
from ..facts import AccountFact, AccountKey, Gap, GrantFact, Inventory, MembershipFact, Permissions
from ..paths import dotted
from ..reads import ACCOUNTS, GRANTS, Answers
from .decode import database_scope, restrictions, role_names, routine_rows, set_members, yes_no
from .reads import database_columns
from .session import MySQLSession
from .user_table import HASH, Account, Server, Source, everybody, select_on_user

Rows = Iterable[Sequence[Any]]

#: The cost of hash-blindness on MySQL.
NO_HASH = (
    "locked accounts with an expired password may be roles or users (here: {}). Only an account with access to the"
    " password hashes can test which"
)

#: Seen on MySQL 9.7 and MariaDB 10.11 and 11.8. No table shows which of them the server still has in memory.
DOUBLED = (
    "{} grants on routines have a name that is not ASCII (user, database, routine). The server misreads their rows in "
    "mysql.procs_priv at restart and FLUSH PRIVILEGES, and then loses these grants. Repeat them afterwards."
)


def inventory(session: MySQLSession, answers: Answers) -> tuple[Inventory, Derived[Account]]:
    """Accounts of mysql.user, or of mysql.global_priv by key. `valid_until` is the end of the password's lifetime.

    On MySQL, a role is what CREATE ROLE makes: a locked account with an expired password and without a hash. Without
    access to the column of the hashes, the kind of locked accounts with an expired password is unknown, and with it the
    fields that roles lack. No row shows accounts that are locked temporarily after failed logins.
    """
    rows, source = answers.rows, Source(session.features)
    gaps = answers.gaps_in(ACCOUNTS)
    ended = source.ended(rows["accounts"], session.now)
    undecided = source.undecided(rows["accounts"])
    depending = frozenset[str]().union(*(source.depends_on_kind(row, ended) for row in undecided))
    if fields := source.unread | (depending if "no_hash" not in source.lacks else set()):
        gap = _unread(session, source.required, "account fields", f"cannot read {', '.join(sorted(fields))}")
        gaps.append(replace(gap, fields=tuple(sorted(fields))))
    if undecided and "no_hash" in source.lacks:
        gap = _unread(session, select_on_user([HASH]), "account fields", NO_HASH.format(len(undecided)))
        gaps.append(replace(gap, fields=tuple(sorted(depending))))
    known = Derived(
        accounts,
        session.features,
        rows["accounts"],
        ended,
        sorted({(host,) for user, host, *_ in rows.get("db", ()) if not user}),
    )
    return Inventory(Derived(account_facts, known), gaps), known


def permissions(session: MySQLSession, answers: Answers, known: Derived[Account]) -> Permissions:
    """Grants and memberships of the grant tables. Rows of accounts that are not in mysql.user, left over after a manual
    DELETE, have no effect and are ignored."""
    server, rows, source = session.features, answers.rows, Source(session.features)
    gaps, notes = answers.gaps_in(GRANTS), []
    memberships: Sequence[MembershipFact] = []
    # Which roles are active at login depends on both. No membership is better than one with wrong options.
    if "kind" in source.unread or "default_role" in source.lacks:
        gaps = [gap for gap in gaps if gap.scope != "memberships"]
        gaps.append(_unread(session, source.required, "memberships", "cannot read roles and default roles"))
    elif "roles_mapping" in rows:
        memberships = Derived(mariadb_memberships, known, rows["roles_mapping"])
    elif "role_edges" in rows and "default_roles" in rows:
        of_roles = rows["role_edges"], server.variables["mandatory_roles"], rows["default_roles"]
        memberships = Derived(mysql_memberships, server, known, *of_roles)
        undecided = {(row[0], row[1]): None for row in source.undecided(rows["accounts"])}
        listed = {(row[0], row[1]) for row in rows["accounts"]} if undecided else set()
        if any(active is None and role in listed for _, role, _, active in _edges(server, undecided, *of_roles)):
            message = "which roles are active at login is unknown: " + NO_HASH.format(len(undecided))
            gaps.append(_unread(session, select_on_user([HASH]), "memberships", message))
    if "system" in source.lacks:
        gaps.append(_unread(session, source.required, "system", "cannot read all privileges on *.*"))
    if "restrictions" in source.lacks:
        gaps.append(_unread(session, source.required, "database", "cannot read partial revokes"))
    routines, n_doubled, cut = routine_rows(rows.get("procs_priv", ()), 128 if server.is_mariadb else 32)
    if n_doubled:
        notes.append(DOUBLED.format(n_doubled))
    message = "a name in mysql.procs_priv may be truncated by the server"
    hint = "Give the user, database or routine a shorter name, or one in ASCII."
    gaps += [Gap("routine", "name_cut", message, database, hint) for database in sorted(cut)]
    objects = rows.get("tables_priv", []), rows.get("columns_priv", []), routines
    grants = Derived(
        together,
        Derived(system_grants, server, known, rows.get("global_grants", [])),
        Derived(database_grants, server, known, database_columns(server), rows.get("db", [])),
        Derived(other_grants, server, known, rows.get("proxies_priv", []), *objects),
    )
    return Permissions(memberships, grants, answers.covered, gaps, answers.beyond, notes)


def _unread(session: MySQLSession, required: str, scope: str, message: str) -> Gap:
    """`required` is the object of the GRANT SELECT that closes the gap."""
    return Gap(scope, "denied", message, hint=f"GRANT SELECT {required} TO {session.account};")


def accounts(server: Server, rows: Rows, ended: Iterable[AccountKey], nameless: Rows) -> list[Account]:
    """Accounts from the rows of `Source.sql`. `nameless` are the hosts of rows without a user in mysql.db."""
    source, over = Source(server), frozenset(ended)
    found = {account.fact.key: account for account in (source.account(row, over) for row in rows)}
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
    kinds = {account.fact.key: account.fact.kind for account in known}
    facts = FactSet(kinds)
    for member, role, admin, active in _edges(server, kinds, role_edges, mandatory, default_roles):
        if active is not None:
            facts.membership(member, role, admin, active)
    return facts.memberships


def _edges(
    server: Server, kinds: Mapping[AccountKey, str | None], role_edges: Rows, mandatory: str, default_roles: Rows
) -> Iterator[tuple[AccountKey, AccountKey, bool, bool | None]]:
    """Member, role, admin option and whether it is active at login, for members in `kinds`.

    The last is None where it depends on the unknown kind of the member: every user is in the mandatory roles, and they
    are active at its login (seen on MySQL 9.7, also without default roles); roles are not, and have their roles always.
    """
    defaults = {((row[0], row[1]), (row[2], row[3])) for row in default_roles}
    all_active = server.variables.get("activate_all_roles_on_login") == "ON"
    mandatory_roles = role_names(mandatory)
    for role_name, role_host, name, host, admin in role_edges:
        role, member = (role_name, role_host), (name, host)
        if member in kinds:
            kind = kinds[member]
            active = all_active or (member, role) in defaults or role in mandatory_roles
            yield member, role, admin == "Y", active or (None if kind is None else kind != "user")
    for role in mandatory_roles:
        for member, kind in kinds.items():
            if member != role and kind in ("user", None):
                yield member, role, False, None if kind is None else True


def system_grants(server: Server, known: Iterable[Account], global_grants: Rows) -> list[GrantFact]:
    """Privileges on *.*."""
    source, accounts = Source(server), _by_key(known)
    facts = FactSet(accounts)
    if source.knows_grant_option:
        for key, account in accounts.items():
            # If some privileges are unread, the grant option without others may belong to one of them.
            if not ("system" in source.lacks and account.privileges == {GRANT_OPTION}):
                facts.grant(key, "system", account.privileges)
    for user, host, privilege, grantable in global_grants:
        facts.grant((user, host), "system", [privilege.upper()], grantable=grantable == "Y")
    return facts.grants


def database_grants(server: Server, known: Iterable[Account], columns: Sequence[str], db: Rows) -> list[GrantFact]:
    """Grants of mysql.db, with one letter for each of these columns, and partial revokes."""
    accounts = _by_key(known)
    facts = FactSet(accounts)
    # With partial_revokes, wildcards in these names are literal characters.
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
    """PROXY privileges, and grants on objects."""
    mariadb, passed_on = server.is_mariadb, set()
    facts = FactSet(_by_key(known))
    grantors: dict[str, tuple[str, ...]] = {"": ()}
    for user, host, name, from_host, grantable, grantor in proxies_priv:
        by = grantors.setdefault(grantor, (grantor,))
        # For the server, an empty host means any host.
        scope = dotted(name, from_host or "%")
        facts.grant((user, host), "proxy", ["PROXY"], scope, grantable=bool(grantable), grantors=by)
    for user, host, database, table, words, grantor in tables_priv:
        privileges = set_members(words, mariadb)
        by = grantors.setdefault(grantor, (grantor,))
        facts.grant((user, host), "table", privileges, dotted(database, table), database, grantors=by)
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
    for user, host, database, name, kind, words, grantor in procs_priv:
        by = grantors.setdefault(grantor, (grantor,))
        scope = dotted(database, kind.lower(), name)
        facts.grant((user, host), "routine", set_members(words, mariadb), scope, database, grantors=by)
    return facts.grants


def _by_key(known: Iterable[Account]) -> dict[AccountKey, Account]:
    return {account.fact.key: account for account in known}
