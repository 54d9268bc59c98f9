"""Classifications, rules, and their assignments to accounts.

An `Assignment` is an interval, as grants are: it holds from `since` until `until`, and now where that is null. Runs
begin and end the assignments of rules; users begin and end manual ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Case, Count, Exists, Min, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from console.suggestions import nearest
from console.visibility import shown_to
from console.wildcards import has_wildcards
from engines.registry import ENGINES, engine_choices
from instances.models import Instance
from sync.texts import text_of
from tagging.models import Tag

from .rules import Part, RuleError, parse, terms

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class ClassificationQuerySet(models.QuerySet["Classification"]):
    def with_counts(self, user: User | None = None) -> ClassificationQuerySet:
        """Add n_accounts (that have it now, by rule or by hand, and that the user may see) and n_rules (active)."""
        held = (
            shown_to(Assignment.objects.current(), user)
            .filter(classification=OuterRef("pk"))
            .order_by()
            .values("classification")
        )
        rules = ClassificationRule.objects.in_force().filter(classification=OuterRef("pk")).order_by()
        return self.annotate(
            n_accounts=Coalesce(Subquery(held.annotate(n=Count("account", distinct=True)).values("n")), 0),
            n_rules=Coalesce(Subquery(rules.values("classification").annotate(n=Count("*")).values("n")), 0),
        )


class Classification(models.Model):
    """A label of accounts, assigned by rules or by hand."""

    class Risk(models.TextChoices):
        CRITICAL = "critical", _("critical")
        HIGH = "high", _("high")
        MEDIUM = "medium", _("medium")
        LOW = "low", _("low")
        NONE = "none", _("none")

    code = models.SlugField(_("code"), max_length=50, unique=True)
    name = models.CharField(_("name"), max_length=100)
    risk = models.CharField(_("risk"), max_length=10, choices=Risk, default=Risk.MEDIUM)
    colour = models.CharField(
        _("colour"),
        max_length=7,
        default="#64748b",
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$", _("A colour looks like #64748b."))],
    )
    priority = models.PositiveIntegerField(
        _("priority"), default=100, help_text=_("The classification with the smallest number is shown first.")
    )
    is_system = models.BooleanField(_("shipped with Taifish"), default=False, editable=False)
    note = models.TextField(_("note"), blank=True)

    objects = ClassificationQuerySet.as_manager()

    class Meta:
        ordering = ["priority", "name"]
        verbose_name = _("classification")
        verbose_name_plural = _("classifications")
        permissions = [("run_classification", "Can run the rules of classification")]

    def __str__(self) -> str:
        """Return the name; if shipped, in the reader's language."""
        return gettext(self.name) if self.is_system else self.name


class ClassificationRuleQuerySet(models.QuerySet["ClassificationRule"]):
    def in_force(self) -> ClassificationRuleQuerySet:
        """Rules that runs apply."""
        return self.filter(active=True, retired_at=None)

    def present(self) -> ClassificationRuleQuerySet:
        """Rules that are not deleted."""
        return self.filter(retired_at=None)


