"""The pages of databases and their filters, and what sizes add to the pages of instances."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from console.buttons import Button
from console.columns import Column
from console.display import badge, day, number
from console.list_filters import FilteredFilter, GoneFilter, OptionsFilter
from console.units import bytes_label
from engines.errors import AdapterError
from instances.admin import Addition
from instances.hiding_pages import FilterAdmin, HideableAdmin
from instances.list_filters import EngineFilter
from instances.models import Instance
from sync.pages import of_visits
from tagging.admin import TagFilter
from work.days import local_day

from . import services
from .filters import DatabaseFilters
from .models import Database, DatabaseFilter, InstanceSize
from .pages import database_page, databases_of, sizes_part

#: What apps above add to the list of databases: admin actions, each with the permission that it needs.
ACTIONS: list[tuple[str, Callable[..., Any]]] = []


class FreshnessFilter(OptionsFilter):
    title = _("measured")
    parameter_name = "measured"
    options = [("today", _("Today")), ("late", _("Not since yesterday")), ("never", _("Never"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        today = local_day()
        match self.value():
            case "today":
                return queryset.filter(size_day=today)
            case "late":
                return queryset.filter(size_day__lt=today - timedelta(days=1))
            case "never":
                return queryset.filter(size_day=None)
        return queryset


def largest_tables(request: HttpRequest, database: Database) -> HttpResponse | None:
    try:
        tables = services.largest_tables(database)
    except AdapterError as error:
        messages.error(request, f"{error.code}: {error} {error.hint}".strip())
        return None
    context = {
        **admin.site.each_context(request),
        "title": gettext("Largest tables of %s") % database,
        "subtitle": database.instance,
        "database": database,
        "tables": [(table, [bytes_label(size) for size in table[2:]]) for table in tables],
    }
    return TemplateResponse(request, "capacity/tables.html", context)


@admin.register(Database)
class DatabaseAdmin(HideableAdmin):
    object_template = "capacity/database.html"
    list_display = [
        "name",
        "instance",
        "size",
        Column(
            "growth_label",
            _("growth in 30 days"),
            show=number,
            ordering=None,
            in_files=(Column("growth", _("growth in 30 days")), Column("growth_days", _("days of the growth"))),
        ),
        "measured",
        Column("first_seen_at", show=day),
        "state",
    ]
    list_on_phones = ("instance", "size")
    filter_set = DatabaseFilters
    list_filter = ["instance", EngineFilter, TagFilter, GoneFilter, FilteredFilter, FreshnessFilter, "is_system"]
    list_fullwidth = True
    list_select_related = ["instance"]
    show_full_result_count = False
    ordering = [F("size").desc(nulls_last=True), "pk"]
    search_fields = ["name"]
    fields = ["name"]
    buttons = [
        Button(
            "tables",
            _("Largest tables"),
            "capacity.read_tables",
            largest_tables,
            icon="table_rows",
            shown=lambda database: database.gone_at is None,
        )
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Database]:
        return super().get_queryset(request).select_related("instance").with_growth()

    def get_actions(self, request: HttpRequest) -> dict[str, tuple[Any, str, str]]:
        added = [self.get_action(action) for permission, action in ACTIONS if request.user.has_perm(permission)]
        return super().get_actions(request) | {name: (run, name, label) for run, name, label in added}

    @display(description=_("measured"), ordering="size_day")
    def measured(self, database: Database) -> SafeString:
        if database.size_day is None:
            return badge("failed", gettext("never"))
        late = database.gone_at is None and database.size_day < local_day() - timedelta(days=1)
        return format_html(
            '<span class="tf-nowrap{}">{}</span>', " tf-warn" if late else "", database.size_day.isoformat()
        )

    @display(description=_("state"))
    def state(self, database: Database) -> SafeString:
        states = [badge("gone", gettext("gone"))] if database.gone_at else []
        states += [badge("filtered", gettext("filtered"))] if database.is_filtered else []
        return SafeString(" ".join(states))

    def page_context(self, request: HttpRequest, row: Database) -> dict[str, Any]:
        return {"database": row, **database_page(request, row)}


admin.site.register(DatabaseFilter, FilterAdmin)


def with_latest_size(instances: QuerySet[Instance]) -> QuerySet[Instance]:
    """Each instance with latest_size, and latest_complete."""
    latest = InstanceSize.objects.filter(instance=OuterRef("pk")).order_by("-day")
    return instances.annotate(
        latest_size=Subquery(latest.values("size")[:1]), latest_complete=Subquery(latest.values("is_complete")[:1])
    )


@display(description=_("size"), ordering="latest_size")
def latest_size(instance: Instance) -> SafeString:
    if instance.latest_size is None:
        return SafeString("–")
    mark = "" if instance.latest_complete else badge("partial", gettext("incomplete"))
    link = format_html(
        '<a class="tf-number tf-link tf-nowrap" href="{}">{}</a>',
        databases_of(instance),
        bytes_label(instance.latest_size),
    )
    return format_html("{} {}", link, mark)


latest_size.in_files = [Column("latest_size", _("size")), Column("latest_complete", _("size complete"))]


OF_INSTANCES = [
    Addition("capacity.view_database", annotate=with_latest_size, columns=[latest_size], part=sizes_part),
    *of_visits("capacity", _("last capacity visit"), _("Collect capacity now"), _("Collect all capacity")),
]
