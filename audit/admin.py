"""The page of the audit trail."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from console.buttons import InspectOnlyAdmin
from console.csv import csv_file
from console.list_filters import OptionsFilter
from engines.statements import printable
from work.days import local_day

from .filters import EventFilters
from .models import COLUMNS, Event
from .reading import as_json, as_rows
from .tracking import DECLARED


class ModelFilter(OptionsFilter):
    title = _("object type")
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        names = [(one.model.lower(), str(apps.get_model(one.model)._meta.verbose_name)) for one in DECLARED]
        return sorted(names, key=lambda name: name[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(model=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(InspectOnlyAdmin):
    """What has happened, newest first."""

    filter_set = EventFilters
    list_display = ["at", "what", "who", "door", "address", "about"]
    list_filter = ["door", "kind", ModelFilter, "at"]
    search_fields = ["user_name", "object"]
    search_help_text = _("Person or object")
    list_fullwidth = True
    show_full_result_count = False
    ordering = ["-id"]
    actions = ["as_csv"]
    fields = [
        "at",
        "kind",
        "door",
        ("user_name", "user_id"),
        "address",
        "request",
        "command",
        ("model", "object", "object_id"),
    ]

    @display(description=_("kind"), ordering="kind")
    def what(self, event: Event) -> str:
        return event.get_kind_display()

    @display(description=_("person"), ordering="user_name")
    def who(self, event: Event) -> str:
        return printable(event.user_name) or "–"

    @display(description=_("object"))
    def about(self, event: Event) -> str:
        changed = ", ".join(event.after or {}) if event.kind == Event.Kind.UPDATE else ""
        parts = [str(event.model_label), printable(event.object), changed and f"({changed})"]
        return " ".join(filter(None, parts)) or printable(event.command) or "–"

    @admin.action(description=_("Export as CSV"), permissions=["view"])
    def as_csv(self, request: HttpRequest, queryset: QuerySet[Event]) -> StreamingHttpResponse:
        return csv_file(f"audit-{local_day()}", COLUMNS, as_rows(queryset))

    def page_context(self, request: HttpRequest, row: Event | None) -> dict[str, Any]:
        if row is None:
            return {}
        return {"sections": [render_to_string("audit/values.html", {"lines": lines(row)}, request)]}


def lines(event: Event) -> list[tuple[str, str, str]]:
    """Field, old and new value of an event. Numbers of rows are shown with the names that the rows have now."""
    before, after = event.before or {}, event.after or {}
    return [
        (label, _named(field, before.get(name)), _named(field, after.get(name)))
        for name in sorted({*before, *after})
        for label, field in [_field(event.model, name)]
    ]


def _field(model: str, column: str) -> tuple[str, models.Field | None]:
    try:
        fields = {field.column: field for field in apps.get_model(model)._meta.concrete_fields}
    except (LookupError, ValueError, FieldDoesNotExist):
        fields = {}
    field = fields.get(column)
    return (str(field.verbose_name) if field else column, field)


def _named(field: models.Field | None, value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(field, models.ForeignKey):
        row = field.related_model._default_manager.filter(pk=value).first()
        return f"{printable(str(row))} (#{value})" if row else f"#{value}"
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return printable(value if isinstance(value, str) else as_json(value))