class ClassificationRule(models.Model):
    """An expression that assigns a classification. Earlier expressions are kept as versions.

    A deleted rule is retired: it no longer applies, and its past assignments still refer to it.
    """

    classification = models.ForeignKey(
        Classification, on_delete=models.PROTECT, related_name="rules", verbose_name=_("classification")
    )
    code = models.SlugField(_("code"), max_length=50, unique=True)
    name = models.CharField(_("name"), max_length=200)
    engine = models.CharField(
        _("engine"), max_length=20, choices=engine_choices, blank=True, help_text=_("Empty: all engines.")
    )
    expression = models.TextField(_("expression"))
    active = models.BooleanField(_("active"), default=True)
    version = models.PositiveIntegerField(_("version"), default=0, editable=False)
    mapping = models.CharField(
        _("maps to"), max_length=300, blank=True, help_text=_("Items of standards that the rule covers.")
    )
    note = models.TextField(_("note"), blank=True)
    is_system = models.BooleanField(_("shipped with Taifish"), default=False, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)
    retired_at = models.DateTimeField(_("deleted"), null=True, editable=False)

    #: The user who validates the rule: tags they may not see are not suggested.
    asked_by: User | None = None

    objects = ClassificationRuleQuerySet.as_manager()

    class Meta:
        ordering = ["classification__priority", "code"]
        verbose_name = _("rule")
        verbose_name_plural = _("rules")

    def __str__(self) -> str:
        return self.code

    @property
    def title(self) -> str:
        """The name; if shipped, in the reader's language."""
        return gettext(self.name) if self.is_system else self.name

    def clean(self) -> None:
        """Reject a rule that no run could apply."""
        if self.engine and self.engine not in ENGINES:
            raise ValidationError({"engine": gettext("Unknown engine “%s”.") % self.engine})
        try:
            rule = parse(self.expression)
        except RuleError as error:
            raise ValidationError({"expression": str(error)}) from error
        tags = dict(shown_to(Tag.objects.all(), self.asked_by).values_list("slug", "label"))
        self._look_up(rule, "instance_tag", tags, gettext("There is no tag “%s”."))
        codes = dict(Classification.objects.values_list("code", "name"))
        self._look_up(rule, "assigned", codes, gettext("There is no classification “%s”."))

    def _look_up(self, rule: Part, word: str, known: Mapping[str, str], message: str) -> None:
        """Reject unknown names: they would silently match nothing."""
        for text in (text for term in terms(rule) if term.word == word for text in term.texts):
            if not has_wildcards(text) and text not in known:
                raise ValidationError({"expression": message % text + nearest(text, known)})


class RuleVersion(models.Model):
    """A rule's engine and expression, from one edit to the next."""

    rule = models.ForeignKey(ClassificationRule, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(_("version"))
    engine = models.CharField(_("engine"), max_length=20, blank=True)
    expression = models.TextField(_("expression"))
    at = models.DateTimeField(_("since"), auto_now_add=True)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("by"),
    )

    class Meta:
        ordering = ["-number"]
        verbose_name = _("version of a rule")
        verbose_name_plural = _("versions of rules")
        constraints = [models.UniqueConstraint(fields=["rule", "number"], name="rule_version_once")]

    def __str__(self) -> str:
        return f"{self.rule} {self.number}"


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def current(self) -> AssignmentQuerySet:
        return self.filter(until=None)

    def at(self, moment: datetime) -> AssignmentQuerySet:
        """Assignments that held at that moment."""
        return self.filter(Q(until=None) | Q(until__gt=moment), since__lte=moment)

    def with_rank(self) -> AssignmentQuerySet:
        """Add rank: the place of the risk in `Classification.Risk`, 0 for the highest."""
        return self.annotate(rank=by_rank("classification__risk"))

    def accounts_of_risk(self, risk: str) -> QuerySet[Any, Any]:
        """The ids of accounts with this risk as the highest of their assignments."""
        rows = self.order_by().with_rank().values("account").annotate(highest=Min("rank"))
        return rows.filter(highest=Classification.Risk.values.index(risk)).values("account")


def by_rank(path: str) -> Case:
    """The rank of a risk, 0 for the highest."""
    return Case(*(When(**{path: risk, "then": Value(rank)}) for rank, risk in enumerate(Classification.Risk.values)))


def with_risk(accounts: QuerySet[Account]) -> QuerySet[Account]:
    """Each account with risk_rank: the highest risk among its classifications now; None without one."""
    held = Assignment.objects.current().filter(account=OuterRef("pk")).order_by().values("account")
    return accounts.annotate(
        risk_rank=Subquery(held.annotate(rank=Min(by_rank("classification__risk"))).values("rank"))
    )


#: In filters: accounts in no classification.
UNCLASSIFIED = "unclassified"


def of_risk(accounts: QuerySet[Account], risk: str) -> QuerySet[Account]:
    """Return accounts by their highest risk now. UNCLASSIFIED means accounts without a classification."""
    held = Assignment.objects.current()
    if risk == UNCLASSIFIED:
        return accounts.filter(~Exists(held.filter(account=OuterRef("pk"))))
    return accounts.filter(pk__in=held.accounts_of_risk(risk))


