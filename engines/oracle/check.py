"""What the collection account can and cannot do on an Oracle server, and what it could do beyond need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import AdapterError
from ..facts import Capability, Examination, Excess, failed
from ..statements import is_printable
from . import reads as sql
from .account import needed_grants
from .decode import administrative

if TYPE_CHECKING:
    from .adapter import OracleAdapter

VISIT_FAILS = "Everything: a visit fails, and what is known of this instance grows old."

#: What nobody can do without.
ESSENTIAL = ("USERS", "ROLES")

#: The account's own rights, which everybody may see.
OWN_SYSTEM = """
SELECT PRIVILEGE, ADMIN_OPTION, COMMON FROM USER_SYS_PRIVS WHERE USERNAME = SYS_CONTEXT('USERENV', 'SESSION_USER')
"""
OWN_ROLES = """
SELECT GRANTED_ROLE, ADMIN_OPTION, COMMON FROM USER_ROLE_PRIVS WHERE USERNAME = SYS_CONTEXT('USERENV', 'SESSION_USER')
"""
OWN_OBJECTS = """
SELECT OWNER, TABLE_NAME, TYPE, PRIVILEGE, GRANTABLE, COMMON FROM USER_TAB_PRIVS
 WHERE GRANTEE = SYS_CONTEXT('USERENV', 'SESSION_USER')
