from __future__ import annotations

import django_filters
from django.db.models import F, QuerySet

from capacity.models import Database
from instances.adapters import ENGINE_CHOICES
from instances.filters import KnownFilter, YesNoFilter
from instances.models import Instance
from tagging.models import Tag

from .models import PERIODS, DatabaseAggregate, InstanceAggregate, InstanceLimit
from .periods import Period

#: F3.4: an unknown name is an error that lists the valid ones.
UNKNOWN_PERIOD = {"invalid_choice": f"There is no period “%(value)s”: {', '.join(Period)}."}


class _Aggregates(django_filters.FilterSet):
    period = django_filters.ChoiceFilter(choices=PERIODS, error_messages=UNKNOWN_PERIOD)
    start = django_filters.DateFilter()
    since = django_filters.DateFilter(field_name="start", lookup_expr="gte")
    until = django_filters.DateFilter(field_name="end", lookup_expr="lte")
    whole = YesNoFilter(method="is_whole", label="A size for every day that was to be expected.")
    min_change = django_filters.NumberFilter(field_name="change", lookup_expr="gte", label="Bytes.")

    def is_whole(self, queryset: QuerySet, name: str, value: bool) -> QuerySet:
        whole = {"days_collected__gte": F("days_expected")}
        return queryset.filter(**whole) if value else queryset.exclude(**whole)


class InstanceAggregateFilters(_Aggregates):
    instance = KnownFilter(queryset=Instance.objects.all())
    instance_name = KnownFilter(field_name="instance", queryset=Instance.objects.all(), to_field_name="name")
    tag = KnownFilter(field_name="instance__tags", queryset=Tag.objects.all(), to_field_name="slug")
    engine = django_filters.ChoiceFilter(field_name="instance__engine", choices=ENGINE_CHOICES)

    class Meta:
        model = InstanceAggregate
        fields: list[str] = []


class DatabaseAggregateFilters(_Aggregates):
    database = KnownFilter(queryset=Database.objects.all())
    instance = KnownFilter(field_name="database__instance", queryset=Instance.objects.all())
    instance_name = KnownFilter(field_name="database__instance", queryset=Instance.objects.all(), to_field_name="name")
    tag = KnownFilter(field_name="database__instance__tags", queryset=Tag.objects.all(), to_field_name="slug")
    engine = django_filters.ChoiceFilter(field_name="database__instance__engine", choices=ENGINE_CHOICES)

    class Meta:
        model = DatabaseAggregate
        fields: list[str] = []


class InstanceLimitFilters(django_filters.FilterSet):
    instance = KnownFilter(queryset=Instance.objects.all())

    class Meta:
        model = InstanceLimit
        fields: list[str] = []
