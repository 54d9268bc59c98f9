"""Filters of admin lists."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.contrib.filters.forms import AutocompleteDropdownForm

from .visibility import narrow_choices


class _ShownRowsForm(AutocompleteDropdownForm):
    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        narrow_choices(self, request.user)


class ShownSelectFilter(AutocompleteSelectFilter):
    """A filter by a related row. A row that the user may not see is not named, even if the URL holds its id."""

    form_class = _ShownRowsForm


class LeavingFilter(DropdownFilter):
    """A filter with a default that excludes rows; the list shows it as active."""

    all_option = None
    default = "no"

    def value(self) -> str:
        return super().value() or self.default

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset if self.value() == "all" else self.only(queryset, self.value() == "yes")


class GoneFilter(LeavingFilter):
    title = _("existence")
    parameter_name = "gone"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", _("Present")), ("yes", _("Gone")), ("all", _("Present and gone"))]

    def only(self, queryset: QuerySet, gone: bool) -> QuerySet:
        return queryset.filter(gone_at__isnull=not gone)


class FilteredFilter(LeavingFilter):
    title = _("filters")
    parameter_name = "filtered"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", _("Not filtered")), ("yes", _("Filtered")), ("all", _("Both"))]

    def only(self, queryset: QuerySet, filtered: bool) -> QuerySet:
        return queryset.filter(is_filtered=filtered)
