"""`/metrics` for Prometheus, computed from the store at each scrape, so that all web processes return the same values.

Visits are gauges over the last 24 hours, not counters: counts decrease when sessions are purged or instances deleted,
and Prometheus would treat a lower counter as a restart.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from alerts.findings import FINDINGS, Scope, counts
from alerts.models import AlertRule, Delivery
from capacity.gaps import MissingDays
from console.visibility import limit_of
from instances.models import Instance
from sync.lateness import enabled_schedules, is_late
from sync.models import SyncRecord
from sync.registry import KINDS
from work.days import local_day

from .login import TOKENS, AddressLimit, TooManyAttempts

ENDED = [status for status in SyncRecord.Status.values if status not in SyncRecord.OPEN]
QUANTILES = [0.5, 0.95, 1.0]

#: Label → greatest age of the last successful visit.
STALENESS = {"1d": timedelta(days=1), "2d": timedelta(days=2), "7d": timedelta(days=7)}


def metrics(request: HttpRequest) -> HttpResponse:
    """For requests with TAIFISH_METRICS_TOKEN, and for users who may see the sync sessions of all instances."""
    may = request.user.has_perm("sync.view_syncsession") and limit_of(request.user) is None
    try:
        has_token = _has_token(request)
    except TooManyAttempts as error:
        headers = {"Retry-After": error.wait}
        return HttpResponse(f"{error.detail}\n", status=429, content_type="text/plain", headers=headers)
    if not (has_token or may):
        if request.user.is_authenticated:
            return HttpResponse(
                "You may not see the sync sessions of all instances.\n", status=403, content_type="text/plain"
            )
        text = "Send TAIFISH_METRICS_TOKEN as a bearer token.\n"
        return HttpResponse(text, status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer"})
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(REGISTRY), content_type=content_type, headers={"Cache-Control": "no-store"})


def _has_token(request: HttpRequest) -> bool:
    """Whether the request has the token. Wrong tokens are counted. Raises TooManyAttempts."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = settings.TAIFISH_METRICS_TOKEN
    if not token or scheme.lower() != "bearer":
        return False
    if secrets.compare_digest(given.encode(), token.encode()):
        return True
    AddressLimit(request, TOKENS).count()
    return False


class StoreCollector(Collector):
    """All metrics, in a fixed number of queries."""

    def collect(self) -> Iterator[Metric]:
        yield from _visits()
        yield from _backlog()
        yield from _last_successes()
        yield from _findings()
        yield from _gaps()
        yield from _schedules()
        yield from _alerts()
        yield from _store()


def _gauge(name: str, help: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"taifish_{name}", help, labels=labels)


def _visits() -> Iterator[Metric]:
    visits = _gauge("visits", "Visits that ended in the last 24 hours, by outcome.", "kind", "outcome")
    took = _gauge(
        "visit_seconds",
        "Duration of the visits of the last 24 hours, skipped and cancelled ones excluded.",
        "kind",
        "quantile",
    )
    counts = {(kind, status): 0 for kind in KINDS for status in ENDED}
    for kind, status, count, seconds in _rows(_VISITS, {"quantiles": QUANTILES}):
        if status is not None:
            counts[kind, status] = count
        elif seconds is not None:
            for quantile, value in zip(QUANTILES, seconds, strict=True):
                took.add_metric([kind, f"{quantile:g}"], value)
    for labels, count in counts.items():
        visits.add_metric(labels, count)
    yield from (visits, took)


def _backlog() -> Iterator[Metric]:
    """ "due" visits wait for a worker or for their host; "later" visits are scheduled for a retry."""
    backlog = _gauge("visits_open", "Visits that have not ended: due, later, running.", "kind", "state")
    oldest = _gauge("visits_due_seconds", "How long the oldest due visit has been waiting.", "kind")
    rows = dict.fromkeys(KINDS, (0, 0, 0, 0.0)) | {kind: rest for kind, *rest in _rows(_BACKLOG, {})}
    for kind, (due, later, running, seconds) in rows.items():
        for state, count in (("due", due), ("later", later), ("running", running)):
            backlog.add_metric([kind, state], count)
        oldest.add_metric([kind], seconds or 0)
    yield from (backlog, oldest)


def _last_successes() -> Iterator[Metric]:
    age = _gauge(
        "last_success_seconds", "Age of the last success of the active instance that has waited longest.", "kind"
    )
    spread = _gauge("instances_by_last_success", "Active instances by the age of their last success.", "kind", "age")
    paused = _gauge("instances_paused", "Active instances paused after too many failures.", "kind")
    values = {"kinds": list(KINDS), **{f"within_{label}": span for label, span in STALENESS.items()}}
    for kind, seconds, n_paused, *by_age in _rows(_LAST_SUCCESSES, values):
        if seconds is not None:
            age.add_metric([kind], seconds)
        paused.add_metric([kind], n_paused)
        for label, count in zip([*STALENESS, "older", "never"], by_age, strict=True):
            spread.add_metric([kind, label], count)
    yield from (age, spread, paused)


