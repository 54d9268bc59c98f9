"""Does Taifish itself work? `/healthz` for machines, cheap and without a login; a page in the admin for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.contrib import admin
from django.db import Error, connection
from django.db.models import Exists, Max, OuterRef, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from accounts.freshness import last_reads
from alerts.models import Delivery
from capacity.models import Database, DatabaseSize, InstanceSize
from capacity.services import without_row
from console.permissions import needs
from console.units import bytes_label
from instances.models import Instance
from sync.lateness import GRACE, enabled_schedules, is_late
from sync.models import SyncRecord, SyncSession


def answer_probes(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware, the first of all: /healthz is answered under any name and without HTTPS, since probes ask by IP.

    That is safe: the answer holds nothing of the request, so a forged Host has nothing to get into.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        return healthz() if request.path_info == "/healthz" else get_response(request)

    return middleware


def healthz() -> JsonResponse:
    """200 {"status": "ok"}, or 503 when the store does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return JsonResponse({"status": "the store does not answer"}, status=503)
    return JsonResponse({"status": "ok"})


@dataclass(frozen=True)
class Check:
    """One thing that should be so. `hint` says what to do when it is not."""

    name: str
    ok: bool
    told: str
    hint: str = ""


def checks() -> list[Check]:
    """Everything that runs by itself: whether it did. A fixed number of queries, but one per schedule that is late."""
    return [*work_checks(), _accounts(), _collection(), _proof(), _alerts(), *_retention(), _store()]


def work_checks() -> list[Check]:
    """Whether somebody is there to do the work: the scheduler, its schedules, and the workers."""
    return [*_schedules(), _backlog()]


def _schedules() -> Iterator[Check]:
    """The scheduler is alive when some schedule ran lately; each that should have run and has not is named."""
    enabled = enabled_schedules()
    last = max((task.last_run_at for task in enabled if task.last_run_at), default=None)
    alive = last is not None and timezone.now() - last < GRACE
    told = _("a schedule ran %s ago") % timesince(last) if last else _("no schedule has run yet")
    yield Check(_("Scheduler"), alive, told, _("Start the scheduler: one process of celery beat, or `manage.py up`."))
    late = [task for task in enabled if is_late(task)]
    names = ", ".join(_(task.name) for task in late)
    told = _("late: %s") % names if late else _("%d schedules, none is late") % len(enabled)
    zone = settings.TIME_ZONE
    if elsewhere := [_(task.name) for task in enabled if task.crontab and str(task.crontab.timezone) != zone]:
        named = {"zone": zone, "names": ", ".join(elsewhere)}
        told += " · " + _("in another time zone than %(zone)s: %(names)s") % named
    yield Check(_("Schedules"), not late, told, _("Look whether the scheduler is alive, and at its log."))


def _backlog() -> Check:
    now = timezone.now()
    open_ones = SyncRecord.objects.filter(status__in=SyncRecord.OPEN)
    due = open_ones.filter(Q(not_before=None) | Q(not_before__lt=now - GRACE), status="pending")
    waiting = due.filter(session__created_at__lt=now - GRACE).count()
    running = open_ones.filter(status="running").count()
    told = _("%(running)d visits are running, %(waiting)d wait for more than 10 minutes") % {
        "running": running,
        "waiting": waiting,
    }
    stuck = waiting > 0 and running == 0
    return Check(_("Workers"), not stuck, told, _("Start a worker, or more of them: `celery -A taifish worker`."))


def _accounts() -> Check:
    """Instances that do not answer are a matter of their pages; here counts that visits which should run do not."""
    reads = last_reads(Instance.objects.active())
    silent = [read for read in reads if read.is_overdue and not read.failed_at]
    counts = {"unknown": sum(read.is_stale for read in reads), "count": len(reads)}
    told = _("the accounts of %(unknown)d of %(count)d active instances are not known as they are now") % counts
    hint = _("Look at the schedule accounts.sync and at the workers: visits are neither made nor failing.")
    return Check(_("Account data"), not silent, told, hint)


def _collection() -> Check:
    yesterday = timezone.localdate() - timedelta(days=1)
    last = InstanceSize.objects.aggregate(last=Max("day"))["last"]
    expected = Instance.objects.active().filter(created_at__date__lte=yesterday)
    if not expected.exists():
        return Check(_("Last collection"), True, _("no instance has been here for a day yet"))
    lacking = without_row(yesterday).filter(created_at__date__lte=yesterday).count()
    told = _("%(day)s; %(count)d instances lack a size for yesterday") % {"day": last or _("never"), "count": lacking}
    ok = last is not None and last >= yesterday
    return Check(
        _("Last collection"), ok, told, _("Look at the capacity sessions and at the schedule capacity.collect.")
    )


def _proof() -> Check:
    """Whether some instance sends the password to whatever answers at its address."""
    loose = Instance.objects.active().as_before().count()
    told = _("instances that send the password to whatever answers: %d") % loose
    hint = _("List the instances by “before the server is proved”, and tighten those that are as before.")
    return Check(_("Proof of servers"), not loose, told, hint)


def _alerts() -> Check:
    since = timezone.now() - timedelta(days=1)
    lost = Delivery.objects.filter(status=Delivery.Status.FAILED, is_test=False, created_at__gt=since).count()
    told = _("%d messages of the last day did not get there") % lost
    return Check(_("Alerts"), not lost, told, _("Look at the deliveries of alerts: each says what went wrong."))


def _retention() -> Iterator[Check]:
    """What should have been deleted two days ago, and is there still."""
    cutoff = timezone.localdate() - timedelta(days=settings.TAIFISH_KEEP_SIZES_DAYS + 2)
    old = DatabaseSize.objects.filter(database=OuterRef("pk"), day__lt=cutoff)
    late = Database.objects.filter(Exists(old)).exists() or InstanceSize.objects.filter(day__lt=cutoff).exists()
    told = _("sizes are kept for %d days") % settings.TAIFISH_KEEP_SIZES_DAYS
    hint = _("Look at the schedule %s: it deletes what is older.")
    yield Check(_("Old sizes"), not late, told, hint % "capacity.purge")
    cutoff_at = timezone.now() - timedelta(days=settings.TAIFISH_KEEP_SESSIONS_DAYS + 2)
    late = SyncSession.objects.filter(finished_at__lt=cutoff_at).exists()
    told = _("sessions are kept for %d days") % settings.TAIFISH_KEEP_SESSIONS_DAYS
    yield Check(_("Old sessions"), not late, told, hint % "sync.purge")


def _store() -> Check:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        (size,) = cursor.fetchone()
    return Check(_("Store"), True, bytes_label(size))


@needs("sync.view_syncsession", whole_fleet=True)
def health_page(request: HttpRequest) -> HttpResponse:
    """What `checks` found, red where something did not run."""
    found = checks()
    context = {**admin.site.each_context(request), "title": _("Health"), "checks": found}
    return TemplateResponse(request, "taifish/health.html", context)
