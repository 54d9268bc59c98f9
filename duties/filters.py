from __future__ import annotations

from api.filters import FilterSet

from .models import AcceptedConflict, DutyPair


class DutyPairFilters(FilterSet):
    class Meta:
        model = DutyPair
        fields = ["name", "active"]


class AcceptedConflictFilters(FilterSet):
    class Meta:
        model = AcceptedConflict
        fields = ["pair"]
