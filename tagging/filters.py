from __future__ import annotations

import django_filters

from instances.filters import KnownFilter, YesNoFilter
from instances.models import Instance

from .models import Tag


class TagFilters(django_filters.FilterSet):
    slug = django_filters.CharFilter()
    category = django_filters.CharFilter()
    active = YesNoFilter()
    instance = KnownFilter(field_name="instances", queryset=Instance.objects.all())

    class Meta:
        model = Tag
        fields: list[str] = []
