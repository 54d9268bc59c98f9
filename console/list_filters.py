"""Filters of admin lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.contrib.admin import ListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import get_fields_from_path
from django.contrib.admin.views.main import ChangeList
from django.db.models import BooleanField, DateField, DateTimeField, ForeignKey, Model, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import get_script_prefix
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters import admin as unfold
from unfold.contrib.filters.forms import AutocompleteDropdownForm

from .visibility import narrow_choices

#: HTML of filters that are not in use, by all that it depends on.
_MADE: dict[tuple[Any, ...], str] = {}


class MadeOnce(ListFilter if TYPE_CHECKING else object):
    """A filter that is not in use is the same HTML for everybody, and is made once.

    unfold makes each of a form and a dozen templates; a list has up to 17, which took a quarter of the page's time.
    """

    template = "taifish/filter.html"
    field: Any = None

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        if self.used_parameters:
            yield {"html": self._made(changelist)}
            return
        options = tuple((str(value), str(label)) for value, label in getattr(self, "lookup_choices", ()))
        shown = (type(self), self.field, str(self.title), *self.expected_parameters(), options)
        key = (*shown, get_language(), get_script_prefix())
        html = _MADE.get(key)
        if html is None:
            if len(_MADE) >= 1000:
                # Options from tables change.
                _MADE.clear()
            html = _MADE[key] = self._made(changelist)
        yield {"html": html}

    def _made(self, changelist: ChangeList) -> str:
        parts = {"title": self.title, "choices": list(super().choices(changelist)), "spec": self}
        return render_to_string(super().template, parts)


class _ShownRowsForm(AutocompleteDropdownForm):
    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        narrow_choices(self, request.user)


class ShownSelectFilter(MadeOnce, unfold.AutocompleteSelectFilter):
    """A filter by a related row. A row that the user may not see is not named, even if the URL holds its id."""

    form_class = _ShownRowsForm


class RelatedFilter(MadeOnce, unfold.RelatedDropdownFilter):
    """A filter by one of few related rows."""


class YesNoFilter(MadeOnce, unfold.BooleanRadioFilter):
    """A filter by a field that is true or false."""


class ChoicesFilter(MadeOnce, unfold.ChoicesDropdownFilter):
    """A filter by a field with choices."""


class MomentsFilter(MadeOnce, unfold.RangeDateTimeFilter):
    """A filter by a range of moments."""


class DaysFilter(MadeOnce, unfold.RangeDateFilter):
    """A filter by a range of days."""


def by_type(model: type[Model], item: Any) -> Any:
    """`item` of `list_filter` with the filter that suits the field's type, where it is the path of a field alone."""
    field = get_fields_from_path(model, item)[-1] if isinstance(item, str) else None
    match field:
        case ForeignKey():
            return item, ShownSelectFilter
        case BooleanField():
            return item, YesNoFilter
        case DateTimeField():
            return item, MomentsFilter
        case DateField():
            return item, DaysFilter
    return (item, ChoicesFilter) if getattr(field, "flatchoices", None) else item


class OptionsFilter(MadeOnce, unfold.DropdownFilter):
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
