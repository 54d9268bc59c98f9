from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from engines.registry import engine_choices

from .hiding import Filter
from .models import Credential, Instance
from .visibility import shown_to


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


def asked(request: Request, question: type[Serializer], repeatable: Iterable[str] = ()) -> dict[str, Any]:
    """What the query asks, by the fields of a serializer. Raises ValidationError for whatever means nothing."""
    check_parameters(request, question().fields, repeatable)
    answers = question(data=request.query_params, context={"request": request})
    answers.is_valid(raise_exception=True)
    return answers.validated_data


class YesNoField(forms.NullBooleanField):
    """Unlike its parent, it refuses what it does not understand."""

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
        """In UTC: the store knows no offset of 16 hours or more, which ISO 8601 does."""
        moment = super().clean(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError("Enter a valid date/time.") from None


class MomentFilter(django_filters.IsoDateTimeFilter):
    field_class = MomentField


class KnownFilter(django_filters.ModelChoiceFilter):
    """A related row by id, or by `to_field_name`; one that is not there, or not shown to the person, is an error, not
    an empty list."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        what = f"{kwargs['queryset'].model._meta.verbose_name} “%(value)s”"
        super().__init__(*args, error_messages={"invalid_choice": f"There is no {what}."}, **kwargs)

    def get_queryset(self, request: Request | None) -> QuerySet:
        return shown_to(super().get_queryset(request), request.user if request else None)


class TagFilter(KnownFilter):
    """Rows by the slug of a tag. Tags live above, and are found where they are plugged in."""

    def __init__(self, field_name: str) -> None:
        tags = Instance._meta.get_field("tags").related_model
        super().__init__(field_name=field_name, queryset=tags._default_manager.all(), to_field_name="slug")


class OfInstances(django_filters.FilterSet):
    """Base for rows that belong to an instance by `path`: everywhere the same words choose by instance."""

    path = "instance"

    @classmethod
    def get_filters(cls) -> dict[str, django_filters.Filter]:
        known = Instance.objects.all()
        return {
            "instance": KnownFilter(field_name=cls.path, queryset=known),
            "instance_name": KnownFilter(field_name=cls.path, queryset=known, to_field_name="name"),
            "tag": TagFilter(f"{cls.path}__tags"),
            "engine": django_filters.ChoiceFilter(field_name=f"{cls.path}__engine", choices=engine_choices),
            **super().get_filters(),
        }


class CertificateFilter(YesNoFilter):
    """True for instances with a certificate that waits for a person."""

    def filter(self, queryset: QuerySet, value: bool | None) -> QuerySet:
        if value is None:
            return queryset
        return queryset.to_compare() if value else queryset.exclude(pk__in=queryset.to_compare())


class InstanceFilters(django_filters.FilterSet):
    name = django_filters.CharFilter()
    engine = django_filters.ChoiceFilter(choices=engine_choices)
    host = django_filters.CharFilter()
    credential = KnownFilter(queryset=Credential.objects.all())
    retired = NotNullFilter(field_name="retired_at")
    proof = django_filters.ChoiceFilter(choices=Instance.Proof.choices)
    to_compare = CertificateFilter()
    tag = TagFilter("tags")

    class Meta:
        model = Instance
        fields: list[str] = []


class CredentialFilters(django_filters.FilterSet):
    name = django_filters.CharFilter()
    username = django_filters.CharFilter()

    class Meta:
        model = Credential
        fields: list[str] = []


class FilterFilters(django_filters.FilterSet):
    """Base for the filters of one kind of row."""

    action = django_filters.ChoiceFilter(choices=Filter.Action.choices)
    engine = django_filters.ChoiceFilter(choices=engine_choices)
    instance = KnownFilter(queryset=Instance.objects.all())
    active = YesNoFilter()

    class Meta:
        fields: list[str] = []
