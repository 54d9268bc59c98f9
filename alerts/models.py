"""Alert rules, the alerts they open, and the channels and deliveries that report them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, validate_email
from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from console.fields import BytesField
from console.visibility import shown_to
from instances import crypto
from instances.models import Instance
from tagging.models import Tag

from .kinds import KINDS, kind_choices

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Channel(models.Model):
    """Where alerts are sent. Everyone who has the URL of a webhook can post to it: the URL and the signing secret are
    write-only and encrypted, like passwords."""

    class Kind(models.TextChoices):
        EMAIL = "email", _("e-mail")
        WEBHOOK = "webhook", _("webhook: JSON")
        FEISHU = "feishu", _("Feishu, Lark")
        WECOM = "wecom", _("WeCom")
        DINGTALK = "dingtalk", _("DingTalk")
        SLACK = "slack", _("Slack")

    #: Kinds whose messages can be signed.
    SIGNED = (Kind.WEBHOOK, Kind.FEISHU, Kind.DINGTALK)

    name = models.CharField(_("name"), max_length=100, unique=True)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    addresses = models.TextField(
        _("e-mail addresses"), blank=True, help_text=_("For e-mail: one or more, separated by commas or lines.")
    )
    url_token = models.TextField(editable=False, default="", blank=True)
    secret_token = models.TextField(editable=False, default="", blank=True)
    active = models.BooleanField(_("active"), default=True, help_text=_("Nothing is sent to an inactive channel."))
    daily = models.BooleanField(
        _("daily summary"),
        default=True,
        help_text=_("For e-mail: once a day, new alerts and the number of open ones. Sent also if there is none."),
    )
    note = models.TextField(_("note"), blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("alert channel")
        verbose_name_plural = _("alert channels")

    def __str__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        """The webhook's URL, for sending only. Raises CredentialKeyError."""
        return crypto.decrypt(self.url_token) if self.url_token else ""

    @url.setter
    def url(self, url: str) -> None:
        self.url_token = crypto.encrypt(url.strip()) if url.strip() else ""

    @property
    def secret(self) -> str:
        """The signing secret, for sending only. Raises CredentialKeyError."""
        return crypto.decrypt(self.secret_token) if self.secret_token else ""

    @secret.setter
    def secret(self, secret: str) -> None:
        self.secret_token = crypto.encrypt(secret) if secret else ""

    @property
    def recipients(self) -> list[str]:
        return self.addresses.replace(",", " ").split()

    def clean(self) -> None:
        errors: dict[str, Any] = {}
        if self.kind == self.Kind.EMAIL:
            errors |= self._wrong_addresses()
        elif self.addresses:
            errors["addresses"] = _("Only for e-mail. Leave it empty.")
        if self.kind == self.Kind.EMAIL and self.url_token:
            errors["url"] = _("Only for webhooks. Leave it empty.")
        elif self.kind != self.Kind.EMAIL:
            errors |= self._wrong_url()
        if self.secret_token and self.kind not in self.SIGNED:
            errors["secret"] = _("Messages of this kind are not signed. Leave it empty.")
        if errors:
            raise ValidationError(errors)

    def _wrong_addresses(self) -> dict[str, Any]:
        if not self.recipients:
            return {"addresses": _("Enter at least one address.")}
        for address in self.recipients:
            try:
                validate_email(address)
            except ValidationError:
                return {"addresses": _("“%s” is not an e-mail address.") % address}
        return {}

    def _wrong_url(self) -> dict[str, Any]:
        """Errors do not quote the URL."""
        try:
            url = self.url
        except crypto.CredentialKeyError as error:
            return {"url": str(error)}
        if not url:
            return {"url": _("Enter the URL that the service shows for its bot or webhook.")}
        if not is_postable(url):
            return {"url": _("Enter a URL like https://host/path, without user and password.")}
        before = Channel.objects.filter(pk=self.pk).first()
        if before and before.secret_token and before.secret_token == self.secret_token and before.url != url:
            return {"secret": _("Enter the secret again, or delete it: the URL changed.")}
        return {}


def is_postable(url: str) -> bool:
    """Whether it is an HTTPS URL without user and password, or an HTTP URL of a host in TAIFISH_WEBHOOK_ALLOW."""
    try:
        parts = urlsplit(url)
        port_is_good = parts.port != 0
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url
    if not (parts.hostname and "@" not in parts.netloc and plain and port_is_good):
        return False
    is_allowed = settings.TAIFISH_WEBHOOK_ALLOW.names_host(parts.hostname)
    return parts.scheme == "https" or (parts.scheme == "http" and is_allowed)


