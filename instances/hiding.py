"""Filters that hide rows of instances, accounts for example, from lists. What is hidden is still read and stored.

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
from engines.registry import engine_choices

from .models import Instance

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: (name, is the engine's own) → hidden
Hidden = Callable[[str, bool], bool]


class Filter(models.Model):
    """Hides rows, or keeps them shown.

    The most specific filter that matches decides: one for the instance, then one for the engine, then one for all;
    at the same level "show" beats "hide".
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

    #: What is hidden: a model with the fields instance, name, is_system, is_filtered and gone_at.
    hides: type[models.Model]

    class Meta:
        abstract = True
        ordering = ["engine", "instance__name", "pattern"]

    def __str__(self) -> str:
        return f"{self.get_action_display()} {self.pattern}"

    def concerned(self) -> models.QuerySet[Instance]:
        """The instances whose rows this filter may hide or show."""
        if self.instance_id:
            return Instance.objects.filter(pk=self.instance_id)
        return Instance.objects.filter(engine=self.engine) if self.engine else Instance.objects.all()


def hidden_on(instance: Instance, model: type[Filter]) -> Hidden:
    """What the active filters of that model hide on an instance."""
    about = Q(instance=instance) | Q(instance=None, engine__in=["", instance.engine])
    return matcher(model._default_manager.filter(about, active=True))


def matcher(filters: Iterable[Filter]) -> Hidden:
    """What one instance's filters hide. Pure."""
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
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(char) or re.escape(char) for char in pattern), re.DOTALL)


def _matchers(filters: Iterable[Filter], instances: Iterable[Instance]) -> dict[int, Hidden]:
    """Instance id → what `matcher` makes of those of the filters that are about the instance."""
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
    """Bring `is_filtered` in line with the filters of that model as they are now. Returns how many rows changed."""
    rows = model.hides._default_manager
    flipped: dict[bool, list[int]] = {True: [], False: []}
    by_instance = _matchers(model._default_manager.filter(active=True), instances)
    told = rows.filter(instance__in=by_instance).values_list("pk", "instance_id", "name", "is_system", "is_filtered")
    for pk, instance_id, name, is_system, is_filtered in told.order_by().iterator():
        hidden = by_instance[instance_id](name, is_system)
        if hidden != is_filtered:
            flipped[hidden].append(pk)
    return sum(rows.filter(pk__in=pks).update(is_filtered=hidden) for hidden, pks in flipped.items() if pks)


@dataclass(frozen=True)
class Effect:
    """`matched` lists present rows that the filter is about, the first of `n_matched`; `n_hidden` rows would be hidden
    and `n_shown` shown that are not so now."""

    matched: list[Any]
    n_matched: int
    n_hidden: int
    n_shown: int


def effect_of(candidate: Filter, limit: int, user: User | None = None) -> Effect:
    """The effect of a filter as it stands, stored, changed or new, on what the person sees. Lists at most `limit`
    rows."""
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
