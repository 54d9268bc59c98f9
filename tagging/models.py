"""Labels on instances, to select and group them by."""

from collections.abc import Iterator
from itertools import product

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from instances.models import Instance


class Tag(models.Model):
    slug = models.SlugField(_("slug"), max_length=50, unique=True, allow_unicode=True)
    label = models.CharField(_("label"), max_length=100)
    category = models.CharField(_("category"), max_length=50, blank=True)
    colour = models.CharField(_("colour"), max_length=7, default="#64748b")
    active = models.BooleanField(_("active"), default=True)
    instances = models.ManyToManyField(
        Instance, through="InstanceTag", related_name="tags", verbose_name=_("instances")
    )

    class Meta:
        ordering = ["category", "label"]
        verbose_name = _("tag")
        verbose_name_plural = _("tags")

    def __str__(self) -> str:
        return self.label


class InstanceTag(models.Model):
    """One tag on one instance, with the user and time of its assignment."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="instance_tags")
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="instance_tags")
    added_at = models.DateTimeField(_("added"), auto_now_add=True)
    added_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["instance", "tag"], name="instance_tag_once")]
        verbose_name = _("tag of an instance")
        verbose_name_plural = _("tags of instances")

    def __str__(self) -> str:
        return f"{self.instance}: {self.tag}"


class TagLimit(models.Model):
    """Limits the members of a group, or one user, to instances with this tag. Several limits add up.

    Only superusers edit it, on the pages of groups and users, so it has no permissions.
    """

    group = models.ForeignKey(
        Group, null=True, blank=True, on_delete=models.CASCADE, related_name="tag_limits", verbose_name=_("group")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="tag_limits",
        verbose_name=_("user"),
    )
    # Deleting a tag must not lift a limit.
    tag = models.ForeignKey(Tag, on_delete=models.PROTECT, related_name="limits", verbose_name=_("tag"))

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["group", "tag"], name="group_limit_once"),
            models.UniqueConstraint(fields=["user", "tag"], name="user_limit_once"),
            models.CheckConstraint(condition=models.Q(group=None) ^ models.Q(user=None), name="limit_of_group_or_user"),
        ]
        verbose_name = _("limit to a tag")
        verbose_name_plural = _("sees only instances with one of these tags")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.group or self.user}: {self.tag}"


class TagOperation(models.Model):
    """The receipt of one bulk tagging: the outcome of every pair of instance and tag.

    `outcomes` maps an outcome to blocks, {"tags": [ids], "instances": [ids]}: it applies to each of the tags on each
    of the instances. `reasons` lists the failed pairs with their reasons.
    """

    class Action(models.TextChoices):
        ASSIGN = "assign", _("assign")
        REMOVE = "remove", _("remove")

    class Outcome(models.TextChoices):
        ADDED = "added", _("added")
        ALREADY_THERE = "already_there", _("already there")
        REMOVED = "removed", _("removed")
        NOT_THERE = "not_there", _("not there")
        UNKNOWN = "unknown", _("no such instance or tag")
        RETIRED = "retired", _("instance is retired")
        INACTIVE = "inactive", _("tag is not active")
        FAILED = "failed", _("failed")

    #: The outcome of a changed pair, by action; an undo reverts these.
    CHANGED = {Action.ASSIGN: Outcome.ADDED, Action.REMOVE: Outcome.REMOVED}

    action = models.CharField(_("action"), max_length=6, choices=Action)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("asked for by"),
    )
    undo_of = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="undone_by", verbose_name=_("undo of")
    )
    created_at = models.DateTimeField(_("asked for"), default=timezone.now, editable=False)
    finished_at = models.DateTimeField(_("done"))
    outcomes = models.JSONField(_("outcomes"), default=dict)
    reasons = models.JSONField(_("failures"), default=list)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("tag operation")
        verbose_name_plural = _("tag operations")

    def __str__(self) -> str:
        return f"{self.get_action_display()} #{self.pk}"

    @property
    def totals(self) -> dict[str, int]:
        """Number of pairs by outcome, without zeros."""
        return {
            outcome: sum(len(block["tags"]) * len(block["instances"]) for block in blocks)
            for outcome, blocks in self.outcomes.items()
        }

    def pairs(self, outcome: str) -> Iterator[tuple[int, int]]:
        """Yield (instance id, tag id) of each pair with that outcome."""
        for block in self.outcomes.get(outcome, ()):
            yield from product(block["instances"], block["tags"])
