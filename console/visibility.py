"""Which instances a person sees, and with them everything that hangs on instances.

`shown_to` narrows rows of any model, by the way that its foreign keys lead to an instance; admin pages and viewsets do
so through `ShownRows` and `ShownRowsOfAPI`. Apps declare the rest in their `AppConfig.ready`: `instances` the model of
instances, `tagging` who is limited to what, and each app the conditions for models that no foreign key leads from.
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

#: Given a person, the ids of the instances that they are limited to, as a query; None without a limit.
LIMITS: list[Callable[[User], QuerySet | None]] = []

#: Models that do not lead to an instance by foreign keys, and the condition for rows that are shown to a person who is
#: limited to the instances of these ids.
CONDITIONS: dict[type[Model], Callable[[QuerySet], Q]] = {}


def limit_of(user: User | None) -> QuerySet | None:
    """The ids of the instances that a person is limited to, as a query; None where they see all, as superusers do.
    Without a user it is the operator of the machine, who may all. Looked up once for each user object, so once a
    request."""
    if user is None or user.is_superuser or user.pk is None:
        return None
    if not hasattr(user, "_limit_of_instances"):
        limits = [ids for limit in LIMITS if (ids := limit(user)) is not None]
        user._limit_of_instances = limits[0] if limits else None
    return user._limit_of_instances


def within(path: str, user: User | None) -> Q:
    """The condition that `path` leads to an instance that the person sees; for counts, for example."""
    ids = limit_of(user)
    return Q() if ids is None else Q(**{f"{path}__in": ids})


@cache
def way_to_instance(model: type[Model]) -> tuple[str, bool] | None:
    """The shortest way by foreign keys from a model to its instance ("account__instance"), and whether a link of it may
    be missing; one that is always there goes before. None where no key leads there."""
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
    """Those of the rows that the person sees. A row that could name an instance and names none concerns the whole
    fleet, and everybody sees it; so they do rows of models that have nothing to do with instances."""
    condition, way = CONDITIONS.get(rows.model), way_to_instance(rows.model)
    if (condition is None and way is None) or (ids := limit_of(user)) is None:
        return rows
    if condition:
        return rows.filter(condition(ids))
    path, nullable = way
    return rows.filter(Q(**{f"{path}__in": ids}) | (Q(**{f"{path}__isnull": True}) if nullable else Q()))


def ids_shown_to(user: User | None, among: QuerySet | None = None) -> list[int] | None:
    """The ids of the instances `among` these that the person sees; None for all that there are."""
    if among is None:
        if limit_of(user) is None:
            return None
        among = INSTANCE[0]._default_manager.all()
    return list(shown_to(among, user).order_by().values_list("pk", flat=True))


def narrow_choices(form: BaseForm, user: User | None) -> None:
    """Have a form offer, and take, only rows that the person sees."""
    for field in form.fields.values():
        if hasattr(field, "queryset"):
            field.queryset = shown_to(field.queryset, user)


class ShownRows:
    """For a ModelAdmin or an inline: only rows that the person sees, and only such among the choices of its forms."""

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return shown_to(super().get_queryset(request), request.user)

    def get_field_queryset(self, db: Any, db_field: Any, request: HttpRequest) -> QuerySet:
        chosen = super().get_field_queryset(db, db_field, request)
        return shown_to(db_field.remote_field.model._default_manager.all() if chosen is None else chosen, request.user)


class ShownRowsOfAPI:
    """For a viewset: only rows that the person sees."""

    @property
    def person(self) -> User | None:
        """Who asks; nobody does while the schema is made."""
        return self.request.user if self.request else None

    def get_queryset(self) -> QuerySet:
        return shown_to(super().get_queryset(), self.person)
