"""Query parameters that are never ignored silently: ignoring a filter would answer another question."""

from __future__ import annotations

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.filters import OrderingFilter
from rest_framework.request import Request
from rest_framework.views import APIView

from .filters import check_parameters


class StrictFilters(DjangoFilterBackend):
    """django-filter's backend; a parameter that is unknown, empty or given twice answers 400, naming the valid ones.

    A viewset's `parameters` names those that it reads itself.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet, view: APIView) -> QuerySet:
        filterset_class = self.get_filterset_class(view, queryset)
        valid = {
            *(filterset_class.base_filters if filterset_class else ()),
            *getattr(view, "parameters", ()),
            "ordering",
        }
        if getattr(view, "search_fields", None):
            valid.add("search")
        check_parameters(request, valid)
        return super().filter_queryset(request, queryset, view)


class StrictOrdering(OrderingFilter):
    """Ordering by known fields only, and always total, so that pages neither repeat nor miss a row."""

    def remove_invalid_fields(
        self, queryset: QuerySet, fields: list[str], view: APIView, request: Request
    ) -> list[str]:
        valid = {name for name, _ in self.get_valid_fields(queryset, view, {"request": request})}
        for field in fields:
            if field.removeprefix("-") not in valid:
                raise ValidationError(
                    {"ordering": [f"Cannot order by {field!r}. Valid are: {', '.join(sorted(valid))}."]}
                )
        return [*fields, "pk"]
