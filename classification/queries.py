"""Compile each rule into one query over accounts, memberships and grants.

Rules follow SQL's three-valued logic: null means "unknown". Each word about grants or memberships becomes a set of
accounts, joined once, and a set of instances with an unknown answer. The query stays set-based for any number of
accounts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.utils import timezone

from engines.registry import ENGINES

from .privileges import Privileges
from .rules import And, Not, Or, Part, Term, terms

#: Words with answers that do not become stale; all others are unknown where the read is stale.
_LASTING = {"name", "host", "is_system", "known_days", "filtered", "engine", "instance", "instance_tag", "assigned"}

_FIELDS = {
    "superuser": "is_superuser",
    "can_login": "can_login",
    "locked": "is_locked",
    "password_expired": "password_expired",
}


@dataclass
class Query:
    """`verdict` is true, false or null for each account `a` of `source`. `source` takes %(instances)s, a list of ids,
    and needs the `ctes`. `parts` maps each part of the rule to its verdict."""

    verdict: str
    ctes: list[str]
    source: str
    parameters: dict[str, Any]
    parts: dict[Part, str]

    def with_clause(self) -> str:
        return f"WITH RECURSIVE {', '.join(self.ctes)}" if self.ctes else ""


def compiled(rule: Part, engine: str = "", at: datetime | None = None, stale: Collection[int] = ()) -> Query:
    """Compile a rule for accounts of one engine or of all, as of a moment or now.

    `stale` are ids of instances with a read too old for the moment: words that depend on a visit are unknown there.

    The caller adds the parameter "instances", a list of ids.
    """
    query, moments = _compiled(rule, engine, at is not None, bool(stale))
    moment = at or timezone.now()
    given = {"at": at, "moment": moment, "stale": [*stale]}
    given |= {name: _moved(moment, away) for name, away in moments.items()}
    return replace(query, parameters=query.parameters | given)


def _moved(moment: datetime, away: timedelta) -> datetime:
    """Add the offset, limited to valid dates."""
    try:
        return moment + away
    except OverflowError:
        return moment.replace(year=1900 if away < timedelta() else 9998)


# Cached because workers apply the same rules after every visit.
@lru_cache(maxsize=1000)
def _compiled(rule: Part, engine: str, is_past: bool, has_stale: bool) -> tuple[Query, dict[str, timedelta]]:
    """Compile for any moment and any stale instances. Also returns the parameters that are offsets from the moment."""
    compiler = _Compiler(is_past, has_stale)
    if engine:
        compiler.engines = {engine: ENGINES[engine]}
    verdict = compiler.part(rule)
    compiler.look_up_coverage()
    conditions = ["a.instance_id = ANY(%(instances)s::bigint[])", compiler.existing("a")]
    if engine:
        compiler.parameters["rule_engine"] = engine
        conditions.append("i.engine = %(rule_engine)s")
    if engine or {"engine", "instance"} & {term.word for term in terms(rule)}:
        compiler.joins.append("JOIN instances_instance i ON i.id = a.instance_id")
    source = "\n".join(["FROM accounts_account a", *compiler.joins, f"WHERE {' AND '.join(conditions)}"])
    query = Query(verdict, compiler.ctes, source, compiler.parameters, compiler.parts)
    return query, compiler.moments


class _Compiler(Privileges):
    def __init__(self, is_past: bool, has_stale: bool) -> None:
        super().__init__(is_past)
        self.has_stale = has_stale
        self.parts: dict[Part, str] = {}

    def part(self, part: Part) -> str:
        if part not in self.parts:
            match part:
                case And(parts=parts):
                    sql = f"({' AND '.join(self.part(one) for one in parts)})"
                case Or(parts=parts):
                    sql = f"({' OR '.join(self.part(one) for one in parts)})"
                case Not(part=one):
                    sql = f"(NOT {self.part(one)})"
                case Term():
                    sql = self._term(part)
                case _:
                    raise TypeError(part)
            self.parts[part] = sql
        return self.parts[part]

    def _term(self, term: Term) -> str:
        answer = self._answer(term)
        # Usually no instance is stale, and the join costs a tenth of a rule.
        if not self.has_stale or term.word in _LASTING:
            return answer
        return f"(CASE WHEN NOT {self._once('stale', self._stale)} THEN {answer} END)"

    def _stale(self) -> str:
        self.joins.append("LEFT JOIN unnest(%(stale)s::bigint[]) AS stale(id) ON stale.id = a.instance_id")
        return "(stale.id IS NOT NULL)"

    def _answer(self, term: Term) -> str:
        match term.word:
            case "superuser" | "can_login" | "locked" | "password_expired":
                return self._fact(_FIELDS[term.word], "boolean")
            case "is_role" | "is_public":
                return f"({self._fact('kind', 'text')} = '{term.word.removeprefix('is_')}')"
            case "is_system":
                return "a.is_system"
            case "filtered":
                return "a.is_filtered"
            case "expires" | "expired" | "valid_days":
                return self._validity(term)
            case "password_age_days":
                return self._older(self._fact("password_changed_at", "timestamptz"), term)
            case "known_days":
                return self._older("a.first_seen_at", term)
            case "unused_days":
                return self._older(self._last_login(), term)
            case "connection_limit":
                return self._compared(self._or_infinite("connection_limit", "bigint", "'Infinity'::float8"), term)
            case "engine":
                return f"(i.engine = ANY({self.parameter(list(term.texts))}))"
            case "instance" | "name" | "host":
                column = "i.name" if term.word == "instance" else f"a.{term.word}"
                return self.like_any(column, term.texts)
            case "auth":
                return self.like_any(f"nullif({self._fact('auth_method', 'text')}, '')", term.texts)
            case "instance_tag":
                return self._tagged(term.texts)
            case "assigned":
                return f"({self._set(self._by_hand(term.texts))})"
            case "member_of":
                return self._known(self._in_role(term), self._unread({"": {"memberships"}}))
            case "attribute" | "has":
                return self._holds(term)
        then = timedelta(hours=term.options["within_hours"]) if term.word == "gained" else None
        then = then if then is not None else timedelta(days=term.options["more_than"])
        now, steadily = self._holds(term), self._holds(term, self._moment(-then))
        return f"({now} AND NOT {steadily})" if term.word == "gained" else f"({now} AND {steadily})"

    def _fact(self, column: str, kind: str) -> str:
        """Return SQL: a field at the moment, or null where visits could not read it or the engine lacks it."""
        if not self.is_past:
            # What the last visit could not read is null in the store.
            return f"a.{column}"
        before = self._once(("before", column), lambda: self._before(column))
        value = f"coalesce(a.{column}, (a.last_known->>{self.parameter(column)})::{kind})"
        value = f"CASE WHEN {before}.account_id IS NULL THEN {value} ELSE ({before}.value)::{kind} END"
        return self._if_read(column, value)

    def _last_login(self) -> str:
        """Only the last one is stored: as of a moment before it, the last login until then is unknown."""
        last = "a.last_login_at"
        return f"CASE WHEN {last} <= %(moment)s THEN {last} END" if self.is_past else last

    def _before(self, column: str) -> str:
        """Join the value of a field before its first change after the moment."""
        if column == "is_locked":
            value, changed = "'unlocked' = ANY(c.events)", "c.events && '{locked,unlocked}'::varchar[]"
        else:
            field_name = self.parameter(column)
            value = f"c.details->'attributes'->{field_name}->>0"
            changed = f"c.details->'attributes' ? {field_name}"
        name = self.cte(
            f"SELECT DISTINCT ON (c.account_id) c.account_id, {value} AS value FROM accounts_accountchange c\n"
            f" WHERE c.at > %(at)s AND {changed} ORDER BY c.account_id, c.at, c.id"
        )
        self.joins.append(f"LEFT JOIN {name} ON {name}.account_id = a.id")
        return name

    def _validity(self, term: Term) -> str:
        if term.word == "valid_days":
            ends = self._or_infinite("valid_until", "timestamptz", "'infinity'::timestamptz")
            return f"({ends} {term.operator} {self._moment(timedelta(days=term.value))})"
        comparison = "IS NOT NULL" if term.word == "expires" else "<= %(moment)s"
        # An account without an end of validity cannot expire.
        ends = f"coalesce({self._fact('valid_until', 'timestamptz')} {comparison}, false)"
        return self._if_read("valid_until", ends)

    def _or_infinite(self, column: str, kind: str, infinite: str) -> str:
        """Return SQL: a field, infinite where there is no limit."""
        value = f"coalesce({self._fact(column, kind)}, {infinite})"
        return self._if_read(column, value)

    def _compared(self, number: str, term: Term) -> str:
        return f"({number} {term.operator} {self.parameter(term.value)})"

    def _older(self, moment: str, term: Term) -> str:
        """Return SQL: the age in days compared with the value. Comparing times is quicker than counting days."""
        flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}[term.operator]
        return f"({moment} {flipped} {self._moment(-timedelta(days=term.value))})"

    def _by_hand(self, codes: tuple[str, ...]) -> str:
        # Assignments made by rules are excluded: the order of rules would matter.
        return (
            "SELECT DISTINCT s.account_id AS id FROM classification_assignment s\n"
            "  JOIN classification_classification k ON k.id = s.classification_id\n"
            f" WHERE s.rule_id IS NULL AND {self.holding('s')} AND {self.like_any('k.code', codes)}"
        )

    def _tagged(self, slugs: tuple[str, ...]) -> str:
        name = self.cte(
            "SELECT DISTINCT it.instance_id FROM tagging_instancetag it JOIN tagging_tag t ON t.id = it.tag_id\n"
            f" WHERE {self.like_any('t.slug', slugs)}"
        )
        self.joins.append(f"LEFT JOIN {name} ON {name}.instance_id = a.instance_id")
        return f"({name}.instance_id IS NOT NULL)"
