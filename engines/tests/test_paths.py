"""Fault 6: a path is what its names are, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engines.paths import arguments_of, dotted, name_of, segments, split_path

#: All text, and often that which means something in a path.
NAMES = st.one_of(
    st.text(max_size=8),
    st.text(st.sampled_from("ab.\"'`()[],* \t\n\r\0\x1f\x7f\x85\xa0\u200b\u2028\u202e\\%_"), max_size=8),
)


@given(st.lists(NAMES, max_size=5))
@example([""])
@example(["", "", "a"])
@example(["(a)"])
@example(["a(b", "c)"])
@example(["(", ".", '"', "()"])
def test_a_path_can_be_read_back(names):
    """Fault 6, F7.6"""
    path = dotted(*names)
    assert split_path(path) == names
    assert ".".join(segments(path)) == path
    assert [name_of(part) for part in segments(path)] == names


@given(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, max_size=3))
def test_arguments_of_a_routine_stay_apart_from_its_name(names, types):
    """Fault 6: PostgreSQL writes them behind the path, with type names quoted where they need it."""
    arguments = f"({', '.join(dotted('s', name) for name in types)})"
    path = dotted(*names) + arguments
    parts = segments(path)
    assert split_path(path) == names
    assert (".".join(parts), arguments_of(parts[-1])) == (path, arguments)
    assert path not in {dotted(*names), dotted(*names[:-1], names[-1] + arguments)}


@pytest.mark.parametrize("path", ["a..b", ".a", "a.", 'a"b', '"a', "a b", "a(b", "(a)", "a)b", "f(x).y"])
def test_what_is_no_path(path):
    with pytest.raises(ValueError, match=r"is invalid at character \d+"):
        split_path(path)
