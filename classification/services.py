"""Keeping rules, assigning by them and by hand, and what a rule would do before it does."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import Account
from instances.adapters import ENGINES
from instances.adapters.base import Gap
from instances.models import Instance
from sync.models import SyncRecord, SyncSession
from sync.registry import Outcome
from sync.services import start

from .models import Assignment, Classification, ClassificationRule, RuleResult, RuleVersion
from .queries import compiled
from .rules import RuleError, parse

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)

KIND = "classification"

# Matched minus present begins, present minus matched ends. What is unknown ends nothing, and says so.
_APPLY = """
present AS (
    SELECT s.id, s.account_id, s.unconfirmed_since, x.instance_id
      FROM classification_assignment s JOIN accounts_account x ON x.id = s.account_id
     WHERE s.rule_id = %(rule)s AND s.until IS NULL AND x.instance_id = ANY(%(instances)s){only_present}
), judged AS MATERIALIZED (
    SELECT a.id, a.instance_id, {verdict} AS verdict {source}
), compared AS MATERIALIZED (
    SELECT coalesce(j.instance_id, p.instance_id) AS instance_id, j.id AS account_id, p.id AS assignment_id, j.verdict,
           p.unconfirmed_since
      FROM judged j FULL JOIN present p ON p.account_id = j.id
), gained AS (
    INSERT INTO classification_assignment
           (account_id, classification_id, rule_id, rule_version, reason, since)
    SELECT account_id, %(classification)s, %(rule)s, %(version)s, '', now()
      FROM compared WHERE verdict AND assignment_id IS NULL
), changed AS (
    UPDATE classification_assignment s
       SET until = CASE WHEN c.account_id IS NULL OR NOT c.verdict THEN now() END,
           unconfirmed_since = CASE WHEN c.account_id IS NOT NULL AND c.verdict IS NULL THEN now() END
      FROM compared c
     WHERE s.id = c.assignment_id
       AND (c.account_id IS NULL OR NOT c.verdict OR (c.verdict IS NULL) <> (c.unconfirmed_since IS NOT NULL))
), counted AS (
    SELECT instance_id, count(account_id) AS examined, count(*) FILTER (WHERE verdict) AS matched,
           count(*) FILTER (WHERE account_id IS NOT NULL AND verdict IS NULL) AS unknown,
           count(*) FILTER (WHERE verdict AND assignment_id IS NULL) AS gained,
           count(*) FILTER (WHERE assignment_id IS NOT NULL AND (account_id IS NULL OR NOT verdict)) AS lost,
           count(*) FILTER (WHERE verdict AND assignment_id IS NOT NULL) AS kept
      FROM compared GROUP BY instance_id
)
INSERT INTO classification_ruleresult
       (rule_id, instance_id, version, at, examined, matched, unknown, gained, lost, kept, error)
SELECT %(rule)s, i.id, %(version)s, now(), coalesce(c.examined, 0), coalesce(c.matched, 0), coalesce(c.unknown, 0),
       coalesce(c.gained, 0), coalesce(c.lost, 0), coalesce(c.kept, 0), ''
  FROM unnest(%(instances)s::bigint[]) AS i(id) LEFT JOIN counted c ON c.instance_id = i.id
    ON CONFLICT (rule_id, instance_id) DO UPDATE
   SET version = excluded.version, at = excluded.at, examined = excluded.examined, matched = excluded.matched,
       unknown = excluded.unknown, gained = excluded.gained, lost = excluded.lost, kept = excluded.kept, error = ''
RETURNING instance_id, examined, matched, unknown, gained, lost, kept
"""

# Of rules that were switched off or deleted.
_END_IDLE = """
UPDATE classification_assignment s SET until = now()
  FROM accounts_account a, classification_classificationrule r
 WHERE a.id = s.account_id AND r.id = s.rule_id AND s.until IS NULL AND a.instance_id = ANY(%(instances)s)
   AND (NOT r.active OR r.retired_at IS NOT NULL) AND (%(rules)s::bigint[] IS NULL OR r.id = ANY(%(rules)s))
