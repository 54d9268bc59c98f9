"""What visits add to the pages of instances, and how pages show a visit.

Each app with a kind of visit adds `of_visits` of that kind to the pages of instances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

from django.contrib import admin, messages
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, Count, Exists, Max, OuterRef, Q, QuerySet, When
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from console.buttons import Button
from console.columns import Column, list_url
from console.display import ago, badge, duration, row_url
from console.list_filters import OptionsFilter, ParameterFilter
from console.visibility import shown_to
from engines.statements import printable
from instances.admin import Addition, Part
from instances.models import Instance
from instances.timeline import Event

from . import services
from .models import SyncRecord, SyncSession, VisitHealth, failing_first, with_last_visit
from .registry import KINDS, VisitKind

RUN = "sync.run_visits"
#: Kind of visit → what a visit did, in a sentence, from its summary. Apps add theirs in `AppConfig.add_pages`.
WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {}
#: Numbers of a summary that are not zero if a visit changed something.
CHANGES = (
    *("appeared", "reappeared", "disappeared", "changed", "granted", "revoked", "joined", "left"),
    *("renamed", "recreated", "gained", "lost"),
)
#: Error codes of visits that could not connect, and of those that failed later. Others, such as a timeout, can be both.
NO_CONNECTION = {
    *("unreachable", "auth_failed", "too_many_connections", "server_starting", "no_such_database"),
    *("tls_failed", "certificate_changed", "unproven_server", "driver_missing", "bad_target"),
}
AFTER_IT = dict.fromkeys(["denied", "deadlock", "suspicious_shrink"], True)
#: Renames that are named beside a visit.
MOST_RENAMES = 10


def session_page(session: SyncSession) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("admin:sync_syncsession_change", args=[session.pk]))


def begin(request: HttpRequest, kind: str, instances: QuerySet[Instance]) -> HttpResponse | None:
    """Start visits and redirect to their session. Without an active instance, show a message and return None."""
    if not shown_to(instances.active(), request.user).exists():
        messages.warning(request, gettext("Nothing to visit: none of these instances is active."))
        return None
    return session_page(services.start(kind, instances, trigger=SyncSession.Trigger.MANUAL, user=request.user))


class PausedFilter(ParameterFilter):
    title = _("paused")
    parameter_name = "paused"
    options = [("1", _("Paused")), ("0", _("Not paused"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if queryset.model is VisitHealth or self.value() is None:
            return super().queryset(request, queryset)
        paused = Exists(VisitHealth.objects.paused().filter(instance=OuterRef("pk")))
        return queryset.filter(paused if self.value() == "1" else ~paused)


def of_visits(kind: str, label: str, verb: str, verb_all: str) -> list[Addition]:
    """What a kind of visit adds to the pages of instances: the last visit as column and filter, and buttons.

    `label` is the heading of the column ("Last account visit"), `verb` the label of the buttons ("Sync accounts now"),
    and `verb_all` that of the button for all active instances.
    """

    @display(description=label, ordering=failing_first(f"{kind}_status"))
    def last_visit(instance: Instance) -> SafeString:
        status, at = getattr(instance, f"{kind}_status"), getattr(instance, f"{kind}_at")
        paused = badge("paused", gettext("paused")) if kind in getattr(instance, "paused_kinds", ()) else ""
        if status is None:
            return format_html('<span class="tf-quiet">{}</span> {}', _("never visited"), paused)
        return format_html(
            '<span class="tf-badges"><a href="{}">{}</a> {} {}</span>',
            row_url(SyncSession, getattr(instance, f"{kind}_session")),
            badge(status, SyncRecord.Status(status).label),
            ago(at),
            paused,
        )

    last_visit.in_files = [
        Column(f"{kind}_status", label, empty=_("never visited")),
        Column(f"{kind}_at", format_lazy("{} ({})", label, _("time"))),
    ]

    class LastVisitFilter(OptionsFilter):
        title = label
        parameter_name = f"last_{kind}"
        options = [("never", _("never visited")), *SyncRecord.Status.choices]

        def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
            if self.value() is None:
                return queryset
            return queryset.filter(**{f"{kind}_status": None if self.value() == "never" else self.value()})

    @display(description="")
    def sync_now(instance: Instance) -> SafeString:
        if instance.is_retired:
            return SafeString("")
        return format_html(
            '<button type="submit" form="taifish-post" class="tf-icon-button" formaction="{}" title="{}" '
            'aria-label="{}: {}"><span class="material-symbols-outlined" aria-hidden="true">sync</span></button>',
            row_url(Instance, instance.pk, "do", f"sync-{kind}"),
            verb,
            verb,
            instance.name,
        )

    @admin.action(description=verb)
    def sync_selected(model_admin: Any, request: HttpRequest, queryset: QuerySet[Instance]) -> HttpResponse | None:
        return begin(request, kind, Instance.objects.filter(pk__in=queryset.order_by().values("pk")))

    sync_selected.__name__ = f"sync_{kind}"
    last_visit.__name__ = f"last_{kind}"
    sync_now.__name__ = f"sync_{kind}_now"
    return [
        Addition(
            "sync.view_syncrecord",
            annotate=lambda rows: with_last_visit(rows, kind),
            columns=[last_visit],
            filters=[LastVisitFilter],
        ),
        Addition(
            RUN,
            columns=[sync_now],
            actions=[sync_selected],
            buttons=[
                Button(
                    f"sync-{kind}",
                    verb,
                    RUN,
                    lambda request, instance: begin(request, kind, Instance.objects.filter(pk=instance.pk)),
                    icon="sync",
                    shown=lambda instance: not instance.is_retired,
                    main=True,
                ),
                Button(
                    f"sync-{kind}",
                    verb_all,
                    RUN,
                    lambda request, _: begin(request, kind, Instance.objects.all()),
                    icon="sync",
                    on_list=True,
                    main=True,
                ),
            ],
        ),
    ]


@admin.action(description=_("Resume paused visits"))
def resume_instances(model_admin: Any, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
    resume(request, VisitHealth.objects.filter(instance__in=queryset.order_by().values("pk")))


def resume(request: HttpRequest, health: QuerySet[VisitHealth]) -> None:
    count = services.resume(health)
    messages.success(request, ngettext("%d kind of visit resumed.", "%d kinds of visit resumed.", count) % count)


def visits_part(request: HttpRequest, instance: Instance) -> Part:
    rows = list(instance.sync_records.select_related("session").order_by("-pk")[:10])
    more = f"{reverse('admin:sync_syncrecord_changelist')}?instance__id__exact={instance.pk}"
    context = {"records": [record_context(row) for row in rows], "more": more}
    return Part(SafeString(render_to_string("sync/visits_of_instance.html", context, request)))


def health_part(request: HttpRequest, instance: Instance) -> Part:
    """Whether visits can connect, and how those of each kind go."""
    rows = {row.kind: row for row in instance.visit_health.all()}
    visits = [kind.name for kind in KINDS.values() if isinstance(kind, VisitKind)]
    others = [kind for kind, row in rows.items() if kind not in visits and row.is_failing]
    health = [(KINDS[kind].label if kind in KINDS else kind, rows.get(kind)) for kind in [*visits, *others]]
    errors: dict[str, list[str]] = {}
    for label, row in health:
        if row and row.error:
            errors.setdefault(f"{row.error_code}: {row.error}", []).append(str(label))
    context = {
        "errors": [(error, ", ".join(labels)) for error, labels in errors.items()],
        "health": [
            {
                "label": label,
                "row": row,
                "resume": row and reverse("admin:sync_visithealth_do", args=[row.pk, "resume"]),
            }
            for label, row in health
        ],
        "last": last_connection([rows[kind] for kind in visits if kind in rows]),
        "may_resume": request.user.has_perm(RUN),
    }
    return Part(state=SafeString(render_to_string("sync/health_of_instance.html", context, request)))


def last_connection(health: Iterable[VisitHealth]) -> dict[str, Any] | None:
    """When the last visit ended, and whether it connected: True, False, or None where its error does not say. None
    before the first visit."""
    ends: list[tuple[datetime, bool | None]] = []
    for row in health:
        if row.succeeded_at:
            ends.append((row.succeeded_at, True))
        if row.failed_at and row.is_failing:
            ends.append((row.failed_at, False if row.error_code in NO_CONNECTION else AFTER_IT.get(row.error_code)))
    if not ends:
        return None
    at, connected = max(ends, key=lambda end: end[0])
    return {"at": at, "connected": connected}


def with_paused_kinds(instances: QuerySet[Instance]) -> QuerySet[Instance]:
    paused = VisitHealth.objects.paused().filter(instance=OuterRef("pk")).order_by()
    return instances.annotate(paused_kinds=ArraySubquery(paused.values("kind")))


OF_INSTANCES = [
    Addition("sync.view_visithealth", annotate=with_paused_kinds, filters=[PausedFilter], part=health_part),
    Addition("sync.view_syncrecord", part=visits_part),
    Addition(RUN, actions=[resume_instances]),
]


def record_context(record: SyncRecord) -> dict[str, Any]:
    """Return the context that templates need to show a record."""
    return {
        "row": record,
        "instance_url": reverse("admin:instances_instance_change", args=[record.instance_id]),
        "session_url": reverse("admin:sync_syncsession_change", args=[record.session_id]),
        "took": duration(record.took) if record.took else "",
        "summary": summary(record),
        "confirm_url": reverse("admin:sync_syncrecord_do", args=[record.pk, "confirm"])
        if record.held_count is not None
        else None,
    }


def summary(record: SyncRecord) -> str:
    """What a visit found and did: "99.8 MiB in 2 databases: 1 renamed; PostgreSQL 18.4; renamed from shop to store"."""
    if not record.summary:
        return ""
    words = [_found(record.kind, record.summary)]
    words += [gettext(text) for name in ("server", "notes") if (text := record.summary.get(name))]
    renames = record.summary.get("renames", ())
    renamed = gettext("renamed from %(before)s to %(now)s")
    words += [renamed % {"before": printable(old), "now": printable(new)} for old, new in renames[:MOST_RENAMES]]
    if (more := len(renames) - MOST_RENAMES) > 0:
        words.append(ngettext("%d more renamed", "%d more renamed", more) % more)
    return "; ".join(filter(None, words))


def _found(kind: str, counts: dict[str, Any]) -> str:
    if kind in WORDS:
        return WORDS[kind](counts)
    text = gettext("%(n)d %(what)s")
    items = sorted(counts.items())
    return ", ".join(text % {"n": n, "what": gettext(name)} for name, n in items if isinstance(n, int) and n)


def visit_events(instance: Instance, since: datetime, limit: int) -> Iterable[Event]:
    """Visits that were made, for the timeline of the instance: one event for those of a day that changed nothing."""
    changed = Case(When(reduce(or_, (Q(**{f"summary__{name}__gt": 0}) for name in CHANGES)), then=True), default=False)
    made = instance.sync_records.filter(finished_at__gte=since).exclude(status="skipped", summary={})
    made = made.annotate(changed=changed)
    quiet = Q(status=SyncRecord.Status.COMPLETED, changed=False)
    for row in made.exclude(quiet).order_by("-finished_at")[:limit]:
        did = row.error or in_words(row)
        text = ": ".join(filter(None, [gettext(row.kind), did]))
        url = reverse("admin:sync_syncsession_change", args=[row.session_id])
        yield Event(row.finished_at, row.status, str(SyncRecord.Status(row.status).label), text, url)
    days = made.filter(quiet).order_by().annotate(day=TruncDate("finished_at")).values("day")
    for day in days.annotate(n=Count("pk"), last=Max("finished_at")).order_by("-day")[:limit]:
        text = ngettext("%d visit changed nothing", "%d visits changed nothing", day["n"]) % day["n"]
        url = list_url("sync_syncrecord", instance__id__exact=instance.pk, started_at_from_0=day["day"])
        yield Event(day["last"], "", gettext("visits"), text, url, is_machinery=True)


def in_words(record: SyncRecord) -> str:
    """What a visit found, and how long it took: "first visit: 113 accounts, 868 grants; 340 ms"."""
    took = duration(record.took) if record.took else ""
    return "; ".join(filter(None, [_found(record.kind, record.summary), took]))
