"""Formatting of values on pages."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext


def moment(value: Any) -> str:
    return timezone.localtime(value).strftime("%Y-%m-%d %H:%M") if value else "–"


def number(text: str) -> SafeString:
    return format_html('<span class="tf-number tf-nowrap">{}</span>', text)


def badge(status: str, label: str) -> SafeString:
    return format_html('<span class="tf-badge tf-{}">{}</span>', status, label)


def ago(moment: Any) -> SafeString:
    return format_html(
        '<span class="tf-quiet tf-nowrap" title="{}">{}</span>',
        timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z"),
        gettext("%s ago") % timesince(moment, depth=1),
    )


def seconds(began: Any, ended: Any) -> str:
    """Return the elapsed time as h:mm:ss, or "" if it has not begun."""
    if not began:
        return ""
    took = int(((ended or timezone.now()) - began).total_seconds())
    minutes, rest = divmod(max(took, 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