class Assignment(models.Model):
    """`account` has this classification for this interval: by a rule, or by hand with a reason."""

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="assignments", verbose_name=_("account")
    )
    # Copied from the account, where it never changes: a run for one instance need not scan all others.
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="+", verbose_name=_("instance"))
    classification = models.ForeignKey(
        Classification, on_delete=models.PROTECT, related_name="assignments", verbose_name=_("classification")
    )
    rule = models.ForeignKey(
        ClassificationRule,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="assignments",
        verbose_name=_("rule"),
        help_text=_("Empty: assigned by hand."),
    )
    rule_version = models.PositiveIntegerField(_("version of the rule"), null=True, blank=True)
    reason = models.TextField(_("reason"), blank=True)
    assigned_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("by"),
    )
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"), null=True, blank=True)
    unconfirmed_since = models.DateTimeField(
        _("not confirmed since"),
        null=True,
        help_text=_("The first run with an unknown answer. Empty: the last answer was known."),
    )

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        ordering = ["classification__priority", "instance__name", "account__name", "id"]
        verbose_name = _("assignment")
        verbose_name_plural = _("assignments")
        constraints = [
            models.UniqueConstraint(
                fields=["account", "rule"], condition=Q(until=None, rule__isnull=False), name="assignment_once_by_rule"
            ),
            models.UniqueConstraint(
                fields=["account", "classification"],
                condition=Q(until=None, rule=None),
                name="assignment_once_by_hand",
            ),
            models.CheckConstraint(condition=Q(rule__isnull=False) | ~Q(reason=""), name="assignment_says_why"),
        ]
        indexes = [
            models.Index(fields=["rule", "instance"], name="assignment_now", condition=Q(until=None)),
            models.Index(fields=["classification", "account"], name="assignment_of_class", condition=Q(until=None)),
        ]

    def __str__(self) -> str:
        return f"{self.account}: {self.classification}"

    @property
    def is_manual(self) -> bool:
        return self.rule_id is None


class RuleResult(models.Model):
    """Result of the last run of a rule on one instance: examined = matched + unknown + not matched, and matched =
    gained + kept. Unknown accounts keep their assignments. With an `error` all accounts do, and all counts are 0."""

    COUNTS = ("examined", "matched", "unknown", "gained", "lost", "kept")

    rule = models.ForeignKey(
        ClassificationRule, on_delete=models.CASCADE, related_name="results", verbose_name=_("rule")
    )
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="+", verbose_name=_("instance"))
    version = models.PositiveIntegerField(_("version of the rule"))
    at = models.DateTimeField(_("run"))
    examined = models.PositiveIntegerField(_("examined"), default=0)
    matched = models.PositiveIntegerField(_("matched"), default=0)
    unknown = models.PositiveIntegerField(_("unknown"), default=0)
    gained = models.PositiveIntegerField(_("gained"), default=0)
    lost = models.PositiveIntegerField(_("lost"), default=0)
    kept = models.PositiveIntegerField(_("kept"), default=0)
    message = models.TextField(_("message"), blank=True)

    class Meta:
        ordering = ["rule__code", "instance__name"]
        verbose_name = _("result of a rule")
        verbose_name_plural = _("results of rules")
        constraints = [models.UniqueConstraint(fields=["rule", "instance"], name="rule_result_once")]

    def __str__(self) -> str:
        return f"{self.rule} on {self.instance}"

    @property
    def error(self) -> str:
        """Why the rule was not applied, in the reader's language."""
        parameters = {"rule": self.rule.code, "message": self.message}
        return text_of("rule_failed", parameters)[0] if self.message else ""

    def counts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.COUNTS}


class ClassificationCount(models.Model):
    """Number of accounts with a classification, and of unknown answers of its rules, after the last run of a local
    day."""

    day = models.DateField(_("day"))
    classification = models.ForeignKey(
        Classification, on_delete=models.CASCADE, related_name="counts", verbose_name=_("classification")
    )
    accounts = models.PositiveIntegerField(_("accounts"))
    unknown = models.PositiveIntegerField(_("unknown"))

    class Meta:
        ordering = ["-day", "classification__priority"]
        verbose_name = _("count of a day")
        verbose_name_plural = _("counts by day")
        constraints = [models.UniqueConstraint(fields=["classification", "day"], name="count_once_a_day")]

    def __str__(self) -> str:
        return f"{self.day}: {self.classification}"
