"""Memberships and grants as intervals: which begin, which end, which continue, which are out of sight.

Stored and seen rows are compared as sets; only what differs is looked at row by row. What differs in options, grantors
or names only is the same possession: its row ends as "changed", and the next one keeps `held_since`. A possession ends
only if its scope was read and its owner was listed, or if one of them is gone; one that could be neither seen nor ended
stays, marked as unobserved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from sys import intern
from typing import Any, Generic, NamedTuple, TypeVar

from engines.facts import Gap, Permissions
from engines.registry import ENGINES

from .account_index import AccountIndex
from .bulk import insert, update
from .changes import ChangeLog
from .models import Ended, Grant, IntervalQuerySet, Membership
from .objects import CONTAINERS, OWNER, Objects, Renames
from .rows import GrantRow, MembershipRow

Row = TypeVar("Row", GrantRow, MembershipRow)


class OpenRow(NamedTuple):
    pk: int
    unobserved_since: datetime | None


class Difference(Generic[Row]):
    """The open intervals of an instance against the rows of a visit, and what becomes of them.

    `unseen` are stored rows that the visit does not have, `new` rows that the store does not have. Of the unseen ones,
    `over` maps those that end to the reason, and `continued` those that go on to what they are now, also where that
    was not read; the others are out of sight. `stored` counts the rows in the store.
    """

    def __init__(self, kind: type[Row], rows: IntervalQuerySet, seen: set[Row], accounts: AccountIndex) -> None:
        """`rows` are the intervals of the instance. `seen` is used up."""
        self.kind = kind
        self.model = rows.model
        self.visited_at = accounts.visited_at
        self.new = seen
        self.unseen: dict[Row, OpenRow] = {}
        self.over: dict[Row, str] = {}
        self.continued: dict[Row, Row] = {}
        self.stored = 0
        self._again: list[int] = []
        self._regranted: dict[int, tuple[str, ...]] = {}
        renamed = {before[0]: after[0] for before, after in accounts.renamed.values() if before[0] != after[0]}
        stored = rows.filter(until=None).order_by().values_list("pk", "unobserved_since", *kind._fields)
        # Row by row from the server: two copies of all rows would be too much.
        for pk, unobserved_since, *columns, names in stored.iterator(chunk_size=5000):
            self.stored += 1
            grantors = names if names is None else tuple(names)
            if grantors and not renamed.keys().isdisjoint(grantors):
                grantors = tuple(sorted(renamed.get(name, name) for name in grantors))
                self._regranted[pk] = grantors
            row = kind(*columns, grantors)
            if row not in seen:
                self.unseen[_sharing(row)] = OpenRow(pk, unobserved_since)
                continue
            seen.remove(row)
            if unobserved_since:
                self._again.append(pk)

    def begun(self) -> set[Row]:
        """Possessions that are new."""
        return self.new.difference(self.continued.values())

    def write(self, now: datetime) -> int:
        """Store the result. Returns how many possessions are new."""
        changed = {old: new for old, new in self.continued.items() if not _is_alike(old, new)}
        in_place = self.continued.keys() - changed.keys()
        ended = self.over | dict.fromkeys(changed, Ended.CHANGED)
        hidden = [row.pk for old, row in self.unseen.items() if not row.unobserved_since and self._is_hidden(old)]
        again = self._again + [self.unseen[old].pk for old in in_place if self.unseen[old].unobserved_since]
        self._update_in_place(in_place, {self.unseen[old].pk for old in ended})
        if hidden:
            self.model.objects.filter(pk__in=hidden).update(unobserved_since=self.visited_at)
        if again:
            self.model.objects.filter(pk__in=again).update(unobserved_since=None)
        since = now.isoformat()
        closed = ((self.unseen[old].pk, since, reason) for old, reason in ended.items())
        update(self.model, ("id", "until", "ended"), closed)
        begun = self.begun()
        columns = (*self.kind._fields, "held_since", "since")
        insert(self.model, columns, ((*row, since, since) for row in sorted(begun)))
        self._insert_changed(changed, since)
        return len(begun)

    def _is_hidden(self, old: Row) -> bool:
        return old not in self.over and old not in self.continued

    def _update_in_place(self, rows: Iterable[Row], ended: set[int]) -> None:
        """What the visit can say better: ids and grantors that were not recorded, and new names of grantors."""
        named = [(pk, grantors) for pk, grantors in self._regranted.items() if pk not in ended]
        update(self.model, ("id", "grantors"), named)
        better = [column for column in ("object_id", "grantors") if column in self.kind._fields]
        known = ((self.unseen[old].pk, *(getattr(self.continued[old], column) for column in better)) for old in rows)
        update(self.model, ("id", *better), known)

    def _insert_changed(self, changed: dict[Row, Row], since: str) -> None:
        if not changed:
            return
        ids = [self.unseen[old].pk for old in changed]
        held_since = dict(self.model.objects.filter(pk__in=ids).order_by().values_list("pk", "held_since"))

        def rows() -> Iterator[tuple[Any, ...]]:
            for old, new in changed.items():
                pk, unobserved_since = self.unseen[old]
                hidden = None if new in self.new else unobserved_since or self.visited_at
                yield (*new, held_since[pk], since, hidden)

        insert(self.model, (*self.kind._fields, "held_since", "since", "unobserved_since"), rows())


def _sharing(row: Row) -> Row:
    """The row with strings that other rows share: the driver makes each anew, which takes most of the memory."""
    *columns, grantors = row
    shared = (intern(value) if isinstance(value, str) else value for value in columns)
    return row._make((*shared, grantors and tuple(map(intern, grantors))))


def _is_alike(old: Row, new: Row) -> bool:
    """Whether they differ in nothing but what was not known before."""
    has_moved = isinstance(old, GrantRow) and isinstance(new, GrantRow) and old[1:4] != new[1:4]
    return not has_moved and old.options == new.options and not _other_grantors(old, new)


def _other_grantors(old: Row, new: Row) -> bool:
    # The engine may name none, or not yet.
    return bool(old.grantors and new.grantors and old.grantors != new.grantors)


def _log_continued(difference: Difference[Row], log: ChangeLog, described: Callable[[Row], dict[str, Any]]) -> None:
    """Log other options and other grantors."""
    for old, new in sorted(difference.continued.items()) if difference.continued else ():
        for option, value in new.options.items():
            if value != old.options[option]:
                log.entry(new[0], "options", "options", described(new) | {"option": option, "added": value})
        if old.grantors and new.grantors and old.grantors != new.grantors:
            added, removed = sorted({*new.grantors} - {*old.grantors}), sorted({*old.grantors} - {*new.grantors})
            log.entry(new[0], "grantors", "grantors", described(new) | {"added": added, "removed": removed})


def write_memberships(
    accounts: AccountIndex, permissions: Permissions, gaps: Iterable[Gap], now: datetime, log: ChangeLog
) -> tuple[int, int, int]:
    """Return how many memberships begin, how many end, and how many continue with other options or grantors."""
    seen = {
        MembershipRow(member, role, fact.admin_option, fact.inherit, fact.set_option, fact.grantors)
        for fact in permissions.memberships
        if (member := accounts.ids.get(fact.member)) and (role := accounts.ids.get(fact.role))
    }
    rows = Membership.objects.filter(member__instance=accounts.instance)
    difference = Difference(MembershipRow, rows, seen, accounts)
    covered = "memberships" in permissions.covered and not any(gap.scope == "memberships" for gap in gaps)
    now_held = {row[:2]: row for row in difference.new} if difference.unseen else {}
    for old in difference.unseen:
        ends = {*old[:2]}
        if ends & accounts.gone_ids:
            difference.over[old] = Ended.DROPPED
        elif new := now_held.get(old[:2]):
            difference.continued[old] = new
        elif covered and ends <= accounts.seen_ids:
            difference.over[old] = Ended.REVOKED

    def described(row: MembershipRow) -> dict[str, Any]:
        return {"role": accounts.names[row.role_id], **row.options}

    begun = difference.begun()
    if log.baseline:
        log.first_seen((row.member_id for row in begun), "memberships")
    else:
        for row in sorted(begun):
            log.entry(row.member_id, "memberships", "joined", described(row))
        for row in sorted(difference.over):
            dropped = {"dropped": True} if row.role_id in accounts.gone_ids else {}
            log.entry(row.member_id, "memberships", "left", described(row) | dropped)
        _log_continued(difference, log, described)
    return difference.write(now), len(difference.over), len(difference.continued)


def write_grants(
    accounts: AccountIndex, permissions: Permissions, gaps: Iterable[Gap], now: datetime, log: ChangeLog
) -> tuple[int, int]:
    """Return how many grants begin and how many end. Raises ImplausibleShrink."""
    seen = {
        GrantRow(
            pk,
            fact.kind,
            fact.database,
            fact.scope,
            fact.privilege,
            fact.denied,
            fact.grantable,
            fact.object_id,
            fact.grantors,
        )
        for fact in permissions.grants
        if (pk := accounts.ids.get(fact.account))
    }
    rows = Grant.objects.filter(account__instance=accounts.instance)
    difference = Difference(GrantRow, rows, seen, accounts)
    objects = Objects(accounts, permissions, gaps, difference.unseen)
    if difference.unseen:
        _continue(difference, objects, accounts)
        _hold_shrink(difference, objects, accounts)
    if log.baseline:
        log.first_seen((row.account_id for row in difference.new), "privileges")
    else:
        _log_grants(difference, objects, accounts, log)
        _log_continued(difference, log, GrantRow.described)
        _log_renames(difference, objects, log)
    return difference.write(now), len(difference.over)


def _continue(difference: Difference[GrantRow], objects: Objects, accounts: AccountIndex) -> None:
    """Find what became of each stored row that the visit does not have: by the id of its object, then by its path."""
    by_id = {_by_id(row): row for row in difference.new if row.object_id}
    for old in difference.unseen:
        if old.object_id and (new := by_id.get(_by_id(old))):
            difference.continued[old] = new
    left = difference.unseen.keys() - difference.continued.keys()
    if not left:
        return
    by_path = {_by_path(row): row for row in difference.new}
    taken = set(difference.continued.values())
    for old in left:
        located = objects.located(old)
        if old.account_id in accounts.gone_ids or located is None:
            difference.over[old] = Ended.DROPPED
        elif new := by_path.get(_by_path(located)):
            if new in taken or (old.object_id and new.object_id):
                # The name is that of another object now.
                difference.over[old] = Ended.DROPPED
            else:
                difference.continued[old] = new
        elif objects.is_read(old.kind, located.database) and old.account_id in accounts.seen_ids:
            difference.over[old] = _reason(old, objects)
        elif located != old:
            difference.continued[old] = located


def _by_id(row: GrantRow) -> tuple[Any, ...]:
    return row.account_id, row.kind, row.object_id, row.privilege, row.denied


def _by_path(row: GrantRow) -> tuple[Any, ...]:
    return row[:6]


def _reason(row: GrantRow, objects: Objects) -> str:
    if objects.was_built_in(row):
        return Ended.UNRECORDED
    return Ended.DROPPED if objects.is_gone(row) else Ended.REVOKED


def _hold_shrink(difference: Difference[GrantRow], objects: Objects, accounts: AccountIndex) -> None:
    """Grants of accounts that are gone do not count: `AccountIndex` has checked how many accounts are gone. Nor do
    those in dropped databases and schemas, on objects that were created again, and built-in ones stored once."""
    leaving = sum(row.account_id in accounts.gone_ids for row in difference.unseen)
    paths = {_by_path(row) for row in difference.new}
    over = [row for row, reason in difference.over.items() if reason != Ended.UNRECORDED]
    lost = [row for row in over if row.account_id not in accounts.gone_ids]
    owned = [row for row in over if row.privilege == OWNER and row.kind in CONTAINERS[:2] and objects.is_gone(row)]
    databases = {row.database for row in owned if row.kind == "database"}
    schemas = {row.scope for row in owned if row.kind == "schema"}
    within = tuple(f"{scope}." for scope in schemas)
    ending = [
        row
        for row in lost
        if not (row.database in databases or row.scope in schemas or row.scope.startswith(within))
        and _by_path(row) not in paths
    ]
    present = difference.stored - leaving - (len(lost) - len(ending))
    accounts.hold("grants", present, len(ending), implausible=len(ending) >= 100 and len(ending) * 2 > present)


def _log_grants(difference: Difference[GrantRow], objects: Objects, accounts: AccountIndex, log: ChangeLog) -> None:
    """Log grants that begin and end. An attribute that keeps a role from inheriting is logged as an option."""
    option = ENGINES[accounts.instance.engine].semantics.no_inherit
    former = {row.database for row in difference.unseen if row.object_id is None}
    for row in sorted(difference.begun()):
        if (row.kind, row.privilege) == option:
            log.entry(row.account_id, "options", "options", {"option": "inherit", "added": False})
        elif not (row.denied and row.database in former and objects.is_built_in(row)):
            # Earlier releases did not say which shipped rights had been taken away.
            log.entry(row.account_id, "privileges", "granted", row.described())
    recreated = set()
    for row, reason in sorted(difference.over.items()):
        is_owner_gone = row.account_id in accounts.gone_ids
        if reason == Ended.UNRECORDED:
            continue
        if (row.kind, row.privilege) == option and not is_owner_gone:
            log.entry(row.account_id, "options", "options", {"option": "inherit", "added": True})
            continue
        dropped = {"dropped": True} if reason == Ended.DROPPED and not is_owner_gone else {}
        log.entry(row.account_id, "privileges", "revoked", row.described() | dropped)
        if dropped and objects.is_recreated(row):
            recreated.add((row.account_id, row.kind, row.scope))
    for account_id, kind, scope in sorted(recreated):
        log.entry(account_id, "privileges", "recreated", {"kind": kind, "scope": scope})


def _log_renames(difference: Difference[GrantRow], objects: Objects, log: ChangeLog) -> None:
    moved = {old: new for old, new in difference.continued.items() if old.scope != new.scope}
    if not moved:
        return
    renames = Renames(moved, objects.databases)
    lines = {(old.account_id, *renames.outermost(old.kind, old.scope, new.scope)) for old, new in moved.items()}
    for account_id, kind, before, after in sorted(lines):
        log.entry(account_id, "objects", "renamed_objects", {"kind": kind, "from": before, "to": after})
