"""Evaluating alert rules and sending messages to channels: stored first, then sent."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, F, Prefetch, Q, QuerySet, Value, prefetch_related_objects
from django.db.models.functions import Greatest, Now
from django.utils import timezone, translation
from django.utils.translation import gettext

from work.enqueue import enqueue

from .findings import alerts_of
from .kinds import KINDS
from .models import Alert, AlertRule, Channel, Delivery, ReadAlert
from .sending import NotDelivered, send

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)

Status = Delivery.Status

#: Alerts that a digest lists for each rule; it counts the others.
LISTED = 50

#: Attempts to send a message, over about two hours, and the time after which an attempt counts as lost.
ATTEMPTS = 8
LONGEST_TRY = timedelta(minutes=5)


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation: new alerts, alerts that are over, the number that continue, and new messages."""

    opened: Sequence[Alert]
    resolved: Sequence[Alert]
    n_lasting: int
    deliveries: Sequence[Delivery]


# Messages are in one language, also when a user evaluates the rules.
@translation.override(settings.LANGUAGE_CODE)
@transaction.atomic
def evaluate(*, dry_run: bool = False) -> Evaluation:
    """Evaluate all active rules. The number of queries grows with the rules only.

    With `dry_run` nothing is stored or sent. An error in one rule undoes the whole evaluation: an alert that could not
    be looked for is not over.
    """
    with connection.cursor() as cursor:
        # Two evaluations at once would open the same alerts twice.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('alerts:evaluate', 0))")
    now = timezone.now()
    channels = Prefetch("channels", Channel.objects.filter(active=True), to_attr="active_channels")
    rules = list(AlertRule.objects.filter(active=True).select_related("tag").prefetch_related(channels))  # type: ignore[no-redef]
    known: dict[int, dict[str, Alert]] = defaultdict(dict)
    for alert in Alert.objects.open().filter(rule__active=True):
        known[alert.rule_id][alert.key] = alert
    opened: list[Alert] = []
    resolved: list[Alert] = []
    lasting: list[Alert] = []
    reworded: list[Alert] = []
    for rule in rules:
        found = {alert.key: alert for alert in alerts_of(rule)}
        for key, alert in known[rule.pk].items():
            # This rule has its channels loaded.
            alert.rule = rule
            if (same := found.pop(key, None)) is None:
                resolved.append(alert)
                continue
            lasting.append(alert)
            if alert.text != same.text:
                alert.text = same.text
                reworded.append(alert)
        for alert in found.values():
            alert.rule, alert.first_seen_at, alert.last_seen_at = rule, now, now
        opened += found.values()
    # The names of instances, for messages.
    prefetch_related_objects([*opened, *resolved], "instance")
    deliveries = _deliveries(rules, opened, resolved)
    if not dry_run:
        Alert.objects.bulk_create(opened, batch_size=1000)
        Alert.objects.bulk_update(reworded, ["text"], batch_size=1000)
        # A clock may have gone back since.
        seen_at, over_at = Greatest("first_seen_at", Value(now)), Greatest("last_seen_at", Value(now))
        Alert.objects.filter(pk__in=[alert.pk for alert in lasting]).update(last_seen_at=seen_at)
        # Alerts of a deactivated rule are over, without a message.
        over = Q(pk__in=[alert.pk for alert in resolved]) | Q(rule__active=False)
        Alert.objects.open().filter(over).update(resolved_at=over_at)
        AlertRule.objects.filter(pk__in=[rule.pk for rule in rules]).update(evaluated_at=now)
        Delivery.objects.bulk_create(deliveries)
        if deliveries:
            enqueue("alerts.deliver")
    return Evaluation(opened, resolved, len(lasting), deliveries)


