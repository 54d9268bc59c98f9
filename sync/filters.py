from __future__ import annotations

import django_filters

from api.filters import KnownFilter, MomentFilter, NotNullFilter
from instances.filters import OfInstances

from .models import SyncRecord, SyncSession, VisitHealth
from .registry import KINDS


def kinds() -> list[tuple[str, str]]:
    return [(kind.name, kind.label) for kind in KINDS.values()]


class SyncSessionFilters(django_filters.FilterSet):
    kind = django_filters.ChoiceFilter(choices=kinds)
    status = django_filters.ChoiceFilter(choices=SyncSession.Status.choices)
    trigger = django_filters.ChoiceFilter(choices=SyncSession.Trigger.choices)
    requested_by = django_filters.CharFilter(field_name="requested_by__username")
    retry_of = KnownFilter(queryset=SyncSession.objects.all())
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = SyncSession
        fields: list[str] = []


class RecordsOfSessionFilters(OfInstances):
    status = django_filters.ChoiceFilter(choices=SyncRecord.Status.choices)
    error_code = django_filters.CharFilter()
    held = NotNullFilter(field_name="held_count")

    class Meta:
        model = SyncRecord
        fields: list[str] = []


class SyncRecordFilters(RecordsOfSessionFilters):
    session = KnownFilter(queryset=SyncSession.objects.all())
    kind = django_filters.ChoiceFilter(choices=kinds)


class VisitHealthFilters(OfInstances):
    kind = django_filters.ChoiceFilter(choices=kinds)
    paused = NotNullFilter(field_name="paused_at")

    class Meta:
        model = VisitHealth
        fields: list[str] = []
