from __future__ import annotations

import django_filters
from django.db.models import QuerySet

from api.filters import EngineFilter, FilterSet, KnownFilter, NotNullFilter, YesNoFilter

from .models import Credential, Instance


class TagFilter(KnownFilter):
    """Rows by the slug of a tag. The model of tags belongs to an app above, which adds the field `tags`."""

    def __init__(self, field_name: str) -> None:
        tags = Instance._meta.get_field("tags").related_model
        super().__init__(field_name=field_name, queryset=tags._default_manager.all(), to_field_name="slug")


class OfInstances(FilterSet):
    """Base for the filters of rows of an instance, related by `path`: parameters that select instances."""

    path = "instance"

    @classmethod
    def get_filters(cls) -> dict[str, django_filters.Filter]:
        known = Instance.objects.all()
        return {
            "instance": KnownFilter(field_name=cls.path, queryset=known),
            "instance_name": KnownFilter(field_name=cls.path, queryset=known, to_field_name="name"),
            "tag": TagFilter(f"{cls.path}__tags"),
            "engine": EngineFilter(field_name=f"{cls.path}__engine"),
            **super().get_filters(),
        }


class CertificateFilter(YesNoFilter):
    """True selects instances with a certificate that a user must compare."""

    def filter(self, queryset: QuerySet, value: bool | None) -> QuerySet:
        if value is None:
            return queryset
        return queryset.to_compare() if value else queryset.exclude(pk__in=queryset.to_compare())


class InstanceFilters(FilterSet):
    engine = EngineFilter()
    retired = NotNullFilter(field_name="retired_at")
    to_compare = CertificateFilter()
    tag = TagFilter("tags")

    class Meta:
        model = Instance
        fields = ["name", "host", "credential", "proof"]


class CredentialFilters(FilterSet):
    class Meta:
        model = Credential
        fields = ["name", "username"]


class FilterFilters(FilterSet):
    """Base for the filters of one kind of row."""

    engine = EngineFilter()

    class Meta:
        fields = ["action", "instance", "active"]
