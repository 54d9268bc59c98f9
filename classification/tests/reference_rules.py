"""A store in memory, and what a rule says of it, computed the obvious slow way.

Imports nothing of the product: rules are read with Python's parser, and how engines combine grants is written down here
from their manuals, for PostgreSQL and MySQL. Paths in rules hold no quotes here, as in test_queries.py.
"""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

#: Kind of object → how many parts its path has, and what a grant on it can say (None: anything).
#: https://www.postgresql.org/docs/current/ddl-priv.html
_ON_TABLES = "SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER MAINTAIN OWNER"
_POSTGRESQL: dict[str, tuple[int, str | None]] = {
    "attribute": (0, "SUPERUSER CREATEROLE CREATEDB REPLICATION BYPASSRLS LOGIN NOINHERIT"),
    "database": (1, "CREATE CONNECT TEMPORARY OWNER"),
    "tablespace": (1, "CREATE OWNER"),
    "parameter": (1, "SET ALTER_SYSTEM"),
    "schema": (2, "CREATE USAGE OWNER"),
    "language": (2, "USAGE OWNER"),
    "large_object": (2, "SELECT UPDATE OWNER"),
    "table": (3, _ON_TABLES),
    "sequence": (3, "USAGE SELECT UPDATE OWNER"),
    "routine": (3, "EXECUTE OWNER"),
    "type": (3, "USAGE OWNER"),
    "foreign": (3, "USAGE OWNER"),
    "column": (4, "SELECT INSERT UPDATE REFERENCES"),
}
#: https://dev.mysql.com/doc/refman/8.4/en/grant.html, "Privileges Supported by MySQL", and MariaDB's DELETE HISTORY
_OF_TABLES = (
    "SELECT INSERT UPDATE DELETE CREATE DROP GRANT_OPTION REFERENCES INDEX ALTER CREATE_VIEW SHOW_VIEW TRIGGER"
    " DELETE_HISTORY"
)
_MYSQL: dict[str, tuple[int, str | None]] = {
    "system": (0, None),
    "database": (
        1,
        f"{_OF_TABLES} EVENT CREATE_ROUTINE ALTER_ROUTINE EXECUTE LOCK_TABLES CREATE_TEMPORARY_TABLES"
        " SHOW_CREATE_ROUTINE",
    ),
    "table": (2, _OF_TABLES),
    "proxy": (2, "PROXY"),
    "routine": (3, "EXECUTE ALTER_ROUTINE GRANT_OPTION SHOW_CREATE_ROUTINE"),
    "column": (3, "SELECT INSERT UPDATE REFERENCES"),
}
KINDS = {"postgresql": _POSTGRESQL, "mysql": _MYSQL}
#: What a thing lies in, grants on which hold for it too.
AROUND = {
    "postgresql": {"column": ("table",)},
    "mysql": {
        "database": ("system",),
        "table": ("database", "system"),
        "routine": ("database", "system"),
        "column": ("table", "database", "system"),
    },
}
#: Roles of PostgreSQL that have privileges on all objects, without grants.
PREDEFINED = {
    "pg_read_all_data": {"table": "SELECT", "sequence": "SELECT", "column": "SELECT", "schema": "USAGE"},
    "pg_write_all_data": {
        "table": "INSERT UPDATE DELETE",
        "sequence": "UPDATE",
        "column": "INSERT UPDATE",
        "schema": "USAGE",
    },
}
#: Attributes of a role are not inherited: its members have them after SET ROLE.
PERSONAL = {"postgresql": ("attribute",), "mysql": ()}


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


@dataclass(frozen=True)
class Ask:
    """A word of a rule, with what stands in its brackets."""

    word: str
    texts: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


Answer = bool | None

#: Words about what no later visit can change of an account that is there.
LASTING = ["name", "host", "is_system", "known_days", "filtered", "engine", "instance", "instance_tag", "assigned"]

_COMPARED = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}


def like(pattern: str, text: str) -> bool:
    wild = {"*": ".*", "?": "."}
    return bool(re.fullmatch("".join(wild.get(char) or re.escape(char) for char in pattern), text, re.DOTALL))


