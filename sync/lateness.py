"""Which schedules are late, and the longest time between their runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

from celery.schedules import ParseException, crontab
from django.db.models import JSONField
from django.db.models.expressions import RawSQL
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from work.days import local_time

#: How late a run may start before it counts as missing.
GRACE = timedelta(minutes=10)


def enabled_schedules() -> list[PeriodicTask]:
    """Return the enabled schedules with all that `is_late` needs. Takes one query."""
    return list(PeriodicTask.objects.filter(enabled=True).select_related("crontab", "interval", "solar", "clocked"))


def scheduler_runs(enabled: Iterable[PeriodicTask] | None = None) -> tuple[bool, datetime | None]:
    """Whether a schedule ran within GRACE, and when the last one ran."""
    chosen = enabled_schedules() if enabled is None else enabled
    last = max((task.last_run_at for task in chosen if task.last_run_at), default=None)
    return last is not None and timezone.now() - last < GRACE, last


def is_late(task: PeriodicTask) -> bool:
    """Return whether its last run is overdue. A schedule that never ran counts from its last change."""
    since = task.last_run_at or task.date_changed
    remaining = task.schedule.remaining_estimate(local_time(since))
    return remaining < -GRACE


#: A subquery for any query, as JSON: when the enabled schedules of a task run, as `longest_gap` takes it.
SCHEDULES = """
(SELECT coalesce(jsonb_agg(jsonb_build_object(
            'minute', at.minute, 'hour', at.hour, 'day_of_week', at.day_of_week, 'day_of_month', at.day_of_month,
            'month_of_year', at.month_of_year, 'every', each.every, 'period', each.period) ORDER BY run.id), '[]')
   FROM django_celery_beat_periodictask run
   LEFT JOIN django_celery_beat_crontabschedule at ON at.id = run.crontab_id
   LEFT JOIN django_celery_beat_intervalschedule each ON each.id = run.interval_id
  WHERE run.task = %s AND run.enabled AND NOT run.one_off
    AND (run.expires IS NULL OR run.expires > statement_timestamp()))
"""


def schedules_of(task: str) -> RawSQL:
    """`SCHEDULES` of a task, for a queryset."""
    return RawSQL(SCHEDULES, [task], JSONField())  # noqa: S611 -- a constant


def longest_gap(schedules: Iterable[Mapping[str, Any]]) -> timedelta:
    """Return the longest time between two runs of any of these schedules; zero without any."""
    return max((_gap(**schedule) for schedule in schedules), default=timedelta())


@lru_cache(maxsize=100)
def _gap(every: int | None, period: str | None, **times: str | None) -> timedelta:
    if every and period:
        return timedelta(**{period: every})
    if times["minute"] is None:
        # Solar or one-off: no regular interval.
        return timedelta()
    try:
        when = crontab(**times)
    except (ValueError, ParseException):
        # For example 30 February: the scheduler cannot run it either.
        return timedelta()
    runs = sorted(60 * hour + minute for hour in when.hour for minute in when.minute)
    # Including leap years. A schedule that never runs has no gap.
    days = [
        n
        for n, day in enumerate(date(2000, 1, 1) + timedelta(n) for n in range(2 * _FOUR_YEARS))
        if day.day in when.day_of_month and day.month in when.month_of_year and day.isoweekday() % 7 in when.day_of_week
    ]
    if not days:
        return timedelta()
    within = max((later - run for run, later in pairwise(runs)), default=0)
    apart = max((later - day for day, later in pairwise(days)), default=0)
    return timedelta(minutes=max(within, apart * 1440 + runs[0] - runs[-1]))


_FOUR_YEARS = 4 * 365 + 1
