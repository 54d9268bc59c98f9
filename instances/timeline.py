"""The events of an instance in order of time. Apps add a `Source` to SOURCES in `AppConfig.add_pages`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from audit.models import Event as AuditEvent
from console.permissions import needs
from console.visibility import shown_to

from .models import Instance

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Periods of the page in days; the first is the default.
PERIODS = (30, 7, 90, 365)

#: The maximum number of events per source, and in all.
LIMIT = 200


@dataclass(frozen=True)
class Event:
    """`badge` names the colour of the badge, `label` is its text; `url` leads to details, "" if there are none."""

    at: datetime
    badge: str
    label: str
    text: str
    url: str = ""


@dataclass(frozen=True)
class Source:
    """The events of one app, for users with `permission`. `events(instance, since, limit)` returns the newest, at most
    `limit`."""

    permission: str
    events: Callable[[Instance, datetime, int], Iterable[Event]]


SOURCES: list[Source] = []


def timeline(instance: Instance, user: User | None, since: datetime) -> tuple[list[Event], bool]:
    """The newest events that the user may see (None: all), newest first, and whether there are more."""
    found: list[Event] = []
    is_cut = False
    for source in SOURCES:
        if user is None or user.has_perm(source.permission):
            events = list(source.events(instance, since, LIMIT + 1))
            is_cut |= len(events) > LIMIT
            found += events
    found.sort(key=lambda event: event.at, reverse=True)
    return found[:LIMIT], is_cut or len(found) > LIMIT


@needs("instances.view_instance")
def timeline_page(request: HttpRequest, object_id: int) -> HttpResponse:
    instance = get_object_or_404(shown_to(Instance.objects.all(), request.user), pk=object_id)
    text = request.GET.get("days", "")
    days = int(text) if text.isdecimal() and int(text) in PERIODS else PERIODS[0]
    events, is_cut = timeline(instance, request.user, timezone.now() - timedelta(days=days))
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Timeline of %s") % instance,
        "instance": instance,
        "events": events,
        "is_cut": is_cut,
        "days": days,
        "periods": sorted(PERIODS),
    }
    return TemplateResponse(request, "instances/timeline.html", context)


def edits(instance: Instance, since: datetime, limit: int) -> Iterable[Event]:
    """Changes of the instance and decisions about it, through any door."""
    trail = AuditEvent.objects.filter(instance_id=instance.pk, model=Instance._meta.label_lower, at__gte=since)
    for row in trail[:limit]:
        yield Event(row.at, "attributes", str(EDITED), f"{row.user_name}: {_text(row)}")


def _text(row: AuditEvent) -> str:
    """What was changed, with old and new values."""
    if row.kind != AuditEvent.Kind.UPDATE:
        return str((row.after or {}).get("decision") or row.get_kind_display())
    names = {field.column: str(field.verbose_name) for field in Instance._meta.concrete_fields}
    old, new = row.before or {}, row.after or {}
    changes = (f"{names.get(name, name)}: {_value(old.get(name))} → {_value(new[name])}" for name in sorted(new))
    return "; ".join(changes)


def _value(value: Any) -> str:
    return "–" if value in (None, "") else str(value)


EDITED = gettext_lazy("edited")
