"""What the rows of a visit to Oracle mean.

Scopes, `database` being the container: the PDB, the root (CDB$ROOT) or the database without containers:

tablespace, schema, proxy       dotted(container, name); a proxy's is the account to connect as
table, sequence, routine, type  dotted(container, owner, name)
object                          dotted(container, owner, type, name): a directory, a queue, an edition …
column                          dotted(container, owner, table, name)

The host of an account is its container. In the root of a server users and roles of one name are others in each, and
so is a common user, who may be locked in one and not in another; PUBLIC is there once for each.

A right given both commonly and locally stands in two rows, which differ in COMMON: that is one fact, with the
options of both, which ends when both are gone. `inherit` of a membership says that the role is enabled from login
on, and of one role in another, which always is. What Oracle's own scripts granted on its own objects to its own
accounts and to PUBLIC is left out, and so is what somebody grants there later.
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
    object_scope,
    quota,
    role_fact,
    user_fact,
)
from .reads import CONTAINERS, READS, views
from .session import OracleSession

#: No container is without a row of these.
IN_EVERY_CONTAINER = ("ROLES", "ROLE_PRIVS", "SYS_PRIVS")

ContainerRows = Iterator[tuple[Container, tuple[Any, ...]]]


@dataclass(frozen=True)
class Known:
    """The accounts of the visit, their rows, the containers that showed some, and who may connect AS SYSDBA and the
    like."""

    accounts: dict[AccountKey, AccountFact]
    users: list[tuple[Container, tuple[Any, ...]]]
    containers: Containers
    shown: dict[str, Container]
    administrators: list[tuple[AccountKey, list[str]]]


def inventory(session: OracleSession, answers: Answers) -> tuple[Inventory, Known]:
    """DBA_USERS, DBA_ROLES and PUBLIC, or their CDB_ views. `valid_until` is when the password expires, at the end of
    its grace. How it is hashed is read, but no hash."""
    gaps = answers.gaps_in(ACCOUNTS)
    if session.role == "PHYSICAL STANDBY":
        message = "this is a standby: accounts are those of its primary, but who is locked here is not known"
        hint = "Locks after failed logins on a standby stand in its V$RO_USER_ACCOUNT. Visit the primary too."
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
    facts += [AccountFact(PUBLIC, name, kind="public", can_login=False) for name in shown]
    known.accounts.update({fact.key: fact for fact in facts})
    known.administrators.extend(_password_file(session, containers, answers.rows.get("PWFILE_USERS", [])))
    for key, privileges in known.administrators:
        if "SYSDBA" in privileges and key in known.accounts:
            known.accounts[key] = known.accounts[key]._replace(is_superuser=True)
    gaps += containers.gaps("accounts", shown, answers.rows.get("container data", []))
    unread = Inventory([], gaps).unread
    return Inventory([certain(fact, unread) for fact in known.accounts.values()], gaps), known


def permissions(session: OracleSession, answers: Answers, known: Known) -> Permissions:
    """The views of grants. A container that was closed while it was read fails the visit."""
    facts = FactSet(known.accounts)
    for container, row in known.users:
        facts.grant((row[0], container.name), "attribute", attributes_of(row))
    for container, (grantee, granted, admin, default) in _rows(session, answers, known, "ROLE_PRIVS"):
        member, role = (grantee, container.name), (granted, container.name)
        # A role with a password, or that a package enables, is not on from login, default or not.
        secured = role in known.accounts and known.accounts[role].auth_method in ("PASSWORD", "APPLICATION")
        is_user = member in known.accounts and known.accounts[member].kind == "user"
        facts.membership(member, role, admin == "YES", not is_user or (default == "YES" and not secured))
    for key, privileges in known.administrators:
        facts.grant(key, "system", privileges)
    for container, (grantee, privilege, admin) in _rows(session, answers, known, "SYS_PRIVS"):
        facts.grant((grantee, container.name), "system", [privilege], grantable=admin == "YES")
    for database, holder, kind, privilege, path, option in _scoped(session, answers, known):
        facts.grant((holder, database), kind, [privilege], dotted(database, *path), database, option == "YES")
    if session.features.in_root:
        now = Containers(session, session.query(CONTAINERS))
        now.look_again(known.containers, known.shown)
    return Permissions(facts.memberships, facts.grants, answers.covered, answers.gaps_in(GRANTS), answers.beyond)


def _scoped(
    session: OracleSession, answers: Answers, known: Known
) -> Iterator[tuple[str, str, str, str, tuple[str, ...], str]]:
    """Container, holder, kind, privilege, path in the container and grant option of the rows about something in a
    container."""

    def rows(read: str) -> ContainerRows:
        return _rows(session, answers, known, read)

    for container, (user, tablespace, limit) in rows("TS_QUOTAS"):
        yield container.name, user, "tablespace", quota(limit), (tablespace,), ""
    for container, (proxy, client) in rows("PROXIES"):
        yield container.name, proxy, "proxy", "CONNECT THROUGH", (client,), ""
    for container, (grantee, schema, privilege, admin) in rows("SCHEMA_PRIVS"):
        yield container.name, grantee, "schema", privilege, (schema,), admin
    for container, (grantee, owner, name, type_, privilege, grantable) in rows("TAB_PRIVS"):
        kind, path = object_scope(owner, name, type_)
        yield container.name, grantee, kind, privilege, path, grantable
    for container, (grantee, owner, table, column, privilege, grantable) in rows("COL_PRIVS"):
        yield container.name, grantee, "column", privilege, (owner, table, column), grantable


def _rows(session: OracleSession, answers: Answers, known: Known, name: str) -> ContainerRows:
    """Rows with their container; none of a read that failed. Raises AdapterError where a container is left out that
    cannot be: what it holds would seem to be gone."""
    if name in IN_EVERY_CONTAINER and name in answers.rows:
        seen = {container.name for container, _ in known.containers.with_rows(answers.rows[name])}
        if silent := known.shown.keys() - seen:
            (read,) = [read for read in READS if read.name == name]
            raise AdapterError(
                f"no {read.title} in container {', '.join(sorted(silent))}, where there are always some",
                code="server_error",
                hint=f"Look at {views(read.statement(session.features))[0]} as the collection account.",
            )
    return known.containers.with_rows(answers.rows.get(name, []))


def _password_file(
    session: OracleSession, containers: Containers, rows: Rows
) -> Iterator[tuple[AccountKey, list[str]]]:
    """Who may connect AS SYSDBA and the like. What is granted commonly holds in every container."""
    for number, user, common, *flags in rows:
        own = containers.by_id.get(int(number))
        everywhere = not session.features.in_root or common == "YES" or int(number) == 0
        for container in containers if everywhere else filter(None, [own]):
            yield (user, container.name), administrative(flags)
