"""Sessions, the records of their visits, and the health of visits. These rows, not the messages of the broker, say
which work is open."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.visibility import within
from instances.models import Instance, InstanceQuerySet

from .texts import shown_advice, text_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class SyncSessionQuerySet(models.QuerySet["SyncSession"]):
    def with_counts(self, user: User | None = None) -> SyncSessionQuerySet:
        """Each session with n_total and one n_<status> per record status, of the instances that the user sees."""
        # By subqueries: a join would count the records of all sessions to show a page of them.
        records = SyncRecord.objects.filter(within("instance", user), session=OuterRef("pk")).order_by()

        def count(found: models.QuerySet[SyncRecord]) -> Coalesce:
            return Coalesce(models.Subquery(found.values("session").annotate(n=Count("*")).values("n")), 0)

        counts = {f"n_{status}": count(records.filter(status=status)) for status in SyncRecord.Status.values}
        return self.annotate(n_total=count(records), **counts)


class SyncSession(models.Model):
    """A batch of visits of one kind."""

    class Status(models.TextChoices):
        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")
        PARTIAL = "partial", _("partial")
        SKIPPED = "skipped", _("skipped")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    class Trigger(models.TextChoices):
        MANUAL = "manual", _("manual")
        SCHEDULE = "schedule", _("schedule")
        API = "api", _("API")
        COMMAND = "command", _("command")
        RETRY = "retry", _("retry")
        FOLLOW_UP = "follow_up", _("follow-up")
        CATCH_UP = "catch_up", _("catch-up")

    kind = models.CharField(_("kind"), max_length=30)
    trigger = models.CharField(_("trigger"), max_length=10, choices=Trigger)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.RUNNING)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("asked for by"),
    )
    retry_of = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="retries",
        verbose_name=_("retry of"),
    )
    slot = models.CharField(
        _("slot"),
        max_length=300,
        null=True,
        blank=True,
        unique=True,
        help_text=_("The scheduled occurrence this session serves; no occurrence is served twice."),
    )
    params = models.JSONField(
        _("parameters"), default=dict, blank=True, help_text=_("What the session was started with besides instances.")
    )
    created_at = models.DateTimeField(_("started"), auto_now_add=True)
    cancel_requested_at = models.DateTimeField(_("cancellation requested"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    followed_up_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = SyncSessionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = _("sync session")
        verbose_name_plural = _("sync sessions")
        indexes = [
            models.Index(fields=["-created_at"], name="session_created"),
            models.Index(fields=["id"], name="session_open", condition=Q(status="running")),
            models.Index(
                fields=["id"],
                name="session_to_follow_up",
                condition=Q(finished_at__isnull=False, followed_up_at__isnull=True),
            ),
        ]
        permissions = [
            ("run_visits", _("Can start, retry, cancel and resume visits")),
            ("confirm_shrink", _("Can confirm that many accounts or databases are really gone")),
        ]

    def __str__(self) -> str:
        return f"{gettext(self.kind)} #{self.pk}"

    @property
    def is_open(self) -> bool:
        return self.status == self.Status.RUNNING

    @property
    def took(self) -> timedelta:
        return (self.finished_at or timezone.now()) - self.created_at


def failing_first(path: str) -> Case:
    """An order of statuses: failed, partial, open, cancelled and skipped, completed. Null is like failed: no visit."""
    order = ["failed", "partial", "running", "pending", "cancelled", "skipped", "completed"]
    return Case(*(When(**{path: status, "then": Value(rank)}) for rank, status in enumerate(order)), default=Value(0))


class SyncRecord(models.Model):
    """The visit to one instance within a session."""

    class Status(models.TextChoices):
        PENDING = "pending", _("pending")
        RUNNING = "running", _("running")
        COMPLETED = "completed", _("completed")
        PARTIAL = "partial", _("partial")
        SKIPPED = "skipped", _("skipped")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    OPEN = (Status.PENDING, Status.RUNNING)
    DONE = (Status.COMPLETED, Status.PARTIAL)

    # Neither needs an index: a constraint or another index begins with each of them.
    session = models.ForeignKey(
        SyncSession, on_delete=models.CASCADE, db_index=False, related_name="records", verbose_name=_("session")
    )
    instance = models.ForeignKey(
        Instance, on_delete=models.CASCADE, db_index=False, related_name="sync_records", verbose_name=_("instance")
    )
    kind = models.CharField(_("kind"), max_length=30)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.PENDING)
    phase = models.CharField(_("phase"), max_length=30, blank=True)
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    max_attempts = models.PositiveIntegerField(_("attempts allowed"), default=1)
    not_before = models.DateTimeField(_("not before"), null=True, blank=True)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    sent_times = models.PositiveIntegerField(_("times sent"), default=0)
    worker = models.CharField(_("worker"), max_length=200, blank=True)
    lease_until = models.DateTimeField(_("lease until"), null=True, blank=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    error_code = models.CharField(_("error code"), max_length=40, blank=True)
    #: What the text of `error_code` needs, see `texts`.
    parameters = models.JSONField(_("parameters"), default=dict, blank=True)
    #: The message of the server, driver or exception, and the advice of the engine.
    message = models.TextField(_("message"), blank=True)
    advice = models.TextField(_("advice"), blank=True)
    held_count = models.PositiveIntegerField(_("held for confirmation"), null=True, blank=True)
    confirmed_count = models.PositiveIntegerField(
        _("confirmed"),
        null=True,
        blank=True,
        help_text=_("How many disappearances a user has accepted for this visit."),
    )
    summary = models.JSONField(_("summary"), default=dict, blank=True)
    gaps = models.JSONField(_("gaps"), default=list, blank=True)

    class Meta:
        ordering = ["id"]
        verbose_name = _("sync record")
        verbose_name_plural = _("sync records")
        constraints = [
            models.UniqueConstraint(fields=["session", "instance"], name="record_once_per_session"),
            models.UniqueConstraint(
                fields=["instance", "kind"], condition=Q(status="running"), name="one_running_visit_per_kind"
            ),
        ]
        indexes = [
            models.Index(
                fields=["status", "not_before"],
                name="record_open",
                condition=Q(status__in=["pending", "running"]),
            ),
            models.Index(
                F("not_before").asc(nulls_first=True),
                "id",
                name="record_unsent",
                condition=Q(status="pending", sent_at=None),
            ),
            models.Index(fields=["instance", "kind", "-id"], name="record_of_instance"),
        ]

    def __str__(self) -> str:
        return f"{self.instance}: {gettext(self.kind)}"

    @property
    def error(self) -> str:
        """Why the visit was skipped, held or failed, in the reader's language."""
        return text_of(self.error_code, self.parameters, self.message)[0]

    @property
    def hint(self) -> str:
        """What to do about it, in the reader's language."""
        return text_of(self.error_code, self.parameters, hint=shown_advice(self.advice, self.parameters))[1]

    @property
    def not_read(self) -> list[dict[str, Any]]:
        """The gaps, with message and hint in the reader's language."""
        return [gap | _texts_of(gap) if "parameters" in gap else gap for gap in self.gaps]

    @property
    def took(self) -> timedelta | None:
        return self.started_at and (self.finished_at or timezone.now()) - self.started_at


