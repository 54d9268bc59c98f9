"""CSV files, in and out."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from engines.statements import printable


def csv_file(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> StreamingHttpResponse:
    """Return a CSV download that spreadsheets read as UTF-8. No cell runs as a formula, and hidden characters are
    escaped.

    The rows are sent while they are made. If they fail on the way the connection breaks: no client takes a part
    for all.
    """
    return StreamingHttpResponse(
        _in_language(chain(["\ufeff"], csv_lines(header, rows)), get_language()),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )


def _in_language(pieces: Iterator[str], language: str | None) -> Iterator[str]:
    """Make the pieces in the language of a request that has been answered by then."""
    while True:
        with override(language):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the text of a CSV file in pieces of many lines."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    for row in rows:
        writer.writerow(cells(row))
        if text.tell() > CHUNK:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


#: Characters of a streamed file that are sent at once.
CHUNK = 64 * 1024

#: What spreadsheets may run as a formula, also after blanks and in full-width characters, and such a text in quotes.
#: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = re.compile(r"[\s'\u200b-\u200f\u2060\ufeff]*[=+\-@＝＋－＠]|'*[\t\r\n]")


def cells(row: Iterable[object]) -> list[object]:
    """Return the cells of a file: numbers as they are, all else as text without formulas and hidden characters."""
    return ["" if one is None else one if type(one) in (int, float) else disarmed(printable(str(one))) for one in row]


def disarmed(text: str) -> str:
    """Quote a text that a spreadsheet would run as a formula, and one that looks quoted already."""
    return f"'{text}" if FORMULA.match(text) else text


def armed(text: str) -> str:
    """The text of a cell without blanks around it, and without the quote that `disarmed` puts before it."""
    text = text.strip()
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def read_rows(text: str, known: Collection[str], required: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header of `known` columns: the rows by column, each with the number of its last line.
    Raises ValueError, which says what to change."""
    if "\0" in text:
        raise ValueError(_("The file is not CSV: %s.") % "NUL")
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(row)]
    except csv.Error as error:
        raise ValueError(_("The file is not CSV: %s.") % error) from error
    if not rows:
        raise ValueError(_("The file is empty."))
    headers = [name.strip().lower() for name in rows[0][1]]
    if twice := [name for name, count in Counter(headers).items() if count > 1]:
        raise ValueError(_("Duplicate columns: %s.") % ", ".join(twice))
    if unknown := [name for name in headers if name not in known]:
        raise ValueError(
            _("Unknown columns: %(unknown)s. Valid are: %(known)s.")
            % {"unknown": ", ".join(unknown), "known": ", ".join(known)}
        )
    if missing := [name for name in required if name not in headers]:
        raise ValueError(_("Missing columns: %s.") % ", ".join(missing))
    if len(rows) == 1:
        raise ValueError(_("The file has a header and no rows."))
    wrong = [
        _("Line %(number)d has %(cells)d cells, and the header %(columns)d.")
        % {"number": line, "cells": len(row), "columns": len(headers)}
        for line, row in rows[1:]
        if len(row) != len(headers)
    ]
    if wrong:
        raise ValueError("\n".join(wrong))
    return [(line, dict(zip(headers, row, strict=True))) for line, row in rows[1:]]


def uploaded(file: Any) -> str:
    """The text of an uploaded file. Raises ValueError if it is not UTF-8."""
    try:
        return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(_("The file is not UTF-8; in a spreadsheet, save it as “CSV UTF-8”.")) from error
