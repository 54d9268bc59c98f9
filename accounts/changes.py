"""The change log of one visit: collected by account, saved in one statement."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from sync.models import SyncRecord

from .bulk import insert
from .models import AccountChange
from .rows import GRANT_COLUMNS, MEMBERSHIP_COLUMNS, GrantRow, MembershipRow

#: Fields that do not make an "attributes changed": each has an event of its own, or is not reported.
_QUIET = {"is_locked", "native_id", "is_filtered", "last_login_at"}


class ChangeLog:
    """Collects the events and details of accounts; `save()` writes them."""

    def __init__(self, at: datetime, record: SyncRecord, *, baseline: bool) -> None:
        self.at = at
        self.record = record
        self.baseline = baseline
        self._events: dict[int, list[str]] = defaultdict(list)
        self._attributes: dict[int, dict[str, list[object]]] = {}
        self._lists: dict[int, dict[str, list[dict[str, object]]]] = defaultdict(lambda: defaultdict(list))

    def event(self, account_id: int, event: str) -> None:
        self._events[account_id].append(event)

    def attributes(
        self, account_id: int, before: Mapping[str, object], after: Mapping[str, object], *, back: bool
    ) -> None:
        """Log the differences between two sets of `account_index.FIELDS`. `after` lacks the fields that cannot be
        compared; `before` may hold times as text."""
        if "is_locked" in after and before["is_locked"] != after["is_locked"]:
            self.event(account_id, "locked" if after["is_locked"] else "unlocked")
        if before["native_id"] and after["native_id"] != before["native_id"] and not back:
            self.event(account_id, "recreated")
        changed = {
            field: [plain(before[field]), plain(value)]
            for field, value in after.items()
            if field not in _QUIET and before[field] != value and plain(before[field]) != plain(value)
        }
        if changed:
            self.event(account_id, "attributes")
            self._attributes[account_id] = changed

    def grants(self, new: Iterable[GrantRow], over: Iterable[GrantRow]) -> None:
        if self.baseline:
            self._baseline(new, "privileges")
            return
        for word, rows in (("granted", new), ("revoked", over)):
            for account_id, *grant in sorted(rows):
                self._list(account_id, "privileges", word).append(dict(zip(GRANT_COLUMNS[1:-2], grant, strict=True)))

    def memberships(
        self, new: Iterable[MembershipRow], over: Iterable[MembershipRow], names: Mapping[int, str]
    ) -> None:
        if self.baseline:
            self._baseline(new, "memberships")
            return
        for word, rows in (("joined", new), ("left", over)):
            for member, role, *options in sorted(rows):
                details = dict(zip(MEMBERSHIP_COLUMNS[2:-2], options, strict=True))
                self._list(member, "memberships", word).append({"role": names[role]} | details)

    def _baseline(self, new: Iterable[GrantRow | MembershipRow], event: str) -> None:
        """Log the event without details: the intervals that begin with the first visit hold them."""
        for account_id in {row[0] for row in new}:
            self.event(account_id, event)

    def _list(self, account_id: int, event: str, word: str) -> list[dict[str, object]]:
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


def plain(value: object) -> object:
    """A value as JSON stores it."""
    return value.isoformat() if isinstance(value, datetime) else value
