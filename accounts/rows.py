"""What a visit passes on between its steps: the facts it read, and grants and memberships as plain rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from engines.facts import Inventory, Permissions, ServerInfo

from .models import Account, Grant, Membership

GRANT_COLUMNS = ("account_id", "kind", "database", "scope", "privilege", "denied", "grantable", "held_since", "since")
MEMBERSHIP_COLUMNS = ("member_id", "role_id", "admin_option", "inherit", "set_option", "held_since", "since")
GrantRow = tuple[int, str, str, str, str, bool, bool]
"""The columns of GRANT_COLUMNS, without the last two."""
MembershipRow = tuple[int, int, bool, bool, bool]
"""The columns of MEMBERSHIP_COLUMNS, without the last two."""


@dataclass(frozen=True)
class AccountFacts:
    """Everything one visit read. Its facts may be decoded from the server's rows only when they are first used."""

    server: ServerInfo
    inventory: Inventory
    permissions: Permissions
    statements: int
    level: str


class OpenRow(NamedTuple):
    pk: int
    unobserved_since: datetime | None


def open_rows(rows: Iterable[tuple[Any, ...]]) -> dict[Any, OpenRow]:
    """Open intervals by their content. `rows` holds pk, unobserved_since, then GRANT_COLUMNS or MEMBERSHIP_COLUMNS."""
    return {row[2:-2]: OpenRow(*row[:2]) for row in rows}


def keep_in_sight(
    model: type[Account] | type[Grant] | type[Membership],
    stored: Mapping[Any, Account | OpenRow],
    seen: Set[Any],
    over: Set[Any],
    visited_at: datetime | None,
) -> None:
    """Set `unobserved_since` on rows that are neither seen nor over, and clear it on rows that are seen again.

    `stored` maps the content of a row to its pk and unobserved_since; `visited_at` is the last visit that stored facts.
    """
    lost = [stored[row].pk for row in stored.keys() - seen - over if stored[row].unobserved_since is None]
    found = [stored[row].pk for row in stored.keys() & seen if stored[row].unobserved_since]
    if lost:
        model.objects.filter(pk__in=lost).update(unobserved_since=visited_at)
    if found:
        model.objects.filter(pk__in=found).update(unobserved_since=None)
