"""Pairs of duties that one owner must not hold together."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from access.question import Question
from classification.models import Classification


def _classification(label: str) -> models.ForeignKey:
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
    first_privilege = models.CharField(_("first side: privilege"), max_length=200, blank=True)
    first_on = models.TextField(_("first side: object"), blank=True)
    second_classification = _classification(_("second side: classification"))
    second_privilege = models.CharField(_("second side: privilege"), max_length=200, blank=True)
    second_on = models.TextField(_("second side: object"), blank=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("duty pair")
        verbose_name_plural = _("duty pairs")
        constraints = [
            models.CheckConstraint(condition=_one_side(side), name=f"duty_pair_{side}_side")
            for side in ("first", "second")
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        errors = {}
        for side in ("first", "second"):
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
