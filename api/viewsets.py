"""Base classes of viewsets. All of them show only the rows that the user may see."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder
from rest_framework.viewsets import GenericViewSet, ModelViewSet, ReadOnlyModelViewSet

from console.files import CHUNK, FORMS, Lines, as_file, head, machine, too_many
from console.visibility import ShownRowsOfAPI, shown_to
from console.xlsx import CONTENT_TYPE


class _AlwaysJSON(DefaultContentNegotiation):
    """For an action that reads the parameter `format` itself; what it refuses is JSON."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class FileOfList(ShownRowsOfAPI):
    """Adds `export/` to a list: all of its rows as a file."""

    def check_list(self) -> None:
        """Raise an error where there is no such list."""

    def file_notes(self) -> Lines:
        """Lines for the head of the file: what the list does not know."""
        return []

    @extend_schema(
        parameters=[OpenApiParameter("format", enum=FORMS, default="csv")],
        responses={(200, "text/csv"): OpenApiTypes.BINARY, (200, CONTENT_TYPE): OpenApiTypes.BINARY},
    )
    @action(detail=False, pagination_class=None, content_negotiation_class=_AlwaysJSON)
    def export(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """All rows that the filters choose, in their order, as CSV or XLSX. Lines with the question, its moment and who
        asked are above the rows, or on a sheet of their own; lists and objects in a cell are JSON."""
        form = request.query_params.get("format", FORMS[0])
        if form not in FORMS:
            raise ValidationError({"format": [f"Valid are: {', '.join(FORMS)}."]})
        if paged := [name for name in ("page", "page_size") if name in request.query_params]:
            raise ValidationError({name: ["A file has all rows."] for name in paged})
        self.check_list()
        rows = self.filter_queryset(self.get_queryset())
        count = rows.count()
        if form == "xlsx" and (reason := too_many(count)):
            raise ValidationError({"format": [reason]})
        names = str(rows.model._meta.verbose_name_plural)
        asked: Lines = [["list", names], *([name, value] for name, value in request.query_params.items())]
        about = [*head(asked, request.user.get_username(), count), *self.file_notes()]
        return as_file(form, rows.model._meta.model_name, self._columns(), self._cells(rows), about)

    def _columns(self) -> list[str]:
        return [name for name, field in self.get_serializer().fields.items() if not field.write_only]

    def _cells(self, rows: QuerySet) -> Iterator[list[Any]]:
        found = rows.iterator(CHUNK)
        while chunk := list(islice(found, CHUNK)):
            for row in self.get_serializer(chunk, many=True).data:
                yield [_cell(value) for value in row.values()]


def _cell(value: Any) -> Any:
    return json.dumps(value, cls=JSONEncoder) if isinstance(value, list | dict) else machine(value)


class EditViewSet(FileOfList, ModelViewSet):
    pass


class ReadViewSet(FileOfList, ReadOnlyModelViewSet):
    pass


class ListViewSet(FileOfList, ListModelMixin, GenericViewSet):
    """A list without pages for single rows."""


class ChildViewSet(ListViewSet):
    """The rows of the parent that the URL names. Answers 404 where the user does not see the parent."""

    parents: QuerySet
    #: Leads from a row to its parent.
    parent_field: str

    @cached_property
    def parent(self) -> Model:
        return get_object_or_404(shown_to(self.parents.all(), self.person), pk=self._parent_pk())

    def _parent_pk(self) -> str | None:
        """The one argument of the URL; None while the schema is made."""
        return next(iter(self.kwargs.values()), None)

    def get_queryset(self) -> QuerySet:
        # Not by `parent`: permissions are checked with this queryset, and 403 goes before 404.
        return super().get_queryset().filter(**{self.parent_field: self._parent_pk()})

    def check_list(self) -> None:
        """Answer 404 without the parent."""
        _ = self.parent

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.check_list()
        return super().list(request, *args, **kwargs)


class ComputedViewSet(ShownRowsOfAPI, GenericViewSet):
    """Rows that `list()` computes from the parameters. `queryset` only names the model whose permissions apply."""

    filter_backends: list[type] = []

    def page(self, rows: Sequence[Any], **more: Any) -> Response:
        """One page of the rows, with `more` beside them."""
        answer = self.get_paginated_response(self.get_serializer(self.paginate_queryset(rows), many=True).data)
        answer.data |= more
        return answer
