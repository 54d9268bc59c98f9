"""Filters of admin lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
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


class ParameterFilter(OptionsFilter):
    """Filters by a parameter of the API: list and API then give the same rows.

    The ModelAdmin names the API's filter set in `filter_set`. A value that the API refuses shows the list without the
    filter, and a message.
    """

    #: Name of the parameter, if it is not `parameter_name`.
    parameter = ""
    #: Value in the address → value of the parameter, where they differ; None: no condition.
    values: Mapping[str | None, str | None] = {"yes": "true", "no": "false", "all": None}

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: type[Model], model_admin: Any) -> None:
        self.filter_set = model_admin.filter_set
        self.parameter = self.parameter or self.parameter_name
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """`options`, or the choices of the parameter."""
        choices = self.options or self.filter_set.base_filters[self.parameter].extra["choices"]
        return list(choices() if callable(choices) else choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        value = self.values.get(self.value(), self.value())
        if value is None:
            return queryset
        filters = self.filter_set({self.parameter: value}, queryset, request=request)
        if not filters.is_valid():
            raise IncorrectLookupParameters(filters.errors)
        return filters.qs


class LeavingFilter(ParameterFilter):
    """Leaves rows out by default."""

    all_option = None
    default = "no"


class GoneFilter(LeavingFilter):
    title = _("existence")
    parameter_name = "gone"
    options = [("no", _("Present")), ("yes", _("Gone")), ("all", _("Present and gone"))]


class FilteredFilter(LeavingFilter):
    title = _("filters")
    parameter_name = "filtered"
    options = [("no", _("Not filtered")), ("yes", _("Filtered")), ("all", _("Both"))]
