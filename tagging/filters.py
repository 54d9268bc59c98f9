from __future__ import annotations

import django_filters

from api.filters import FilterSet, KnownFilter, moments
from instances.models import Instance

from .models import Tag, TagOperation


class TagFilters(FilterSet):
    instance = KnownFilter(field_name="instances", queryset=Instance.objects.all())

    class Meta:
        model = Tag
        fields = ["slug", "category", "active"]


class TagOperationFilters(FilterSet):
    requested_by = django_filters.CharFilter(field_name="requested_by__username")
    since, until = moments("created_at")

    class Meta:
        model = TagOperation
        fields = ["action"]
