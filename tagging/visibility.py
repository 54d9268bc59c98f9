"""Limits to tags: whom they concern, and what a limited person may not do.

A limit is a person's own or one of their groups'. Several add up: whoever is limited at all sees the instances that
carry at least one of the tags of all their limits.
"""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.db.models import BooleanField, Exists, F, Func, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest

from console.visibility import limit_of
from instances.models import Instance

from .models import InstanceTag, Tag, TagLimit

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: What nobody does who is limited, whatever their roles: it concerns the whole fleet, hidden instances too, and cannot
#: be split. A new instance would carry none of their tags, and be hidden from the one who made it.
OF_THE_FLEET = [
    "instances.add_instance",
    *(
        f"{app}.{verb}_{model}"
        for verb in ("add", "change", "delete")
        for app, model in (
            ("instances", "credential"),
            ("tagging", "tag"),
            ("accounts", "accountfilter"),
            ("capacity", "databasefilter"),
            ("classification", "classification"),
            ("classification", "classificationrule"),
            ("alerts", "alertrule"),
            ("alerts", "channel"),
            ("django_celery_beat", "*"),
        )
    ),
    # One message tells of many instances.
    "alerts.*_delivery",
    # Who can edit people could lift a limit.
    "auth.*",
    "axes.*",
]


class LimitBackend:
    """Takes from limited people the permissions that concern the whole fleet. It stands before the backend that gives
    permissions; nobody logs in by it."""

    def authenticate(self, request: HttpRequest) -> None:
        return None

    def has_perm(self, user: User, perm: str, obj: Any = None) -> bool:
        if any(fnmatch(perm, pattern) for pattern in OF_THE_FLEET) and limit_of(user) is not None:
            raise PermissionDenied
        return False


def limit_by_tags(user: User) -> QuerySet | None:
    """The ids of the instances with one of the tags that the person is limited to. One query."""
    limits = TagLimit.objects.filter(Q(user=user.pk) | Q(group__user=user.pk))
    tags = list(limits.order_by().values_list("tag", flat=True).distinct())
    return InstanceTag.objects.filter(tag__in=tags).order_by().values("instance") if tags else None


def givable(tags: QuerySet[Tag], user: User | None) -> QuerySet[Tag]:
    """Those of the tags that the person may give and take. Who is limited leaves alone every tag that limits anybody:
    what people see is for superusers to say, and for those whom they did not limit."""
    return tags if limit_of(user) is None else tags.exclude(pk__in=TagLimit.objects.values("tag"))


class _Covers(Func):
    """Whether one of the instances of a query is among those of an operation."""

    template = "EXISTS (SELECT 1 FROM jsonb_path_query(%(expressions)s)"
    arg_joiner = ", '$.*[*].instances[*]') AS one WHERE one::bigint IN "
    output_field = BooleanField()


def shown_tags(ids: QuerySet) -> Q:
    """Those of the instances shown, and those that no instance carries."""
    carried = InstanceTag.objects.filter(tag=OuterRef("pk"))
    return Q(Exists(carried.filter(instance__in=ids))) | ~Q(Exists(carried))


def shown_operations(ids: QuerySet) -> Q:
    """Operations on shown instances only: neither a receipt nor its undo can be split."""
    hidden = Instance.objects.exclude(pk__in=ids).order_by().values("pk")
    return ~Q(_Covers(F("outcomes"), Subquery(hidden)))
