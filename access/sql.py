"""Parts of SQL that every question needs: parameters, common table expressions, intervals and patterns of names."""

from __future__ import annotations

from typing import Any

from console.wildcards import has_wildcards

#: Regular expression of one part of a path, as `engines.paths.dotted()` writes it, without a routine's argument types.
PART = r'(?:"(?:[^"]|"")*"|[^."()]+)'


class Sql:
    """A query under construction, as of %(at)s or now, for the instances %(instances)s. User input is in
    parameters."""

    #: Whether the question is about many instances and few rows of each.
    is_wide = False

    def __init__(self, is_past: bool) -> None:
        self.is_past = is_past
        self.parameters: dict[str, Any] = {}
        self.ctes: list[str] = []
        self._instances = ""

    def parameter(self, value: Any) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"%({name})s"

    def cte(self, sql: str, columns: str = "") -> str:
        """Add a common table expression, which may refer to itself as {self}, and return its name."""
        name = f"s{len(self.ctes)}"
        self.ctes.append(f"{name}{columns} AS (\n{sql.replace('{self}', name)})")
        return name

    def within(self, instance: str) -> str:
        """Return SQL: the id is one of those of the question. Where many ids are written out, the planner takes longer
        than the query; of few, it estimates better what there is."""
        if not self.is_wide:
            return f"{instance} = ANY(%(instances)s::bigint[])"
        self._instances = self._instances or self.cte("SELECT unnest(%(instances)s::bigint[]) AS id")
        return f"{instance} IN (SELECT id FROM {self._instances})"

    def with_clause(self) -> str:
        return f"WITH RECURSIVE {', '.join(self.ctes)}" if self.ctes else ""

    def holding(self, alias: str, moment: str = "") -> str:
        """Return SQL: the interval contains the moment of the query, or this one."""
        moment = moment or ("%(at)s" if self.is_past else "")
        if not moment:
            return f"{alias}.until IS NULL"
        return f"({alias}.since <= {moment} AND ({alias}.until IS NULL OR {alias}.until > {moment}))"

    def existing(self, alias: str) -> str:
        """Return SQL: the account existed at the moment of the query."""
        if not self.is_past:
            return f"{alias}.gone_at IS NULL"
        return f"({alias}.first_seen_at <= %(at)s AND ({alias}.gone_at IS NULL OR {alias}.gone_at > %(at)s))"

    def members(self, role: str, since: str = "") -> str:
        """Return SQL: join the memberships of a role."""
        return self._memberships(f"m.role_id = {role}", since)

    def roles(self, member: str, since: str = "") -> str:
        """Return SQL: join the memberships of a member."""
        return self._memberships(f"m.member_id = {member}", since)

    def _memberships(self, condition: str, since: str) -> str:
        # OFFSET 0, because the planner overestimates recursive queries and would read all memberships.
        steady = f" AND m.held_since <= {since}" if since else ""
        return (
            "CROSS JOIN LATERAL (SELECT * FROM accounts_membership m"
            f" WHERE {condition} AND {self.holding('m')}{steady} OFFSET 0) m"
        )

    def like(self, column: str, pattern: str) -> str:
        """Return SQL: the column matches the pattern, in which * stands for any characters and ? for one."""
        if not has_wildcards(pattern):
            return f"{column} = {self.parameter(pattern)}"
        escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return f"{column} LIKE {self.parameter(escaped.replace('*', '%').replace('?', '_'))}"

    def like_any(self, column: str, patterns: tuple[str, ...]) -> str:
        return f"({' OR '.join(self.like(column, pattern) for pattern in patterns)})"
