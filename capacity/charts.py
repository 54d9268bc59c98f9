"""Charts of sizes, for the Chart.js that unfold brings along."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from .units import UNITS, bytes_label

COLOURS = ("--color-primary-600", "--color-base-400")


@dataclass(frozen=True)
class Chart:
    """`data` is what Chart.js takes; `rows` is the same for those who read: day and one text for each of `names`."""

    data: str
    names: Sequence[str]
    rows: Sequence[tuple[date, Sequence[str]]]


def every_day(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def size_chart(days: Sequence[date], series: Mapping[str, Mapping[date, int]]) -> Chart | None:
    """Lines of bytes over days, in the unit that suits the largest; a day without a figure is a hole in the line. None
    where there is nothing to draw."""
    largest = max((abs(size) for sizes in series.values() for size in sizes.values()), default=None)
    if largest is None:
        return None
    unit = _unit(largest)
    datasets = [
        {
            "label": str(name),
            "data": [None if day not in sizes else round(sizes[day] / 1024**unit, 3) for day in days],
            "borderColor": f"var({colour})",
            "pointStyle": "circle",
            "pointRadius": 1.5,
            "tension": 0,
            "displayYAxis": True,
            "suffixYAxis": UNITS[unit],
            "maxTicksXLimit": 12,
        }
        for (name, sizes), colour in zip(series.items(), _repeated(COLOURS, len(series)), strict=True)
    ]
    rows = [
        (day, [bytes_label(sizes.get(day)) for sizes in series.values()])
        for day in reversed(days)
        if any(day in sizes for sizes in series.values())
    ]
    data = json.dumps({"labels": [day.isoformat() for day in days], "datasets": datasets})
    return Chart(data, [str(name) for name in series], rows)


def _unit(size: int) -> int:
    unit = 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size, unit = size // 1024, unit + 1
    return unit


def _repeated(colours: Sequence[str], count: int) -> Iterable[str]:
    return [colours[number % len(colours)] for number in range(count)]
