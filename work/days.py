"""Days of the installation."""

from __future__ import annotations

from datetime import date, datetime, time

from django.utils import timezone


def local_day(moment: datetime | None = None) -> date:
    """Return the day in TAIFISH_TIME_ZONE, today by default. Sizes, periods and end dates have these days for everyone,
    while pages show moments in the time zone that their reader chose."""
    return timezone.localdate(moment, timezone.get_default_timezone())


def midnight(day: date) -> datetime:
    """Return when the day begins in TAIFISH_TIME_ZONE."""
    return timezone.make_aware(datetime.combine(day, time.min), timezone.get_default_timezone())


def local_time(moment: datetime) -> datetime:
    """Return the moment in TAIFISH_TIME_ZONE."""
    return timezone.localtime(moment, timezone.get_default_timezone())
