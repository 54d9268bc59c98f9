"""The statements that aggregate: of databases, and of instances."""

from __future__ import annotations

from typing import Any

from django.db import connection

from .periods import Period

#: In one order, so that two who want some of the same never wait for each other in a circle.
LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended(l.name, 0)) FROM (SELECT unnest(%(locks)s::text[]) AS name ORDER BY 1) l
"""

#: Which instances have sizes in these periods, and no aggregate.
LACKING = """
SELECT i.id, p.period
  FROM unnest(%(instances)s::bigint[]) AS i(id)
 CROSS JOIN unnest(%(periods)s::varchar[], %(firsts)s::date[], %(lasts)s::date[]) AS p(period, first, last)
 WHERE EXISTS (SELECT 1 FROM capacity_instancesize s WHERE s.instance_id = i.id AND s.day BETWEEN p.first AND p.last)
   AND NOT EXISTS (SELECT 1 FROM aggregation_instanceaggregate a
                    WHERE a.instance_id = i.id AND a.period = p.period AND a.start = p.first)
"""

#: One that was written again meanwhile has another version, and stays.
FORGET = """
DELETE FROM aggregation_changedday c
 USING unnest(%(instances)s::bigint[], %(days)s::date[], %(versions)s::bigint[]) AS seen(instance_id, day, version)
 WHERE c.instance_id = seen.instance_id AND c.day = seen.day AND c.version = seen.version
"""

#: Spans of one period without a hole between them, of the databases of some instances. The size that a change is
#: counted from is that of the span before, in the same statement, or as stored for the first of them. An aggregate
#: whose sizes are all gone goes too; one that comes out as it was is not written.
_DATABASES = """
WITH spans AS (
    SELECT * FROM unnest(%(firsts)s::date[], %(lasts)s::date[], %(befores)s::date[]) AS s(first, last, before)),
figures AS (
    SELECT g.*, sizes[1] AS first_size, sizes[days_collected] AS last_size,
           lag(g.first) OVER in_time AS lag_first, lag(sizes[days_collected]) OVER in_time AS lag_size
      FROM (SELECT d.instance_id, z.database_id, date_trunc(%(unit)s, z.day::timestamp)::date AS first,
                   count(*)::int AS days_collected, round(sum(z.size)::numeric(40, 12) / count(*), 4) AS avg_size,
                   min(z.size) AS min_size, max(z.size) AS max_size, array_agg(z.size ORDER BY z.day) AS sizes
              FROM capacity_database d JOIN capacity_databasesize z ON z.database_id = d.id
             WHERE d.instance_id = ANY(%(instances)s) AND z.day BETWEEN %(first)s AND %(last)s
             GROUP BY 1, 2, 3) g
    WINDOW in_time AS (PARTITION BY g.database_id ORDER BY g.first)),
lost AS (
    DELETE FROM aggregation_databaseaggregate a USING capacity_database o
     WHERE o.instance_id = ANY(%(instances)s) AND a.database_id = o.id AND a.period = %(period)s
       AND a.start BETWEEN %(first)s AND %(last)s
       AND NOT EXISTS (SELECT 1 FROM figures f WHERE f.database_id = a.database_id AND f.first = a.start)),
compared AS (
    SELECT f.*, s.last,
           CASE WHEN f.lag_first = s.before THEN f.lag_size WHEN f.first = %(first)s THEN b.last_size END AS base,
           greatest(f.days_collected,
                    least(s.last, (o.gone_at AT TIME ZONE %(zone)s)::date - 1)
                    - greatest(s.first, (o.first_seen_at AT TIME ZONE %(zone)s)::date) + 1) AS days_expected
      FROM figures f
      JOIN spans s ON s.first = f.first
      JOIN capacity_database o ON o.id = f.database_id
      LEFT JOIN aggregation_databaseaggregate b
             ON b.database_id = f.database_id AND b.period = %(period)s AND b.start = %(before)s
                AND f.first = %(first)s),
written AS (
    INSERT INTO aggregation_databaseaggregate AS a
           (database_id, period, start, "end", avg_size, min_size, max_size, first_size, last_size, days_collected,
            days_expected, change, change_percent, computed_at)
    SELECT database_id, %(period)s, first, last, avg_size, min_size, max_size, first_size, last_size, days_collected,
           days_expected, last_size - base,
           round(100::numeric(40, 12) * (last_size - base) / nullif(base, 0), 4), now()
      FROM compared
        ON CONFLICT (database_id, period, start) DO UPDATE
       SET avg_size = excluded.avg_size, min_size = excluded.min_size, max_size = excluded.max_size,
           first_size = excluded.first_size, last_size = excluded.last_size,
           days_collected = excluded.days_collected, days_expected = excluded.days_expected,
           change = excluded.change, change_percent = excluded.change_percent,
           computed_at = excluded.computed_at
     WHERE (a.avg_size, a.min_size, a.max_size, a.first_size, a.last_size, a.days_collected, a.days_expected, a.change,
            a.change_percent)
           IS DISTINCT FROM
           (excluded.avg_size, excluded.min_size, excluded.max_size, excluded.first_size, excluded.last_size,
            excluded.days_collected, excluded.days_expected, excluded.change, excluded.change_percent))
SELECT instance_id, count(*) FROM figures GROUP BY 1
"""

#: The same of the instances themselves.
_INSTANCES = """
WITH spans AS (
    SELECT * FROM unnest(%(firsts)s::date[], %(lasts)s::date[], %(befores)s::date[]) AS s(first, last, before)),
