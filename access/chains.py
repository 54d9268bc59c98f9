"""The memberships from an account to the holder of a privilege: the shortest chain that the relation allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from django.db import connection


class Edge(NamedTuple):
    """A row of `Membership`."""

    member: int
    role: int
    inherit: bool
    set_option: bool
    held_since: datetime
    pk: int = 0
    until: datetime | None = None
    unobserved_since: datetime | None = None
    grantors: list[str] | None = None


class Chains:
    """Chains among these memberships, for any number of searches."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._up: dict[int, list[Edge]] = defaultdict(list)
        for edge in edges:
            self._up[edge.member].append(edge)
        self._found: dict[tuple[int, str], dict[int, Edge | None]] = {}

    def chain(self, account: int, session: int, entry: int, *, or_any: bool = False) -> tuple[Edge, ...]:
        """Return the memberships by which the account can switch to the session, and the session inherits from the
        entry, with `or_any` by any memberships if by none that inherit. Raises KeyError if there are none."""
        option = "" if or_any and entry not in self._search(session, "inherit") else "inherit"
        return (*self._steps(account, session, "set_option"), *self._steps(session, entry, option))

    def granted(self, account: int, role: int, holder: int) -> tuple[Edge, ...]:
        """Return the memberships from an account that can grant itself the role to the holder, which the role inherits
        from: () if it may grant every role."""
        passing = [edge for edge in self._up.get(account, ()) if edge.role == role]
        return (*passing, *self._steps(role, holder, "inherit")) if passing else ()

    def all(self) -> Iterator[Edge]:
        """Yield all memberships."""
        return chain.from_iterable(self._up.values())

    def nearest(self, account: int) -> dict[int, list[int]]:
        """Return each role that the account reaches by any memberships → the shortest path to it, itself last."""
        came = self._search(account, "")
        paths: dict[int, list[int]] = {account: []}
        for role, edge in came.items():
            if edge:
                # Breadth first: the member was reached before.
                paths[role] = [*paths[edge.member], role]
        return paths

    def _steps(self, start: int, end: int, option: str) -> list[Edge]:
        steps = []
        came = self._search(start, option)
        while edge := came[end]:
            steps.append(edge)
            end = edge.member
        return steps[::-1]

    def _search(self, start: int, option: str) -> dict[int, Edge | None]:
        """Return each role reached by memberships with the option → the last one of the shortest chain."""
        if (start, option) not in self._found:
            came: dict[int, Edge | None] = {start: None}
            row = [start]
            # Breadth first, so that the first chain found is the shortest.
            while row:
                following = []
                for member in row:
                    for edge in self._up.get(member, ()):
                        if edge.role not in came and (not option or getattr(edge, option)):
                            came[edge.role] = edge
                            following.append(edge.role)
                row = following
            self._found[start, option] = came
        return self._found[start, option]


# The planner overestimates `reach`. OFFSET 0 makes it look up each account instead of reading all memberships.
_EDGES = """
WITH RECURSIVE reach(id) AS (
    SELECT unnest(%(ids)s::bigint[])
     UNION
    SELECT e.role_id
      FROM reach r CROSS JOIN LATERAL (
           SELECT m.role_id FROM accounts_membership m
            WHERE m.member_id = r.id AND m.since <= %(at)s AND (m.until IS NULL OR m.until > %(at)s) OFFSET 0) e
)
SELECT e.*
  FROM reach r CROSS JOIN LATERAL (
       SELECT m.member_id, m.role_id, m.inherit, m.set_option, m.held_since, m.id, m.until, m.unobserved_since,
              m.grantors
         FROM accounts_membership m
        WHERE m.member_id = r.id AND m.since <= %(at)s AND (m.until IS NULL OR m.until > %(at)s) OFFSET 0) e
 ORDER BY member_id, role_id
"""


def edges(accounts: Iterable[int], at: datetime) -> list[Edge]:
    """Return the memberships on all paths from these accounts to their roles at a moment. Takes one query, none without
    accounts."""
    ids = list(accounts)
    if not ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_EDGES, {"ids": ids, "at": at})
        return [Edge(*row) for row in cursor.fetchall()]


def nearest_roles(account: int, at: datetime) -> dict[int, list[int]]:
    """Return each role that the account reaches at a moment → the shortest path to it. Takes one query."""
    return Chains(edges([account], at)).nearest(account)
