"""The default timetable. Installed once into django-celery-beat's tables, and the people's from then on."""

from __future__ import annotations

import json

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_noop as _
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from .models import InstalledSchedule

#: The names are stored in English, and translated where they are shown.
#: name, task, when ("minute hour" in TAIFISH_TIME_ZONE, * for every hour, or seconds), description
TIMETABLE: list[tuple[str, str, str | int, str]] = [
    (_("Sync accounts"), "accounts.sync", "0 1", "Visit every active instance: accounts and what they may do."),
    (_("Collect capacity"), "capacity.collect", "0 3", "Visit every active instance: databases and their sizes."),
    (
        _("Catch up capacity"),
        "capacity.catch_up",
        "20 *",
        "Visit again whatever today's collection has left without a size.",
    ),
    (_("Aggregate sizes"), "aggregation.run", "0 4", "Aggregate what the collections have left to be aggregated."),
    (
        _("Classify accounts"),
        "classification.run",
        "30 3",
        "Apply every rule to every account, whatever the runs after each visit have missed.",
    ),
    (
        _("Reap lost visits"),
        "sync.reap",
        30,
        "Make good what died: lost workers, lost messages, sessions left open.",
    ),
    (
        _("Look at alert rules"),
        "alerts.evaluate",
        300,
        "Find what the active alert rules look for, and note whom to tell.",
    ),
    (
        _("Deliver alerts"),
        "alerts.deliver",
        60,
        "Send what channels are to be told, and try again what did not get there.",
    ),
    (_("Forget old sessions"), "sync.purge", "30 4", "Delete sessions older than TAIFISH_KEEP_SESSIONS_DAYS."),
    (_("Forget old sizes"), "capacity.purge", "15 4", "Delete sizes older than TAIFISH_KEEP_SIZES_DAYS."),
    (_("Forget old alerts"), "alerts.purge", "50 4", "Delete alerts that are over for TAIFISH_KEEP_SESSIONS_DAYS."),
    (
        _("Purge retired instances"),
        "instances.purge",
        "45 4",
        "Delete instances retired for TAIFISH_KEEP_RETIRED_DAYS.",
    ),
]


@transaction.atomic
def install(deleted: bool = False) -> list[str]:
    """Create the schedules that are missing, by task, each once: what people deleted comes back only with `deleted`.
    Touches nothing that exists. Returns the names created."""
    present = set(PeriodicTask.objects.values_list("task", flat=True))
    known = set(InstalledSchedule.objects.values_list("task", flat=True))
    created = []
    for name, task, when, description in TIMETABLE:
        if task not in present and (deleted or task not in known):
            PeriodicTask.objects.create(
                name=name, task=task, description=description, kwargs=json.dumps({}), **_schedule(when)
            )
            created.append(name)
        if task not in known:
            InstalledSchedule.objects.create(task=task, time_zone=settings.TIME_ZONE)
    return created


@transaction.atomic
def follow_time_zone() -> list[str]:
    """Move to TAIFISH_TIME_ZONE what still runs when it was shipped to run, in the zone of then. Returns the names.

    Whatever people set to another time or zone means what they said.
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
            # Not update(): saving tells beat.
            task.save()
            moved.append(task.name)
        row.time_zone = settings.TIME_ZONE
        row.save()
    return moved


def _schedule(when: str | int) -> dict[str, object]:
    if isinstance(when, int):
        interval, _made = IntervalSchedule.objects.get_or_create(every=when, period=IntervalSchedule.SECONDS)
        # Late ones are worthless: the next is on its way.
        return {"interval": interval, "expire_seconds": when}
    minute, hour = when.split()
    crontab, _made = CrontabSchedule.objects.get_or_create(minute=minute, hour=hour, timezone=settings.TIME_ZONE)
    return {"crontab": crontab}
