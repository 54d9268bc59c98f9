"""Many rows in one statement, past the ORM: a first visit of a large server stores tens of thousands."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

from django.db import connection
from django.db.models import Model


def insert(model: type[Model], columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows whose values stand in the order of `columns`, those of the store; those left out get their defaults.

    Values of array and jsonb columns come as their text; so may a time that all rows share, which then is written out
    once and not for each of them. Text is never null.
    """
    fields = {field.column: field for field in model._meta.concrete_fields}
    columns = list(columns)
    # CSV writes null and "" alike: what may be null is read as null, and the rest as it stands.
    certain = ", ".join(column for column in columns if not fields[column].null)
    # Names of tables and columns are the code's own.
    sql = f"COPY {model._meta.db_table} ({', '.join(columns)}) FROM STDIN WITH (FORMAT csv, FORCE_NOT_NULL ({certain}))"
    text = StringIO()
    csv.writer(text).writerows(rows)
    text.seek(0)
    with connection.wrap_database_errors, connection.cursor() as cursor:
        cursor.copy_expert(sql, text)
