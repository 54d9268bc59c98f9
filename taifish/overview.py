"""The home page: what a DBA asks first thing in the morning, each part for those who may see its list."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Exists, ExpressionWrapper, F, FloatField, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.freshness import unknown_instances
from accounts.models import AccountChange
from accounts.pages import events
from aggregation import reading
from aggregation.models import InstanceLimit
from aggregation.pages import told as forecast_told
from aggregation.periods import Period, last_closed
from capacity.gaps import MissingDays
from capacity.models import Database, InstanceSize
from console.visibility import ids_shown_to, limit_of, shown_to
from instances.models import Instance
from sync.lateness import enabled_schedules, is_late
from sync.models import SyncSession, VisitHealth
from sync.pages import with_last_visit
from sync.registry import KINDS, VisitKind

from .health import work_checks

#: Rows of each part.
ROWS = 6

#: Limits that are looked at: those of the instances that have come closest to theirs.
NEAREST = 20


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Context of the page, in a fixed number of queries."""
    may = request.user.has_perm
    user = request.user
    changes = shown_to(AccountChange.objects.all(), user)
    new_superusers = changes.of_the_last(1).of_new_superusers()
    parts: dict[str, tuple[str, Callable[[], Any]]] = {
        "figures": ("instances.view_instance", lambda: _figures(user, new_superusers)),
        "checks": ("sync.view_syncsession", lambda: work_checks() if limit_of(user) is None else None),
        "running": ("sync.view_syncsession", lambda: _running(user)),
        "superusers": ("accounts.view_accountchange", lambda: _changes(new_superusers)),
        "latest": ("accounts.view_accountchange", lambda: _changes(changes.filter(baseline=False))),
        "oldest": ("sync.view_visithealth", lambda: _oldest(user)),
        "largest": ("capacity.view_database", lambda: _largest(user)),
        "growers": ("aggregation.view_databaseaggregate", lambda: _growers(user)),
        "forecasts": ("aggregation.view_instancelimit", lambda: _forecasts(user)),
        "schedules": ("django_celery_beat.view_periodictask", _schedules),
    }
    for name, (permission, told) in parts.items():
        context[name] = told() if may(permission) else None
    return context


def _figures(user: User, new_superusers: QuerySet[AccountChange]) -> list[dict[str, Any]]:
    may = user.has_perm
    url = reverse("admin:instances_instance_changelist")
    instances = shown_to(Instance.objects.active(), user).annotate(
        is_paused=Exists(VisitHealth.objects.paused().filter(instance=OuterRef("pk")))
    )
    for kind in ("accounts", "capacity"):
        instances = with_last_visit(instances, kind)
    counts = instances.aggregate(
        active=Count("pk"),
        paused=Count("pk", filter=Q(is_paused=True)),
        never=Count("pk", filter=Q(accounts_status=None)),
        failed=Count("pk", filter=Q(accounts_status="failed")),
        unmeasured=Count("pk", filter=Q(capacity_status="failed")),
    )
    figures = [{"label": _("Active instances"), "count": counts["active"], "url": url}]
    if may("sync.view_syncrecord"):
        figures += [
            _alarm(_("Last account visit failed"), counts["failed"], f"{url}?last_accounts=failed"),
            _alarm(_("Last capacity visit failed"), counts["unmeasured"], f"{url}?last_capacity=failed"),
            _alarm(_("Never visited"), counts["never"], f"{url}?last_accounts=never"),
        ]
    if may("accounts.view_account"):
        unknown = unknown_instances(shown_to(Instance.objects.active(), user))
        figures.append(_alarm(_("Accounts not known"), len(unknown), f"{url}?stale=1"))
    if may("sync.view_visithealth"):
        figures.append(_alarm(_("Paused"), counts["paused"], f"{url}?paused=1"))
    if may("capacity.view_instancesize"):
        yesterday = timezone.localdate() - timedelta(days=1)
        lacking = len(MissingDays(yesterday, yesterday, ids_shown_to(user), "missing"))
        figures.append(_alarm(_("No size yesterday"), lacking, f"{reverse('capacity-gaps')}?days=1&kind=missing"))
    if may("accounts.view_accountchange"):
        changes = f"{reverse('admin:accounts_accountchange_changelist')}?new_superusers=1"
        figures.append(_alarm(_("New superusers in a day"), new_superusers.count(), changes))
    return figures


def _alarm(label: Any, count: int, url: str) -> dict[str, Any]:
    return {"label": label, "count": count, "url": url, "alarm": True}


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
    """Of the limits that are nearest to being reached by size, the nearest in time."""
    latest = InstanceSize.objects.filter(instance=OuterRef("instance")).order_by("-day")
    part = ExpressionWrapper(Subquery(latest.values("size")[:1]) * 1.0 / F("size"), output_field=FloatField())
    limits = InstanceLimit.objects.filter(instance__retired_at=None).select_related("instance").annotate(part=part)
    nearest = shown_to(limits, user).order_by(F("part").desc(nulls_last=True), "pk")[:NEAREST]
    return [forecast_told(limit, told) for limit, told in reading.forecasts(nearest)[:ROWS]]


def _schedules() -> list[dict[str, Any]]:
    """Each enabled schedule with its last run and its next one."""
    now = timezone.now()
    rows = []
    for task in enabled_schedules():
        since = timezone.localtime(task.last_run_at or task.date_changed)
        # What remains was told a moment ago: shown by the minute, a whole hour would be a minute before.
        due = now + task.schedule.remaining_estimate(since) + timedelta(seconds=1)
        rows.append({"task": task, "next": due, "is_late": is_late(task)})
    return sorted(rows, key=lambda row: row["next"])
