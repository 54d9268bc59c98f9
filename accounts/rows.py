"""What a visit passes on between its steps: the facts it read, and grants and memberships as plain rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import connection

from engines.facts import Inventory, Permissions, ServerInfo

from .bulk import array
from .models import Account, Grant, Membership


class GrantRow(NamedTuple):
    """A grant as it is compared: the columns of the store up to `GRANT_COLUMNS`' last three."""

    account_id: int
    kind: str
    database: str
    scope: str
    privilege: str
    denied: bool
    grantable: bool
    object_id: str
    grantors: tuple[str, ...]

    @property
    def possession(self) -> tuple[Any, ...]:
        """What stays the same while its name, options and grantors change."""
        place = self.object_id or (self.database, self.scope)
        return self.account_id, self.kind, place, self.privilege, self.denied

    @property
    def options(self) -> dict[str, bool]:
        return {"grantable": self.grantable}

    @property
    def database_id(self) -> str:
        """The id of the database that contains the object; "" if unknown."""
        return self.object_id.partition("/")[0]


class MembershipRow(NamedTuple):
    """A membership as it is compared: the columns of the store up to `MEMBERSHIP_COLUMNS`' last three."""

    member_id: int
    role_id: int
    admin_option: bool
    inherit: bool
    set_option: bool
    grantors: tuple[str, ...]

    @property
    def possession(self) -> tuple[int, int]:
        return self.member_id, self.role_id

    @property
    def options(self) -> dict[str, bool]:
        return {"admin_option": self.admin_option, "inherit": self.inherit, "set_option": self.set_option}


_OF_INTERVALS = ("held_since", "since", "unobserved_since")
GRANT_COLUMNS = (*GrantRow._fields, *_OF_INTERVALS)
MEMBERSHIP_COLUMNS = (*MembershipRow._fields, *_OF_INTERVALS)


@dataclass(frozen=True)
class AccountFacts:
    """Everything one visit read. Its facts may be decoded from the server's rows only when they are first used."""

    server: ServerInfo
    inventory: Inventory
    permissions: Permissions
    statements: int
    level: str


class OpenRow(NamedTuple):
    """What is stored of an open interval besides its content."""

    pk: int
    unobserved_since: datetime | None
    held_since: datetime


def open_rows(rows: Iterable[tuple[Any, ...]]) -> tuple[dict[Any, OpenRow], list[tuple[Any, ...]]]:
    """Open intervals by their content, and those of earlier releases, which have no grantors yet. `rows` holds the
    columns of OpenRow, then those of GrantRow or MembershipRow, grantors last."""
    recorded, earlier = {}, []
    for row in rows:
        if row[-1] is None:
            earlier.append(row)
        else:
            recorded[(*row[3:-1], shared(*row[-1]))] = OpenRow(*row[:3])
    return recorded, earlier


@lru_cache(maxsize=10_000)
def shared(*names: str) -> tuple[str, ...]:
    """One tuple for equal grantors, since 200,000 grants have few."""
    return names


def rename_grantors(
    model: type[Grant] | type[Membership], owner: str, instance_id: int, names: Mapping[str, str]
) -> None:
    """Give grantors of open rows their new names. `owner` is the column with the account."""
    # Names of tables and columns are the code's own.
    sql = f"""
        UPDATE {model._meta.db_table} t
           SET grantors = ARRAY(SELECT coalesce(n.new, g) FROM unnest(t.grantors) g
                                  LEFT JOIN unnest(%(old)s::text[], %(new)s::text[]) AS n(old, new) ON n.old = g
                                 ORDER BY coalesce(n.new, g) COLLATE "C")
          FROM accounts_account a
         WHERE a.id = t.{owner} AND a.instance_id = %(instance)s AND t.until IS NULL AND t.grantors && %(old)s::text[]
        """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, {"old": list(names), "new": list(names.values()), "instance": instance_id})


def interval(
    row: Any, held_since: datetime | str, since: str, unobserved_since: datetime | None = None
) -> tuple[Any, ...]:
    """A row as `bulk.insert` takes it."""
    return (*row[:-1], array(row[-1]), held_since, since, unobserved_since)


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
