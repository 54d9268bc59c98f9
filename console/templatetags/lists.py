"""The table of an admin list.

unfold computes the headers and renders the template of a checkbox for each row anew, and writes 400 bytes of classes
into each cell. Here both are made once for a page, and the style sheet names the cells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from django import template
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import lookup_field
from django.contrib.admin.views.main import ChangeList
from django.db.models import DateField, ForeignKey, IntegerField, Model, TimeField
from django.template.loader import render_to_string
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from unfold.admin import checkbox
from unfold.templatetags.unfold_list import result_headers, result_list
from unfold.utils import display_for_field, display_for_value

from ..display import labels, moment, row_url

register = template.Library()

#: A number with a link.
_LINKED_NUMBER = re.compile(r"<a [^>]*>[\d.,\s]+</a>")
LINK = "text-font-important-light dark:text-font-important-dark"


@register.simple_tag(takes_context=True)
def list_table(context: template.Context, cl: ChangeList) -> SafeString:
    """The rows of a list. Pop-ups, which hand a row to another window, are unfold's."""
    if cl.is_popup:
        return render_to_string("admin/change_list_results.html", result_list(context.flatten(), cl))
    headers = list(result_headers(cl))
    found = table(cl, headers)
    with_box = len(headers) - len([item for item in cl.list_display if item != "action_checkbox"])
    for number in found.numbers:
        headers[with_box + number]["class_attrib"] = format_html(
            "{} tf-right", headers[with_box + number]["class_attrib"]
        )
    parts = {
        "cl": cl,
        "result_headers": headers,
        "results": found.rows,
        "num_sorted_fields": sum(bool(header["sortable"] and header["sorted"]) for header in headers),
        "has_add_permission": cl.model_admin.has_add_permission(context["request"]),
    }
    return render_to_string("taifish/list.html", parts, context["request"])


@register.inclusion_tag("taifish/list_tools.html", takes_context=True)
def list_tools(context: template.Context, cl: ChangeList) -> dict[str, Any]:
    """The links above a list."""
    return cl.model_admin.list_tools(context["request"]) if hasattr(cl.model_admin, "list_tools") else {}


@dataclass
class Table:
    """The cells of each row, as HTML; `numbers` are the columns with nothing but numbers, which stand at the right."""

    rows: list[SafeString]
    numbers: set[int]


def table(cl: ChangeList, headers: list[dict[str, Any]]) -> Table:
    box = checkbox.render(ACTION_CHECKBOX_NAME, "0")
    select = _("Select record")
    titles = [conditional_escape(header["text"]) for header in headers]
    links = cl.list_display_links or ()
    kept = add_preserved_filters({"preserved_filters": cl.preserved_filters, "opts": cl.opts}, "")
    on_phones = getattr(cl.model_admin, "list_on_phones", ())
    empty = cl.model_admin.get_empty_value_display()
    items = [item for item in cl.list_display if item != "action_checkbox"]
    lines = [[cell(cl, row, item, empty) for item in items] for row in cl.result_list]
    numbers = {
        number
        for number, column in enumerate(zip(*lines, strict=True))
        if any(is_number(shown) for shown, *_ in column)
        and all(is_number(shown) or is_empty(shown) for shown, *_ in column)
    }
    made = []
    for row, line in zip(cl.result_list, lines, strict=True):
        cells, heading, place = [], True, -1
        for item, title in zip(cl.list_display, titles, strict=True):
            if item == "action_checkbox":
                selected = box.replace('value="0"', f'value="{row.pk}"')
                cells.append(f'<td class="action-checkbox" data-label="{select}">{selected}</td>')
                continue
            place += 1
            shown, name, more = line[place]
            tag = "td"
            if place in numbers:
                more += " tf-right"
            if on_phones and place and name not in on_phones:
                more += " tf-secondary"
            # A column without a heading has buttons, or nothing.
            shown = "–" if title and is_empty(shown) else shown
            if item in links:
                shown = format_html('<a href="{}{}" class="{}">{}</a>', row_url(cl.model, row.pk), kept, LINK, shown)
                tag, heading = "th" if heading else "td", False
            cells.append(f'<{tag} class="field-{name}{more}" data-label="{title}">{conditional_escape(shown)}</{tag}>')
        made.append(SafeString("".join(cells)))
    return Table(made, numbers)


def is_number(shown: Any) -> bool:
    if isinstance(shown, SafeString):
        return 'class="tf-number' in shown or bool(_LINKED_NUMBER.fullmatch(shown))
    return isinstance(shown, int | float | Decimal) and not isinstance(shown, bool)


def is_empty(shown: Any) -> bool:
    return shown is None or shown in ("", "–")


def cell(cl: ChangeList, row: Model, item: Any, empty: str) -> tuple[Any, str, str]:
    """What a row shows in a column, the column's name, and further classes of the cell."""
    field, attribute, value = (None, item, item(row)) if callable(item) else lookup_field(item, row, cl.model_admin)
    empty = getattr(attribute, "empty_value_display", empty)
    name = item if isinstance(item, str) else getattr(item, "__name__", "")
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and field is None:
        return value, name, ""
    if field is None or field.auto_created:
        shown = display_for_value(value, empty, getattr(attribute, "boolean", False))
        return shown, name, " nowrap" if isinstance(value, date | time) else ""
    if isinstance(field, ForeignKey):
        related = getattr(row, field.name)
        return empty if related is None else related, name, " nowrap"
    if named := labels(field):
        return named.get(value, empty), name, ""
    if isinstance(field, IntegerField) and value is not None:
        return value, name, ""
    if isinstance(value, datetime):
        return moment(value), name, " nowrap"
    return display_for_field(value, field, empty), name, " nowrap" if isinstance(field, DateField | TimeField) else ""


@register.filter
def pairs(values: dict[str, Any]) -> Any:
    """The keys and values, also of a dict with the key "items"."""
    return values.items()
