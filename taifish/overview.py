"""The home page. Each part is shown to users who may see its list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, Exists, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import AccountChange
from accounts.wording import details, events
from aggregation import reading
from aggregation.periods import Period, last_closed
from alerts.findings import FINDINGS, Scope, counts
from alerts.models import Alert
from alerts.services import nobody_informed
from capacity.models import Database
from capacity.totals import totals
from classification.models import Classification, RuleResult
from console.columns import list_url
from console.units import bytes_label
from console.visibility import ids_shown_to, limit_of, shown_to
from instances.models import Instance
from planning.pages import forecast_row
from planning.reading import ceilings, forecasts
from sync.models import SyncRecord, SyncSession, VisitHealth
from sync.registry import KINDS, VisitKind
from work.days import local_day

from .health import work_checks

#: The findings counted at the top: those about instances. The others are on Health.
FIGURES = [name for name in FINDINGS if name not in ("schedule_late", "unproven", "undelivered")]

#: Rows of each part, lines of a change, and days of sizes.
ROWS, LINES, DAYS = 6, 2, 30

#: Width and height of a line of sizes.
SPARK = 100, 30


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Context of the page, in a fixed number of queries."""
    may = request.user.has_perms
    user = request.user
    changes = shown_to(AccountChange.objects.filter(baseline=False), user)
    superusers = FINDINGS["new_superuser"].rows(Scope.of(user))
    parts: dict[str, tuple[list[str], Callable[[], Any]]] = {
        "steps": (["instances.view_instance"], lambda: _steps(user)),
        "figures": (["instances.view_instance"], lambda: _figures(user)),
        "risks": (["accounts.view_account", "classification.view_assignment"], lambda: _risks(user)),
        "sizes": (["capacity.view_instancesize"], lambda: _sizes(user)),
        "visits": (["sync.view_syncrecord"], lambda: _visits(user)),
        "alerts": (["alerts.view_alert"], lambda: _alerts(user)),
        "checks": (["sync.view_syncsession"], lambda: work_checks() if limit_of(user) is None else None),
        "running": (["sync.view_syncsession"], lambda: _running(user)),
        "superusers": (
            ["accounts.view_accountchange"],
            lambda: _changes(superusers),
        ),
        "latest": (["accounts.view_accountchange"], lambda: _changes(changes)),
        "largest": (["capacity.view_database"], lambda: _largest(user)),
        "growers": (["aggregation.view_databaseaggregate"], lambda: _growers(user)),
        "forecasts": (["planning.view_sizelimit"], lambda: _forecasts(user)),
    }
    for name, (permissions, part) in parts.items():
        context[name] = part() if may(permissions) else None
        context[f"may_{name}"] = may(permissions)
    return context


@dataclass(frozen=True)
class Step:
    """What is missing in a new installation, and the page that adds it."""

    text: str | Promise
    label: str | Promise
    url: str


def _steps(user: User) -> list[Step]:
    """What to do next. Takes two queries; nothing for users who see a part of the fleet."""
    if limit_of(user) is not None:
        return []
    conditions = {
        "instance": Exists(Instance.objects.active()),
        "visit": Exists(VisitHealth.objects.filter(succeeded_at__isnull=False)),
    }
    found = User.objects.filter(pk=user.pk).values_list(*conditions.values())
    has = dict(zip(conditions, found[0], strict=True))
    instances = reverse("admin:instances_instance_changelist")
    steps = []
    if not has["instance"]:
        step = Step(_("Taifish knows no instance yet."), _("Add an instance"), reverse("admin:instances_instance_add"))
        steps.append(("instances.add_instance", step))
    elif not has["visit"]:
        step = Step(
            _("No visit has succeeded yet: nothing is known of accounts and sizes."),
            _("Visit the instances"),
            instances,
        )
        steps.append(("sync.run_visits", step))
    if why := nobody_informed():
        step = Step(why, _("Alert rules"), reverse("admin:alerts_alertrule_changelist"))
        steps.append(("alerts.change_alertrule", step))
    return [step for permission, step in steps if user.has_perm(permission)]


def _figures(user: User) -> list[dict[str, Any]]:
    """The number of instances, and of what needs attention."""
    scope = Scope.of(user)
    found = {name: FINDINGS[name] for name in FIGURES if user.has_perm(FINDINGS[name].permission)}
    active = scope.instances.active()
    n = counts({"active": active} | {name: finding.rows(scope) for name, finding in found.items()})
    url = reverse("admin:instances_instance_changelist")
    return [
        {"label": _("Active instances"), "count": n["active"], "url": url},
        *({"label": f.title, "count": n[name], "url": f.url, "hint": f.hint} for name, f in found.items() if n[name]),
    ]


def _risks(user: User) -> list[dict[str, Any]] | None:
    """Accounts by the highest risk of their classifications, now and a day ago; None before rules ran for the first
    time. Those that the list of accounts shows."""
    values = {
        "risks": Classification.Risk.values,
        "then": timezone.now() - timedelta(days=1),
        "instances": ids_shown_to(user),
    }
    now, then = Counter[int](), Counter[int]()
    with connection.cursor() as cursor:
        cursor.execute(_RISKS, values)
        for rank_now, rank_then, n in cursor.fetchall():
            now[rank_now] += n
            then[rank_then] += n
    levels = list(enumerate(Classification.Risk.choices, start=1))[:-1]
    classified = any(now[rank] or then[rank] for rank, _level in levels)
    if not classified and not shown_to(RuleResult.objects.all(), user).exists():
        return None
    return [
        {
            "risk": risk,
            "label": label,
            "count": now[rank],
            "change": now[rank] - then[rank],
            "url": list_url("accounts_account", risk=risk),
        }
        for rank, (risk, label) in levels
    ]


