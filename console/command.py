"""What commands print: rows as columns or CSV, and the progress of long work."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from engines.statements import printable

from .csv import csv_lines

if TYPE_CHECKING:
    from django.core.management.base import CommandParser, OutputWrapper

#: Seconds between two changes of the line of progress.
PAUSE = 0.2


def add_formats(parser: CommandParser) -> None:
    """Add --json and --csv."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON document")
    how.add_argument("--csv", action="store_true", help="print CSV")


def since(text: str) -> datetime:
    """A moment, or a day (its beginning), in TAIFISH_TIME_ZONE unless it names another. Raises ValueError."""
    found = parse_datetime(text)
    if found is None:
        day = parse_date(text)
        if day is None:
            raise ValueError
        found = datetime(day.year, day.month, day.day)
    return found if found.tzinfo else timezone.make_aware(found)


def write_csv(out: OutputWrapper, rows: Iterable[Mapping[str, Any]], header: Sequence[str] = ()) -> None:
    """Print rows as CSV, by default with the columns of the first row. Lists and objects become JSON."""
    rows = iter(rows)
    first = next(rows, None)
    header = header or list(first or ())
    every = chain([first], rows) if first is not None else rows
    write_csv_lines(out, header, ([_cell(row.get(name)) for name in header] for row in every))


def write_csv_lines(out: OutputWrapper, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV as files have it, without a byte order mark."""
    for text in csv_lines(header, rows):
        out.write(text, ending="")


def _cell(value: Any) -> object:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | tuple | dict) else value


def write_columns(out: OutputWrapper, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in aligned columns below their header. Hidden characters are escaped; columns that are empty in every
    row are left out."""
    table = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    used = [number for number, _name in enumerate(header) if any(row[number] for row in table)]
    lines = [[header[number].upper() for number in used], *([row[number] for number in used] for row in table)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines if table else ():
        padded = (cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        out.write("  ".join(padded).rstrip())


def _width(text: str) -> int:
    """Columns of a terminal: Chinese characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


class Progress:
    """One line on the terminal: how much is done, the rate and the remaining time. Nothing where errors go to a
    file. Where `total` is not known at first, `show` brings it."""

    def __init__(self, stream: OutputWrapper, total: int, what: str) -> None:
        self.stream, self.total, self.what = stream, total, what
        self.is_shown = stream.isatty()
        self.done = 0
        self.started = time.monotonic()
        self.written_at = 0.0

    def __enter__(self) -> Progress:
        self.show(0)
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def step(self) -> None:
        self.show(self.done + 1)

    def show(self, done: int, total: int | None = None) -> None:
        self.done, self.total = done, self.total if total is None else total
        now = time.monotonic()
        if self.is_shown and self.total > 1 and now - self.written_at >= PAUSE:
            self.written_at = now
            self.stream.write(f"\r\x1b[K{self.line(now - self.started)}", ending="")
            self.stream.flush()

    def clear(self) -> None:
        """Remove the line, before a result is printed."""
        if self.is_shown and self.written_at:
            self.written_at = 0.0
            self.stream.write("\r\x1b[K", ending="")
            self.stream.flush()

    def line(self, seconds: float) -> str:
        text = f"{self.done} of {self.total} {self.what}"
        if not self.done or seconds < 1:
            return text
        rate = self.done / seconds
        minutes, left = divmod(round((self.total - self.done) / rate), 60)
        return f"{text}, {rate:.1f} a second, about {minutes}:{left:02} left"
