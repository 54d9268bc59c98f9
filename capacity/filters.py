from __future__ import annotations

import django_filters

from instances.adapters import ENGINE_CHOICES
from instances.filters import FilterFilters, KnownFilter, NotNullFilter, YesNoFilter
from instances.models import Instance
from tagging.models import Tag

from .models import Database, DatabaseFilter, DatabaseSize, InstanceSize


class DatabaseFilters(django_filters.FilterSet):
    instance = KnownFilter(queryset=Instance.objects.all())
    instance_name = KnownFilter(field_name="instance", queryset=Instance.objects.all(), to_field_name="name")
    tag = KnownFilter(field_name="instance__tags", queryset=Tag.objects.all(), to_field_name="slug")
    engine = django_filters.ChoiceFilter(field_name="instance__engine", choices=ENGINE_CHOICES)
    name = django_filters.CharFilter()
    gone = NotNullFilter(field_name="gone_at")
    filtered = YesNoFilter(field_name="is_filtered")
    system = YesNoFilter(field_name="is_system")
    min_size = django_filters.NumberFilter(field_name="size", lookup_expr="gte", label="Bytes.")
    measured_before = django_filters.DateFilter(field_name="size_day", lookup_expr="lt")

    class Meta:
        model = Database
        fields: list[str] = []


class _Days(django_filters.FilterSet):
    day = django_filters.DateFilter()
    since = django_filters.DateFilter(field_name="day", lookup_expr="gte")
    until = django_filters.DateFilter(field_name="day", lookup_expr="lte")


class DatabaseSizeFilters(_Days):
    database = KnownFilter(queryset=Database.objects.all())
    instance = KnownFilter(field_name="database__instance", queryset=Instance.objects.all())

    class Meta:
        model = DatabaseSize
        fields: list[str] = []


class InstanceSizeFilters(_Days):
    instance = KnownFilter(queryset=Instance.objects.all())
    instance_name = KnownFilter(field_name="instance", queryset=Instance.objects.all(), to_field_name="name")
    tag = KnownFilter(field_name="instance__tags", queryset=Tag.objects.all(), to_field_name="slug")
    complete = YesNoFilter(field_name="is_complete")

    class Meta:
        model = InstanceSize
        fields: list[str] = []


class DatabaseFilterFilters(FilterFilters):
    class Meta(FilterFilters.Meta):
        model = DatabaseFilter
