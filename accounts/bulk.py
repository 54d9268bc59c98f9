"""Many rows in one statement, past the ORM: a first visit of a large server stores tens of thousands.

Not COPY, although it is faster: no idle timeout applies while the server waits for the rest of a COPY, so a worker
that freezes there would hold its locks forever. A statement arrives complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection
from django.db.models import Model

BATCH = 50_000


def insert(model: type[Model], columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows whose values stand in the order of `columns`, those of the store; those left out get their defaults.

    Values of array and jsonb columns come as their text; so may a time that all rows share, which then is written out
    once and not for each of them.
    """
    columns, rows = list(columns), list(rows)
    fields = {field.column: field for field in model._meta.concrete_fields}
    # Without its length: a cast would cut a text short, where storing it is refused.
    kinds = [re.sub(r"\(\d+\)", "", fields[column].db_type(connection)) for column in columns]
    values = ", ".join(f"r.{column}::{kind}" for column, kind in zip(columns, kinds, strict=True))
    names, arrays = ", ".join(columns), ", ".join(["%s::text[]"] * len(columns))
    # Names of tables, columns and types are the code's own.
    sql = f"INSERT INTO {model._meta.db_table} ({names}) SELECT {values} FROM unnest({arrays}) AS r({names})"  # noqa: S608
    with connection.cursor() as cursor:
        # In batches, so that no statement grows past what the server takes.
        for start in range(0, len(rows), BATCH):
            cursor.execute(sql, list(map(array, zip(*rows[start : start + BATCH], strict=True))))


def array(values: Iterable[Any]) -> str:
    """As the store writes an array, in one text: the driver would quote each value on its own."""
    return "{" + ",".join(map(_Elements().__getitem__, values)) + "}"


class _Elements(dict[Any, str]):
    """A column's values → how an array has them, each written once: in most columns there are few different ones."""

    def __missing__(self, value: Any) -> str:
        text = "NULL" if value is None else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        self[value] = text
        return text
