"""The statements that aggregate.

Databases and instances differ in where their sizes are and in nothing else, so that their statements are made from one.
"""

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

#: Spans of one period without a hole between them, of some instances. The size that a change is counted from is that of
#: the span before, in the same statement, or as stored for the first of them. An aggregate whose sizes are all gone
#: goes too; one that comes out as it was is not written.
_UPSERT = """
WITH spans AS (
    SELECT * FROM unnest(%(firsts)s::date[], %(lasts)s::date[], %(befores)s::date[]) AS s(first, last, before)),
figures AS (
    SELECT g.*, sizes[1] AS first_size, sizes[days_collected] AS last_size,
           lag(g.first) OVER in_time AS lag_first, lag(sizes[days_collected]) OVER in_time AS lag_size
      FROM (SELECT {instance} AS instance_id, z.{owner} AS owner, {first_day} AS first, count(*)::int AS days_collected,
                   round(sum(z.size)::numeric(40, 12) / count(*), 4) AS avg_size, min(z.size) AS min_size,
                   max(z.size) AS max_size, array_agg(z.size ORDER BY z.day) AS sizes{more_figures}
              FROM {sizes}
             WHERE {instance} = ANY(%(instances)s) AND z.day BETWEEN %(first)s AND %(last)s
             GROUP BY z.{owner}, {first_day}, {instance}) g
    WINDOW in_time AS (PARTITION BY g.owner ORDER BY g.first)),
lost AS (
    DELETE FROM {aggregates} a USING {owners} o
     WHERE o.{instance_of_owner} = ANY(%(instances)s) AND a.{owner} = o.id AND a.period = %(period)s
       AND a.start BETWEEN %(first)s AND %(last)s
       AND NOT EXISTS (SELECT 1 FROM figures f WHERE f.owner = a.{owner} AND f.first = a.start)),
compared AS (
    SELECT f.*, s.last,
           CASE WHEN f.lag_first = s.before THEN f.lag_size WHEN f.first = %(first)s THEN b.last_size END AS base,
           greatest(f.days_collected,
                    least(s.last, (o.{ended} AT TIME ZONE %(zone)s)::date - 1)
                    - greatest(s.first, (o.{began} AT TIME ZONE %(zone)s)::date) + 1) AS days_expected
      FROM figures f
      JOIN spans s ON s.first = f.first
      JOIN {owners} o ON o.id = f.owner
      LEFT JOIN {aggregates} b
             ON b.{owner} = f.owner AND b.period = %(period)s AND b.start = %(before)s AND f.first = %(first)s),
written AS (
    INSERT INTO {aggregates} AS a
           ({owner}, period, start, "end", avg_size, min_size, max_size, first_size, last_size, days_collected,
            days_expected, change, change_percent, computed_at{more})
    SELECT owner, %(period)s, first, last, avg_size, min_size, max_size, first_size, last_size, days_collected,
           days_expected, last_size - base,
           round(100::numeric(40, 12) * (last_size - base) / nullif(base, 0), 4), now(){more}
      FROM compared
        ON CONFLICT ({owner}, period, start) DO UPDATE
       SET avg_size = excluded.avg_size, min_size = excluded.min_size, max_size = excluded.max_size,
           first_size = excluded.first_size, last_size = excluded.last_size,
           days_collected = excluded.days_collected, days_expected = excluded.days_expected,
           change = excluded.change, change_percent = excluded.change_percent,
           computed_at = excluded.computed_at{set_more}
     WHERE (a.avg_size, a.min_size, a.max_size, a.first_size, a.last_size, a.days_collected, a.days_expected, a.change,
            a.change_percent{old_more})
           IS DISTINCT FROM
           (excluded.avg_size, excluded.min_size, excluded.max_size, excluded.first_size, excluded.last_size,
            excluded.days_collected, excluded.days_expected, excluded.change, excluded.change_percent{new_more}))
SELECT instance_id, count(*) FROM figures GROUP BY 1
"""

#: What follows spans that were corrected begins from another size.
_REBASE = """
UPDATE {aggregates} n SET change = n.last_size - a.last_size,
       change_percent = round(100::numeric(40, 12) * (n.last_size - a.last_size) / nullif(a.last_size, 0), 4),
       computed_at = now()
  FROM {owners} o
  LEFT JOIN {aggregates} a ON a.{owner} = o.id AND a.period = %(period)s AND a.start = %(last_first)s
 WHERE o.{instance_of_owner} = ANY(%(instances)s) AND n.{owner} = o.id AND n.period = %(period)s AND n.start = %(next)s
   AND n.change IS DISTINCT FROM n.last_size - a.last_size
"""

_OF_DATABASES = {
    "aggregates": "aggregation_databaseaggregate",
    "owners": "capacity_database",
    "owner": "database_id",
    "instance": "d.instance_id",
    "instance_of_owner": "instance_id",
    "began": "first_seen_at",
    "ended": "gone_at",
    "sizes": "capacity_database d JOIN capacity_databasesize z ON z.database_id = d.id",
    "more_figures": "",
    "more": "",
    "set_more": "",
    "old_more": "",
    "new_more": "",
}
_OF_INSTANCES = {
    "aggregates": "aggregation_instanceaggregate",
    "owners": "instances_instance",
    "owner": "instance_id",
    "instance": "z.instance_id",
    "instance_of_owner": "id",
    "began": "created_at",
    "ended": "retired_at",
    "sizes": "capacity_instancesize z",
    "more_figures": ", (count(*) FILTER (WHERE z.is_complete))::int AS days_complete",
    "more": ", days_complete",
    "set_more": ", days_complete = excluded.days_complete",
    "old_more": ", a.days_complete",
    "new_more": ", excluded.days_complete",
}

#: The first day of the period that a day is in; `periods.span_of` says the same.
FIRST_DAY = {
    Period.DAILY: "z.day",
    Period.WEEKLY: "date_trunc('week', z.day::timestamp)::date",
    Period.MONTHLY: "date_trunc('month', z.day::timestamp)::date",
    Period.QUARTERLY: "date_trunc('quarter', z.day::timestamp)::date",
}

#: Both statements of each period, in the order in which they are run.
UPSERTS = {
    period: (
        ("databases", _UPSERT.format(first_day=first_day, **_OF_DATABASES)),
        ("instances", _UPSERT.format(first_day=first_day, **_OF_INSTANCES)),
    )
    for period, first_day in FIRST_DAY.items()
}
REBASES = (_REBASE.format(**_OF_DATABASES), _REBASE.format(**_OF_INSTANCES))


def run(sql: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def rows(sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()
