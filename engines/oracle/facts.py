"""Facts from the rows of a visit to Oracle.

Scopes; `database` is the container: the PDB, the root (CDB$ROOT) or the database without containers:

tablespace, schema, proxy       dotted(container, name); a proxy's is the account to connect as
table, sequence, routine, type  dotted(container, owner, name)
object                          dotted(container, owner, type, name): a directory, a queue, an edition …
column                          dotted(container, owner, table, name)

The host of an account is its container. In the root, users and roles of the same name are different accounts in each
container. So is a common user, which may be locked in one and not in another. PUBLIC exists once per container.

A right granted both commonly and locally has two rows, which differ in COMMON. They are one fact with the options of
both, which ends when both are gone. So are rows by several grantors; only grants on objects and columns name them.

Ids of objects are those of DBA_OBJECTS, "" if that view is not readable. The name of a column or tablespace is part of
its id. The id of a schema, and of the account of a proxy, is that of the user. In the root each begins with the GUID of
the container. So ids stay the same after a container or an object has been renamed.

`inherit` of a membership means that the role is enabled at login; it is true for a role in another role. Grants on
Oracle's own objects to its own accounts and to PUBLIC are left out, including those that people add.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import AdapterError
from ..fact_set import FactSet
from ..facts import AccountFact, AccountKey, Gap, Inventory, Permissions
from ..paths import dotted
from ..reads import ACCOUNTS, GRANTS, Answers
from ..session import Rows
from .decode import (
    PUBLIC,
    Container,
    Containers,
    administrative,
    attributes_of,
    certain,
    native_id,
    object_scope,
    quota,
    role_fact,
    user_fact,
)
from .reads import CONTAINERS, READS, views
from .session import OracleSession

#: Each container has at least one row of these.
IN_EVERY_CONTAINER = ("ROLES", "ROLE_PRIVS", "SYS_PRIVS")

ContainerRows = Iterator[tuple[Container, tuple[Any, ...]]]


@dataclass(frozen=True)
class Known:
    """The accounts of the visit, the rows of users, the containers, those with users, and the accounts with
    administrative privileges (SYSDBA …)."""

    accounts: dict[AccountKey, AccountFact]
    users: list[tuple[Container, tuple[Any, ...]]]
    containers: Containers
    shown: dict[str, Container]
    administrators: list[tuple[AccountKey, list[str]]]


def inventory(session: OracleSession, answers: Answers) -> tuple[Inventory, Known]:
    """Accounts of DBA_USERS and DBA_ROLES, or their CDB_ views, and PUBLIC. `valid_until` is when the password expires,
    after its grace period. The hash method is read, the hash is not."""
    gaps = answers.gaps_in(ACCOUNTS)
    if session.role == "PHYSICAL STANDBY":
        message = "this is a standby: its accounts are those of the primary, but its own locks are unknown"
        hint = "Locks after failed logins on a standby are in its V$RO_USER_ACCOUNT. Visit the primary too."
        gaps.append(Gap("account fields", "standby", message, hint=hint, fields=("is_locked",)))
    containers = Containers(session, answers.rows.get("containers", []))
    limits: dict[str, dict[str, str]] = {container.name: {} for container in containers}
    for container, (profile, limit) in containers.with_rows(answers.rows.get("PROFILES", [])):
        limits[container.name][profile] = limit
    users = list(containers.with_rows(answers.rows["USERS"]))
    shown = {container.name: container for container, _ in users}
    facts = [user_fact(row, container, session.clock, limits[container.name]) for container, row in users]
    known = Known({}, users, containers, shown, [])
    facts += [role_fact(row, container) for container, row in _rows(session, answers, known, "ROLES")]
    facts += [
        AccountFact(PUBLIC, name, "public", container.guid and f"{container.guid}/{PUBLIC}", can_login=False)
        for name, container in shown.items()
    ]
    known.accounts.update({fact.key: fact for fact in facts})
    known.administrators.extend(_password_file(session, containers, answers.rows.get("PWFILE_USERS", [])))
    for key, privileges in known.administrators:
        if "SYSDBA" in privileges and key in known.accounts:
            known.accounts[key] = known.accounts[key]._replace(is_superuser=True)
    gaps += containers.gaps("accounts", shown, answers.rows.get("container data", []))
    unread = Inventory([], gaps).unread
    return Inventory([certain(fact, unread) for fact in known.accounts.values()], gaps), known


def permissions(session: OracleSession, answers: Answers, known: Known) -> Permissions:
    """Grants and memberships. A container that was closed during the visit fails the visit."""
    facts = FactSet(known.accounts)
    for container, row in known.users:
        facts.grant((row[0], container.name), "attribute", attributes_of(row))
    for container, (grantee, granted, admin, default) in _rows(session, answers, known, "ROLE_PRIVS"):
        member, role = (grantee, container.name), (granted, container.name)
        # A role with a password or enabled by a package is not active at login, even if it is a default role.
        secured = role in known.accounts and known.accounts[role].auth_method in ("PASSWORD", "APPLICATION")
        is_user = member in known.accounts and known.accounts[member].kind == "user"
        facts.membership(member, role, admin == "YES", not is_user or (default == "YES" and not secured))
    for key, privileges in known.administrators:
        facts.grant(key, "system", privileges)
    for container, (grantee, privilege, admin) in _rows(session, answers, known, "SYS_PRIVS"):
        facts.grant((grantee, container.name), "system", [privilege], grantable=admin == "YES")
    for container, holder, kind, privilege, path, option, object_id, grantors in _scoped(session, answers, known):
        database = container.name
        account, scope = (holder, database), dotted(database, *path)
        facts.grant(
            account, kind, [privilege], scope, database, option == "YES", object_id=object_id, grantors=grantors
        )
    if session.features.in_root:
        now = Containers(session, session.query(CONTAINERS))
        now.look_again(known.containers, known.shown)
    return Permissions(facts.memberships, facts.grants, answers.covered, answers.gaps_in(GRANTS), answers.beyond)


def _scoped(
    session: OracleSession, answers: Answers, known: Known
) -> Iterator[tuple[Container, str, str, str, tuple[str, ...], str, str, tuple[str, ...]]]:
    """Container, holder, kind, privilege, path in the container, grant option, object id and grantors of each grant on
    an object in a container."""

    def rows(read: str) -> ContainerRows:
        return _rows(session, answers, known, read)

    def user_id(name: str, container: Container) -> str:
        user = known.accounts.get((name, container.name))
        return user.native_id if user else ""

    for container, (user, tablespace, limit) in rows("TS_QUOTAS"):
        own_id = container.guid and f"{container.guid}/{tablespace}"
        yield container, user, "tablespace", quota(limit), (tablespace,), "", own_id, ()
    for container, (proxy, client) in rows("PROXIES"):
        yield container, proxy, "proxy", "CONNECT THROUGH", (client,), "", user_id(client, container), ()
    for container, (grantee, schema, privilege, admin) in rows("SCHEMA_PRIVS"):
        yield container, grantee, "schema", privilege, (schema,), admin, user_id(schema, container), ()
    names: dict[str, tuple[str, ...]] = {"": ()}
    ids = _ids(rows("OBJECTS"))
    for container, (grantee, owner, name, type_, privilege, grantable, grantor) in rows("TAB_PRIVS"):
        kind, path = object_scope(owner, name, type_)
        object_id = ids.get((container.name, owner, name, type_), "")
        by = names.setdefault(grantor or "", (grantor,))
        yield container, grantee, kind, privilege, path, grantable, object_id, by
    ids = _ids((container, (*row[:2], "", row[3])) for container, row in rows("COLUMN_OBJECTS"))
    for container, (grantee, owner, table, column, privilege, grantable, grantor) in rows("COL_PRIVS"):
        of_table = ids.get((container.name, owner, table, ""), "")
        by = names.setdefault(grantor or "", (grantor,))
        path, object_id = (owner, table, column), of_table and f"{of_table}/{column}"
        yield container, grantee, "column", privilege, path, grantable, object_id, by


def _ids(rows: ContainerRows) -> dict[tuple[str, str, str, str], str]:
    """Container, owner, name and type → id; "" if several objects have them."""
    ids: dict[tuple[str, str, str, str], str] = {}
    for container, (owner, name, type_, number) in rows:
        key, object_id = (container.name, owner, name, type_), native_id(container, number)
        ids[key] = object_id if ids.setdefault(key, object_id) == object_id else ""
    return ids


def _rows(session: OracleSession, answers: Answers, known: Known, name: str) -> ContainerRows:
    """Rows with their container; none if the read failed. Raises AdapterError if a container has no rows of a view in
    `IN_EVERY_CONTAINER`: its missing rows would look dropped."""
    if name in IN_EVERY_CONTAINER and name in answers.rows:
        seen = {container.name for container, _ in known.containers.with_rows(answers.rows[name])}
        if silent := known.shown.keys() - seen:
            (read,) = [read for read in READS if read.name == name]
            raise AdapterError(
                f"no {read.title} in container {', '.join(sorted(silent))}, although each container has some",
                code="server_error",
                hint=f"Query {views(read.statement(session.features))[0]} as the collection account.",
            )
    return known.containers.with_rows(answers.rows.get(name, []))


def _password_file(
    session: OracleSession, containers: Containers, rows: Rows
) -> Iterator[tuple[AccountKey, list[str]]]:
    """The administrative privileges of each account. A common grant applies in every container."""
    for number, user, common, *flags in rows:
        own = containers.by_id.get(int(number))
        everywhere = not session.features.in_root or common == "YES" or int(number) == 0
        for container in containers if everywhere else filter(None, [own]):
            yield (user, container.name), administrative(flags)
