"""What a group of instances should be like, and which deviations from that are accepted."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from console.fields import NameField
from console.wildcards import regex
from instances.models import Instance
from tagging.models import Tag
from work.days import local_day


class BaselineQuerySet(models.QuerySet["Baseline"]):
    def active(self) -> BaselineQuerySet:
        return self.filter(active=True)

    def without_documents(self) -> BaselineQuerySet:
        """Documents may have many megabytes; they are loaded when they are used."""
        return self.defer("state", "counted")


class Baseline(models.Model):
    """A group of instances, and the instance or saved state that all of them should be like.

    `state` is a document of `states`, and stands instead of the reference. The reference is not compared with itself.
    """

    name = models.CharField(_("name"), max_length=100, unique=True)
    tag = models.ForeignKey(
        Tag,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="baselines",
        verbose_name=_("tag"),
        help_text=_("Compare all instances with this tag."),
    )
    instances = models.ManyToManyField(
        Instance,
        blank=True,
        related_name="baselines",
        verbose_name=_("instances"),
        help_text=_("Compare these too."),
    )
    reference = models.ForeignKey(
        Instance,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="reference_of",
        verbose_name=_("reference instance"),
        help_text=_("What the instances should be like. Empty: the saved state."),
    )
    state = models.JSONField(_("saved state"), null=True, editable=False)
    state_at = models.DateTimeField(_("state saved"), null=True, editable=False)
    #: What `news` keeps of the last comparison: never an answer without its basis.
    counted = models.JSONField(null=True, editable=False)
    ignored = models.TextField(
        _("ignored accounts"),
        blank=True,
        help_text=_("One name in a line. * stands for any characters, ? for one."),
    )
    active = models.BooleanField(_("active"), default=True, help_text=_("Alert rules report active baselines only."))
    note = models.CharField(_("note"), max_length=200, blank=True)

    objects = BaselineQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = _("baseline")
        verbose_name_plural = _("baselines")

    def __str__(self) -> str:
        return self.name

    def group(self) -> QuerySet[Instance]:
        """The instances that are compared. Retired ones are not."""
        chosen = Q(pk__in=self.instances.order_by().values("pk"))
        if self.tag_id:
            chosen |= Q(instance_tags__tag=self.tag_id)
        return Instance.objects.active().filter(chosen).exclude(pk=self.reference_id or 0).distinct()

    @property
    def ignored_regex(self) -> str:
        """A regular expression that matches the whole name of each ignored account; one that matches nothing without
        patterns."""
        patterns = [line.strip() for line in self.ignored.splitlines() if line.strip()]
        return f"^(?:{'|'.join(map(regex, patterns))})$" if patterns else r"^(?!)"


class AcceptanceQuerySet(models.QuerySet["Acceptance"]):
    def current(self) -> Self:
        """What is accepted today."""
        return self.filter(Q(ends_on=None) | Q(ends_on__gte=local_day()))


class Acceptance(models.Model):
    """Something that is known and permitted until a day."""

    reason = models.CharField(_("reason"), max_length=500)
    ticket = models.CharField(_("ticket"), max_length=200, blank=True)
    ends_on = models.DateField(
        _("accepted until"), null=True, blank=True, help_text=_("The last day. Empty: without an end.")
    )
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("accepted by"),
    )
    accepted_at = models.DateTimeField(_("accepted"), auto_now=True)

    objects = AcceptanceQuerySet.as_manager()

    class Meta:
        abstract = True

    def clean(self) -> None:
        if self.ends_on and self.ends_on < local_day():
            raise ValidationError({"ends_on": _("This day has passed.")})


class AcceptedDeviation(Acceptance):
    """A deviation that is known and permitted, on one instance or (None) on all of the baseline, until a day.

    `key` is the digest of the deviation, with what is expected and what is found: when that changes, it is another
    deviation. The names are kept for people.
    """

    baseline = models.ForeignKey(
        Baseline, on_delete=models.CASCADE, related_name="accepted", verbose_name=_("baseline"), db_index=False
    )
    instance = models.ForeignKey(
        Instance,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="accepted_deviations",
        verbose_name=_("instance"),
    )
    key = models.CharField(max_length=32, editable=False)
    account = NameField(_("account"), blank=True)
    deviation = models.TextField(_("deviation"))

    class Meta:
        ordering = ["baseline__name", "account", "deviation", "pk"]
        verbose_name = _("accepted deviation")
        verbose_name_plural = _("accepted deviations")
        constraints = [
            models.UniqueConstraint(
                fields=["baseline", "instance", "key"], nulls_distinct=False, name="deviation_accepted_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.account}: {self.deviation}"


def shown_baselines(ids: QuerySet) -> Q:
    """Baselines with an instance that the user may see."""
    return Q(
        pk__in=Baseline.objects.order_by()
        .filter(Q(instances__in=ids) | Q(tag__instance_tags__instance__in=ids))
        .values("pk")
    )


def shown_accepted(ids: QuerySet) -> Q:
    """Those on an instance that the user may see, or on all of a baseline that the user may see."""
    shown = Baseline.objects.order_by().filter(shown_baselines(ids)).values("pk")
    return Q(instance__in=ids) | Q(instance=None, baseline__in=shown)
