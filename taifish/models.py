"""Groups of roles, installed schedules, OpenID identities, and API tokens."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import Group, Permission
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


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def valid(self, now: datetime | None = None) -> ApiTokenQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now or timezone.now()), user__is_active=True)

    def of(self, user: AbstractBaseUser) -> ApiTokenQuerySet:
        """The tokens that a user may see and delete: for a superuser all, else the user's own."""
        return self if user.is_superuser else self.filter(user=user.pk)


class ApiToken(models.Model):
    """A key with which a program uses the API as the user. Only its digest is stored."""

    #: Lets secret scanners recognise tokens in code and logs.
    PREFIX = "taifish_"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens", verbose_name=_("user")
    )
    name = models.CharField(_("name"), max_length=100, help_text=_("What uses it, such as “nightly report”."))
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    expires_at = models.DateTimeField(
        _("expires"), null=True, blank=True, help_text=_("Empty: the token does not expire.")
    )
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        default_permissions = ("add", "delete", "view")

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def digest_of(secret: str) -> str:
        """A plain hash is enough, because the secret is random."""
        return hashlib.sha256(secret.encode()).hexdigest()

    def draw(self) -> str:
        """Set the digest and return a new secret. The caller saves the token; the secret cannot be read later."""
        secret = self.PREFIX + secrets.token_urlsafe(32)
        self.digest = self.digest_of(secret)
        return secret
