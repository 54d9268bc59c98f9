"""The pages of aggregates."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from console.buttons import InspectOnlyAdmin
from console.columns import Column
from console.csv import csv_file
from console.display import badge, change, number, size
from console.files import CHUNK
from console.list_filters import LeavingFilter
from work.days import local_day

from .filters import DatabaseAggregateFilters, InstanceAggregateFilters
from .models import Aggregate, DatabaseAggregate, InstanceAggregate
from .periods import Period, last_closed

AVERAGE = Column("avg_size", show=size)
CHANGE = Column("change", show=change)


class PeriodFilter(LeavingFilter):
    title = _("period")
    parameter_name = "period"
    default = Period.MONTHLY.value


class WhichFilter(LeavingFilter):
    """By default the last closed period only: a list of all days of all databases is of no use."""

    title = _("which")
    parameter_name = "which"
    default = "last"
    options = [("last", _("The last closed one")), ("all", _("All"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        period = request.GET.get("period") or PeriodFilter.default
        if self.value() == "all" or period not in list(Period):
            return queryset
        return queryset.filter(start=last_closed(Period(period), local_day()).first)


class AggregateAdmin(InspectOnlyAdmin):
    """The list of the aggregates of databases or instances; `owners` are the columns of the CSV that name them."""

    owners: dict[str, str] = {}
    list_fullwidth = True
    show_full_result_count = False
    actions = ["as_csv"]
    ordering = ["-start", F("change").desc(nulls_last=True)]
    figures = [
        "when",
        AVERAGE,
        "min_size",
        "max_size",
        "last_size",
        CHANGE,
        Column("change_percent", _("percent"), show=lambda percent: number(f"{percent:+.1f} %")),
        "coverage",
    ]
    fields = [
        "period",
        ("start", "end"),
        (AVERAGE, "min_size", "max_size"),
        ("first_size", "last_size"),
        (CHANGE, "change_percent"),
        ("days_collected", "days_expected"),
        "computed_at",
    ]

    @display(description=_("period"), ordering="start")
    def when(self, row: Aggregate) -> SafeString:
        days = row.start.isoformat() if row.start == row.end else f"{row.start.isoformat()} – {row.end.isoformat()}"
        return format_html(
            '<span class="tf-nowrap">{}</span> <span class="tf-quiet">{}</span>', days, row.get_period_display()
        )

    when.in_files = ["period", "start", "end"]

    @display(description=_("days"))
    def coverage(self, row: Aggregate) -> SafeString:
        days = f"{row.days_collected} / {row.days_expected}"
        incomplete = getattr(row, "days_complete", row.days_collected) < row.days_collected
        marks = badge("partial", gettext("incomplete")) if incomplete or not row.is_whole else ""
        return format_html('<span class="tf-nowrap">{} {}</span>', days, marks)

    @admin.action(description=_("Export as CSV"), permissions=["view"])
    def as_csv(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse:
        paths = self.owners | {field.name: field.name for field in Aggregate._meta.get_fields()}
        rows = queryset.values_list(*paths.values()).iterator(CHUNK)
        return csv_file(f"{self.opts.model_name}-{local_day()}", list(paths), rows)


@admin.register(InstanceAggregate)
class InstanceAggregateAdmin(AggregateAdmin):
    owners = {"instance": "instance__name"}
    list_display = ["instance", *AggregateAdmin.figures]
    filter_set = InstanceAggregateFilters
    list_filter = [PeriodFilter, WhichFilter, "instance", "instance__engine", "start"]
    list_select_related = ["instance"]
    search_fields = ["instance__name"]
    fields = ["instance", *AggregateAdmin.fields, "days_complete"]


@admin.register(DatabaseAggregate)
class DatabaseAggregateAdmin(AggregateAdmin):
    owners = {"instance": "database__instance__name", "database": "database__name"}
    list_display = [
        Column("database__name", _("database")),
        Column("database__instance", ordering="database__instance__name"),
        *AggregateAdmin.figures,
    ]
    filter_set = DatabaseAggregateFilters
    list_filter = [PeriodFilter, WhichFilter, "database__instance", "database__instance__engine", "start"]
    list_select_related = ["database__instance"]
    search_fields = ["database__name"]
    fields = ["database", *AggregateAdmin.fields]
