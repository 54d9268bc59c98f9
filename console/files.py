"""Lists as CSV and XLSX, from pages and from the API: values for programs, and the question above the rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

from django.http import HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _

from .csv import csv_file
from .xlsx import ROWS, xlsx_file

#: Lines above the rows, each a name and a value.
Lines = list[list[object]]

FORMS = ("csv", "xlsx")
#: Rows that are read from the store at once.
CHUNK = 1000


def machine(value: Any) -> Any:
    """A value for programs: moments in ISO 8601, durations in seconds, numbers as they are, all else as text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime():
            return timezone.localtime(value).isoformat(timespec="seconds")
        case date():
            return value.isoformat()
        case timedelta():
            return int(value.total_seconds())
        case list() | tuple() | set():
            return ", ".join(str(machine(one)) for one in value)
    return "" if value == "–" else str(value)


def head(question: Lines, by: str, rows: int) -> Lines:
    """The lines above the columns of a file, each a name and a value."""
    now = timezone.localtime()
    return [
        *question,
        [_("rows"), rows],
        [_("as of"), machine(now)],
        [_("time zone"), timezone.get_current_timezone_name()],
        [_("asked by"), by],
    ]


def too_many(rows: int) -> str:
    """Why a sheet cannot hold so many rows; "" if it can. One line is the header's."""
    if rows < ROWS:
        return ""
    text = _("A sheet of Excel holds %(most)d rows, and the list has %(rows)d. Filter the list, or take the CSV.")
    return text % {"most": ROWS - 1, "rows": rows}


def as_file(form: str, name: str, header: list[str], rows: Iterable[Iterable[Any]], about: Lines) -> HttpResponseBase:
    """A CSV file with the lines `about` it above its header, or a workbook with these on a sheet of their own."""
    name = f"{name}-{timezone.localtime():%Y%m%dT%H%M}"
    if form == "xlsx":
        return xlsx_file(name, {"Rows": (header, rows), "About": (["", ""], about)})
    first, *others = [*about, [], header]
    return csv_file(name, first, chain(others, rows))
