"""Memberships and grants as intervals: which begin, which continue, which end, which are out of sight.

Stored and seen rows are compared as sets; only what differs is looked at. A row that differs in its options, grantors
or name continues as another row, since the same is held without interruption. A row ends only if its scope was read
and its owner was listed, or one of the two is gone; one that could be neither seen nor ended stays, marked as
unobserved.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection

from engines.facts import Gap, Permissions
from engines.paths import dotted, name_of, segments
from engines.registry import ENGINES

from .account_index import AccountIndex
from .bulk import array, insert
from .changes import ChangeLog
from .models import Ended, Grant, Membership
from .rows import (
    GRANT_COLUMNS,
    MEMBERSHIP_COLUMNS,
    GrantRow,
    MembershipRow,
    OpenRow,
    interval,
    keep_in_sight,
    open_rows,
    rename_grantors,
    shared,
)

#: The privilege by which an engine names the owner of an object.
OWNER = "OWNER"


@dataclass
class Differences:
    """What a visit found of one kind of row: `new` begin, `over` end for a reason, `continued` pairs a row with the
    one that continues it, `moved` with the place that it has now although it could not be read."""

    new: list[Any] = field(default_factory=list)
    over: dict[Any, Ended] = field(default_factory=dict)
    continued: list[tuple[Any, Any]] = field(default_factory=list)
    moved: list[tuple[Any, Any]] = field(default_factory=list)


def write_memberships(
    accounts: AccountIndex, permissions: Permissions, gaps: Iterable[Gap], now: datetime, log: ChangeLog
) -> tuple[int, int]:
    """Store memberships. Returns how many began and how many ended."""
    if accounts.new_names:
        rename_grantors(Membership, "member_id", accounts.instance.pk, accounts.new_names)
    rows = Membership.objects.filter(member__instance=accounts.instance, until=None).order_by()
    stored, earlier = open_rows(rows.values_list(*OpenRow._fields, *MembershipRow._fields))
    seen = {
        (member, role, fact.admin_option, fact.inherit, fact.set_option, fact.grantors)
        for fact in permissions.memberships
        if (member := accounts.id_of(fact.member)) and (role := accounts.id_of(fact.role))
    }
    _adopt(Membership, earlier, stored, seen)
    covered = "memberships" in permissions.covered and not any(gap.scope == "memberships" for gap in gaps)
    found = _compare(MembershipRow, stored, seen)
    for row in list(found.over):
        ends = {row.member_id, row.role_id}
        if ends & accounts.gone_ids:
            found.over[row] = Ended.DROPPED
        elif not (covered and ends <= accounts.seen_ids):
            del found.over[row]
    _write(Membership, MEMBERSHIP_COLUMNS, stored, seen, found, accounts.visited_at, now)
    log.memberships(found.new, found.over, found.continued, accounts.names)
    return len(found.new), len(found.over)


def write_grants(
    accounts: AccountIndex, permissions: Permissions, gaps: Iterable[Gap], now: datetime, log: ChangeLog
) -> tuple[int, int]:
    """Store grants. Returns how many began and how many ended. Raises ImplausibleShrink."""
    if accounts.new_names:
        rename_grantors(Grant, "account_id", accounts.instance.pk, accounts.new_names)
    rows = Grant.objects.filter(account__instance=accounts.instance, until=None).order_by()
    stored, earlier = open_rows(rows.values_list(*OpenRow._fields, *GrantRow._fields).iterator(10_000))
    seen = {
        (
            pk, fact.kind, fact.database, fact.scope, fact.privilege, fact.denied, fact.grantable, fact.object_id,
            fact.grantors,
        )
        for fact in permissions.grants
        if (pk := accounts.id_of(fact.account))
    }  # fmt: skip
    adopted = {row[2] for row in _adopt(Grant, earlier, stored, seen)}
    databases = accounts.new_hosts if ENGINES[accounts.instance.engine].semantics.host_is_database else {}
    found = _compare(GrantRow, stored, seen, databases)
    if found.over:
        _Ends(accounts, permissions, gaps, stored, seen).judge(found)
        _hold(accounts, stored, found)
    _write(Grant, GRANT_COLUMNS, stored, seen, found, accounts.visited_at, now)
    places = _Places(stored, seen)
    renamed = [(row, rename) for row, other in found.continued for rename in places.renames(row, other)]
    # What takes away from a baseline was not recorded before.
    news = [row for row in found.new if not (adopted and row[5] and row[2] in adopted)]
    log.grants(news, found.over, found.continued, renamed, _recreated(found))
    return len(found.new), len(found.over)


def _compare(
    kind: Any, stored: Mapping[Any, OpenRow], seen: Collection[Any], databases: Mapping[str, str] | None = None
) -> Differences:
    """Sort rows that are stored or seen, but not both; those that are only stored are `over`. `databases` maps old to
    new names."""
    if not stored:
        return Differences(new=sorted(seen))
    found = Differences()
    came = {row.possession: row for row in map(kind._make, seen - stored.keys())}
    for row in map(kind._make, sorted(stored.keys() - seen)):
        place = _moved(row, databases[row.database]) if databases and row.database in databases else row
        if other := came.pop(place.possession, None):
            found.continued.append((row, other))
        else:
            found.over[row] = Ended.REVOKED
    if kind is GrantRow and came and found.over:
        _match_by_path(found, came)
    found.new = sorted(came.values())
    return found


def _match_by_path(found: Differences, came: dict[Any, Any]) -> None:
    """Continue rows whose object has an id on one side only, since the collector may or may no longer read it."""
    by_path = {(*row[:6], bool(row.object_id)): row for row in came.values()}
    for row in list(found.over):
        if other := by_path.get((*row[:6], not row.object_id)):
            found.continued.append((row, other))
            del found.over[row], came[other.possession]


def _adopt(
    model: type[Grant] | type[Membership], earlier: list[tuple[Any, ...]], stored: dict[Any, OpenRow], seen: set[Any]
) -> list[tuple[Any, ...]]:
    """Take ids and grantors for rows of earlier releases from what was read, in place: nothing has happened to them.
    Adds these rows to `stored`, and returns those that were read."""
    if not earlier:
        return []
    columns = ["object_id", "grantors"] if model is Grant else ["grantors"]
    # Options may have changed meanwhile.
    key, taken = (slice(0, 6), slice(7, 9)) if model is Grant else (slice(0, 2), slice(5, 6))
    read = {row[key]: row[taken] for row in seen}
    adopted, ids = [], []
    for pk, unobserved_since, held_since, *row in earlier:
        found = read.get(tuple(row[key]))
        # A row that was not read stays without.
        content = (*row[: taken.start], *(found or ("", ())[-len(columns) :]))
        stored[content] = OpenRow(pk, unobserved_since, held_since)
        if found:
            adopted.append(content)
            ids.append((pk, *found[:-1], array(found[-1])))
    if ids:
        sets = ", ".join(f"{column} = r.{column}{'::text[]' * (column == 'grantors')}" for column in columns)
        names, arrays = ", ".join(["id", *columns]), ", ".join(["%s::text[]"] * (len(columns) + 1))
        # Names of tables and columns are the code's own.
        sql = (
            f"UPDATE {model._meta.db_table} t SET {sets} FROM unnest({arrays}) AS r({names}) WHERE t.id = r.id::bigint"  # noqa: S608
        )
        with connection.cursor() as cursor:
            cursor.execute(sql, list(map(array, zip(*ids, strict=True))))
    return adopted


def _write(
    model: type[Grant] | type[Membership],
    columns: tuple[str, ...],
    stored: Mapping[Any, OpenRow],
    seen: set[Any],
    found: Differences,
    visited_at: datetime | None,
    now: datetime,
) -> None:
    continued = [*found.continued, *found.moved]
    reasons = defaultdict(list)
    for row, reason in found.over.items():
        reasons[reason].append(stored[row].pk)
    reasons[Ended.CHANGED] = [stored[row].pk for row, _ in continued]
    keep_in_sight(model, stored, seen, {*found.over, *(row for row, _ in continued)}, visited_at)
    for reason, pks in reasons.items():
        if pks:
            model.objects.filter(pk__in=pks).update(until=now, ended=reason)
    since = now.isoformat()
    rows = [interval(row, since, since) for row in found.new]
    rows += [interval(row, stored[before].held_since, since) for before, row in found.continued]
    for before, row in found.moved:
        rows.append(interval(row, stored[before].held_since, since, stored[before].unobserved_since or visited_at))
    if rows:
        insert(model, columns, rows)


class _Ends:
    """Which of the grants that were not seen have ended, and why."""

    def __init__(
        self,
        accounts: AccountIndex,
        permissions: Permissions,
        gaps: Iterable[Gap],
        stored: Mapping[Any, OpenRow],
        seen: Collection[Any],
    ) -> None:
        self.accounts = accounts
        self.covered = permissions.covered
        self.unread = {(gap.scope, gap.database) for gap in gaps}
        #: Id → name of the databases that exist, if the engine has ids for them and all were listed.
        self.databases = {row[7]: row[2] for row in seen if row[1] == "database" and row[7]}
        self.owned = {row[7] for row in stored if row[4] == OWNER and row[7]}
        self.there = {row[7] for row in seen if row[7]}
        self.protected = ENGINES[accounts.instance.engine].semantics.protected

    def judge(self, found: Differences) -> None:
        for row in list(found.over):
            database = self._database(row)
            if row.account_id in self.accounts.gone_ids or database is None:
                found.over[row] = Ended.DROPPED
                continue
            read = row.kind in self.covered and not self.unread & {(row.kind, ""), (row.kind, database)}
            if not (read and row.account_id in self.accounts.seen_ids):
                del found.over[row]
                if database != row.database:
                    found.moved.append((row, _moved(row, database)))
            elif self._is_dropped(row):
                found.over[row] = Ended.DROPPED
            elif self.protected and not row.object_id and self._is_built_in(row):
                found.over[row] = Ended.UNRECORDED

    def _database(self, row: GrantRow) -> str | None:
        """The name that the database of a grant has now; None if it is dropped."""
        if not (row.database and row.database_id and self.databases):
            return row.database
        if self.unread & {("database", ""), ("database", row.database)} or "database" not in self.covered:
            return row.database
        return self.databases.get(row.database_id)

    def _is_dropped(self, row: GrantRow) -> bool:
        """Whether the object is gone. Engines with owners have a row for the owner of each object."""
        parts = row.object_id.split("/")
        above = ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
        return any(one in self.owned and one not in self.there for one in above)

    def _is_built_in(self, row: GrantRow) -> bool:
        parts = segments(row.scope)
        return row.kind == "language" or (len(parts) > 1 and name_of(parts[1]) in self.protected)


def _moved(row: GrantRow, database: str) -> GrantRow:
    """The grant in its database under the new name."""
    path = [dotted(database), *segments(row.scope)[1:]]
    return row._replace(database=database, scope=".".join(path), grantors=shared(*row.grantors))


def _hold(accounts: AccountIndex, stored: Mapping[Any, OpenRow], found: Differences) -> None:
    """Raise ImplausibleShrink if an implausible part of the grants would end. Those of accounts that are gone do not
    count, since `AccountIndex` has checked how many are gone, nor those in dropped databases and schemas."""
    present = sum(row[0] not in accounts.gone_ids for row in stored)
    lost = [row for row, reason in found.over.items() if row.account_id not in accounts.gone_ids]
    lost = [row for row in lost if found.over[row] != Ended.UNRECORDED]
    dropped = {
        row.scope
        for row in lost
        if row.kind in ("database", "schema") and row.privilege == OWNER and found.over[row] == Ended.DROPPED
    }
    inside = [row for row in lost if dropped and dropped & {".".join(segments(row.scope)[:n]) for n in (1, 2)}]
    ending = len(lost) - len(inside) - _renamed(lost, found.new)
    present -= len(inside)
    accounts.hold("grants", present, ending, implausible=ending >= 100 and ending * 2 > present)


def _renamed(lost: Collection[GrantRow], new: Iterable[GrantRow]) -> int:
    """Count grants that end on objects without an id, if the same account now has as many on other objects of the same
    kind: these may be the same objects under other names."""

    def alike(rows: Iterable[GrantRow]) -> Counter[tuple[int, str, str, bool]]:
        return Counter((row.account_id, row.kind, row.privilege, row.denied) for row in rows if not row.object_id)

    return (alike(lost) & alike(new)).total() if lost else 0


def _recreated(found: Differences) -> set[tuple[int, str, str]]:
    """Account, kind and path of the objects that were dropped and created again."""
    dropped = {(row.kind, row.scope) for row, reason in found.over.items() if reason == Ended.DROPPED and row.object_id}
    if not dropped:
        return set()
    came = (row for row in found.new if row.object_id and (row.kind, row.scope) in dropped)
    return {(row.account_id, row.kind, row.scope) for row in came}


class _Places:
    """The databases, schemas and tables by path, to tell what was renamed of a path. Made when first needed."""

    KINDS = ("database", "schema", "table")

    def __init__(self, stored: Iterable[Any], seen: Iterable[Any]) -> None:
        self._rows = stored, seen
        self._ids: tuple[dict[str, str], dict[str, str]] | None = None

    def renames(self, before: GrantRow, after: GrantRow) -> Iterator[tuple[str, str, str]]:
        """Kind, old and new path of what changed its name on the way to an object, outermost first; or of the object
        itself if it was moved."""
        if before.scope == after.scope or before.kind == "default":
            return
        if self._ids is None:
            stored, seen = self._rows
            self._ids = self._by_path(stored), self._by_path(seen)
        old, new = segments(before.scope), segments(after.scope)
        if len(old) != len(new):
            yield before.kind, before.scope, after.scope
            return
        for n in range(1, len(old)):
            was, is_ = ".".join(old[:n]), ".".join(new[:n])
            if old[n - 1] == new[n - 1]:
                continue
            same = self._ids[0].get(was, before.database_id) == self._ids[1].get(is_, after.database_id)
            if not (same or n == 1):
                yield before.kind, before.scope, after.scope
                return
            yield self.KINDS[n - 1], was, is_
        if old[-1] != new[-1]:
            yield before.kind, before.scope, after.scope

    def _by_path(self, rows: Iterable[Any]) -> dict[str, str]:
        return {row[3]: row[7] for row in rows if row[1] in self.KINDS and row[7]}
