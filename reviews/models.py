"""Campaigns that review who may do what: a population that is frozen once, and decisions about each item of it.

Frozen rows hold texts and numbers as they were then: ids of other apps have no constraint, so that an instance can be
purged, and a user deleted, without a change of what was reviewed. Triggers refuse changes; see the first migration.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from access.question import Question
from accounts.freshness import days_between, days_held, is_at_least
from accounts.models import Account
from classification.models import Classification
from engines.registry import engine_choices
from engines.statements import printable
from instances.models import Instance
from tagging.models import Tag
from work.days import local_day

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def _frozen(model: Any, label: Any, **options: Any) -> models.ForeignKey:
    """A reference to a row that may be gone by now."""
    return models.ForeignKey(
        model, models.DO_NOTHING, null=True, db_constraint=False, related_name="+", verbose_name=label, **options
    )


class CampaignQuerySet(models.QuerySet["Campaign"]):
    def with_counts(self, items: QuerySet[Item]) -> CampaignQuerySet:
        """Each campaign with n_items, n_decided and n_revoked of these items."""
        found = items.filter(campaign=OuterRef("pk")).order_by().values("campaign")

        def count(**condition: Any) -> Any:
            return Subquery(found.annotate(n=Count("pk", filter=Q(**condition))).values("n"))

        return self.annotate(
            n_items=count(), n_decided=count(verdict__gt=""), n_revoked=count(verdict=Decision.Verdict.REVOKE)
        )


class Campaign(models.Model):
    """A review of what accounts may do: draft, running since the freeze, closed, acknowledged, sealed."""

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        RUNNING = "running", _("running")
        CLOSED = "closed", _("closed")
        ACKNOWLEDGED = "acknowledged", _("acknowledged")
        SEALED = "sealed", _("sealed")

    class By(models.TextChoices):
        OWNER = "owner", _("owners of accounts, else those named")
        TAG = "tag", _("those named for a tag, else those named")
        NAMED = "named", _("those named")

    name = models.CharField(_("name"), max_length=200, unique=True)
    tags = models.ManyToManyField(
        Tag, blank=True, verbose_name=_("tags"), help_text=_("Instances with any of them. Empty: all instances.")
    )
    engines = ArrayField(
        models.CharField(max_length=20, choices=engine_choices),
        default=list,
        blank=True,
        verbose_name=_("engines"),
        help_text=_("Empty: all engines."),
    )
    classifications = models.ManyToManyField(
        Classification,
        blank=True,
        verbose_name=_("classifications"),
        help_text=_("Accounts with any of them. Empty: all accounts."),
    )
    privilege = models.CharField(
        _("privilege"),
        max_length=200,
        blank=True,
        help_text=_(
            "Only who has this privilege, by any path, as on the page “Who can”. Empty: accounts with their "
            "memberships, direct grants and classifications, and who is all-powerful by any path."
        ),
    )
    on = models.TextField(_("object"), blank=True, help_text=_("Empty: the whole instance."))
    by = models.CharField(_("reviewers"), max_length=10, choices=By, default=By.NAMED)
    due_on = models.DateField(_("due"))
    escalate_to = _frozen(
        settings.AUTH_USER_MODEL,
        _("escalate to"),
        blank=True,
        db_index=False,
        help_text=_(
            "The alert kind “review overdue” names this user when items still have no decision after the days below. "
            "The items stay with their reviewers until they are delegated."
        ),
    )
    escalate_after = models.PositiveSmallIntegerField(
        _("escalate after"),
        default=3,
        validators=[MaxValueValidator(365)],
        help_text=_("Days after the due day."),
    )
    previous = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="following",
        verbose_name=_("previous campaign"),
        help_text=_("Differences to it are shown, and what was decided then."),
    )
    note = models.TextField(_("note"), blank=True)
    state = models.CharField(_("state"), max_length=15, choices=State, default=State.DRAFT, editable=False)
    scope_text = models.TextField(_("scope"), blank=True, editable=False)
    query_text = models.TextField(_("query"), blank=True, editable=False)
    version = models.CharField(_("version of Taifish"), max_length=50, blank=True, editable=False)
    created_by = _frozen(settings.AUTH_USER_MODEL, _("created by"), editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    frozen_at = models.DateTimeField(_("frozen"), null=True, editable=False)
    closed_at = models.DateTimeField(_("closed"), null=True, editable=False)
    acknowledged_by = _frozen(settings.AUTH_USER_MODEL, _("acknowledged by"), editable=False)
    acknowledged_name = models.CharField(_("acknowledged by"), max_length=200, blank=True, editable=False)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True, editable=False)
    acknowledged_text = models.TextField(_("acknowledgement"), blank=True, editable=False)
    sealed_at = models.DateTimeField(_("sealed"), null=True, editable=False)

    objects = CampaignQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        permissions = [("acknowledge_campaign", "Can acknowledge and seal a campaign")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.on and not self.privilege:
            raise ValidationError({"privilege": gettext("Name the privilege on the object.")})
        try:
            Question.parse(self.privilege, self.on)
        except ValueError as error:
            raise ValidationError({"on": str(error)}) from error

    @property
    def is_draft(self) -> bool:
        return self.state == self.State.DRAFT

    @property
    def is_running(self) -> bool:
        return self.state == self.State.RUNNING

    @property
    def is_overdue(self) -> bool:
        return self.is_running and self.due_on < local_day()


class Reviewer(models.Model):
    """A user who reviews in a campaign: the items of instances with the tag, or any without one."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="reviewers")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", verbose_name=_("user")
    )
    tag = models.ForeignKey(
        Tag, null=True, blank=True, on_delete=models.CASCADE, related_name="+", verbose_name=_("tag")
    )

    class Meta:
        ordering = ["pk"]
        verbose_name = _("reviewer")
        verbose_name_plural = _("reviewers")
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "user", "tag"], nulls_distinct=False, name="reviewer_once_for_a_tag"
            )
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.tag}" if self.tag else str(self.user)


