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

Entry = tuple[str, Sequence[str], int, str, bool, str, str, int | None, bool]
"""An entry of an ACL: kind, path, grantee's oid, privilege, grantable, database, object id, grantor's oid, denied."""


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
    for member, role, admin, inherit, set_option, grantors in rows:
        names = tuple(sorted(keys[oid][0] for oid in grantors if oid in keys))
        yield MembershipFact(keys[member], keys[role], admin, inherit, set_option, names)


def instance_entries(rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Entries from the rows of the read "grants"."""
    for kind, name, grantee, privilege, grantable, oid, grantor in rows:
        database = name if kind == "database" else ""
        yield kind, [name] if name else [], grantee, privilege, grantable, database, str(oid or ""), grantor, False


def object_entries(database: str, kinds: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Entries from the rows of `reads.object_grants` for these kinds in this database."""
    for kind, path, grantee, privilege, *more in rows:
        grantable, object_id, grantor, denied = more
        yield kinds[kind], [database, *path], grantee, privilege, grantable, database, object_id, grantor, denied


def grants(known: Iterable[AccountFact], *entries: Iterable[Entry]) -> list[GrantFact]:
    """Grants by several grantors are one fact, grantable if one of them is. Roles created after the accounts were read
    are ignored until the next visit."""
    keys = _keys(known)
    keys[0] = PUBLIC
    # Most grantors are owners: their tuples and the texts of objects are shared, since there may be 200,000 grants.
    alone: dict[int | None, tuple[str, ...]] = {oid: (name,) for oid, (name, _) in keys.items()}
    shared: dict[str, str] = {}
    held: dict[tuple[AccountKey, str, str, str, str, bool], tuple[bool, str, tuple[str, ...]]] = {}
    for several in entries:
        for kind, path, grantee, privilege, grantable, database, object_id, grantor, denied in several:
            if grantee not in keys:
                continue
            if kind == "routine":
                scope = f"{dotted(*path[:-1])}({path[-1]})"
            elif kind == "default":
                creator, _ = keys.get(int(path[1]), (path[1], ""))
                scope = dotted(path[0], creator, *path[2:])
            else:
                scope = dotted(*path)
            key = (
                keys[grantee], kind, shared.setdefault(privilege, privilege), shared.setdefault(scope, scope),
                shared.setdefault(database, database), denied,
            )  # fmt: skip
            grantors = alone.get(grantor, ())
            if before := held.get(key):
                grantable = grantable or before[0]
                grantors = tuple(sorted({*grantors, *before[2]}))
            held[key] = grantable, shared.setdefault(object_id, object_id), grantors
    return [
        GrantFact(account, kind, privilege, scope, database, grantable, denied, object_id, grantors)
        for (account, kind, privilege, scope, database, denied), (grantable, object_id, grantors) in held.items()
    ]


def _keys(known: Iterable[AccountFact]) -> dict[int, AccountKey]:
    """Oid → account."""
    return {int(fact.native_id): fact.key for fact in known if fact.native_id}
