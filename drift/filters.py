from __future__ import annotations

from api.filters import FilterSet
from instances.filters import OfInstances

from .models import AcceptedDeviation, Baseline


class BaselineFilters(FilterSet):
    class Meta:
        model = Baseline
        fields = ["name", "active"]


class AcceptedDeviationFilters(OfInstances):
    class Meta:
        model = AcceptedDeviation
        fields = ["baseline", "key"]
