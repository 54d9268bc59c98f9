"""Many rows in one statement, past the ORM: a first visit of a large server stores tens of thousands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import Model

BATCH = 50_000


def insert(
    model: type[Model], columns: Mapping[str, str], rows: Iterable[Sequence[Any]], returning: str = ""
) -> list[tuple[Any, ...]]:
    """Insert rows whose values stand in the order of `columns`, which maps each column to its type in the store.

    Values of array and jsonb columns come as their text. Returns the columns named in `returning`, of every row.
    """
    rows = list(rows)
    arrays = ", ".join(f"%s::{'text' if _as_text(kind) else kind}[]" for kind in columns.values())
    values = ", ".join(f"r.{name}::{kind}" for name, kind in columns.items())
    names = ", ".join(columns)
    # Names of tables, columns and types are the code's own.
    sql = f"INSERT INTO {model._meta.db_table} ({names}) SELECT {values} FROM unnest({arrays}) AS r({names})"  # noqa: S608
    found: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        # In batches, so that no statement grows past what the server takes.
        for start in range(0, len(rows), BATCH):
            cursor.execute(
                f"{sql} RETURNING {returning}" if returning else sql,
                [list(column) for column in zip(*rows[start : start + BATCH], strict=True)],
            )
            found += cursor.fetchall() if returning else []
    return found


def _as_text(kind: str) -> bool:
    return kind == "jsonb" or kind.endswith("[]")