RETURNING a.instance_id
"""
_FORGET_IDLE = """
DELETE FROM classification_ruleresult x USING classification_classificationrule r
 WHERE r.id = x.rule_id AND x.instance_id = ANY(%(instances)s) AND (NOT r.active OR r.retired_at IS NOT NULL)
"""
_FAILED = """
INSERT INTO classification_ruleresult
       (rule_id, instance_id, version, at, examined, matched, unknown, gained, lost, kept, error)
SELECT %(rule)s, i.id, %(version)s, now(), 0, 0, 0, 0, 0, 0, %(error)s FROM unnest(%(instances)s::bigint[]) AS i(id)
    ON CONFLICT (rule_id, instance_id) DO UPDATE
   SET version = excluded.version, at = excluded.at, examined = 0, matched = 0, unknown = 0, gained = 0, lost = 0,
       kept = 0, error = excluded.error
"""
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
    """Save a rule that is valid; where it says something else than before, as another version."""
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
    """Delete a rule: the next run ends what it had assigned. Its name and versions stay for what it had."""
    rule.retired_at = timezone.now()
    rule.active = False
    rule.save(update_fields=["retired_at", "active", "updated_at"])


def assign(account: Account, classification: Classification, reason: str, user: User | None) -> Assignment:
    """Classify an account by a person's word, which no run takes back. Raises ValueError when it is so already."""
    made, created = Assignment.objects.get_or_create(
        account=account,
        classification=classification,
        rule=None,
        until=None,
        defaults={"reason": reason, "assigned_by": user, "since": timezone.now()},
    )
    if not created:
        raise ValueError(f"{account} is assigned to {classification} by hand already.")
    return made


def withdraw(assignment: Assignment) -> None:
    """End what a person assigned. Raises ValueError for what a rule did: the rule is what to change."""
    if not assignment.is_manual:
        raise ValueError("A rule assigned this: change the rule, or switch it off.")
    Assignment.objects.filter(pk=assignment.pk, until=None).update(until=Now())


def run(
    instances: Any,
    *,
    trigger: str,
    user: User | None = None,
    rules: Sequence[ClassificationRule] = (),
    **options: Any,
) -> SyncSession:
    """Start a session that applies rules, all of them or some, to the instances."""
    params = {"rules": sorted(rule.pk for rule in rules)} if rules else {}
    return start(KIND, instances, trigger=trigger, user=user, params=params, **options)


def after_accounts(session_id: int) -> None:
    """Classify the instances that a session of account visits has read. Called twice, it does so once."""
    done = SyncRecord.objects.filter(session=session_id, status__in=SyncRecord.DONE)
    instances = Instance.objects.filter(pk__in=done.values("instance"))
    if instances.active().exists():
        start(KIND, instances, trigger=SyncSession.Trigger.FOLLOW_UP, slot=f"classification after {session_id}")


def write(session: SyncSession, instance_ids: Sequence[int]) -> Mapping[int, Outcome]:
    """Apply the rules to these instances, each in a savepoint of its own; one that fails leaves its assignments as they
    were, and is named in a gap of the instances where it did."""
    asked = session.params.get("rules")
    rules = ClassificationRule.objects.in_force().select_related("classification")
    if asked is not None:
        rules = rules.filter(pk__in=asked)
    totals = {pk: dict.fromkeys(("rules", *RuleResult.COUNTS), 0) for pk in instance_ids}
    gaps: dict[int, list[Gap]] = {pk: [] for pk in instance_ids}
    with connection.cursor() as cursor:
        idle = {"instances": list(instance_ids), "rules": asked}
        cursor.execute(_END_IDLE, idle)
        for (instance_id,) in cursor.fetchall():
            totals[instance_id]["lost"] += 1
        cursor.execute(_FORGET_IDLE, idle)
    for rule in rules:
        for instance_id, result in _applied(rule, list(instance_ids)).items():
            if isinstance(result, Gap):
                gaps[instance_id].append(result)
                continue
            totals[instance_id]["rules"] += 1
            for name, count in zip(RuleResult.COUNTS, result, strict=True):
                totals[instance_id][name] += count
    return {pk: Outcome(_told(totals[pk], len(gaps[pk])), gaps[pk]) for pk in instance_ids}


