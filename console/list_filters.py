"""Filters of admin lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.utils import get_fields_from_path
from django.db.models import BooleanField, DateField, DateTimeField, ForeignKey, Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    BooleanRadioFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    RangeDateFilter,
    RangeDateTimeFilter,
)
from unfold.contrib.filters.forms import AutocompleteDropdownForm

from .visibility import narrow_choices


class _ShownRowsForm(AutocompleteDropdownForm):
    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        narrow_choices(self, request.user)


class ShownSelectFilter(AutocompleteSelectFilter):
    """A filter by a related row. A row that the user may not see is not named, even if the URL holds its id."""

    form_class = _ShownRowsForm


def by_type(model: type[Model], item: Any) -> Any:
    """`item` of `list_filter` with the filter that suits the field's type, where it is the path of a field alone."""
    field = get_fields_from_path(model, item)[-1] if isinstance(item, str) else None
    match field:
        case ForeignKey():
            return item, ShownSelectFilter
        case BooleanField():
            return item, BooleanRadioFilter
        case DateTimeField():
            return item, RangeDateTimeFilter
        case DateField():
            return item, RangeDateFilter
    return (item, ChoicesDropdownFilter) if getattr(field, "flatchoices", None) else item


class OptionsFilter(DropdownFilter):
    """A filter with fixed `options`: values and labels. `default` applies when the address has no value."""

    options: Sequence[tuple[str, Any]] = ()
    default: str | None = None

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(self.options)

    def value(self) -> str | None:
        return super().value() or self.default


class LeavingFilter(OptionsFilter):
    """Leaves rows out by default: of the options "no", "yes" and "all", the first."""

    all_option = None
    default = "no"

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset if self.value() == "all" else self.only(queryset, self.value() == "yes")


class GoneFilter(LeavingFilter):
    title = _("existence")
    parameter_name = "gone"
    options = [("no", _("Present")), ("yes", _("Gone")), ("all", _("Present and gone"))]

    def only(self, queryset: QuerySet, gone: bool) -> QuerySet:
        return queryset.filter(gone_at__isnull=not gone)


class FilteredFilter(LeavingFilter):
    title = _("filters")
    parameter_name = "filtered"
    options = [("no", _("Not filtered")), ("yes", _("Filtered")), ("all", _("Both"))]

    def only(self, queryset: QuerySet, filtered: bool) -> QuerySet:
        return queryset.filter(is_filtered=filtered)
