from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet

from api.filters import NotNullFilter
from instances.filters import OfInstances

from .models import FLEET, KINDS, TARGETS, SizeLimit, Volume


def _of_kind(limits: QuerySet[SizeLimit], _path: str, kind: str) -> QuerySet[SizeLimit]:
    return limits.filter(**dict.fromkeys(TARGETS)) if kind == FLEET else limits.exclude(**{kind: None})


def _anywhere(limits: QuerySet[SizeLimit], path: str, value: object) -> QuerySet[SizeLimit]:
    """Limits of the instance at the path, of its databases and of its tablespaces. One of the joins finds a row."""
    paths = (path, f"database__{path}", f"tablespace__{path}")
    return limits.filter(Q(*((path, value) for path in paths), _connector=Q.OR))


class SizeLimitFilters(OfInstances):
    kind = django_filters.ChoiceFilter(choices=KINDS, method=_of_kind)

    class Meta:
        model = SizeLimit
        fields: list[str] = []

    @classmethod
    def get_filters(cls) -> dict[str, django_filters.Filter]:
        filters = super().get_filters()
        for name in ("instance", "instance_name", "tag", "engine"):
            filters[name].method = _anywhere
        return filters


class VolumeFilters(OfInstances):
    path = "instances"
    measured = NotNullFilter(field_name="read_at")

    class Meta:
        model = Volume
        fields = ["name"]

    def filter_queryset(self, queryset: QuerySet[Volume]) -> QuerySet[Volume]:
        # Several instances of a volume may have the tag, or the engine.
        return super().filter_queryset(queryset).distinct()
