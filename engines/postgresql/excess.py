"""Rights of a collection account on PostgreSQL beyond need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import AdapterError
from ..facts import AccountKey, Excess
from ..session import Rows
from ..statements import is_printable, offered
from .account import STATS_ROLE, connect_grant, create, quoted, stats_grant
from .reads import FIRST_ORDINARY_OID
from .session import PostgreSQLSession

OWN_OID = "SELECT oid FROM pg_roles WHERE rolname = session_user"

#: Role and grantor of each membership of a role.
MEMBER_OF = "SELECT roleid, grantor FROM pg_auth_members WHERE member = %(role)s"

#: The databases in which these roles own objects or are in an ACL. System objects do not count: an account may need
#: rights to read them where PUBLIC has none.
DEPENDENCIES = """
SELECT DISTINCT d.datname::text
  FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
 WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY(%(roles)s::oid[]) AND s.deptype IN ('o', 'a')
   AND s.objid >= 16384 AND (s.deptype = 'a' OR s.classid <> 'pg_default_acl'::regclass)
"""

#: The same objects, read inside their database.
HELD_INSIDE = """
SELECT DISTINCT s.refobjid, s.deptype = 'o', o.type, o.identity
  FROM pg_shdepend s CROSS JOIN LATERAL pg_identify_object(s.classid, s.objid, 0) o
 WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND s.refclassid = 'pg_authid'::regclass AND s.refobjid = ANY(%(roles)s::oid[]) AND s.deptype IN ('o', 'a')
   AND s.objid >= 16384 AND (s.deptype = 'a' OR s.classid <> 'pg_default_acl'::regclass)
 ORDER BY 1, 2, 3, 4 LIMIT %(limit)s
"""

#: Which of these roles and PUBLIC may read password hashes.
HASHES = """
SELECT DISTINCT c.relname::text, a.grantee, current_database()::text
  FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname IN ('rolpassword', 'passwd')
 CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(t.attacl)) a
 WHERE c.oid IN ('pg_catalog.pg_authid'::regclass, 'pg_catalog.pg_shadow'::regclass)
   AND a.privilege_type = 'SELECT' AND a.grantee = ANY(%(roles)s::oid[] || 0::oid)
