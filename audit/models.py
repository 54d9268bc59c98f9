"""The audit trail, and how far it has been forwarded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class Event(models.Model):
    """A change of configuration, or a login, use of a token, export or decision.

    Triggers write the changes, and fill in time and origin of all events. Rows hold names and numbers as they were
    then, and refer to no other table. The table is made by SQL and unmanaged, so that `flush` leaves it alone.
    """

    class Kind(models.TextChoices):
        INSERT = "insert", _("added")
        UPDATE = "update", _("changed")
        DELETE = "delete", _("deleted")
        TRUNCATE = "truncate", _("all rows deleted")
        LOGIN = "login", _("login")
        FAILED_LOGIN = "failed_login", _("failed login")
        LOCKED_LOGIN = "locked_login", _("locked login")
        LOGOUT = "logout", _("logout")
        TOKEN_USE = "token_use", _("use of a token")
        EXPORT = "export", _("export")
        DECISION = "decision", _("decision")
        COMMAND = "command", _("command")
        PRUNE = "prune", _("events removed")

    class Door(models.TextChoices):
        ADMIN = "admin", _("admin")
        API = "api", _("API")
        COMMAND = "command", _("command")
        SHELL = "shell", _("shell")
        WORKER = "worker", _("worker")
        DATABASE = "database", _("database")

    id = models.BigIntegerField(primary_key=True, db_default=0)
    at = models.DateTimeField(_("time"), db_default=Now())
    kind = models.CharField(_("kind"), max_length=20, choices=Kind)
    door = models.CharField(_("door"), max_length=10, choices=Door, default="")
    user_id = models.BigIntegerField(_("user id"), null=True)
    user_name = models.TextField(
        _("person"), default="", help_text=_("The user; of commands the user of the machine, of SQL the role.")
    )
    address = models.GenericIPAddressField(_("address"), null=True)
    request = models.CharField(_("request"), max_length=36, default="")
    command = models.TextField(_("command or task"), default="")
    model = models.CharField(_("object type"), max_length=100, default="")
    object_id = models.CharField(_("object id"), max_length=100, default="")
    object = models.TextField(_("object"), default="")
    instance_id = models.BigIntegerField(_("instance id"), null=True)
    before = models.JSONField(_("old values"), null=True)
    after = models.JSONField(_("new values"), null=True)

    class Meta:
        managed = False
        ordering = ["-id"]
        default_permissions = ("view",)
        verbose_name = _("audit event")
        verbose_name_plural = _("audit trail")

    def __str__(self) -> str:
        return f"#{self.pk}"

    @property
    def model_label(self) -> StrOrPromise:
        """What the type of the object is called; its stored name if there is no such model any more."""
        from django.apps import apps

        try:
            return apps.get_model(self.model)._meta.verbose_name or self.model
        except (LookupError, ValueError):
            return self.model


#: The columns of the trail, in API, CSV, command and forwarded lines.
COLUMNS = [
    "id",
    "at",
    "kind",
    "door",
    "user_id",
    "user_name",
    "address",
    "request",
    "command",
    "model",
    "object_id",
    "object",
    "instance_id",
    "before",
    "after",
]


class Position(models.Model):
    """The last row of a stream that has been forwarded."""

    stream = models.CharField(max_length=50, unique=True)
    last_id = models.BigIntegerField(default=0)

    class Meta:
        default_permissions = ()
        verbose_name = _("position of forwarding")
        verbose_name_plural = _("positions of forwarding")

    def __str__(self) -> str:
        return f"{self.stream}: {self.last_id}"


def shown_events(ids: QuerySet) -> Q:
    """The events of visible instances. Others, such as exports, may name hidden ones."""
    return Q(instance_id__in=ids)
