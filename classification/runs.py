"""Applying rules: each in one statement to as many instances as a session holds, and each by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DatabaseError, OperationalError, connection, transaction

from accounts.freshness import stale_reads
from engines.registry import ENGINES
from instances.models import Instance
from sync.models import SyncSession
from sync.registry import CodedGap, Outcome
from work.halving import failing

from .models import ClassificationRule, RuleResult
from .queries import compiled
from .rules import Part, RuleError, parse

log = logging.getLogger(__name__)

_NOTHING = (0,) * (len(RuleResult.COUNTS) - 1)

Examined = Mapping[int, tuple[str, int]]
"""Instance → its engine, and how many accounts are there."""

# Matched minus present begins, present minus matched ends. What is unknown ends nothing, and says so. Accounts that the
# rule is not about, which are most, are only counted, and that once for all rules.
_APPLY = """
hits AS (
    SELECT a.id, a.instance_id, {verdict} AS verdict {source} AND {verdict} IS NOT FALSE
), present AS (
    SELECT id, account_id, instance_id, unconfirmed_since FROM classification_assignment
     WHERE rule_id = %(rule)s AND until IS NULL AND instance_id = ANY(%(instances)s::bigint[])
), compared AS MATERIALIZED (
    SELECT coalesce(h.instance_id, p.instance_id) AS instance_id, h.id AS account_id, p.id AS assignment_id, h.verdict,
           p.unconfirmed_since
      FROM hits h FULL JOIN present p ON p.account_id = h.id
), gained AS (
    INSERT INTO classification_assignment
           (account_id, instance_id, classification_id, rule_id, rule_version, reason, since)
    SELECT account_id, instance_id, %(classification)s, %(rule)s, %(version)s, '', now()
      FROM compared WHERE verdict AND assignment_id IS NULL
), changed AS (
    UPDATE classification_assignment s
       SET until = CASE WHEN c.account_id IS NULL THEN greatest(s.since, now()) END,
           unconfirmed_since = CASE WHEN c.account_id IS NOT NULL AND c.verdict IS NULL THEN now() END
      FROM compared c
     WHERE s.id = c.assignment_id AND s.rule_id = %(rule)s AND s.until IS NULL AND c.assignment_id IS NOT NULL
       AND (c.account_id IS NULL OR (c.verdict IS NULL) <> (c.unconfirmed_since IS NOT NULL))
)
SELECT instance_id, count(*) AS compared, count(*) FILTER (WHERE verdict) AS matched,
       count(*) FILTER (WHERE verdict AND assignment_id IS NULL) AS gained,
       count(*) FILTER (WHERE account_id IS NULL) AS lost
  FROM compared GROUP BY instance_id
"""

_EXAMINED = """
SELECT i.id, i.engine, count(a.id) FROM instances_instance i
  LEFT JOIN accounts_account a ON a.instance_id = i.id AND a.gone_at IS NULL
 WHERE i.id = ANY(%s) GROUP BY i.id
"""

# Of rules that were switched off or deleted.
_END_IDLE = """
UPDATE classification_assignment s SET until = greatest(s.since, now()) FROM classification_classificationrule r
 WHERE r.id = s.rule_id AND s.until IS NULL AND s.instance_id = ANY(%(instances)s::bigint[])
   AND (NOT r.active OR r.retired_at IS NOT NULL) AND (%(rules)s::bigint[] IS NULL OR r.id = ANY(%(rules)s))
RETURNING s.instance_id
"""
_FORGET_IDLE = """
DELETE FROM classification_ruleresult x USING classification_classificationrule r
 WHERE r.id = x.rule_id AND x.instance_id = ANY(%(instances)s::bigint[]) AND (NOT r.active OR r.retired_at IS NOT NULL)
"""
_KEEP_RESULTS = """
INSERT INTO classification_ruleresult AS x
       (rule_id, version, instance_id, message, examined, matched, unknown, gained, lost, kept, at)
SELECT r.*, now()
  FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[],
              %s::bigint[], %s::bigint[], %s::bigint[]) r
    ON CONFLICT (rule_id, instance_id) DO UPDATE
   SET version = excluded.version, message = excluded.message, examined = excluded.examined, matched = excluded.matched,
       unknown = excluded.unknown, gained = excluded.gained, lost = excluded.lost, kept = excluded.kept,
       at = excluded.at
