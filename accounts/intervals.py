"""Memberships and grants as intervals: which begin, which end, which are out of sight.

Stored and seen rows are compared as sets. An interval ends only if its scope was read and its owner was listed, or is
gone; one that could be neither seen nor ended stays, marked as unobserved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from datetime import datetime

from engines.facts import Gap, Permissions

from .account_index import AccountIndex
from .bulk import insert
from .changes import ChangeLog
from .models import Grant, Membership
from .rows import GRANT_COLUMNS, MEMBERSHIP_COLUMNS, GrantRow, MembershipRow, keep_in_sight, open_rows


def write_memberships(
    accounts: AccountIndex, permissions: Permissions, gaps: Iterable[Gap], now: datetime, log: ChangeLog
) -> tuple[int, int]:
    rows = Membership.objects.filter(member__instance=accounts.instance, until=None).order_by()
    stored = open_rows(rows.values_list("pk", "unobserved_since", *MEMBERSHIP_COLUMNS))
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
        # Seen with other options, or with an account gone, it is over even where the scope has gaps.
        if row[:2] in held_now or ends & accounts.gone_ids:
            return True
        return covered and ends <= accounts.seen_ids

    over = {row for row in unseen if is_over(row)}
    new = seen - stored.keys()
    keep_in_sight(Membership, stored, seen, over, accounts.visited_at)
    Membership.objects.filter(pk__in=[stored[row].pk for row in over]).update(until=now)
    since = now.isoformat()
    insert(Membership, MEMBERSHIP_COLUMNS, [(*row, since, since) for row in sorted(new)])
    if new or over:
        log.memberships(new, over, accounts.names())
    return len(new), len(over)


def write_grants(
    accounts: AccountIndex, permissions: Permissions, gaps: Iterable[Gap], now: datetime, log: ChangeLog
) -> tuple[int, int]:
    rows = Grant.objects.filter(account__instance=accounts.instance, until=None).order_by()
    stored = open_rows(rows.values_list("pk", "unobserved_since", *GRANT_COLUMNS))
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
    # Grants of accounts that are gone do not count: `AccountIndex` has checked how many accounts are gone.
    staying = {row for row in stored if row[0] not in accounts.gone_ids}
    lost = {row for row in over & staying if row[:6] not in held_now}
    dropped = _inside_dropped(lost, seen, new)
    ending = _less_renamed(lost - dropped, new)
    present = len(staying) - len(dropped)
    accounts.hold("grants", present, ending, implausible=ending >= 100 and ending * 2 > present)
    keep_in_sight(Grant, stored, seen, over, accounts.visited_at)
    Grant.objects.filter(pk__in=[stored[row].pk for row in over]).update(until=now)
    since = now.isoformat()
    insert(Grant, GRANT_COLUMNS, [(*row, since, since) for row in sorted(new)])
    log.grants(new, over)
    return len(new), len(over)


def _inside_dropped(lost: Set[GrantRow], seen: Set[GrantRow], new: Set[GrantRow]) -> set[GrantRow]:
    """Grants in databases and schemas that were dropped. In engines with owners every container has one: it was dropped
    if its owner's row is lost and no row names it any longer. If the same owner has a new container, it may have been
    renamed."""
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
    """Owner and kind of a container, and the database of a schema."""
    return row[0], row[1], row[2] if row[1] == "schema" else ""


def _less_renamed(lost: Set[GrantRow], new: Set[GrantRow]) -> int:
    """Count grants that end, less those that the same account now has on another object of the same kind: renaming a
    schema ends its grants under one name and begins them under another."""

    def alike(rows: Iterable[GrantRow]) -> Counter[tuple[int, str, str, bool]]:
        return Counter((row[0], row[1], row[4], row[5]) for row in rows)

    return (alike(lost) - alike(new)).total()
