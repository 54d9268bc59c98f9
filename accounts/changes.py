"""The change log of one visit: collected by account, saved in one statement."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sync.models import SyncRecord

from .bulk import insert
from .models import AccountChange
from .rows import GrantRow, MembershipRow

#: Fields that are not reported.
_QUIET = {"native_id", "is_filtered", "last_login_at"}

#: Fields with an event of their own; the others make an "attributes".
_OWN_EVENTS = {
    "is_locked": "locked",
    "password_expired": "expired",
    "password_changed_at": "password",
    "valid_until": "end_date",
}


class ChangeLog:
    """Collects the events and details of accounts; `save()` writes them."""

    def __init__(
        self, at: datetime, record: SyncRecord, *, baseline: bool, no_inherit: tuple[str, str] | None = None
    ) -> None:
        """`no_inherit` is the (kind, privilege) of roles that do not inherit, as `Semantics` has it."""
        self.at = at
        self.record = record
        self.baseline = baseline
        self.no_inherit = no_inherit
        self._events: dict[int, list[str]] = defaultdict(list)
        self._attributes: dict[int, dict[str, list[object]]] = {}
        self._lists: dict[int, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))

    def event(self, account_id: int, event: str) -> None:
        self._events[account_id].append(event)

    def attributes(self, account_id: int, before: Mapping[str, object], after: Mapping[str, object]) -> None:
        """Log the differences between two sets of `account_index.FIELDS`. `after` lacks the fields that cannot be
        compared; `before` may hold times as text."""
        changed = {
            field: [plain(before[field]), plain(value)]
            for field, value in after.items()
            if field not in _QUIET and before[field] != value and plain(before[field]) != plain(value)
        }
        if not changed:
            return
        self._attributes[account_id] = changed
        for field, (_, value) in changed.items():
            event = _OWN_EVENTS.get(field, "attributes")
            if field == "is_locked":
                event = "locked" if value else "unlocked"
                if value and self._has_ended(after):
                    event = "expired"
            elif field == "password_expired" and not value:
                event = "attributes"
            if event not in self._events[account_id]:
                self.event(account_id, event)

    def _has_ended(self, after: Mapping[str, object]) -> bool:
        """Whether the end of validity has passed: where the engine has no lock, that is what locks an account."""
        end = after.get("valid_until")
        return isinstance(end, datetime) and end <= self.at

    def renamed(self, account_id: int, before: str, after: str, *, certain: bool) -> None:
        self.event(account_id, "renamed" if certain else "probably_renamed")
        self._lists[account_id]["renamed"] = [before, after]

    def grants(
        self,
        new: Collection[GrantRow],
        over: Mapping[GrantRow, str],
        continued: Iterable[tuple[GrantRow, GrantRow]],
        renamed: Iterable[tuple[GrantRow, tuple[str, str, str]]],
        recreated: Iterable[tuple[int, str, str]],
    ) -> None:
        """`renamed` holds a grant, and kind, old and new path of what was renamed; `recreated` account, kind and path
        of an object that was dropped and created again."""
        if self.baseline:
            self._baseline(new, "privileges")
            return
        for row in map(GrantRow._make, new):
            if not self._is_option(row, added=False):
                self._list(row.account_id, "privileges", "granted").append(_grant(row))
        for row, reason in over.items():
            if reason == "unrecorded" or self._is_option(row, added=True):
                continue
            dropped = {"dropped": True} if reason == "dropped" else {}
            self._list(row.account_id, "privileges", "revoked").append(_grant(row) | dropped)
        for before, after in continued:
            self._options(before.account_id, _grant(after), before, after)
        for row, (kind, old, new_path) in renamed:
            entries = self._list(row.account_id, "objects", "renamed_objects")
            entry = {"kind": kind, "from": old, "to": new_path}
            if entry not in entries:
                entries.append(entry)
        for account_id, kind, scope in sorted(recreated):
            self._list(account_id, "privileges", "recreated").append({"kind": kind, "scope": scope})

    def _is_option(self, row: GrantRow, *, added: bool) -> bool:
        """Log an attribute that only says that a role does not inherit: it is an option of the role."""
        if (row.kind, row.privilege) != self.no_inherit:
            return False
        self._list(row.account_id, "options", "options").append({"option": "inherit", "added": added})
        return True

    def memberships(
        self,
        new: Collection[MembershipRow],
        over: Mapping[MembershipRow, str],
        continued: Iterable[tuple[MembershipRow, MembershipRow]],
        names: Mapping[int, str],
    ) -> None:
        if self.baseline:
            self._baseline(new, "memberships")
            return
        for word, rows in (("joined", new), ("left", over)):
            for row in map(MembershipRow._make, rows):
                self._list(row.member_id, "memberships", word).append({"role": names[row.role_id]} | row.options)
        for before, after in continued:
            self._options(before.member_id, {"role": names[after.role_id]}, before, after)

    def _options(self, account_id: int, of: dict[str, object], before: Any, after: Any) -> None:
        """Log the options and grantors in which two rows of one possession differ."""
        for option, value in after.options.items():
            if before.options[option] != value:
                entry = of | {"option": option, "added": value}
                self._list(account_id, "options", "options").append(entry)
        if before.grantors != after.grantors:
            entry = of | {
                "added": sorted({*after.grantors} - {*before.grantors}),
                "removed": sorted({*before.grantors} - {*after.grantors}),
            }
            self._list(account_id, "grantors", "grantors").append(entry)

    def _baseline(self, new: Iterable[GrantRow | MembershipRow], event: str) -> None:
        """Log the event without details: the intervals that begin with the first visit hold them."""
        for account_id in {row[0] for row in new}:
            self.event(account_id, event)

    def _list(self, account_id: int, event: str, word: str) -> list[Any]:
        if event not in self._events[account_id]:
            self.event(account_id, event)
        return self._lists[account_id][word]

    def _details(self, account_id: int) -> str:
        if self.baseline:
            return "{}"
        details: dict[str, object] = dict(self._lists.get(account_id, {}))
        if account_id in self._attributes:
            details["attributes"] = self._attributes[account_id]
        return json.dumps(details)

    def save(self) -> int:
        """Write one row per account that changed. Returns how many."""
        at = self.at.isoformat()
        insert(
            AccountChange,
            ("account_id", "record_id", "at", "events", "details", "baseline"),
            (
                (
                    account_id,
                    self.record.pk,
                    at,
                    f"{{{','.join(events)}}}",
                    self._details(account_id),
                    self.baseline,
                )
                for account_id, events in sorted(self._events.items())
            ),
        )
        return len(self._events)


def _grant(row: GrantRow) -> dict[str, object]:
    """A grant as details hold it."""
    return {name: getattr(row, name) for name in ("kind", "database", "scope", "privilege", "denied", "grantable")}


def plain(value: object) -> object:
    """A value as JSON stores it."""
    return value.isoformat() if isinstance(value, datetime) else value
