"""Find paths through memberships, and whether a role's privileges apply at once or after SET ROLE. Pure.

Privileges apply at once if every membership on the path inherits. They apply after SET ROLE if the first memberships
have the set option and the rest inherit: the account switches to the last role of the first part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


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


@dataclass(frozen=True)
class Way:
    """From an account to a role: `path` lists the roles on it, the farthest last, and is empty for the account itself.

    `at_once`: the privileges are inherited along the whole path. `after_switch`: they apply after SET ROLE to a role on
    the path. `switchable`: SET ROLE to the role itself is allowed. `links` are its memberships, in order.
    """

    path: tuple[int, ...] = ()
    at_once: bool = True
    after_switch: bool = True
    switchable: bool = True
    links: tuple[Edge, ...] = ()

    @property
    def since(self) -> datetime | None:
        """When the newest of its memberships began; None if it has none."""
        return max((edge.held_since for edge in self.links), default=None)

    @property
    def is_open(self) -> bool:
        """Whether any privilege applies: a membership with neither option only allows granting the role to others."""
        return self.at_once or self.after_switch


class _State(NamedTuple):
    """The position of a walk, and whether all steps inherit, all have the set option, or they combine both."""

    node: int
    inherits: bool = True
    switches: bool = True
    mixes: bool = True


class Graph:
    """Memberships, indexed for any number of searches."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._up: dict[int, list[Edge]] = defaultdict(list)
        self._down: dict[int, list[Edge]] = defaultdict(list)
        for edge in edges:
            self._up[edge.member].append(edge)
            self._down[edge.role].append(edge)

    def from_member(self, account: int) -> dict[int, Way]:
        """Return each role that the account reaches, and the account itself → the best, then shortest path."""
        return self._ways(account, down=False)

    def to_role(self, role: int) -> dict[int, Way]:
        """Return each account that reaches the role, and the role itself → its best, then shortest path."""
        return self._ways(role, down=True)

    def _ways(self, start: int, *, down: bool) -> dict[int, Way]:
        came: dict[_State, tuple[_State, Edge] | None] = {_State(start): None}
        row = list(came)
        # Breadth first, at most eight states per account: cycles end, and the first path is the shortest.
        while row:
            following = []
            for state in row:
                for edge in (self._down if down else self._up).get(state.node, ()):
                    inherits, switches = state.inherits and edge.inherit, state.switches and edge.set_option
                    # From the member, SET ROLE comes first and inheritance last; from the role, the reverse.
                    mixes = inherits or (state.mixes and edge.set_option)
                    if not down:
                        mixes = switches or (state.mixes and edge.inherit)
                    after = _State(edge.member if down else edge.role, inherits, switches, mixes)
                    if after not in came:
                        came[after] = state, edge
                        following.append(after)
            row = following
        at: dict[int, list[_State]] = defaultdict(list)
        for state in came:
            at[state.node].append(state)
        return {node: _way(states, came, down) for node, states in at.items()}


def _way(states: list[_State], came: dict[_State, tuple[_State, Edge] | None], down: bool) -> Way:
    best = min(states, key=lambda state: (not state.inherits, not state.mixes))
    trail = []
    step = came[best]
    while step:
        trail.append(step[1])
        step = came[step[0]]
    links = tuple(trail if down else trail[::-1])
    return Way(
        path=tuple(edge.role for edge in links),
        at_once=any(state.inherits for state in states),
        after_switch=any(state.mixes for state in states),
        switchable=any(state.switches for state in states),
        links=links,
    )
