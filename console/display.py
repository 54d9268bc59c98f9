"""Formatting of values on pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any

from django.db.models import Model
from django.urls import get_script_prefix, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import get_language, gettext

from .units import bytes_label


def row_url(model: type[Model], pk: int, page: str = "change", *words: str) -> str:
    """The address of a page of a row, by default its own. `words`: what the page's address names after the row."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
    return _row_url(name, words, get_script_prefix()) % pk


@cache
def _row_url(name: str, words: tuple[str, ...], prefix: str) -> str:
    """With a place for the key. Lists have a hundred of them, and each takes longer to reverse than to show."""
    return reverse(name, args=[0, *words]).replace("%", "%%").replace("/0/", "/%s/")


def page_url(name: str) -> str:
    """The address of a page without arguments."""
    return _page_url(name, get_script_prefix())


@cache
def _page_url(name: str, prefix: str) -> str:
    return reverse(name)


@cache
def labels(field: Any) -> dict[Any, Any]:
    """The labels of a field's choices by value. Django makes the list of them anew for each row."""
    return dict(getattr(field, "flatchoices", None) or ())


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
    local, now = timezone.localtime(moment), timezone.now()
    age = now - moment
    since = (
        _since(age // timedelta(minutes=1), get_language())
        if age < timedelta(days=28)
        else timesince(moment, now, depth=1)
    )
    return format_html(
        '<time datetime="{}" class="tf-quiet tf-nowrap" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        gettext("%s ago") % since,
    )


@lru_cache(maxsize=5000)
def _since(minutes: int, language: str) -> str:
    """Below a month the calendar does not count, and lists have a hundred of them."""
    return timesince(timezone.now() - timedelta(minutes=minutes), depth=1)


def duration(value: timedelta) -> str:
    """ "1:02:03", "2:03" below an hour, or "340 ms" below a second."""
    if value < timedelta(seconds=1):
        return f"{max(value, timedelta()) // timedelta(milliseconds=1)} ms"
    minutes, seconds = divmod(max(int(value.total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
