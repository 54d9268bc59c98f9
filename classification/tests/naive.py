"""A store in memory, and what a rule says of it, computed the obvious slow way."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from classification.rules import Ask, Every, Opposite, Part, Some
from instances.adapters import ENGINES
from instances.adapters.semantics import name_of, segments


@dataclass
class Interval:
    since: datetime
    until: datetime | None

    def holds(self, at: datetime | None) -> bool:
        return self.until is None if at is None else self.since <= at and (self.until is None or self.until > at)


@dataclass
class Membership(Interval):
    member: str
    role: str
    admin: bool
    inherit: bool
    switch: bool


@dataclass
class Grant(Interval):
    account: str
    kind: str
    database: str
    scope: str
    privilege: str
    grantable: bool
    denied: bool


@dataclass
class Coverage(Interval):
    beyond: tuple[str, ...]
    gaps: list[dict[str, str]]
    unread: tuple[str, ...] = ()


@dataclass
class Account:
    name: str
    fields: dict[str, Any]
    #: field → [(changed at, what it was before)]
    before: dict[str, list[tuple[datetime, Any]]] = field(default_factory=dict)
    #: (code, while a person says so)
    assigned: list[tuple[str, Interval]] = field(default_factory=list)


@dataclass
class Server:
    """One instance."""

    name: str
    engine: str
    tags: tuple[str, ...]
    accounts: dict[str, Account]
    memberships: list[Membership]
    grants: list[Grant]
    coverage: list[Coverage]


Answer = bool | None


def like(pattern: str, text: str) -> bool:
    wild = {"*": ".*", "?": "."}
    return bool(re.fullmatch("".join(wild.get(char) or re.escape(char) for char in pattern), text, re.DOTALL))


class Naive:
    def __init__(self, server: Server, at: datetime | None, now: datetime) -> None:
        self.server, self.at, self.moment = server, at, at or now
        self.semantics = ENGINES[server.engine].semantics

    def says(self, part: Part, account: Account) -> Answer:
        match part:
            case Every(parts=parts):
                answers = [self.says(one, account) for one in parts]
                return False if False in answers else None if None in answers else True
            case Some(parts=parts):
                answers = [self.says(one, account) for one in parts]
                return True if True in answers else None if None in answers else False
            case Opposite(part=one):
                answer = self.says(one, account)
                return None if answer is None else not answer
            case Ask():
                return self.ask(part, account)
        raise TypeError(part)

    def value(self, account: Account, name: str) -> Any:
        """A field then; "unread" if visits said they could not read it."""
        unread = any(name in read.unread for read in self.read())
        if unread and (self.at or account.fields[name] is None):
            return "unread"
        later = [was for at, was in sorted(account.before.get(name, [])) if self.at and at > self.at]
        if later:
            return later[0]
        value = account.fields[name]
        return account.fields["last_known"].get(name) if self.at and value is None else value

    def read(self, at: datetime | None = None) -> list[Coverage]:
        return [read for read in self.server.coverage if read.holds(at or self.at)]

    def ask(self, ask: Ask, account: Account) -> Answer:
        word, texts = ask.word, ask.texts
        fields = {"superuser": "is_superuser", "can_login": "can_login", "locked": "is_locked"}
        match word:
            case "superuser" | "can_login" | "locked" | "password_expired":
                value = self.value(account, fields.get(word, word))
                return None if value == "unread" else value
            case "is_role" | "is_public":
                kind = self.value(account, "kind")
                return None if kind in ("unread", None) else kind == word.removeprefix("is_")
            case "is_system":
                return account.fields["is_system"]
            case "filtered":
                return account.fields["is_filtered"]
            case "expires" | "expired":
                ends = self.value(account, "valid_until")
                if ends == "unread":
                    return None
                return ends is not None and (word == "expires" or ends <= self.moment)
            case "engine":
                return self.server.engine in texts
            case "instance":
                return any(like(text, self.server.name) for text in texts)
            case "instance_tag":
                return any(like(text, tag) for text in texts for tag in self.server.tags)
            case "name" | "host":
                return any(like(text, account.fields[word]) for text in texts)
            case "auth":
                method = self.value(account, "auth_method")
                return None if method in ("unread", "", None) else any(like(text, method) for text in texts)
            case "assigned":
                return any(
                    held.holds(self.at) and like(text, code) for text in texts for code, held in account.assigned
                )
            case "member_of":
                return self.member_of(ask, account)
            case "attribute":
                return self.has(Ask("", "has", texts, {"kind": "attribute", "direct": True}), account)
            case "has":
                return self.has(ask, account)
            case "gained":
                return self.since(ask, account, timedelta(hours=ask.options["within_hours"]), gained=True)
            case "held_days":
                return self.since(ask, account, timedelta(days=ask.options["more_than"]), gained=False)
        number = self.number(word, account)
        if number is None:
            return None
        return eval(f"number {ask.operator} {ask.value}", {"number": number})

    def number(self, word: str, account: Account) -> float | None:
        name = {"password_age_days": "password_changed_at", "valid_days": "valid_until"}.get(word, word)
        match word:
            case "unused_days":
                return None
            case "known_days":
                return (self.moment - account.fields["first_seen_at"]) / timedelta(days=1)
        value = self.value(account, name)
        if value == "unread" or (value is None and word == "password_age_days"):
            return None
        if value is None:
            return float("inf")
        if word == "connection_limit":
            return value
        return (self.moment - value if word == "password_age_days" else value - self.moment) / timedelta(days=1)

    def since(self, ask: Ask, account: Account, ago: timedelta, *, gained: bool) -> Answer:
        now, steadily = self.has(ask, account), self.has(ask, account, self.moment - ago)
        if gained:
            steadily = None if steadily is None else not steadily
        return False if False in (now, steadily) else None if None in (now, steadily) else True

    def edges(self, since: datetime | None = None) -> list[Membership]:
        return [m for m in self.server.memberships if m.holds(self.at) and (since is None or m.since <= since)]

    def reached(self, name: str, edges: list[Membership]) -> set[str]:
        found = {name}
        while more := {m.role for m in edges if m.member in found} - found:
            found |= more
        return found

    def member_of(self, ask: Ask, account: Account) -> Answer:
        edges = self.edges()
        steps = {account.name} if ask.options.get("direct") else self.reached(account.name, edges)
        for m in edges:
            passes = m.admin or not ask.options.get("admin")
            # The last step decides; whoever gets there by any steps is a member.
            if m.member in steps and passes and like(ask.texts[0], m.role) and m.role != account.name:
                return True
        return None if self.unread({"memberships"}, "") else False

    def unread(self, needed: set[str], database: str, at: datetime | None = None) -> bool:
        read = self.read(at)
        if not read:
            return True
        if not needed:
            return False
        return bool(needed & set(read[0].beyond)) or any(
            gap["scope"] in needed | {"accounts"} and (not database or gap["database"] in ("", database))
            for gap in read[0].gaps
        )

    def has(self, ask: Ask, account: Account, since: datetime | None = None) -> Answer:
        edges = self.edges(since)
        switchable = self.reached(account.name, [m for m in edges if m.switch])
        reached = {role for one in switchable for role in self.reached(one, [m for m in edges if m.inherit])}
        everybody = {one.name for one in self.server.accounts.values() if one.fields["kind"] == "public"}
        direct = ask.options.get("direct")
        grants = [g for g in self.server.grants if g.holds(self.at) and (since is None or g.since <= since)]
        for grant in grants:
            if not self.fits(grant, ask):
                continue
            personal = grant.kind in self.semantics.personal
            if grant.account == account.name:
                return True
            if direct:
                continue
            if grant.account in (switchable if personal else reached) or (grant.account in everybody and not personal):
                return True
            if grant.account == self.semantics.database_role:
                for own in grants:
                    if (own.kind, own.privilege, own.database) == ("database", "OWNER", grant.database):
                        stingy = any(
                            g.account == own.account and (g.kind, g.privilege) == self.semantics.no_inherit
                            for g in self.server.grants
                            if g.holds(self.at)
                        )
                        if own.account in (switchable if stingy else reached):
                            return True
        path = ask.options.get("on")
        parts = segments(str(path)) if path else []
        database = name_of(parts[0]) if parts and not re.search(r"[*?]", parts[0]) else ""
        needed = self.needed(ask, parts)
        if needed and not direct:
            needed |= {"memberships"}
        return None if self.unread(needed, database, since) else False

    def needed(self, ask: Ask, parts: list[str]) -> set[str]:
        path, kind = ask.options.get("on"), ask.options.get("kind")
        kinds = set(self.semantics.paths)
        if kind:
            kinds = {str(kind)}
        elif path is not None:
            wild = bool(re.search(r"[*?]", str(path)))
            kinds = {
                one
                for one, length in self.semantics.paths.items()
                if length == len(parts) or (wild and path and length > len(parts))
            }
        if path:
            fitting = [kind] if kind in self.semantics.paths else [] if kind else list(self.semantics.paths)
            for one in fitting:
                if self.semantics.paths[one] == len(parts):
                    kinds |= {one, *self.semantics.containers.get(one, ())}
        said = self.semantics.privileges
        return {one for one in kinds if one not in said or any(like(ask.texts[0], word) for word in said[one])}

    def fits(self, grant: Grant, ask: Ask) -> bool:
        if grant.denied or not like(ask.texts[0], grant.privilege):
            return False
        kind, path = ask.options.get("kind"), ask.options.get("on")
        if grant.kind == "default" and kind != "default":
            return False
        if ask.options.get("grantable") not in (None, grant.grantable):
            return False
        if path is None or path == "":
            return (not kind or grant.kind == kind) and (path is None or grant.scope == "")
        parts = segments(str(path))
        if grant.scope and like(".".join(parts), grant.scope) and (not kind or grant.kind == kind):
            return True
        database = "" if re.search(r"[*?]", parts[0]) else name_of(parts[0])
        for one, length in self.semantics.paths.items():
            if length != len(parts) or (kind and one != kind):
                continue
            for holder in (one, *self.semantics.containers.get(one, ())):
                if grant.kind != holder:
                    continue
                if holder == "system" and database:
                    return not any(
                        g.denied and (g.account, g.privilege, g.database) == (grant.account, grant.privilege, database)
                        for g in self.server.grants
                        if g.holds(self.at)
                    )
                if like(".".join(parts[: self.semantics.paths[holder]]), grant.scope):
                    return True
                if holder == "database" and self.semantics.patterns and database and sql_like(grant.scope, database):
                    return True
        return False


def sql_like(pattern: str, text: str) -> bool:
    r"""LIKE, of a pattern such as `app\_%`."""
    steps = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    regex = "".join(wild.get(step) or re.escape(step[-1]) for step in steps)
    return bool(re.fullmatch(regex, text, re.DOTALL))
