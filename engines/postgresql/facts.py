"""Facts from the rows of a visit to PostgreSQL: pure functions, no connection. See `derived`.

Scopes inside a database:

schema, language, large object  dotted(database, name or oid)
table, sequence, type           dotted(database, schema, name)
routine                         dotted(database, schema, name) + "(" + its argument types + ")"
column                          dotted(database, schema, table, name)
foreign                         dotted(database, "wrapper" or "server", name)
default                         dotted(database, creating role, schema or "" for all, kind of object)

Ownership is the privilege OWNER, in addition to the privileges of the owner in the ACL. The implicit membership of a
database's owner in pg_database_owner (14+) is in no catalogue and no fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..derived import Derived
from ..facts import AccountFact, AccountKey, GrantFact, Inventory, MembershipFact, Permissions
from ..paths import dotted
from ..reads import GRANTS, Answers

#: A reserved name: no role can have it.
PUBLIC: AccountKey = ("public", "")

Entry = tuple[str, Sequence[str], int, str, bool, str]
"""An entry of an ACL: kind, path, grantee's oid, privilege, grantable, database."""


def inventory(session: Any, answers: Answers) -> tuple[Inventory, Derived[AccountFact]]:
    """Accounts of pg_roles, and PUBLIC. PostgreSQL has no lock: a user is locked after its VALID UNTIL.

    `valid_until` is None for infinity and for times outside the range of datetime (BC, after 9999). PostgreSQL stores
    no password age, and shows the hash method to superusers only.
    """
    known = Derived(accounts, answers.rows["accounts"])
    return Inventory(known), known


def permissions(session: Any, answers: Answers, known: Derived[AccountFact]) -> Permissions:
    """Rows of pg_auth_members and of all ACLs. A database that cannot be read is a gap for each kind in it."""
    entries: list[Derived[Entry]] = [Derived(instance_entries, answers.rows["grants"])]
    entries += [Derived(object_entries, database, read.yields, rows) for read, database, rows in answers.inside]
    return Permissions(
        Derived(memberships, known, answers.rows["memberships"]),
        Derived(grants, known, *entries),
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
    keys = _keys(known)
    for member, role, *options in rows:
        yield MembershipFact(keys[member], keys[role], *options)


def instance_entries(rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Entries from the rows of the read "grants"."""
    for kind, name, grantee, privilege, grantable in rows:
        yield kind, [name] if name else [], grantee, privilege, grantable, name if kind == "database" else ""


def object_entries(database: str, kinds: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Entries from the rows of `reads.object_grants` for these kinds in this database."""
    for kind, path, grantee, privilege, grantable in rows:
        yield kinds[kind], [database, *path], grantee, privilege, grantable, database


def grants(known: Iterable[AccountFact], *entries: Iterable[Entry]) -> list[GrantFact]:
    """Grants by several grantors are one fact, grantable if one of them is. Roles created after the accounts were read
    are ignored until the next visit."""
    keys = _keys(known)
    keys[0] = PUBLIC
    held: dict[tuple[AccountKey, str, str, str, str], bool] = {}
    for several in entries:
        for kind, path, grantee, privilege, grantable, database in several:
            if grantee not in keys:
                continue
            if kind == "routine":
                scope = f"{dotted(*path[:-1])}({path[-1]})"
            elif kind == "default":
                creator, _ = keys.get(int(path[1]), (path[1], ""))
                scope = dotted(path[0], creator, *path[2:])
            else:
                scope = dotted(*path)
            key = (keys[grantee], kind, privilege, scope, database)
            held[key] = grantable or held.get(key, False)
    return [GrantFact(*key, grantable=grantable) for key, grantable in held.items()]


def _keys(known: Iterable[AccountFact]) -> dict[int, AccountKey]:
    """Oid → account."""
    return {int(fact.native_id): fact.key for fact in known if fact.native_id}
