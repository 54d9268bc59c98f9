"""Base classes of viewsets. All of them show only the rows that the user may see."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.db.models import Model, QuerySet
from django.shortcuts import get_object_or_404
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ModelViewSet, ReadOnlyModelViewSet

from console.visibility import ShownRowsOfAPI, shown_to


class EditViewSet(ShownRowsOfAPI, ModelViewSet):
    pass


class ReadViewSet(ShownRowsOfAPI, ReadOnlyModelViewSet):
    pass


class ListViewSet(ShownRowsOfAPI, ListModelMixin, GenericViewSet):
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

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        _ = self.parent
        return super().list(request, *args, **kwargs)


class ComputedViewSet(ShownRowsOfAPI, GenericViewSet):
    """Rows that `list()` computes from the parameters. `queryset` only names the model whose permissions apply."""

    filter_backends: list[type] = []

    def page(self, rows: Sequence[Any], **more: Any) -> Response:
        """One page of the rows, with `more` beside them."""
        answer = self.get_paginated_response(self.get_serializer(self.paginate_queryset(rows), many=True).data)
        answer.data |= more
        return answer
