"""Sizes of a large fleet: writing one day of them, and the pages on top of 400 days, beside hand-written SQL.

A day's write is set against hand-written statements that store the same rows, totals included, in a transaction for
each instance, as visits do (`by_hand_day_s`). `one_statement_s` is that of all instances at once, for comparison. A
page's reference is the query that fetches what the page shows, without the page.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from ground import FLEET, quick, report, seconds, store

INSTANCES, DATABASES, DAYS = (50, 20, 60) if quick() else (1000, 50, 400)

DATABASES_OF = """
INSERT INTO capacity_database (instance_id, name, native_id, is_system, is_filtered, first_seen_at, last_seen_at,
       size, size_day)
SELECT i.id, 'shop' || n, n::text, false, n %% 20 = 0, now() - interval '2 years', now(), i.id * 1000000 + n * 70001,
       %(today)s - 1
  FROM instances_instance i, generate_series(1, %(databases)s) n;
"""
#: A day like any other: each of 30 instances in a thousand has a gap, a few are incomplete.
SIZES = """
INSERT INTO capacity_databasesize (database_id, day, size, collected_at)
SELECT d.id, %(today)s - back, d.size - back * (1000 + d.id * 37 %% 9000), now()
  FROM generate_series(%(days)s, 1, -1) back, capacity_database d
 WHERE (d.instance_id * 7 + back) %% 33 <> 0;
INSERT INTO capacity_instancesize (instance_id, day, size, shared_size, shared, n_databases, is_complete, collected_at)
SELECT i.id, %(today)s - back, i.id * 50000000 - back * 250000, 0, '{}', %(databases)s, i.id %% 50 <> 0, now()
  FROM generate_series(%(days)s, 1, -1) back, instances_instance i WHERE (i.id * 7 + back) %% 33 <> 0;
"""
#: One day by hand: of some instances.
BY_HAND = """
INSERT INTO capacity_databasesize (database_id, day, size, collected_at)
SELECT id, %(day)s, size, now() FROM capacity_database WHERE instance_id BETWEEN %(first)s AND %(last)s
    ON CONFLICT (database_id, day) DO UPDATE SET size = excluded.size, collected_at = excluded.collected_at;
UPDATE capacity_database d SET size = s.size, size_day = s.day, last_seen_at = now()
  FROM capacity_databasesize s
 WHERE s.database_id = d.id AND s.day = %(day)s AND d.instance_id BETWEEN %(first)s AND %(last)s;
INSERT INTO capacity_instancesize (instance_id, day, size, shared_size, shared, n_databases, is_complete, collected_at)
SELECT d.instance_id, s.day, sum(s.size), 0, '{}', count(*), true, now()
  FROM capacity_databasesize s JOIN capacity_database d ON d.id = s.database_id
 WHERE s.day = %(day)s AND d.instance_id BETWEEN %(first)s AND %(last)s GROUP BY 1, 2
    ON CONFLICT (instance_id, day) DO UPDATE SET size = excluded.size, collected_at = excluded.collected_at
