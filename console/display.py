"""Formatting of values on pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.db.models import Model
from django.urls import get_script_prefix, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext

from .units import bytes_label


def row_url(model: type[Model], pk: int) -> str:
    """The address of the page of a row."""
    return _row_url(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", get_script_prefix()) % pk


@cache
def _row_url(name: str, prefix: str) -> str:
    """With a place for the key. Lists have a hundred of them, and each takes longer to reverse than to show."""
    return reverse(name, args=[0]).replace("%", "%%").replace("/0/", "/%s/")


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
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" class="tf-quiet tf-nowrap" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        gettext("%s ago") % timesince(moment, depth=1),
    )


def duration(value: timedelta) -> str:
    """ "1:02:03", "2:03" below an hour, or "340 ms" below a second."""
    if value < timedelta(seconds=1):
        return f"{max(value, timedelta()) // timedelta(milliseconds=1)} ms"
    minutes, seconds = divmod(max(int(value.total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
