"""Twelve ways in which databases grow, for tests and benches. Each is made from a seed: bytes by day, some days unknown.

Imports nothing of the product.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

#: Days after the history whose sizes are known too, to compare forecasts with.
AHEAD = 90


def _base(rand: Generator, least: float = 20, most: float = 500) -> float:
    return rand.uniform(least, most) * 1e9


def _noise(rand: Generator, n: int, base: float, part: float) -> Numbers:
    return rand.normal(0, part * base, n)


def line(rand: Generator, n: int) -> Numbers:
    base = _base(rand)
    return base + base * rand.uniform(0.0005, 0.005) * np.arange(n) + _noise(rand, n, base, 0.001)


def noise(rand: Generator, n: int) -> Numbers:
    base = _base(rand)
    return base + base * rand.uniform(0, 0.0005) * np.arange(n) + _noise(rand, n, base, rand.uniform(0.01, 0.04))


def step(rand: Generator, n: int) -> Numbers:
    base = _base(rand)
    sizes = base + base * rand.uniform(0.0003, 0.002) * np.arange(n)
    for at in rand.choice(np.arange(30, n - AHEAD - 20), 2, replace=False):
        sizes[at:] += base * rand.uniform(0.1, 0.5)
    return sizes + _noise(rand, n, base, 0.001)


def monthly_batch(rand: Generator, n: int) -> Numbers:
    base = _base(rand, 5, 100)
    loads = np.floor((np.arange(n) + rand.integers(30)) / 30)
    return base + base * rand.uniform(0.02, 0.08) * loads + _noise(rand, n, base, 0.0005)


def saw_tooth(rand: Generator, n: int) -> Numbers:
    """Written to every day, purged once a week."""
    base = _base(rand, 5, 100)
    days = np.arange(n)
    teeth = base * rand.uniform(0.005, 0.02) * ((days + rand.integers(7)) % 7)
    return base + teeth + base * rand.uniform(0.0005, 0.002) * days + _noise(rand, n, base, 0.001)


def exponential(rand: Generator, n: int) -> Numbers:
    return _base(rand, 0.5, 5) * np.exp(rand.uniform(0.004, 0.012) * np.arange(n)) * (1 + rand.normal(0, 0.003, n))


def stopped(rand: Generator, n: int) -> Numbers:
    base, stop = _base(rand), n - AHEAD - rand.integers(12, 40)
    return base + base * rand.uniform(0.002, 0.006) * np.minimum(np.arange(n), stop) + _noise(rand, n, base, 0.0007)


def shrink_then_growth(rand: Generator, n: int) -> Numbers:
    base, at, days = _base(rand), n - AHEAD - rand.integers(40, 120), np.arange(n)
    sizes = base * (1 + 0.002 * np.minimum(days, at))
    sizes[at:] *= rand.uniform(0.4, 0.7)
    return sizes + base * rand.uniform(0.001, 0.004) * np.maximum(days - at, 0) + _noise(rand, n, base, 0.001)


def short_history(rand: Generator, n: int) -> Numbers:
    sizes = line(rand, n)
    sizes[: n - AHEAD - rand.integers(4, 12)] = np.nan
    return sizes


def long_gaps(rand: Generator, n: int) -> Numbers:
    sizes = line(rand, n)
    for _ in range(3):
        at = rand.integers(0, n - AHEAD - 60)
        sizes[at : at + rand.integers(20, 50)] = np.nan
    return sizes


def outlier(rand: Generator, n: int) -> Numbers:
    sizes = line(rand, n)
    for at in rand.choice(np.arange(10, n - AHEAD), 6, replace=False):
        sizes[at] *= rand.uniform(1.2, 2.5)
    return sizes


def month_end(rand: Generator, n: int) -> Numbers:
    """Grows in the last days of a month, and is cleaned up after it."""
    base, days = _base(rand, 5, 100), np.arange(n)
    season = np.clip(((days + rand.integers(30)) % 30.44 - 22) / 8, 0, 1)
    growth = base * rand.uniform(0.0005, 0.002) * days
    return base + growth + base * rand.uniform(0.05, 0.2) * season + _noise(rand, n, base, 0.001)


SHAPES: dict[str, Callable[[Generator, int], Numbers]] = {
    shape.__name__: shape
    for shape in (
        *(line, noise, step, monthly_batch, saw_tooth, exponential),
        *(stopped, shrink_then_growth, short_history, long_gaps, outlier, month_end),
    )
}


def series(shape: str, seed: int, history: int = 365) -> tuple[Numbers, Numbers]:
    """The days so far, NaN where unknown, and the AHEAD days after them."""
    sizes = SHAPES[shape](np.random.default_rng([seed, list(SHAPES).index(shape)]), history + AHEAD)
    return sizes[:history], sizes[history:]
