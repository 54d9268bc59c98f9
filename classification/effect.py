"""Preview the effect of a rule before it is saved or run. Uses the query of a run and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, overload

from django.db import connection
from django.utils import timezone

from access.moments import iso, past
from accounts.freshness import LastRead, last_reads
from accounts.models import Account
from instances.models import Instance

from .explain import why_unknown
from .models import ClassificationRule
from .queries import compiled
from .rules import And, Not, Or, Part, Term, parse

if TYPE_CHECKING:
    from django.db.models import QuerySet

OUTCOMES = ("gained", "lost", "kept", "unknown")

#: Accounts that are loaded at once.
CHUNK = 2000

# Groups of accounts by outcome, instance, and the parts of the rule that are unknown. Accounts without an outcome are
# only counted.
_EFFECT = """
present AS (
    SELECT s.account_id, s.instance_id FROM classification_assignment s
     WHERE s.rule_id = %(rule)s AND {held} AND s.instance_id = ANY(%(instances)s::bigint[])
), judged AS (
    SELECT a.id, a.instance_id, {verdict} AS verdict,
           CASE WHEN {verdict} IS NULL THEN ARRAY[{unknown}] END AS unknown {source}
), compared AS (
    SELECT coalesce(j.id, p.account_id) AS account_id, coalesce(j.instance_id, p.instance_id) AS instance_id, j.unknown,
           j.id IS NOT NULL AS examined,
           CASE WHEN j.id IS NULL OR NOT j.verdict THEN CASE WHEN p.account_id IS NOT NULL THEN 'lost' ELSE '' END
                WHEN j.verdict IS NULL THEN 'unknown'
                WHEN p.account_id IS NULL THEN 'gained' ELSE 'kept' END AS outcome
      FROM judged j FULL JOIN present p ON p.account_id = j.id
)
SELECT c.outcome, c.instance_id, c.unknown, count(*) FILTER (WHERE c.examined),
       array_agg(c.account_id ORDER BY n.name, n.host, n.id) FILTER (WHERE c.outcome <> '')
  FROM compared c LEFT JOIN accounts_account n ON n.id = c.account_id AND c.outcome <> ''
 GROUP BY c.outcome, c.instance_id, c.unknown