def _findings() -> Iterator[Metric]:
    """Findings other than visits, missing sizes and late schedules, which have separate gauges."""
    instances = _gauge("instances", "Instances.", "state")
    findings = _gauge("findings", "Rows that need attention, as on the home page and on Health.", "finding")
    states = {"active": Instance.objects.active(), "retired": Instance.objects.retired()}
    scope = Scope.of(None)
    names = ("stale", "paused", "new_superuser", "unproven", "undelivered")
    for name, count in counts(states | {name: FINDINGS[name].rows(scope) for name in names}).items():
        (instances if name in states else findings).add_metric([name], count)
    yield from (instances, findings)


def _gaps() -> Iterator[Metric]:
    gaps = _gauge("capacity_gaps", "Instances without a size for yesterday, or with an incomplete one.", "gap")
    yesterday = local_day() - timedelta(days=1)
    for kind, count in ({"missing": 0, "incomplete": 0} | MissingDays(yesterday, yesterday).per_kind()).items():
        gaps.add_metric([kind], count)
    yield gaps


def _schedules() -> Iterator[Metric]:
    late = _gauge("schedule_late", "1 for a schedule that is overdue.", "schedule")
    ran = _gauge("schedule_last_run_timestamp_seconds", "When the schedule last ran.", "schedule")
    for task in enabled_schedules():
        late.add_metric([task.name], is_late(task))
        if task.last_run_at:
            ran.add_metric([task.name], task.last_run_at.timestamp())
    yield from (late, ran)


def _alerts() -> Iterator[Metric]:
    n_open = _gauge("alerts_open", "Open alerts of active rules.", "rule", "kind")
    evaluated = _gauge("alerts_evaluated_timestamp_seconds", "When the active rules were last evaluated.")
    rules = AlertRule.objects.filter(active=True).annotate(n_open=Count("alerts", filter=Q(alerts__resolved_at=None)))
    rows = list(rules.values_list("name", "kind", "n_open", "evaluated_at"))
    for name, kind, count, _at in rows:
        n_open.add_metric([name, kind], count)
    if times := [at for *_rest, at in rows if at]:
        evaluated.add_metric([], max(times).timestamp())
    deliveries = _gauge("alert_deliveries", "Alert messages of the last 24 hours.", "status")
    late = _gauge("alert_deliveries_overdue", "Alert messages that failed and will be sent again.")
    lately = Q(created_at__gt=timezone.now() - timedelta(days=1), is_test=False)
    counts = Delivery.objects.aggregate(
        **{status: Count("pk", filter=lately & Q(status=status)) for status in Delivery.Status.values},
        overdue=Count("pk", filter=Q(status="pending", attempts__gt=0)),
    )
    late.add_metric([], counts.pop("overdue"))
    for status, count in counts.items():
        deliveries.add_metric([status], count)
    yield from (n_open, evaluated, deliveries, late)


def _store() -> Iterator[Metric]:
    ((size,),) = _rows("SELECT pg_database_size(current_database())", {})
    yield GaugeMetricFamily("taifish_store_bytes", "Size of the store.", value=size)


def _rows(sql: str, values: dict[str, object]) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


#: The join uses the index on the creation time of sessions: a visit ends within a day of it.
_VISITS = """
SELECT r.kind, r.status, count(*),
       percentile_cont(%(quantiles)s::float8[]) WITHIN GROUP (ORDER BY extract(epoch FROM r.finished_at - r.started_at))
           FILTER (WHERE r.started_at IS NOT NULL AND r.status NOT IN ('skipped', 'cancelled'))
  FROM sync_syncsession s JOIN sync_syncrecord r ON r.session_id = s.id
 WHERE s.created_at > now() - interval '48 hours' AND r.finished_at > now() - interval '24 hours'
   AND r.status NOT IN ('pending', 'running')
 GROUP BY GROUPING SETS ((r.kind, r.status), (r.kind))
"""

_BACKLOG = """
SELECT r.kind, count(*) FILTER (WHERE r.status = 'pending' AND coalesce(r.not_before <= now(), true)),
       count(*) FILTER (WHERE r.status = 'pending' AND r.not_before > now()),
       count(*) FILTER (WHERE r.status = 'running'),
       max(extract(epoch FROM now() - coalesce(r.not_before, s.created_at)))
           FILTER (WHERE r.status = 'pending' AND coalesce(r.not_before <= now(), true))::float8
  FROM sync_syncrecord r JOIN sync_syncsession s ON s.id = r.session_id
 WHERE r.status IN ('pending', 'running')
 GROUP BY r.kind
"""

_LAST_SUCCESSES = """
SELECT k.kind, max(extract(epoch FROM a.age))::float8, count(*) FILTER (WHERE h.paused_at IS NOT NULL),
       count(*) FILTER (WHERE a.age <= %(within_1d)s),
       count(*) FILTER (WHERE a.age > %(within_1d)s AND a.age <= %(within_2d)s),
       count(*) FILTER (WHERE a.age > %(within_2d)s AND a.age <= %(within_7d)s),
       count(*) FILTER (WHERE a.age > %(within_7d)s), count(*) FILTER (WHERE a.age IS NULL)
  FROM instances_instance i CROSS JOIN unnest(%(kinds)s::text[]) AS k(kind)
  LEFT JOIN sync_visithealth h ON h.instance_id = i.id AND h.kind = k.kind
 CROSS JOIN LATERAL (SELECT now() - h.succeeded_at AS age) a
 WHERE i.retired_at IS NULL
 GROUP BY k.kind
"""

REGISTRY = CollectorRegistry()
REGISTRY.register(StoreCollector())
