"""Who answers for an account of an instance."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.models import Account


class Person(models.Model):
    """Somebody who answers for accounts, as a directory or HR names them; they need no login in Taifish."""

    name = models.CharField(_("name"), max_length=200)
    mail = models.EmailField(_("mail"), blank=True)
    external_id = models.CharField(
        _("external id"),
        max_length=200,
        blank=True,
        help_text=_("The key of the person in your directory or HR system."),
    )
    active = models.BooleanField(_("active"), default=True, help_text=_("Off: the person has left."))
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="person",
        verbose_name=_("user"),
        help_text=_("The login of the person in Taifish, to decide in reviews."),
    )

    class Meta:
        ordering = ["name", "pk"]
        verbose_name = _("person")
        verbose_name_plural = _("people")
        constraints = [
            models.UniqueConstraint(
                fields=["external_id"], condition=~Q(external_id=""), name="person_once_by_external_id"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Ownership(models.Model):
    """What is known of an account that no server says: its owner, and what kind of user it serves."""

    class Kind(models.TextChoices):
        PERSON = "person", _("a person")
        APPLICATION = "application", _("an application")
        SHARED = "shared", _("shared")
        THIRD_PARTY = "third_party", _("a third party")
        BREAK_GLASS = "break_glass", _("for emergencies")

    account = models.OneToOneField(
        Account, on_delete=models.CASCADE, related_name="ownership", verbose_name=_("account")
    )
    owner = models.ForeignKey(
        Person,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="ownerships",
        verbose_name=_("owner"),
    )
    kind = models.CharField(_("used by"), max_length=20, choices=Kind, blank=True)
    note = models.TextField(_("note"), blank=True)
    ticket = models.CharField(_("ticket"), max_length=200, blank=True)

    class Meta:
        ordering = ["account"]
        verbose_name = _("account owner")
        verbose_name_plural = _("account owners")

    def __str__(self) -> str:
        return f"{self.account}: {self.owner or '–'}"