class CampaignInstance(models.Model):
    """An instance in the scope of a campaign, and what the freeze stands on: its last read, and what that lacks."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, db_index=False, related_name="instances")
    instance = _frozen(Instance, _("instance"))
    name = models.CharField(_("instance"), max_length=200)
    engine = models.CharField(_("engine"), max_length=20)
    session = models.BigIntegerField(_("session"), null=True)
    read_at = models.DateTimeField(_("last read"), null=True)
    level = models.CharField(_("read depth"), max_length=1, blank=True)
    #: The first visit that read all of this. Rights that it found may be older.
    known_from = models.DateTimeField(null=True)
    stale = models.TextField(_("not current"), blank=True)
    unread = ArrayField(models.TextField(), default=list, verbose_name=_("not readable"))
    beyond = ArrayField(models.TextField(), default=list, verbose_name=_("beyond the read depth"))
    unknown = models.TextField(_("not known"), blank=True)
    n_left_out = models.PositiveIntegerField(
        _("left out"), default=0, help_text=_("Accounts that the engine maintains and that cannot log in.")
    )

    class Meta:
        ordering = ["name"]
        verbose_name = _("instance of a campaign")
        verbose_name_plural = _("instances of campaigns")
        constraints = [models.UniqueConstraint(fields=["campaign", "instance"], name="campaign_has_instance_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_unknown(self) -> bool:
        """Whether some part of the population may be missing or outdated."""
        return bool(self.reason)

    @property
    def reason(self) -> str:
        """Why it is unknown, or ""."""
        return "; ".join(dict.fromkeys(filter(None, [self.stale, self.unknown, *self.unread])))


class ItemQuerySet(models.QuerySet["Item"]):
    def of(self, user: User) -> ItemQuerySet:
        """The items that the user has to decide, or has decided, in campaigns."""
        return self.filter(reviewer=user).exclude(campaign__state=Campaign.State.DRAFT)

    def undecided(self) -> ItemQuerySet:
        return self.filter(verdict="")

    def overdue(self, today: date) -> ItemQuerySet:
        """Without a decision, in running campaigns that were due before this day."""
        return self.undecided().filter(campaign__state=Campaign.State.RUNNING, campaign__due_on__lt=today)

    def with_observed(self) -> ItemQuerySet:
        """Each item with `is_gone`, `observed_at` and `observed_in` of its last observation, None without one."""
        last = Observation.objects.filter(item=OuterRef("pk")).order_by("-pk")
        return self.annotate(
            is_gone=Subquery(last.values("gone")[:1]),
            observed_at=Subquery(last.values("at")[:1]),
            observed_in=Subquery(last.values("session")[:1]),
        )

    def open(self) -> ItemQuerySet:
        """Decided to be revoked, and not seen gone."""
        # Not by exclude(): without an observation it is null.
        unseen = Q(is_gone=None) | Q(is_gone=False)
        return self.with_observed().filter(unseen, verdict=Decision.Verdict.REVOKE)

    def with_last_decision(self) -> ItemQuerySet:
        """Each item with `decided_at`, `decided_by` and `reason` of the decision that counts, None without one."""
        last = Decision.objects.filter(item=OuterRef("pk")).order_by("-pk")
        return self.annotate(
            decided_at=Subquery(last.values("at")[:1]),
            decided_by=Subquery(last.values("by_name")[:1]),
            reason=Subquery(last.values("reason")[:1]),
        )

    def with_previous(self) -> ItemQuerySet:
        """Each item with `previous_verdict`: what was decided about the same in the previous campaign. "" without a
        decision, None for what was not in it."""
        same = Item.objects.filter(campaign=OuterRef("campaign__previous"), same_as=OuterRef("same_as"))
        return self.annotate(previous_verdict=Subquery(same.values("verdict")[:1]))

    def new_since_previous(self) -> ItemQuerySet:
        same = Item.objects.filter(campaign=OuterRef("campaign__previous"), same_as=OuterRef("same_as"))
        return self.filter(~Exists(same))


class Item(models.Model):
    """One thing to decide about: an account, or something that it has.

    `chain` is how the account comes to have it: a list of paths, each a list of {"text", "since"}. `same_as` is the
    same for the same thing in another campaign. `object_ids` are ids of rows of `accounts` and `classification`, for
    later visits to compare with. Only the reviewer and the last verdict change, until the campaign is sealed.
    """

    class What(models.TextChoices):
        ACCOUNT = "account", _("account")
        MEMBERSHIP = "membership", _("membership")
        GRANT = "grant", _("grant")
        CLASSIFICATION = "classification", _("classification")
        ACCESS = "access", _("access by any path")

    campaign = models.ForeignKey(
        Campaign, on_delete=models.CASCADE, db_index=False, related_name="items", verbose_name=_("campaign")
    )
    place = models.ForeignKey(
        CampaignInstance, on_delete=models.CASCADE, related_name="items", verbose_name=_("instance")
    )
    account = _frozen(Account, _("account"))
    account_label = models.TextField(_("account"))
    what = models.CharField(_("what"), max_length=15, choices=What)
    privilege = models.TextField(_("right"), blank=True)
    object_kind = models.CharField(_("kind of object"), max_length=20, blank=True)
    database = models.TextField(_("database"), blank=True)
    object = models.TextField(_("object"), blank=True)
    #: Id of the role, or of the classification.
    object_id = models.BigIntegerField(null=True)
    #: Id of the object in the engine.
    native_id = models.TextField(blank=True)
    chain = models.JSONField(_("path"), default=list)
    since = models.DateTimeField(_("since"), null=True)
    held_since = models.DateTimeField(_("held since"), null=True)
    extent = models.TextField(_("extent"), blank=True)
    usable = models.TextField(_("usable"), blank=True)
    risk = models.CharField(_("risk"), max_length=10, blank=True, choices=Classification.Risk)
    unobserved_since = models.DateTimeField(_("not observed since"), null=True)
    owner_name = models.TextField(_("owner"), blank=True)
    #: The user whose account it is.
    reviewed = _frozen(settings.AUTH_USER_MODEL, _("reviewed"), db_index=False)
    reviewer = _frozen(settings.AUTH_USER_MODEL, _("reviewer"), db_index=False)
    verdict = models.CharField(_("decision"), max_length=10, blank=True)
    same_as = models.CharField(max_length=32)

    objects = ItemQuerySet.as_manager()

    class Meta:
        ordering = ["place__name", "account_label", "pk"]
        verbose_name = _("review item")
        verbose_name_plural = _("review items")
        permissions = [("decide_item", "Can decide the review items that are assigned to them")]
        indexes = [
            models.Index(fields=["campaign", "same_as"], name="item_same"),
            models.Index(fields=["reviewer", "campaign", "verdict"], name="item_of_reviewer"),
            # For the board, which reads nothing else.
            models.Index(fields=["campaign", "reviewer", "verdict"], name="item_progress"),
            models.Index(fields=["verdict"], name="item_revoked", condition=Q(verdict="revoke")),
        ]

    def __str__(self) -> str:
        return f"{self.account_label}: {self.right}" if self.right else self.account_label

    @property
    def _seen(self) -> datetime | None:
        """When the right was last seen before the freeze."""
        return self.unobserved_since or self.place.read_at

    @property
    def days_held(self) -> int | None:
        """Days from when the right is known to be held to the last visit before the freeze that saw it."""
        return days_between(self.held_since, self._seen)

    @property
    def is_at_least(self) -> bool | None:
        """Whether it may have been held for longer; None if it is not known since when it is held."""
        return None if self.held_since is None else is_at_least(self.held_since, self.place.known_from)

    @property
    def held(self) -> str:
        """For how long the right had been held at the freeze, as far as visits saw it, in words."""
        return days_held(self.held_since, self.place.known_from, self._seen)

    @property
    def right(self) -> str:
        """What the account has, in words; "" for the account itself."""
        if self.what == self.What.MEMBERSHIP:
            return gettext("in role %s") % self.object
        if self.object:
            return gettext("%(privilege)s on %(kind)s %(scope)s") % {
                "privilege": self.privilege,
                "kind": self.object_kind,
                "scope": self.object,
            }
        return self.privilege


class Decision(models.Model):
    """What a reviewer decided about an item. Append-only: the last one counts.

    `bulk` is the same of decisions that were made at once, about `bulk_size` items. `seconds` is how long the page had
    been open, None where no page was.
    """

    class Verdict(models.TextChoices):
        KEEP = "keep", _("keep")
        REVOKE = "revoke", _("revoke")
        CHANGE = "change", _("change")

    item = models.ForeignKey(Item, on_delete=models.CASCADE, db_index=False, related_name="decisions")
    verdict = models.CharField(_("decision"), max_length=10, choices=Verdict)
    reason = models.TextField(_("reason"), blank=True)
    by = _frozen(settings.AUTH_USER_MODEL, _("by"), db_index=False)
    by_name = models.CharField(_("by"), max_length=200)
    at = models.DateTimeField(_("at"))
    bulk = models.UUIDField(_("made at once"), null=True)
    bulk_size = models.PositiveIntegerField(_("items at once"), default=1)
    seconds = models.PositiveIntegerField(_("seconds"), null=True)

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        indexes = [models.Index(fields=["item", "-id"], name="decision_of_item")]
        constraints = [
            models.CheckConstraint(condition=Q(verdict="keep") | ~Q(reason=""), name="decision_says_why"),
        ]

    def __str__(self) -> str:
        return f"{self.by_name}: {self.verdict}"


class Delegation(models.Model):
    """Items that passed from one reviewer to another, by themselves or by who runs the campaign. Append-only."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="delegations")
    from_name = models.CharField(_("from"), max_length=200, blank=True)
    to = _frozen(settings.AUTH_USER_MODEL, _("to"))
    to_name = models.CharField(_("to"), max_length=200)
    by_name = models.CharField(_("by"), max_length=200)
    reason = models.TextField(_("reason"))
    n_items = models.PositiveIntegerField(_("items"))
    at = models.DateTimeField(_("at"))

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("delegation")
        verbose_name_plural = _("delegations")

    def __str__(self) -> str:
        return f"{self.from_name or '–'} → {self.to_name}: {self.n_items}"


