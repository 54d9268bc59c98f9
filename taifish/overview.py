"""The home page. Each part is shown to users who may see its list."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import AccountChange
from accounts.wording import events
from aggregation import reading
from aggregation.periods import Period, last_closed
from alerts.findings import FINDINGS, Scope, counts
from capacity.models import Database
from console.visibility import limit_of, shown_to
from planning.pages import forecast_row
from planning.reading import ceilings, forecasts
from sync.lateness import enabled_schedules, is_late
from sync.models import SyncSession, VisitHealth
from sync.registry import KINDS, VisitKind

from .health import work_checks

#: The findings counted at the top: those about instances. The others are on Health.
FIGURES = [name for name in FINDINGS if name not in ("schedule_late", "unproven", "undelivered")]

#: Rows of each part.
ROWS = 6


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Context of the page, in a fixed number of queries."""
    may = request.user.has_perm
    user = request.user
    changes = shown_to(AccountChange.objects.all(), user)
    parts: dict[str, tuple[str, Callable[[], Any]]] = {
        "figures": ("instances.view_instance", lambda: _figures(user)),
        "checks": ("sync.view_syncsession", lambda: work_checks() if limit_of(user) is None else None),
        "running": ("sync.view_syncsession", lambda: _running(user)),
        "superusers": ("accounts.view_accountchange", lambda: _changes(FINDINGS["new_superuser"].rows(Scope.of(user)))),
        "latest": ("accounts.view_accountchange", lambda: _changes(changes.filter(baseline=False))),
        "oldest": ("sync.view_visithealth", lambda: _oldest(user)),
        "largest": ("capacity.view_database", lambda: _largest(user)),
        "growers": ("aggregation.view_databaseaggregate", lambda: _growers(user)),
        "forecasts": ("planning.view_sizelimit", lambda: _forecasts(user)),
        "schedules": ("django_celery_beat.view_periodictask", _schedules),
    }
    for name, (permission, part) in parts.items():
        context[name] = part() if may(permission) else None
    return context


def _figures(user: User) -> list[dict[str, Any]]:
    scope = Scope.of(user)
    found = {name: FINDINGS[name] for name in FIGURES if user.has_perm(FINDINGS[name].permission)}
    active = scope.instances.active()
    n = counts({"active": active} | {name: finding.rows(scope) for name, finding in found.items()})
    url = reverse("admin:instances_instance_changelist")
    return [
        {"label": _("Active instances"), "count": n["active"], "url": url},
        *({"label": f.title, "count": n[name], "url": f.url, "hint": f.hint} for name, f in found.items()),
    ]


def _running(user: User) -> list[dict[str, Any]]:
    running = shown_to(SyncSession.objects.filter(status="running"), user)
    sessions = running.with_counts(user).order_by("-pk")[:5]
    return [
        {"session": session, "ended": session.n_total - session.n_pending - session.n_running} for session in sessions
    ]


def _changes(changes: QuerySet[AccountChange]) -> list[dict[str, Any]]:
    rows = changes.select_related("account__instance")[:ROWS]
    return [{"change": change, "events": events(change)} for change in rows]


def _oldest(user: User) -> QuerySet[VisitHealth]:
    visits = [kind.name for kind in KINDS.values() if isinstance(kind, VisitKind)]
    rows = VisitHealth.objects.filter(instance__retired_at=None, kind__in=visits).select_related("instance")
    return shown_to(rows, user).order_by(F("succeeded_at").asc(nulls_first=True), "instance__name", "kind")[:ROWS]


def _largest(user: User) -> QuerySet[Database]:
    rows = Database.objects.present().visible().exclude(size=None).select_related("instance")
    return shown_to(rows, user).order_by("-size", "pk")[:ROWS]


def _growers(user: User) -> Any:
    return reading.top_growers(
        last_closed(Period.WEEKLY, timezone.localdate()), reading.chosen_instances(user=user), ROWS
    )


def _forecasts(user: User) -> list[dict[str, Any]]:
    """What will reach its limit first, of all kinds."""
    return [forecast_row(*pair) for pair in forecasts(ceilings(user))[:ROWS]]


def _schedules() -> list[dict[str, Any]]:
    """Each enabled schedule with its last and next run, the next first."""
    now = timezone.now()
    rows = []
    for task in enabled_schedules():
        since = timezone.localtime(task.last_run_at or task.date_changed)
        # `now` is slightly too early; without the second, a full hour would show as one minute earlier.
        due = now + task.schedule.remaining_estimate(since) + timedelta(seconds=1)
        rows.append({"task": task, "next": due, "is_late": is_late(task)})
    return sorted(rows, key=lambda row: row["next"])
