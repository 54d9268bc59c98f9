"""Every list of the admin, and its home page, over a large fleet: how long a page takes, and by how many queries.

1,000 instances with 200,000 accounts, 2 M grants, 50,000 databases with a month of sizes, and what visits leave behind.
Each page is asked for by a superuser, rendered and all; its queries are counted while it is not timed.
"""

from __future__ import annotations

from typing import Any

from ground import beside, quick, report, seconds, store

INSTANCES = 20 if quick() else 1000
ACCOUNTS, GRANTS, DATABASES, DAYS = 200, 2000, 50, 35

#: Sessions of a month, the last failing for every thirtieth instance; changes of yesterday's and older visits.
LEFT_BEHIND = """
INSERT INTO sync_syncsession (kind, trigger, status, params, created_at, finished_at)
SELECT k, 'schedule', 'partial', '{}', now() - d * interval '1 day', now() - d * interval '1 day'
  FROM generate_series(30, 0, -1) d, unnest(ARRAY['accounts', 'capacity']) k;
INSERT INTO sync_syncrecord (session_id, instance_id, kind, status, phase, attempt, max_attempts, sent_times, worker,
       error_code, parameters, message, advice, summary, gaps, started_at, finished_at)
SELECT s.id, i.id, s.kind, CASE WHEN i.id %% 30 = 0 THEN 'failed' ELSE 'completed' END, '', 1, 3, 1, 'w', '', '{}', '',
       '', '{"accounts": 200}', '[]', s.created_at, s.created_at
  FROM sync_syncsession s, instances_instance i;
INSERT INTO sync_visithealth (instance_id, kind, failures, succeeded_at, error_code, parameters, message, paused_at)
SELECT id, k, id %% 7, now() - (id %% 50) * interval '1 hour', '', '{}', '', CASE WHEN id %% 40 = 0 THEN now() END
  FROM instances_instance, unnest(ARRAY['accounts', 'capacity']) k;
INSERT INTO accounts_accountchange (account_id, at, events, details, baseline)
SELECT id, now() - (id %% 40) * interval '1 day', '{appeared}', '{}', id %% 20 = 0 FROM accounts_account
 WHERE id %% 4 = 0;
UPDATE accounts_account SET is_superuser = true WHERE id %% 1000 = 0;
INSERT INTO planning_sizelimit (instance_id, size, note, set_at)
SELECT id, id * 60000000, '', now() FROM instances_instance WHERE id %% 2 = 0;
"""

#: Pages that are no list of a model.
PAGES = ("admin:index", "who-can", "rights-matrix", "where-is", "trends", "forecasts", "filling-up", "capacity-gaps")
PAGES += ("health",)


def fill(instances: int) -> dict[str, int]:
    """Fill the store, and return how many rows of each kind it holds."""
    from django.db import connection
    from django.utils import timezone

    from accounts.models import Account, Grant
    from aggregation import services
    from capacity.models import Database
    from planning import services as planning
    from sync import services as sync
    from taifish import schedules

    values = {
        "instances": instances,
        "accounts": ACCOUNTS,
        "each": GRANTS // ACCOUNTS,
        "databases": DATABASES,
        "days": DAYS,
        "today": timezone.localdate(),
    }

    def run(sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)

    run(beside("access").FILL)
    sizes = beside("capacity")
    run(sizes.DATABASES_OF)
    run("SET session_replication_role = replica;" + sizes.SIZES + "SET session_replication_role = origin")
    run(LEFT_BEHIND)
    sync.run_here(sync.start("aggregation", services.due(), trigger="command", enqueue=False))
    planning.compute()
    schedules.install()
    run("VACUUM ANALYZE")
    return {
        "instances": instances,
        "accounts": Account.objects.count(),
        "grants": Grant.objects.count(),
        "databases": Database.objects.count(),
    }


def main() -> None:
    figures: dict[str, Any] = {}
    with store():
        from django.contrib import admin
        from django.contrib.auth.models import User
        from django.db import connection
        from django.test import Client
        from django.test.utils import CaptureQueriesContext
        from django.urls import reverse

        figures |= fill(INSTANCES)
        client = Client(SERVER_NAME="localhost")
        client.force_login(User.objects.create_superuser("bench"))
        urls = {name.removeprefix("admin:"): reverse(name) for name in PAGES}
        urls |= {
            model._meta.model_name: reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            for model in admin.site._registry
        }
        urls |= {
            "where-is alice": f"{reverse('where-is')}?name=user7*",
            "trends weekly": f"{reverse('trends')}?period=weekly",
        }
        queries = {}
        for name, url in urls.items():

            def look(url: str = url) -> None:
                answer = client.get(url)
                if answer.status_code != 200:
                    raise RuntimeError(f"{url} answered {answer.status_code}")

            look()
            with CaptureQueriesContext(connection) as captured:
                look()
            queries[name] = len(captured)
            figures[f"{name}_ms"] = 1000 * seconds(look, 3)
        figures |= {"queries": queries, "most_queries": max(queries.values())}
        timed = {name: figures[name] for name in figures if name.endswith("_ms")}
        figures["slowest"] = max(timed, key=timed.__getitem__)
        figures["slowest_ms"] = max(timed.values())
    report("house", figures, {"slowest_ms": ("<=", 300.0), "most_queries": ("<=", 40)})


if __name__ == "__main__":
    main()
