"""Aggregating sizes, beside the bare INSERT … SELECT … GROUP BY that does the same.

First a month of a small fleet, all four periods, through a session: records, locks and receipts included. The reference
is two statements a period, one for databases and one for instances, that fill the same columns of the same tables. Then
one new day on top of a long and of a short history.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from ground import FLEET, quick, report, seconds, store

INSTANCES, DATABASES, DAYS = (20, 20, 31) if quick() else (100, 50, 31)
FLEET_OF, HISTORY, SHORT = (60, 400, 130) if quick() else (1000, 400, 130)

FILL = """
INSERT INTO capacity_database (instance_id, name, native_id, is_system, is_filtered, first_seen_at, last_seen_at)
SELECT i.id, 'shop' || n, '', false, false, now() - interval '2 years', now()
  FROM instances_instance i, generate_series(1, %(databases)s) n;
"""
#: Without the triggers, which would note every day of the history as changed.
SIZES = """
SET session_replication_role = replica;
INSERT INTO capacity_databasesize (database_id, day, size, collected_at)
SELECT d.id, x.day::date, d.id * 70001 + (x.day::date - date '2020-01-01') * 5000, now()
  FROM generate_series(%(first)s::date, %(last)s::date, interval '1 day') x(day), capacity_database d;
INSERT INTO capacity_instancesize (instance_id, day, size, shared_size, shared, n_databases, is_complete, collected_at)
SELECT d.instance_id, s.day, sum(s.size), 0, '{}', count(*), true, now()
  FROM capacity_databasesize s JOIN capacity_database d ON d.id = s.database_id
 WHERE s.day BETWEEN %(first)s AND %(last)s GROUP BY 1, 2;
SET session_replication_role = origin;
"""
#: The days of a history as they would have been aggregated.
DAILY = """
SET session_replication_role = replica;
INSERT INTO aggregation_databaseaggregate (database_id, period, start, "end", avg_size, min_size, max_size, first_size,
       last_size, days_collected, days_expected, computed_at)
SELECT database_id, 'daily', day, day, size, size, size, size, size, 1, 1, now() FROM capacity_databasesize;
INSERT INTO aggregation_instanceaggregate (instance_id, period, start, "end", avg_size, min_size, max_size, first_size,
       last_size, days_collected, days_expected, days_complete, computed_at)
SELECT instance_id, 'daily', day, day, size, size, size, size, size, 1, 1, 1, now() FROM capacity_instancesize;
SET session_replication_role = origin;
"""
EMPTY = "TRUNCATE aggregation_databaseaggregate, aggregation_instanceaggregate"
BARE = """
INSERT INTO aggregation_{owner}aggregate ({owner}_id, period, start, "end", avg_size, min_size, max_size, first_size,
       last_size, days_collected, days_expected, change, change_percent, computed_at{more})
SELECT {owner}_id, '{period}', start, "end", avg_size, min_size, max_size, sizes[1], sizes[n], n, "end" - start + 1,
       sizes[n] - lag(sizes[n]) OVER w, round(100.0 * (sizes[n] - lag(sizes[n]) OVER w) / lag(sizes[n]) OVER w, 4),
       now(){count}
  FROM (SELECT s.{owner}_id, {start} AS start, {end} AS "end", round(avg(s.size), 4) AS avg_size,
               min(s.size) AS min_size, max(s.size) AS max_size, array_agg(s.size ORDER BY s.day) AS sizes,
               count(*)::int AS n
          FROM capacity_{owner}size s WHERE s.day BETWEEN %(first)s AND %(last)s GROUP BY 1, 2, 3) g
