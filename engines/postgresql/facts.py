"""Facts from the rows of a visit to PostgreSQL: pure functions, no connection. See `derived`.

Scopes inside a database:

schema, language, large object  dotted(database, name or oid)
table, sequence, type           dotted(database, schema, name)
routine                         dotted(database, schema, name) + "(" + its argument types + ")"
column                          dotted(database, schema, table, name)
foreign                         dotted(database, "wrapper" or "server", name)
default                         dotted(database, creating role, schema or "" for all, kind of object)

Ids of these objects begin with the oid of the database: "<database>/<oid>", of a column "<database>/<table>/<number>",
of default privileges "<database>/<creating role>/<schema or 0>/<kind of object>".

Ownership is the privilege OWNER, in addition to the privileges of the owner in the ACL. The implicit membership of a
database's owner in pg_database_owner (14+) is in no catalogue and no fact. Of built-in objects, facts are deviations
from what initdb granted: see `reads.object_grants`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from sys import intern
from typing import Any

from ..derived import Derived, together
from ..facts import AccountFact, AccountKey, GrantFact, Inventory, MembershipFact, Permissions
from ..paths import dotted
from ..reads import GRANTS, Answers

#: A reserved name: no role can have it.
PUBLIC: AccountKey = ("public", "")


def inventory(session: Any, answers: Answers) -> tuple[Inventory, Derived[AccountFact]]:
    """Accounts of pg_roles, and PUBLIC. PostgreSQL has no lock: a user is locked after its VALID UNTIL.

    `valid_until` is None for infinity and for times outside the range of datetime (BC, after 9999). PostgreSQL stores
    no password age, and shows the hash method to superusers only.
    """
    known = Derived(accounts, answers.rows["accounts"])
    return Inventory(known), known


def permissions(session: Any, answers: Answers, known: Derived[AccountFact]) -> Permissions:
    """Rows of pg_auth_members and of all ACLs. A database that cannot be read is a gap for each kind in it."""
    inside = (Derived(object_grants, known, database, read.yields, rows) for read, database, rows in answers.inside)
    return Permissions(
        Derived(memberships, known, answers.rows["memberships"]),
        Derived(together, Derived(instance_grants, known, answers.rows["grants"]), *inside),
        answers.covered,
        answers.gaps_in(GRANTS),
        answers.beyond,
    )


def accounts(rows: Iterable[Sequence[Any]]) -> Iterator[AccountFact]:
    """Accounts from the rows of the read "accounts", and PUBLIC."""
    yield AccountFact(*PUBLIC, kind="public", can_login=False)
    for oid, name, can_login, superuser, limit, valid_until, expired, system in rows:
        yield AccountFact(
            name=name,
            kind="user" if can_login else "role",
            native_id=str(oid),
            is_system=system,
            can_login=can_login,
            is_locked=can_login and expired,
            is_superuser=superuser,
            valid_until=valid_until,
            connection_limit=limit,
        )


def memberships(known: Iterable[AccountFact], rows: Iterable[Sequence[Any]]) -> Iterator[MembershipFact]:
    """Memberships from the rows of the read "memberships"."""
    roles = _Roles(known)
    for member, role, admin, inherit, may_set, grantors in rows:
        yield MembershipFact(
            roles.keys[member], roles.keys[role], admin, inherit, may_set, grantors=roles.named[grantors]
        )


def instance_grants(known: Iterable[AccountFact], rows: Iterable[Sequence[Any]]) -> Iterator[GrantFact]:
    """Grants from the rows of the read "grants"."""
    roles = _Roles(known)
    shared: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    for kind, name, grantee, privilege, grantable, object_id, grantors in rows:
        if account := roles.keys.get(grantee):
            if (kind, name) not in shared:
                shared[kind, name] = kind, dotted(name) if name else "", name if kind == "database" else "", object_id
            kind, scope, database, object_id = shared[kind, name]
            privilege, grantors = intern(privilege), roles.named[grantors]
            yield GrantFact(account, kind, privilege, scope, database, grantable, False, object_id, grantors)


def object_grants(
    known: Iterable[AccountFact], database: str, kinds: Sequence[str], rows: Iterable[Sequence[Any]]
) -> Iterator[GrantFact]:
    """Grants from the rows of `reads.object_grants` for these kinds in this database."""
    roles = _Roles(known)
    last: tuple[str, str, str] = "", "", ""
    for number, *names, grantee, privilege, grantable, denied, object_id, grantors in rows:
        if account := roles.keys.get(grantee):
            kind = kinds[number]
            # Most rows of an object follow each other, and share its strings.
            if last[:2] != (kind, object_id):
                last = kind, object_id, _scope(database, kind, names, roles)
            scope, privilege, grantors = last[2], intern(privilege), roles.named[grantors]
            yield GrantFact(account, kind, privilege, scope, database, grantable, denied, last[1], grantors)


def _scope(database: str, kind: str, names: Sequence[str | None], roles: _Roles) -> str:
    path = [name for name in names if name is not None]
    if kind == "routine":
        arguments = path.pop()
        return f"{dotted(database, *path)}({arguments})"
    if kind == "default":
        path[0], _ = roles.keys.get(int(path[0]), (path[0], ""))
    return dotted(database, *path)


class _Roles:
    """The accounts by oid, with PUBLIC as 0, and names of grantors by their oids in a row: "10,16384". Roles created
    after the accounts were read are ignored until the next visit."""

    def __init__(self, known: Iterable[AccountFact]) -> None:
        self.keys = {int(fact.native_id): fact.key for fact in known if fact.native_id}
        self.named = _Names(self.keys)
        self.keys[0] = PUBLIC


class _Names(dict[str, tuple[str, ...]]):
    """Made at the first access, so that all facts with the same grantors share one tuple."""

    def __init__(self, keys: dict[int, AccountKey]) -> None:
        super().__init__({"": ()})
        self._keys = keys

    def __missing__(self, oids: str) -> tuple[str, ...]:
        held = (self._keys.get(int(oid)) for oid in oids.split(","))
        names = self[oids] = tuple(sorted(key[0] for key in held if key))
        return names
