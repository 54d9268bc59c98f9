"""The change log of one visit: collected by account, saved in one statement."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone

from sync.models import SyncRecord

from .bulk import insert
from .models import AccountChange

#: Fields that are never in the details: their event says it, or nothing is reported.
_QUIET = {"is_locked", "native_id", "is_filtered", "last_login_at"}
#: Fields with events of their own. Changes of others are "attributes".
_EVENTS = {"password_changed_at": "password", "valid_until": "end_date"}


class ChangeLog:
    """Collects the events and details of accounts; `save()` writes them."""

    def __init__(self, at: datetime, record: SyncRecord, *, baseline: bool) -> None:
        self.at = at
        self.record = record
        self.baseline = baseline
        self._events: dict[int, list[str]] = defaultdict(list)
        self._details: dict[int, dict[str, Any]] = defaultdict(dict)

    def event(self, account_id: int, event: str) -> None:
        if event not in self._events[account_id]:
            self._events[account_id].append(event)

    def entry(self, account_id: int, event: str, word: str, entry: Mapping[str, object]) -> None:
        """Log the event, and add an entry to the list under `word` in its details."""
        self.event(account_id, event)
        self._details[account_id].setdefault(word, []).append(dict(entry))

    def first_seen(self, account_ids: Iterable[int], event: str) -> None:
        """Log the event without details: the intervals that begin with the first visit hold them."""
        for account_id in set(account_ids):
            self.event(account_id, event)

    def renamed(self, account_id: int, before: str, after: str, *, is_certain: bool) -> None:
        self.event(account_id, "renamed" if is_certain else "probably_renamed")
        self._details[account_id]["renamed"] = [before, after]

    def attributes(
        self,
        account_id: int,
        before: Mapping[str, object],
        after: Mapping[str, object],
        visited_at: datetime | None,
    ) -> None:
        """Log the differences between two sets of `account_index.FIELDS`. `after` lacks the fields that cannot be
        compared; `before` is of the visit at `visited_at`, and may hold times as text."""
        if "is_locked" in after and before["is_locked"] != after["is_locked"]:
            self.event(account_id, "locked" if after["is_locked"] else "unlocked")
        changed = {
            field: [plain(before[field]), plain(value)]
            for field, value in after.items()
            if field not in _QUIET and before[field] != value and plain(before[field]) != plain(value)
        }
        has_expired = changed.get("password_expired", [None, False])[1] is True
        if has_expired or (_passed(after, timezone.now()) and not _passed(before, visited_at)):
            self.event(account_id, "expired")
        for field in changed:
            if not (field == "password_expired" and has_expired):
                self.event(account_id, _EVENTS.get(field, "attributes"))
        if changed:
            self._details[account_id]["attributes"] = changed

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
                    tuple(events),
                    "{}" if self.baseline else json.dumps(self._details.get(account_id, {})),
                    self.baseline,
                )
                for account_id, events in sorted(self._events.items())
            ),
        )
        return len(self._events)


def plain(value: object) -> object:
    """A value as JSON stores it."""
    return value.isoformat() if isinstance(value, datetime) else value


def _passed(fields: Mapping[str, object], at: datetime | None) -> bool:
    """Whether the end date was in the past at that time. It may be text, or missing if it could not be read."""
    until = fields.get("valid_until")
    until = datetime.fromisoformat(until) if isinstance(until, str) else until
    return isinstance(until, datetime) and at is not None and until <= at
