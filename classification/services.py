"""Save rules, assign by hand, start runs and count by day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext

from accounts.models import Account
from instances.models import Instance
from sync.models import SyncRecord, SyncSession
from sync.services import start
from work.days import local_day

from .models import Assignment, Classification, ClassificationRule, RuleVersion

if TYPE_CHECKING:
    from django.contrib.auth.models import User

KIND = "classification"

_COUNT = """
INSERT INTO classification_classificationcount (day, classification_id, accounts, unknown)
SELECT %(day)s, c.id,
       (SELECT count(DISTINCT s.account_id) FROM classification_assignment s
         WHERE s.classification_id = c.id AND s.until IS NULL),
       (SELECT coalesce(sum(x.unknown), 0) FROM classification_ruleresult x
          JOIN classification_classificationrule r ON r.id = x.rule_id WHERE r.classification_id = c.id)
  FROM classification_classification c
    ON CONFLICT (classification_id, day) DO UPDATE SET accounts = excluded.accounts, unknown = excluded.unknown
"""


@transaction.atomic
def keep_rule(rule: ClassificationRule, user: User | None = None) -> ClassificationRule:
    """Save a valid rule. A changed engine or expression becomes a new version."""
    before = ClassificationRule.objects.select_for_update().filter(pk=rule.pk).first() if rule.pk else None
    changed = before is None or (before.engine, before.expression) != (rule.engine, rule.expression)
    rule.version = (before.version if before else 0) + changed
    rule.save()
    if changed:
        RuleVersion.objects.create(
            rule=rule, number=rule.version, engine=rule.engine, expression=rule.expression, by=user
        )
    return rule


def retire_rule(rule: ClassificationRule) -> None:
    """Delete a rule: the next run ends its assignments. The row stays, for the name and versions they refer to."""
    rule.retired_at = timezone.now()
    rule.active = False
    rule.save(update_fields=["retired_at", "active", "updated_at"])


def assign(account: Account, classification: Classification, reason: str, user: User | None) -> Assignment:
    """Assign a classification by hand; no run withdraws it. Raises ValueError if it is already assigned by hand."""
    made, created = Assignment.objects.get_or_create(
        account=account,
        classification=classification,
        rule=None,
        until=None,
        defaults={
            "instance_id": account.instance_id,
            "reason": reason,
            "assigned_by": user,
            "since": timezone.now(),
        },
    )
    if not created:
        raise ValueError(
            gettext("%(account)s is assigned to %(classification)s by hand already.")
            % {"account": account, "classification": classification}
        )
    return made


def withdraw(assignment: Assignment) -> None:
    """End a manual assignment. Raises ValueError for one made by a rule."""
    if not assignment.is_manual:
        raise ValueError(gettext("A rule made this assignment. Change the rule or deactivate it."))
    Assignment.objects.filter(pk=assignment.pk, until=None).update(until=Now())


def run(
    instances: Any,
    *,
    trigger: str,
    user: User | None = None,
    rules: Sequence[ClassificationRule] = (),
    **options: Any,
) -> SyncSession:
    """Start a session that applies all rules, or the given ones, to the instances."""
    params = {"rules": sorted(rule.pk for rule in rules)} if rules else {}
    return start(KIND, instances, trigger=trigger, user=user, params=params, **options)


def after_accounts(session_id: int) -> None:
    """Classify the instances that a session of account visits has read. Idempotent."""
    done = SyncRecord.objects.filter(session=session_id, status__in=SyncRecord.DONE)
    instances = Instance.objects.filter(pk__in=done.values("instance"))
    if instances.active().exists():
        start(KIND, instances, trigger=SyncSession.Trigger.FOLLOW_UP, slot=f"classification after {session_id}")


def count_day(session_id: int) -> None:
    """Store today's number of accounts per classification. Idempotent."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"day": local_day()})
