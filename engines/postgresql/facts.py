"""What the rows of the PostgreSQL adapter mean: pure functions, no connection. See `derived`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..facts import AccountFact, AccountKey, GrantFact, MembershipFact
from ..paths import dotted

#: A reserved name, so that no role can collide with it.
PUBLIC: AccountKey = ("public", "")

Entry = tuple[str, Sequence[str], int, str, bool, str]
"""One entry of an ACL: kind, path, grantee's oid, privilege, grantable, database."""


def accounts(rows: Iterable[Sequence[Any]]) -> Iterator[AccountFact]:
    """Of the rows of `postgresql_sql.ACCOUNTS`."""
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
    """Of the rows of `postgresql_sql.MEMBERSHIPS`."""
    keys = _keys(known)
    for member, role, *options in rows:
        yield MembershipFact(keys[member], keys[role], *options)


def instance_entries(rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Of the rows of `postgresql_sql.INSTANCE_GRANTS` and what is added to it."""
    for kind, name, grantee, privilege, grantable in rows:
        yield kind, [name] if name else [], grantee, privilege, grantable, name if kind == "database" else ""


def object_entries(database: str, kinds: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Of the rows of `postgresql_sql.object_grants` for these kinds in this database."""
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