class Observation(models.Model):
    """A visit that saw what was to be revoked gone, or there again. Append-only: the last one counts."""

    item = models.ForeignKey(Item, on_delete=models.CASCADE, db_index=False, related_name="observations")
    gone = models.BooleanField(_("gone"))
    session = models.BigIntegerField(_("session"))
    at = models.DateTimeField(_("at"))

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("observation")
        verbose_name_plural = _("observations")
        indexes = [models.Index(fields=["item", "-id"], name="observation_of_item")]

    def __str__(self) -> str:
        return f"{self.item_id}: {'gone' if self.gone else 'there'}"


class Stamp(models.Model):
    """An RFC 3161 time stamp of a manifest of the campaign's pack, by its SHA-256. Append-only.

    There is one per manifest: a later version of Taifish may write another one."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, db_index=False, related_name="stamps")
    sha256 = models.CharField(max_length=64)
    token = models.BinaryField()
    at = models.DateTimeField(_("time stamp"))
    authority = models.TextField(_("time stamp authority"))

    class Meta:
        ordering = ["pk"]
        default_permissions = ()
        verbose_name = _("time stamp")
        verbose_name_plural = _("time stamps")
        constraints = [models.UniqueConstraint(fields=["campaign", "sha256"], name="stamp_of_manifest_once")]

    def __str__(self) -> str:
        return f"{timezone.localtime(self.at):%Y-%m-%d %H:%M:%S %Z}, {printable(self.authority)}"


class SigningKey(models.Model):
    """The key that signs evidence packs. `token` is the encrypted private key, `public` the public one, both Ed25519 in
    hex."""

    token = models.TextField(editable=False)
    public = models.CharField(_("public key"), max_length=64, editable=False)
    made_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    class Meta:
        ordering = ["pk"]
        default_permissions = ()
        verbose_name = _("signing key")
        verbose_name_plural = _("signing keys")

    def __str__(self) -> str:
        return self.public


# What users see of them: rows of instances that they may see.


def shown_campaigns(ids: QuerySet) -> Q:
    """Campaigns with a visible instance, and drafts, which have none yet."""
    seen = CampaignInstance.objects.filter(instance__in=ids, campaign=OuterRef("pk"))
    return Q(state=Campaign.State.DRAFT) | Q(Exists(seen))


def shown_instances(ids: QuerySet) -> Q:
    return Q(instance__in=ids)


def shown_items(ids: QuerySet) -> Q:
    return Q(place__instance__in=ids)


def shown_with_campaign(ids: QuerySet) -> Q:
    """Rows of campaigns that are shown."""
    return Q(campaign__in=Campaign.objects.filter(shown_campaigns(ids)).order_by().values("pk"))
