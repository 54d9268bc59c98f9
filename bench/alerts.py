"""Scraping /metrics, and looking at all alert rules, on a fleet that has been visited for half a year."""

from __future__ import annotations

from typing import Any

from ground import FLEET, quick, report, seconds, store

INSTANCES, DAYS, DATABASES, ACCOUNTS = (50, 30, 10, 20) if quick() else (1000, 180, 50, 200)

#: Three sessions a day, a week of changes of accounts on top of the first visit's, and sizes that grow.
FILL = """
SET session_replication_role = replica;
INSERT INTO sync_syncsession (kind, trigger, status, params, created_at, finished_at, followed_up_at)
SELECT kind, 'schedule', 'completed', '{}', day, day + interval '10 minutes', day + interval '10 minutes'
  FROM generate_series(now() - %(days)s * interval '1 day', now() - interval '1 hour', interval '1 day') day,
       unnest(ARRAY['accounts', 'capacity', 'aggregation']) kind;
INSERT INTO sync_syncrecord (session_id, instance_id, kind, status, phase, attempt, max_attempts, sent_times, worker,
       started_at, finished_at, error_code, parameters, message, advice, summary, gaps)
SELECT s.id, i.id, s.kind, CASE WHEN i.id %% 50 = 0 THEN 'failed' ELSE 'completed' END, '', 1, 3, 1, 'w', s.created_at,
       s.created_at + i.id %% 60 * interval '1 second', '', '{}', '', '', '{"accounts": 200}', '[]'
  FROM sync_syncsession s, instances_instance i;
INSERT INTO sync_visithealth (instance_id, kind, failures, succeeded_at, error_code, parameters, message, paused_at)
SELECT i.id, k, CASE WHEN i.id %% 50 = 0 THEN 9 ELSE 0 END, now() - i.id %% 10 * interval '1 day', '', '{}', '',
       CASE WHEN i.id %% 50 = 0 THEN now() END
  FROM instances_instance i, unnest(ARRAY['accounts', 'capacity', 'aggregation']) k;
INSERT INTO capacity_database (instance_id, name, native_id, is_system, is_filtered, first_seen_at, last_seen_at)
SELECT i.id, 'shop' || n, '', false, false, now() - interval '2 years', now()
  FROM instances_instance i, generate_series(1, %(databases)s) n;
INSERT INTO capacity_instancesize (instance_id, day, size, shared_size, shared, n_databases, is_complete, collected_at)
SELECT i.id, day::date, 1e12 + i.id * 1e6 * (day::date - date '2020-01-01') + random() * 1e6, 0, '{}', 1, true, now()
  FROM instances_instance i, generate_series(current_date - 130, current_date - 1, interval '1 day') day
 WHERE i.id %% 100 > 0 OR day < current_date - 1;
INSERT INTO planning_sizelimit (instance_id, size, note, set_at)
SELECT id, 3e12, '', now() FROM instances_instance;
INSERT INTO aggregation_databaseaggregate (database_id, period, start, "end", avg_size, min_size, max_size, first_size,
       last_size, days_collected, days_expected, change, change_percent, computed_at)
SELECT d.id, 'daily', day::date, day::date, 1e11, 1e11, 1e11, 1e11, 1e11, 1, 1,
       CASE WHEN d.id %% 500 = 0 THEN 5e10 ELSE 1e7 END, CASE WHEN d.id %% 500 = 0 THEN 100 ELSE 0.01 END, now()
  FROM capacity_database d, generate_series(current_date - 20, current_date - 1, interval '1 day') day;
INSERT INTO accounts_account (instance_id, name, host, kind, native_id, is_system, is_filtered, is_superuser,
       auth_method, last_known, first_seen_at)
SELECT i.id, 'user' || n, '', 'user', '', false, false, n %% 20 = 0, '', '{}', now()
  FROM instances_instance i, generate_series(1, %(accounts)s) n;
INSERT INTO accounts_accountchange (account_id, at, events, details, baseline)
SELECT id, now() - interval '100 days', '{appeared}', '{}', true FROM accounts_account;
INSERT INTO accounts_accountchange (account_id, at, events, details, baseline)
SELECT id, date_trunc('day', now()) - id %% 7 * interval '1 day', '{privileges}', '{"granted": []}', false
  FROM accounts_account WHERE id %% 10 = 0;
SET session_replication_role = origin;
"""


def main() -> None:
    figures: dict[str, Any] = {"instances": INSTANCES, "days": DAYS, "accounts": INSTANCES * ACCOUNTS}
    with store():
        from django.conf import settings
        from django.db import connection
        from django.test import Client
        from django.test.utils import CaptureQueriesContext

        from alerts import services
        from alerts.models import Alert, AlertRule

        def run(sql: str, **values: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql, values)

        run(FLEET, instances=INSTANCES)
        run(FILL, days=DAYS, databases=DATABASES, accounts=ACCOUNTS)
        run("VACUUM ANALYZE")
        run("UPDATE alerts_alertrule SET active = true, active_since = now() - interval '30 days'")
        settings.TAIFISH_METRICS_TOKEN, settings.ALLOWED_HOSTS = "token", ["*"]
        client = Client(headers={"authorization": "Bearer token"})

        def scrape() -> None:
            if client.get("/metrics").status_code != 200:
                raise RuntimeError("/metrics did not answer")

        figures["scrape_s"] = seconds(scrape, 3)
        with CaptureQueriesContext(connection) as queries:
            scrape()
        figures["scrape_statements"] = len(queries)
        figures["first_look_s"] = seconds(services.evaluate)
        figures["alerts"] = Alert.objects.count()
        figures["next_look_s"] = seconds(services.evaluate, 3)
        for rule in AlertRule.objects.all():
            AlertRule.objects.update(active=False)
            AlertRule.objects.filter(pk=rule.pk).update(active=True)
            figures[f"{rule.kind}_s"] = seconds(lambda: services.evaluate(dry_run=True))
    report("alerts", figures, {"scrape_s": ("<=", 0.3), "next_look_s": ("<=", 5)})


if __name__ == "__main__":
    main()
