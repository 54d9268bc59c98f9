from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from work.halving import failing


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_each_item_that_fails_is_found_and_all_others_are_done_once(case: tuple[int, set[int]]) -> None:
    n, bad = case
    done: list[int] = []

    def attempt(items: Sequence[int]) -> None:
        if wrong := bad.intersection(items):
            raise ValueError(str(min(wrong)))
        done.extend(items)

    found = {item: str(error) for item, error in failing(range(n), attempt)}
    assert found == {item: str(item) for item in bad}
    assert done == [item for item in range(n) if item not in bad]


def test_one_of_many_takes_few_attempts() -> None:
    attempts = []

    def attempt(items: Sequence[int]) -> None:
        attempts.append(items)
        if 700 in items:
            raise ValueError

    assert [item for item, _error in failing(range(1000), attempt)] == [700]
    assert len(attempts) <= 21


def test_fatal_and_other_errors_are_raised_at_once() -> None:
    attempts = []

    def attempt(items: Sequence[int]) -> None:
        attempts.append(items)
        raise KeyError("gone")

    for limits in ({"fatal": KeyError}, {"errors": ValueError}):
        with pytest.raises(KeyError):
            list(failing(range(8), attempt, **limits))
    assert len(attempts) == 2
