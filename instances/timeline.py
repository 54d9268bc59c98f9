"""The events of an instance in order of time. Apps add a `Source` to SOURCES in `AppConfig.add_pages`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

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


def timeline(instance: Instance, user: User, since: datetime) -> tuple[list[Event], bool]:
    """The newest events that the user may see, newest first, and whether there are more."""
    found: list[Event] = []
    is_cut = False
    for source in SOURCES:
        if user.has_perm(source.permission):
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
    """Changes by users in the admin."""
    kind = ContentType.objects.get_for_model(Instance)
    rows = LogEntry.objects.filter(content_type=kind, object_id=str(instance.pk), action_time__gte=since)
    for row in rows.select_related("user").order_by("-action_time")[:limit]:
        yield Event(row.action_time, "attributes", str(EDITED), f"{row.user}: {row.get_change_message()}")


EDITED = gettext_lazy("edited")