"""


class Found(NamedTuple):
    """An account of a dry run. `reason` says why the rule is unknown for it; "" for other outcomes."""

    account: Account
    reason: str


class Accounts(Sequence[Found]):
    """Accounts by instance and name. Each slice takes one query; iteration takes one for each `CHUNK`."""

    def __init__(self, found: Sequence[tuple[int, str]] = ()) -> None:
        #: (id of the account, reason)
        self._found = found

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> Found: ...
    @overload
    def __getitem__(self, index: slice) -> list[Found]: ...
    def __getitem__(self, index: int | slice) -> Found | list[Found]:
        return list(_loaded(self._found[index])) if isinstance(index, slice) else next(_loaded([self._found[index]]))

    def __iter__(self) -> Iterator[Found]:
        for first in range(0, len(self), CHUNK):
            yield from self[first : first + CHUNK]


def _loaded(found: Sequence[tuple[int, str]]) -> Iterator[Found]:
    """Load the accounts, without those that were deleted meanwhile."""
    accounts = Account.objects.select_related("instance").in_bulk([pk for pk, _reason in found]) if found else {}
    return (Found(accounts[pk], reason) for pk, reason in found if pk in accounts)


@dataclass(frozen=True)
class Effect:
    """All accounts by outcome. `matched` = gained + kept; unknown accounts keep their assignments. `reads` are the last
    reads of the instances by id."""

    rule: ClassificationRule
    at: datetime
    reads: dict[int, LastRead]
    examined: int = 0
    accounts: dict[str, Accounts] = field(default_factory=lambda: {outcome: Accounts() for outcome in OUTCOMES})

    @property
    def counts(self) -> dict[str, int]:
        return {outcome: len(accounts) for outcome, accounts in self.accounts.items()}

    @property
    def matched(self) -> int:
        return len(self.accounts["gained"]) + len(self.accounts["kept"])

    @property
    def unknown(self) -> dict[Instance, str]:
        """The instances that were not read recently → the reason."""
        return {read.instance: read.reason for read in self.reads.values() if read.is_stale}

    @property
    def unvisited(self) -> list[str]:
        """The names of the instances without a successful visit by then."""
        return [read.instance.name for read in self.reads.values() if not read.is_visited]


def effect_of(rule: ClassificationRule, instances: QuerySet[Instance], *, at: datetime | None = None) -> Effect:
    """Compute the effect of a stored, changed or new rule on the active ones of these instances, now or as of a moment.
    Takes two queries. Raises RuleError for an invalid rule and ValueError for a future moment."""
    moment = past(at)
    tree = parse(rule.expression)
    held = "s.until IS NULL" if at is None else "s.since <= %(at)s AND (s.until IS NULL OR s.until > %(at)s)"
    effect = Effect(rule, moment, {read.instance.pk: read for read in last_reads(instances.active(), moment)})
    query = compiled(tree, rule.engine, at, [instance.pk for instance in effect.unknown])
    parts = list(query.parts)
    unknown = ", ".join(f"({query.parts[part]}) IS NULL" for part in parts)
    sql = _EFFECT.format(held=held, verdict=query.verdict, unknown=unknown, source=query.source)
    with connection.cursor() as cursor:
        values = query.parameters | {"instances": [*effect.reads], "rule": rule.pk}
        cursor.execute(f"{query.with_clause()}{',' if query.ctes else 'WITH'} {sql}", values)
        rows = cursor.fetchall()
    groups: dict[str, list[tuple[str, str, list[int]]]] = {outcome: [] for outcome in OUTCOMES}
    for outcome, instance_id, flags, _examined, pks in rows:
        if outcome:
            read = effect.reads[instance_id]
            unread = {part for part, is_unknown in zip(parts, flags, strict=True) if is_unknown} if flags else set()
            groups[outcome].append((read.instance.name, _reason(tree, unread, read), pks))
    accounts = {
        outcome: Accounts([(pk, reason) for _name, reason, pks in sorted(some) for pk in pks])
        for outcome, some in groups.items()
    }
    return replace(effect, examined=sum(row[3] for row in rows), accounts=accounts)


def _reason(tree: Part, unknown: set[Part], read: LastRead) -> str:
    """Return why the rule is unknown, in words; "" if it is known."""
    reasons = (why for term in _causes(tree, unknown) for why in why_unknown(term, read))
    return "; ".join(dict.fromkeys(reasons))


def _causes(part: Part, unknown: set[Part]) -> Iterator[Term]:
    """Yield the words that make the part unknown."""
    if part not in unknown:
        return
    match part:
        case And(parts=parts) | Or(parts=parts):
            for one in parts:
                yield from _causes(one, unknown)
        case Not(part=one):
            yield from _causes(one, unknown)
        case Term():
            yield part


#: Columns of `rows`.
HEADER = ["rule", "expression", "outcome", "instance", "account", "not known", "last read", "read depth"]
HEADER += ["as of", "time zone", "asked at", "asked by"]


def rows(effect: Effect, by: str) -> Iterator[list[object]]:
    """Yield a row for each account of an outcome, then one for each instance that is unknown as a whole, for CSV."""
    rule = [effect.rule.code, effect.rule.expression]
    zone = timezone.get_current_timezone_name()
    asked = [iso(effect.at), zone, iso(timezone.now()), by]
    bases = {pk: [iso(read.read_at), read.level] for pk, read in effect.reads.items()}
    for outcome, accounts in effect.accounts.items():
        for account, reason in accounts:
            basis = bases[account.instance_id]
            yield [*rule, outcome, account.instance.name, account, reason, *basis, *asked]
    for instance, reason in effect.unknown.items():
        yield [*rule, "", instance.name, "", reason, *bases[instance.pk], *asked]
