"""What the store holds and what its change log says, in the terms of `reference_history`, for comparison."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from typing import Any

from accounts.models import Account, AccountChange, Grant, Membership
from accounts.tests.reference_history import Book, Held, Key, News
from instances.models import Instance
from sync.models import SyncRecord

Id = Hashable
OPTIONS = ("admin_option", "inherit", "set_option")


class Store:
    """An instance in the store. `identify` gives the id in the reference of an account; without it, a row is the
    account that had its name when the row came. `is_ours` says which accounts the reference knows; nothing may happen
    to the others. `object_id` gives the id that the store should have for the object of a possession."""

    def __init__(
        self,
        instance: Instance,
        attributes: tuple[str, ...],
        identify: Callable[[Account], Id] | None = None,
        is_ours: Callable[[Account], bool] = lambda account: True,
        object_id: Callable[[Key], str] = lambda key: "",
    ) -> None:
        self.instance = instance
        self.attributes = attributes
        self.identify = identify
        self.is_ours = is_ours
        self.object_id = object_id
        self.ids: dict[int, Id] = {}
        #: When each visit began → its number.
        self.numbers: dict[datetime, int] = {}
        self.states: list[tuple[datetime, dict[Any, Any]]] = []

    def visited(self, record: SyncRecord, book: Book, news: Mapping[Id, News]) -> None:
        """Compare after a visit."""
        assert record.status in ("completed", "partial"), (record.status, record.error, record.gaps)
        self.now = record.started_at
        self.numbers[record.started_at] = book.visits
        by_label = {of["label"]: one for one, of in book.people.items()}
        for account in self._accounts():
            if account.pk not in self.ids:
                self.ids[account.pk] = self.identify(account) if self.identify else by_label[str(account)]
        assert len(set(self.ids.values())) == len(self.ids), "two rows for one account"
        self._compare("accounts", self.accounts(), expected_accounts(book, self.attributes))
        grants, memberships = expected_rows(book, self.object_id)
        self._compare("grants", self.grants(), grants)
        self._compare("memberships", self.memberships(), memberships)
        self.compare_ended(book)
        if book.visits > 1:
            self.compare_log(record, news)
        else:
            assert not AccountChange.objects.filter(account__instance=self.instance, baseline=False).exists()
        self.states.append((record.started_at, state(book)))

    def _accounts(self) -> list[Account]:
        return [account for account in Account.objects.filter(instance=self.instance) if self.is_ours(account)]

    def _compare(self, what: str, stored: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
        keys = stored.keys() | expected.keys()
        wrong = {key: (stored.get(key), expected.get(key)) for key in keys if stored.get(key) != expected.get(key)}
        assert not wrong, f"{what}: (stored, expected) {wrong}"

    def _number(self, moment: datetime | None) -> int | None:
        return None if moment is None else self.numbers[moment]

    def accounts(self) -> dict[Any, Any]:
        return {
            self.ids[account.pk]: (
                str(account),
                account.gone_at is None,
                *(text(getattr(account, name)) for name in self.attributes),
            )
            for account in self._accounts()
        }

    def grants(self) -> dict[Key, Any]:
        return {
            (self.ids[row.account_id], row.kind, row.object_id, row.scope, row.privilege, row.denied): (
                row.database, row.grantable, tuple(row.grantors), self._number(row.held_since),
                self._number(row.unobserved_since),
            )
            for row in Grant.objects.filter(account__in=self.ids, until=None)
        }  # fmt: skip

    def memberships(self) -> dict[Key, Any]:
        return {
            (self.ids[row.member_id], self.ids[row.role_id]): (
                *(getattr(row, option) for option in OPTIONS), tuple(row.grantors), self._number(row.held_since),
                self._number(row.unobserved_since),
            )
            for row in Membership.objects.filter(member__in=self.ids, until=None)
        }  # fmt: skip

    def compare_ended(self, book: Book) -> None:
        """Rows that ended with this visit, by their reason."""
        stored: dict[Any, str | None] = {}
        for row in Grant.objects.filter(account__in=self.ids, until=self.now):
            key = (self.ids[row.account_id], row.kind, row.object_id or row.scope, row.privilege, row.denied)
            assert key not in stored
            stored[key] = row.ended
        for row in Membership.objects.filter(member__in=self.ids, until=self.now):
            stored[self.ids[row.member_id], self.ids[row.role_id]] = row.ended
        expected: dict[Any, str | None] = dict.fromkeys(book.changed, "changed")
        for key, fate in book.ended.items():
            is_either = fate == "either" and stored.get(key) in ("revoked", "dropped")
            expected[key] = stored[key] if is_either else fate
        self._compare("ended rows", stored, expected)

    def compare_log(self, record: SyncRecord, news: Mapping[Id, News]) -> None:
        rows = AccountChange.objects.filter(account__instance=self.instance, at=self.now)
        # MariaDB makes the superuser a member of the roles that it creates.
        assert all(set(change.events) == {"memberships"} for change in rows if change.account_id not in self.ids)
        changes = {self.ids[change.account_id]: change for change in rows if change.account_id in self.ids}
        assert all(change.record_id == record.pk and not change.baseline for change in changes.values())
        stored = {one: logged(change) for one, change in changes.items()}
        expected = {one: plain(of) for one, of in news.items() if of.events}
        for one in stored.keys() & expected.keys():
            lines, of = stored[one].pop("lines"), news[one]
            assert of.lines <= lines <= of.possible, f"renamed objects of {one}: {lines}, not {of.lines}"
            # Of these the server does not say whether the object is gone, too.
            either = {entry[:-1] for entry in of.lists["revoked"] if entry[-1] == "either"}
            stored[one]["revoked"] = {
                (*entry[:-1], "either") if entry[:-1] in either else entry for entry in stored[one]["revoked"]
            }
            stored[one]["recreated"] -= {(entry[0], entry[2]) for entry in either}
        self._compare("change log", stored, expected)

    def compare_past(self) -> None:
        """At the end: what held at each visit is still known."""
        for moment, expected in self.states:
            stored: dict[Any, Any] = {}
            for row in Grant.objects.filter(account__in=self.ids).at(moment):
                key = (self.ids[row.account_id], row.kind, row.object_id or row.scope, row.privilege, row.denied)
                stored[key] = (row.scope, row.grantable)
            for row in Membership.objects.filter(member__in=self.ids).at(moment):
                ends = self.ids[row.member_id], self.ids[row.role_id]
                stored[ends] = tuple(getattr(row, option) for option in OPTIONS)
            self._compare(f"what held at visit {self.numbers[moment]}", stored, expected)


def text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def expected_accounts(book: Book, attributes: tuple[str, ...]) -> dict[Id, Any]:
    found = {}
    for people, is_there in ((book.people, True), (book.gone, False)):
        found |= {one: (of["label"], is_there, *(of[name] for name in attributes)) for one, of in people.items()}
    return found


def expected_rows(book: Book, object_id: Callable[[Key], str]) -> tuple[dict[Key, Any], dict[Key, Any]]:
    def common(held: Held) -> tuple[Any, ...]:
        grantors = tuple(sorted(book.label(one) for one in held.grantors))
        return grantors, held.since, None if held.seen == book.visits else held.seen

    grants = {
        (key[0], key[1], object_id(key), held.scope, *key[3:]): (
            held.database,
            held.options["grantable"],
            *common(held),
        )
        for key, held in book.grants.items()
    }
    memberships = {
        key: (*(held.options[option] for option in OPTIONS), *common(held)) for key, held in book.memberships.items()
    }
    return grants, memberships


def state(book: Book) -> dict[Key, Any]:
    """What holds, without what may be said of it later in another way."""
    rows: dict[Key, Any] = {key: (held.scope, held.options["grantable"]) for key, held in book.grants.items()}
    return rows | {key: tuple(held.options[option] for option in OPTIONS) for key, held in book.memberships.items()}


def plain(news: News) -> dict[str, Any]:
    return {
        "events": news.events,
        "renamed": news.renamed,
        "attributes": {name: tuple(pair) for name, pair in news.attributes.items()},
        **{word: news.lists.get(word, set()) for word in WORDS},
    }


WORDS = ("granted", "revoked", "joined", "left", "options", "grantors", "recreated")


def logged(change: AccountChange) -> dict[str, Any]:
    """The same of a line of the change log. An entry that stands twice is a fault."""
    details = change.details
    described: dict[str, Any] = {"events": set(change.events)}
    assert len(change.events) == len(described["events"])
    described["renamed"] = tuple(details["renamed"]) if "renamed" in details else None
    described["attributes"] = {name: tuple(pair) for name, pair in details.get("attributes", {}).items()}
    gone = "disappeared" in change.events
    for word in WORDS:
        entries = [_entry(word, entry, gone) for entry in details.get(word, ())]
        described[word] = set(entries)
        assert len(entries) == len(described[word]), (word, entries)
    lines = [(line["kind"], line["from"], line["to"]) for line in details.get("renamed_objects", ())]
    assert len(lines) == len(set(lines)), lines
    described["lines"] = set(lines)
    return described


def _entry(word: str, entry: Mapping[str, Any], gone: bool) -> tuple[Any, ...]:
    if word == "recreated":
        return entry["kind"], entry["scope"]
    if "privilege" in entry:
        of = tuple(entry[name] for name in ("kind", "database", "scope", "privilege", "denied"))
        options = (("grantable", entry["grantable"]),)
    elif "role" in entry:
        of = (entry["role"],)
        options = tuple((option, entry[option]) for option in OPTIONS if option in entry)
    else:
        of = ()
    if word == "options":
        return *of, entry["option"], entry["added"]
    if word == "grantors":
        return *of, frozenset(entry["added"]), frozenset(entry["removed"])
    if word in ("granted", "joined"):
        return *of, options
    is_object = word == "revoked" and not gone
    return *of, options, ("dropped" if entry.get("dropped") else "revoked") if is_object else ""