"""


def write(session: SyncSession, instance_ids: Sequence[int]) -> Mapping[int, Outcome]:
    """Apply the rules to these instances, each in a savepoint of its own; one that fails leaves its assignments as they
    were, and is named in a gap of the instances where it did."""
    asked = session.params.get("rules")
    rules = ClassificationRule.objects.in_force().select_related("classification")
    if asked is not None:
        rules = rules.filter(pk__in=asked)
    totals = {pk: dict.fromkeys(("rules", *RuleResult.COUNTS), 0) for pk in instance_ids}
    gaps: dict[int, list[CodedGap]] = {pk: [] for pk in instance_ids}
    with connection.cursor() as cursor:
        idle = {"instances": list(instance_ids), "rules": asked}
        cursor.execute(_END_IDLE, idle)
        for (instance_id,) in cursor.fetchall():
            totals[instance_id]["lost"] += 1
        cursor.execute(_FORGET_IDLE, idle)
    examined = count_accounts(instance_ids)
    unknown = stale_reads(Instance.objects.filter(pk__in=instance_ids))
    stale = [read.instance.pk for read in unknown]
    results: list[tuple[Any, ...]] = []
    for rule in rules:
        for instance_id, result in _applied(rule, list(instance_ids), examined, stale).items():
            if isinstance(result, CodedGap):
                gaps[instance_id].append(result)
                message = result.parameters["message"]
                results.append((rule.pk, rule.version, instance_id, message, *[0] * len(RuleResult.COUNTS)))
                continue
            results.append((rule.pk, rule.version, instance_id, "", *result))
            totals[instance_id]["rules"] += 1
            for name, count in zip(RuleResult.COUNTS, result, strict=True):
                totals[instance_id][name] += count
    if results:
        with connection.cursor() as cursor:
            cursor.execute(_KEEP_RESULTS, [list(column) for column in zip(*results, strict=True)])
    outcomes = {pk: _told(totals[pk], len(gaps[pk])) for pk in instance_ids}
    for read in unknown:
        gaps[read.instance.pk].append(CodedGap("accounts", "stale", parameters=read.staleness))
    return {pk: Outcome(outcomes[pk], gaps[pk]) for pk in instance_ids}


def _told(totals: dict[str, int], failed: int) -> dict[str, int]:
    """Numbers of a record: answers of all rules together, the rules that gave them, and those that failed."""
    return {**totals, "failed": failed}


def count_accounts(instance_ids: Sequence[int]) -> Examined:
    """How many accounts there are to examine."""
    with connection.cursor() as cursor:
        cursor.execute(_EXAMINED, [list(instance_ids)])
        return {pk: (engine, count) for pk, engine, count in cursor.fetchall()}


def _applied(
    rule: ClassificationRule, instance_ids: list[int], examined: Examined, stale: list[int]
) -> dict[int, tuple[int, ...] | CodedGap]:
    """Instance → the counts of `RuleResult.COUNTS`, or why the rule could not be applied there."""
    try:
        if rule.engine and rule.engine not in ENGINES:
            raise RuleError(f"No adapter serves the engine {rule.engine!r}.")
        tree = parse(rule.expression)
    except RuleError as error:
        return _failed(rule, instance_ids, "bad_rule", str(error))
    results: dict[int, tuple[int, ...] | CodedGap] = {}

    def attempt(some: Sequence[int]) -> None:
        with transaction.atomic():
            counts = apply(rule, tree, some, examined, stale)
        results.update(counts)

    # Where the store is in trouble, and not the rule, all of the run is tried again.
    for instance_id, error in failing(instance_ids, attempt, DatabaseError, fatal=OperationalError):
        log.error("rule %s failed on instance %s", rule, instance_id, exc_info=error)
        message = str(error).strip().split("\n")[0]
        results |= _failed(rule, [instance_id], "rule_failed", message)
    return results


def _failed(rule: ClassificationRule, instance_ids: list[int], code: str, message: str) -> dict[int, Any]:
    parameters = {"rule": rule.code, "message": message}
    return dict.fromkeys(instance_ids, CodedGap(f"rule {rule.code}", code, parameters=parameters))


def apply(
    rule: ClassificationRule,
    tree: Part,
    instance_ids: Sequence[int],
    examined: Examined,
    stale: list[int],
) -> dict[int, tuple[int, ...]]:
    """Apply one rule to the instances in one statement; `stale` ones were not read lately. Returns the counts of
    `RuleResult.COUNTS` by instance."""
    query = compiled(tree, rule.engine, stale=stale)
    sql = _APPLY.format(verdict=query.verdict, source=query.source)
    values = query.parameters | {
        # As one constant: as a list it would be parsed id by id, in every place where it stands.
        "instances": f"{{{','.join(map(str, instance_ids))}}}",
        "rule": rule.pk,
        "classification": rule.classification_id,
        "version": rule.version,
    }
    with connection.cursor() as cursor:
        cursor.execute(f"{query.with_clause()}{',' if query.ctes else 'WITH'} {sql}", values)
        found = {
            pk: (matched, compared - matched - lost, gained, lost, matched - gained)
            for pk, compared, matched, gained, lost in cursor
        }
    told: dict[int, tuple[int, ...]] = {}
    for pk in instance_ids:
        engine, there = examined.get(pk, ("", 0))
        told[pk] = (there if rule.engine in ("", engine) else 0, *found.get(pk, _NOTHING))
    return told
