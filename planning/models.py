"""How big things may become: limits that users set, and volumes that instances share."""

from __future__ import annotations

from datetime import date, datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from capacity.models import Database
from console.fields import BytesField
from instances.models import Instance
from tagging.models import Tag

from .forecast import AHEAD, Forecast, NoForecast, Range


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


class Projection(models.Model):
    """How one size will go on, as computed after a collection; limits do not matter for it.

    `kind` and `target` name what has the size: a kind of `reading.KINDS` or "untagged", and its primary key, 0 for the
    fleet and for all instances without a tag. `instance` is the one it lies in. Without a forecast `reason` is a code
    of `forecast.REASONS`, else "". `low`, `expected` and `high` are bytes at `forecast.AHEAD`; the other fields are
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
            return cls(as_of=answer.as_of, reason=answer.code, n_recent=answer.known, **fields)
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
        times: dict[str, date | datetime | bool | None] = {
            "as_of": self.as_of,
            "computed_at": self.computed_at,
            "is_stale": self.as_of is not None and self.as_of < stale_before,
        }
        if self.reason:
            return NoForecast(self.reason, self.n_recent, **times)
        ahead = zip(AHEAD, self.low, self.expected, self.high, strict=True)
        return Forecast(
            **{name: getattr(self, name) for name in ("size", "model", "error", "since", "n_days")},
            limit=limit,
            ahead={days: Range(*sizes) for days, *sizes in ahead},
            grown={7: self.grown_7, 30: self.grown_30},
            unusual={7: self.unusual_7, 30: self.unusual_30},
            **times,
        )
