from __future__ import annotations

import django_filters
from django.db.models import QuerySet

from api.filters import KnownFilter, NotNullFilter, YesNoFilter
from engines.registry import engine_choices

from .hiding import Filter
from .models import Credential, Instance


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
