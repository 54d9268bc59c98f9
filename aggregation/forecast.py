"""When a size will reach a limit, from the days so far. Pure: arrays in, a forecast or the reason for none out.

The trend is the Theil-Sen line (the median of the slopes of all pairs of days): a few odd days do not bend it. Only
what came after the last jump counts. How far such lines went wrong is told beside it: from what was known on each of
the last days a line is drawn, and set against the size a week later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from django.utils.translation import gettext
from numpy.typing import NDArray

#: Days looked back at, and how many with a size a line is drawn from at least.
WINDOW, ENOUGH = 120, 14

#: Days ahead over which the error is measured, and how many such steps at most.
STEP, STEPS = 7, 8

#: A day's change is a jump when it is so many times the usual spread away from the usual change, and no less than
#: this part of the size.
JUMP, JUMP_PART = 8.0, 0.02

#: Beyond this many days a date means nothing.
FAR = 3650

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """`days` until the limit from `as_of` on, 0 where it is reached, None where it never is at this rate or not for ten
    years. `slope` is bytes a day. `error` is the median miss, in bytes, of lines like this one a week ahead; None
    where there are too few days to tell. `since` is the first day the line is drawn from."""

    as_of: date
    size: int
    limit: int
    days: int | None
    slope: float
    error: float | None
    since: date
    n_days: int

    @property
    def on(self) -> date | None:
        """The day on which the limit is reached."""
        return None if self.days is None else self.as_of + timedelta(days=self.days)


@dataclass(frozen=True)
class NoForecast:
    """Not enough is known, and why."""

    reason: str


def forecast(sizes: dict[date, int], limit: int) -> Forecast | NoForecast:
    """From day → bytes. Days may be missing, and the last one need not be today."""
    if not sizes:
        return NoForecast(gettext("There is no size yet."))
    last = max(sizes)
    days = sorted(day for day in sizes if day > last - timedelta(days=WINDOW))
    x = np.array([(day - days[0]).days for day in days], dtype=np.float64)
    y = np.array([sizes[day] for day in days], dtype=np.float64)
    start = change_point(x, y)
    if len(x) - start < ENOUGH:
        told = gettext("Not enough data: %(days)d days with a size, %(needed)d are needed.")
        if start:
            told = gettext(
                "Not enough data: %(days)d days with a size since it jumped on %(day)s, %(needed)d are needed."
            )
        return NoForecast(told % {"days": len(x) - start, "day": days[start], "needed": ENOUGH})
    x, y = x[start:], y[start:]
    slope, level = line(x, y)
    now = sizes[last]
    if now >= limit:
        left: int | None = 0
    elif slope <= 0:
        left = None
    else:
        # From where the line is on the last day, or from the size itself where that is closer to the limit.
        reached = (limit - max(slope * x[-1] + level, now)) / slope
        left = None if reached > FAR else max(int(np.ceil(reached)), 1)
    return Forecast(last, now, limit, left, float(slope), walk_forward_error(x, y), days[start], len(x))


def line(x: Numbers, y: Numbers) -> tuple[float, float]:
    """Slope and intercept by Theil and Sen."""
    first, second = np.triu_indices(len(x), k=1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    return slope, float(np.median(y - slope * x))


def change_point(x: Numbers, y: Numbers) -> int:
    """Index of the first day after the last jump; 0 where there is none."""
    if len(x) < 3:
        return 0
    rates = np.diff(y) / np.diff(x)
    usual = np.median(rates)
    # Of a normal distribution this many medians of distances are one standard deviation.
    spread = 1.4826 * np.median(np.abs(rates - usual))
    moved = np.abs(np.diff(y) - usual * np.diff(x))
    jumps = np.flatnonzero((moved > JUMP * spread * np.diff(x)) & (moved > JUMP_PART * np.median(y)))
    return int(jumps[-1]) + 1 if len(jumps) else 0


def walk_forward_error(x: Numbers, y: Numbers) -> float | None:
    """Median of how far the lines of earlier days missed the size a week later, in bytes."""
    misses = []
    for origin in range(len(x) - 1, ENOUGH - 2, -1):
        later = np.flatnonzero(x == x[origin] + STEP)
        if len(later):
            slope, level = line(x[: origin + 1], y[: origin + 1])
            misses.append(abs(slope * x[later[0]] + level - y[later[0]]))
        if len(misses) == STEPS:
            break
    return float(np.median(misses)) if misses else None
