"""What rules ask of the store: each becomes one query over accounts, memberships and grants.

SQL's own three-valued logic is that of rules: null is "unknown". Every word that looks at grants or memberships becomes
a set of accounts, joined once, and a set of instances of which the answer is not known; so the query stays one of sets,
however many accounts there are.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.utils import timezone

from .privileges import Privileges
from .rules import Ask, Every, Opposite, Part, Some, asks

#: Words whose answers last, however long ago an account was read; all others are unknown where the read is stale.
_LASTING = {"name", "host", "is_system", "known_days", "filtered", "engine", "instance", "instance_tag", "assigned"}

_FIELDS = {
    "superuser": "is_superuser",
    "can_login": "can_login",
    "locked": "is_locked",
    "password_expired": "password_expired",
}


@dataclass
class Query:
    """`verdict` is true, false or null for each account `a` of the `source`, which takes %(instances)s, their ids, and
    needs the `ctes`. `parts` says the same of every part of the rule."""

    verdict: str
    ctes: list[str]
    source: str
    parameters: dict[str, Any]
    parts: dict[Part, str]
    #: Word about privileges → the CTE of the grants that it looks for.
    grants: dict[Ask, str]

    def with_clause(self) -> str:
        return f"WITH RECURSIVE {', '.join(self.ctes)}" if self.ctes else ""


def compiled(rule: Part, engine: str = "", at: datetime | None = None, stale: Collection[int] = ()) -> Query:
    """The query of a rule for accounts of one engine, or of all, as of a moment or, with none, as things stand.

    `stale` are ids of instances whose last read no longer answers for the moment: what hangs on a visit is unknown.

    The caller adds the parameter "instances", a list of ids.
    """
    query, moments = _compiled(rule, engine, at is not None, bool(stale))
    moment = at or timezone.now()
    given = {"at": at, "moment": moment, "stale": [*stale]}
    given |= {name: _moved(moment, away) for name, away in moments.items()}
    return replace(query, parameters=query.parameters | given)


def _moved(moment: datetime, away: timedelta) -> datetime:
    """As far as calendars reach."""
    try:
        return moment + away
    except OverflowError:
        return moment.replace(year=1900 if away < timedelta() else 9998)


# Workers apply the same rules after every visit.
@lru_cache(maxsize=1000)
def _compiled(rule: Part, engine: str, is_past: bool, has_stale: bool) -> tuple[Query, dict[str, timedelta]]:
    """The same for any moment and any stale instances, and which parameters are to be moments, so far from it."""
    compiler = _Compiler(is_past, has_stale)
    verdict = compiler.part(rule)
    compiler.look_up_coverage()
    there = "a.gone_at IS NULL"
    if is_past:
        there = "a.first_seen_at <= %(at)s AND (a.gone_at IS NULL OR a.gone_at > %(at)s)"
    conditions = ["a.instance_id = ANY(%(instances)s::bigint[])", there]
    if engine:
        compiler.parameters["rule_engine"] = engine
        conditions.append("i.engine = %(rule_engine)s")
    if engine or {"engine", "instance"} & {ask.word for ask in asks(rule)}:
        compiler.joins.append("JOIN instances_instance i ON i.id = a.instance_id")
    source = "\n".join(["FROM accounts_account a", *compiler.joins, f"WHERE {' AND '.join(conditions)}"])
    query = Query(verdict, compiler.ctes, source, compiler.parameters, compiler.parts, compiler.grants)
    return query, compiler.moments


class _Compiler(Privileges):
    def __init__(self, is_past: bool, has_stale: bool) -> None:
        super().__init__(is_past)
        self.has_stale = has_stale
        self.parts: dict[Part, str] = {}

    def part(self, part: Part) -> str:
        if part not in self.parts:
            match part:
                case Every(parts=parts):
                    sql = f"({' AND '.join(self.part(one) for one in parts)})"
                case Some(parts=parts):
                    sql = f"({' OR '.join(self.part(one) for one in parts)})"
                case Opposite(part=one):
                    sql = f"(NOT {self.part(one)})"
                case Ask():
                    sql = self._ask(part)
                case _:
                    raise TypeError(part)
            self.parts[part] = sql
        return self.parts[part]

    def _ask(self, ask: Ask) -> str:
        answer = self._answer(ask)
        # Mostly all were read lately, and a join costs a tenth of a rule.
        if not self.has_stale or ask.word in _LASTING:
            return answer
        return f"(CASE WHEN NOT {self._once('stale', self._stale)} THEN {answer} END)"

    def _stale(self) -> str:
        self.joins.append("LEFT JOIN unnest(%(stale)s::bigint[]) AS stale(id) ON stale.id = a.instance_id")
        return "(stale.id IS NOT NULL)"

    def _answer(self, ask: Ask) -> str:
        match ask.word:
            case "superuser" | "can_login" | "locked" | "password_expired":
                return self._fact(_FIELDS[ask.word], "boolean")
            case "is_role" | "is_public":
                return f"({self._fact('kind', 'text')} = '{ask.word.removeprefix('is_')}')"
            case "is_system":
                return "a.is_system"
            case "filtered":
                return "a.is_filtered"
            case "expires" | "expired" | "valid_days":
                return self._validity(ask)
            case "password_age_days":
                return self._older(self._fact("password_changed_at", "timestamptz"), ask)
            case "known_days":
                return self._older("a.first_seen_at", ask)
            case "unused_days":
                return "NULL::boolean"
            case "connection_limit":
                return self._compared(self._or_infinite("connection_limit", "bigint", "'Infinity'::float8"), ask)
            case "engine":
                return f"(i.engine = ANY({self._parameter(list(ask.texts))}))"
            case "instance" | "name" | "host":
                column = "i.name" if ask.word == "instance" else f"a.{ask.word}"
                return self._like_any(column, ask.texts)
            case "auth":
                return self._like_any(f"nullif({self._fact('auth_method', 'text')}, '')", ask.texts)
            case "instance_tag":
                return self._tagged(ask.texts)
            case "assigned":
                return f"({self._set(self._by_hand(ask.texts))})"
            case "member_of":
                return self._known(self._members(ask), self._unread({"": {"memberships"}}))
            case "attribute":
                direct = Ask(ask.text, "has", ask.texts, {"kind": "attribute", "direct": True})
                return self._holds(ask, direct)
            case "has":
                return self._holds(ask, ask)
        then = timedelta(hours=ask.options["within_hours"]) if ask.word == "gained" else None
        then = then if then is not None else timedelta(days=ask.options["more_than"])
        now, steadily = self._holds(ask, ask), self._holds(ask, ask, self._moment(-then))
        return f"({now} AND NOT {steadily})" if ask.word == "gained" else f"({now} AND {steadily})"

    def _fact(self, column: str, kind: str) -> str:
        """A field as it was, or null where visits could not read it, or the engine has no such thing."""
        if not self.is_past:
            # The store has no value of what the last visit could not read.
            return f"a.{column}"
        before = self._once(("before", column), lambda: self._before(column))
        value = f"coalesce(a.{column}, (a.last_known->>{self._parameter(column)})::{kind})"
        value = f"CASE WHEN {before}.account_id IS NULL THEN {value} ELSE ({before}.value)::{kind} END"
        return self._if_read(column, value)

    def _before(self, column: str) -> str:
        """What a field was before the first change since the moment asked about."""
        if column == "is_locked":
            value, changed = "'unlocked' = ANY(c.events)", "c.events && '{locked,unlocked}'::varchar[]"
        else:
            field_name = self._parameter(column)
            value = f"c.details->'attributes'->{field_name}->>0"
            changed = f"c.details->'attributes' ? {field_name}"
        name = self._cte(
            f"SELECT DISTINCT ON (c.account_id) c.account_id, {value} AS value FROM accounts_accountchange c\n"
            f" WHERE c.at > %(at)s AND {changed} ORDER BY c.account_id, c.at, c.id"
        )
        self.joins.append(f"LEFT JOIN {name} ON {name}.account_id = a.id")
        return name

    def _validity(self, ask: Ask) -> str:
        if ask.word == "valid_days":
            ends = self._or_infinite("valid_until", "timestamptz", "'infinity'::timestamptz")
            return f"({ends} {ask.operator} {self._moment(timedelta(days=ask.value))})"
        said = "IS NOT NULL" if ask.word == "expires" else "<= %(moment)s"
        # Without an end there is nothing to have passed.
        ends = f"coalesce({self._fact('valid_until', 'timestamptz')} {said}, false)"
        return self._if_read("valid_until", ends)

    def _or_infinite(self, column: str, kind: str, infinite: str) -> str:
        """A field, infinite where it says that there is no limit."""
        value = f"coalesce({self._fact(column, kind)}, {infinite})"
        return self._if_read(column, value)

    def _compared(self, number: str, ask: Ask) -> str:
        return f"({number} {ask.operator} {self._parameter(ask.value)})"

    def _older(self, moment: str, ask: Ask) -> str:
        """Whether it lies so many days back: times are compared, which is quicker than counting days."""
        flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}[ask.operator]
        return f"({moment} {flipped} {self._moment(-timedelta(days=ask.value))})"

    def _by_hand(self, codes: tuple[str, ...]) -> str:
        # What rules assign is no ground for rules: their order would matter.
        return (
            "SELECT DISTINCT s.account_id AS id FROM classification_assignment s\n"
            "  JOIN classification_classification k ON k.id = s.classification_id\n"
            f" WHERE s.rule_id IS NULL AND {self._holding('s')} AND {self._like_any('k.code', codes)}"
        )

    def _tagged(self, slugs: tuple[str, ...]) -> str:
        name = self._cte(
            "SELECT DISTINCT it.instance_id FROM tagging_instancetag it JOIN tagging_tag t ON t.id = it.tag_id\n"
            f" WHERE {self._like_any('t.slug', slugs)}"
        )
        self.joins.append(f"LEFT JOIN {name} ON {name}.instance_id = a.instance_id")
        return f"({name}.instance_id IS NOT NULL)"
