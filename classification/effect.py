"""Preview the effect of a rule before it is saved or run. Uses the query of a run and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext

from accounts.freshness import last_reads
from accounts.models import Account
from instances.models import Instance

from .models import ClassificationRule
from .queries import compiled
from .rules import parse

if TYPE_CHECKING:
    from django.db.models import QuerySet

OUTCOMES = ("gained", "lost", "kept", "unknown")

# Ordered by account; rows beyond the limit are not fetched.
_EFFECT = """
present AS (
    SELECT s.account_id FROM classification_assignment s
     WHERE s.rule_id = %(rule)s AND {held} AND s.instance_id = ANY(%(instances)s::bigint[])
), judged AS (
    SELECT a.id, {verdict} AS verdict {source}
), compared AS (
    SELECT coalesce(j.id, p.account_id) AS account_id, j.id IS NOT NULL AS examined,
           CASE WHEN j.id IS NULL OR NOT j.verdict THEN CASE WHEN p.account_id IS NOT NULL THEN 'lost' ELSE '' END
                WHEN j.verdict IS NULL THEN 'unknown'
                WHEN p.account_id IS NULL THEN 'gained' ELSE 'kept' END AS outcome
      FROM judged j FULL JOIN present p ON p.account_id = j.id
), numbered AS (
    SELECT account_id, outcome, count(*) FILTER (WHERE examined) OVER () AS examined,
           count(*) OVER (PARTITION BY outcome) AS n,
           row_number() OVER (PARTITION BY outcome ORDER BY account_id) AS row
      FROM compared
)
SELECT outcome, min(examined), min(n), array_agg(account_id ORDER BY account_id) FILTER (WHERE row <= %(limit)s)
  FROM numbered GROUP BY outcome
"""


@dataclass(frozen=True)
class Effect:
    """Accounts by outcome: `counts` of all, `accounts` the first of each. `matched` = gained + kept; unknown accounts
    keep their assignments. `unknown` maps instances that were not read recently to the reason. `unvisited` are those
    of them without a successful visit by then."""

    rule: ClassificationRule
    at: datetime
    examined: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    accounts: dict[str, list[Account]] = field(default_factory=lambda: {outcome: [] for outcome in OUTCOMES})
    unvisited: list[str] = field(default_factory=list)
    unknown: dict[Instance, str] = field(default_factory=dict)

    @property
    def matched(self) -> int:
        return self.counts["gained"] + self.counts["kept"]


def effect_of(
    rule: ClassificationRule, instances: QuerySet[Instance], *, at: datetime | None = None, limit: int = 100
) -> Effect:
    """Compute the effect of a stored, changed or new rule on the active ones of these instances, now or as of a moment.
    Raises RuleError for an invalid rule and ValueError for a future moment."""
    now = timezone.now()
    if at and at > now:
        raise ValueError(gettext("%s is in the future.") % at.isoformat())
    tree = parse(rule.expression)
    held = "s.until IS NULL" if at is None else "s.since <= %(at)s AND (s.until IS NULL OR s.until > %(at)s)"
    reads = last_reads(instances.active(), at or now)
    effect = Effect(
        rule,
        at or now,
        unvisited=[read.instance.name for read in reads if not read.is_visited],
        unknown={read.instance: read.reason for read in reads if read.is_stale},
    )
    query = compiled(tree, rule.engine, at, [instance.pk for instance in effect.unknown])
    sql = _EFFECT.format(held=held, verdict=query.verdict, source=query.source)
    with connection.cursor() as cursor:
        values = query.parameters | {
            "instances": [read.instance.pk for read in reads],
            "rule": rule.pk,
            "limit": limit,
        }
        cursor.execute(f"{query.with_clause()}{',' if query.ctes else 'WITH'} {sql}", values)
        rows = cursor.fetchall()
    listed = {pk for outcome, _, _, pks in rows if outcome for pk in pks or ()}
    accounts = Account.objects.select_related("instance").in_bulk(listed)
    for outcome, _examined, count, pks in rows:
        if outcome:
            effect.counts[outcome] = count
            effect.accounts[outcome] = [accounts[pk] for pk in pks or () if pk in accounts]
    return replace(effect, examined=rows[0][1] if rows else 0)
