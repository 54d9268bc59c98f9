"""Questions that the lists of rows of instances can be asked. Those of the API are in `filters`."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter

from engines.registry import engine_choices


class EngineFilter(DropdownFilter):
    title = _("engine")
    parameter_name = "engine"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return engine_choices()

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(instance__engine=self.value()) if self.value() else queryset
