from __future__ import annotations

import django_filters

from api.filters import KnownFilter, MomentFilter, YesNoFilter
from instances.models import Instance

from .models import Tag, TagOperation


class TagFilters(django_filters.FilterSet):
    slug = django_filters.CharFilter()
    category = django_filters.CharFilter()
    active = YesNoFilter()
    instance = KnownFilter(field_name="instances", queryset=Instance.objects.all())

    class Meta:
        model = Tag
        fields: list[str] = []


class TagOperationFilters(django_filters.FilterSet):
    action = django_filters.ChoiceFilter(choices=TagOperation.Action.choices)
    requested_by = django_filters.CharFilter(field_name="requested_by__username")
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = TagOperation
        fields: list[str] = []
