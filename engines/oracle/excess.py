"""Rights of a collection account on Oracle beyond need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..errors import AdapterError
from ..facts import Excess
from ..reads import UNREADABLE, needed
from ..session import Rows
from ..statements import is_printable
from .account import exact_identifier, session_grants
from .decode import administrative
from .reads import READS, Features, granted_views
from .session import OracleSession

#: The account's own rights, which every account may read.
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

#: The rights of the roles that the account is in, directly or through others.
ROLE_ROLES = "SELECT ROLE, GRANTED_ROLE FROM ROLE_ROLE_PRIVS"
ROLE_SYSTEM = "SELECT ROLE, PRIVILEGE FROM ROLE_SYS_PRIVS"
ROLE_OBJECTS = "SELECT ROLE, OWNER, TABLE_NAME, PRIVILEGE FROM ROLE_TAB_PRIVS"

#: The maximum number of a role's rights to list; the others are counted.
NAMED = 3

#: READ (12.1.0.2 and later) is SELECT without locking rows.
READING = frozenset({"SELECT", "READ"})


def excess(session: OracleSession, rows: Mapping[str, Rows], hash_blind: bool) -> list[Excess]:
    """See `check.ExcessRights`. No view contains password hashes, so `hash_blind` changes nothing."""
    return list(map(_offered, _Rights(session).excess()))


class _Rights:
    """The account's rights and roles. Raises AdapterError."""

    def __init__(self, session: OracleSession) -> None:
        self.session, self.grantee = session, session.account
        self.system = session.query(OWN_SYSTEM)
        self.roles = session.query(OWN_ROLES)
        self.objects = session.query(OWN_OBJECTS)
        self.quotas = [tablespace for (tablespace,) in session.query(OWN_QUOTAS)]
        self.needed = {"CREATE SESSION"} | ({"SET CONTAINER"} if session.features.in_root else set())
        major = session.features.major
        self.readable = {view for root in (True, False) for view in granted_views("C", Features(major, root))}
        #: Role → the roles granted to it, and its rights beyond need.
        self.inside: dict[str, list[str]] = {}
        self.beyond: dict[str, list[str]] = {}
        if self.roles:
            self._look_into_roles()

    def _look_into_roles(self) -> None:
        for role, granted in self.session.query(ROLE_ROLES):
            self.inside.setdefault(role, []).append(granted)
        for role, privilege in self.session.query(ROLE_SYSTEM):
            if privilege not in self.needed:
                self.beyond.setdefault(role, []).append(privilege)
        for role, owner, name, privilege in self.session.query(ROLE_OBJECTS):
            if privilege not in READING or f"{owner}.{name}" not in self.readable:
                self.beyond.setdefault(role, []).append(f"{privilege} on {owner}.{name}")

    def excess(self) -> Iterator[Excess]:
        for privilege, admin, common in self.system:
            revoke = self._revoke(privilege, common)
            if privilege not in self.needed:
                yield Excess(privilege, "Taifish reads only the dictionary's views.", revoke)
            elif admin == "YES":
                remedy = f"{revoke}\n{self._grant(privilege, common)}"
                yield Excess(f"ADMIN OPTION on {privilege}", "The account could grant this right.", remedy)
        for role, admin, common in self.roles:
            yield from self._role(role, admin, common)
        for owner, name, kind, privilege, grantable, common in self.objects:
            yield from self._object(owner, name, kind, privilege, grantable, common)
        for tablespace in self.quotas:
            remedy = f"ALTER USER {self.grantee} QUOTA 0 ON {exact_identifier(tablespace)};"
            yield Excess(f"quota on tablespace {tablespace}", "Taifish stores nothing.", remedy)
        yield from self._administrative()

    def _role(self, role: str, admin: str, common: str) -> Iterator[Excess]:
        beyond = sorted({right for reached in self._reached(role) for right in self.beyond.get(reached, ())})
        revoke = self._revoke(exact_identifier(role), common)
        if beyond:
            more = f" and {len(beyond) - NAMED} more" if len(beyond) > NAMED else ""
            message = f"It has rights that Taifish never uses: {', '.join(beyond[:NAMED])}{more}."
            connect = [need.sql for need in session_grants(self.grantee, self.session.features.in_root)]
            remedy = "\n".join([*connect, *needed(self.session, READS), revoke])
            yield Excess(f"role {role}", message, remedy)
        elif admin == "YES":
            remedy = f"{revoke}\n{self._grant(exact_identifier(role), common)}"
            yield Excess(f"ADMIN OPTION on role {role}", "The account could grant this role.", remedy)

    def _reached(self, role: str) -> list[str]:
        reached = [role]
        for name in reached:
            reached += [granted for granted in self.inside.get(name, ()) if granted not in reached]
        return reached

    def _object(
        self, owner: str, name: str, kind: str, privilege: str, grantable: str, common: str
    ) -> Iterator[Excess]:
        path = f"{owner}.{name}"
        thing = f"{exact_identifier(owner)}.{exact_identifier(name)}"
        if kind in ("DIRECTORY", "USER", "EDITION"):
            path, thing = f"{kind} {name}", f"{kind} {exact_identifier(name)}"
        right = f"{privilege} ON {thing}"
        if privilege not in READING or path not in self.readable:
            message = "Taifish reads only the dictionary's views."
            yield Excess(f"{privilege} on {path}", message, self._revoke(right, common))
        elif grantable == "YES":
            remedy = f"{self._revoke(right, common)}\n{self._grant(right, common)}"
            yield Excess(f"GRANT OPTION on {path}", "The account could grant its rights to others.", remedy)

    def _administrative(self) -> Iterator[Excess]:
        user = self.grantee.strip('"')
        (read,) = [read for read in READS if read.name == "PWFILE_USERS"]
        try:
            own = [row for row in self.session.query(read.statement(self.session.features)) if row[1] == user]
        except AdapterError as error:
            # The check reports this read as not working.
            if error.code not in UNREADABLE:
                raise
            return
        for _, _, common, *flags in own:
            for privilege in administrative(flags):
                message = "The account could connect AS this, without any limits."
                yield Excess(privilege, message, self._revoke(privilege, common))

    def _revoke(self, what: str, common: str) -> str:
        return f"REVOKE {what} FROM {self.grantee}{_everywhere(common)};"

    def _grant(self, what: str, common: str) -> str:
        return f"GRANT {what} TO {self.grantee}{_everywhere(common)};"


def _everywhere(common: str | None) -> str:
    """A common grant must be revoked commonly."""
    return " CONTAINER=ALL" if common == "YES" else ""


def _offered(excess: Excess) -> Excess:
    """The same, safe to paste into SQL*Plus, which would substitute a variable for & in a name."""
    if not is_printable(excess.right):
        message = f"{excess.message} No SQL is offered, because a name has control characters."
        return replace(excess, message=message, remedy="")
    return replace(excess, remedy=f"SET DEFINE OFF\n{excess.remedy}") if "&" in excess.remedy else excess
