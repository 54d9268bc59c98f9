"""Sizes by closed day, week, month and quarter. Figures of the current period are computed on request."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from capacity.models import Database
from console.fields import BytesField
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
        """Aggregates with a size for every expected day."""
        return self.filter(days_collected__gte=F("days_expected"))

    def partial(self) -> AggregateQuerySet:
        """Those that are not whole."""
        return self.filter(days_collected__lt=F("days_expected"))


class Aggregate(models.Model):
    """Sizes of one instance or database over a closed period, from its sizes by day, in bytes.

    `change` is the last size minus that of the previous period, and null if that has none. A missing day counts only in
    `days_expected`.
    """

    period = models.CharField(_("period"), max_length=10, choices=PERIODS)
    start = models.DateField(_("from"))
    end = models.DateField(_("to"))
    avg_size = models.DecimalField(_("average"), max_digits=24, decimal_places=4)
    min_size = BytesField(_("smallest"))
    max_size = BytesField(_("largest"))
    first_size = BytesField(_("first"))
    last_size = BytesField(_("last"))
    days_collected = models.IntegerField(_("days collected"))
    days_expected = models.IntegerField(_("days expected"))
    change = BytesField(_("change"), null=True)
    change_percent = models.DecimalField(_("change, percent"), max_digits=24, decimal_places=4, null=True)
    computed_at = models.DateTimeField(_("computed"))

    objects = AggregateQuerySet.as_manager()

    class Meta:
        abstract = True
        # The order of the growth index: sorting tens of millions of rows for a list would take too long.
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
        text = gettext("%(what)s, %(period)s from %(start)s")
        return text % {"what": self.database, "period": self.get_period_display(), "start": self.start}


class InstanceAggregate(Aggregate):
    """`days_complete` counts the collected days on which every size was read."""

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
        text = gettext("%(what)s, %(period)s from %(start)s")
        return text % {"what": self.instance, "period": self.get_period_display(), "start": self.start}


class ChangedDay(models.Model):
    """A day with sizes that were written or corrected since its periods were aggregated.

    A trigger on the tables of sizes adds these rows. `version` grows with every write, so that a write during the
    aggregation of its day is not lost.
    """

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="+")
    day = models.DateField()
    version = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["instance", "day"], name="changed_day_once")]

    def __str__(self) -> str:
        return f"{self.instance} on {self.day}"
