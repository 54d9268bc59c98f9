"""Tag limits: which instances limited users see, and which permissions they lack.

A limit belongs to a user or to one of the user's groups. Several limits add up: a limited user sees the instances with
at least one of the tags of all limits.
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

#: Permissions that limited users lack in every role: they concern the whole fleet, including hidden instances. A new
#: instance would have none of the user's tags, and so be hidden from the user who added it.
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
            ("planning", "volume"),
            ("classification", "classification"),
            ("classification", "classificationrule"),
            ("alerts", "alertrule"),
            ("alerts", "channel"),
            # The reference may be an instance that they do not see.
            ("drift", "baseline"),
            ("duties", "dutypair"),
            # A conflict may be larger than what they see.
            ("duties", "acceptedconflict"),
            ("django_celery_beat", "*"),
        )
    ),
    # The page of a deletion names the accounts of the person on all instances.
    "owners.delete_person",
    # One message covers many instances.
    "alerts.*_delivery",
    # A user who can edit users could lift a limit.
    "auth.*",
    "axes.*",
]


class LimitBackend:
    """Denies limited users the permissions that concern the whole fleet. It precedes the backend that grants
    permissions, and never authenticates."""

    def authenticate(self, request: HttpRequest) -> None:
        return None

    def has_perm(self, user: User, perm: str, obj: Any = None) -> bool:
        if any(fnmatch(perm, pattern) for pattern in OF_THE_FLEET) and limit_of(user) is not None:
            raise PermissionDenied
        return False


def limit_by_tags(user: User) -> QuerySet | None:
    """Return the ids of instances with one of the user's tags, as a query; None without a limit. Takes one query."""
    limits = TagLimit.objects.filter(Q(user=user.pk) | Q(group__user=user.pk))
    tags = list(limits.order_by().values_list("tag", flat=True).distinct())
    return InstanceTag.objects.filter(tag__in=tags).order_by().values("instance") if tags else None


def givable(tags: QuerySet[Tag], user: User | None) -> QuerySet[Tag]:
    """Return the tags that the user may assign and remove. Limited users may not use tags that limit any user: these
    decide what users see."""
    return tags if limit_of(user) is None else tags.exclude(pk__in=TagLimit.objects.values("tag"))


class _Covers(Func):
    """SQL: an operation covers at least one of the instances of a query."""

    template = "EXISTS (SELECT 1 FROM jsonb_path_query(%(expressions)s)"
    arg_joiner = ", '$.*[*].instances[*]') AS one WHERE one::bigint IN "
    output_field = BooleanField()


def shown_tags(ids: QuerySet) -> Q:
    """Condition: tags of the visible instances, and tags of no instance."""
    carried = InstanceTag.objects.filter(tag=OuterRef("pk"))
    return Q(Exists(carried.filter(instance__in=ids))) | ~Q(Exists(carried))


def shown_operations(ids: QuerySet) -> Q:
    """Condition: operations on visible instances only, because a receipt and its undo cannot be split."""
    hidden = Instance.objects.exclude(pk__in=ids).order_by().values("pk")
    return ~Q(_Covers(F("outcomes"), Subquery(hidden)))


def of_tags_in_sight(ids: QuerySet) -> Q:
    """Condition for rules with a `tag`: those for all instances, and those for a tag of a visible instance."""
    return Q(tag=None) | Q(tag__in=Tag.objects.filter(instance_tags__instance__in=ids).order_by().values("pk"))
