"""How sizes will go on, for many series at once. Pure: days and bytes in, forecasts or the reason for none out.

Several simple models are tried on the past of each series. From what was known on earlier days each of them forecasts
the size 7, 30 and 90 days later, and the misses are compared. The model with the smallest misses at a horizon makes the
forecast for it, models that miss about as little are averaged, and the misses give the range. Days before the last
surprise, a change that no model foresaw, are not compared. docs/forecasts.md explains the models and their limits.

Arrays have one row per series and one column per day, the last column being the last day with a size. Inside this
module sizes are parts of the last size.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from .answers import AHEAD, COMPARED, ENOUGH, GROWTH, RECENT, WINDOW, Forecast, NoForecast, Range

Numbers = NDArray[np.float64]

#: Days between two origins of the comparison, and how many origins there are.
STEP, ORIGINS = 5, 26

#: Origins whose misses a week later show whether something has just changed: days before the last that can be compared.
LATEST = (0, 2, 4, 7)

#: The range of p10 to p90 is so many times the 80th percentile of the misses, which come from few, overlapping looks.
WIDER = 1.2

#: Smallest part of a size that counts as a miss.
GRAIN = 3e-4

#: Lengths that the window of the model "straight" tries, in days.
LENGTHS = (10, 12, 14, 17, 20, 24, 28, 34, 40, 48, 57, 68, 80, 96, 120, 160, 220, 300)

#: Model → days that it needs. The first ones are simpler, and win when they miss about as little as others.
SIMPLE = {"last": 1, "mean": 7, "straight": 10, "line120": 100, "line365": 300}
MODELS = SIMPLE | {
    **{"line14": 14, "line28": 28, "line60": 60, "damped": 28, "drift60": 60, "drift120": 110, "drift360": 340},
    **{"exponential60": 60, "exponential120": 110, "week": 56, "weekday": 56, "month30": 100, "month": 100},
}
NAMES = tuple(MODELS)

#: Where a model is judged by a shorter horizon: a slope that looks right a week ahead may be wrong for months.
STEEP = np.where(np.isin(NAMES, ["last", "mean"]), 1.0, 1.5)[:, None]

#: Models that a change in the last days does not mislead.
LOCAL = np.array([NAMES.index(name) for name in ("last", "mean", "straight", "line14", "line28")])

#: Series computed at a time: so many use about 100 MB.
BATCH = 2000


@dataclass(frozen=True)
class Outlook:
    """Forecasts of many series, in arrays of one entry per series. `age` counts days from the last size to the last
    column, `since` those to the first; `reason` is one of REASONS or "". Bytes are NaN where there is a reason;
    `low`, `expected` and `high` are AHEAD × series. `grown` and `unusual` map 7 and 30 to arrays."""

    age: NDArray[np.int_]
    since: NDArray[np.int_]
    n_days: NDArray[np.int_]
    n_recent: NDArray[np.int_]
    reason: NDArray[np.str_]
    size: Numbers
    low: Numbers
    expected: Numbers
    high: Numbers
    model: NDArray[np.int_]
    error: Numbers
    grown: Mapping[int, Numbers]
    unusual: Mapping[int, Numbers]

    def answer(self, i: int, last: date, limit: int | None = None) -> Forecast | NoForecast:
        """The forecast of one series; the last column is the day `last`."""
        as_of = last - timedelta(days=int(self.age[i]))
        if self.reason[i]:
            known = self.reason[i] != "no_sizes"
            return NoForecast(str(self.reason[i]), int(self.n_recent[i]), as_of if known else None)
        return Forecast(
            as_of=as_of,
            size=int(self.size[i]),
            limit=limit,
            ahead={
                days: Range(*(_bytes(bound[j, i]) for bound in (self.low, self.expected, self.high)))
                for j, days in enumerate(AHEAD)
            },
            model=NAMES[self.model[i]],
            error=_number(self.error[i]),
            since=last - timedelta(days=int(self.since[i])),
            n_days=int(self.n_days[i]),
            grown={
                days: None if np.isnan(bytes_of[i]) else round(bytes_of[i]) for days, bytes_of in self.grown.items()
            },
            unusual={days: _number(score[i]) for days, score in self.unusual.items()},
        )


def _bytes(size: float) -> int:
    # Columns of the store hold 8 bytes.
    return min(max(round(float(size)), 0), 2**63 - 1)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def forecast(sizes: Mapping[date, int], limit: int | None) -> Forecast | NoForecast:
    """From day → bytes. Days may be missing, and the last one need not be today."""
    return forecasts([sizes], [limit])[0]


def forecasts(series: Sequence[Mapping[date, int]], limits: Sequence[int | None]) -> list[Forecast | NoForecast]:
    """The same for many series, in their order."""
    found: list[Forecast | NoForecast] = []
    for begin in range(0, len(series), BATCH):
        batch = series[begin : begin + BATCH]
        days = np.full((len(batch), WINDOW), np.nan)
        lasts = [max(sizes, default=date.max) for sizes in batch]
        for row, sizes, last in zip(days, batch, lasts, strict=True):
            for day, size in sizes.items():
                if (age := (last - day).days) < WINDOW:
                    row[WINDOW - 1 - age] = size
        outlook = outlook_of(days)
        found += [outlook.answer(i, last, limits[begin + i]) for i, last in enumerate(lasts)]
    return found


def outlook_of(days: Numbers) -> Outlook:
    """Forecast many series. `days` has bytes, NaN where they are not known."""
    n, width = days.shape
    known = ~np.isnan(days)
    n_days = known.sum(1)
    age = np.where(n_days > 0, known[:, ::-1].argmax(1), 0)
    # The last size of each series into the last column.
    columns = np.arange(width) - age[:, None]
    days = np.where(columns < 0, np.nan, np.take_along_axis(days, np.maximum(columns, 0), 1))
    known = ~np.isnan(days)
    first = known.argmax(1)
    recent = known[:, -RECENT:].sum(1)
    size = days[:, -1]
    reason = np.select(
        [n_days == 0, (recent < ENOUGH) | (width - 1 - first < ENOUGH), size == 0], ["no_sizes", "few", "empty"], ""
    )
    able = np.flatnonzero(reason == "")
    shape = (len(AHEAD), n)
    outlook = Outlook(
        *(age, age + width - 1 - first, n_days, recent, reason, size),
        *(np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)),
        *(np.zeros(n, int), np.full(n, np.nan)),
        *({length: np.full(n, np.nan) for length in GROWTH} for _ in range(2)),
    )
    for begin in range(0, len(able), BATCH):
        _fill(outlook, able[begin : begin + BATCH], days, first)
    return outlook


def _fill(outlook: Outlook, rows: NDArray[np.int_], days: Numbers, first: NDArray[np.int_]) -> None:
    """Compute the forecasts of these rows of `outlook`."""
    now, first = outlook.size[rows], first[rows]
    y = without_spikes(filled(days[rows])) / now[:, None]
    # Series too short for a model or a horizon leave slices without a number.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        chosen = choose(y, first)
        growth = {length: unusual_growth(y, first, length) for length in GROWTH}
    for target, source in (
        (outlook.low, chosen.low),
        (outlook.expected, chosen.expected),
        (outlook.high, chosen.high),
    ):
        target[:, rows] = source * now
    outlook.model[rows], outlook.error[rows] = chosen.model, chosen.error * now
    for length, (grown, score) in growth.items():
        outlook.grown[length][rows], outlook.unusual[length][rows] = grown * now, score


def unusual_growth(y: Numbers, first: NDArray[np.int_], length: int) -> tuple[Numbers, Numbers]:
    """Growth in the last `length` days, and how unusual it is beside that of all earlier windows of as many days.

    The score is the distance from their median, in halves of the span from their 5th to their 95th percentile: what
    comes back every month, or on one day in ten, stays within about 2. NaN where fewer than three windows of `length`
    days lie before the last.
    """
    growth = y[:, length:] - y[:, :-length]
    grown, earlier = growth[:, -1], growth[:, :-length].copy()
    # A window that begins before the first size says nothing.
    count = earlier.shape[1] - first
    earlier[np.arange(earlier.shape[1]) < first[:, None]] = np.nan
    earlier.sort(1)
    low, middle, high = (
        np.take_along_axis(earlier, np.maximum((part * (count - 1)).astype(int), 0)[:, None], 1)[:, 0]
        for part in (0.05, 0.5, 0.95)
    )
    score = (grown - middle) / np.maximum((high - low) / 2, GRAIN * length)
    grown = np.where(first <= y.shape[1] - 1 - length, grown, np.nan)
    return grown, np.where(count > 2 * length, score, np.nan)


def filled(days: Numbers) -> Numbers:
    """Gaps as the straight line between the days beside them, and the first size before the first day."""
    columns = np.arange(days.shape[1])
    filled = np.empty_like(days)
    # A row each: np.interp takes one series. It is a small part of the whole.
    for row, target in zip(days, filled, strict=True):
        known = ~np.isnan(row)
        target[:] = np.interp(columns, columns[known], row[known])
    return filled


def without_spikes(y: Numbers) -> Numbers:
    """Single days far off both their neighbours, which agree, take the mean of these."""
    y = y.copy()
    before, day, after = y[:, :-2], y[:, 1:-1], y[:, 2:]
    mean = (before + after) / 2
    off = np.abs(day - mean)
    usual = np.median(off, 1, keepdims=True)
    spike = (off > 8 * usual) & (off > 5 * np.abs(after - before)) & (off > 0.01 * np.abs(mean))
    y[:, 1:-1] = np.where(spike, mean, day)
    return y


class Lines:
    """Least-squares lines over any window of columns, by running sums."""

    def __init__(self, y: Numbers) -> None:
        self._mean = y.mean(1)
        y = y - self._mean[:, None]
        t = np.arange(y.shape[1], dtype=np.float64)
        zero = np.zeros((len(y), 1))
        self._sums = [np.concatenate([zero, np.cumsum(part, 1)], 1) for part in (y, t * y, y * y)]

    def fit(self, end: int, length: int) -> tuple[Numbers, Numbers, Numbers]:
        """Slope a day, level on the last day and root mean square of the rest, of the `length` columns before `end`."""
        begin, middle = end - length, end - (length + 1) / 2
        y, ty, yy = (sums[:, end] - sums[:, begin] for sums in self._sums)
        ty -= middle * y
        slope = ty / (length * (length * length - 1) / 12)
        rest = np.maximum(yy - y * y / length - slope * ty, 0)
        return slope, self._mean + y / length + slope * (length - 1) / 2, np.sqrt(rest / length)


class Past:
    """What models read: the sizes, and lines through them and through their logarithms."""

    def __init__(self, y: Numbers, first: NDArray[np.int_]) -> None:
        self.y, self.first = y, first
        self.lines, self.logs = Lines(y), Lines(np.log(np.maximum(y, 1e-9)))

    def project(self, end: int, ahead: Sequence[int]) -> Numbers:
        """What each model expects so many days after the last column before `end`: horizons × models × series. NaN
        where a series has too few days by then."""
        past, h = self.y[:, :end], np.array(ahead, dtype=np.float64)[:, None]
        said = np.full((len(ahead), len(NAMES), len(past)), np.nan)
        model = {name: said[:, i] for i, name in enumerate(NAMES)}
        last = past[:, -1]
        model["last"][:] = last
        model["mean"][:] = np.median(past[:, -28:], 1)
        slope, level = self._straight(end)
        model["straight"][:] = level + slope * h
        for length in (14, 28, 60, 120, 365):
            if length <= end:
                slope, level, _ = self.lines.fit(end, length)
                model[f"line{length}"][:] = level + slope * h
                if length == 28:
                    model["damped"][:] = level + slope * 0.97 * (1 - 0.97**h) / 0.03
        week = np.median(past[:, -7:], 1)
        for length in (60, 120, 360):
            if length + 7 <= end:
                earlier = np.median(past[:, -length - 7 : -length], 1)
                model[f"drift{length}"][:] = last + (week - earlier) / length * h
        for length in (60, 120):
            if length <= end:
                slope, level, _ = self.logs.fit(end, length)
                # Nothing doubles in less than two weeks for a year.
                model[f"exponential{length}"][:] = np.exp(level + np.clip(slope, -0.05, 0.05) * h)
        if end >= 63:
            drift = (np.median(past[:, -28:], 1) - np.median(past[:, -56:-28], 1)) / 28
            model["week"][:] = _season(past, ahead, 7, 4, drift)
            slope, level, _ = self.lines.fit(end, 56)
            rest = past[:, -56:] - (level[:, None] + slope[:, None] * np.arange(-55, 1))
            by_weekday = np.median(rest.reshape(len(past), 8, 7), 1)
            model["weekday"][:] = level + slope * h + by_weekday[:, (np.array(ahead) - 1) % 7].T
        if end >= 105:
            cycles = 4 if end >= 190 else 2
            for name, period in (("month30", 30.0), ("month", 30.4375)):
                span = round(period * cycles)
                drift = (np.median(past[:, -30:], 1) - np.median(past[:, -30 - span : -span], 1)) / span
                model[name][:] = _season(past, ahead, period, cycles, drift)
        needs = np.array(list(MODELS.values()))[:, None]
        said[:, end - self.first < needs] = np.nan
        return said

    def _straight(self, end: int) -> tuple[Numbers, Numbers]:
        """Slope and level of a line over the longest window that is about as straight as its last ten days."""
        slope, level, usual = self.lines.fit(end, LENGTHS[0])
        usual = np.maximum(usual, GRAIN / 2)
        grows = np.ones(len(slope), bool)
        for length in LENGTHS[1:]:
            if length > end:
                break
            longer, its_level, rest = self.lines.fit(end, length)
            grows &= (rest <= 2 * usual) & (end - self.first >= length)
            if length <= 20:
                usual = np.where(grows, np.maximum(usual, rest), usual)
            slope, level = np.where(grows, longer, slope), np.where(grows, its_level, level)
        return slope, level


def _season(past: Numbers, ahead: Sequence[int], period: float, cycles: int, drift: Numbers) -> Numbers:
    """The same day of the last cycles, moved on by the drift a day: horizons × series."""
    said = []
    for days in ahead:
        cycle = np.ceil(days / period)
        back = [round(period * (cycle + more)) for more in range(cycles)]
        said.append(np.median([past[:, past.shape[1] - 1 + days - b] + drift * b for b in back], 0))
    return np.array(said)


@dataclass(frozen=True)
class Chosen:
    """`low`, `expected` and `high` are AHEAD × series; `model` and `error` are those at 30 days."""

    low: Numbers
    expected: Numbers
    high: Numbers
    model: NDArray[np.int_]
    error: Numbers


def choose(y: Numbers, first: NDArray[np.int_]) -> Chosen:
    """Compare the models on the past of each series, and forecast with the best at each horizon."""
    width, rows = y.shape[1], np.arange(len(y))
    past = Past(y, first)
    now = past.project(width, AHEAD)
    latest = [width - COMPARED[0] - back for back in LATEST]
    ends = sorted({*latest, *(width - COMPARED[0] - STEP * k for k in range(ORIGINS))}, reverse=True)
    misses = _misses(past, ends)
    week = np.abs(misses[0])
    recent = week[[end in latest for end in ends]]
    lately, before = np.nanmedian(recent, 0), np.nanmedian(week[[end <= width - 45 for end in ends]], 0)
    nearest = LOCAL[_known(lately[LOCAL]).argmin(0)]
    score, usual = _known(lately), None
    low, middle, high = (np.empty((len(AHEAD), len(y))) for _ in range(3))
    for j, days in enumerate(COMPARED):
        usual, surprised = _surprises(misses[j], usual, days / COMPARED[j - 1])
        compared = np.where(surprised[:, None], np.nan, np.abs(misses[j]))
        looks = (~np.isnan(compared).all(1)).sum(0)
        score = np.where(looks < (3 if j else 1), score * STEEP, _score(compared))
        score = np.where(np.isnan(now[j]), np.inf, score)
        best = score.argmin(0)
        # A change in the last days: the best model misses as it did not before, one that looks at these days does not.
        changed = (lately[best, rows] > 4 * before[best, rows] + GRAIN) & (
            lately[nearest, rows] < 0.35 * lately[best, rows]
        )
        best = np.where(changed, nearest, best)
        weights = _weights(score, best, changed)
        together = np.where(np.isnan(compared).all(1), np.nan, np.nansum(misses[j] * weights, 1))
        spread = np.nanquantile(np.abs(together), 0.8, axis=0)
        by_week = np.nanmax(recent, 0)[best, rows] * days / COMPARED[0]
        spread = np.where(changed, by_week, np.where(looks < 4, np.fmax(spread, by_week), spread))
        # Without any comparison, as wide as the series itself.
        spread = WIDER * np.where(np.isnan(spread), np.ptp(y, 1), spread) + GRAIN / 10
        for k in range(j, len(AHEAD) if days == COMPARED[-1] else j + 1):
            middle[k] = np.nansum(now[k] * weights, 0)
            half = spread * AHEAD[k] / days * np.abs(middle[k])
            low[k], high[k] = middle[k] - half, middle[k] + half
        if days == 30:
            model, error = best, np.nanmedian(np.abs(together), 0)
    return Chosen(low, middle, high, model, error)


def _misses(past: Past, ends: Sequence[int]) -> Numbers:
    """By what part of the size the models missed it from each origin: COMPARED × ends × models × series."""
    n, width = past.y.shape
    misses = np.full((len(COMPARED), len(ends), len(NAMES), n), np.nan)
    for i, end in enumerate(ends):
        said = past.project(end, COMPARED)
        for j, days in enumerate(COMPARED):
            if end - 1 + days < width:
                size = past.y[:, end - 1 + days]
                misses[j, i] = (size - said[j]) / np.maximum(size, GRAIN)
                misses[j, i][:, past.first > end - ENOUGH] = np.nan
    return misses


def _known(misses: Numbers) -> Numbers:
    return np.where(np.isnan(misses), np.inf, misses)


def _surprises(misses: Numbers, shorter: Numbers | None, ratio: float) -> tuple[Numbers, NDArray[np.bool_]]:
    """What a good model usually misses, and for each origin, newest first, whether a surprise lies after it: a change
    that made all models miss many times as much. `shorter` is the usual miss at a horizon `ratio` times as short."""
    # The second smallest miss: that of one model alone may be small by chance.
    least = np.partition(_known(np.abs(misses)), 1, axis=1)[:, 1]
    least[np.isinf(least)] = np.nan
    usual = np.nanquantile(least, 0.25, axis=0)
    if shorter is not None:
        usual = np.fmin(usual, shorter * ratio)
    return usual, np.cumsum(least > np.maximum(8 * np.maximum(usual, GRAIN), 0.005), 0) > 0


def _score(compared: Numbers) -> Numbers:
    """Models × series: the typical miss, with something of the large ones. Simple models have a small advantage."""
    score = np.nanmedian(compared, 0) + 0.25 * np.nanmean(compared, 0)
    score[len(SIMPLE) :] *= 1.3
    return _known(score)


def _weights(score: Numbers, best: NDArray[np.int_], changed: NDArray[np.bool_]) -> Numbers:
    """Models × series, 1 in all: the best one, and those that miss about as little."""
    least = score.min(0)
    weights = np.where(score <= 1.35 * least, 1 / np.maximum(score, 1e-9) ** 2, 0)
    alone = np.zeros_like(score)
    alone[best, np.arange(len(best))] = 1
    weights = np.where(changed | ~np.isfinite(least), alone, weights)
    return weights / weights.sum(0)
