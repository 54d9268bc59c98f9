"""Which schedules should have run, and have not."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from django_celery_beat.models import PeriodicTask

#: How late something may be before it is said to have not run.
GRACE = timedelta(minutes=10)


def enabled_schedules() -> list[PeriodicTask]:
    """Those that are switched on, with all that `is_late` looks at. One query."""
    return list(PeriodicTask.objects.filter(enabled=True).select_related("crontab", "interval", "solar", "clocked"))


def is_late(task: PeriodicTask) -> bool:
    """Whether its time has come and gone. One that never ran is counted from when it was last changed."""
    since = task.last_run_at or task.date_changed
    remaining = task.schedule.remaining_estimate(timezone.localtime(since))
    return remaining < -GRACE
