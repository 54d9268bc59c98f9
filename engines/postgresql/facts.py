"""What the rows of a visit to PostgreSQL mean: pure functions, no connection. See `derived`.

Scopes inside a database:

schema, language, large object  dotted(database, name or oid)
table, sequence, type           dotted(database, schema, name)
routine                         dotted(database, schema, name) + "(" + its argument types + ")"
column                          dotted(database, schema, table, name)
foreign                         dotted(database, "wrapper" or "server", name)
default                         dotted(database, creating role, schema or "" for all, kind of object)

Ownership is the privilege OWNER, beside what the ACL gives the owner. No catalogue and no fact says that the owner of a
database is a member of pg_database_owner (14+) inside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..derived import Derived
from ..facts import AccountFact, AccountKey, GrantFact, Inventory, MembershipFact, Permissions
from ..paths import dotted
from ..reads import GRANTS, Answers

#: A reserved name, so that no role can collide with it.
PUBLIC: AccountKey = ("public", "")

Entry = tuple[str, Sequence[str], int, str, bool, str]
"""One entry of an ACL: kind, path, grantee's oid, privilege, grantable, database."""


def inventory(session: Any, answers: Answers) -> tuple[Inventory, Derived[AccountFact]]:
    """pg_roles, and PUBLIC. PostgreSQL has no lock: locked is a user whose VALID UNTIL has passed.

    `valid_until` is None for infinity, and for what a datetime cannot hold (BC, after 9999). There is no password age,
    and only superusers see how a password is hashed.
    """
    known = Derived(accounts, answers.rows["accounts"])
    return Inventory(known), known


def permissions(session: Any, answers: Answers, known: Derived[AccountFact]) -> Permissions:
    """pg_auth_members and every ACL. A database that cannot be read is a gap for each kind in it."""
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
    """Of the rows of the read "accounts"."""
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
    """Of the rows of the read "memberships"."""
    keys = _keys(known)
    for member, role, *options in rows:
        yield MembershipFact(keys[member], keys[role], *options)


def instance_entries(rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Of the rows of the read "grants"."""
    for kind, name, grantee, privilege, grantable in rows:
        yield kind, [name] if name else [], grantee, privilege, grantable, name if kind == "database" else ""


def object_entries(database: str, kinds: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Of the rows of `reads.object_grants` for these kinds in this database."""
    for kind, path, grantee, privilege, grantable in rows:
        yield kinds[kind], [database, *path], grantee, privilege, grantable, database


def grants(known: Iterable[AccountFact], *entries: Iterable[Entry]) -> list[GrantFact]:
    """What several grantors gave is one fact, grantable if any of them made it so. A role made after the accounts were
    read is left to the next visit."""
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
    """Each account by its oid."""
    return {int(fact.native_id): fact.key for fact in known if fact.native_id}
