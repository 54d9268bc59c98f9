"""How wrong forecasts of sizes are, beside a straight line, "no change" and the Theil-Sen line of earlier releases.

Twelve shapes of growth with many seeds, and two real series where vega_datasets is installed; 30 and 90 days after a
history of a year the truth is known. Then the time for 1,000 and for 50,000 series. Needs no store.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import sys
import tempfile
import time
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

import django
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taifish.settings")
# Reasons are texts in a language, for which Django has to be set up. Nothing is stored.
os.environ.setdefault("TAIFISH_DATA_DIR", tempfile.mkdtemp(prefix="taifish-bench-"))
django.setup()

from planning.answers import Forecast  # noqa: E402
from planning.forecast import forecasts  # noqa: E402
from planning.tests.shapes import SHAPES, series  # noqa: E402

QUICK = "--quick" in sys.argv
SEEDS, MANY = (15, 2000) if QUICK else (100, 50_000)
FIRST = date(2025, 1, 1)
HORIZONS = (30, 90)
#: A miss below this part of the size is as good as none: it is the noise of the shapes.
NOISE = 5e-4
UNANSWERED = ("short_history", "long_gaps")


def theil_sen(y: np.ndarray, ahead: int) -> float:
    """Median slope of all pairs of the last 120 days since the last jump, as forecasts were made before; infinite where
    it had fewer than 14 days."""
    y = y[-120:]
    x = np.flatnonzero(~np.isnan(y)).astype(float)
    y, end = y[~np.isnan(y)], len(y) - 1
    if len(x) < 14:
        return np.inf
    rates = np.diff(y) / np.diff(x)
    usual = np.median(rates)
    spread = 1.4826 * np.median(np.abs(rates - usual))
    moved = np.abs(np.diff(y) - usual * np.diff(x))
    jumps = np.flatnonzero((moved > 8 * spread * np.diff(x)) & (moved > 0.02 * np.median(y)))
    begin = int(jumps[-1]) + 1 if len(jumps) else 0
    x, y = x[begin:], y[begin:]
    if len(x) < 14:
        return np.inf
    i, j = np.triu_indices(len(x), k=1)
    slope = np.median((y[j] - y[i]) / (x[j] - x[i]))
    level = np.median(y - slope * x) + slope * end
    return float(max(level, y[-1]) + slope * ahead if slope > 0 else level + slope * ahead)


def straight(y: np.ndarray, ahead: int) -> float:
    y = y[-120:]
    x = np.flatnonzero(~np.isnan(y))
    slope, level = np.polyfit(x, y[x], 1)
    return float(level + slope * (len(y) - 1 + ahead))


def no_change(y: np.ndarray, ahead: int) -> float:
    return float(y[~np.isnan(y)][-1])


OTHERS = {"theil_sen": theil_sen, "straight": straight, "no_change": no_change}


def by_day(y: np.ndarray) -> dict[date, int]:
    return {FIRST + timedelta(days=n): round(size) for n, size in enumerate(y.tolist()) if size == size}


def compare(known: list[tuple[np.ndarray, np.ndarray]], ahead: int) -> dict[str, np.ndarray]:
    """Misses as parts of the truth, whether the range held it, and its width; of series that got an answer."""
    found = forecasts([by_day(history) for history, _ in known], [None] * len(known))
    columns: dict[str, list[float]] = {name: [] for name in ("ours", *OTHERS, "inside", "width")}
    for answer, (history, later) in zip(found, known, strict=True):
        if isinstance(answer, Forecast):
            truth, size = later[ahead - 1], answer.ahead[ahead]
            columns["ours"].append(abs(size.expected / truth - 1))
            columns["inside"].append(size.low <= truth <= size.high)
            columns["width"].append((size.high - size.low) / truth)
            for name, method in OTHERS.items():
                columns[name].append(abs(method(history, ahead) / truth - 1))
    return {name: np.array(values, dtype=float) for name, values in columns.items()} | {
        "unanswered": np.array([sum(not isinstance(answer, Forecast) for answer in found) / len(found)])
    }


def real() -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Series that the package vega_datasets ships, a step for a day: rain in Seattle over four years, added up, and
    hourly temperatures in San Francisco over a year. They are no sizes of databases, but were not made for this. It
    imports pandas, so only its files are read: `pip install --no-deps vega_datasets`."""
    package = find_spec("vega_datasets")
    if package is None or not package.submodule_search_locations:
        return {}
    found = {}
    for name, file, column in (("rain", "seattle-weather", "precipitation"), ("temperature", "sf-temps", "temp")):
        with (Path(package.submodule_search_locations[0]) / "_data" / f"{file}.csv").open(newline="") as rows:
            values = np.array([float(row[column]) for row in csv.DictReader(rows)])
        values = (np.cumsum(values) if name == "rain" else values) * 1e9
        found[name] = [
            (values[max(end - 365, 0) : end], values[end : end + 90]) for end in range(120, len(values) - 90, 10)
        ]
    return found


