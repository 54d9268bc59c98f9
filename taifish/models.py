"""Groups of roles, installed schedules, OpenID identities, groups with a second factor, API tokens, and saved views."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import Group, Permission
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Role(models.Model):
    """The group of a role, which users may rename, and the permissions that it was given once."""

    key = models.CharField(_("key"), max_length=20, unique=True)
    group = models.OneToOneField(Group, on_delete=models.CASCADE, related_name="role", verbose_name=_("group"))
    offered = models.ManyToManyField(Permission, related_name="+", verbose_name=_("given once"))

    class Meta:
        verbose_name = _("role")
        verbose_name_plural = _("roles")
        default_permissions = ()

    def __str__(self) -> str:
        return self.key


class InstalledSchedule(models.Model):
    """A schedule that was installed once, and its time zone then. A deleted schedule is not installed again."""

    task = models.CharField(_("task"), max_length=200, unique=True)
    time_zone = models.CharField(_("time zone"), max_length=63)

    class Meta:
        verbose_name = _("installed schedule")
        verbose_name_plural = _("installed schedules")
        default_permissions = ()

    def __str__(self) -> str:
        return self.task


class Identity(models.Model):
    """A user's identity at an OpenID provider. Only issuer and subject are stable: names and addresses may change."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="identity", verbose_name=_("user")
    )
    issuer = models.CharField(_("issuer"), max_length=255)
    subject = models.CharField(_("subject"), max_length=255, help_text=_("The claim “sub”."))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="one_user_of_an_identity")]
        verbose_name = _("identity")
        verbose_name_plural = _("identities")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.subject} ({self.issuer})"


class SecondFactorGroup(models.Model):
    """A group with members who must have a second factor when they log in with a password."""

    group = models.OneToOneField(
        Group, on_delete=models.CASCADE, primary_key=True, related_name="second_factor", verbose_name=_("group")
    )

    class Meta:
        verbose_name = _("group with a second factor")
        verbose_name_plural = _("groups with a second factor")
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.group)

    @classmethod
    def has(cls, user: AbstractBaseUser) -> bool:
        return cls.objects.filter(group__user=user.pk).exists()


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def valid(self, now: datetime) -> ApiTokenQuerySet:
        return self.unexpired(now).filter(user__is_active=True)

    def unexpired(self, now: datetime) -> ApiTokenQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now))

    def of(self, user: AbstractBaseUser) -> ApiTokenQuerySet:
        """The tokens that a user may see and delete: for a superuser all, else the user's own."""
        return self if user.is_superuser else self.filter(user=user.pk)


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    def of(self, user: AbstractBaseUser) -> SavedViewQuerySet:
        """The views that a user sees: the user's own, and shared ones."""
        return self.filter(Q(user=user.pk) | Q(shared=True))


class SavedView(models.Model):
    """Filters, order and columns of a list of the admin, which a user has kept under a name.

    `list_name` is "app_model"; `query` is that of its address. `columns` are the names of those shown, empty for all.
    The one without a name holds the columns that the user sees in the list otherwise.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views", verbose_name=_("user")
    )
    list_name = models.CharField(_("list"), max_length=100)
    name = models.CharField(_("name"), max_length=100, blank=True)
    query = models.TextField(_("filters"), blank=True, max_length=4000)
    columns = ArrayField(models.CharField(max_length=100), verbose_name=_("columns"), default=list, blank=True)
    shared = models.BooleanField(_("shared"), default=False)
    is_default = models.BooleanField(_("opened first"), default=False)

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        ordering = ["name", "pk"]
        verbose_name = _("saved view")
        verbose_name_plural = _("saved views")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["user", "list_name", "name"], name="saved_view_once"),
            models.UniqueConstraint(
                fields=["user", "list_name"], condition=Q(is_default=True), name="saved_view_one_default"
            ),
        ]

    def __str__(self) -> str:
        return self.name


def networks_of(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Addresses and networks, separated by commas or white space. Raises ValidationError."""
    try:
        return [ipaddress.ip_network(word, strict=False) for word in text.replace(",", " ").split()]
    except ValueError:
        raise ValidationError(_("Enter addresses or networks such as 10.20.0.0/16, separated by commas.")) from None


def validate_future(moment: datetime) -> None:
    if moment <= timezone.now():
        raise ValidationError(_("Enter a time in the future."))


def default_end() -> datetime:
    return timezone.now() + timedelta(days=settings.TAIFISH_TOKEN_DAYS)


class ApiToken(models.Model):
    """A key with which a program uses the API as the user, until it expires, the password changes, or the user is
    deactivated. Only its digest is stored."""

    #: Lets secret scanners recognise tokens in code and logs.
    PREFIX = "taifish_"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens", verbose_name=_("user")
    )
    name = models.CharField(_("name"), max_length=100, help_text=_("What uses it, such as “nightly report”."))
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    #: Null only in tokens that were made before all tokens expired.
    expires_at = models.DateTimeField(_("expires"), null=True, default=default_end, validators=[validate_future])
    read_only = models.BooleanField(_("read only"), default=False, help_text=_("It reads, and changes nothing."))
    addresses = models.TextField(
        _("addresses"),
        blank=True,
        validators=[networks_of],
        help_text=_("Addresses and networks that may use it, such as 10.20.0.0/16. Empty: any."),
    )
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    last_used_from = models.GenericIPAddressField(_("last used from"), null=True, blank=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        default_permissions = ("add", "delete", "view")

    def __str__(self) -> str:
        return self.name

    def may_be_used_from(self, address: str | None) -> bool:
        """`address` is that of a client; None is a Unix socket, which is in no network."""
        if not self.addresses:
            return True
        if address is None:
            return False
        ip = ipaddress.ip_address(address)
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip
        return any(ip in network for network in networks_of(self.addresses))

    @staticmethod
    def digest_of(secret: str) -> str:
        """A plain hash is enough, because the secret is random."""
        return hashlib.sha256(secret.encode()).hexdigest()

    def draw(self) -> str:
        """Set the digest and return a new secret. The caller saves the token; the secret cannot be read later."""
        secret = self.PREFIX + secrets.token_urlsafe(32)
        self.digest = self.digest_of(secret)
        return secret


def end_tokens(sender: type[models.Model], instance: Any, **kwargs: Any) -> None:
    """End the tokens of a user who is about to be saved with a new password or without one, or deactivated.

    A password that is only hashed anew at a login is no new one: Django keeps no plain password on the user then.
    """
    is_new = instance._password is not None
    if is_new or not instance.is_active or not instance.has_usable_password():
        before = sender._default_manager.filter(pk=instance.pk).first()
        if before and (is_new or before.has_usable_password() or not instance.is_active):
            now = timezone.now()
            ApiToken.objects.filter(user=instance.pk).unexpired(now).update(expires_at=now)