class AlertRule(models.Model):
    """What to report, for which instances, to which channels."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    kind = models.CharField(_("kind"), max_length=20, choices=kind_choices)
    threshold = models.PositiveIntegerField(
        _("threshold"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_(
            "Failures in a row, accounts, percent or days, depending on the kind. Empty for kinds without one."
        ),
    )
    min_bytes = BytesField(
        _("bytes at least"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("For abnormal growth only: small databases often double within a day."),
    )
    tag = models.ForeignKey(
        Tag,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        verbose_name=_("only instances tagged"),
        help_text=_("Empty: all active instances. Deleting the tag deletes the rule."),
    )
    channels = models.ManyToManyField(
        Channel,
        blank=True,
        related_name="rules",
        verbose_name=_("channels"),
        help_text=_("Without a channel, alerts are only listed under Alerts."),
    )
    tell_resolved = models.BooleanField(
        _("report when it is over"),
        default=False,
        help_text=_("Events, such as growth, are never reported as over."),
    )
    active = models.BooleanField(_("active"), default=False)
    active_since = models.DateTimeField(_("active since"), null=True, blank=True, editable=False)
    evaluated_at = models.DateTimeField(_("last evaluated"), null=True, blank=True, editable=False)
    note = models.TextField(_("note"), blank=True)

    #: Prefetched by `services.evaluate`.
    active_channels: list[Channel]

    class Meta:
        ordering = ["name"]
        verbose_name = _("alert rule")
        verbose_name_plural = _("alert rules")

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.active:
            self.active_since = None
        elif self.active_since is None:
            self.active_since = timezone.now()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            return
        errors: dict[str, Any] = {}
        if kind.threshold and self.threshold is None:
            errors["threshold"] = _("This kind needs a threshold: %s.") % kind.threshold
        elif not kind.threshold and self.threshold is not None:
            errors["threshold"] = _("This kind has none. Leave it empty.")
        if kind.has_min_bytes and self.min_bytes is None:
            errors["min_bytes"] = _("This kind needs it. Enter 0 for any growth.")
        elif not kind.has_min_bytes and self.min_bytes is not None:
            errors["min_bytes"] = _("This kind has none. Leave it empty.")
        if self.tag and not kind.of_instances:
            errors["tag"] = _("This kind does not concern instances. Leave it empty.")
        if errors:
            raise ValidationError(errors)

    def instances(self) -> QuerySet[Instance]:
        """The active instances that the rule covers."""
        active = Instance.objects.active().order_by()
        return active.filter(tags=self.tag) if self.tag_id else active


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> AlertQuerySet:
        return self.filter(resolved_at=None)

    def unread(self, user: User) -> AlertQuerySet:
        """Open alerts that the user may see and has not marked as read."""
        seen = ReadAlert.objects.filter(alert=OuterRef("pk"), user=user)
        return shown_to(self.open(), user).filter(~Exists(seen))


class Alert(models.Model):
    """Something that a rule reports. It stays open while each evaluation finds the same key again."""

    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="alerts", verbose_name=_("rule"))
    instance = models.ForeignKey(
        Instance,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="alerts",
        verbose_name=_("instance"),
    )
    key = models.CharField(max_length=200, editable=False)
    text = models.TextField(_("what"))
    first_seen_at = models.DateTimeField(_("first seen"))
    last_seen_at = models.DateTimeField(_("last seen"))
    resolved_at = models.DateTimeField(_("over"), null=True, blank=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-first_seen_at", "-pk"]
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        constraints = [
            models.UniqueConstraint(fields=["rule", "key"], condition=Q(resolved_at=None), name="alert_once_open")
        ]
        indexes = [models.Index(fields=["-first_seen_at", "-id"], name="alert_seen")]

    def __str__(self) -> str:
        return f"{self.instance}: {self.text}" if self.instance_id else self.text


class ReadAlert(models.Model):
    """A user has read an alert in the inbox."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, db_index=False, related_name="read_by")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["alert", "user"], name="alert_read_once")]

    def __str__(self) -> str:
        return f"{self.user}: {self.alert}"


class Delivery(models.Model):
    """One message to one channel.

    It is sent once `not_before` has passed. A worker postpones `not_before` before it sends, so a message is sent again
    when the worker dies.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("pending")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries", verbose_name=_("channel"))
    digest = models.JSONField(_("message"), help_text=_("New alerts and alerts that are over."))
    is_test = models.BooleanField(_("test"), default=False)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.PENDING)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    not_before = models.DateTimeField(_("not before"), default=timezone.now)
    error = models.TextField(_("error"), blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("alert delivery")
        verbose_name_plural = _("alert deliveries")
        indexes = [models.Index(fields=["not_before"], name="delivery_due", condition=Q(status="pending"))]

    def __str__(self) -> str:
        return f"{self.channel} #{self.pk}"


def shown_alerts(ids: QuerySet) -> Q:
    """Alerts about visible instances and about schedules. Totals and volumes with a limit, and conflicts across
    instances, may have hidden instances."""
    return Q(instance__in=ids) | Q(instance=None) & ~Q(rule__kind__in=["limit_near", "duty_conflict"])


def shown_deliveries(ids: QuerySet) -> Q:
    """None: a delivery may name every instance."""
    return Q(pk__in=[])
