from __future__ import annotations

import django_filters
from django.db.models import F, QuerySet

from api.filters import KnownFilter, YesNoFilter
from capacity.models import Database
from instances.filters import OfInstances

from .models import PERIODS, DatabaseAggregate, InstanceAggregate, InstanceLimit
from .periods import Period

#: F3.4: an unknown name is an error that lists the valid ones.
UNKNOWN_PERIOD = {"invalid_choice": f"There is no period “%(value)s”: {', '.join(Period)}."}


class _Aggregates(OfInstances):
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
    class Meta:
        model = InstanceAggregate
        fields: list[str] = []


class DatabaseAggregateFilters(_Aggregates):
    path = "database__instance"
    database = KnownFilter(queryset=Database.objects.all())

    class Meta:
        model = DatabaseAggregate
        fields: list[str] = []


class InstanceLimitFilters(OfInstances):
    class Meta:
        model = InstanceLimit
        fields: list[str] = []