def main() -> None:
    figures: dict[str, object] = {}
    targets: dict[str, bool] = {}
    pooled: dict[int, list[dict[str, np.ndarray]]] = {ahead: [] for ahead in HORIZONS}
    sets = {shape: [series(shape, seed) for seed in range(SEEDS)] for shape in SHAPES} | real()
    for name, known in sets.items():
        for ahead in HORIZONS:
            result = compare(known, ahead)
            if name in SHAPES:
                targets[f"{name} answered"] = name in UNANSWERED or result["unanswered"][0] == 0
            if not len(result["ours"]):
                continue
            ours, *others = (float(np.median(result[method])) for method in ("ours", *OTHERS))
            inside = round(float(result["inside"].mean()), 3)
            figures[f"{name}_{ahead}"] = [
                round(ours, 5),
                *(round(value, 5) if np.isfinite(value) else None for value in others),
                inside,
            ]
            print(
                f"{name:20}{ahead:3} ours {ours:.5f}",
                *(f"{n} {v:.5f}" for n, v in zip(OTHERS, others, strict=True)),
                f"inside {inside}",
            )
            if name in SHAPES:
                targets[f"{name} {ahead}"] = ours <= 1.2 * max(min(others), NOISE)
                pooled[ahead].append(result)
    for ahead, results in pooled.items():
        every = {name: np.concatenate([result[name] for result in results]) for name in results[0]}
        ours, *others = (float(np.median(every[method])) for method in ("ours", *OTHERS))
        inside = float(every["inside"].mean())
        figures[f"all_{ahead}"] = [
            round(ours, 5),
            *(round(value, 5) if np.isfinite(value) else None for value in others),
            round(inside, 3),
        ]
        targets[f"half of the others' misses at {ahead}"] = ours <= 0.5 * min(others)
        targets[f"65 to 95 % inside at {ahead}"] = 0.65 <= inside <= 0.95
    names = list(SHAPES)
    for many, limit in ((1000, 2), (MANY, 60 * MANY / 50_000)):
        sizes = [by_day(series(names[i % 12], i % 60)[0]) for i in range(min(many, 720))]
        sizes = [sizes[i % len(sizes)] for i in range(many)]
        began = time.perf_counter()
        forecasts(sizes, [10**12] * many)
        took = time.perf_counter() - began
        figures[f"seconds_{many}"] = round(took, 2)
        targets[f"{many} series in {limit:g} s"] = took <= limit
    figures["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    targets["500 MB"] = figures["memory_mb"] <= 500
    ok = all(targets.values())
    missed = [name for name, held in targets.items() if not held]
    print(json.dumps({"name": "forecast", "figures": figures, "targets": {"missed": missed}, "ok": ok}))
    sys.exit(not ok)


if __name__ == "__main__":
    main()
