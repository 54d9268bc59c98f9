"""Sizes of databases and instances by day, in bytes.

A day without a row is a gap: the size is unknown, not zero. Days are those of TAIFISH_TIME_ZONE.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.fields import BytesField, NameField
from console.searching import name_key
from console.units import bytes_label
from instances.hiding import Filter
from instances.models import Instance
from work.days import local_day

#: Days of growth shown beside a size.
GROWTH_DAYS = 30


class DatabaseQuerySet(models.QuerySet["Database"]):
    def present(self) -> DatabaseQuerySet:
        """Databases that existed when their instance was last read."""
        return self.filter(gone_at=None)

    def named(self, name: str) -> DatabaseQuerySet:
        """Databases of that name on their instance: the present one, then the last one gone."""
        return self.filter(name=name).order_by(F("gone_at").desc(nulls_first=True), "-pk")

    def visible(self) -> DatabaseQuerySet:
        return self.filter(is_filtered=False)

    def with_growth(self) -> DatabaseQuerySet:
        """Add `earlier` and `earlier_day`: the size GROWTH_DAYS before the latest, or on the nearest earlier day with a
        size; null if there is none."""
        then = DatabaseSize.objects.filter(
            database=OuterRef("pk"), day__lte=OuterRef("size_day") - timedelta(days=GROWTH_DAYS)
        ).order_by("-day")
        return self.annotate(earlier=Subquery(then.values("size")[:1]), earlier_day=Subquery(then.values("day")[:1]))


class Database(models.Model):
    """A database inside a managed instance; a schema where the engine has no databases.

    A renamed database keeps its row. One that was dropped and created again has a new row; the earlier one is gone.
    """

    instance = models.ForeignKey(
        Instance, on_delete=models.CASCADE, related_name="databases", verbose_name=_("instance")
    )
    name = NameField(_("name"))
    native_id = models.CharField(_("native id"), max_length=100, blank=True)
    is_system = models.BooleanField(_("maintained by the engine"), default=False)
    is_filtered = models.BooleanField(_("filtered"), default=False)
    first_seen_at = models.DateTimeField(_("first seen"))
    last_seen_at = models.DateTimeField(_("last seen"))
    gone_at = models.DateTimeField(_("gone"), null=True)
    # The latest size, so that a list of all databases can be ordered by size.
    size = BytesField(_("size"), null=True)
    size_day = models.DateField(_("measured on"), null=True)
    # Of the last visit: shared part → number of tables with bytes that are counted there and not in `size`; "" → tables
    # without a known size. Null if unknown, and for engines that have no such tables.
    elsewhere = models.JSONField(_("tables counted elsewhere"), null=True)

    objects = DatabaseQuerySet.as_manager()

    class Meta:
        ordering = ["instance__name", "name"]
        verbose_name = _("database")
        verbose_name_plural = _("databases")
        constraints = [
            models.UniqueConstraint(fields=["instance", "name"], condition=Q(gone_at=None), name="database_once")
        ]
        permissions = [("read_tables", _("Can ask an instance for the sizes of tables"))]
        indexes = [
            models.Index(fields=["-size"], name="database_by_size", condition=Q(gone_at=None)),
            models.Index(fields=["instance", "name"], name="database_by_name"),
            models.Index(name_key("name"), name="database_by_beginning"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def growth(self) -> int | None:
        """Bytes in `growth_days`; None if either end is unknown. Requires `with_growth()`."""
        earlier = getattr(self, "earlier", None)
        return None if self.size is None or earlier is None else self.size - earlier

    @property
    def growth_days(self) -> int | None:
        """Days that `growth` covers: GROWTH_DAYS, or more if that day has no size."""
        return None if self.growth is None else (self.size_day - self.earlier_day).days

    @property
    def growth_label(self) -> str:
        """ "+1.5 GiB", or "+1.5 GiB (in 33 days)" if it does not cover GROWTH_DAYS."""
        size = bytes_label(self.growth, signed=True)
        if self.growth_days in (None, GROWTH_DAYS):
            return size
        return gettext("%(growth)s (in %(days)d days)") % {"growth": size, "days": self.growth_days}


class _SizeQuerySet(models.QuerySet):
    def since(self, days: int) -> _SizeQuerySet:
        """Sizes of the last `days` days, today included."""
        return self.filter(day__gt=local_day() - timedelta(days=days))


class DatabaseSize(models.Model):
    """Size of a database on disk on a day, from the last successful read."""

    pk = models.CompositePrimaryKey("database_id", "day")
    database = models.ForeignKey(
        Database, on_delete=models.CASCADE, related_name="sizes", verbose_name=_("database"), db_index=False
    )
    day = models.DateField(_("day"))
    size = BytesField(_("size"))
    data_size = BytesField(_("data"), null=True)
    index_size = BytesField(_("indexes"), null=True)
    log_size = BytesField(_("log"), null=True)
    collected_at = models.DateTimeField(_("collected"))

    objects = _SizeQuerySet.as_manager()

    class Meta:
        ordering = ["-day", "database_id"]
        verbose_name = _("database size")
        verbose_name_plural = _("database sizes")

    def __str__(self) -> str:
        return gettext("%(what)s on %(day)s") % {"what": self.database, "day": self.day}


class InstanceSize(models.Model):
    """Size of an instance on a day: the sum of its databases' rows of that day and of the shared part.

    `shared` maps each shared part to its size. The row is complete if every size was read.
    """

    pk = models.CompositePrimaryKey("instance_id", "day")
    instance = models.ForeignKey(
        Instance, on_delete=models.CASCADE, related_name="sizes", verbose_name=_("instance"), db_index=False
    )
    day = models.DateField(_("day"))
    size = BytesField(_("size"))
    shared_size = BytesField(_("shared part"))
    shared = models.JSONField(_("shared"), default=dict)
    n_databases = models.IntegerField(_("databases"))
    is_complete = models.BooleanField(_("complete"))
    collected_at = models.DateTimeField(_("collected"))

    objects = _SizeQuerySet.as_manager()

    class Meta:
        ordering = ["-day", "instance_id"]
        verbose_name = _("instance size")
        verbose_name_plural = _("instance sizes")

    def __str__(self) -> str:
        return gettext("%(what)s on %(day)s") % {"what": self.instance, "day": self.day}


class TablespaceQuerySet(models.QuerySet["Tablespace"]):
    def present(self) -> TablespaceQuerySet:
        """Tablespaces that existed when their instance was last read."""
        return self.filter(gone_at=None)


class Tablespace(models.Model):
    """A tablespace of a managed instance: of one of its databases (Oracle's containers), or of the instance if
    `database` is null. Its bytes are part of what the databases and the shared part take, not beside it."""

    class Kind(models.TextChoices):
        PERMANENT = "permanent", _("permanent")
        UNDO = "undo", _("undo")
        TEMPORARY = "temporary", _("temporary")

    instance = models.ForeignKey(
        Instance, on_delete=models.CASCADE, related_name="tablespaces", verbose_name=_("instance")
    )
    database = models.ForeignKey(
        Database, on_delete=models.CASCADE, null=True, related_name="tablespaces", verbose_name=_("database")
    )
    name = NameField(_("name"))
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices, default=Kind.PERMANENT)
    first_seen_at = models.DateTimeField(_("first seen"))
    last_seen_at = models.DateTimeField(_("last seen"))
    gone_at = models.DateTimeField(_("gone"), null=True)
    # The latest row of `sizes`.
    size = BytesField(_("size"), null=True)
    used = BytesField(_("used"), null=True)
    limit = BytesField(_("limit"), null=True)
    size_day = models.DateField(_("measured on"), null=True)

    objects = TablespaceQuerySet.as_manager()

    class Meta:
        ordering = ["instance__name", "database__name", "name"]
        verbose_name = _("tablespace")
        verbose_name_plural = _("tablespaces")
        constraints = [
            # NULLS NOT DISTINCT takes PostgreSQL 15.
            models.UniqueConstraint("instance", Coalesce("database", 0), "name", name="tablespace_once")
        ]

    def __str__(self) -> str:
        return self.name


class TablespaceSize(models.Model):
    """Bytes of a tablespace on a day, from the last successful read: `size` is allocated on disk, `used` is in use of
    it, and its files may grow to `limit`. Null where the engine does not say."""

    pk = models.CompositePrimaryKey("tablespace_id", "day")
    tablespace = models.ForeignKey(
        Tablespace, on_delete=models.CASCADE, related_name="sizes", verbose_name=_("tablespace"), db_index=False
    )
    day = models.DateField(_("day"))
    size = BytesField(_("size"))
    used = BytesField(_("used"), null=True)
    limit = BytesField(_("limit"), null=True)
    collected_at = models.DateTimeField(_("collected"))

    objects = _SizeQuerySet.as_manager()

    class Meta:
        ordering = ["-day", "tablespace_id"]
        verbose_name = _("tablespace size")
        verbose_name_plural = _("tablespace sizes")

    def __str__(self) -> str:
        return gettext("%(what)s on %(day)s") % {"what": self.tablespace, "day": self.day}


class TableSize(models.Model):
    """Size of one of the largest tables of a database on a day.

    `is_complete`: the reading of that day listed every table, so that a table without a row had none. Otherwise the
    size of a table without a row is unknown.
    """

    pk = models.CompositePrimaryKey("database_id", "day", "schema", "name")
    database = models.ForeignKey(
        Database, on_delete=models.CASCADE, related_name="table_sizes", verbose_name=_("database"), db_index=False
    )
    day = models.DateField(_("day"))
    schema = NameField(_("schema"))
    name = NameField(_("name"))
    size = BytesField(_("size"))
    is_complete = models.BooleanField(_("complete"))

    class Meta:
        ordering = ["-day", "database_id", "-size"]
        verbose_name = _("table size")
        verbose_name_plural = _("table sizes")

    def __str__(self) -> str:
        return gettext("%(what)s on %(day)s") % {"what": self.name, "day": self.day}


class DatabaseFilter(Filter):
    """Hides databases from lists. Filtered databases are still read, and stay in the total of their instance."""

    hides = Database

    class Meta(Filter.Meta):
        verbose_name = _("database filter")
        verbose_name_plural = _("database filters")
