"""A model of what visits should say about a server, kept from the server's own answers. Imports nothing of the product.

`Book` compares the truth of each visit with that of the visit before: who and what is new, gone, renamed; which
options, grantors and names changed; and since which visit each possession has been held without interruption. What
could not be read stays as it was, unless the account, or the database that holds it, is gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Id = Hashable
#: Account, kind, object, privilege, whether it is taken away; or member and role.
Key = tuple[Any, ...]
Line = tuple[str, str, str]
"""Kind, path before, path after."""

#: Account attributes → the event that a change of it is; others are "attributes".
EVENTS = {"password_changed_at": "password", "valid_until": "end_date"}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def dotted(*names: str) -> str:
    """A path: names that are not plain words are quoted."""
    plain = [
        name and not any(c in '."()' or c.isspace() or ord(c) < 32 or ord(c) == 127 for c in name) for name in names
    ]
    return ".".join(name if is_plain else quoted(name) for name, is_plain in zip(names, plain, strict=True))


@dataclass(frozen=True)
class Held:
    """What a possession looks like. `place` holds (kind, id, path) from the outermost container to the object itself;
    `grantors` are ids. `since` and `seen` are numbers of visits: the first without interruption, and the last."""

    options: Mapping[str, bool]
    grantors: frozenset[Any] = frozenset()
    place: tuple[Line, ...] = ()
    database: str = ""
    since: int = 0
    seen: int = 0

    @property
    def scope(self) -> str:
        return self.place[-1][2] if self.place else ""


@dataclass(frozen=True)
class Truth:
    """What a server has at one moment. `people`: account → attributes, with its label as "label". `fate` says what
    became of a grant that is missing: "revoked", "dropped", "either" or "unread". `moved` gives the place of one
    that was not read. `no_inherit` is the attribute that is reported as an option of the role."""

    people: Mapping[Id, Mapping[str, Any]]
    grants: Mapping[Key, Held]
    memberships: Mapping[Key, Held]
    fate: Callable[[Key, Held], str] = lambda key, held: "revoked"
    moved: Callable[[Key, Held], Held] = lambda key, held: held
    expired: frozenset[Any] = frozenset()


@dataclass
class News:
    """What the change log should say of one account. `lines` are renames that it must have, `possible` those that it
    may have."""

    events: set[str] = field(default_factory=set)
    renamed: tuple[str, str] | None = None
    attributes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    lists: dict[str, set[Any]] = field(default_factory=lambda: defaultdict(set))
    lines: set[Line] = field(default_factory=set)
    possible: set[Line] = field(default_factory=set)

    def add(self, event: str, word: str, entry: Any) -> None:
        self.events.add(event)
        self.lists[word].add(entry)


class Book:
    """What a careful reader of all visits knows. `ended` maps each possession that ended at the last visit to its
    fate."""

    def __init__(self) -> None:
        self.visits = 0
        self.people: dict[Id, Mapping[str, Any]] = {}
        #: Accounts that are gone: id → the attributes that were seen last.
        self.gone: dict[Id, Mapping[str, Any]] = {}
        self.grants: dict[Key, Held] = {}
        self.memberships: dict[Key, Held] = {}
        self.ended: dict[Key, str] = {}
        self.changed: set[Key] = set()
        self.expired: frozenset[Any] = frozenset()

    def label(self, account: Id) -> str:
        """The label that the account has, or had last; a grantor that is no account is its own label."""
        found = self.people.get(account) or self.gone.get(account)
        return str(found["label"] if found else account)

    def visit(self, truth: Truth) -> dict[Id, News]:
        """Turn the page. Returns account → what happened to it since the last visit."""
        self.visits += 1
        before = dict(self.people)
        news: dict[Id, News] = defaultdict(News)
        self._people(truth, news)
        self.ended, self.changed = {}, set()
        self.grants = self._possessions(truth, self.grants, truth.grants, news, is_membership=False)
        self.memberships = self._possessions(truth, self.memberships, truth.memberships, news, is_membership=True)
        assert self.people.keys() | self.gone.keys() >= before.keys()
        return news

    def _people(self, truth: Truth, news: dict[Id, News]) -> None:
        for account in self.people.keys() - truth.people.keys():
            news[account].events.add("disappeared")
            self.gone[account] = self.people[account]
        former = {attributes["label"] for attributes in self.gone.values()}
        for account, after in truth.people.items():
            if account not in self.people:
                is_back = account in self.gone
                label = after["label"]
                event = "reappeared" if is_back else "recreated" if label in former else "appeared"
                news[account].events.add(event)
                if not is_back:
                    continue
            before = self.people.get(account) or self.gone.pop(account)
            self._attributes(account, before, after, truth, news)
        self.people, self.expired = dict(truth.people), truth.expired

    def _attributes(
        self, account: Id, before: Mapping[str, Any], after: Mapping[str, Any], truth: Truth, news: dict[Id, News]
    ) -> None:
        if before["label"] != after["label"]:
            news[account].renamed = (before["label"], after["label"])
            news[account].events.add(after.get("renamed_as", "renamed"))
        if before["is_locked"] != after["is_locked"]:
            news[account].events.add("locked" if after["is_locked"] else "unlocked")
        changed = {
            name: (before[name], after[name])
            for name in after
            if name not in ("label", "is_locked", "renamed_as") and before[name] != after[name]
        }
        expired = account in truth.expired - self.expired
        if expired:
            news[account].events.add("expired")
        for name in changed:
            if not (name == "password_expired" and expired):
                news[account].events.add(EVENTS.get(name, "attributes"))
        if changed:
            news[account].attributes = changed

    def _possessions(
        self, truth: Truth, stored: dict[Key, Held], seen: Mapping[Key, Held], news: dict[Id, News], is_membership: bool
    ) -> dict[Key, Held]:
        now = {}
        began, over = [], []
        for key, held in seen.items():
            old = stored.get(key)
            since = old.since if old else self.visits
            now[key] = replace(held, since=since, seen=self.visits)
            if not old:
                began.append(key)
            else:
                self._changes(key, old, now[key], news, is_membership)
        for key, held in stored.items():
            if key in seen:
                continue
            owners = key[:2] if is_membership else key[:1]
            is_owned = all(owner in self.people for owner in owners)
            fate = "dropped" if not is_owned else "revoked" if is_membership else truth.fate(key, held)
            if fate == "unread":
                now[key] = truth.moved(key, held)
                self._changes(key, held, now[key], news, is_membership)
            else:
                self.ended[key] = fate
                over.append((key, held, fate))
        if self.visits > 1:
            self._log(stored, now, began, over, news, is_membership)
        return now

    def _changes(self, key: Key, old: Held, new: Held, news: dict[Id, News], is_membership: bool) -> None:
        account = key[0]
        described = self._described(key, new, is_membership)
        for option, value in new.options.items():
            if value != old.options[option]:
                news[account].add("options", "options", (*described, option, value))
                self.changed.add(key)
        if old.grantors and new.grantors and old.grantors != new.grantors:
            names = [
                frozenset(self.label(one) for one in grantors)
                for grantors in (new.grantors - old.grantors, old.grantors - new.grantors)
            ]
            news[account].add("grantors", "grantors", (*described, *names))
            self.changed.add(key)
        if old.scope != new.scope:
            news[account].events.add("objects")
            self.changed.add(key)
            must, may = renames(old.place, new.place)
            news[account].lines |= must
            news[account].possible |= may

    def _described(self, key: Key, held: Held, is_membership: bool) -> tuple[Any, ...]:
        if is_membership:
            return (self.label(key[1]),)
        _, kind, _, privilege, denied = key
        return kind, held.database, held.scope, privilege, denied

    def _log(
        self,
        stored: Mapping[Key, Held],
        now: Mapping[Key, Held],
        began: list[Key],
        over: list[tuple[Key, Held, str]],
        news: dict[Id, News],
        is_membership: bool,
    ) -> None:
        words = ("joined", "left") if is_membership else ("granted", "revoked")
        event = "memberships" if is_membership else "privileges"
        visible = {(key[1], held.scope) for key, held in now.items() if held.seen == self.visits and held.scope}
        for key in began:
            if not is_membership and key[3] == "NOINHERIT":
                news[key[0]].add("options", "options", ("inherit", False))
                continue
            described = self._described(key, now[key], is_membership)
            options = tuple(sorted(now[key].options.items()))
            news[key[0]].add(event, words[0], (*described, options))
        for key, held, fate in over:
            if not is_membership and key[3] == "NOINHERIT" and key[0] in self.people:
                news[key[0]].add("options", "options", ("inherit", True))
                continue
            described = self._described(key, held, is_membership)
            options = tuple(sorted(held.options.items()))
            # Of accounts that are gone, and of memberships, nothing is said about objects.
            dropped = fate if not is_membership and key[0] in self.people else ""
            news[key[0]].add(event, words[1], (*described, options, dropped))
            if dropped == "dropped" and (key[1], held.scope) in visible:
                news[key[0]].lists["recreated"].add((key[1], held.scope))


def renames(before: tuple[Line, ...], after: tuple[Line, ...]) -> tuple[set[Line], set[Line]]:
    """The lines that explain another path: those that must be there, and those that may be there.

    Where one name on the path has changed, or one object has moved, there is one way to say it. Where several have,
    either each is said, or the path of the inner one is said as a whole.
    """
    levels = []
    for number, ((kind, old_id, old), (_, new_id, new)) in enumerate(zip(before, after, strict=True)):
        inside = number > 0 and before[number - 1][1] != after[number - 1][1]
        own = (
            old.removeprefix(before[number - 1][2]) != new.removeprefix(after[number - 1][2]) if number else old != new
        )
        if old_id == new_id and (inside or own):
            levels.append((number, kind, old, new))
    if len(levels) == 1:
        line = levels[0][1:]
        return {line}, {line}
    possible = set()
    for number, kind, old, new in levels:
        possible.add((kind, old, new))
        for outer in range(number):
            # With the containers up to that one under their new names.
            possible.add((kind, after[outer][2] + old.removeprefix(before[outer][2]), new))
    return set(), possible
