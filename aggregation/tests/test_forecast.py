"""Forecasts on series whose truth is known."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.forecast import ENOUGH, Forecast, NoForecast, change_point, forecast, line

FIRST = date(2026, 1, 1)
GIB = 1024**3


def series(sizes: list[float], skip: set[int] = frozenset()) -> dict[date, int]:
    return {FIRST + timedelta(days=n): round(size) for n, size in enumerate(sizes) if n not in skip}


def told(sizes: dict[date, int], limit: float) -> Forecast:
    found = forecast(sizes, round(limit))
    assert isinstance(found, Forecast), found
    return found


@given(
    st.integers(ENOUGH, 120),
    st.integers(10**6, 10**10),
    st.integers(1, 10**12),
    st.integers(1, 1000),
    st.sets(st.integers(0, 119), max_size=20),
)
def test_a_straight_line_reaches_its_limit_on_the_very_day(days, slope, start, ahead, skipped):
    sizes = series([start + slope * n for n in range(days)], skipped - {days - 1})
    limit = start + slope * (days - 1 + ahead)
    found = forecast(sizes, limit)
    if len(sizes) < ENOUGH:
        assert isinstance(found, NoForecast)
        return
    # Beyond the start a line that rises by more than its own size a day looks like nothing but jumps; it is not one.
    assert isinstance(found, Forecast)
    assert abs(found.days - ahead) <= 1
    assert found.slope == pytest.approx(slope, rel=1e-6)
    assert found.on == max(sizes) + timedelta(days=found.days)


def test_odd_days_do_not_bend_it():
    """Three of forty days were measured wrong by far."""
    sizes = [100 * GIB + GIB * n for n in range(40)]
    for odd in (5, 17, 30):
        sizes[odd] *= 1.015
    found = told(series(sizes), 200 * GIB)
    assert found.slope == pytest.approx(GIB, rel=0.02)
    assert abs(found.days - 61) <= 2


def test_what_was_before_a_jump_does_not_count():
    """A purge halves the database, and then it grows as slowly as ever."""
    before = [900 * GIB + 5 * GIB * n for n in range(40)]
    after = [300 * GIB + GIB * n for n in range(30)]
    found = told(series(before + after), 400 * GIB)
    assert (found.since, found.n_days) == (FIRST + timedelta(days=40), 30)
    assert found.slope == pytest.approx(GIB)
    assert found.days == 71
    soon = forecast(series(before + after[:5]), 400 * GIB)
    assert isinstance(soon, NoForecast)
    assert soon.reason.startswith("Not enough data: 5 days with a size since it jumped on 2026-02-10")


def test_what_does_not_grow_never_arrives():
    assert told(series([5 * GIB] * 30), 6 * GIB).days is None
    assert told(series([5 * GIB - n * 1024 for n in range(30)]), 6 * GIB).days is None
    # At this rate it would take a hundred years.
    assert told(series([5 * GIB + n * 1024**2 for n in range(30)]), 50 * 1024 * GIB).days is None


def test_a_limit_that_is_passed_is_reached():
    found = told(series([5 * GIB + n for n in range(30)]), 5 * GIB)
    assert (found.days, found.on) == (0, max(series([0] * 30)))


def test_not_enough_is_an_answer():
    assert forecast({}, 1) == NoForecast("There is no size yet.")
    few = forecast(series([1.0] * (ENOUGH - 1)), 1)
    assert isinstance(few, NoForecast)
    assert "13 days with a size, 14 are needed" in few.reason


def test_old_days_do_not_count():
    sizes = series([100 * GIB * n for n in range(200)]) | {
        FIRST + timedelta(days=300 + n): 500 * GIB + n for n in range(20)
    }
    assert told(sizes, 501 * GIB).since == FIRST + timedelta(days=300)


def test_its_own_error_is_that_of_the_past():
    """A line through a straight past misses by nothing, through a noisy one by about the noise; too short, by nobody knows."""
    straight = told(series([GIB * (100 + n) for n in range(60)]), 200 * GIB)
    assert straight.error == pytest.approx(0, abs=1)
    rand = np.random.default_rng(7)
    noisy = told(series([GIB * (100 + n + rand.normal(0, 0.5)) for n in range(90)]), 400 * GIB)
    assert 0.05 * GIB < noisy.error < 1.5 * GIB
    assert told(series([GIB * (100 + n) for n in range(ENOUGH)]), 200 * GIB).error is None


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=60), st.integers(1, 2**62))
def test_any_series_gets_an_answer(sizes, limit):
    found = forecast(series(sizes), limit)
    assert isinstance(found, Forecast | NoForecast)
    if isinstance(found, Forecast):
        assert found.days is None or 0 <= found.days <= 3650
        assert (found.days == 0) == (found.size >= limit)


def test_the_line_is_theil_and_sens():
    """Against all pairs, one by one."""
    rand = np.random.default_rng(3)
    x, y = np.arange(20.0), rand.normal(size=20)
    slopes = sorted((y[j] - y[i]) / (j - i) for i in range(20) for j in range(i + 1, 20))
    slope, level = line(x, y)
    assert slope == pytest.approx((slopes[94] + slopes[95]) / 2)
    assert level == pytest.approx(np.median(y - slope * x))
    assert change_point(np.array([0.0, 1.0]), np.array([1.0, 9.0])) == 0