class Naive:
    def __init__(self, server: Server, at: datetime | None, now: datetime, is_stale: bool = False) -> None:
        self.server, self.at, self.moment, self.is_stale = server, at, at or now, is_stale
        self.kinds, self.around = KINDS[server.engine], AROUND[server.engine]
        self.personal = PERSONAL[server.engine]

    def says(self, rule: str, account: Account) -> Answer:
        """What the rule says of the account: true, false, or None where it is not known."""
        return self.judge(ast.parse(rule, mode="eval").body, account)

    def judge(self, node: ast.expr, account: Account) -> Answer:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                answers = [self.judge(one, account) for one in parts]
                return False if False in answers else None if None in answers else True
            case ast.BoolOp(op=ast.Or(), values=parts):
                answers = [self.judge(one, account) for one in parts]
                return True if True in answers else None if None in answers else False
            case ast.UnaryOp(op=ast.Not(), operand=one):
                answer = self.judge(one, account)
                return None if answer is None else not answer
            case ast.Name(id=word):
                return self.ask(Ask(word), account)
            case ast.Call(func=ast.Name(id=word)):
                texts = tuple(ast.literal_eval(one) for one in node.args)
                options = {str(one.arg): ast.literal_eval(one.value) for one in node.keywords}
                return self.ask(Ask(word, texts, options), account)
            case ast.Compare(left=ast.Name(id=word), ops=[sign], comparators=[value]):
                number = self.number(word, account)
                if number is None:
                    return None
                return bool(_COMPARED[type(sign)](number, ast.literal_eval(value)))
        raise TypeError(ast.dump(node))

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
        if self.is_stale and word not in LASTING:
            return None
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
                return self.has(Ask("has", texts, {"kind": "attribute", "direct": True}), account)
            case "has":
                return self.has(ask, account)
            case "gained":
                return self.since(ask, account, timedelta(hours=ask.options["within_hours"]), gained=True)
            case "held_days":
                return self.since(ask, account, timedelta(days=ask.options["more_than"]), gained=False)
        raise ValueError(f"the reference does not know the word {word}")

    def number(self, word: str, account: Account) -> float | None:
        if self.is_stale and word not in LASTING:
            return None
        name = {"password_age_days": "password_changed_at", "valid_days": "valid_until"}.get(word, word)
        match word:
            case "unused_days":
                last = account.fields["last_login_at"]
                if last is None or (self.at is not None and last > self.at):
                    return None
                return (self.moment - last) / timedelta(days=1)
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
            personal = grant.kind in self.personal
            if grant.account == account.name:
                return True
            if direct:
                continue
            if grant.account in (switchable if personal else reached) or (grant.account in everybody and not personal):
                return True
            if grant.account == "pg_database_owner":
                for own in grants:
                    if (own.kind, own.privilege, own.database) == ("database", "OWNER", grant.database):
                        stingy = any(
                            g.account == own.account and (g.kind, g.privilege) == ("attribute", "NOINHERIT")
                            for g in self.server.grants
                            if g.holds(self.at)
                        )
                        if own.account in (switchable if stingy else reached):
                            return True
        path = ask.options.get("on")
        parts = path.split(".") if path else []
        if not direct and self.by_nature(ask, parts, account, grants, switchable, reached):
            return True
        database = parts[0] if parts and not re.search(r"[*?]", parts[0]) else ""
        needed = self.needed(ask, parts)
        if needed and not direct:
            needed |= {"memberships"}
            if self.server.engine == "postgresql" and self.is_implied(ask, parts):
                needed.add("attribute")
        return None if self.unread(needed, database, since) else False

    def asked_kinds(self, ask: Ask, parts: list[str]) -> set[str]:
        """The kinds of things that the path can mean here."""
        path, kind = ask.options.get("on"), ask.options.get("kind")
        wild = bool(path and re.search(r"[*?]", path))
        return {
            one
            for one, (length, _) in self.kinds.items()
            if kind in (None, one) and (path is None or length == len(parts) or (wild and length > len(parts)))
        }

    def is_implied(self, ask: Ask, parts: list[str]) -> bool:
        """Whether a superuser has it too: not LOGIN and the like, and nothing where no object is named."""
        if ask.options.get("on") is None or ask.options.get("grantable") is False:
            return False
        if ask.texts[0] in ("LOGIN", "NOINHERIT", "OWNER"):
            return False
        return any(self.can_say(one, ask.texts[0]) for one in self.asked_kinds(ask, parts))

    def by_nature(
        self,
        ask: Ask,
        parts: list[str],
        account: Account,
        grants: list[Grant],
        switchable: set[str],
        reached: set[str],
    ) -> bool:
        """Whether the account has it without a grant on it: as a superuser, or in a predefined role."""
        if self.server.engine != "postgresql":
            return False
        kinds = self.asked_kinds(ask, parts)
        superusers = {g.account for g in grants if (g.kind, g.privilege) == ("attribute", "SUPERUSER") and not g.denied}
        as_itself = "attribute" in kinds and like(ask.texts[0], "SUPERUSER")
        if self.is_implied(ask, parts) and not as_itself and superusers & switchable:
            return True
        if ask.options.get("grantable") is not None:
            return False
        for role, powers in PREDEFINED.items():
            one = self.server.accounts.get(role)
            if one and one.fields["is_system"] and self.exists(one) and role in reached:
                words = " ".join(powers.get(kind, "") for kind in kinds).split()
                if any(like(ask.texts[0], word) for word in words):
                    return True
        return False

    def exists(self, account: Account) -> bool:
        gone = account.fields["gone_at"]
        return (
            gone is None
            if self.at is None
            else account.fields["first_seen_at"] <= self.at and (not gone or gone > self.at)
        )

    def needed(self, ask: Ask, parts: list[str]) -> set[str]:
        """The kinds of grants that visits must have read for a "no" to be sure."""
        path, kind = ask.options.get("on"), ask.options.get("kind")
        kinds = set(self.kinds)
        if kind and path is None:
            kinds = {kind} & set(self.kinds)
        elif path is not None:
            wild = bool(re.search(r"[*?]", path))
            kinds = {
                one
                for one, (length, _) in self.kinds.items()
                if kind in (None, one) and (length == len(parts) or (wild and path and length > len(parts)))
            }
        if path:
            fitting = [kind] if kind in self.kinds else [] if kind else list(self.kinds)
            for one in fitting:
                if self.kinds[one][0] == len(parts):
                    kinds |= {one, *self.around.get(one, ())}
        return {one for one in kinds if self.can_say(one, ask.texts[0])}

    def can_say(self, kind: str, privilege: str) -> bool:
        """Whether a grant on this kind of object can say a privilege that fits."""
        _, words = self.kinds.get(kind, (0, None))
        return words is None or any(like(privilege, word.replace("_", " ")) for word in words.split())

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
        parts = path.split(".")
        if grant.scope and like(".".join(parts), grant.scope) and (not kind or grant.kind == kind):
            return True
        database = "" if re.search(r"[*?]", parts[0]) else parts[0]
        for one, (length, _) in self.kinds.items():
            if length != len(parts) or (kind and one != kind):
                continue
            for holder in (one, *self.around.get(one, ())):
                if grant.kind != holder:
                    continue
                if holder == "system" and database:
                    return not any(
                        g.denied and (g.account, g.privilege, g.database) == (grant.account, grant.privilege, database)
                        for g in self.server.grants
                        if g.holds(self.at)
                    )
                if like(".".join(parts[: self.kinds[holder][0]]), grant.scope):
                    return True
                if (
                    (holder, self.server.engine) == ("database", "mysql")
                    and database
                    and sql_like(grant.scope, database)
                ):
                    return True
        return False


def sql_like(pattern: str, text: str) -> bool:
    r"""LIKE, of a pattern such as `app\_%`."""
    steps = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    regex = "".join(wild.get(step) or re.escape(step[-1]) for step in steps)
    return bool(re.fullmatch(regex, text, re.DOTALL))
