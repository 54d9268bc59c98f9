"""Health of Taifish: `/healthz` for probes, cheap and without a login, and the Health page of the admin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db import Error, connection
from django.db.models import Exists, Max, OuterRef, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from accounts.freshness import stale_reads
from alerts.findings import FINDINGS, Scope, counts
from alerts.services import nobody_informed
from capacity.models import Database, DatabaseSize, InstanceSize
from console.permissions import needs
from console.units import bytes_label
from instances.models import Instance
from planning.models import VolumeRead
from sync.lateness import GRACE, enabled_schedules, is_late, scheduler_runs
from sync.models import SyncRecord, SyncSession
from work.days import local_day, midnight

from .schedules import next_run


def answer_probes(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """The first middleware: answers /healthz for any host name and without HTTPS, because probes use the IP address.

    A forged Host is harmless, because the answer does not depend on the request.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        return healthz() if request.path_info == "/healthz" else get_response(request)

    return middleware


def healthz() -> JsonResponse:
    """200 {"status": "ok"}, or 503 if the store does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return JsonResponse({"status": "the store does not answer"}, status=503)
    return JsonResponse({"status": "ok"})


@dataclass(frozen=True)
class Check:
    """One condition. `hint` says what to do if it is not met."""

    name: str | Promise
    ok: bool
    text: str
    hint: str | Promise = ""
    url: str = ""
    #: Nothing failed, but it is not switched on.
    is_off: bool = False


def checks() -> list[Check]:
    """All checks. A fixed number of queries, and one for each late schedule."""
    scope = Scope.of(None)
    found = {name: FINDINGS[name] for name in ("unproven", "undelivered")}
    active = scope.instances.active()
    n = counts({"active": active} | {name: finding.rows(scope) for name, finding in found.items()})
    counted = [Check(f.title, not n[name], str(n[name]), f.hint, f.url) for name, f in found.items()]
    visits = [_accounts(n["active"]), _collection(scope)]
    return [*work_checks(), *visits, *counted, _informed(), *_volumes(), *_retention(), _store()]


def work_checks() -> list[Check]:
    """The scheduler, its schedules, and the workers."""
    return [*_schedules(), _backlog()]


def _schedules() -> Iterator[Check]:
    """The scheduler is running if a schedule ran recently. Late schedules are listed."""
    enabled = enabled_schedules()
    alive, last = scheduler_runs(enabled)
    text = _("a schedule ran %s ago") % timesince(last) if last else _("no schedule has run yet")
    yield Check(_("Scheduler"), alive, text, _("Start the scheduler: one process of celery beat, or `manage.py up`."))
    late = [task for task in enabled if is_late(task)]
    names = ", ".join(_(task.name) for task in late)
    text = _("late: %s") % names if late else _("%d schedules, none is late") % len(enabled)
    zone = settings.TIME_ZONE
    if elsewhere := [_(task.name) for task in enabled if task.crontab and str(task.crontab.timezone) != zone]:
        named = {"zone": zone, "names": ", ".join(elsewhere)}
        text += " · " + _("in another time zone than %(zone)s: %(names)s") % named
    schedules = FINDINGS["schedule_late"]
    yield Check(schedules.title, not late, text, schedules.hint, schedules.url)


def _backlog() -> Check:
    now = timezone.now()
    open_ones = SyncRecord.objects.filter(status__in=SyncRecord.OPEN)
    due = open_ones.filter(Q(not_before=None) | Q(not_before__lt=now - GRACE), status="pending")
    waiting = due.filter(session__created_at__lt=now - GRACE).count()
    running = open_ones.filter(status="running").count()
    text = _("%(running)d visits are running, %(waiting)d wait for more than 10 minutes") % {
        "running": running,
        "waiting": waiting,
    }
    stuck = waiting > 0 and running == 0
    return Check(_("Workers"), not stuck, text, _("Start a worker, or more of them: `celery -A taifish worker`."))


def _accounts(count: int) -> Check:
    """Of `count` active instances. Red if there are no visits at all, not even failed ones. Failed visits are on the
    instance's page."""
    stale = stale_reads(Instance.objects.active())
    overdue = [read for read in stale if read.is_overdue and not read.failed_at]
    n = {"unknown": len(stale), "count": count}
    text = _("the current accounts of %(unknown)d of %(count)d active instances are unknown") % n
    hint = _("There are no visits, not even failed ones. Check the schedule accounts.sync and the workers.")
    return Check(_("Account data"), not overdue, text, hint)


