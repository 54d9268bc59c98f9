"""Bytes as people read them, and charts of them."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.charts import every_day, size_chart
from console.units import UNITS, bytes_label, parsed_bytes

FACTORS = {name: 1024**power for power, name in enumerate(UNITS)}


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (None, "–"),
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (10 * 1024, "10.0 KiB"),
        (100 * 1024, "100 KiB"),
        (1024**2 - 1, "1.00 MiB"),
        (5 * 1024**4, "5.00 TiB"),
        (-1536, "-1.50 KiB"),
        (2**63 - 1, "8.00 EiB"),
    ],
)
def test_a_size_in_words(size, told):
    """F2.7: formatted at the edge, and only there."""
    assert bytes_label(size) == told


def test_a_change_shows_its_sign():
    assert [bytes_label(size, signed=True) for size in (2048, -2048, 0, None)] == ["+2.00 KiB", "-2.00 KiB", "0 B", "–"]


@given(st.integers(-(2**63), 2**63 - 1))
def test_the_words_are_as_good_as_the_size(size):
    number, unit = bytes_label(size).split()
    assert abs(float(number)) < 1024
    assert float(number) * FACTORS[unit] == pytest.approx(size, rel=0.0051)


@pytest.mark.parametrize(
    ("text", "size"),
    [("500 GiB", 500 * 1024**3), ("1.5T", 3 * 1024**4 // 2), ("1048576", 2**20), ("2,5 mb", 5 * 2**19), (" 7 B ", 7)],
)
def test_a_size_is_understood(text, size):
    assert parsed_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-5 GiB", "0", "5 XiB", "9999999 EiB", "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="Enter a size such as 500 GiB"):
        parsed_bytes(text)


def test_a_day_without_a_size_is_a_hole_and_not_zero():
    """F2.5"""
    days = every_day(date(2026, 2, 27), date(2026, 3, 2))
    chart = size_chart(days, {"size": {days[0]: 3 * 1024**3, days[2]: 1024**3 // 2}})
    drawn = json.loads(chart.data)
    assert drawn["labels"] == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert drawn["datasets"][0]["data"] == [3.0, None, 0.5, None]
    assert drawn["datasets"][0]["suffixYAxis"] == "GiB"
    assert chart.rows == [("2026-03-01", ["512 MiB"], ""), ("2026-02-27", ["3.00 GiB"], "")]
    assert size_chart(days, {"size": {}}) is None
