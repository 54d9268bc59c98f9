"""Moments that people ask about."""

from __future__ import annotations

from datetime import datetime, time

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext


def parse_moment(text: str) -> datetime | None:
    """Parse a moment ("2026-05-03 14:00") or a day (its end; for today, now) in TAIFISH_TIME_ZONE; None for "".

    Raises ValueError.
    """
    text = text.strip()
    if not text:
        return None
    try:
        moment, day = parse_datetime(text), parse_date(text)
    except ValueError:
        moment = day = None
    if day:
        moment = datetime.combine(day, time.max)
        if day == timezone.localdate():
            return timezone.now()
    if moment is None:
        raise ValueError(gettext("%r is neither a day (2026-05-03) nor a moment (2026-05-03 14:00).") % text)
    return aware(moment)


def aware(moment: datetime) -> datetime:
    """Convert a moment to TAIFISH_TIME_ZONE: ISO 8601 allows offsets of 16 hours or more, the store does not.

    Raises ValueError.
    """
    try:
        return timezone.localtime(moment) if timezone.is_aware(moment) else timezone.make_aware(moment)
    except OverflowError:
        raise ValueError(gettext("“%s” is not a time.") % moment.isoformat()) from None


def past(at: datetime | None) -> datetime:
    """Return the moment, or now for None. Raises ValueError for a future moment."""
    now = timezone.now()
    if at and at > now:
        raise ValueError(gettext("%s is in the future.") % at.isoformat())
    return at or now


def iso(moment: datetime | None) -> str:
    """Return the moment in TAIFISH_TIME_ZONE for a file, or "" for None."""
    return timezone.localtime(moment).isoformat(timespec="seconds") if moment else ""
