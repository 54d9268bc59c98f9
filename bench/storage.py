"""What daily sizes cost on disk, and what they would cost if an unchanged size cost no row.

A sample of databases has a size on each of 400 days, but for 3 % of the days. Of the sizes, a share is that of the day
before. `rows` are as the product stores them; `ranges` are the alternative: one row for each run of days without a gap
and with one size. Ranges are written in one go, without the dead rows that extending them day by day would leave. Bytes
are scaled linearly to 50,000 databases. Weekly averages of all databases are read from both. Besides, the 20
largest tables of each database once a week, with names of 12 characters.
"""

from __future__ import annotations

from typing import Any

from ground import FLEET, quick, report, seconds, store

DATABASES, DAYS, FLEET_OF = (200 if quick() else 2000), 400, 50_000

#: Percent of days on which the size is that of the day before.
UNCHANGED = (0, 50, 90)

DATABASES_OF = """
INSERT INTO capacity_database (instance_id, name, native_id, is_system, is_filtered, first_seen_at, last_seen_at)
SELECT i.id, 'shop' || n, n::text, false, false, now() - interval '2 years', now()
  FROM instances_instance i, generate_series(1, %(databases)s) n;
"""
#: A change is a new multiple of 5,000 bytes; the hash decides on which days, the same each time.
ROWS = """
TRUNCATE capacity_databasesize;
INSERT INTO capacity_databasesize (database_id, day, size, collected_at)
SELECT id, %(today)s - back, 1000000 + 5000 * changes, now() - back * interval '1 day'
  FROM (SELECT d.id, back, sum(CASE WHEN abs(hashint8(d.id * 1000 + back)) %% 100 >= %(unchanged)s THEN 1 ELSE 0 END)
               OVER (PARTITION BY d.id ORDER BY back DESC) AS changes
          FROM capacity_database d, generate_series(%(days)s, 1, -1) back) s
 WHERE (id * 7 + back) %% 33 <> 0
 ORDER BY back DESC, id;
"""
RANGES = """
DROP TABLE IF EXISTS ranges;
CREATE TABLE ranges (database_id bigint NOT NULL, day date NOT NULL, last_day date NOT NULL, size bigint NOT NULL,
       data_size bigint, index_size bigint, log_size bigint, collected_at timestamptz NOT NULL,
       PRIMARY KEY (database_id, day));
INSERT INTO ranges (database_id, day, last_day, size, collected_at)
SELECT database_id, min(day), max(day), size, max(collected_at)
  FROM (SELECT *, day - (row_number() OVER (PARTITION BY database_id, size ORDER BY day))::int AS run
          FROM capacity_databasesize) r
 GROUP BY database_id, size, run ORDER BY 2, 1;
"""
TABLES = """
INSERT INTO capacity_tablesize (database_id, day, schema, name, size, is_complete)
SELECT d.id, %(today)s - back, 'public', 'order_line' || to_char(n, 'FM00'), back * n, false
  FROM generate_series(%(days)s, 1, -7) back, capacity_database d, generate_series(1, 20) n
"""
WEEKLY = """
SELECT database_id, date_trunc('week', day), avg(size), min(size), max(size), count(*) FROM {} GROUP BY 1, 2
"""
DAYS_OF_RANGES = (
    "(SELECT database_id, d.day, size FROM ranges, generate_series(ranges.day, last_day, '1 day') d(day)) r"
)


def main() -> None:
    figures: dict[str, Any] = {"databases": DATABASES, "days": DAYS, "scaled_to": FLEET_OF}
    with store():
        from django.db import connection
        from django.utils import timezone

        values: dict[str, Any] = {"instances": 1, "databases": DATABASES, "days": DAYS, "today": timezone.localdate()}

        def run(sql: str, **more: Any) -> list[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(sql, values | more)
                return cursor.fetchall() if cursor.description else []

        def gigabytes(table: str) -> float:
            run("VACUUM ANALYZE")
            ((size,),) = run(f"SELECT pg_total_relation_size('{table}')")
            return size * FLEET_OF / DATABASES / 1e9

        run(FLEET + DATABASES_OF)
        for unchanged in UNCHANGED:
            run("SET session_replication_role = replica;" + ROWS, unchanged=unchanged)
            run(RANGES)
            ((rows, same),) = run(
                "SELECT count(*), avg((size = before)::int) FROM (SELECT size, lag(size) OVER"
                " (PARTITION BY database_id ORDER BY day) AS before FROM capacity_databasesize) s"
            )
            ((runs,),) = run("SELECT count(*) FROM ranges")
            figures |= {
                f"unchanged_{unchanged}_share": float(same),
                f"unchanged_{unchanged}_rows": rows,
                f"unchanged_{unchanged}_ranges": runs,
                f"unchanged_{unchanged}_rows_gb": gigabytes("capacity_databasesize"),
                f"unchanged_{unchanged}_ranges_gb": gigabytes("ranges"),
                f"unchanged_{unchanged}_weekly_rows_s": seconds(lambda: run(WEEKLY.format("capacity_databasesize")), 3),
                f"unchanged_{unchanged}_weekly_ranges_s": seconds(lambda: run(WEEKLY.format(DAYS_OF_RANGES)), 3),
            }
        run("SET session_replication_role = replica;" + TABLES)
        figures["tables_gb"] = gigabytes("capacity_tablesize")
        figures["bytes_per_row"] = figures["unchanged_0_rows_gb"] * 1e9 / FLEET_OF * DATABASES / rows
    report("storage", figures, {"unchanged_0_rows_gb": ("<=", 2.5)})


if __name__ == "__main__":
    main()