"""
OWN_QUOTAS = "SELECT TABLESPACE_NAME FROM USER_TS_QUOTAS WHERE MAX_BYTES <> 0"

#: What the roles give that the account can reach.
ROLE_ROLES = "SELECT ROLE, GRANTED_ROLE FROM ROLE_ROLE_PRIVS"
ROLE_SYSTEM = "SELECT ROLE, PRIVILEGE FROM ROLE_SYS_PRIVS"
ROLE_OBJECTS = "SELECT ROLE, OWNER, TABLE_NAME, PRIVILEGE FROM ROLE_TAB_PRIVS"

#: Rights that a role gives beyond need, named one by one; how many more there are is said.
NAMED = 3

#: READ, from 12.1.0.2 on, is SELECT without locking rows.
READING = frozenset({"SELECT", "READ"})


def examine(adapter: OracleAdapter) -> Examination:
    """Each statement of a visit and of a reading of sizes on its own, those of the views without their rows."""
    target, server = adapter.target, adapter.server
    found = [Capability("connection", True, f"{server.product} {server.version}, as {adapter.grantee}")]
    if adapter.in_root:
        found += _containers(adapter)
    for name, read in {**sql.reads(target.level, adapter.major), **sql.SIZES}.items():
        statement = adapter.statement(name)
        view = sql.views(statement)[0].removeprefix("SYS.")
        cost = VISIT_FAILS if name in ESSENTIAL else f"{read.tells}: the last known stay."
        probe = f"SELECT 1 FROM ({statement}) q WHERE 1 = 0"  # noqa: S608 -- constants of oracle_sql
        found.append(adapter.probe(f"{read.tells} ({view})", probe, cost=cost, level=read.level)[0])
    own = {"name": "the account's own rights", "cost": "Whether the account holds more than it needs."}
    excess: list[Excess] = []
    try:
        excess = list(map(_offered, _Rights(adapter).excess()))
        message = f"{len(excess)} beyond need" if excess else "nothing beyond need"
        found.append(Capability(works=True, message=message, **own))
    except AdapterError as error:
        found.append(failed(error=error, **own))
    return Examination(server, found, excess)


def _containers(adapter: OracleAdapter) -> Iterator[Capability]:
    """Which containers the root shows to the account."""
    capability, rows = adapter.probe("list of containers (V_$CONTAINERS)", sql.CONTAINERS, cost=VISIT_FAILS)
    yield capability
    if rows is None:
        return
    name, cost = "rows of all containers (DBA_CONTAINER_DATA)", "Accounts and sizes of the other containers."
    try:
        containers = adapter.containers()
        allowed = containers.allowed()
        message = f"the account sees no other than {allowed}" if allowed else "works"
        yield Capability(name, not allowed, message, containers.data_grant if allowed else "", cost)
    except AdapterError as error:
        yield failed(name, error, cost=cost)
        return
    for container in containers:
        if container.closed:
            cost = f"Accounts and sizes of container {container.name}: the last known stay."
            yield Capability(f"container {container.name}", False, container.closed, cost=cost)


class _Rights:
    """The account's own rights and roles. Raises AdapterError."""

    def __init__(self, adapter: OracleAdapter) -> None:
        self.adapter, self.grantee = adapter, adapter.grantee
        self.system = adapter.query(OWN_SYSTEM)
        self.roles = adapter.query(OWN_ROLES)
        self.objects = adapter.query(OWN_OBJECTS)
        self.quotas = [tablespace for (tablespace,) in adapter.query(OWN_QUOTAS)]
        self.needed = {"CREATE SESSION"} | ({"SET CONTAINER"} if adapter.in_root else set())
        self.readable = {view for root in (True, False) for view in sql.granted_views("C", adapter.major, root)}
        #: Role → the roles in it, and what it gives beyond need.
        self.inside: dict[str, list[str]] = {}
        self.beyond: dict[str, list[str]] = {}
        if self.roles:
            self._look_into_roles()

    def _look_into_roles(self) -> None:
        for role, granted in self.adapter.query(ROLE_ROLES):
            self.inside.setdefault(role, []).append(granted)
        for role, privilege in self.adapter.query(ROLE_SYSTEM):
            if privilege not in self.needed:
                self.beyond.setdefault(role, []).append(privilege)
        for role, owner, name, privilege in self.adapter.query(ROLE_OBJECTS):
            if privilege not in READING or f"{owner}.{name}" not in self.readable:
                self.beyond.setdefault(role, []).append(f"{privilege} on {owner}.{name}")

    def excess(self) -> Iterator[Excess]:
        for privilege, admin, common in self.system:
            revoke = self._revoke(privilege, common)
            if privilege not in self.needed:
                yield Excess(privilege, "Taifish reads the dictionary's views and nothing else.", revoke)
            elif admin == "YES":
                remedy = f"{revoke}\n{self._grant(privilege, common)}"
                yield Excess(f"ADMIN OPTION on {privilege}", "It could give this right to others.", remedy)
        for role, admin, common in self.roles:
            yield from self._role(role, admin, common)
        for owner, name, kind, privilege, grantable, common in self.objects:
            yield from self._object(owner, name, kind, privilege, grantable, common)
        for tablespace in self.quotas:
            remedy = f"ALTER USER {self.grantee} QUOTA 0 ON {sql.exact_identifier(tablespace)};"
            yield Excess(f"quota on tablespace {tablespace}", "It stores nothing.", remedy)
        yield from self._administrative()

    def _role(self, role: str, admin: str, common: str) -> Iterator[Excess]:
        told = sorted({right for reached in self._reached(role) for right in self.beyond.get(reached, ())})
        revoke = self._revoke(sql.exact_identifier(role), common)
        if told:
            more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
            message = f"It gives what Taifish never uses: {', '.join(told[:NAMED])}{more}."
            level = self.adapter.target.level
            needs = needed_grants(level, self.grantee, self.adapter.major, self.adapter.in_root)
            yield Excess(f"role {role}", message, "\n".join([*(need.sql for need in needs), revoke]))
        elif admin == "YES":
            remedy = f"{revoke}\n{self._grant(sql.exact_identifier(role), common)}"
            yield Excess(f"ADMIN OPTION on role {role}", "It could give this role to others.", remedy)

    def _reached(self, role: str) -> list[str]:
        reached = [role]
        for name in reached:
            reached += [granted for granted in self.inside.get(name, ()) if granted not in reached]
        return reached

    def _object(
        self, owner: str, name: str, kind: str, privilege: str, grantable: str, common: str
    ) -> Iterator[Excess]:
        path = f"{owner}.{name}"
        thing = f"{sql.exact_identifier(owner)}.{sql.exact_identifier(name)}"
        if kind in ("DIRECTORY", "USER", "EDITION"):
            path, thing = f"{kind} {name}", f"{kind} {sql.exact_identifier(name)}"
        right = f"{privilege} ON {thing}"
        if privilege not in READING or path not in self.readable:
            message = "Taifish reads the dictionary's views and nothing else."
            yield Excess(f"{privilege} on {path}", message, self._revoke(right, common))
        elif grantable == "YES":
            remedy = f"{self._revoke(right, common)}\n{self._grant(right, common)}"
            yield Excess(f"GRANT OPTION on {path}", "It could give its rights to others.", remedy)

    def _administrative(self) -> Iterator[Excess]:
        user = self.grantee.strip('"')
        # That the view may not be read is a capability that does not work, and told as such.
        own = [row for row in self.adapter.rows("PWFILE_USERS", [], []) if row[1] == user]
        for _, _, common, *flags in own:
            for privilege in administrative(flags):
                message = "It could connect AS this, and then do what nothing limits."
                yield Excess(privilege, message, self._revoke(privilege, common))

    def _revoke(self, what: str, common: str) -> str:
        return f"REVOKE {what} FROM {self.grantee}{_everywhere(common)};"

    def _grant(self, what: str, common: str) -> str:
        return f"GRANT {what} TO {self.grantee}{_everywhere(common)};"


def _everywhere(common: str | None) -> str:
    """What is granted commonly is to be taken away so, too."""
    return " CONTAINER=ALL" if common == "YES" else ""


def _offered(excess: Excess) -> Excess:
    """SQL*Plus would take & in a name for a variable, and the next line for its value."""
    if not is_printable(excess.right):
        message = f"{excess.message} No SQL is offered, because a name has control characters."
        return replace(excess, message=message, remedy="")
    return replace(excess, remedy=f"SET DEFINE OFF\n{excess.remedy}") if "&" in excess.remedy else excess