"""

#: The maximum number of objects to list in each database.
OBJECT_LIMIT = 50

#: The suggested account in place of the bootstrap superuser, which cannot lose its rights.
SUCCESSOR: AccountKey = ("taifish_collector", "")

#: Kind of object in pg_identify_object() → keyword in REVOKE.
REVOKED_ON = {
    "table": "TABLE",
    "view": "TABLE",
    "materialized view": "TABLE",
    "foreign table": "TABLE",
    "sequence": "SEQUENCE",
    "function": "ROUTINE",
    "procedure": "ROUTINE",
    "aggregate": "ROUTINE",
    "schema": "SCHEMA",
    "type": "TYPE",
    "language": "LANGUAGE",
    "foreign-data wrapper": "FOREIGN DATA WRAPPER",
    "server": "FOREIGN SERVER",
    "large object": "LARGE OBJECT",
}


def excess(session: PostgreSQLSession, rows: Mapping[str, Rows], hash_blind: bool) -> list[Excess]:
    """See `check.ExcessRights`. By default no ordinary role can read password hashes, so access to them is always
    beyond need."""
    return _Account(session, rows["accounts"], rows["memberships"], rows["grants"]).excess()


class _Account:
    """The collection account and the roles it is in, directly or through others."""

    def __init__(self, session: PostgreSQLSession, accounts: Rows, memberships: Rows, grants: Rows) -> None:
        self.session, self.grants = session, grants
        self.names: dict[int, str] = {row[0]: row[1] for row in accounts}
        # The reads used different snapshots: ignore a role created between them.
        self.memberships = [row for row in memberships if row[1] in self.names]
        system = {row[0] for row in accounts if row[-1]}
        ((self.oid,),) = session.query(OWN_OID)
        self.role = quoted(self.names[self.oid])
        granted = session.query(MEMBER_OF, {"role": self.oid})
        self.granted = [row for row in granted if self.names.keys() >= set(row)]
        #: Role → the direct membership through which the account is in it.
        self.reached: dict[int, int] = {}
        self.predefined: dict[int, int] = {}
        queue = [self.oid]
        for oid in queue:
            for member, role, *_ in self.memberships:
                if member != oid or role in self.reached or role in self.predefined:
                    continue
                hop = self.reached.get(oid) or role
                if role in system:
                    self.predefined[role] = hop
                else:
                    self.reached[role] = hop
                    queue.append(role)

    def excess(self) -> list[Excess]:
        if self.oid < FIRST_ORDINARY_OID:
            remedy = f"{create(SUCCESSOR)[0].sql}\n{stats_grant(SUCCESSOR[0])}"
            message = "This is the bootstrap superuser, which cannot lose its rights. Create a separate account."
            return [Excess("SUPERUSER", message, remedy)]
        return [*self._roles(), *self._grants(), *self._inside(), *self._hashes()]

    def _roles(self) -> Iterator[Excess]:
        for role, hop in self.predefined.items():
            if (name := self.names[role]) != STATS_ROLE:
                message = f"The account needs only {STATS_ROLE}"
                yield self._through(f"member of {name}", message, hop, via=hop != role)
        for member, role, admin, *_ in self.memberships:
            if member == self.oid and admin and self.names[role] == STATS_ROLE:
                statements = self._revoke(role, "ADMIN OPTION FOR ")
                yield _excess(f"ADMIN OPTION on {STATS_ROLE}", "The account could grant this role.", statements)

    def _grants(self) -> Iterator[Excess]:
        owned = {row[:3] for row in self.grants if row[3] == "OWNER"}
        for kind, name, grantee, privilege, grantable, *_ in self.grants:
            # NOINHERIT (up to 15) takes away.
            needed = privilege in ("LOGIN", "NOINHERIT") or (privilege == "CONNECT" and not grantable)
            if (
                needed
                or grantee not in (self.oid, *self.reached)
                or (privilege != "OWNER" and (kind, name, grantee) in owned)
            ):
                continue
            right = f"{privilege} on {kind} {name}" if name else privilege
            thing = f"{kind.upper()} {_parameter(name) if kind == 'parameter' else quoted(name)}"
            if kind == "attribute":
                remedy = f"ALTER ROLE {self.role} NO{privilege};"
            elif privilege == "OWNER":
                remedy = f"ALTER {thing} OWNER TO CURRENT_USER;"
            elif privilege == "CONNECT":
                right = f"{right} with grant option"
                remedy = f"REVOKE GRANT OPTION FOR CONNECT ON {thing} FROM {self.role};"
            else:
                remedy = f"REVOKE {privilege} ON {thing} FROM {self.role};"
            yield self._held(right, "Taifish creates and changes nothing", grantee, remedy)

    def _inside(self) -> Iterator[Excess]:
        """Objects in databases. A database that cannot be connected to is one item."""
        roles = [self.oid, *self.reached]
        for database in sorted({name for (name,) in self.session.query(DEPENDENCIES, {"roles": roles})}):
            try:
                self.session.begin()
                with self.session.inside(database):
                    rows = self.session.query(HELD_INSIDE, {"roles": roles, "limit": OBJECT_LIMIT})
            except AdapterError as error:
                message = f"The account owns objects there or has rights on them; they cannot be listed: {error}"
                yield Excess(f"objects in database {database}", message, "", database)
                continue
            for grantee, owns, kind, identity in rows:
                right = f"{'OWNER of' if owns else 'rights on'} {kind} {identity}"
                remedy = f"REASSIGN OWNED BY {self.role} TO CURRENT_USER;" if owns else self._revoke_on(kind, identity)
                yield self._held(right, "Taifish reads no data", grantee, remedy, database)

    def _hashes(self) -> Iterator[Excess]:
        self.session.begin()
        for relation, grantee, database in self.session.query(HASHES, {"roles": [self.oid, *self.reached]}):
            holder = self.role if grantee else "PUBLIC"
            remedy = f"REVOKE SELECT ON pg_catalog.{relation} FROM {holder};"  # noqa: S608 -- to be shown
            yield self._held(f"SELECT on {relation}", "Taifish reads no password hashes", grantee, remedy, database)

    def _held(self, right: str, message: str, grantee: int, remedy: str, database: str = "") -> Excess:
        if grantee in self.reached:
            return self._through(right, message, self.reached[grantee])
        return _excess(right, f"{message}.", [remedy] if remedy else [], database)

    def _through(self, right: str, message: str, hop: int, via: bool = True) -> Excess:
        """A right that comes with a role. Others may need the role, so the remedy removes the account from it and
        grants the rights that the account needs directly."""
        ours = {0, self.oid}
        statements = [
            connect_grant(name, self.names[self.oid])
            for kind, name, grantee, privilege, *_ in self.grants
            if (kind, privilege) == ("database", "CONNECT")
            and grantee in self.reached
            and not ours & self._connects(name)
        ]
        if STATS_ROLE not in {self.names[granted] for granted, _ in self.granted}:
            statements.insert(0, stats_grant(self.names[self.oid]))
        through = f"; it comes with the role {self.names[hop]}" if via else ""
        return _excess(right, f"{message}{through}.", [*dict.fromkeys(statements), *self._revoke(hop)])

    def _connects(self, database: str) -> set[int]:
        return {row[2] for row in self.grants if row[:2] == ("database", database) and row[3] == "CONNECT"}

    def _revoke(self, role: int, option: str = "") -> list[str]:
        """From 16 on, each grantor's membership is separate."""
        statement = f"REVOKE {option}{quoted(self.names[role])} FROM {self.role}"
        if not self.session.features.has_options:
            return [f"{statement};"]
        grantors = [quoted(self.names[grantor]) for granted, grantor in self.granted if granted == role]
        return [f"{statement} GRANTED BY {grantor};" for grantor in grantors]

    def _revoke_on(self, kind: str, identity: str) -> str:
        if kind == "default acl":
            # "for role alice in schema public on tables"
            scope, _, objects = identity.rpartition(" on ")
            return f"ALTER DEFAULT PRIVILEGES {scope} REVOKE ALL ON {objects.upper()} FROM {self.role};"
        return f"REVOKE ALL ON {REVOKED_ON[kind]} {identity} FROM {self.role};" if kind in REVOKED_ON else ""


def _excess(right: str, message: str, statements: list[str], database: str = "") -> Excess:
    remedy = offered(*statements) if is_printable(database) else ""
    if statements and not remedy:
        message += " No SQL is offered, because a name has control characters."
    return Excess(right, message, remedy, database)


def _parameter(name: str) -> str:
    """The server stores the name of a parameter with dots and without quotes."""
    return ".".join(map(quoted, name.split(".")))
