"""Which tables make a database grow: two stored readings of its largest tables, compared.

A table that is missing from one of the two readings has no size there, and no growth, unless that reading lists every
table of the database: then it did not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connection
from django.db.models import Max, Min, Q

from .models import Database, TableSize

#: Days between the two readings, if there are that many.
GROWTH_DAYS = 28


@dataclass(frozen=True)
class TableGrowth:
    """A table in bytes. `state` is "listed" in both readings; "new" or "gone", if the reading without it lists every
    table; else "not_before" or "not_now", which leave size or growth unknown (None)."""

    schema: str
    name: str
    earlier: int | None
    size: int | None
    growth: int | None
    state: str


@dataclass(frozen=True)
class GrowthOfTables:
    """`tables` with the largest growth first, and those of unknown growth last, by size. `earlier_day` is None if there
    are no two readings, `day` if there is none."""

    earlier_day: date | None
    day: date | None
    tables: list[TableGrowth]


def table_growth(database: Database, days: int = GROWTH_DAYS, limit: int = 20) -> GrowthOfTables:
    """Compare the latest reading with the last that is `days` older, or with the oldest."""
    readings = TableSize.objects.filter(database=database)
    day = readings.aggregate(day=Max("day"))["day"]
    if day is None:
        return GrowthOfTables(None, None, [])
    before = readings.filter(day__lt=day).aggregate(
        near=Max("day", filter=Q(day__lte=day - timedelta(days=days))), oldest=Min("day")
    )
    earlier_day = before["near"] or before["oldest"]
    with connection.cursor() as cursor:
        cursor.execute(_GROWTH, {"database": database.pk, "day": day, "earlier_day": earlier_day, "limit": limit})
        return GrowthOfTables(earlier_day, day, [TableGrowth(*row) for row in cursor.fetchall()])


_GROWTH = """
WITH rows AS (
    SELECT schema, name, size, day, is_complete FROM capacity_tablesize
     WHERE database_id = %(database)s AND day IN (%(day)s, %(earlier_day)s)),
lists AS (
    SELECT coalesce(bool_or(is_complete) FILTER (WHERE day = %(day)s), false) AS all_now,
           coalesce(bool_or(is_complete) FILTER (WHERE day = %(earlier_day)s), false) AS all_before FROM rows),
compared AS (
    SELECT coalesce(n.schema, b.schema) AS schema, coalesce(n.name, b.name) AS name, b.size AS earlier, n.size,
           CASE WHEN b.size IS NOT NULL AND n.size IS NOT NULL THEN 'listed'
                WHEN b.size IS NULL THEN CASE WHEN all_before THEN 'new' ELSE 'not_before' END
                ELSE CASE WHEN all_now THEN 'gone' ELSE 'not_now' END END AS state
      FROM (SELECT * FROM rows WHERE day = %(day)s) n
      FULL JOIN (SELECT * FROM rows WHERE day = %(earlier_day)s) b ON b.schema = n.schema AND b.name = n.name
     CROSS JOIN lists)
SELECT schema, name, earlier, size, growth, state
  FROM (SELECT *, CASE WHEN state IN ('listed', 'new', 'gone') THEN coalesce(size, 0) - coalesce(earlier, 0) END
               AS growth FROM compared) c
 ORDER BY growth DESC NULLS LAST, size DESC NULLS LAST, schema, name LIMIT %(limit)s
"""
