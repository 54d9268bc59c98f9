"""Many rows in one statement, past the ORM: a first visit of a large server stores tens of thousands.

Not COPY, although it is faster: no idle timeout applies while the server waits for the rest of a COPY, so a worker
that freezes there would hold its locks forever. A statement arrives complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from django.db import connection
from django.db.models import Model

#: Rows of a statement. A row of grants takes a kilobyte until its statement has run.
BATCH = 10_000


def insert(model: type[Model], columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows whose values stand in the order of `columns`, those of the store; those left out get their defaults.

    Values of jsonb columns come as their text, those of arrays as their text or a tuple. So may a time that all rows
    share, which then is written out once and not for each of them.
    """
    columns = list(columns)
    names, values = ", ".join(columns), ", ".join(_typed(model, columns))
    # Names of tables, columns and types are the code's own.
    _execute(f"INSERT INTO {model._meta.db_table} ({names}) SELECT {values} FROM {_rows(columns)}", rows)  # noqa: S608


def update(model: type[Model], columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Update rows by their id, the first of `columns`. Values as for `insert()`."""
    columns = list(columns)
    key, *values = _typed(model, columns)
    assigned = ", ".join(f"{column} = {value}" for column, value in zip(columns[1:], values, strict=True))
    _execute(f"UPDATE {model._meta.db_table} t SET {assigned} FROM {_rows(columns)} WHERE t.id = {key}", rows)  # noqa: S608


def _typed(model: type[Model], columns: list[str]) -> list[str]:
    """The columns of the rows, cast to the types of the model's."""
    fields = {field.column: field for field in model._meta.concrete_fields}
    # Without its length: a cast would cut a text short, where storing it is refused. An identity's type is a number.
    kinds = [re.sub(r"\(\d+\)", "", fields[column].rel_db_type(connection)) for column in columns]
    return [f"r.{column}::{kind}" for column, kind in zip(columns, kinds, strict=True)]


def _rows(columns: list[str]) -> str:
    return f"unnest({', '.join(['%s::text[]'] * len(columns))}) AS r({', '.join(columns)})"


def _execute(sql: str, rows: Iterable[Sequence[Any]]) -> None:
    """In batches, so that no statement grows past what the server takes, and no second copy of all rows is made."""
    remaining = iter(rows)
    with connection.cursor() as cursor:
        while batch := list(islice(remaining, BATCH)):
            cursor.execute(sql, list(map(_array, zip(*batch, strict=True))))


def _array(values: Iterable[Any]) -> str:
    """As the store writes an array, in one text: the driver would quote each value on its own."""
    return "{" + ",".join(map(_Elements().__getitem__, values)) + "}"


class _Elements(dict[Any, str]):
    """A column's values → how an array has them, each written once: in most columns there are few different ones."""

    def __missing__(self, value: Any) -> str:
        text = _array(value) if isinstance(value, tuple) else str(value)
        text = "NULL" if value is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        self[value] = text
        return text
