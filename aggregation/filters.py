from __future__ import annotations

import django_filters

from api.filters import YesNoFilter
from instances.filters import OfInstances

from .models import PERIODS, AggregateQuerySet, DatabaseAggregate, InstanceAggregate
from .periods import Period

#: F3.4: the error for an unknown name lists the valid ones.
UNKNOWN_PERIOD = {"invalid_choice": f"There is no period “%(value)s”: {', '.join(Period)}."}


class _Aggregates(OfInstances):
    period = django_filters.ChoiceFilter(choices=PERIODS, error_messages=UNKNOWN_PERIOD)
    since = django_filters.DateFilter(field_name="start", lookup_expr="gte")
    until = django_filters.DateFilter(field_name="end", lookup_expr="lte")
    whole = YesNoFilter(method="is_whole", label="A size for every day that was to be expected.")
    min_change = django_filters.NumberFilter(field_name="change", lookup_expr="gte", label="Bytes.")

    def is_whole(self, queryset: AggregateQuerySet, name: str, value: bool) -> AggregateQuerySet:
        return queryset.whole() if value else queryset.partial()


class InstanceAggregateFilters(_Aggregates):
    class Meta:
        model = InstanceAggregate
        fields = ["start"]


class DatabaseAggregateFilters(_Aggregates):
    path = "database__instance"

    class Meta:
        model = DatabaseAggregate
        fields = ["start", "database"]
