"""Calendar periods against an obvious, slow way to find them."""

from __future__ import annotations

import calendar
import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from hypothesis import example, given
from hypothesis import strategies as st

from aggregation.periods import DAY, Period, Span, closed_between, closed_with, last_closed, named, span_of

days = st.dates(date(1990, 1, 1), date(2110, 12, 31))
periods = st.sampled_from(list(Period))


def same(period: Period, one: date, other: date) -> bool:
    """Whether two days are in the same period, said as plainly as can be."""
    match period:
        case Period.DAILY:
            return one == other
        case Period.WEEKLY:
            return one.isocalendar()[:2] == other.isocalendar()[:2]
        case Period.MONTHLY:
            return (one.year, one.month) == (other.year, other.month)
        case Period.QUARTERLY:
            quarter = {month: (month + 2) // 3 for month in range(1, 13)}
            return (one.year, quarter[one.month]) == (other.year, quarter[other.month])


def slowly(period: Period, day: date) -> Span:
    first = last = day
    while same(period, first - DAY, day):
        first -= DAY
    while same(period, last + DAY, day):
        last += DAY
    return Span(period, first, last)


@given(periods, days)
@example(Period.WEEKLY, date(2026, 1, 1))
@example(Period.MONTHLY, date(2024, 2, 29))
@example(Period.QUARTERLY, date(2025, 12, 31))
def test_the_period_of_a_day(period, day):
    """F3.2: right across month ends, leap years and year ends."""
    span = span_of(period, day)
    assert span == slowly(period, day)
    assert span.previous().last + DAY == span.first
    assert span.following().first - DAY == span.last
    assert span.previous().following() == span
    assert span.days == (span.last - span.first).days + 1


@given(periods, days)
def test_the_last_closed_period(period, today):
    """F3.1, F3.2: over, and the newest that is; daily is yesterday, whole."""
    span = last_closed(period, today)
    assert span.is_closed(today)
    assert span.last < today <= span.following().last
    assert not span.following().is_closed(today)
    if period == Period.DAILY:
        assert span.first == span.last == today - DAY


@pytest.mark.parametrize(
    ("today", "first", "last"),
    [
        (date(2026, 4, 1), date(2026, 1, 1), date(2026, 3, 31)),
        (date(2026, 9, 30), date(2026, 4, 1), date(2026, 6, 30)),
        (date(2026, 10, 1), date(2026, 7, 1), date(2026, 9, 30)),
        (date(2027, 1, 1), date(2026, 10, 1), date(2026, 12, 31)),
    ],
)
def test_a_quarter_has_all_its_months(today, first, last):
    """F3.2: the second to fourth once lost their last one."""
    assert last_closed(Period.QUARTERLY, today) == Span(Period.QUARTERLY, first, last)


@given(periods, days, st.integers(0, 400), st.integers(-30, 430))
def test_the_closed_periods_of_a_range(period, first, length, until_today):
    last, today = first + timedelta(days=length), first + timedelta(days=until_today)
    found = closed_between(period, first, last, today)
    every_day = [first + timedelta(days=number) for number in range(length + 1)]
    assert found == sorted({slowly(period, day) for day in every_day} & {s for s in found if s.last < today})
    assert {slowly(period, day) for day in every_day if slowly(period, day).last < today} == set(found)


@given(st.lists(days, max_size=5), days)
def test_the_closed_periods_that_hold_some_days(some, today):
    found = closed_with(some, today)
    assert found == sorted({slowly(p, day) for p in Period for day in some if slowly(p, day).last < today})


def test_every_period_of_120_years():
    """F3.2: no day is left out and none is in two."""
    for period, expected in ((Period.MONTHLY, 12 * 121), (Period.QUARTERLY, 4 * 121)):
        spans = closed_between(period, date(1990, 1, 1), date(2110, 12, 31), date(2111, 1, 1))
        assert len(spans) == expected
        assert all(one.last + DAY == other.first for one, other in itertools.pairwise(spans))
        assert {span.days for span in spans} == {Period.MONTHLY: {28, 29, 30, 31}, Period.QUARTERLY: {90, 91, 92}}[
            period
        ]
    for span in closed_between(Period.MONTHLY, date(1990, 1, 1), date(2110, 12, 31), date(2111, 1, 1)):
        assert span.days == calendar.monthrange(span.first.year, span.first.month)[1]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Kiritimati"])
@given(moment=st.datetimes(datetime(1990, 1, 1), datetime(2110, 1, 1)))
def test_today_is_that_of_the_time_zone(zone, moment):
    """F3.2: daylight saving moves no day: yesterday is the calendar's, however many hours it had."""
    with timezone.override(zone):
        today = timezone.localdate(moment.replace(tzinfo=UTC))
    assert today == moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()
    assert last_closed(Period.DAILY, today).first == today - timedelta(days=1)


def test_an_unknown_name_lists_the_valid_ones():
    """F3.4"""
    assert named("all") == tuple(Period)
    assert named("weekly") == (Period.WEEKLY,)
    for wrong in ("", "week", "Daily", "yearly"):
        with pytest.raises(ValueError, match="daily, weekly, monthly, quarterly, all"):
            named(wrong)


@pytest.mark.parametrize(
    ("period", "label"),
    [
        (Period.DAILY, "2024-12-30"),
        (Period.WEEKLY, "2025-W01"),
        (Period.MONTHLY, "2024-12"),
        (Period.QUARTERLY, "2024-Q4"),
    ],
)
def test_a_label_names_the_period(period, label):
    """The Monday of the first week of 2025 is in 2024."""
    assert span_of(period, date(2024, 12, 30)).label == label
