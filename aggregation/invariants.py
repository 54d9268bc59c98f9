"""What holds of aggregates: they say what the sizes by day say."""

from work.invariants import Invariant

_SPAN = "CASE a.period WHEN 'daily' THEN interval '1 day' WHEN 'weekly' THEN interval '7 days' \
WHEN 'monthly' THEN interval '1 month' ELSE interval '3 months' END"

#: A period may differ if its days were written after it was aggregated, or if the purge deleted them.
_SETTLED = """
    NOT EXISTS (SELECT FROM aggregation_changedday c
                 WHERE c.instance_id = {instance} AND c.day BETWEEN a.start AND a."end")
    AND a.start >= (now() AT TIME ZONE %(zone)s)::date - %(keep_sizes_days)s"""

_OF_DATABASES = {
    "what": "database",
    "table": "aggregation_databaseaggregate a JOIN capacity_database o ON o.id = a.database_id",
    "aggregates": "aggregation_databaseaggregate",
    "owner": "database_id",
    "sizes": "capacity_databasesize",
    "complete": "0",
    "stored_complete": "0",
    "settled": _SETTLED.format(instance="o.instance_id"),
}
_OF_INSTANCES = {
    "what": "instance",
    "table": "aggregation_instanceaggregate a",
    "aggregates": "aggregation_instanceaggregate",
    "owner": "instance_id",
    "sizes": "capacity_instancesize",
    "complete": "count(*) FILTER (WHERE z.is_complete)",
    "stored_complete": "a.days_complete",
    "settled": _SETTLED.format(instance="a.instance_id"),
}


def _of_both(sql: str) -> str:
    return " UNION ALL ".join(sql.format(**each) for each in (_OF_DATABASES, _OF_INSTANCES))


_FIGURES = """
SELECT '{what}' AS what, a.{owner} AS owner, a.period, a.start, a.days_collected, a.min_size, a.max_size, a.avg_size,
       a.first_size, a.last_size, f.n AS days, f.least, f.most, f.mean, f.sizes[1] AS first, f.sizes[f.n] AS last
  FROM {table}
 CROSS JOIN LATERAL (SELECT count(*) AS n, min(z.size) AS least, max(z.size) AS most, round(avg(z.size), 4) AS mean,
                            array_agg(z.size ORDER BY z.day) AS sizes, {complete} AS complete
                       FROM {sizes} z WHERE z.{owner} = a.{owner} AND z.day BETWEEN a.start AND a."end") f
 WHERE {settled}
   AND ((a.days_collected, a.min_size, a.max_size, a.first_size, a.last_size)
        IS DISTINCT FROM (f.n, f.least, f.most, f.sizes[1], f.sizes[f.n])
        OR abs(a.avg_size - f.mean) > 0.001 OR {stored_complete} <> f.complete)
"""

_COVERAGE = """
SELECT '{what}' AS what, a.{owner} AS owner, a.period, a.start, a."end", a.days_collected, a.days_expected
  FROM {aggregates} a
 WHERE a.days_collected < 1 OR a.days_expected < a.days_collected OR a.days_expected > a."end" - a.start + 1
    OR a."end" < a.start
"""

_CHANGE = """
SELECT '{what}' AS what, a.{owner} AS owner, a.period, a.start, a.change, a.last_size - b.last_size AS expected
  FROM {table}
  LEFT JOIN {aggregates} b ON b.{owner} = a.{owner} AND b.period = a.period AND b.start = (a.start - {span})::date
 WHERE {settled} AND a.change IS DISTINCT FROM a.last_size - b.last_size
"""

#: A period is aggregated while it is the last closed one; the run of today may still be to come.
_MISSING = """
SELECT i.instance_id AS instance, i.day
  FROM capacity_instancesize i
 WHERE i.day BETWEEN (now() AT TIME ZONE %(zone)s)::date - %(keep_sizes_days)s
                 AND (now() AT TIME ZONE %(zone)s)::date - 2
   AND NOT EXISTS (SELECT FROM aggregation_changedday c WHERE c.instance_id = i.instance_id AND c.day = i.day)
   AND NOT EXISTS (SELECT FROM aggregation_instanceaggregate a
                    WHERE a.instance_id = i.instance_id AND a.period = 'daily' AND a.start = i.day)
"""


def _with_span(sql: str) -> str:
    return sql.replace("{span}", f"({_SPAN})")


INVARIANTS = (
    Invariant(
        "figures",
        "An aggregate has the figures of the sizes by day.",
        _of_both(_FIGURES),
    ),
    Invariant(
        "days",
        "An aggregate has a day or more, but not more than expected, nor than the period has.",
        _of_both(_COVERAGE),
    ),
    Invariant("change", "The change is counted from the period before.", _of_both(_with_span(_CHANGE))),
    Invariant("aggregated", "A past day with sizes is aggregated, or marked as changed.", _MISSING),
)
