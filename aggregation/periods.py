"""Calendar periods as pure dates: days, weeks from Monday, months and quarters.

A period is closed when its last day is over. The caller passes today's date, which depends on the time zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

DAY = timedelta(days=1)


class Period(StrEnum):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"


def named(name: str) -> tuple[Period, ...]:
    """Return the period of that name, or all for "all". Raises ValueError with the valid names."""
    if name == "all":
        return tuple(Period)
    try:
        return (Period(name),)
    except ValueError:
        raise ValueError(f"Unknown period {name!r}. Choose from: {', '.join(Period)}, all.") from None


@dataclass(frozen=True, order=True)
class Span:
    """One period of the calendar, both days included."""

    period: Period
    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def previous(self) -> Span:
        return span_of(self.period, self.first - DAY)

    def following(self) -> Span:
        return span_of(self.period, self.last + DAY)

    @property
    def label(self) -> str:
        """As ISO 8601 writes it, where it has a form: "2026-10-31", "2026-W44", "2026-10", "2026-Q4"."""
        match self.period:
            case Period.WEEKLY:
                return f"{self.first:%G-W%V}"
            case Period.MONTHLY:
                return f"{self.first:%Y-%m}"
            case Period.QUARTERLY:
                return f"{self.first.year}-Q{(self.first.month + 2) // 3}"
        return self.first.isoformat()

    def is_closed(self, today: date) -> bool:
        return self.last < today


def span_of(period: Period, day: date) -> Span:
    """Return the span that contains a day."""
    match period:
        case Period.DAILY:
            return Span(period, day, day)
        case Period.WEEKLY:
            monday = day - timedelta(days=day.weekday())
            return Span(period, monday, monday + timedelta(days=6))
        case Period.MONTHLY:
            first, months = day.replace(day=1), 1
        case Period.QUARTERLY:
            first, months = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1), 3
    end = first.month - 1 + months
    return Span(period, first, date(first.year + end // 12, end % 12 + 1, 1) - DAY)


def last_closed(period: Period, today: date) -> Span:
    """Return the last closed span: yesterday, or the last full week from Monday to Sunday, month or quarter."""
    return span_of(period, today).previous()


def closed_between(period: Period, first: date, last: date, today: date) -> list[Span]:
    """Return the closed spans with a day from `first` to `last`, both included, oldest first."""
    return [span for span in _spans(period, first, last) if span.is_closed(today)]


def _spans(period: Period, first: date, last: date) -> Iterator[Span]:
    span = span_of(period, first)
    while span.first <= last:
        yield span
        span = span.following()


def closed_with(days: Sequence[date], today: date) -> list[Span]:
    """Return the closed spans of every period that contain one of these days."""
    found = {span_of(period, day) for period in Period for day in days}
    return sorted(span for span in found if span.is_closed(today))