def _texts_of(gap: Mapping[str, Any]) -> dict[str, str]:
    message, hint = text_of(gap["code"], gap["parameters"])
    return {"message": message, "hint": hint}


def shown_sessions(ids: models.QuerySet) -> Q:
    """Sessions that visit one of these instances. Users who see the instance see the session."""
    return Q(Exists(SyncRecord.objects.filter(session=OuterRef("pk"), instance__in=ids)))


class VisitHealthQuerySet(models.QuerySet["VisitHealth"]):
    def paused(self) -> VisitHealthQuerySet:
        return self.exclude(paused_at=None)


class VisitHealth(models.Model):
    """Successes and failures of one kind of visit to one instance. Too many failures in a row pause it."""

    instance = models.ForeignKey(
        Instance, on_delete=models.CASCADE, related_name="visit_health", verbose_name=_("instance")
    )
    kind = models.CharField(_("kind"), max_length=30)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    succeeded_at = models.DateTimeField(_("last success"), null=True, blank=True)
    failed_at = models.DateTimeField(_("last failure"), null=True, blank=True)
    paused_at = models.DateTimeField(_("paused"), null=True, blank=True)
    error_code = models.CharField(_("last error code"), max_length=40, blank=True)
    parameters = models.JSONField(_("parameters"), default=dict, blank=True)
    message = models.TextField(_("last message"), blank=True)

    objects = VisitHealthQuerySet.as_manager()

    class Meta:
        ordering = ["instance__name", "kind"]
        verbose_name = _("visit health")
        verbose_name_plural = _("health of visits")
        constraints = [models.UniqueConstraint(fields=["instance", "kind"], name="health_once_per_kind")]

    def __str__(self) -> str:
        return f"{self.instance}: {gettext(self.kind)}"

    @property
    def error(self) -> str:
        """Why the last visit failed, in the reader's language."""
        return text_of(self.error_code, self.parameters, self.message)[0]

    @property
    def is_failing(self) -> bool:
        """Whether the last visit failed, even if that failure does not count towards pausing."""
        return bool(self.failures or self.error_code)


def with_last_visit(instances: InstanceQuerySet, kind: str) -> InstanceQuerySet:
    """Annotate instances with <kind>_status, <kind>_at and <kind>_session of the last visit that was made."""
    visits = SyncRecord.objects.filter(kind=kind, instance=OuterRef("pk")).exclude(status="skipped", summary={})
    last = visits.order_by("-pk")
    at = last.annotate(at=Coalesce("finished_at", "started_at", "session__created_at"))
    return instances.annotate(
        **{
            f"{kind}_status": Subquery(last.values("status")[:1]),
            f"{kind}_at": Subquery(at.values("at")[:1]),
            f"{kind}_session": Subquery(last.values("session")[:1]),
        }
    )
