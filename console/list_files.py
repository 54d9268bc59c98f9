"""Admin lists as CSV and XLSX: the rows of the current filters, search and order, in the columns shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import unescape
from typing import Any

from django.contrib import messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR, ChangeList
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import DataError
from django.db.models import Field, ForeignKey, Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from .columns import CHOSEN, Column, ColumnAdmin, column_name, value_at
from .files import CHUNK, FORMS, Lines, as_file, head, machine, too_many
from .visibility import shown_to

#: What separates the texts of two badges, or two lines, of a cell.
_PARTS = re.compile(r'<div|<span class="(?:tf-badge|tf-quiet)')
#: A moment, as `console.display.ago` shows it.
_TIME = re.compile(r'<time datetime="([^"]*)"[^>]*>[^<]*</time>')


def cell_of(value: Any) -> Any:
    return text_of_html(value) if isinstance(value, SafeString) else machine(value)


def text_of_html(html: str) -> str:
    """The text of a cell, with its moments in ISO 8601, and "" for a dash."""
    text = " ".join(unescape(strip_tags(_PARTS.sub(r" \g<0>", _TIME.sub(r"\1", html)))).split())
    return "" if text == "–" else text


def value_of(row: Model, item: Any, admin: ColumnAdmin) -> Any:
    """What a file holds of a row in a column: the field's value, and of a method the text."""
    if isinstance(item, Column):
        value = value_at(row, item.path)
        if value is None and hasattr(row, "is_unread") and row.is_unread(item.path):
            return _("unknown")
        return machine(item.empty or value if value is None else value)
    field, _attribute, value = (None, item, item(row)) if callable(item) else lookup_field(item, row, admin)
    if field is not None and not field.auto_created:
        return machine(getattr(row, field.name))
    return cell_of(value)


def columns_of(items: Iterable[Any], admin: ColumnAdmin) -> Iterator[tuple[str, Callable[[Model], Any]]]:
    """Heading and value of each column of a file. `in_files` of a column names those that stand for it; a column
    without a heading, of buttons for example, has none."""
    for item in items:
        heading, attribute = label_for_field(item, admin.model, admin, return_attr=True)
        instead = getattr(item if attribute is None else attribute, "in_files", None)
        if instead is not None:
            yield from columns_of(instead, admin)
        elif heading and item != "action_checkbox":
            yield capfirst(str(heading)), lambda row, item=item: value_of(row, item, admin)


# The head of a file: the question


def question(cl: ChangeList, request: HttpRequest) -> Lines:
    """The list, its search and its filters in words, with those that apply by default."""
    lines: Lines = [[_("list"), capfirst(str(cl.opts.verbose_name_plural))]]
    if cl.query:
        lines.append([_("search"), cl.query])
    named: set[str] = set()
    for spec in cl.filter_specs:
        named.update(spec.expected_parameters())
        if text := _chosen(spec, request):
            lines.append([str(spec.title), text])
    others = {name for name in request.GET if not name.startswith("_")} - named - {SEARCH_VAR, PAGE_VAR, "o"}
    return [*lines, *([name, ", ".join(request.GET.getlist(name))] for name in sorted(others))]


def _chosen(spec: Any, request: HttpRequest) -> str:
    if isinstance(spec, SimpleListFilter):
        value = spec.value()
        labels = {str(key): str(label) for key, label in spec.lookup_choices}
        return "" if value in (None, "") else labels.get(str(value), str(value))
    given = {name: values for name in spec.expected_parameters() if (values := _given(request, name))}
    field = getattr(spec, "field", None)
    texts = []
    for name, values in given.items():
        end = _("from") if name.endswith("_from") else _("to") if name.endswith("_to") else ""
        texts.append(" ".join(filter(None, [end, ", ".join(_word(value, field, request) for value in values)])))
    return "; ".join(texts)


def _given(request: HttpRequest, name: str) -> list[str]:
    return [value for value in request.GET.getlist(name) if value]


def _word(value: str, field: Field | None, request: HttpRequest) -> str:
    if isinstance(field, ForeignKey) and value.isdecimal():
        row = shown_to(field.related_model._default_manager.all(), request.user).filter(pk=value).first()
        return str(row) if row else f"#{value}"
    choices = {str(key): str(label) for key, label in getattr(field, "flatchoices", None) or ()}
    return choices.get(value, value)


#: What apps above add to the tools above a list, as template context: functions of the request and the ModelAdmin.
TOOLS: list[Callable[[HttpRequest, ColumnAdmin], dict[str, Any]]] = []


#: What apps above answer instead of a list, given the request and the ModelAdmin: a redirect, or None.
FIRST: list[Callable[[HttpRequest, ColumnAdmin], HttpResponse | None]] = []


class ListFiles(ColumnAdmin):
    """Adds CSV and XLSX files to a list, for users who may view it, and leaves out columns that they do not want."""

    @property
    def list_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def columns_shown(self, request: HttpRequest, items: Sequence[Any]) -> list[Any]:
        """The first column, and those that the user has chosen."""
        chosen = next((names for choose in CHOSEN if (names := choose(request, self.list_name))), None)
        kept = {"action_checkbox", next(column_name(item) for item in items if item != "action_checkbox")}
        return [item for item in items if not chosen or column_name(item) in kept.union(chosen)]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        pages = self

        class ChosenColumns(super().get_changelist(request, **kwargs)):  # type: ignore[misc]
            def __init__(self, request: HttpRequest, model: type[Model], list_display: Any, *args: Any, **kw: Any):
                super().__init__(request, model, pages.columns_shown(request, list_display), *args, **kw)

        return ChosenColumns

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        first = (answer(request, self) for answer in FIRST if self.has_view_or_change_permission(request))
        return next(filter(None, first), None) or super().changelist_view(request, extra_context)

    def file_notes(self, request: HttpRequest) -> Lines:
        """Lines for the head of the files: what the list does not know."""
        return []

    def list_tools(self, request: HttpRequest) -> dict[str, Any]:
        """What the template above the list shows: the addresses of its files, and what apps above add."""
        query = f"?{request.GET.urlencode()}" if request.GET else ""
        files = [(form.upper(), reverse(f"admin:{self.list_name}_file", args=[form]) + query) for form in FORMS]
        more = (tool(request, self) for tool in TOOLS)
        return {"files": files, "request": request} | {name: value for tool in more for name, value in tool.items()}

    def list_file(self, request: HttpRequest, form: str) -> HttpResponseBase:
        if form not in FORMS:
            raise Http404
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        request.GET = request.GET.copy()
        request.GET.pop(PAGE_VAR, None)
        try:
            cl = self.get_changelist_instance(request)
        except (IncorrectLookupParameters, DataError, ValueError) as error:
            raise BadRequest(
                _("A filter in this address is unknown, or you may not use it. Go back to the list and export again.")
            ) from error
        if form == "xlsx" and (reason := too_many(cl.result_count)):
            messages.error(request, reason)
            changelist = reverse(f"admin:{self.list_name}_changelist")
            return HttpResponseRedirect(f"{changelist}?{request.GET.urlencode()}")
        columns = list(columns_of(cl.list_display, self))
        rows = ([value(row) for _heading, value in columns] for row in cl.queryset.iterator(CHUNK))
        about = head(question(cl, request), request.user.get_username(), cl.result_count)
        header = [heading for heading, _value in columns]
        return as_file(form, self.opts.model_name, header, rows, [*about, *self.file_notes(request)])
