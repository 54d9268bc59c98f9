"""The pages of aggregates and limits, and what they add to the pages of instances."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from console.buttons import ButtonAdmin, InspectOnlyAdmin
from console.csv import csv_file
from console.display import badge, number
from console.list_filters import LeavingFilter, ShownSelectFilter
from console.templatetags.names import visible
from console.units import bytes_label, parsed_bytes
from instances.admin import Addition

from .models import PERIODS, Aggregate, DatabaseAggregate, InstanceAggregate, InstanceLimit
from .pages import forecast_section
from .periods import Period, last_closed


class PeriodFilter(LeavingFilter):
    title = _("period")
    parameter_name = "period"
    default = Period.MONTHLY.value

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return PERIODS

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(period=self.value())


class WhichFilter(LeavingFilter):
    """Without being asked, the last closed period only: a list of all days of all databases is of no use."""

    title = _("which")
    parameter_name = "which"
    default = "last"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("last", _("The last closed one")), ("all", _("All"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        period = request.GET.get("period") or PeriodFilter.default
        if self.value() == "all" or period not in list(Period):
            return queryset
        return queryset.filter(start=last_closed(Period(period), timezone.localdate()).first)


class AggregateAdmin(InspectOnlyAdmin):
    """A list of aggregates of databases or instances; `path_to_instance` is where its instance is."""

    path_to_instance = "instance"
    list_filter_submit = True
    list_fullwidth = True
    show_full_result_count = False
    actions = ["as_csv"]
    ordering = ["-start", F("change").desc(nulls_last=True)]
    figures = ["when", "average", "smallest", "largest", "last", "grown", "percent", "coverage"]
    fields = [
        "period",
        ("start", "end"),
        ("avg_size", "min_size", "max_size"),
        ("first_size", "last_size"),
        ("change", "change_percent"),
        ("days_collected", "days_expected"),
        "computed_at",
    ]

    def owner(self, row: Any) -> list[str]:
        """Names of whose figures these are, for the CSV."""
        raise NotImplementedError

    @display(description=_("period"), ordering="start")
    def when(self, row: Aggregate) -> SafeString:
        days = row.start.isoformat() if row.start == row.end else f"{row.start.isoformat()} – {row.end.isoformat()}"
        return format_html(
            '<span class="tf-nowrap">{}</span> <span class="tf-quiet">{}</span>', days, row.get_period_display()
        )

    @display(description=_("average"), ordering="avg_size")
    def average(self, row: Aggregate) -> SafeString:
        return number(bytes_label(round(row.avg_size)))

    @display(description=_("smallest"), ordering="min_size")
    def smallest(self, row: Aggregate) -> SafeString:
        return number(bytes_label(row.min_size))

    @display(description=_("largest"), ordering="max_size")
    def largest(self, row: Aggregate) -> SafeString:
        return number(bytes_label(row.max_size))

    @display(description=_("last"), ordering="last_size")
    def last(self, row: Aggregate) -> SafeString:
        return number(bytes_label(row.last_size))

    @display(description=_("change"), ordering="change")
    def grown(self, row: Aggregate) -> SafeString:
        return number(bytes_label(row.change, signed=True))

    @display(description=_("percent"), ordering="change_percent")
    def percent(self, row: Aggregate) -> SafeString:
        return number("–" if row.change_percent is None else f"{row.change_percent:+.1f} %")

    @display(description=_("days"))
    def coverage(self, row: Aggregate) -> SafeString:
        told = f"{row.days_collected} / {row.days_expected}"
        incomplete = getattr(row, "days_complete", row.days_collected) < row.days_collected
        marks = badge("partial", gettext("incomplete")) if incomplete or not row.is_whole else ""
        return format_html('<span class="tf-nowrap">{} {}</span>', told, marks)

    @admin.action(description=_("Export as CSV"), permissions=["view"])
    def as_csv(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse:
        names = [field.name for field in Aggregate._meta.get_fields()]
        rows = ([*self.owner(row), *(getattr(row, name) for name in names)] for row in queryset.iterator(2000))
        return csv_file(f"{self.opts.model_name}-{timezone.localdate()}", [*self.owner_header, *names], rows)


@admin.register(InstanceAggregate)
class InstanceAggregateAdmin(AggregateAdmin):
    owner_header = ["instance"]
    list_display = ["instance", *AggregateAdmin.figures]
    list_filter = [
        PeriodFilter,
        WhichFilter,
        ("instance", ShownSelectFilter),
        ("instance__engine", ChoicesDropdownFilter),
        ("start", RangeDateFilter),
    ]
    list_select_related = ["instance"]
    search_fields = ["instance__name"]
    fields = ["instance", *AggregateAdmin.fields, "days_complete"]

    def owner(self, row: InstanceAggregate) -> list[str]:
        return [row.instance.name]


@admin.register(DatabaseAggregate)
class DatabaseAggregateAdmin(AggregateAdmin):
    owner_header = ["instance", "database"]
    list_display = ["shown_name", "instance", *AggregateAdmin.figures]
    list_filter = [
        PeriodFilter,
        WhichFilter,
        ("database__instance", ShownSelectFilter),
        ("database__instance__engine", ChoicesDropdownFilter),
        ("start", RangeDateFilter),
    ]
    list_select_related = ["database__instance"]
    search_fields = ["database__name"]
    fields = ["database", *AggregateAdmin.fields]

    def owner(self, row: DatabaseAggregate) -> list[str]:
        return [row.database.instance.name, row.database.name]

    @display(description=_("database"), ordering="database__name")
    def shown_name(self, row: DatabaseAggregate) -> SafeString:
        return visible(row.database.name)

    @display(description=_("instance"), ordering="database__instance__name")
    def instance(self, row: DatabaseAggregate) -> str:
        return row.database.instance.name


class LimitForm(forms.ModelForm):
    """Bytes as people write them: "500 GiB"."""

    size = forms.CharField(
        label=_("Limit"),
        help_text=_("For example 500 GiB, or a number of bytes."),
        widget=UnfoldAdminTextInputWidget(),
    )

    class Meta:
        model = InstanceLimit
        fields = ["instance", "size", "note"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "size" in self.fields:
            self.initial["size"] = str(self.instance.size)

    def clean_size(self) -> int:
        try:
            return parsed_bytes(self.cleaned_data["size"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


@admin.register(InstanceLimit)
class InstanceLimitAdmin(ButtonAdmin):
    form = LimitForm
    list_display = ["instance", "limit", "note", "setter", "set_at"]
    list_select_related = ["instance", "set_by"]
    search_fields = ["instance__name", "note"]
    autocomplete_fields = ["instance"]
    fields = ["instance", "size", "note"]

    @display(description=_("limit"), ordering="size")
    def limit(self, row: InstanceLimit) -> SafeString:
        return number(bytes_label(row.size))

    @display(description=_("set by"), ordering="set_by__username")
    def setter(self, row: InstanceLimit) -> str:
        return str(row.set_by or "–")

    def save_model(self, request: HttpRequest, obj: InstanceLimit, form: forms.ModelForm, change: bool) -> None:
        obj.set_by = request.user
        super().save_model(request, obj, form, change)


OF_INSTANCES = [Addition("aggregation.view_instancelimit", section=forecast_section)]
