"""Columns of lists and fields of read-only pages, formatted by the type of the model's field."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from django.contrib.admin.utils import NotRelationField, get_fields_from_path
from django.core.exceptions import FieldDoesNotExist
from django.db.models import BooleanField, Field, ForeignKey, Model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext
from unfold.admin import ModelAdmin

from .display import badge, duration, labels, moment, page_url, row_url, size
from .fields import BytesField, NameField
from .templatetags.names import visible


def list_url(model: str, **query: Any) -> str:
    """The address of the list of a model, such as "instances_instance", with these filters."""
    url = page_url(f"admin:{model}_changelist")
    return f"{url}?{urlencode(query)}" if query else url


def value_at(row: Model, path: str) -> Any:
    """The value at a path such as "account__instance"; None where a part of it is missing."""
    return reduce(lambda at, name: None if at is None else getattr(at, name), path.split("__"), row)


def text_of(value: Any, field: Field | None) -> Any:
    """A value as pages show it. Django formats what is left, numbers for example."""
    if named := labels(field):
        return named.get(value, value)
    if isinstance(field, NameField):
        return visible(value)
    if isinstance(field, BytesField):
        return size(value)
    match value:
        case bool():
            return gettext("yes") if value else gettext("no")
        case datetime():
            return moment(value)
        case timedelta():
            return duration(value)
        case Model():
            return visible(str(value)) if any(isinstance(f, NameField) for f in value._meta.fields) else str(value)
    return value


@dataclass(frozen=True)
class Column:
    """A field, property or annotation of a row, by its path ("account__instance"); for `list_display` and `fields`.

    `show(value)` formats the value, `tone(value)` names the colour of a badge around it, `link(row)` returns an
    address, and `empty` stands for None and "". A list is sorted by `ordering`, by default the path; None turns that
    off. `ColumnAdmin` sets the model's `field`, and `opens_row` where a foreign key becomes a link; a path to its
    column ("session_id") links without reading the row.
    """

    path: str
    heading: Any = ""
    show: Callable[[Any], Any] | None = None
    tone: Callable[[Any], str | None] | None = None
    link: Callable[[Any], str] | None = None
    empty: Any = ""
    ordering: str | None = ""
    #: Columns that stand for it in files, if it is not its value.
    in_files: tuple[Any, ...] | None = None
    field: Field | None = None
    opens_row: bool = False

    @property
    def __name__(self) -> str:
        return self.path.rpartition("__")[2]

    @property
    def short_description(self) -> Any:
        return self.heading or getattr(self.field, "verbose_name", self.__name__)

    @property
    def admin_order_field(self) -> str | None:
        return self.path if self.ordering == "" else self.ordering

    def __call__(self, row: Model) -> Any:
        value = value_at(row, self.path)
        if value is None and hasattr(row, "is_unread") and row.is_unread(self.path):
            return gettext("unknown")
        if value is None or (value == "" and (self.empty or not isinstance(self.field, NameField))):
            return self.empty or "–"
        text = self.show(value) if self.show else text_of(value, self.field)
        if self.tone and (tone := self.tone(value)):
            text = badge(tone, text)
        if self.link:
            url = self.link(row)
        elif self.opens_row:
            url = row_url(self.field.related_model, getattr(value, "pk", value))
        else:
            return text
        return format_html('<a class="tf-link" href="{}">{}</a>', url, text)


def column_name(item: Any) -> str:
    """The name of an item of `list_display`, as saved views hold it."""
    return item if isinstance(item, str) else item.__name__


#: Returns the names of the columns that the user has chosen for the list of a model ("app_model"), or none for all of
#: them. The app that stores the choices adds its function in `AppConfig.ready`.
CHOSEN: list[Callable[[HttpRequest, str], Collection[str]]] = []


class ColumnAdmin(ModelAdmin):
    """Formats the fields that lists and read-only pages name; foreign keys link to rows that the user may view."""

    empty_value_display = "–"
    list_per_page = 50
    #: The columns that lists show on phones besides the first; all of them if empty.
    list_on_phones: tuple[str, ...] = ()

    def column(self, item: Any, request: HttpRequest, *, links: bool = True) -> Any:
        """`item` of `list_display` or `fields`, as a `Column` unless Django formats it the same."""
        if isinstance(item, tuple | list):
            return [self.column(part, request, links=links) for part in item]
        if not isinstance(item, str | Column):
            return item
        try:
            field = get_fields_from_path(self.model, getattr(item, "path", item))[-1]
        except (FieldDoesNotExist, NotRelationField):
            return item
        if isinstance(item, str):
            if not isinstance(field, NameField | BytesField | ForeignKey | BooleanField):
                return item
            if isinstance(field, BooleanField) and not field.null:
                return item
            item = Column(item)
        return replace(item, field=field, opens_row=links and self.may_open(field, request))

    def may_open(self, field: Field, request: HttpRequest) -> bool:
        pages = self.admin_site._registry.get(field.related_model) if isinstance(field, ForeignKey) else None
        return pages is not None and pages.has_view_permission(request)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = super().get_list_display(request)
        # The first links to the row's own page.
        own = columns[:1] if self.list_display_links is not None else []
        return [self.column(item, request, links=item not in own) for item in columns]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        return [(name, options | {"fields": self.column(options["fields"], request)}) for name, options in fieldsets]
