"""Filters that hide rows of instances, such as accounts, from lists. Hidden rows are still read and stored.

An app derives a model from `Filter` for each kind of row that can be hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from console.visibility import shown_to
from console.wildcards import regex
from engines.registry import engine_choices

from .models import Instance

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: (name, is_system) → hidden
Hidden = Callable[[str, bool], bool]


class Filter(models.Model):
    """Hides rows, or keeps them shown.

    The most specific matching filter decides: one for the instance, then one for the engine, then one for all. At the
    same level "show" takes precedence over "hide".
    """

    class Action(models.TextChoices):
        HIDE = "hide", _("hide")
        SHOW = "show", _("show")

    action = models.CharField(_("action"), max_length=4, choices=Action, default=Action.HIDE)
    engine = models.CharField(
        _("engine"), max_length=20, choices=engine_choices, blank=True, help_text=_("Empty: all engines.")
    )
    instance = models.ForeignKey(
        Instance,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        verbose_name=_("instance"),
        help_text=_("Empty: all instances of the engine."),
    )
    pattern = models.CharField(
        _("name"),
        max_length=200,
        help_text=_("* stands for any characters, ? for one; everything else, _ and % included, for itself."),
    )
    system_only = models.BooleanField(_("only what the engine maintains"), default=False)
    active = models.BooleanField(_("active"), default=True)
    note = models.CharField(_("note"), max_length=200, blank=True)

    #: The model of the rows to hide, with the fields instance, name, is_system, is_filtered and gone_at.
    hides: type[models.Model]

    class Meta:
        abstract = True
        ordering = ["engine", "instance__name", "pattern"]

    def __str__(self) -> str:
        return f"{self.get_action_display()} {self.pattern}"

    def concerned(self) -> models.QuerySet[Instance]:
        """The instances with rows that this filter may hide or show."""
        if self.instance_id:
            return Instance.objects.filter(pk=self.instance_id)
        return Instance.objects.filter(engine=self.engine) if self.engine else Instance.objects.all()


def hidden_on(instance: Instance, model: type[Filter]) -> Hidden:
    """The function that decides whether the active filters of that model hide a row of the instance."""
    about = Q(instance=instance) | Q(instance=None, engine__in=["", instance.engine])
    return matcher(model._default_manager.filter(about, active=True).order_by())


def matcher(filters: Iterable[Filter]) -> Hidden:
    """The function that decides whether these filters, all for one instance, hide a row. Pure."""
    levels: dict[int, list[tuple[re.Pattern[str], bool, bool]]] = {}
    for item in filters:
        level = 2 if item.instance_id else 1 if item.engine else 0
        show = item.action == Filter.Action.SHOW
        levels.setdefault(level, []).append((_compiled(item.pattern), item.system_only, show))
    ordered = [levels[level] for level in sorted(levels, reverse=True)]

    def hidden(name: str, is_system: bool) -> bool:
        for rules in ordered:
            verdicts = [
                show
                for pattern, system_only, show in rules
                if (is_system or not system_only) and pattern.fullmatch(name)
            ]
            if verdicts:
                return not any(verdicts)
        return False

    return hidden


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(regex(pattern), re.DOTALL)


def _matchers(filters: Iterable[Filter], instances: Iterable[Instance]) -> dict[int, Hidden]:
    """Instance id → `matcher` of the filters for that instance."""
    filters = list(filters)
    return {
        instance.pk: matcher(
            item
            for item in filters
            if item.instance_id == instance.pk or (item.instance_id is None and item.engine in ("", instance.engine))
        )
        for instance in instances
    }


@transaction.atomic
def apply_filters(model: type[Filter], instances: Iterable[Instance]) -> int:
    """Update `is_filtered` of rows by the current filters of that model. Returns the number of changed rows."""
    rows = model.hides._default_manager
    flipped: dict[bool, list[int]] = {True: [], False: []}
    by_instance = _matchers(model._default_manager.filter(active=True), instances)
    found = rows.filter(instance__in=by_instance).values_list("pk", "instance_id", "name", "is_system", "is_filtered")
    for pk, instance_id, name, is_system, is_filtered in found.order_by().iterator():
        hidden = by_instance[instance_id](name, is_system)
        if hidden != is_filtered:
            flipped[hidden].append(pk)
    return sum(rows.filter(pk__in=pks).update(is_filtered=hidden) for hidden, pks in flipped.items() if pks)


@dataclass(frozen=True)
class Effect:
    """`matched` lists the first of `n_matched` present rows that match the filter; it would hide `n_hidden` more rows
    and show `n_shown` more."""

    matched: list[Any]
    n_matched: int
    n_hidden: int
    n_shown: int


def effect_of(candidate: Filter, limit: int, user: User | None = None) -> Effect:
    """The effect of a stored, changed or new filter on the rows that the user may see. Lists at most `limit` rows."""
    filters = type(candidate)._default_manager
    stored = filters.filter(pk=candidate.pk).first()
    concerned = candidate.concerned()
    others = filters.filter(active=True).exclude(pk=candidate.pk)
    after = _matchers(
        [*others, candidate] if candidate.active else others, concerned | (stored or candidate).concerned()
    )
    within = set(concerned.values_list("pk", flat=True))
    is_meant = matcher([type(candidate)(action="hide", pattern=candidate.pattern, system_only=candidate.system_only)])
    rows = candidate.hides._default_manager.filter(gone_at=None, instance__in=after).select_related("instance")
    rows = shown_to(rows, user)
    matched: list[Any] = []
    n_matched = 0
    flips = {True: 0, False: 0}
    for row in rows.iterator():
        hidden = after[row.instance_id](row.name, row.is_system)
        flips[hidden] += hidden != row.is_filtered
        if row.instance_id in within and is_meant(row.name, row.is_system):
            n_matched += 1
            if len(matched) < limit:
                matched.append(row)
    return Effect(matched, n_matched, n_hidden=flips[True], n_shown=flips[False])