"""
REFERENCES = {
    "databases": """
        SELECT d.*, i.name, (SELECT s.size FROM capacity_databasesize s
                              WHERE s.database_id = d.id AND s.day = d.size_day - 30)
          FROM capacity_database d JOIN instances_instance i ON i.id = d.instance_id
         WHERE d.gone_at IS NULL AND NOT d.is_filtered ORDER BY d.size DESC NULLS LAST LIMIT 100""",
    "database": "SELECT day, size FROM capacity_databasesize WHERE database_id = %(database)s AND day > %(year_ago)s",
    "instance": """
        SELECT day, size FROM capacity_instancesize WHERE instance_id = %(instance)s AND day > %(quarter_ago)s""",
    "instances": """
        SELECT i.*, (SELECT size FROM capacity_instancesize s WHERE s.instance_id = i.id ORDER BY day DESC LIMIT 1)
          FROM instances_instance i ORDER BY name LIMIT 100""",
    "gaps": """
        SELECT i.id, d.day
          FROM instances_instance i, generate_series(%(today)s - 30, %(today)s - 1, interval '1 day') d(day)
         WHERE NOT EXISTS (SELECT 1 FROM capacity_instancesize s WHERE s.instance_id = i.id AND s.day = d.day::date
                              AND s.is_complete)
         ORDER BY 2 DESC, 1 LIMIT 200""",
    "sizes_of_a_day": """
        SELECT s.*, d.name FROM capacity_databasesize s JOIN capacity_database d ON d.id = s.database_id
         WHERE d.instance_id = %(instance)s AND s.day = %(yesterday)s ORDER BY s.database_id LIMIT 100""",
}


def together(times: int, *works: Callable[[int], object]) -> list[float]:
    """The seconds that each of the works takes in all, one after the other for each number below `times`."""
    taken = [0.0] * len(works)
    for number in range(times):
        for place, work in enumerate(works):
            taken[place] += seconds(partial(work, number))
    return taken


def main() -> None:
    figures: dict[str, Any] = {"instances": INSTANCES, "databases": INSTANCES * DATABASES, "days": DAYS}
    with store():
        from django.contrib.auth.models import User
        from django.db import connection, transaction
        from django.test import Client
        from django.urls import reverse
        from django.utils import timezone

        from capacity import services
        from capacity.models import Database, DatabaseSize
        from engines.facts import DatabaseFact, Databases, ServerInfo, SizeFact, Sizes
        from instances.models import Instance
        from sync.models import SyncRecord
        from sync.visits import brief_transaction

        today = timezone.localdate()
        values = {"instances": INSTANCES, "databases": DATABASES, "days": DAYS, "today": today}

        def run(sql: str, **more: Any) -> list[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(sql, values | more)
                return cursor.fetchall() if cursor.description else []

        figures["fill_s"] = seconds(lambda: run(FLEET + DATABASES_OF + SIZES))
        run("VACUUM ANALYZE")
        rows = DatabaseSize.objects.count()
        ((size,),) = run("SELECT pg_total_relation_size('capacity_databasesize')")
        figures |= {"rows": rows, "store_bytes": size, "bytes_per_row": size / rows}

        # As visits before have left them.
        Instance.objects.update(product="P", version="1")
        instances = list(Instance.objects.all())
        names = [f"shop{number}" for number in range(1, DATABASES + 1)]

        def facts(instance: Instance) -> services.CapacityFacts:
            found = [SizeFact(name, instance.pk * 1000000 + 7) for name in names]
            listed = [DatabaseFact(name, name.removeprefix("shop")) for name in names]
            return services.CapacityFacts(ServerInfo("P", "1", "d"), Databases(listed), Sizes(found), 10)

        read = [(instance, facts(instance)) for instance in instances]

        def write(began: Any) -> Callable[[int], None]:
            def one(n: int) -> None:
                instance, known = read[n]
                with brief_transaction():
                    services.write(instance, known, SyncRecord(instance=instance, started_at=began))

            return one

        def by_hand(ago: int) -> Callable[[int], None]:
            def one(n: int) -> None:
                with transaction.atomic():
                    key = instances[n].pk
                    run(BY_HAND, day=today - timedelta(days=ago), first=key, last=key)

            return one

        # Taken in turns, instance by instance, so that both have the same share of a busy machine.
        now = timezone.now()
        together(INSTANCES, write(now - timedelta(days=DAYS + 1)), by_hand(DAYS + 2))
        figures["write_day_s"], figures["by_hand_day_s"] = together(INSTANCES, write(now), by_hand(DAYS + 3))
        (figures["write_again_s"],) = together(INSTANCES, write(timezone.now()))
        everything = {"day": today - timedelta(days=DAYS + 4), "first": 0, "last": 2**31 - 1}
        figures["one_statement_s"] = seconds(lambda: run(BY_HAND, **everything))
        too_old = today - timedelta(days=DAYS)
        DatabaseSize.objects.filter(day__lt=too_old).delete()
        run("UPDATE capacity_database SET size_day = %(today)s")
        run("DELETE FROM capacity_instancesize WHERE day < %(too_old)s", too_old=too_old)
        figures["write_ratio"] = figures["write_day_s"] / figures["by_hand_day_s"]
        figures["write_ms_an_instance"] = 1000 * figures["write_day_s"] / INSTANCES
        run("VACUUM ANALYZE")

        client = Client(SERVER_NAME="localhost")
        client.force_login(User.objects.create_superuser("bench"))
        one = Database.objects.filter(instance=instances[INSTANCES // 2])[0]
        values |= {
            "database": one.pk,
            "instance": one.instance_id,
            "yesterday": today - timedelta(days=1),
            "quarter_ago": today - timedelta(days=90),
            "year_ago": today - timedelta(days=365),
        }
        pages = {
            "databases": reverse("admin:capacity_database_changelist"),
            "database": reverse("admin:capacity_database_change", args=[one.pk]) + "?days=365",
            "instance": reverse("admin:instances_instance_change", args=[one.instance_id]),
            "instances": reverse("admin:instances_instance_changelist"),
            "gaps": reverse("capacity-gaps"),
            "sizes_of_a_day": f"{reverse('databasesize-list')}?instance={one.instance_id}"
            f"&day={values['yesterday'].isoformat()}",
        }
        for name, url in pages.items():

            def look(url: str = url) -> None:
                answer = client.get(url)
                if answer.status_code != 200:
                    raise RuntimeError(f"{url} answered {answer.status_code}")

            look()
            figures[f"{name}_ms"] = 1000 * seconds(look, 5)
            reference = 1000 * seconds(lambda name=name: run(REFERENCES[name]), 5)
            figures[f"{name}_sql_ms"] = reference
            figures[f"{name}_ratio"] = figures[f"{name}_ms"] / reference
    targets = {f"{name}_ms": ("<=", 300.0) for name in pages} | {"write_ratio": ("<=", 2.0)}
    report("capacity", figures, targets)


if __name__ == "__main__":
    main()
