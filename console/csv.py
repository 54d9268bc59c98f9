"""Files to download."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence

from django.http import HttpResponse


def csv_file(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> HttpResponse:
    """A file to download that a spreadsheet reads as UTF-8 and takes no cell of for a formula."""
    response = HttpResponse(
        "\ufeff",
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )
    writer = csv.writer(response)
    writer.writerow(header)
    writer.writerows([disarmed("" if cell is None else str(cell)) for cell in row] for row in rows)
    return response


#: A spreadsheet takes a cell that begins so for a formula. https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def disarmed(text: str) -> str:
    """A cell's text that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
