"""Charts of sizes, for the Chart.js that comes with unfold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from .units import UNITS, bytes_label

#: Between two lines that are the edges of a range.
BAND = "rgba(147, 51, 234, 0.14)"
COLOURS = ("--color-primary-600", "--color-base-400")
#: Of areas one above the other: they differ in light and dark, and for the colour-blind (Okabe and Ito).
AREAS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")


@dataclass(frozen=True)
class Chart:
    """`data` is JSON for Chart.js and taifish/charts.js; `rows` is the same as a table: a label, a text for each of
    `names`, and the address that the label leads to ("" for none)."""

    data: str
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str], str]]


def every_day(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def size_chart(days: Sequence[date], series: Mapping[str, Mapping[date, int]]) -> Chart | None:
    """Return lines of bytes by day, with a gap for a day without a figure. The table has the newest day first."""
    lines = {name: [sizes.get(day) for day in days] for name, sizes in series.items()}
    return bytes_chart([day.isoformat() for day in days], lines)


def bytes_chart(
    labels: Sequence[str],
    series: Mapping[str, Sequence[int | None]],
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    signed: bool = False,
    links: Sequence[str] = (),
    stacked: bool = False,
) -> Chart | None:
    """Return series of bytes, one figure per label, in the unit of the largest. `styles` adds properties to a series'
    dataset, such as `link`, an address; `links` are the addresses of the labels. Series that are `stacked` are areas
    one above the other. Returns None without figures."""
    sums = [[size for size in sizes if size is not None] for sizes in zip(*series.values(), strict=True)]
    largest = max((sum(map(abs, sizes)) if stacked else max(map(abs, sizes)) for sizes in sums if sizes), default=None)
    if largest is None:
        return None
    unit = _unit(largest)
    datasets = [
        {
            "label": str(name),
            "data": [None if size is None else round(size / 1024**unit, 3) for size in sizes],
            "borderColor": f"var({COLOURS[number % len(COLOURS)]})",
            "pointStyle": "circle",
            "pointRadius": 1.5,
            "tension": 0,
            "displayYAxis": True,
            "suffixYAxis": UNITS[unit],
            "maxTicksXLimit": 12,
            **(_area(number) if stacked else {}),
            **(styles or {}).get(name, {}),
        }
        for number, (name, sizes) in enumerate(series.items())
    ]
    rows = [
        (label, [bytes_label(size, signed=signed) for size in cells], link)
        for label, link, *cells in zip(labels, links or [""] * len(labels), *series.values(), strict=True)
        if any(size is not None for size in cells)
    ]
    data = json.dumps({"labels": list(labels), "datasets": datasets, "links": list(links), "stacked": stacked})
    return Chart(data, [str(name) for name in series], rows[::-1])


def _area(number: int) -> dict[str, Any]:
    colour = AREAS[number % len(AREAS)]
    return {
        "borderColor": colour,
        "backgroundColor": f"{colour}66",
        "fill": "stack",
        "borderWidth": 1,
        "pointRadius": 0,
    }


def _unit(size: int) -> int:
    unit = 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size, unit = size // 1024, unit + 1
    return unit
