"""The pages of limits and volumes, and what they add to the pages of instances and databases."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from console.buttons import Button, ButtonAdmin
from console.columns import Column
from console.display import badge
from console.forms import SizeField
from console.list_filters import ParameterFilter
from console.templatetags.names import visible
from console.visibility import limit_of
from instances.admin import Addition
from instances.list_filters import EngineFilter
from tagging.admin import TagFilter

from .bulk_pages import export_limits, import_limits, lie_on, set_limits
from .filters import SizeLimitFilters, VolumeFilters
from .models import FLEET, KINDS, TARGETS, SizeLimit, Volume, VolumeRead
from .pages import forecast_part
from .visibility import may_limit
from .volumes import read_volumes


class KindFilter(ParameterFilter):
    title = _("kind")
    parameter_name = "kind"
    options = KINDS


class MeasuredFilter(ParameterFilter):
    title = _("origin")
    parameter_name = "measured"
    options = [("true", _("read from Prometheus")), ("false", _("typed in"))]


class LimitForm(forms.ModelForm):
    size = SizeField(label=_("Limit"), help_text=_("For example 500 GiB, or a number of bytes."))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        kind = next((name for name in TARGETS if cleaned.get(name)), FLEET)
        if not (self.errors or may_limit(kind, self.user)):
            raise forms.ValidationError(gettext("Choose one instance, one database or one tablespace."))
        return cleaned


@admin.register(SizeLimit)
class SizeLimitAdmin(ButtonAdmin):
    form = LimitForm
    filter_set = SizeLimitFilters
    list_display = [
        Column("name", _("limit of"), show=visible, ordering="instance__name"),
        Column("kind", _("kind"), show=dict(KINDS).get, ordering=None),
        Column("size", _("limit")),
        "note",
        Column("set_by", _("set by"), ordering="set_by__username"),
        "set_at",
    ]
    list_filter = [KindFilter, EngineFilter, TagFilter]
    search_fields = [
        "instance__name",
        "database__name",
        "database__instance__name",
        "tablespace__name",
        "tablespace__instance__name",
        "tag__label",
        "note",
    ]
    autocomplete_fields = ["instance", "database", "tag"]
    raw_id_fields = ["tablespace"]
    fields = [*TARGETS, "size", "note"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SizeLimit]:
        return super().get_queryset(request).with_targets().select_related("set_by")

    def get_buttons(self, request: HttpRequest) -> list[Button]:
        return [
            Button(
                "import",
                _("Import CSV"),
                "planning.change_sizelimit",
                lambda request, _row: import_limits(self, request),
                icon="upload",
                on_list=True,
            ),
            Button(
                "export",
                _("Export CSV"),
                "planning.view_sizelimit",
                lambda request, _row: export_limits(request),
                icon="download",
                on_list=True,
            ),
        ]

    def get_fields(self, request: HttpRequest, obj: SizeLimit | None = None) -> list[str]:
        return [name for name in self.fields if name not in TARGETS or may_limit(name, request.user)]

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> type[LimitForm]:
        form = super().get_form(request, *args, **kwargs)
        form.user = request.user
        return form

    def save_model(self, request: HttpRequest, obj: SizeLimit, form: forms.ModelForm, change: bool) -> None:
        obj.set_by = request.user
        super().save_model(request, obj, form, change)


class VolumeForm(forms.ModelForm):
    size = SizeField(label=_("Size"), help_text=_("For example 500 GiB, or a number of bytes."))


def read_now(request: HttpRequest) -> None:
    attempt = read_volumes()
    if attempt:
        (messages.error if attempt.error else messages.success)(request, attempt.summary)


@display(description=_("read"), ordering="read_at")
def read_at(volume: Volume) -> str | SafeString:
    if volume.read_at is None:
        return "–"
    text = localtime(volume.read_at).strftime("%Y-%m-%d %H:%M")
    return format_html("{} {}", text, badge("partial", gettext("out of date"))) if volume.is_stale else text


@admin.register(Volume)
class VolumeAdmin(ButtonAdmin):
    form = VolumeForm
    list_before_template = "planning/volumes_read.html"
    filter_set = VolumeFilters
    list_display = ["name", Column("n_instances", _("instances")), "size", "available", read_at, "note"]
    list_filter = [MeasuredFilter]
    search_fields = ["name", "instances__name", "note"]
    autocomplete_fields = ["instances"]
    readonly_fields = ["mount", Column("available", _("available")), read_at]
    fields = ["name", "instances", "size", *readonly_fields, "note"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Volume]:
        return super().get_queryset(request).annotate(n_instances=Count("instances", distinct=True))

    buttons = [
        Button(
            "read",
            _("Read from Prometheus now"),
            "planning.change_volume",
            lambda request, _row: read_now(request),
            icon="refresh",
            on_list=True,
            shown=lambda _row: bool(settings.TAIFISH_PROMETHEUS_URL),
        )
    ]

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """How the last read went. Its sentences name hosts that limited users may not see."""
        shown = settings.TAIFISH_PROMETHEUS_URL and limit_of(request.user) is None
        return super().list_context(request) | ({"read": VolumeRead.objects.first(), "is_on": True} if shown else {})

    def get_readonly_fields(self, request: HttpRequest, obj: Volume | None = None) -> list[Any]:
        measured = ["instances", Column("size", _("size"))] if obj and obj.mount else []
        return [*self.readonly_fields, *measured]

    def get_fields(self, request: HttpRequest, obj: Volume | None = None) -> list[Any]:
        if obj is None:
            return ["name", "instances", "size", "note"]
        size = [name for name in self.get_readonly_fields(request, obj) if getattr(name, "path", "") == "size"]
        return ["name", "instances", *(size or ["size"]), *self.readonly_fields, "note"]


OF_INSTANCES = [
    Addition("planning.view_sizelimit", part=forecast_part),
    Addition("planning.change_sizelimit", actions=[set_limits]),
    Addition("planning.change_volume", actions=[lie_on]),
]
OF_DATABASES = [("planning.change_sizelimit", set_limits)]