def _deliveries(rules: Iterable[AlertRule], opened: list[Alert], resolved: list[Alert]) -> list[Delivery]:
    """One message for each channel of the rules concerned."""
    reported = [alert for alert in resolved if alert.rule.tell_resolved and not KINDS[alert.rule.kind].is_event]
    channels = {channel.pk: channel for rule in rules for channel in rule.active_channels}
    deliveries = []
    for channel in channels.values():
        new, over = ([a for a in alerts if channel in a.rule.active_channels] for alerts in (opened, reported))
        if new or over:
            deliveries.append(Delivery(channel=channel, digest=_digest(new, over)))
    return deliveries


def _digest(opened: list[Alert], resolved: list[Alert]) -> dict[str, Any]:
    """The digest that `shapes` takes. Both lists are sorted by rule."""

    def grouped(alerts: list[Alert]) -> list[dict[str, Any]]:
        groups = []
        for rule, those in groupby(alerts, key=lambda alert: alert.rule):
            all_of_rule = list(those)
            listed = [
                {
                    "instance": alert.instance.name if alert.instance else "",
                    "text": alert.text,
                    "at": alert.first_seen_at.isoformat(timespec="seconds"),
                }
                for alert in all_of_rule[:LISTED]
            ]
            groups.append({"rule": rule.name, "kind": rule.kind, "count": len(all_of_rule), "alerts": listed})
        return groups

    words = [f"{len(opened)} new {'alert' if len(opened) == 1 else 'alerts'}"] if opened else []
    words += [f"{len(resolved)} over"] if resolved else []
    return {"subject": f"Taifish: {', '.join(words)}", "opened": grouped(opened), "resolved": grouped(resolved)}


@translation.override(settings.LANGUAGE_CODE)
@transaction.atomic
def summarize() -> list[Delivery]:
    """Create the daily summary for each e-mail channel that takes one: alerts of the last day, and those that are still
    open. Does nothing while no rule is active: there would be nothing to say of what is not looked at."""
    channels = Channel.objects.filter(active=True, daily=True, kind=Channel.Kind.EMAIL)
    rules = AlertRule.objects.filter(active=True)
    if not (rules.exists() and channels.exists()):
        return []
    since = timezone.now() - timedelta(days=1)
    alerts = Alert.objects.select_related("rule", "instance").order_by("rule__name", "rule", "-first_seen_at", "-pk")
    new = list(alerts.filter(first_seen_at__gte=since))
    n_open = Alert.objects.open().count()
    digest = _digest(new, [])
    words = f"{len(new)} new in the last day, {n_open} open"
    digest |= {"subject": f"Taifish, daily: {words}", "text": f"{words}. {len(rules)} rules are active."}
    made = Delivery.objects.bulk_create(Delivery(channel=channel, digest=digest) for channel in channels)
    enqueue("alerts.deliver")
    return made


@transaction.atomic
def activate_shipped() -> int:
    """Activate all rules if none was ever active and none has a channel, so that the inbox of a new store has alerts.
    Returns how many were activated."""
    rules = AlertRule.objects.select_for_update(of=("self",))
    if AlertRule.objects.exclude(active=False, evaluated_at=None, channels=None).exists():
        return 0
    activated = list(rules)
    for rule in activated:
        rule.active = True
        rule.save()
    return len(activated)


def nobody_informed() -> str:
    """Return why alerts inform no person, in a sentence that says what to do; "" if they do. Takes one query."""
    active = AlertRule.objects.filter(active=True)
    with_channel = active.filter(channels__active=True)
    found = AlertRule.objects.aggregate(
        active=Count("pk", filter=Q(pk__in=active.values("pk"))),
        informing=Count("pk", filter=Q(pk__in=with_channel.values("pk"))),
    )
    if not found["active"]:
        return gettext("No alert rule is active: nothing is looked at. Activate rules.")
    if not found["informing"]:
        return gettext(
            "No active rule has an active channel: alerts are listed in the inbox only. Add a channel to the rules."
        )
    return ""


@transaction.atomic
def mark_read(user: User, alerts: QuerySet[Alert] | None = None) -> int:
    """Mark unread alerts (default: all) as read by a user. Returns how many."""
    unread = Alert.objects.unread(user)
    ids = list((unread if alerts is None else unread.filter(pk__in=alerts)).values_list("pk", flat=True))
    rows = (ReadAlert(alert_id=pk, user=user) for pk in ids)
    ReadAlert.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=True)
    return len(ids)


