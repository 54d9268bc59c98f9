from __future__ import annotations

from instances.filters import OfInstances

from .models import SizeLimit


class SizeLimitFilters(OfInstances):
    class Meta:
        model = SizeLimit
        fields: list[str] = []
