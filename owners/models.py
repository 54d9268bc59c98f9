"""Who answers for an account of an instance."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from accounts.models import Account, AccountQuerySet
from console.visibility import within


class PersonQuerySet(models.QuerySet["Person"]):
    def with_counts(self, user: User | None) -> PersonQuerySet:
        """Each person with n_accounts: present accounts that no filter hides and that the user may see."""
        shown = Q(ownerships__account__gone_at=None, ownerships__account__is_filtered=False)
        seen = within("ownerships__account__instance", user)
        # A query that groups has no order of its own.
        return self.annotate(n_accounts=Count("ownerships", filter=shown & seen)).order_by("name", "pk")


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

    objects = PersonQuerySet.as_manager()

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


def with_owner(accounts: QuerySet[Account]) -> QuerySet[Account]:
    """Each account with owner_name, owner_active and used_by; null where they are not known."""
    return accounts.annotate(
        owner_name=F("ownership__owner__name"),
        owner_active=F("ownership__owner__active"),
        used_by=F("ownership__kind"),
    )


def without_owner(accounts: AccountQuerySet) -> AccountQuerySet:
    """Accounts that need an owner and have none. Those that the engine maintains need none."""
    owned = Ownership.objects.filter(account=OuterRef("pk"), owner__isnull=False)
    return accounts.filter(~Exists(owned), is_system=False).exclude(kind=Account.Kind.PUBLIC)


def set_owner(accounts: QuerySet[Account], **values: Any) -> int:
    """Set these fields of the ownership of each account, and leave its other fields. Returns the number of accounts."""
    ids = accounts.order_by().values_list("pk", flat=True)
    rows = [Ownership(account_id=pk, **values) for pk in ids]
    Ownership.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["account"], update_fields=[*values], batch_size=1000
    )
    return len(rows)
