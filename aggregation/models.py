"""Sizes by closed day, week, month and quarter. What is still running is computed when somebody looks."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from capacity.models import Database
from instances.models import Instance

from .periods import Period, Span, span_of

PERIODS = [
    (Period.DAILY.value, _("daily")),
    (Period.WEEKLY.value, _("weekly")),
    (Period.MONTHLY.value, _("monthly")),
    (Period.QUARTERLY.value, _("quarterly")),
]


class AggregateQuerySet(models.QuerySet[Any]):
    def of(self, span: Span) -> AggregateQuerySet:
        return self.filter(period=span.period, start=span.first)

    def whole(self) -> AggregateQuerySet:
        """Those with a size for every day that was to be expected."""
        return self.filter(days_collected__gte=F("days_expected"))

    def partial(self) -> AggregateQuerySet:
        """Those that are not whole."""
        return self.filter(days_collected__lt=F("days_expected"))


class Aggregate(models.Model):
    """What one owner took over a closed period, from its rows of single days. Sizes are bytes.

    `change` is the last size less that of the period before, and null where that has none; so it is what came in this
    period. A day that is missing is in no figure but `days_expected`.
    """

    period = models.CharField(_("period"), max_length=10, choices=PERIODS)
    start = models.DateField(_("from"))
    end = models.DateField(_("to"))
    avg_size = models.DecimalField(_("average"), max_digits=24, decimal_places=4)
    min_size = models.BigIntegerField(_("smallest"))
    max_size = models.BigIntegerField(_("largest"))
    first_size = models.BigIntegerField(_("first"))
    last_size = models.BigIntegerField(_("last"))
    days_collected = models.IntegerField(_("days collected"))
    days_expected = models.IntegerField(_("days expected"))
    change = models.BigIntegerField(_("change"), null=True)
    change_percent = models.DecimalField(_("change, percent"), max_digits=24, decimal_places=4, null=True)
    computed_at = models.DateTimeField(_("computed"))

    objects = AggregateQuerySet.as_manager()

    class Meta:
        abstract = True
        # As the index of growth has it: of tens of millions of rows, no list may sort all.
        ordering = ["period", "-start", F("change").desc(nulls_last=True), "pk"]

    @property
    def span(self) -> Span:
        return span_of(Period(self.period), self.start)

    @property
    def is_whole(self) -> bool:
        return self.days_collected >= self.days_expected


def growth_index(name: str) -> models.Index:
    return models.Index("period", F("start").desc(), F("change").desc(nulls_last=True), name=name)


class DatabaseAggregate(Aggregate):
    database = models.ForeignKey(
        Database, on_delete=models.CASCADE, related_name="aggregates", verbose_name=_("database"), db_index=False
    )

    class Meta(Aggregate.Meta):
        verbose_name = _("database aggregate")
        verbose_name_plural = _("database aggregates")
        constraints = [models.UniqueConstraint(fields=["database", "period", "start"], name="database_aggregate_once")]
        indexes = [growth_index("database_growth")]

    def __str__(self) -> str:
        told = gettext("%(what)s, %(period)s from %(start)s")
        return told % {"what": self.database, "period": self.get_period_display(), "start": self.start}


class InstanceAggregate(Aggregate):
    """`days_complete` are those of the collected days on which nothing went unread."""

    instance = models.ForeignKey(
        Instance, on_delete=models.CASCADE, related_name="aggregates", verbose_name=_("instance"), db_index=False
    )
    days_complete = models.IntegerField(_("days complete"))

    class Meta(Aggregate.Meta):
        verbose_name = _("instance aggregate")
        verbose_name_plural = _("instance aggregates")
        constraints = [models.UniqueConstraint(fields=["instance", "period", "start"], name="instance_aggregate_once")]
        indexes = [growth_index("instance_growth")]

    def __str__(self) -> str:
        told = gettext("%(what)s, %(period)s from %(start)s")
        return told % {"what": self.instance, "period": self.get_period_display(), "start": self.start}


class ChangedDay(models.Model):
    """A day whose sizes were written or corrected since the periods that hold it were aggregated.

    The store itself keeps these: a trigger on the tables of sizes adds one, whoever writes. `version` grows with every
    write, so that one that comes while the day is aggregated is not forgotten.
    """

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="+")
    day = models.DateField()
    version = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["instance", "day"], name="changed_day_once")]

    def __str__(self) -> str:
        return f"{self.instance} on {self.day}"


class InstanceLimit(models.Model):
    """How big an instance may become, as people say: the disk it has, or a budget."""

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, related_name="limit", verbose_name=_("instance")
    )
    size = models.BigIntegerField(
        _("limit, bytes"),
        validators=[MinValueValidator(1)],
        help_text=_("Forecasts say when the total of the instance will reach it."),
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    set_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    set_at = models.DateTimeField(_("set"), auto_now=True)

    class Meta:
        ordering = ["instance__name"]
        verbose_name = _("size limit")
        verbose_name_plural = _("size limits")

    def __str__(self) -> str:
        return f"{self.instance}: {self.size}"
