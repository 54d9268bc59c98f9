"""Building blocks of compiled rules: parameters, sets, intervals, and what visits have not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from access.sql import Sql

#: The instance has no coverage `c` yet.
_UNVISITED = "c.id IS NULL"


class Pieces(Sql):
    """A query of a rule under construction."""

    def __init__(self, is_past: bool) -> None:
        super().__init__(is_past)
        #: Parameter → its offset from the moment of the query.
        self.moments: dict[str, timedelta] = {}
        self.joins: list[str] = []
        self._made: dict[Any, str] = {}
        #: Start of the interval → conditions on coverage, in the order of the columns.
        self._coverage: dict[str, list[str]] = {}

    def _moment(self, away: timedelta) -> str:
        """Add a parameter for a moment before or after that of the query."""
        name = f"m{len(self.moments)}"
        self.moments[name] = away
        return f"%({name})s"

    def _set(self, sql: str) -> str:
        """Return SQL: the account is in a set."""
        name = self.cte(sql)
        self.joins.append(f"LEFT JOIN {name} ON {name}.id = a.id")
        return f"{name}.id IS NOT NULL"

    def _once(self, key: Any, make: Callable[[], str]) -> str:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _unread(
        self, needed: dict[str, set[str]], since: str = "", database: str = "", built_in: tuple[str, ...] = ()
    ) -> str:
        """Return SQL: visits had not read what the answer depends on. The engine "" means any. With the engines
        `built_in`, the question is about their built-in objects, where shipped rights are not recorded."""

        def make() -> str:
            conditions = [_UNVISITED, *(f"i.engine = '{engine}'" for engine in built_in)]
            for engine, scopes in needed.items():
                if not scopes:
                    continue
                beyond, gaps = self.parameter(sorted(scopes)), self.parameter(_gaps({*scopes, "accounts"}, database))
                lacking = f"c.beyond && {beyond}::varchar[] OR c.gaps @? {gaps}::jsonpath"
                conditions.append(f"(i.engine = '{engine}' AND ({lacking}))" if engine else f"({lacking})")
            return self._lacking(" OR ".join(conditions), since)

        return self._once(("unread", str({k: sorted(v) for k, v in needed.items()}), since, database, built_in), make)

    def _if_read(self, column: str, value: str) -> str:
        """Return SQL: a value, or null where visits could not read the account field it depends on."""

        def make() -> str:
            return self._lacking(f"{self.parameter(column)} = ANY(c.unread)", "")

        return f"(CASE WHEN NOT {self._once(('unread field', column), make)} THEN {value} END)"

    def _lacking(self, condition: str, since: str) -> str:
        """Return SQL: the condition holds for `c`, the coverage of the account's instance `i` at the time."""
        conditions = self._coverage.setdefault(since, [])
        conditions.append(condition)
        return f"coverage{list(self._coverage).index(since)}.lacks{len(conditions)} IS TRUE"

    def look_up_coverage(self) -> None:
        """Join the conditions of `_lacking`, one join per moment, after all other joins."""
        for n, (since, conditions) in enumerate(self._coverage.items()):
            held = self.holding("c", since)
            columns = [f"lacks{m}" for m in range(1, len(conditions) + 1)]
            lacks = ", ".join(f"bool_or({one}) AS {column}" for one, column in zip(conditions, columns, strict=True))
            # Conditions on fields do not include unvisited instances.
            key, rows = "c.instance_id", f"accounts_coverage c WHERE {held} AND"
            if any(_UNVISITED in one for one in conditions):
                key = "i.id"
                rows = f"instances_instance i LEFT JOIN accounts_coverage c ON c.instance_id = i.id AND {held}\n WHERE"
            # Most instances lack nothing, and an empty join is the quickest.
            self.ctes.append(
                f"coverage{n} AS (\nSELECT * FROM (SELECT {key} AS instance_id, {lacks} FROM {rows}"
                f" {key} = ANY(%(instances)s::bigint[]) GROUP BY {key}) found WHERE {' OR '.join(columns)})"
            )
            self.joins.append(f"LEFT JOIN coverage{n} ON coverage{n}.instance_id = a.instance_id")

    def _known(self, found: str, unread: str) -> str:
        """Return SQL: true if found, false if not found and everything was read, else null."""
        return f"(CASE WHEN {found} THEN true WHEN NOT {unread} THEN false END)"


def _gaps(scopes: set[str], database: str) -> str:
    """Return the jsonpath of gaps in these scopes; with a database, of gaps there or in no particular database."""
    scope = " || ".join(f"@.scope == {json.dumps(one)}" for one in sorted(scopes))
    place = f' && (@.database == "" || @.database == {json.dumps(database)})' if database else ""
    return f"$[*] ? (({scope}){place})"
