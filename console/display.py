"""Formatting of values on pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext

from .units import bytes_label


def moment(value: datetime | None) -> str:
    return timezone.localtime(value).strftime("%Y-%m-%d %H:%M") if value else "–"


def nowrap(text: Any) -> SafeString:
    return format_html('<span class="tf-nowrap">{}</span>', text)


def day(value: datetime) -> SafeString:
    return nowrap(timezone.localtime(value).date().isoformat())


def number(text: str) -> SafeString:
    return format_html('<span class="tf-number tf-nowrap">{}</span>', text)


def size(value: Any, *, signed: bool = False) -> SafeString:
    """Bytes; averages of bytes are rounded."""
    return number(bytes_label(round(value), signed=signed))


def change(value: Any) -> SafeString:
    """Bytes gained or lost."""
    return size(value, signed=True)


def mono(text: str) -> SafeString:
    return format_html('<span class="tf-mono">{}</span>', text)


def badge(status: str, label: Any) -> SafeString:
    return format_html('<span class="tf-badge tf-{}">{}</span>', status, label)


def ago(moment: datetime) -> SafeString:
    return format_html(
        '<time datetime="{}" class="tf-quiet tf-nowrap" title="{}">{}</time>',
        timezone.localtime(moment).isoformat(timespec="seconds"),
        timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z"),
        gettext("%s ago") % timesince(moment, depth=1),
    )


def duration(value: timedelta) -> str:
    """ "1:02:03", "2:03" below an hour, or "340 ms" below a second."""
    if value < timedelta(seconds=1):
        return f"{max(value, timedelta()) // timedelta(milliseconds=1)} ms"
    minutes, seconds = divmod(max(int(value.total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
