"""Pieces of the queries that rules become: parameters, sets, intervals, and what visits have not read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from .rules import has_wildcards


class Pieces:
    """A query under way, as of a moment or, with none, as things stand. What people wrote goes in as parameters."""

    def __init__(self, at: datetime | None) -> None:
        self.at = at
        self.parameters: dict[str, Any] = {"at": at, "moment": at or timezone.now()}
        self.ctes: list[str] = []
        self.joins: list[str] = []
        self._made: dict[Any, str] = {}

    def _holding(self, alias: str) -> str:
        """The interval holds at the moment asked about."""
        if self.at is None:
            return f"{alias}.until IS NULL"
        return f"({alias}.since <= %(at)s AND ({alias}.until IS NULL OR {alias}.until > %(at)s))"

    def _moment(self, away: timedelta) -> str:
        """A moment before or after the one asked about, as far as calendars reach."""
        moment = self.parameters["moment"]
        try:
            then = moment + away
        except OverflowError:
            then = moment.replace(year=1900 if away < timedelta() else 9998)
        return self._parameter(then)

    def _like_any(self, column: str, patterns: tuple[str, ...]) -> str:
        return f"({' OR '.join(self._like(column, pattern) for pattern in patterns)})"

    def _like(self, column: str, pattern: str) -> str:
        if not has_wildcards(pattern):
            return f"{column} = {self._parameter(pattern)}"
        escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return f"{column} LIKE {self._parameter(escaped.replace('*', '%').replace('?', '_'))}"

    def _parameter(self, value: Any) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"%({name})s"

    def _cte(self, sql: str, columns: str = "") -> str:
        name = f"s{len(self.ctes)}"
        self.ctes.append(f"{name}{columns} AS (\n{sql.replace('{self}', name)})")
        return name

    def _set(self, sql: str) -> str:
        """Whether the account is in a set."""
        name = self._cte(sql)
        self.joins.append(f"LEFT JOIN {name} ON {name}.id = a.id")
        return f"{name}.id IS NOT NULL"

    def _once(self, key: Any, make: Callable[[], str]) -> str:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _unread(self, needed: dict[str, set[str]], since: str = "", database: str = "") -> str:
        """The set of instances of which visits had not read, by then, what an answer hangs on; "" is any engine."""
        elsewhere = f" AND gap->>'database' IN ('', {self._parameter(database)})" if database else ""

        def make() -> str:
            read = f"c.since <= {since} AND (c.until IS NULL OR c.until > {since})" if since else self._holding("c")
            ways = ["c.id IS NULL"]
            for engine, scopes in needed.items():
                if not scopes:
                    continue
                beyond, gaps = self._parameter(sorted(scopes)), self._parameter(sorted({*scopes, "accounts"}))
                lacking = (
                    f"c.beyond && {beyond}::varchar[] OR EXISTS (SELECT FROM jsonb_array_elements(c.gaps) gap"
                    f" WHERE gap->>'scope' = ANY({gaps}){elsewhere})"
                )
                ways.append(f"(i.engine = '{engine}' AND ({lacking}))" if engine else f"({lacking})")
            name = self._cte(
                "SELECT i.id AS instance_id FROM instances_instance i\n"
                f"  LEFT JOIN accounts_coverage c ON c.instance_id = i.id AND {read}\n"
                f" WHERE i.id = ANY(%(instances)s::bigint[]) AND ({' OR '.join(ways)}) GROUP BY i.id"
            )
            self.joins.append(f"LEFT JOIN {name} ON {name}.instance_id = a.instance_id")
            return name

        return self._once(("unread", str({k: sorted(v) for k, v in needed.items()}), since, database), make)

    def _known(self, found: str, unread: str) -> str:
        """True where it was found; where it was not, false only if all was read."""
        return f"(CASE WHEN {found} THEN true WHEN {unread}.instance_id IS NULL THEN false END)"
