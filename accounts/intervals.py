"""Memberships and grants as intervals: which begin, which end, which are out of sight.

Stored and seen rows are compared as sets. An interval ends only if its scope was read and its owner was listed, or is
gone; one that could be neither seen nor ended stays, marked as unobserved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from engines.facts import Gap, Permissions

from .bulk import insert
from .models import Account, Grant, Membership

if TYPE_CHECKING:
    from .changes import ChangeLog
    from .services import Roster

GRANT_COLUMNS = ("account_id", "kind", "database", "scope", "privilege", "denied", "grantable", "since")
MEMBERSHIP_COLUMNS = ("member_id", "role_id", "admin_option", "inherit", "set_option", "since")
GrantRow = tuple[int, str, str, str, str, bool, bool]
"""The columns of GRANT_COLUMNS, but for the last."""
MembershipRow = tuple[int, int, bool, bool, bool]
"""The columns of MEMBERSHIP_COLUMNS, but for the last."""


def write_memberships(
    accounts: Roster, permissions: Permissions, gaps: Iterable[Gap], now: datetime, log: ChangeLog
) -> tuple[int, int]:
    rows = Membership.objects.filter(member__instance=accounts.instance, until=None).order_by()
    stored = _stored(rows.values_list("pk", "unobserved_since", *MEMBERSHIP_COLUMNS))
    seen: set[MembershipRow] = {
        (member, role, fact.admin_option, fact.inherit, fact.set_option)
        for fact in permissions.memberships
        if (member := accounts.id_of(fact.member)) and (role := accounts.id_of(fact.role))
    }
    covered = "memberships" in permissions.covered and not any(gap.scope == "memberships" for gap in gaps)
    unseen = stored.keys() - seen
    held_now = {row[:2] for row in seen} if unseen else set()

    def is_over(row: MembershipRow) -> bool:
        ends = set(row[:2])
        # Seen with other options, or with somebody gone, it is over even where the scope has gaps.
        if row[:2] in held_now or ends & accounts.gone_ids:
            return True
        return covered and ends <= accounts.seen_ids

    over = {row for row in unseen if is_over(row)}
    new = seen - stored.keys()
    keep_in_sight(Membership, stored, seen, over, accounts.visited_at)
    Membership.objects.filter(pk__in=[stored[row].pk for row in over]).update(until=now)
    since = now.isoformat()
    insert(Membership, MEMBERSHIP_COLUMNS, [(*row, since) for row in sorted(new)])
    if new or over:
        log.memberships(new, over, accounts.names())
    return len(new), len(over)


def write_grants(
    accounts: Roster, permissions: Permissions, gaps: Iterable[Gap], now: datetime, log: ChangeLog
) -> tuple[int, int]:
    rows = Grant.objects.filter(account__instance=accounts.instance, until=None).order_by()
    stored = _stored(rows.values_list("pk", "unobserved_since", *GRANT_COLUMNS))
    seen: set[GrantRow] = {
        (pk, fact.kind, fact.database, fact.scope, fact.privilege, fact.denied, fact.grantable)
        for fact in permissions.grants
        if (pk := accounts.id_of(fact.account))
    }
    unread = {(gap.scope, gap.database) for gap in gaps}
    unseen = stored.keys() - seen
    held_now = {row[:6] for row in seen} if unseen else set()

    def is_over(row: GrantRow) -> bool:
        owner, kind, database = row[:3]
        if owner in accounts.gone_ids or row[:6] in held_now:
            return True
        read = kind in permissions.covered and not unread & {(kind, ""), (kind, database)}
        return read and owner in accounts.seen_ids

    over = {row for row in unseen if is_over(row)}
    new = seen - stored.keys()
    # An account that is gone takes its grants along; that was weighed with the accounts.
    staying = {row for row in stored if row[0] not in accounts.gone_ids}
    lost = {row for row in over & staying if row[:6] not in held_now}
    dropped = _inside_dropped(lost, seen, new)
    ending = _less_renamed(lost - dropped, new)
    present = len(staying) - len(dropped)
    accounts.hold("grants", present, ending, implausible=ending >= 100 and ending * 2 > present)
    keep_in_sight(Grant, stored, seen, over, accounts.visited_at)
    Grant.objects.filter(pk__in=[stored[row].pk for row in over]).update(until=now)
    since = now.isoformat()
    insert(Grant, GRANT_COLUMNS, [(*row, since) for row in sorted(new)])
    log.grants(new, over)
    return len(new), len(over)


def _inside_dropped(lost: Set[GrantRow], seen: Set[GrantRow], new: Set[GrantRow]) -> set[GrantRow]:
    """Grants in databases and schemas that were dropped. Where an engine has owners each of these has one: with the
    owner's row lost, and nothing seen on it, it is there no more. If its owner has a new one, it may
    have been renamed."""
    came = {_place(row) for row in new if _is_container(row) and row[4] == "OWNER"}
    owned = {row for row in lost if _is_container(row) and row[4] == "OWNER" and _place(row) not in came}
    there = {row[1:4] for row in seen if _is_container(row)} if owned else set()
    gone = {row[1:4] for row in owned} - there
    databases = {database for kind, database, _ in gone if kind == "database"}
    schemas = {scope for kind, _, scope in gone if kind == "schema"}
    within = tuple(f"{scope}." for scope in schemas)
    return {row for row in lost if row[2] in databases or row[3] in schemas or row[3].startswith(within)}


def _is_container(row: GrantRow) -> bool:
    return row[1] in ("database", "schema")


def _place(row: GrantRow) -> tuple[int, str, str]:
    """Who owns what kind of container, and the database that a schema lies in."""
    return row[0], row[1], row[2] if row[1] == "schema" else ""


def _less_renamed(lost: Set[GrantRow], new: Set[GrantRow]) -> int:
    """How many grants end, less those that the same account now has on another object of the kind: renaming a schema
    ends the grants in it under one name and begins them under another."""

    def alike(rows: Iterable[GrantRow]) -> Counter[tuple[int, str, str, bool]]:
        return Counter((row[0], row[1], row[4], row[5]) for row in rows)

    return (alike(lost) - alike(new)).total()


class _Stored(NamedTuple):
    pk: int
    unobserved_since: datetime | None


def _stored(rows: Iterable[tuple[Any, ...]]) -> dict[Any, _Stored]:
    """Intervals that are open, by what they say."""
    return {row[2:-1]: _Stored(*row[:2]) for row in rows}


def keep_in_sight(
    model: type[Account] | type[Grant] | type[Membership],
    stored: Mapping[Any, Account | _Stored],
    seen: Set[Any],
    over: Set[Any],
    visited_at: datetime | None,
) -> None:
    """Mark what stays unseen with the last visit that saw it, and clear what is seen again.

    `stored` maps what a row says to its pk and unobserved_since.
    """
    lost = [stored[row].pk for row in stored.keys() - seen - over if stored[row].unobserved_since is None]
    found = [stored[row].pk for row in stored.keys() & seen if stored[row].unobserved_since]
    if lost:
        model.objects.filter(pk__in=lost).update(unobserved_since=visited_at)
    if found:
        model.objects.filter(pk__in=found).update(unobserved_since=None)