figures AS (
    SELECT g.*, sizes[1] AS first_size, sizes[days_collected] AS last_size,
           lag(g.first) OVER in_time AS lag_first, lag(sizes[days_collected]) OVER in_time AS lag_size
      FROM (SELECT z.instance_id, date_trunc(%(unit)s, z.day::timestamp)::date AS first,
                   count(*)::int AS days_collected, round(sum(z.size)::numeric(40, 12) / count(*), 4) AS avg_size,
                   min(z.size) AS min_size, max(z.size) AS max_size, array_agg(z.size ORDER BY z.day) AS sizes,
                   (count(*) FILTER (WHERE z.is_complete))::int AS days_complete
              FROM capacity_instancesize z
             WHERE z.instance_id = ANY(%(instances)s) AND z.day BETWEEN %(first)s AND %(last)s
             GROUP BY 1, 2) g
    WINDOW in_time AS (PARTITION BY g.instance_id ORDER BY g.first)),
lost AS (
    DELETE FROM aggregation_instanceaggregate a
     WHERE a.instance_id = ANY(%(instances)s) AND a.period = %(period)s AND a.start BETWEEN %(first)s AND %(last)s
       AND NOT EXISTS (SELECT 1 FROM figures f WHERE f.instance_id = a.instance_id AND f.first = a.start)),
compared AS (
    SELECT f.*, s.last,
           CASE WHEN f.lag_first = s.before THEN f.lag_size WHEN f.first = %(first)s THEN b.last_size END AS base,
           greatest(f.days_collected,
                    least(s.last, (o.retired_at AT TIME ZONE %(zone)s)::date - 1)
                    - greatest(s.first, (o.created_at AT TIME ZONE %(zone)s)::date) + 1) AS days_expected
      FROM figures f
      JOIN spans s ON s.first = f.first
      JOIN instances_instance o ON o.id = f.instance_id
      LEFT JOIN aggregation_instanceaggregate b
             ON b.instance_id = f.instance_id AND b.period = %(period)s AND b.start = %(before)s
                AND f.first = %(first)s),
written AS (
    INSERT INTO aggregation_instanceaggregate AS a
           (instance_id, period, start, "end", avg_size, min_size, max_size, first_size, last_size, days_collected,
            days_expected, change, change_percent, computed_at, days_complete)
    SELECT instance_id, %(period)s, first, last, avg_size, min_size, max_size, first_size, last_size, days_collected,
           days_expected, last_size - base,
           round(100::numeric(40, 12) * (last_size - base) / nullif(base, 0), 4), now(), days_complete
      FROM compared
        ON CONFLICT (instance_id, period, start) DO UPDATE
       SET avg_size = excluded.avg_size, min_size = excluded.min_size, max_size = excluded.max_size,
           first_size = excluded.first_size, last_size = excluded.last_size,
           days_collected = excluded.days_collected, days_expected = excluded.days_expected,
           change = excluded.change, change_percent = excluded.change_percent,
           computed_at = excluded.computed_at, days_complete = excluded.days_complete
     WHERE (a.avg_size, a.min_size, a.max_size, a.first_size, a.last_size, a.days_collected, a.days_expected, a.change,
            a.change_percent, a.days_complete)
           IS DISTINCT FROM
           (excluded.avg_size, excluded.min_size, excluded.max_size, excluded.first_size, excluded.last_size,
            excluded.days_collected, excluded.days_expected, excluded.change, excluded.change_percent,
            excluded.days_complete))
SELECT instance_id, count(*) FROM figures GROUP BY 1
"""

#: What follows spans that were corrected begins from another size.
REBASES = (
    """
UPDATE aggregation_databaseaggregate n SET change = n.last_size - a.last_size,
       change_percent = round(100::numeric(40, 12) * (n.last_size - a.last_size) / nullif(a.last_size, 0), 4),
       computed_at = now()
  FROM capacity_database o
  LEFT JOIN aggregation_databaseaggregate a
         ON a.database_id = o.id AND a.period = %(period)s AND a.start = %(last_first)s
 WHERE o.instance_id = ANY(%(instances)s) AND n.database_id = o.id AND n.period = %(period)s AND n.start = %(next)s
   AND n.change IS DISTINCT FROM n.last_size - a.last_size
""",
    """
UPDATE aggregation_instanceaggregate n SET change = n.last_size - a.last_size,
       change_percent = round(100::numeric(40, 12) * (n.last_size - a.last_size) / nullif(a.last_size, 0), 4),
       computed_at = now()
  FROM instances_instance o
  LEFT JOIN aggregation_instanceaggregate a
         ON a.instance_id = o.id AND a.period = %(period)s AND a.start = %(last_first)s
 WHERE o.id = ANY(%(instances)s) AND n.instance_id = o.id AND n.period = %(period)s AND n.start = %(next)s
   AND n.change IS DISTINCT FROM n.last_size - a.last_size
""",
)

#: In the order in which they are run.
UPSERTS = (("databases", _DATABASES), ("instances", _INSTANCES))

#: What `date_trunc` is to cut a day down to, for the first day of its period; `periods.span_of` says the same.
UNITS = {Period.DAILY: "day", Period.WEEKLY: "week", Period.MONTHLY: "month", Period.QUARTERLY: "quarter"}


def run(sql: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def rows(sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()
