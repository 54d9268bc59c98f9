"""Forecasts of series whose future is known."""

from __future__ import annotations

from datetime import date, timedelta
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ..answers import AHEAD, COMPARED, ENOUGH, UNUSUAL, Forecast, NoForecast, days_until
from ..forecast import NAMES, forecast, forecasts
from .shapes import SHAPES, series

FIRST = date(2026, 1, 1)
GIB = 1024**3
SEEDS = range(12)


def by_day(sizes, skip: set[int] = frozenset()) -> dict[date, int]:
    return {FIRST + timedelta(days=n): round(size) for n, size in enumerate(sizes) if n not in skip and size == size}


def forecast_of(sizes, limit: float | None = None) -> Forecast:
    found = forecast(by_day(sizes), None if limit is None else round(limit))
    assert isinstance(found, Forecast), found
    return found


@given(
    st.integers(120, 300),
    st.integers(1, 30),
    st.integers(1, 300),
    st.sets(st.integers(0, 119), max_size=20),
)
def test_a_straight_line_reaches_its_limit_on_the_day(days, rate, ahead, skipped):
    """F10.2: bytes a day from a thousandth to a thirtieth of the size."""
    sizes = [1000 * GIB + rate * GIB * n for n in range(days)]
    limit = sizes[-1] + rate * GIB * ahead
    found = forecast(by_day(sizes, skipped), limit)
    assert isinstance(found, Forecast)
    assert abs(found.days - ahead) <= max(1, ahead // 50)
    assert found.slope == pytest.approx(rate * GIB, rel=0.02)
    assert found.earliest <= found.days
    assert found.latest is None or found.latest >= found.days


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shapes_that_databases_take(shape):
    """F10.3: at 30 and 90 days the typical miss is a small part of the size, where the shape allows one to know."""
    known = [series(shape, seed) for seed in SEEDS]
    found = forecasts([by_day(history) for history, _ in known], [None] * len(known))
    if shape == "short_history":
        assert all(isinstance(answer, NoForecast) and "Cannot tell" in answer.reason for answer in found)
        return
    pairs = [(answer, later) for answer, (_, later) in zip(found, known, strict=True) if isinstance(answer, Forecast)]
    # A gap at the end may leave too few days.
    assert len(pairs) >= len(known) - (2 if shape == "long_gaps" else 0)
    for days in (30, 90):
        misses = [abs(answer.ahead[days].expected / later[days - 1] - 1) for answer, later in pairs]
        assert median(misses) < (0.03 if shape == "noise" else 0.01)
        inside = [answer.ahead[days].low <= later[days - 1] <= answer.ahead[days].high for answer, later in pairs]
        assert np.mean(inside) >= 0.4


def test_a_batch_every_month_fills_the_disk():
    """F10.3: 500 MB every 30 days, which a line since the last jump calls no growth."""
    sizes = [10e9 + 5e8 * (n // 30) for n in range(365)]
    found = forecast_of(sizes, 10e9 + 5e8 * 15)
    assert abs(found.days - (450 - 364)) <= 30
    assert found.earliest <= found.days


def test_a_weekly_purge_does_not_hide_growth():
    sizes = [5e9 + 1e7 * n + 2e8 * (n % 7) for n in range(200)]
    found = forecast_of(sizes)
    assert found.ahead[90].expected == pytest.approx(5e9 + 1e7 * 289 + 2e8 * (289 % 7), rel=0.02)


def test_growth_by_a_percentage_is_no_line():
    """F10.3: three per cent a day double a database in 24 days."""
    sizes = [1e9 * 1.03**n for n in range(150)]
    found = forecast_of(sizes, sizes[-1] * 1.03**42)
    assert abs(found.days - 42) <= 6
    assert found.model.startswith("exponential")


def test_growth_that_ended_has_ended():
    """F10.3: fifteen days without growth after 200 days with it."""
    sizes = [100 * GIB + GIB * min(n, 200) for n in range(216)]
    found = forecast_of(sizes, sizes[-1] + 26 * GIB)
    assert found.days is None
    assert found.ahead[90].expected == pytest.approx(sizes[-1], rel=0.01)


def test_odd_days_do_not_count():
    sizes = [100 * GIB + GIB * n for n in range(120)]
    for odd in (15, 47, 90):
        sizes[odd] *= 2
    assert abs(forecast_of(sizes, 300 * GIB).days - 81) <= 2


def test_what_does_not_grow_never_arrives():
    assert forecast_of([5 * GIB] * 60, 6 * GIB).days is None
    assert forecast_of([5 * GIB - n * 2**20 for n in range(60)], 6 * GIB).days is None


def test_a_limit_that_is_passed_is_reached():
    found = forecast_of([5 * GIB + n for n in range(60)], 5 * GIB)
    assert (found.days, found.earliest, found.latest) == (0, 0, 0)
    assert found.on == FIRST + timedelta(days=59)


def test_without_a_limit_there_are_sizes_and_no_days():
    found = forecast_of([GIB * (100 + n) for n in range(60)])
    assert (found.limit, found.days, found.on) == (None, None, None)
    assert set(found.ahead) == set(AHEAD)


def test_not_enough_is_an_answer():
    """F10.2: "cannot tell", with the reason."""
    assert forecast({}, 1) == NoForecast("no_sizes")
    assert forecast({}, 1).reason == "There is no size yet."
    few = forecast(by_day([5.0] * (ENOUGH - 1)), 1)
    assert isinstance(few, NoForecast)
    assert "of the last 60 days 13 have a size, 14 are needed" in few.reason
    assert forecast(by_day([0] * 60), 1).reason == "Cannot tell: the size is 0."


def test_the_range_widens_with_the_days():
    rand = np.random.default_rng(7)
    found = forecast_of([GIB * (100 + n + rand.normal(0, 0.5)) for n in range(200)])
    width = [found.ahead[days].high - found.ahead[days].low for days in AHEAD]
    assert width[0] < width[-1]
    assert 0.05 * GIB < found.error < 2 * GIB


def test_growth_is_compared_with_that_of_earlier_weeks():
    """F10.4: a batch every month is usual, ten times the usual growth is not, and too short a history says nothing."""
    rand = np.random.default_rng(3)
    steady = 100 + 0.1 * np.arange(300) + rand.normal(0, 0.02, 300)
    usual = forecast_of(GIB * steady)
    assert not usual.is_unusual
    assert usual.grown[30] == pytest.approx(3 * GIB, rel=0.1)
    jump = np.where(np.arange(300) > 295, 7, 0)
    assert forecast_of(GIB * (steady + jump)).unusual[7] > UNUSUAL
    assert forecast_of(GIB * (steady - jump)).unusual[7] < -UNUSUAL
    for end in range(270, 300):
        monthly = 100 + 5 * (np.arange(end) // 30)
        assert not forecast_of(GIB * monthly).is_unusual, end
    assert forecast_of(GIB * steady[:20]).unusual == {7: None, 30: None}


def test_doubling_is_counted_along_the_curve_and_then_along_the_year():
    """F10.4."""
    assert 340 <= forecast_of([GIB * (100 + n) for n in range(250)]).doubling <= 350
    assert forecast_of([GIB * (1000 + n) for n in range(250)]).doubling == pytest.approx(1249, abs=3)
    assert forecast_of([GIB * 100] * 250).doubling is None


def test_many_series_are_answered_as_each_alone():
    """Order and company do not matter."""
    days = [by_day(series(shape, 5)[0]) for shape in SHAPES]
    together = forecasts(days, [10**12] * len(days))
    turned = forecasts(days[::-1], [10**12] * len(days))[::-1]
    for found, other, sizes in zip(together, turned, days, strict=True):
        for same in (other, forecast(sizes, 10**12)):
            assert isinstance(found, Forecast) == isinstance(same, Forecast)
            if isinstance(found, Forecast):
                # Vector instructions round the last bit otherwise than scalar ones.
                assert found.model == same.model
                assert found.ahead[90].expected == pytest.approx(same.ahead[90].expected, rel=1e-6)


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=60), st.integers(1, 2**62))
def test_any_series_gets_an_answer(sizes, limit):
    found = forecast(by_day(sizes), limit)
    assert isinstance(found, Forecast | NoForecast)
    if isinstance(found, Forecast):
        assert found.model in NAMES
        assert found.days is None or 0 <= found.days <= AHEAD[-1]
        assert (found.days == 0) == (found.size >= limit)
        assert all(0 <= size.low <= size.expected <= size.high for size in found.ahead.values())


def test_days_are_counted_along_the_curve():
    assert days_until(100, 100, [0] * len(AHEAD)) == 0
    assert days_until(107, 100, [100 + days for days in AHEAD]) == 7
    assert days_until(120, 100, [100 + days for days in AHEAD]) == 20
    assert days_until(10**6, 100, [100 + days for days in AHEAD]) is None
    assert AHEAD[: len(COMPARED)] == COMPARED
