"""Which limits and volumes limited users see: those that only concern instances they may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q, QuerySet

from console.visibility import limit_of

from .models import FLEET, Volume

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def shown_limits(ids: QuerySet) -> Q:
    """Condition for limits. The limit of a tag or of the fleet would show a total with hidden instances in it."""
    return Q(instance__in=ids) | Q(database__instance__in=ids) | Q(tablespace__instance__in=ids)


def may_limit(kind: str, user: User | None) -> bool:
    """Whether the user may limit something of this kind: as they may see its limit."""
    return kind not in ("tag", FLEET) or limit_of(user) is None


def shown_volumes(ids: QuerySet) -> Q:
    """Condition for volumes: those with instances, none of them hidden."""
    members = Volume.instances.through.objects.filter(volume=OuterRef("pk"))
    return Exists(members) & ~Exists(members.exclude(instance__in=ids))


def shown_projections(ids: QuerySet) -> Q:
    """Condition for projections: of what lies in an instance, and of volumes. Totals may have hidden instances."""
    return Q(instance__in=ids) | Q(kind="volume", target__in=Volume.objects.filter(shown_volumes(ids)).values("pk"))
