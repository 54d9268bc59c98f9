"""How big things may become: limits that users set, and volumes that instances share."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from capacity.models import Database
from console.fields import BytesField
from instances.models import Instance
from tagging.models import Tag


class SizeLimit(models.Model):
    """The maximum size of an instance, a database, all instances with a tag, or, without any of these, the fleet.

    Forecasts show when the size will reach it.
    """

    #: At most one of them is set.
    TARGETS = ("instance", "database", "tag")

    instance = models.OneToOneField(
        Instance, null=True, blank=True, on_delete=models.CASCADE, related_name="limit", verbose_name=_("instance")
    )
    database = models.OneToOneField(
        Database, null=True, blank=True, on_delete=models.CASCADE, related_name="limit", verbose_name=_("database")
    )
    tag = models.OneToOneField(
        Tag, null=True, blank=True, on_delete=models.CASCADE, related_name="size_limit", verbose_name=_("tag")
    )
    size = BytesField(
        _("limit, bytes"),
        validators=[MinValueValidator(1)],
        help_text=_("Forecasts show when the size will reach it."),
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    set_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    set_at = models.DateTimeField(_("set"), auto_now=True)

    class Meta:
        ordering = [F("instance__name").asc(nulls_last=True), "pk"]
        verbose_name = _("size limit")
        verbose_name_plural = _("size limits")
        constraints = [
            models.CheckConstraint(
                condition=Q(database=None, tag=None) | Q(instance=None, tag=None) | Q(instance=None, database=None),
                name="limit_of_one_thing",
                violation_error_message=_("Choose one instance, one database or one tag, or none for the whole fleet."),
            ),
            models.UniqueConstraint(
                models.Value(1),
                condition=Q(instance=None, database=None, tag=None),
                name="limit_of_the_fleet_once",
                violation_error_message=_("There is already a limit of the whole fleet."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.target or gettext('whole fleet')}: {self.size}"

    @property
    def target(self) -> Instance | Database | Tag | None:
        """What the limit is of; None for the fleet."""
        return self.instance or self.database or self.tag


class Volume(models.Model):
    """A disk or file system that holds the files of one or several instances, and the bytes that they may share.

    `size` is typed in, or read from Prometheus: then `available` is what was free for files at `read_at`. A volume that
    is not read any more keeps its last figures, with their time.
    """

    name = models.CharField(_("name"), max_length=200, unique=True)
    instances = models.ManyToManyField(Instance, related_name="volumes", verbose_name=_("instances"), blank=True)
    size = BytesField(_("size, bytes"), validators=[MinValueValidator(1)])
    available = BytesField(_("available"), null=True, editable=False)
    read_at = models.DateTimeField(_("read"), null=True, editable=False)
    note = models.CharField(_("note"), max_length=200, blank=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("volume")
        verbose_name_plural = _("volumes")

    def __str__(self) -> str:
        return self.name
