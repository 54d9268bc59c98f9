"""Who answers for an account of an instance."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import MD5, Coalesce
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Account, AccountQuerySet, Grant, Membership, describe_grant
from console.visibility import within
from engines.registry import engine_choices
from tagging.models import Tag


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


class EndDate(models.Model):
    """The day by which an account, one of its memberships or one of its direct grants is to end.

    A membership is named by its role, and a grant by what it says, not by a row: one that is revoked and granted again
    is the same one.
    """

    class Of(models.TextChoices):
        ACCOUNT = "account", _("account")
        MEMBERSHIP = "membership", _("membership")
        GRANT = "grant", _("grant")

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="end_dates", verbose_name=_("account"))
    of = models.CharField(_("of"), max_length=10, choices=Of)
    role = models.ForeignKey(
        Account, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("role")
    )
    grant_kind = models.CharField(_("kind of the object"), max_length=20, blank=True)
    database = models.TextField(_("database"), blank=True)
    scope = models.TextField(_("object"), blank=True)
    privilege = models.CharField(_("privilege"), max_length=200, blank=True)
    denied = models.BooleanField(_("denied"), default=False)
    ends_on = models.DateField(_("ends on"), help_text=_("The last day on which it may be there."))
    reason = models.TextField(_("reason"))
    ticket = models.CharField(_("ticket"), max_length=200, blank=True)
    approver = models.CharField(_("approved by"), max_length=200, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("set by"),
    )
    created_at = models.DateTimeField(_("set"), auto_now_add=True)

    class Meta:
        ordering = ["ends_on", "pk"]
        verbose_name = _("end date")
        verbose_name_plural = _("end dates")
        constraints = [
            models.CheckConstraint(
                condition=Q(of="account", role=None, privilege="")
                | Q(of="membership", role__isnull=False, privilege="")
                | Q(Q(of="grant", role=None), ~Q(privilege="")),
                name="end_date_of_one",
            ),
            models.UniqueConstraint(
                "account",
                "of",
                Coalesce("role", Value(0)),
                "grant_kind",
                "database",
                MD5("scope"),
                "privilege",
                "denied",
                name="end_date_once",
                violation_error_message=_("It has an end date already. Change that one."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account}: {self.what}" if self.of != self.Of.ACCOUNT else str(self.account)

    @property
    def what(self) -> str:
        """The account, the membership or the grant in words, without the name of the account."""
        if self.of == self.Of.MEMBERSHIP:
            return gettext("role %s") % self.role
        if self.of == self.Of.GRANT:
            return describe_grant(self.privilege, self.grant_kind, self.scope, False, self.denied)
        return gettext("the account")


def named_end(kind: str, pk: int) -> dict[str, Any]:
    """The fields of an end date of the account, or of its membership or grant with this id."""
    if kind == EndDate.Of.MEMBERSHIP:
        return {"of": kind, "role_id": Membership.objects.values_list("role", flat=True).get(pk=pk)}
    if kind == EndDate.Of.GRANT:
        names = ("database", "scope", "privilege", "denied")
        found = Grant.objects.values("kind", *names).get(pk=pk)
        return {"of": kind, "grant_kind": found.pop("kind"), **found}
    return {"of": kind}


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


class OwnerRule(models.Model):
    """How accounts are matched with people by name. The first rule with a candidate decides about an account."""

    class Match(models.TextChoices):
        EXTERNAL_ID = "external_id", _("the external id")
        MAIL = "mail", _("the mail")
        MAIL_NAME = "mail_name", _("the part of the mail before @")
        PATTERN = "pattern", _("a pattern")

    order = models.PositiveSmallIntegerField(_("order"), default=10, help_text=_("Lower numbers go first."))
    match = models.CharField(_("the name of the account is"), max_length=20, choices=Match)
    pattern = models.CharField(
        _("pattern"),
        max_length=200,
        blank=True,
        help_text=_("With one of {external_id}, {mail} and {mail_name}, such as adm_{mail_name}."),
    )
    engine = models.CharField(_("engine"), max_length=20, choices=engine_choices, blank=True)
    tag = models.ForeignKey(
        Tag, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("tag")
    )
    kind = models.CharField(
        _("used by"), max_length=20, choices=Ownership.Kind, default=Ownership.Kind.PERSON, blank=True
    )
    active = models.BooleanField(_("active"), default=True)

    class Meta:
        ordering = ["order", "pk"]
        verbose_name = _("owner rule")
        verbose_name_plural = _("owner rules")

    def __str__(self) -> str:
        return self.pattern or self.get_match_display()

    def clean(self) -> None:
        if self.match != self.Match.PATTERN:
            self.pattern = ""
        elif len(_PLACEHOLDER.findall(self.pattern)) != 1:
            text = _("A pattern has one of {external_id}, {mail} and {mail_name}.")
            raise ValidationError({"pattern": text})

    def name_for(self, person: Person) -> str:
        """The name of an account of the person, without case; "" if the person has not what the rule asks for."""
        pattern = self.pattern or f"{{{self.match}}}"
        placeholder = _PLACEHOLDER.search(pattern)
        if placeholder is None:
            return ""
        value = person.mail.partition("@")[0] if placeholder[1] == "mail_name" else getattr(person, placeholder[1])
        return pattern.replace(placeholder[0], value).lower() if value else ""


_PLACEHOLDER = re.compile(r"\{(external_id|mail_name|mail)\}")
