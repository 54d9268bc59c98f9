"""Limit users to instances, and to the rows that belong to these.

`shown_to` filters rows of any model by its path of foreign keys to an instance; admin pages and viewsets use it through
`ShownRows` and `ShownRowsOfAPI`. Apps declare the rest in `AppConfig.ready`: `instances` its model, `tagging` the
limits of users, and each app the conditions for models without a foreign key path.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import ForeignKey, Model, Q, QuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.forms import BaseForm
    from django.http import HttpRequest

Rows = TypeVar("Rows", bound=QuerySet)

#: The model of instances.
INSTANCE: list[type[Model]] = []

#: User → ids of the instances that the user is limited to, as a query; None without a limit.
LIMITS: list[Callable[[User], QuerySet | None]] = []

#: Model without a foreign key path to an instance → condition for its visible rows, given the ids of the instances.
CONDITIONS: dict[type[Model], Callable[[QuerySet], Q]] = {}


def limit_of(user: User | None) -> QuerySet | None:
    """Return the ids of the instances that a user is limited to, as a query; None without a limit. Superusers have no
    limit, nor has the operator of the machine (no user). Cached on the user object, so looked up once a request."""
    if user is None or user.is_superuser or user.pk is None:
        return None
    if not hasattr(user, "_limit_of_instances"):
        limits = [ids for limit in LIMITS if (ids := limit(user)) is not None]
        user._limit_of_instances = limits[0] if limits else None
    return user._limit_of_instances


def within(path: str, user: User | None) -> Q:
    """Condition: `path` leads to an instance that the user may see. For use in counts, for example."""
    ids = limit_of(user)
    return Q() if ids is None else Q(**{f"{path}__in": ids})


@cache
def path_to_instance(model: type[Model]) -> tuple[str, bool] | None:
    """Return the shortest foreign key path from a model to its instance ("account__instance"), and whether it is
    nullable. Paths that are not nullable come first. Returns None without a path."""
    found: list[tuple[bool, int, str]] = []

    def follow(at: type[Model], path: tuple[str, ...], nullable: bool, seen: frozenset[type[Model]]) -> None:
        if at in INSTANCE:
            found.append((nullable, len(path), "__".join(path) or "pk"))
            return
        for field in at._meta.concrete_fields:
            if isinstance(field, ForeignKey) and field.related_model not in seen:
                onward = (*path, field.name)
                follow(field.related_model, onward, nullable or field.null, seen | {field.related_model})

    follow(model, (), False, frozenset({model}))
    if not found:
        return None
    nullable, _length, path = min(found)
    return path, nullable


def shown_to(rows: Rows, user: User | None) -> Rows:
    """Filter the rows to those that the user may see. All users see rows with a null path to an instance, which concern
    the whole fleet, and rows of models without a path."""
    condition, found = CONDITIONS.get(rows.model), path_to_instance(rows.model)
    if (condition is None and found is None) or (ids := limit_of(user)) is None:
        return rows
    if condition:
        return rows.filter(condition(ids))
    path, nullable = found
    return rows.filter(Q(**{f"{path}__in": ids}) | (Q(**{f"{path}__isnull": True}) if nullable else Q()))


def ids_shown_to(user: User | None, among: QuerySet | None = None) -> list[int] | None:
    """Return the ids of the instances `among` these that the user may see; None for all instances."""
    if among is None:
        if limit_of(user) is None:
            return None
        among = INSTANCE[0]._default_manager.all()
    return list(shown_to(among, user).order_by().values_list("pk", flat=True))


def narrow_choices(form: BaseForm, user: User | None) -> None:
    """Limit the choices of a form to rows that the user may see."""
    for field in form.fields.values():
        if hasattr(field, "queryset"):
            field.queryset = shown_to(field.queryset, user)


class ShownRows:
    """Limits a ModelAdmin or an inline, and the choices of its forms, to rows that the user may see."""

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return shown_to(super().get_queryset(request), request.user)

    def get_field_queryset(self, db: Any, db_field: Any, request: HttpRequest) -> QuerySet:
        chosen = super().get_field_queryset(db, db_field, request)
        return shown_to(db_field.remote_field.model._default_manager.all() if chosen is None else chosen, request.user)


class ShownRowsOfAPI:
    """Limits a viewset to rows that the user may see."""

    @property
    def person(self) -> User | None:
        """The user; None while the schema is generated."""
        return self.request.user if self.request else None

    def get_queryset(self) -> QuerySet:
        return shown_to(super().get_queryset(), self.person)