def after_session(session_id: int) -> None:
    """Evaluate the rules when a session closes, without waiting for the schedule."""
    if AlertRule.objects.filter(active=True).exists():
        enqueue("alerts.evaluate")


def deliver() -> Counter[str]:
    """Send every message that is due, oldest first. Returns the number of messages by status.

    A channel that failed once is skipped for the rest of the run, so that other channels do not wait for it.
    """
    counts: Counter[str] = Counter()
    failing: set[int] = set()
    due = Delivery.objects.filter(status=Status.PENDING, not_before__lte=Now()).order_by("pk")
    for pk, channel_id in due.values_list("pk", "channel_id"):
        if channel_id not in failing and (delivery := _try(pk)):
            counts[delivery.status] += 1
            if delivery.status != Status.SENT:
                failing.add(channel_id)
    return counts


def _try(pk: int) -> Delivery | None:
    """Try to send one message, outside of any transaction. None when another worker sends or sent it."""
    due = Delivery.objects.filter(pk=pk, status=Status.PENDING, not_before__lte=Now())
    if not due.update(attempts=F("attempts") + 1, not_before=Now() + LONGEST_TRY):
        return None
    delivery = Delivery.objects.select_related("channel").filter(pk=pk).first()
    if delivery is None:
        return None
    try:
        if not (delivery.channel.active or delivery.is_test):
            raise NotDelivered("The channel is inactive.", transient=False)
        send(delivery.channel, delivery.digest)
    except NotDelivered as failure:
        delivery.error = str(failure)
        if failure.transient and delivery.attempts < ATTEMPTS and not delivery.is_test:
            delivery.not_before = timezone.now() + retry_delay(delivery.attempts)
        else:
            delivery.status = Status.FAILED
            log.warning("alert delivery %s to %s given up: %s", delivery.pk, delivery.channel, failure)
    else:
        delivery.status, delivery.error, delivery.sent_at = Status.SENT, "", timezone.now()
    outcome = {name: getattr(delivery, name) for name in ("status", "error", "not_before", "sent_at")}
    # An attempt that took too long was repeated by another worker, which records the outcome.
    Delivery.objects.filter(pk=pk, status=Status.PENDING, attempts=delivery.attempts).update(**outcome)
    return delivery


def retry_delay(attempts: int) -> timedelta:
    """From one minute, doubled for each attempt, to an hour."""
    return min(timedelta(minutes=2 ** (attempts - 1)), timedelta(hours=1))


def send_test(channel: Channel) -> Delivery:
    """Send a test message at once, without retries, and return it."""
    text = f"This is a test of the channel “{channel.name}”. Alerts will arrive like this message."
    digest = {"subject": "Taifish: a test", "text": text}
    test = Delivery.objects.create(channel=channel, digest=digest, is_test=True)
    return _try(test.pk) or Delivery.objects.select_related("channel").get(pk=test.pk)


def send_again(delivery: Delivery) -> bool:
    """Enqueue a failed message again. False when it has not failed."""
    failed = Delivery.objects.filter(pk=delivery.pk, status=Status.FAILED, is_test=False)
    again = failed.update(status=Status.PENDING, attempts=0, not_before=Now(), error="")
    if again:
        enqueue("alerts.deliver")
    return bool(again)


def purge() -> int:
    """Delete alerts that are over and messages, both after TAIFISH_KEEP_SESSIONS_DAYS. Returns the number deleted."""
    cutoff = timezone.now() - timedelta(days=settings.TAIFISH_KEEP_SESSIONS_DAYS)
    deleted = Alert.objects.filter(resolved_at__lt=cutoff).delete()[0]
    return deleted + Delivery.objects.filter(created_at__lt=cutoff).exclude(status=Status.PENDING).delete()[0]
