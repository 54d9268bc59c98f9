from __future__ import annotations

import django_filters

from api.filters import NotNullFilter, YesNoFilter
from instances.filters import FilterFilters, OfInstances

from .models import Database, DatabaseFilter, DatabaseSize, InstanceSize, Tablespace, TablespaceSize


class DatabaseFilters(OfInstances):
    gone = NotNullFilter(field_name="gone_at")
    filtered = YesNoFilter(field_name="is_filtered")
    system = YesNoFilter(field_name="is_system")
    min_size = django_filters.NumberFilter(field_name="size", lookup_expr="gte", label="Bytes.")
    measured_before = django_filters.DateFilter(field_name="size_day", lookup_expr="lt")

    class Meta:
        model = Database
        fields = ["name"]


class _Days(OfInstances):
    since = django_filters.DateFilter(field_name="day", lookup_expr="gte")
    until = django_filters.DateFilter(field_name="day", lookup_expr="lte")


class DatabaseSizeFilters(_Days):
    path = "database__instance"

    class Meta:
        model = DatabaseSize
        fields = ["day", "database"]


class InstanceSizeFilters(_Days):
    complete = YesNoFilter(field_name="is_complete")

    class Meta:
        model = InstanceSize
        fields = ["day"]


class TablespaceFilters(OfInstances):
    gone = NotNullFilter(field_name="gone_at")

    class Meta:
        model = Tablespace
        fields = ["name", "database", "kind"]


class TablespaceSizeFilters(_Days):
    path = "tablespace__instance"

    class Meta:
        model = TablespaceSize
        fields = ["day", "tablespace"]


class DatabaseFilterFilters(FilterFilters):
    class Meta(FilterFilters.Meta):
        model = DatabaseFilter
