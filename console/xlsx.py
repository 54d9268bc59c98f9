"""XLSX files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence

import xlsxwriter
from django.http import HttpResponse

from engines.statements import printable

Rows = Iterable[Sequence[object]]

CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

#: Limits of the format: rows of a sheet, characters of a cell.
ROWS, CHARACTERS = 1_048_576, 32_767

#: Widest column, in characters.
WIDEST = 60


def xlsx_file(name: str, sheets: Mapping[str, tuple[Sequence[str], Rows]]) -> HttpResponse:
    """Return a workbook as a download: title of each sheet → its header and rows.

    All cells but numbers are text, so that none runs as a formula or opens an address, with hidden characters escaped.
    Longer texts than a cell takes end with "…"; rows that a sheet cannot take continue on another. Rows go to disk as
    they come.
    """
    target = io.BytesIO()
    with xlsxwriter.Workbook(target, {"constant_memory": True}) as book:
        bold = book.add_format({"bold": True})
        for title, (header, rows) in sheets.items():
            sheet, at = None, ROWS
            for row in rows:
                if at == ROWS:
                    number = len(book.worksheets())
                    sheet = book.add_worksheet(title if sheet is None else f"{title} {number}")
                    _head(sheet, header, bold)
                    at = 1
                for column, value in enumerate(row):
                    _write(sheet, at, column, value)
                at += 1
            if sheet is None:
                _head(book.add_worksheet(title), header, bold)
    headers = {"Content-Disposition": f'attachment; filename="{name}.xlsx"'}
    return HttpResponse(target.getvalue(), content_type=CONTENT_TYPE, headers=headers)


def _head(sheet: xlsxwriter.worksheet.Worksheet, header: Sequence[str], bold: xlsxwriter.format.Format) -> None:
    for column, name in enumerate(header):
        sheet.set_column(column, column, min(WIDEST, max(18, len(name) + 4)))
        sheet.write_string(0, column, name, bold)
    sheet.freeze_panes(1, 0)


def _write(sheet: xlsxwriter.worksheet.Worksheet, row: int, column: int, value: object) -> None:
    if value is None or value == "":
        return
    if isinstance(value, int) and not isinstance(value, bool):
        sheet.write_number(row, column, value)
        return
    text = printable(str(value))
    sheet.write_string(row, column, text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 1]}…")
