"""Forecasting a large fleet after a collection: time and memory of the worker that does it, and of the pages that read
what is stored, with a limit on every instance and every tenth database."""

from __future__ import annotations

import resource
from typing import Any

from ground import FLEET, beside, quick, report, seconds, store

INSTANCES, DATABASES, DAYS = (40, 50, 400) if quick() else (1000, 50, 400)

#: Databases that grow at rates of their own, some with weekly seasons, all with noise.
SIZES = """
INSERT INTO capacity_databasesize (database_id, day, size, collected_at)
SELECT d.id, %(today)s - back,
       1e10 * (1 + d.id %% 17) * (1 + (d.id %% 11) * 0.0005 * (%(days)s - back) + 0.002 * (d.id %% 3) * sin(back)
           + 0.001 * random()),
       now()
  FROM generate_series(%(days)s - 1, 0, -1) back, capacity_database d
 WHERE (d.instance_id * 7 + back) %% 33 <> 0;
INSERT INTO capacity_instancesize (instance_id, day, size, shared_size, shared, n_databases, is_complete, collected_at)
SELECT d.instance_id, s.day, sum(s.size), 0, '{}', count(*), true, now()
  FROM capacity_databasesize s JOIN capacity_database d ON d.id = s.database_id GROUP BY 1, 2;
INSERT INTO planning_sizelimit (database_id, size, note, set_at) SELECT id, 5e11, '', now() FROM capacity_database
 WHERE id %% 10 = 0;
INSERT INTO planning_sizelimit (instance_id, size, note, set_at) SELECT id, 5e12, '', now() FROM instances_instance;
INSERT INTO tagging_instancetag (instance_id, tag_id, added_at)
SELECT i.id, t.id, now() FROM instances_instance i JOIN tagging_tag t ON t.id %% 10 = i.id %% 10;
"""


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    figures: dict[str, Any] = {"instances": INSTANCES, "databases": INSTANCES * DATABASES, "days": DAYS}
    with store():
        from django.contrib.auth.models import User
        from django.db import connection
        from django.test import Client
        from django.urls import reverse
        from django.utils import timezone

        from planning.models import Projection
        from planning.services import compute

        values = {"instances": INSTANCES, "databases": DATABASES, "days": DAYS, "today": timezone.localdate()}

        def run(sql: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql, values)

        run("SET session_replication_role = replica;" + FLEET + beside("capacity").DATABASES_OF)
        figures["fill_s"] = seconds(lambda: run(SIZES + "SET session_replication_role = origin"))
        run("VACUUM ANALYZE")
        figures["memory_before_mb"] = peak_mb()
        figures["first_s"] = seconds(compute)
        figures["again_s"] = seconds(compute)
        figures |= {"memory_mb": peak_mb(), "projections": Projection.objects.count()}
        figures["without_forecast"] = Projection.objects.exclude(reason="").count()
        run("VACUUM ANALYZE")
        client = Client(SERVER_NAME="localhost")
        client.force_login(User.objects.create_superuser("bench"))
        pages = {
            "filling": reverse("filling-up"),
            "forecasts_api": "/api/forecasts/",
            "growing_api": "/api/filling-up/?without_limit=true",
            "report": reverse("planning-report"),
            "home": reverse("admin:index"),
        }
        for name, url in pages.items():

            def look(url: str = url) -> None:
                if client.get(url).status_code != 200:
                    raise RuntimeError(f"{url} did not answer")

            look()
            figures[f"{name}_ms"] = 1000 * seconds(look, 3)
    targets = {"first_s": ("<=", 120 * INSTANCES / 1000 + 5), "memory_mb": ("<=", 500)}
    report("projections", figures, targets | {f"{name}_ms": ("<=", 1000) for name in pages})


if __name__ == "__main__":
    main()
