"""Ways through memberships, against every path written out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from access.ways import Edge, Graph, Way

START = datetime(2026, 1, 1, tzinfo=UTC)
NODES = range(6)

edges = st.lists(
    st.builds(
        Edge,
        st.sampled_from(NODES),
        st.sampled_from(NODES),
        st.booleans(),
        st.booleans(),
        st.integers(0, 9).map(lambda days: START + timedelta(days=days)),
    ).filter(lambda edge: edge.member != edge.role),
    max_size=12,
    unique_by=lambda edge: (edge.member, edge.role),
)


def every_path(edges: list[Edge], start: int, end: int) -> list[list[Edge]]:
    """All ways from start to end that pass no account twice, by writing them out."""
    found, unfinished = [], [[edge] for edge in edges if edge.member == start]
    while unfinished:
        path = unfinished.pop()
        if path[-1].role == end:
            found.append(path)
        visited = {start} | {edge.role for edge in path}
        unfinished += [[*path, edge] for edge in edges if edge.member == path[-1].role and edge.role not in visited]
    return found


def at_once(path: list[Edge]) -> bool:
    return all(edge.inherit for edge in path)


def after_switch(path: list[Edge]) -> bool:
    """Some number of first steps may be switched along, and all others inherit."""
    return any(
        all(edge.set_option for edge in path[:n]) and all(edge.inherit for edge in path[n:])
        for n in range(len(path) + 1)
    )


@given(edges)
def test_both_directions_find_what_writing_all_paths_out_finds(edges):
    """F1.9: nested roles, with cycles and diamonds; options count along the whole way."""
    graph = Graph(edges)
    for start in NODES:
        found = graph.from_member(start)
        assert found[start] == Way()
        for end in set(NODES) - {start}:
            paths = every_path(edges, start, end)
            assert (end in found) == bool(paths)
            for way in [found[end], graph.to_role(end)[start]] if paths else []:
                assert way.at_once == any(map(at_once, paths))
                assert way.after_switch == any(map(after_switch, paths))
                assert way.switchable == any(all(edge.set_option for edge in path) for path in paths)
                shown = [path for path in paths if tuple(edge.role for edge in path) == way.path]
                assert len(shown) == 1
                assert way.since == max(edge.held_since for edge in shown[0])
                assert at_once(shown[0]) == way.at_once
                assert way.at_once or after_switch(shown[0]) == way.after_switch
                good = at_once if way.at_once else after_switch if way.after_switch else bool
                assert len(way.path) == min(len(path) for path in paths if good(path))