# Django makes a statement of 20 conditions of it, which takes it a tenth of the page's time.
_RISKS = """
SELECT now, before, count(*)
  FROM (SELECT min(s.rank) FILTER (WHERE s.until IS NULL) AS now,
               min(s.rank) FILTER (WHERE s.since <= %(then)s AND (s.until IS NULL OR s.until > %(then)s)) AS before
          FROM (SELECT a.id, s.since, s.until, array_position(%(risks)s::text[], c.risk::text) AS rank
                  FROM classification_assignment s
                  JOIN classification_classification c ON c.id = s.classification_id
                  JOIN accounts_account a ON a.id = s.account_id
                 WHERE a.gone_at IS NULL AND NOT a.is_filtered
                   AND (%(instances)s::bigint[] IS NULL OR a.instance_id = ANY(%(instances)s))
                   AND (s.until IS NULL OR s.until > %(then)s)) s
         GROUP BY s.id) r
 GROUP BY 1, 2
"""


def _sizes(user: User) -> dict[str, Any] | None:
    """The size of all active instances, and lines of the last days. None without a size."""
    ids = list(shown_to(Instance.objects.active(), user).order_by().values_list("pk", flat=True))
    found = totals(ids, DAYS)
    if not found:
        return None
    first, last = found[0], found[-1]
    return {
        "size": bytes_label(last.size),
        "day": last.day if last.day < local_day() else None,
        "n": last.n,
        "n_all": len(ids),
        "since": first.day if first.day < last.day else None,
        "change": bytes_label(last.size - first.size, signed=True),
        "lines": _lines([(one.day, one.size) for one in found]),
        "box": "0 0 {} {}".format(*SPARK),
    }


def _lines(sizes: list[tuple[date, int]]) -> list[str]:
    """The points of a line for each run of days without a gap."""
    width, height = SPARK
    first, days = sizes[0][0], max((sizes[-1][0] - sizes[0][0]).days, 1)
    low, high = min(size for _day, size in sizes), max(size for _day, size in sizes)
    lines: list[list[str]] = []
    last = None
    for day, size in sizes:
        if last is None or day - last > timedelta(days=1):
            lines.append([])
        y = height / 2 if high == low else 1 + (height - 2) * (high - size) / (high - low)
        lines[-1].append(f"{width * (day - first).days / days:.1f},{y:.1f}")
        last = day
    return [" ".join(line) for line in lines if len(line) > 1]


def _visits(user: User) -> list[dict[str, Any]]:
    """The visits that began within a day, by kind and outcome."""
    since = (timezone.localtime() - timedelta(days=1)).replace(microsecond=0)
    kinds = [kind for kind in KINDS.values() if isinstance(kind, VisitKind)]
    rows = SyncRecord.objects.filter(started_at__gte=since, kind__in=[kind.name for kind in kinds])
    found = shown_to(rows, user).order_by().values("kind", "status").annotate(n=Count("pk"))
    n = {(row["kind"], row["status"]): row["n"] for row in found}
    start = {"started_at_from_0": f"{since:%Y-%m-%d}", "started_at_from_1": f"{since:%H:%M:%S}"}
    return [
        {
            "label": kind.label,
            "outcomes": [
                {
                    "status": status,
                    "label": label,
                    "count": n[kind.name, status],
                    "url": list_url("sync_syncrecord", kind=kind.name, status__exact=status, **start),
                }
                for status, label in SyncRecord.Status.choices
                if (kind.name, status) in n
            ],
        }
        for kind in kinds
    ]


def _alerts(user: User) -> dict[str, Any]:
    """Open alerts: their number, and the latest."""
    rows = shown_to(Alert.objects.open(), user).select_related("instance", "rule")
    return {
        "count": rows.count(),
        "rows": list(rows.order_by("-first_seen_at", "-pk")[:ROWS]),
        "url": list_url("alerts_alert"),
    }


def _running(user: User) -> list[dict[str, Any]]:
    running = shown_to(SyncSession.objects.filter(status="running"), user)
    # Most of the time none is, and the counts take longer to ask for than to know that.
    latest = list(running.order_by("-pk").values_list("pk", flat=True)[:5])
    sessions = SyncSession.objects.filter(pk__in=latest).with_counts(user).order_by("-pk") if latest else []
    return [
        {"session": session, "ended": session.n_total - session.n_pending - session.n_running} for session in sessions
    ]


def _changes(changes: QuerySet[AccountChange]) -> list[dict[str, Any]]:
    """The first changes, each with its first lines."""
    rows = []
    for change in changes.select_related("account__instance")[:ROWS]:
        lines = details(change)
        more = gettext("and %d more") % (len(lines) - LINES) if len(lines) > LINES else ""
        rows.append({"change": change, "events": events(change), "lines": lines[:LINES], "more": more})
    return rows


def _largest(user: User) -> QuerySet[Database]:
    rows = Database.objects.present().visible().exclude(size=None).select_related("instance")
    return shown_to(rows, user).order_by("-size", "pk")[:ROWS]


def _growers(user: User) -> Any:
    return reading.top_growers(last_closed(Period.WEEKLY, local_day()), reading.chosen_instances(user=user), ROWS)


def _forecasts(user: User) -> list[dict[str, Any]]:
    """What will reach its limit first, of all kinds."""
    return [forecast_row(*pair) for pair in forecasts(ceilings(user))[:ROWS]]
