"""The questions that the lists of accounts and changes can be asked. Those of the API are in `filters`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter

from instances.adapters import ENGINE_CHOICES

from .models import AccountChange


class EngineFilter(DropdownFilter):
    title = _("engine")
    parameter_name = "engine"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return ENGINE_CHOICES

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(instance__engine=self.value()) if self.value() else queryset


class _Leaving(DropdownFilter):
    """Leaves rows out unless asked for them; the list says so."""

    all_option = None
    default = "no"

    def value(self) -> str:
        return super().value() or self.default

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset if self.value() == "all" else self.only(queryset, self.value() == "yes")


class GoneFilter(_Leaving):
    title = _("existence")
    parameter_name = "gone"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", _("Present")), ("yes", _("Gone")), ("all", _("Present and gone"))]

    def only(self, queryset: QuerySet, gone: bool) -> QuerySet:
        return queryset.filter(gone_at__isnull=not gone)


class FilteredFilter(_Leaving):
    title = _("account filters")
    parameter_name = "filtered"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", _("Not filtered")), ("yes", _("Filtered")), ("all", _("Both"))]

    def only(self, queryset: QuerySet, filtered: bool) -> QuerySet:
        return queryset.filter(is_filtered=filtered)


class ChangedFilter(DropdownFilter):
    title = _("changed")
    parameter_name = "changed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", _("In the last day")), ("7", _("In the last 7 days")), ("30", _("In the last 30 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() not in ("1", "7", "30"):
            return queryset
        since = timezone.now() - timedelta(days=int(self.value()))
        return queryset.filter(
            Exists(AccountChange.objects.filter(account=OuterRef("pk"), at__gte=since, baseline=False))
        )


class EventFilter(DropdownFilter):
    title = _("event")
    parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return AccountChange.Event.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(events__contains=[self.value()]) if self.value() else queryset


class BaselineFilter(_Leaving):
    title = _("first visits")
    parameter_name = "baseline"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", _("Left out")), ("yes", _("Only those")), ("all", _("Included"))]

    def only(self, queryset: QuerySet, baseline: bool) -> QuerySet:
        return queryset.filter(baseline=baseline)
