"""Pairs of duties that one owner must not hold together."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, QuerySet
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from access.question import ALL_POWERFUL, ANY_WRITE, Question
from accounts.models import Account
from classification.models import Classification
from drift.models import Acceptance
from owners.models import Person

SIDES = ("first", "second")


#: Helps of a side that is a question.
_PRIVILEGE = _("Instead of a classification: as the engine calls it, any-write, or all-powerful.")
_OBJECT = _("The path as grants show it, such as shop.public.orders. Empty: the whole instance.")


def _classification(label: Any) -> Any:
    return models.ForeignKey(
        Classification, null=True, blank=True, on_delete=models.PROTECT, related_name="+", verbose_name=label
    )


def _one_side(side: str) -> Q:
    """The side is either a classification or a privilege. An object belongs to a privilege."""
    none = {f"{side}_classification": None}
    asked = Q(**none) & ~Q(**{f"{side}_privilege": ""})
    return asked | (~Q(**none) & Q(**{f"{side}_privilege": "", f"{side}_on": ""}))


class DutyPair(models.Model):
    """Two sides that one owner must not hold together, on any instances.

    A side is a classification, or a question as `who_can` takes it: a privilege and the path of an object.
    """

    name = models.CharField(_("name"), max_length=100, unique=True)
    reason = models.CharField(_("reason"), max_length=500)
    active = models.BooleanField(_("active"), default=True)
    first_classification = _classification(_("first side: classification"))
    first_privilege = models.CharField(_("first side: privilege"), max_length=200, blank=True, help_text=_PRIVILEGE)
    first_on = models.TextField(_("first side: object"), blank=True, help_text=_OBJECT)
    second_classification = _classification(_("second side: classification"))
    second_privilege = models.CharField(_("second side: privilege"), max_length=200, blank=True, help_text=_PRIVILEGE)
    second_on = models.TextField(_("second side: object"), blank=True, help_text=_OBJECT)

    class Meta:
        ordering = ["name"]
        verbose_name = _("duty pair")
        verbose_name_plural = _("duty pairs")
        constraints = [
            models.CheckConstraint(condition=_one_side(side), name=f"duty_pair_{side}_side") for side in SIDES
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        errors: dict[str, Any] = {}
        for side in SIDES:
            chosen, privilege, on = self.side(side)
            if chosen and (privilege or on):
                errors[f"{side}_privilege"] = _("Give a classification or a privilege, not both.")
            elif not chosen and not privilege:
                errors[f"{side}_privilege"] = _("Give a classification or a privilege.")
            elif privilege:
                try:
                    Question.parse(privilege, on)
                except ValueError as error:
                    errors[f"{side}_on"] = str(error)
        if not errors and self.side("first") == self.side("second"):
            errors["second_privilege"] = _("Both sides are the same.")
        if errors:
            raise ValidationError(errors)

    def side(self, side: str) -> tuple[int | None, str, str]:
        """Return the id of the classification, the privilege and the path of a side."""
        chosen: int | None = getattr(self, f"{side}_classification_id")
        return chosen, getattr(self, f"{side}_privilege").strip(), getattr(self, f"{side}_on").strip()

    def label(self, side: str) -> str:
        """Return the side in words: the name of its classification, or "SELECT on shop.public.orders"."""
        classification = getattr(self, f"{side}_classification")
        if classification:
            return str(classification)
        _chosen, privilege, on = self.side(side)
        word = privilege.lower() if privilege.lower() in (ANY_WRITE, ALL_POWERFUL) else privilege.upper()
        return gettext("%(privilege)s on %(path)s") % {"privilege": word, "path": on} if on else word

    @property
    def first(self) -> str:
        return self.label("first")

    @property
    def second(self) -> str:
        return self.label("second")


class AcceptedConflict(Acceptance):
    """A conflict that is known and permitted until a day: of an owner, or of one account without owner.

    `first` and `second` are the ids of the accounts that gave each side then. With another account it is another
    conflict.
    """

    pair = models.ForeignKey(
        DutyPair, on_delete=models.CASCADE, related_name="accepted", verbose_name=_("duty pair"), db_index=False
    )
    owner = models.ForeignKey(
        Person, null=True, blank=True, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner")
    )
    account = models.ForeignKey(
        Account, null=True, blank=True, on_delete=models.CASCADE, related_name="+", verbose_name=_("account")
    )
    first = ArrayField(models.BigIntegerField(), editable=False)
    second = ArrayField(models.BigIntegerField(), editable=False)

    class Meta:
        ordering = ["pair__name", "owner__name", "pk"]
        verbose_name = _("accepted conflict")
        verbose_name_plural = _("accepted conflicts")
        constraints = [
            models.CheckConstraint(
                condition=Q(owner=None, account__isnull=False) | Q(owner__isnull=False, account=None),
                name="accepted_conflict_of_one",
            ),
            models.UniqueConstraint(
                fields=["pair", "owner", "account"], nulls_distinct=False, name="conflict_accepted_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pair}: {self.owner or self.account}"


def shown_accepted(ids: QuerySet) -> Q:
    """Those of one account that the user may see. Accounts of an owner may be on hidden instances."""
    return Q(account__instance__in=ids)
