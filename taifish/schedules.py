"""The default schedules. They are installed once into django-celery-beat's tables; users may change them afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop as _
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from work.days import local_time

from .models import InstalledSchedule

#: Names are stored in English and translated when shown.
#: name, task, when ("minute hour" in TAIFISH_TIME_ZONE, * for every hour, or seconds), description
TIMETABLE: list[tuple[str, str, str | int, str]] = [
    (_("Sync accounts"), "accounts.sync", "0 1", "Visit all active instances to read accounts and grants."),
    (_("Collect capacity"), "capacity.collect", "0 3", "Visit all active instances to read databases and sizes."),
    (
        _("Catch up accounts"),
        "accounts.catch_up",
        "40 *",
        "Visit instances again that have no successful account visit since today's began.",
    ),
    (
        _("Catch up capacity"),
        "capacity.catch_up",
        "20 *",
        "Visit instances again that have no size for today.",
    ),
    (
        _("Read volumes"),
        "planning.read_volumes",
        "50 3",
        "Read from Prometheus how full the volumes of the instances are, if TAIFISH_PROMETHEUS_URL is set.",
    ),
    (_("Aggregate sizes"), "aggregation.run", "0 4", "Aggregate collected sizes of closed periods."),
    (
        _("Forecast sizes"),
        "planning.forecast",
        "0 5",
        "Compute what the runs after collections have missed.",
    ),
    (
        _("Classify accounts"),
        "classification.run",
        "30 3",
        "Apply all rules to all accounts, in addition to the runs after each visit.",
    ),
    (
        _("Reap lost visits"),
        "sync.reap",
        30,
        "Recover from lost workers and messages, and close open sessions.",
    ),
    (
        _("Look at alert rules"),
        "alerts.evaluate",
        300,
        "Evaluate the active alert rules, and create deliveries.",
    ),
    (
        _("Deliver alerts"),
        "alerts.deliver",
        60,
        "Send pending deliveries, and retry failed ones.",
    ),
    (
        _("Send the daily summary of alerts"),
        "alerts.summarize",
        "0 7",
        "Send new and open alerts to each e-mail channel that takes the daily summary.",
    ),
    (
        _("Forward the audit trail"),
        "audit.forward",
        60,
        "Send new events to TAIFISH_AUDIT_FORWARD, if it is set.",
    ),
    (_("Forget old sessions"), "sync.purge", "30 4", "Delete sessions older than TAIFISH_KEEP_SESSIONS_DAYS."),
    (_("Forget old sizes"), "capacity.purge", "15 4", "Delete sizes older than TAIFISH_KEEP_SIZES_DAYS."),
    (
        _("Forget old alerts"),
        "alerts.purge",
        "50 4",
        "Delete alerts resolved more than TAIFISH_KEEP_SESSIONS_DAYS ago.",
    ),
    (
        _("Purge retired instances"),
        "instances.purge",
        "45 4",
        "Delete instances retired for TAIFISH_KEEP_RETIRED_DAYS.",
    ),
]


TASKS = {task for _name, task, _when, _description in TIMETABLE}

#: Seconds between two runs, at least.
SHORTEST = 10


def runnable() -> Q:
    """Schedules that beat runs: of these tasks, on the queue of all, without arguments."""
    return Q(task__in=TASKS) & Q(**PLAIN)


#: The columns of django-celery-beat that forms do not show.
PLAIN = {"args": "[]", "kwargs": "{}", "headers": "{}", "queue": None, "exchange": None, "routing_key": None}


def next_run(task: PeriodicTask) -> datetime | None:
    """When an enabled schedule runs next."""
    if not task.enabled:
        return None
    since = local_time(task.last_run_at or task.date_changed)
    # The present is slightly too early; without the second, a full hour would show as one minute earlier.
    return timezone.now() + task.schedule.remaining_estimate(since) + timedelta(seconds=1)


@transaction.atomic
def install(deleted: bool = False) -> list[str]:
    """Create missing schedules, identified by task. Schedules that users deleted are created again only with `deleted`;
    existing ones are not changed. Returns the names of created schedules."""
    present = set(PeriodicTask.objects.values_list("task", flat=True))
    known = set(InstalledSchedule.objects.values_list("task", flat=True))
    created = []
    for name, task, when, description in TIMETABLE:
        if task not in present and (deleted or task not in known):
            PeriodicTask.objects.create(name=name, task=task, description=description, **_schedule(when))
            created.append(name)
        if task not in known:
            InstalledSchedule.objects.create(task=task, time_zone=settings.TIME_ZONE)
    return created


@transaction.atomic
def follow_time_zone() -> list[str]:
    """Move schedules with the default time and the time zone of their installation to TAIFISH_TIME_ZONE.

    Schedules that users set to another time or zone are not changed. Returns the names of moved schedules.
    """
    moved = []
    shipped = {task: when for _name, task, when, _description in TIMETABLE if isinstance(when, str)}
    for row in InstalledSchedule.objects.exclude(time_zone=settings.TIME_ZONE).filter(task__in=shipped):
        minute, hour = shipped[row.task].split()
        then = CrontabSchedule.objects.filter(
            minute=minute, hour=hour, day_of_week="*", day_of_month="*", month_of_year="*", timezone=row.time_zone
        )
        for task in PeriodicTask.objects.filter(task=row.task, crontab__in=then):
            task.crontab = _schedule(shipped[row.task])["crontab"]
            # Not update(): save() notifies beat.
            task.save()
            moved.append(task.name)
        row.time_zone = settings.TIME_ZONE
        row.save()
    return moved


def _schedule(when: str | int) -> dict[str, object]:
    if isinstance(when, int):
        interval, _made = IntervalSchedule.objects.get_or_create(every=when, period=IntervalSchedule.SECONDS)
        # A late message expires, because the next one follows.
        return {"interval": interval, "expire_seconds": when}
    minute, hour = when.split()
    crontab, _made = CrontabSchedule.objects.get_or_create(minute=minute, hour=hour, timezone=settings.TIME_ZONE)
    return {"crontab": crontab}
