"""What forecasts say: sizes ahead, or the reason for none. Without numpy, which most processes do not need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil

from django.utils.translation import gettext, gettext_noop

#: Days looked back at.
WINDOW = 400

#: A series needs a size on so many of the last RECENT days.
ENOUGH, RECENT = 14, 60

#: Days ahead at which models are compared, and those at which a size is forecast. Beyond the last of COMPARED the
#: models chosen for it go on, and the range grows with the days.
COMPARED = (7, 30, 90)
AHEAD = (*COMPARED, 180, 365)

#: Days whose growth is compared with that of earlier windows, and the score from which on it is unusual.
GROWTH, UNUSUAL = (7, 30), 3.0


@dataclass(frozen=True)
class Range:
    """A size in bytes: in one of ten cases each it is below `low` or above `high`."""

    low: int
    expected: int
    high: int


@dataclass(frozen=True)
class Forecast:
    """`ahead` maps days from `as_of` on to sizes. `days`, `earliest` and `latest` count days until the limit as
    expected, by the upper and by the lower bound: 0 where it is reached, None where it is not within a year or there is
    no limit. `model` is the one with most weight at 30 days, `error` its median miss at 30 days in bytes, None where
    there was nothing to compare. `grown` maps 7 and 30 to the bytes that the size grew by in the last days, and
    `unusual` to how unusual this is, see `unusual_growth`; None if the history is too short. `is_stale`: newer sizes
    should be known. A total is of `n_parts` instances, and all of them have a size (`n_sized`)."""

    as_of: date
    size: int
    limit: int | None
    ahead: Mapping[int, Range]
    model: str
    error: float | None
    since: date
    n_days: int
    grown: Mapping[int, int | None]
    unusual: Mapping[int, float | None]
    computed_at: datetime | None = None
    is_stale: bool = False
    n_sized: int = 0
    n_parts: int = 0

    @property
    def days(self) -> int | None:
        return self._until("expected")

    @property
    def earliest(self) -> int | None:
        return self._until("high")

    @property
    def latest(self) -> int | None:
        return self._until("low")

    def _until(self, bound: str) -> int | None:
        if self.limit is None:
            return None
        return days_until(self.limit, self.size, [getattr(self.ahead[days], bound) for days in AHEAD])

    @property
    def on(self) -> date | None:
        """The day on which the limit is reached, as expected."""
        return self.day(self.days)

    @property
    def earliest_on(self) -> date | None:
        return self.day(self.earliest)

    @property
    def latest_on(self) -> date | None:
        return self.day(self.latest)

    def day(self, days: int | None) -> date | None:
        return None if days is None else self.as_of + timedelta(days=days)

    @property
    def slope(self) -> float:
        """Bytes a day over the next 30 days."""
        return (self.ahead[30].expected - self.size) / 30

    @property
    def doubling(self) -> int | None:
        """Days until the size has doubled. Beyond a year, growth goes on by as many bytes a day as in the year; None
        where that takes more than ten years."""
        if days := days_until(2 * self.size, self.size, [self.ahead[days].expected for days in AHEAD]):
            return days
        growth = self.ahead[365].expected - self.size
        return round(365 * self.size / growth) if 10 * growth > self.size else None

    @property
    def used_percent(self) -> float | None:
        return None if self.limit is None else round(100 * self.size / self.limit, 1)

    @property
    def grown_7(self) -> int | None:
        return self.grown[7]

    @property
    def grown_30(self) -> int | None:
        return self.grown[30]

    @property
    def is_unusual(self) -> bool:
        return any(abs(score) >= UNUSUAL for score in self.unusual.values() if score is not None)

    @property
    def in_30_days(self) -> Range:
        return self.ahead[30]

    @property
    def in_90_days(self) -> Range:
        return self.ahead[90]

    @property
    def in_180_days(self) -> Range:
        return self.ahead[180]

    @property
    def in_365_days(self) -> Range:
        return self.ahead[365]


@dataclass(frozen=True)
class NoForecast:
    """Not enough is known. `code` is one of REASONS, `known` the number of the last RECENT days with a size. Of a total
    of `n_parts` instances only `n_sized` have a size, and `size` is theirs."""

    code: str
    known: int = 0
    as_of: date | None = None
    computed_at: datetime | None = None
    is_stale: bool = False
    size: int | None = None
    n_sized: int = 0
    n_parts: int = 0

    @property
    def reason(self) -> str:
        return gettext(REASONS[self.code]) % {
            "recent": RECENT,
            "known": self.known,
            "enough": ENOUGH,
            "sized": self.n_sized,
            "parts": self.n_parts,
        }


REASONS = {
    "new": gettext_noop("Cannot tell: nothing was computed yet. It is computed after each collection of sizes."),
    "no_sizes": gettext_noop("There is no size yet."),
    "few": gettext_noop("Cannot tell: of the last %(recent)d days %(known)d have a size, %(enough)d are needed."),
    "empty": gettext_noop("Cannot tell: the size is 0."),
    "unread": gettext_noop(
        "Cannot tell: the size is that of %(sized)d of %(parts)d instances. No complete size of the others is known."
    ),
}


def days_until(limit: int, size: int, sizes: Sequence[int]) -> int | None:
    """Days until a curve through `size` today and `sizes` at AHEAD reaches the limit; None beyond the last."""
    if size >= limit:
        return 0
    before, then = 0, float(size)
    for ahead, value in zip(AHEAD, sizes, strict=True):
        if value >= limit:
            return max(ceil(before + (ahead - before) * (limit - then) / (value - then)), 1)
        before, then = ahead, float(value)
    return None
