"""How big things may become: limits that users set, and volumes that instances share."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.lookups import LessThanOrEqual
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from capacity.models import Database, Tablespace
from console.fields import BytesField
from console.units import bytes_label
from instances.models import Instance
from tagging.models import Tag

from .answers import AHEAD, Forecast, NoForecast, Range

#: The fields of a limit that say what it is of: at most one is set. Its name is the kind of the limit; without one the
#: kind is FLEET.
TARGETS = ("instance", "database", "tablespace", "tag")
FLEET = "fleet"
ONE_TARGET = _("Choose one instance, one database, one tablespace or one tag, or none for the whole fleet.")
KINDS = [
    ("instance", _("instance")),
    ("database", _("database")),
    ("tablespace", _("tablespace")),
    ("tag", _("tag")),
    (FLEET, _("whole fleet")),
]


class SizeLimitQuerySet(models.QuerySet["SizeLimit"]):
    def with_targets(self) -> SizeLimitQuerySet:
        """Read the targets in the same query, and what they lie in."""
        return self.select_related(
            "instance", "database__instance", "tablespace__instance", "tablespace__database", "tag"
        )


class SizeLimit(models.Model):
    """The maximum size of an instance, a database, a tablespace or all instances with a tag; without any of these, of
    the fleet.

    Forecasts show when the size will reach it.
    """

    instance = models.OneToOneField(
        Instance, null=True, blank=True, on_delete=models.CASCADE, related_name="limit", verbose_name=_("instance")
    )
    database = models.OneToOneField(
        Database, null=True, blank=True, on_delete=models.CASCADE, related_name="limit", verbose_name=_("database")
    )
    tablespace = models.OneToOneField(
        Tablespace,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="size_limit",
        verbose_name=_("tablespace"),
        help_text=_("Instead of the limit that the engine knows."),
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

    objects = SizeLimitQuerySet.as_manager()

    class Meta:
        ordering = [F("instance__name").asc(nulls_last=True), "pk"]
        verbose_name = _("size limit")
        verbose_name_plural = _("size limits")
        constraints = [
            models.CheckConstraint(
                condition=LessThanOrEqual(
                    Func(*TARGETS, function="num_nonnulls", output_field=models.IntegerField()), 1
                ),
                name="limit_of_one_thing",
            ),
            models.UniqueConstraint(
                models.Value(1),
                condition=Q(**dict.fromkeys(TARGETS)),
                name="limit_of_the_fleet_once",
                violation_error_message=_("There is already a limit of the whole fleet."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {bytes_label(self.size)}"

    def clean(self) -> None:
        chosen = [name for name in TARGETS if getattr(self, f"{name}_id") is not None]
        if len(chosen) > 1:
            raise ValidationError({chosen[-1]: ONE_TARGET})

    @property
    def key(self) -> tuple[str, int | None]:
        """Its kind, one of TARGETS or FLEET, and the primary key of its target."""
        ids = ((name, getattr(self, f"{name}_id")) for name in TARGETS)
        return next(((name, pk) for name, pk in ids if pk is not None), (FLEET, None))

    @property
    def kind(self) -> str:
        return self.key[0]

    @property
    def target(self) -> Instance | Database | Tablespace | Tag | None:
        """What the limit is of; None for the fleet."""
        return None if self.kind == FLEET else getattr(self, self.kind)

    @property
    def parts(self) -> dict[str, Any]:
        """The target, and what it lies in, by kind in the order of TARGETS. Expects `with_targets()` in lists."""
        target = self.target
        lies_in = {
            "instance": getattr(target, "instance", None),
            "database": target.database if isinstance(target, Tablespace) else None,
        }
        found = lies_in | ({} if target is None else {self.kind: target})
        return {name: found[name] for name in TARGETS if found.get(name)}

    @property
    def name(self) -> str:
        """ "orders / shop" of a database, "orders / shop / USERS" of a tablespace of a database."""
        return " / ".join(map(str, self.parts.values())) or gettext("whole fleet")


class Volume(models.Model):
    """A disk or file system that holds the files of one or several instances, and the bytes that they may share.

    `size` is typed in, or read from Prometheus: then `mount` is "host:mount point", and `available` is what was free at
    `read_at`. A volume that is not read any more keeps its last figures, with their time.
    """

    name = models.CharField(_("name"), max_length=420, unique=True)
    instances = models.ManyToManyField(Instance, related_name="volumes", verbose_name=_("instances"), blank=True)
    size = BytesField(_("size, bytes"), validators=[MinValueValidator(1)])
    mount = models.CharField(_("mount point"), max_length=400, blank=True, editable=False)
    available = BytesField(_("available"), null=True, editable=False)
    read_at = models.DateTimeField(_("read"), null=True, editable=False)
    note = models.CharField(_("note"), max_length=200, blank=True)

    #: What the reader of Prometheus sets.
    MEASURED = ("size", "instances")

    class Meta:
        ordering = ["name"]
        verbose_name = _("volume")
        verbose_name_plural = _("volumes")
        constraints = [models.UniqueConstraint(fields=["mount"], condition=~Q(mount=""), name="volume_of_mount_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_stale(self) -> bool:
        """Whether its figures are measured, and older than TAIFISH_STALE_AFTER."""
        return _is_stale(self.read_at)


class VolumeRead(models.Model):
    """The last attempt to read volumes from Prometheus: one row, or none.

    `error` is empty if it succeeded; then `skipped` has a sentence for each file system that was left out. `read_at` is
    the time of the last success.
    """

    tried_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    skipped = models.JSONField(default=list)

    class Meta:
        verbose_name = _("reading of volumes")
        verbose_name_plural = _("readings of volumes")
        default_permissions = ()

    def __str__(self) -> str:
        return self.summary

    @property
    def is_fresh(self) -> bool:
        """Whether the last attempt succeeded, and not longer ago than TAIFISH_STALE_AFTER."""
        return not self.error and not _is_stale(self.read_at)

    @property
    def summary(self) -> str:
        ages = {"tried": timesince(self.tried_at), "read": timesince(self.read_at) if self.read_at else ""}
        if not self.error:
            return gettext("read %(read)s ago") % ages
        if not self.read_at:
            return gettext("failed %(tried)s ago, and never read: %(error)s") % {**ages, "error": self.error}
        text = gettext("failed %(tried)s ago: %(error)s The figures were read %(read)s ago.")
        return text % {**ages, "error": self.error}


def _is_stale(read_at: datetime | None) -> bool:
    oldest = timezone.now() - timedelta(hours=settings.TAIFISH_STALE_AFTER)
    return read_at is not None and read_at < oldest


class Projection(models.Model):
    """How one size will go on, as computed after a collection; limits do not matter for it.

    `kind` and `target` name what has the size: a kind of `reading.KINDS` or "untagged", and its primary key, 0 for the
    fleet and for all instances without a tag. `instance` is the one it lies in. Without a forecast `reason` is a code
    of `answers.REASONS`, else "". `low`, `expected` and `high` are bytes at `answers.AHEAD`; the other fields are
    those of `Forecast`.
    """

    kind = models.CharField(_("kind"), max_length=20)
    target = models.BigIntegerField(_("id"))
    # Without a constraint: an instance may be deleted while its projection is computed. The next run deletes that row.
    instance = models.ForeignKey(
        Instance, null=True, on_delete=models.CASCADE, related_name="projections", db_constraint=False
    )
    computed_at = models.DateTimeField(_("computed"))
    as_of = models.DateField(_("as of"), null=True)
    reason = models.CharField(_("reason"), max_length=20, blank=True)
    n_recent = models.IntegerField(_("recent days"))
    size = BytesField(_("size"), null=True)
    low = ArrayField(models.BigIntegerField(), default=list)
    expected = ArrayField(models.BigIntegerField(), default=list)
    high = ArrayField(models.BigIntegerField(), default=list)
    model = models.CharField(_("model"), max_length=20, blank=True)
    error = models.FloatField(_("error"), null=True)
    since = models.DateField(_("first day"), null=True)
    n_days = models.IntegerField(_("days"), default=0)
    grown_7 = BytesField(_("growth in 7 days"), null=True)
    grown_30 = BytesField(_("growth in 30 days"), null=True)
    unusual_7 = models.FloatField(null=True)
    unusual_30 = models.FloatField(null=True)
    # Of a total: the number of its instances, and of those with a size.
    n_parts = models.IntegerField(default=0)
    n_sized = models.IntegerField(default=0)

    class Meta:
        verbose_name = _("projection")
        verbose_name_plural = _("projections")
        constraints = [models.UniqueConstraint(fields=["kind", "target"], name="projection_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"

    @classmethod
    def of(cls, answer: Forecast | NoForecast, **fields: object) -> Projection:
        """The row of an answer, not saved."""
        if isinstance(answer, NoForecast):
            return cls(as_of=answer.as_of, reason=answer.code, n_recent=answer.known, size=answer.size, **fields)
        bounds = {name: [getattr(answer.ahead[days], name) for days in AHEAD] for name in ("low", "expected", "high")}
        return cls(
            **{name: getattr(answer, name) for name in ("as_of", "size", "model", "error", "since", "n_days")},
            **{f"grown_{days}": grown for days, grown in answer.grown.items()},
            **{f"unusual_{days}": score for days, score in answer.unusual.items()},
            **bounds,
            n_recent=0,
            **fields,
        )

    def answer(self, limit: int | None, stale_before: date) -> Forecast | NoForecast:
        """The forecast beside a limit. It is stale if its last size is of a day before `stale_before`."""
        times: dict[str, date | datetime | bool | int | None] = {
            "as_of": self.as_of,
            "computed_at": self.computed_at,
            "is_stale": self.as_of is not None and self.as_of < stale_before,
            "n_sized": self.n_sized,
            "n_parts": self.n_parts,
        }
        if self.reason:
            return NoForecast(self.reason, self.n_recent, size=self.size, **times)
        ahead = zip(AHEAD, self.low, self.expected, self.high, strict=True)
        return Forecast(
            **{name: getattr(self, name) for name in ("size", "model", "error", "since", "n_days")},
            limit=limit,
            ahead={days: Range(*sizes) for days, *sizes in ahead},
            grown={7: self.grown_7, 30: self.grown_30},
            unusual={7: self.unusual_7, 30: self.unusual_30},
            **times,
        )
