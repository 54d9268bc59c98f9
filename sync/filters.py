from __future__ import annotations

import django_filters

from api.filters import FilterSet, NotNullFilter, moments
from instances.filters import OfInstances

from .models import SyncRecord, SyncSession, VisitHealth
from .registry import KINDS


def kinds() -> list[tuple[str, str]]:
    return [(kind.name, kind.label) for kind in KINDS.values()]


class SyncSessionFilters(FilterSet):
    kind = django_filters.ChoiceFilter(choices=kinds)
    requested_by = django_filters.CharFilter(field_name="requested_by__username")
    since, until = moments("created_at")

    class Meta:
        model = SyncSession
        fields = ["status", "trigger", "retry_of"]


class RecordsOfSessionFilters(OfInstances):
    held = NotNullFilter(field_name="held_count")

    class Meta:
        model = SyncRecord
        fields = ["status", "error_code"]


class SyncRecordFilters(RecordsOfSessionFilters):
    kind = django_filters.ChoiceFilter(choices=kinds)

    class Meta(RecordsOfSessionFilters.Meta):
        fields = [*RecordsOfSessionFilters.Meta.fields, "session"]


class VisitHealthFilters(OfInstances):
    kind = django_filters.ChoiceFilter(choices=kinds)
    paused = NotNullFilter(field_name="paused_at")

    class Meta:
        model = VisitHealth
        fields: list[str] = []
