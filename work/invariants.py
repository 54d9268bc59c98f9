"""Invariants of the store: what holds in its rows whenever no transaction is half done.

Each app declares its own in `<app>/invariants.py`; `taifish.verification` lists them, `manage.py verify_store`
checks them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction


@dataclass(frozen=True)
class Invariant:
    """`rule` is the sentence that holds. `sql` returns one row per violation; its columns identify the row and say what
    is wrong with it. `sql` may name the parameters passed to `check`."""

    name: str
    rule: str
    sql: str


@dataclass(frozen=True)
class Result:
    """`count` violations of an invariant, and the first of them: column → value."""

    invariant: Invariant
    count: int
    violations: list[dict[str, Any]]


def check(invariants: Iterable[Invariant], values: Mapping[str, Any], limit: int) -> Iterator[Result]:
    """Check each invariant with one statement, all on one snapshot, so that running visits do not matter. At most
    `limit` violations of each are returned."""
    is_outermost = not connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        # Within a transaction, as in tests, the level can no longer be set.
        if is_outermost:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Whole tables are sorted and joined: the limits for pages do not apply.
        cursor.execute("SET LOCAL statement_timeout = 0; SET LOCAL work_mem = '256MB'")
        for invariant in invariants:
            cursor.execute(_FOUND.format(sql=invariant.sql), {**values, "limit": limit})
            rows = cursor.fetchall()
            yield Result(invariant, rows[0][0] if rows else 0, [json.loads(row) for _, row in rows])


#: `sql` is the code's own.
_FOUND = """
WITH violation AS MATERIALIZED ({sql})
SELECT (SELECT count(*) FROM violation), to_jsonb(v) FROM violation v LIMIT %(limit)s
"""
