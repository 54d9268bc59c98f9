"""The events of an instance in order of time. Apps add a `Source` to SOURCES in `AppConfig.add_pages`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.http import urlencode
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

#: The maximum number of events per source.
LIMIT = 500

#: Events on a page, and those that the page of an instance shows.
ROWS_PER_PAGE, LATEST = 100, 5


@dataclass(frozen=True)
class Event:
    """`badge` names the colour of the badge, `label` is its text; `url` leads to details, "" if there are none.
    `is_machinery`: nothing happened to the instance; the event stands for all such visits of its day."""

    at: datetime
    badge: str
    label: str
    text: str
    url: str = ""
    is_machinery: bool = False


@dataclass(frozen=True)
class Source:
    """The events of one app, for users with `permission`. `events(instance, since, limit)` returns the newest, at most
    `limit`. `by_people`: they come before the others of a day."""

    permission: str
    events: Callable[[Instance, datetime, int], Iterable[Event]]
    label: str | Promise
    by_people: bool = True

    @property
    def name(self) -> str:
        return self.permission.rpartition("_")[2]


SOURCES: list[Source] = []


def timeline(sources: Sequence[Source], instance: Instance, since: datetime) -> tuple[list[Event], bool]:
    """The newest events of these sources, and whether there are more: the newest day first, and within a day people's
    events before visits, and those that changed nothing last."""
    found: list[tuple[tuple[date, bool, bool, datetime], Event]] = []
    cut_at = [since]
    for source in sources:
        events = sorted(source.events(instance, since, LIMIT + 1), key=lambda event: event.at, reverse=True)
        if len(events) > LIMIT:
            cut_at.append(events[LIMIT - 1].at)
        for event in events[:LIMIT]:
            order = (timezone.localdate(event.at), source.by_people, not event.is_machinery, event.at)
            found.append((order, event))
    found.sort(key=lambda pair: pair[0], reverse=True)
    # Older events of one source without those of another would be read as the whole.
    return [event for _order, event in found if event.at >= max(cut_at)], len(cut_at) > 1


def sources_for(user: User | None) -> list[Source]:
    """The sources that the user may view; None: all."""
    return [source for source in SOURCES if user is None or user.has_perm(source.permission)]


def newest_first(instance: Instance, user: User | None, since: datetime) -> tuple[list[Event], bool]:
    """As `timeline`, of all sources that the user may view (None: all), in order of time."""
    events, is_cut = timeline(sources_for(user), instance, since)
    return sorted(events, key=lambda event: event.at, reverse=True), is_cut


def latest(instance: Instance, user: User) -> list[Event]:
    """The newest events other than visits, for the page of the instance."""
    since = timezone.now() - timedelta(days=PERIODS[0])
    sources = [source for source in sources_for(user) if source.by_people]
    events = [event for source in sources for event in source.events(instance, since, LATEST)]
    return sorted(events, key=lambda event: event.at, reverse=True)[:LATEST]


@needs("instances.view_instance")
def timeline_page(request: HttpRequest, object_id: int) -> HttpResponse:
    instance = get_object_or_404(shown_to(Instance.objects.all(), request.user), pk=object_id)
    text = request.GET.get("days", "")
    days = int(text) if text.isdecimal() and int(text) in PERIODS else PERIODS[0]
    sources = sources_for(request.user)
    chosen = next((source for source in sources if source.name == request.GET.get("what")), None)
    since = timezone.now() - timedelta(days=days)
    events, is_cut = timeline([chosen] if chosen else sources, instance, since)
    page = Paginator(events, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    what = chosen.name if chosen else ""
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Timeline of %s") % instance,
        "instance": instance,
        "page": page,
        "by_day": [(day, list(rows)) for day, rows in groupby(page, lambda event: timezone.localdate(event.at))],
        "is_cut": is_cut,
        "days": days,
        "periods": sorted(PERIODS),
        "sources": sources,
        "what": what,
        "query": urlencode({"days": days, "what": what}),
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
