"""Looking at the rules, and telling the channels what is new: first on record, then sent."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Prefetch, Q
from django.db.models.functions import Now
from django.utils import timezone

from instances.models import Instance
from work.enqueue import enqueue

from .kinds import KINDS, Finding
from .models import Alert, AlertRule, Channel, Delivery
from .sending import NotDelivered, send

log = logging.getLogger(__name__)

Status = Delivery.Status

#: Alerts of one rule that a digest lists; it counts the others.
LISTED = 50

#: How often a message is tried, over two hours about, and how long a try may take before another is made.
ATTEMPTS = 8
LONGEST_TRY = timedelta(minutes=5)


@dataclass(frozen=True)
class Evaluation:
    """What one look at the rules found: new alerts, those that are over, how many go on, and messages to be sent."""

    opened: Sequence[Alert]
    resolved: Sequence[Alert]
    n_lasting: int
    deliveries: Sequence[Delivery]


@transaction.atomic
def evaluate(*, dry_run: bool = False) -> Evaluation:
    """Look at all active rules: in a number of queries that grows with the rules, and with nothing else.

    With `dry_run` nothing is stored or sent. A fault in one question undoes the whole look: no alert is over because
    nobody could look for it.
    """
    with connection.cursor() as cursor:
        # Two looks at a time would both find the same things new.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('alerts:evaluate', 0))")
    now = timezone.now()
    told = Prefetch("channels", Channel.objects.filter(active=True), to_attr="told")
    # The plugin takes `told` for a new attribute; the model declares it, for those who get the rules.
    rules = list(AlertRule.objects.filter(active=True).select_related("tag").prefetch_related(told))  # type: ignore[no-redef]
    known: dict[int, dict[str, Alert]] = defaultdict(dict)
    for alert in Alert.objects.open().filter(rule__active=True):
        known[alert.rule_id][alert.key] = alert
    opened: list[Alert] = []
    resolved: list[Alert] = []
    lasting: list[Alert] = []
    reworded: list[Alert] = []
    for rule in rules:
        found = {finding.key: finding for finding in KINDS[rule.kind].find(rule, rule.instances())}
        for key, alert in known[rule.pk].items():
            # Of the rule that has its channels with it.
            alert.rule = rule
            if key not in found:
                resolved.append(alert)
                continue
            lasting.append(alert)
            if alert.text != (text := _plain(found[key].text)):
                alert.text = text
                reworded.append(alert)
        opened += [_alert(rule, finding, now) for key, finding in found.items() if key not in known[rule.pk]]
    deliveries = _deliveries(rules, opened, resolved)
    if not dry_run:
        Alert.objects.bulk_create(opened, batch_size=1000)
        Alert.objects.bulk_update(reworded, ["text"], batch_size=1000)
        Alert.objects.filter(pk__in=[alert.pk for alert in lasting]).update(last_seen_at=now)
        # Those of a rule that was switched off are over without a word.
        over = Q(pk__in=[alert.pk for alert in resolved]) | Q(rule__active=False)
        Alert.objects.open().filter(over).update(resolved_at=now)
        AlertRule.objects.filter(pk__in=[rule.pk for rule in rules]).update(evaluated_at=now)
        Delivery.objects.bulk_create(deliveries)
        if deliveries:
            enqueue("alerts.deliver")
    return Evaluation(opened, resolved, len(lasting), deliveries)


def _alert(rule: AlertRule, finding: Finding, now: Any) -> Alert:
    return Alert(
        rule=rule,
        instance_id=finding.instance_id,
        key=finding.key,
        text=_plain(finding.text),
        first_seen_at=now,
        last_seen_at=now,
    )


def _plain(text: str) -> str:
    """One line: names of accounts may hold anything, and what is sent must not look like more than one alert."""
    return "".join(char if char.isprintable() else "�" for char in " ".join(text.split()))


def _deliveries(rules: Iterable[AlertRule], opened: list[Alert], resolved: list[Alert]) -> list[Delivery]:
    """One message for each channel that has anything to be told."""
    names = _instance_names([*opened, *resolved])
    worth_telling = [alert for alert in resolved if alert.rule.tell_resolved and not KINDS[alert.rule.kind].is_event]
    channels = {channel.pk: channel for rule in rules for channel in rule.told}
    deliveries = []
    for channel in channels.values():
        new, over = ([a for a in alerts if channel in a.rule.told] for alerts in (opened, worth_telling))
        if new or over:
            deliveries.append(Delivery(channel=channel, digest=_digest(new, over, names)))
    return deliveries


def _instance_names(alerts: Iterable[Alert]) -> dict[int | None, str]:
    ids = {alert.instance_id for alert in alerts if alert.instance_id}
    return dict(Instance.objects.filter(pk__in=ids).order_by().values_list("pk", "name")) if ids else {}


def _digest(opened: list[Alert], resolved: list[Alert], names: dict[int | None, str]) -> dict[str, Any]:
    """As `shapes` takes it. Both lists are in the order of their rules."""

    def grouped(alerts: list[Alert]) -> list[dict[str, Any]]:
        groups = []
        for rule, those in groupby(alerts, key=lambda alert: alert.rule):
            all_of_rule = list(those)
            listed = [
                {
                    "instance": names.get(alert.instance_id, ""),
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


def after_session(session_id: int) -> None:
    """Have what a closed session has found told soon, and not only when the schedule comes round."""
    if AlertRule.objects.filter(active=True).exists():
        enqueue("alerts.evaluate")


def deliver() -> Counter[str]:
    """Try every message that is due, oldest first. Returns how many were sent, put off or given up.

    A channel that did not take one is not asked again this time: others shall not wait for it.
    """
    counts: Counter[str] = Counter()
    silent: set[int] = set()
    due = Delivery.objects.filter(status=Status.PENDING, not_before__lte=Now()).order_by("pk")
    for pk, channel_id in due.values_list("pk", "channel_id"):
        if channel_id not in silent and (delivery := _try(pk)):
            counts[delivery.status] += 1
            if delivery.status != Status.SENT:
                silent.add(channel_id)
    return counts


def _try(pk: int) -> Delivery | None:
    """Try one message; None when somebody else does, or has. No transaction is open meanwhile."""
    mine = Delivery.objects.filter(pk=pk, status=Status.PENDING, not_before__lte=Now())
    if not mine.update(attempts=F("attempts") + 1, not_before=Now() + LONGEST_TRY):
        return None
    delivery = Delivery.objects.select_related("channel").filter(pk=pk).first()
    if delivery is None:
        return None
    try:
        if not (delivery.channel.active or delivery.is_test):
            raise NotDelivered("The channel was switched off.", transient=False)
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
    told = {name: getattr(delivery, name) for name in ("status", "error", "not_before", "sent_at")}
    # Whoever took so long that another has tried meanwhile says nothing of how it went.
    Delivery.objects.filter(pk=pk, status=Status.PENDING, attempts=delivery.attempts).update(**told)
    return delivery


def retry_delay(attempts: int) -> timedelta:
    """From one minute, doubled each time, to an hour."""
    return min(timedelta(minutes=2 ** (attempts - 1)), timedelta(hours=1))


def send_test(channel: Channel) -> Delivery:
    """Send a message that says it is a test, now and once, and return how that went."""
    text = f"This is a test of the channel “{channel.name}”. Alerts will look like this, and say what they found."
    digest = {"subject": "Taifish: a test", "text": text}
    made = Delivery.objects.create(channel=channel, digest=digest, is_test=True)
    return _try(made.pk) or Delivery.objects.select_related("channel").get(pk=made.pk)


def send_again(delivery: Delivery) -> bool:
    """Have a message that was given up tried anew. False when it was not given up."""
    failed = Delivery.objects.filter(pk=delivery.pk, status=Status.FAILED, is_test=False)
    again = failed.update(status=Status.PENDING, attempts=0, not_before=Now(), error="")
    if again:
        enqueue("alerts.deliver")
    return bool(again)


def purge() -> int:
    """Delete alerts that are over, and messages, for as long as sessions are kept. Returns how many."""
    cutoff = timezone.now() - timedelta(days=settings.TAIFISH_KEEP_SESSIONS_DAYS)
    deleted = Alert.objects.filter(resolved_at__lt=cutoff).delete()[0]
    return deleted + Delivery.objects.filter(created_at__lt=cutoff).exclude(status=Status.PENDING).delete()[0]
