"""Which limits and volumes limited users see: those that only concern instances they may see."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet

from .models import Volume


def shown_limits(ids: QuerySet) -> Q:
    """Condition for limits. The limit of a tag or of the fleet would show a total with hidden instances in it."""
    return Q(instance__in=ids) | Q(database__instance__in=ids)


def shown_volumes(ids: QuerySet) -> Q:
    """Condition for volumes: those with instances, none of them hidden."""
    members = Volume.instances.through.objects.filter(volume=OuterRef("pk"))
    return Exists(members) & ~Exists(members.exclude(instance__in=ids))


def shown_projections(ids: QuerySet) -> Q:
    """Condition for projections: of what lies in an instance, and of volumes. Totals may have hidden instances."""
    return Q(instance__in=ids) | Q(kind="volume", target__in=Volume.objects.filter(shown_volumes(ids)).values("pk"))