def _told(totals: dict[str, int], failed: int) -> dict[str, int]:
    """Numbers of a record: answers of all rules together, the rules that gave them, and those that failed."""
    return {**totals, "failed": failed}


def _applied(rule: ClassificationRule, instance_ids: list[int]) -> dict[int, tuple[int, ...] | Gap]:
    """Instance → the counts of `RuleResult.COUNTS`, or why the rule could not be applied there."""
    try:
        if rule.engine and rule.engine not in ENGINES:
            raise RuleError(f"No adapter serves the engine {rule.engine!r}.")
        tree = parse(rule.expression)
    except RuleError as error:
        return _failed(rule, instance_ids, "bad_rule", str(error), "Correct the rule, or switch it off.")
    try:
        with transaction.atomic():
            return apply(rule, tree, instance_ids)
    except OperationalError:
        # The store is in trouble, not the rule: all of it is tried again.
        raise
    except DatabaseError as error:
        if len(instance_ids) > 1:
            middle = len(instance_ids) // 2
            return _applied(rule, instance_ids[:middle]) | _applied(rule, instance_ids[middle:])
        log.exception("rule %s failed on instance %s", rule, instance_ids[0])
        message = str(error).strip().split("\n")[0]
        account = _culprit(rule, tree, instance_ids[0])
        concerned = f"first at the account {account}" if account else "at its accounts together"
        return _failed(rule, instance_ids, "rule_failed", f"{message} ({concerned})", "The worker's log has the rest.")


def _failed(rule: ClassificationRule, instance_ids: list[int], code: str, message: str, hint: str) -> dict[int, Any]:
    with connection.cursor() as cursor:
        values = {"rule": rule.pk, "version": rule.version, "error": message, "instances": instance_ids}
        cursor.execute(_FAILED, values)
    gap = Gap(f"rule {rule.code}", code, f"rule {rule.code} was not applied: {message}", hint=hint)
    return dict.fromkeys(instance_ids, gap)


def apply(
    rule: ClassificationRule, tree: Any, instance_ids: list[int], accounts: list[int] | None = None
) -> dict[int, tuple[int, ...] | Gap]:
    """Apply one rule to the instances in one statement, or only to some accounts of them."""
    query = compiled(tree, rule.engine)
    source, only_present = query.source, ""
    if accounts is not None:
        source, only_present = f"{source} AND a.id = ANY(%(accounts)s)", " AND x.id = ANY(%(accounts)s)"
    sql = _APPLY.format(verdict=query.verdict, source=source, only_present=only_present)
    values = query.parameters | {
        "instances": instance_ids,
        "accounts": accounts,
        "rule": rule.pk,
        "classification": rule.classification_id,
        "version": rule.version,
    }
    with connection.cursor() as cursor:
        cursor.execute(f"{query.with_clause()}{',' if query.ctes else 'WITH'} {sql}", values)
        return {row[0]: row[1:] for row in cursor.fetchall()}


def _culprit(rule: ClassificationRule, tree: Any, instance_id: int) -> Account | None:
    """The first account at which the rule fails alone, found by halving; nothing of it stays."""
    suspects: list[int] = list(Account.objects.filter(instance=instance_id).order_by("pk").values_list("pk", flat=True))
    while len(suspects) > 1:
        half = suspects[: len(suspects) // 2]
        suspects = half if _fails(rule, tree, instance_id, half) else suspects[len(half) :]
    if suspects and _fails(rule, tree, instance_id, suspects):
        return Account.objects.get(pk=suspects[0])
    return None


def _fails(rule: ClassificationRule, tree: Any, instance_id: int, accounts: list[int]) -> bool:
    try:
        with transaction.atomic():
            apply(rule, tree, [instance_id], accounts)
            transaction.set_rollback(True)
    except DatabaseError:
        return True
    return False


def count_day(session_id: int) -> None:
    """Keep how many accounts have each classification today. Called twice, it says the same twice."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"day": timezone.localdate()})


def headline(assignments: Iterable[Assignment]) -> Classification | None:
    """Of all that an account is, what heads it."""
    found = sorted((one.classification for one in assignments), key=lambda one: (one.priority, one.name))
    return found[0] if found else None
