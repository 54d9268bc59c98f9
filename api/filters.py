"""Filters, parameters and bodies of endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.db import models
from django.db.models import QuerySet
from django.utils.choices import CallableChoiceIterator
from django_filters.filterset import remote_queryset
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from console.suggestions import nearest
from console.visibility import shown_to
from engines.registry import engine_choices, engine_named


def check_parameters(request: Request, valid: Iterable[str], repeatable: Iterable[str] = ()) -> None:
    """Raise ValidationError for a query parameter that is unknown, empty, or given twice without being `repeatable`."""
    valid = {*valid, "page", "page_size", "format"}
    errors = {}
    for name, values in request.query_params.lists():
        if name not in valid:
            errors[name] = [f"Unknown parameter. Valid are: {', '.join(sorted(valid))}."]
        elif len(values) > 1 and name not in repeatable:
            errors[name] = ["Given more than once."]
        elif not all(value.strip() for value in values):
            errors[name] = ["Empty. Leave the parameter out, or give it a value."]
    if errors:
        raise ValidationError(errors)


def read_query(request: Request, serializer_class: type[Serializer], repeatable: Iterable[str] = ()) -> dict[str, Any]:
    """Validate the query parameters by a serializer. Raises ValidationError, also for unknown parameters."""
    check_parameters(request, serializer_class().fields, repeatable)
    return _validated(request, request.query_params, serializer_class)


def read_body(request: Request, serializer_class: type[Serializer]) -> dict[str, Any]:
    """Validate the body by a serializer. Raises ValidationError."""
    return _validated(request, request.data, serializer_class)


def _validated(request: Request, data: Any, serializer_class: type[Serializer]) -> dict[str, Any]:
    serializer = serializer_class(data=data, context={"request": request})
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


class YesNoField(forms.NullBooleanField):
    """Unlike its parent, it refuses a value that is neither true nor false."""

    widget = forms.TextInput
    words = {"true": True, "1": True, "false": False, "0": False}

    def to_python(self, value: Any) -> bool | None:
        if not value:
            return None
        if value.lower() not in self.words:
            raise forms.ValidationError("Say true or false.")
        return self.words[value.lower()]


class YesNoFilter(django_filters.BooleanFilter):
    field_class = YesNoField


class NotNullFilter(YesNoFilter):
    """True for rows where the field has a value; with `exclude`, where it has none."""

    def filter(self, queryset: QuerySet, value: bool | None) -> QuerySet:
        return queryset if value is None else queryset.filter(**{f"{self.field_name}__isnull": value == self.exclude})


class MomentField(django_filters.fields.IsoDateTimeField):
    def clean(self, value: Any) -> datetime | None:
        """The time in UTC: ISO 8601 allows offsets of 16 hours and more, PostgreSQL does not."""
        moment = super().clean(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError("Enter a valid date/time.") from None


class MomentFilter(django_filters.IsoDateTimeFilter):
    field_class = MomentField


def moments(field_name: str) -> tuple[MomentFilter, MomentFilter]:
    """The filters `since` (included) and `until` (excluded)."""
    return (
        MomentFilter(field_name=field_name, lookup_expr="gte"),
        MomentFilter(field_name=field_name, lookup_expr="lt"),
    )


class KnownField(django_filters.fields.ModelChoiceField):
    """The error for an unknown name suggests one of those that the user may see."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except forms.ValidationError as error:
            if not self.to_field_name or error.code != "invalid_choice":
                raise
            known = self.queryset.order_by().values_list(self.to_field_name, flat=True)
            text = " ".join(error.messages) + nearest(str(value), known)
            # As a parameter: django-filter formats messages, and a name may contain "%".
            raise forms.ValidationError("%(text)s", code=error.code, params={"text": text}) from None


class KnownFilter(django_filters.ModelChoiceFilter):
    """A related row by id, or by `to_field_name`. One that does not exist, or that the user may not see, is an error,
    not an empty list."""

    field_class = KnownField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        what = f"{kwargs['queryset'].model._meta.verbose_name} “%(value)s”"
        super().__init__(*args, error_messages={"invalid_choice": f"There is no {what}."}, **kwargs)

    def get_queryset(self, request: Request | None) -> QuerySet:
        return shown_to(super().get_queryset(request), request.user if request else None)


class EngineField(django_filters.fields.ChoiceField):
    def clean(self, value: Any) -> Any:
        return super().clean(engine_named(value) if value else value)


class EngineFilter(django_filters.ChoiceFilter):
    """Rows by the key of an engine, or by another name of it: postgres, mariadb."""

    field_class = EngineField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, choices=CallableChoiceIterator(engine_choices), **kwargs)


class FilterSet(django_filters.FilterSet):
    """A filter set that makes the filters of `Meta.fields` as strict as those above."""

    FILTER_DEFAULTS = django_filters.FilterSet.FILTER_DEFAULTS | {
        models.BooleanField: {"filter_class": YesNoFilter},
        models.ForeignKey: {"filter_class": KnownFilter, "extra": lambda field: {"queryset": remote_queryset(field)}},
    }