def _collection(scope: Scope) -> Check:
    yesterday = local_day() - timedelta(days=1)
    last = InstanceSize.objects.aggregate(last=Max("day"))["last"]
    if not Instance.objects.active().filter(created_at__lt=midnight(local_day())).exists():
        return Check(_("Last collection"), True, _("no instance is older than a day yet"))
    n = len(FINDINGS["nothing_collected"].rows(scope))
    text = _("%(day)s; %(count)d instances lack a size for yesterday") % {"day": last or _("never"), "count": n}
    ok = last is not None and last >= yesterday
    return Check(_("Last collection"), ok, text, _("Check the capacity sessions and the schedule capacity.collect."))


def _informed() -> Check:
    """Whether somebody would be informed of alerts."""
    text = nobody_informed()
    url = reverse("admin:alerts_alertrule_changelist")
    return Check(_("Alerts"), True, text or _("rules are active, and have channels"), url=url, is_off=bool(text))


def _volumes() -> Iterator[Check]:
    """Whether the volumes were read from Prometheus, if that is switched on."""
    if not settings.TAIFISH_PROMETHEUS_URL:
        return
    attempt = VolumeRead.objects.first()
    url = reverse("admin:planning_volume_changelist")
    yield Check(
        _("Volumes"),
        bool(attempt and attempt.is_fresh),
        attempt.summary if attempt else _("never read"),
        _("Look at the list of volumes and at the schedule planning.read_volumes."),
        url,
    )


def _retention() -> Iterator[Check]:
    """Whether rows still exist that should have been deleted two days ago."""
    cutoff = local_day() - timedelta(days=settings.TAIFISH_KEEP_SIZES_DAYS + 2)
    old = DatabaseSize.objects.filter(database=OuterRef("pk"), day__lt=cutoff)
    late = Database.objects.filter(Exists(old)).exists() or InstanceSize.objects.filter(day__lt=cutoff).exists()
    text = _("sizes are kept for %d days") % settings.TAIFISH_KEEP_SIZES_DAYS
    hint = _("Check the schedule %s, which deletes older rows.")
    yield Check(_("Old sizes"), not late, text, hint % "capacity.purge")
    cutoff_at = timezone.now() - timedelta(days=settings.TAIFISH_KEEP_SESSIONS_DAYS + 2)
    late = SyncSession.objects.filter(finished_at__lt=cutoff_at).exists()
    text = _("sessions are kept for %d days") % settings.TAIFISH_KEEP_SESSIONS_DAYS
    yield Check(_("Old sessions"), not late, text, hint % "sync.purge")


def _store() -> Check:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        (size,) = cursor.fetchone()
    return Check(_("Store"), True, bytes_label(size))


@needs("sync.view_syncsession", whole_fleet=True)
def health_page(request: HttpRequest) -> HttpResponse:
    """The checks; those that failed are red."""
    context = {**admin.site.each_context(request), "title": _("Health"), "checks": checks()}
    if request.user.has_perm("django_celery_beat.view_periodictask"):
        context["schedules"] = _timetable()
    return TemplateResponse(request, "taifish/health.html", context)


def _timetable() -> list[dict[str, Any]]:
    """Each enabled schedule with its last and next run, the next first."""
    rows = [{"task": task, "next": next_run(task), "is_late": is_late(task)} for task in enabled_schedules()]
    return sorted(rows, key=lambda row: row["next"])