WINDOW w AS (PARTITION BY {owner}_id ORDER BY start)
"""
BOUNDS = {
    "daily": ("s.day", "s.day"),
    "weekly": ("date_trunc('week', s.day)::date", "(date_trunc('week', s.day) + interval '6 days')::date"),
    "monthly": ("date_trunc('month', s.day)::date", "(date_trunc('month', s.day) + interval '1 month')::date - 1"),
    "quarterly": (
        "date_trunc('quarter', s.day)::date",
        "(date_trunc('quarter', s.day) + interval '3 month')::date - 1",
    ),
}


def main() -> None:
    figures: dict[str, Any] = {"instances": INSTANCES, "databases": INSTANCES * DATABASES, "days": DAYS}
    with store():
        from django.db import connection
        from django.test.utils import CaptureQueriesContext
        from django.utils import timezone

        from aggregation import services
        from aggregation.models import DatabaseAggregate, InstanceAggregate
        from aggregation.periods import Period, last_closed
        from sync import services as sync

        def run(sql: str, **values: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql, values)

        # A whole quarter lies in the past: 31 days of it are filled.
        quarter = last_closed(Period.QUARTERLY, timezone.localdate())
        first, last = quarter.first, quarter.first + timedelta(days=DAYS - 1)

        def fill(instances: int, begin: date, end: date) -> None:
            run("TRUNCATE instances_instance, instances_credential CASCADE")
            run(FLEET, instances=instances)
            run(FILL, databases=DATABASES)
            run(SIZES, first=begin, last=end)
            run("VACUUM ANALYZE")

        def bare() -> None:
            for period, (start, end) in BOUNDS.items():
                for owner, more, count in (("database", "", ""), ("instance", ", days_complete", ", n")):
                    run(
                        BARE.format(owner=owner, period=period, start=start, end=end, more=more, count=count),
                        first=first,
                        last=last,
                    )

        def aggregate() -> None:
            session = services.backfill("all", first, last, trigger="command", enqueue=False)
            if sync.run_here(session).status != "completed":
                raise RuntimeError(f"the session ended as {session.status}")

        fill(INSTANCES, first, last)
        taken: dict[str, list[float]] = {"bare": [], "session": []}
        # By turns: whatever else the machine does then disturbs both.
        for _ in range(3):
            run(EMPTY)
            taken["bare"].append(seconds(bare))
            run(EMPTY)
            with CaptureQueriesContext(connection) as queries:
                taken["session"].append(seconds(aggregate))
            figures["statements"] = len(queries)
        figures |= {f"{name}_s": min(times) for name, times in taken.items()}
        figures["ratio"] = figures["session_s"] / figures["bare_s"]
        figures["rows"] = DatabaseAggregate.objects.count() + InstanceAggregate.objects.count()
        figures["again_s"] = seconds(aggregate)
        figures["again_ratio"] = figures["again_s"] / figures["bare_s"]

        def new_day(history: int) -> float:
            """Seconds for yesterday, on top of a history that is aggregated."""
            yesterday = timezone.localdate() - timedelta(days=1)
            fill(FLEET_OF, yesterday - timedelta(days=history), yesterday - timedelta(days=1))
            run(DAILY)
            for period in ("weekly", "monthly", "quarterly"):
                sync.run_here(
                    services.backfill(
                        period, yesterday - timedelta(days=history), yesterday, trigger="command", enqueue=False
                    )
                )
            run("VACUUM ANALYZE")
            run(SIZES, first=yesterday, last=yesterday)
            session = sync.start("aggregation", services.due(), trigger="command", enqueue=False)
            taken = seconds(lambda: sync.run_here(session))
            if InstanceAggregate.objects.filter(period="daily", start=yesterday).count() != FLEET_OF:
                raise RuntimeError("yesterday was not aggregated")
            return taken

        figures |= {"fleet": FLEET_OF, "short_days": SHORT, "long_days": HISTORY}
        figures["new_day_short_s"] = new_day(SHORT)
        figures["new_day_long_s"] = new_day(HISTORY)
        figures["history_ratio"] = figures["new_day_long_s"] / figures["new_day_short_s"]
    report("aggregation", figures, {"ratio": ("<=", 1.3), "history_ratio": ("<=", 1.5), "statements": ("<=", 60)})


if __name__ == "__main__":
    main()
