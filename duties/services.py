"""Who holds both sides of a pair of duties, and where that is not known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from access.asking import Asked, ask
from access.questions import Rows
from access.wording import Holders
from accounts.freshness import last_reads
from accounts.models import Account
from classification.models import Assignment, RuleResult
from console.visibility import limit_of, shown_to
from instances.models import Instance
from owners.models import Person

from .models import SIDES, AcceptedConflict, DutyPair

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Unknown = dict[Instance, list[str]]


@dataclass(frozen=True)
class Conflict:
    """The accounts by which `owner`, or without an owner one account, holds each side."""

    owner: Person | None
    first: list[Account]
    second: list[Account]
    accepted: AcceptedConflict | None = None

    @property
    def key(self) -> str:
        """Names the conflict among those of its pair."""
        return f"owner-{self.owner.pk}" if self.owner else f"account-{self.first[0].pk}"

    @property
    def label(self) -> str:
        return str(self.owner or self.first[0])

    @property
    def sides(self) -> tuple[list[Account], list[Account]]:
        return self.first, self.second

    @property
    def instances(self) -> set[int]:
        return {one.instance_id for one in (*self.first, *self.second)}


@dataclass(frozen=True)
class Side:
    """The accounts that hold a side. `rows` and `warnings` are the answer of Who can; a classification has none."""

    label: str
    classification: int | None = None
    ids: frozenset[int] = frozenset()
    rows: Rows | None = None
    warnings: tuple[str, ...] = ()

    def paths(self, accounts: Collection[int]) -> dict[int, str]:
        """Return how each of these accounts comes to hold the side: the path that can be used soonest."""
        if self.rows is None:
            return _classified_by(self.classification, accounts)
        holders = Holders(self.rows.of(accounts))
        found = {}
        for holder in holders[:]:
            row = holder.first.row
            right = str(row.grant) if row.grant else _("by its nature")
            path = " → ".join([*map(str, row.path), right])
            found[holder.account.pk] = f"{path} ({holder.first.usable})"
        return found


@dataclass(frozen=True)
class Found:
    """The conflicts of a pair. `error` says why there is no answer. `without_owner` is the number of accounts with
    exactly one side and no owner: they may belong to anyone. If `is_limited`, the user sees some instances only."""

    sides: tuple[Side, Side]
    conflicts: list[Conflict] = field(default_factory=list)
    accepted: list[Conflict] = field(default_factory=list)
    unknown: dict[Instance, str] = field(default_factory=dict)
    without_owner: int = 0
    error: str = ""
    is_limited: bool = False

    @property
    def is_unknown(self) -> bool:
        return bool(self.error or self.unknown)

    @property
    def warnings(self) -> list[str]:
        """Sentences about the questions: an object that visits have not listed, for example."""
        return list(dict.fromkeys(text for side in self.sides for text in side.warnings))

    def paths(self, conflicts: Collection[Conflict]) -> tuple[dict[int, str], dict[int, str]]:
        """Return how the accounts of these conflicts hold each side. Takes a fixed number of queries."""
        first, second = self.sides
        return (
            first.paths({one.pk for conflict in conflicts for one in conflict.first}),
            second.paths({one.pk for conflict in conflicts for one in conflict.second}),
        )


@dataclass
class _Holder:
    owner: Person | None
    sides: tuple[list[Account], list[Account]] = field(default_factory=lambda: ([], []))


def conflicts_of(pair: DutyPair, user: User | None = None) -> Found:
    """Return the conflicts among the accounts that `user` may see; for a user who sees one side only, there is none.

    Takes a fixed number of queries.
    """
    unknown: Unknown = defaultdict(list)
    try:
        first, second = (_side(pair, side, user, unknown) for side in SIDES)
    except ValueError as error:
        labels = [Side(pair.label(side)) for side in SIDES]
        return Found((labels[0], labels[1]), error=str(error))
    holders = _holders((first, second), unknown)
    conflicts = _with_acceptances(pair, [one for one in holders if all(one.sides)])
    return Found(
        (first, second),
        [one for one in conflicts if not one.accepted],
        [one for one in conflicts if one.accepted],
        {instance: "; ".join(reasons) for instance, reasons in unknown.items()},
        sum(one.owner is None and not all(one.sides) for one in holders),
        is_limited=limit_of(user) is not None,
    )


def accept(
    pair: DutyPair,
    keys: Collection[str],
    user: User | None,
    *,
    reason: str,
    ticket: str = "",
    ends_on: date | None = None,
) -> int:
    """Accept conflicts, given by `key`. Returns how many. Raises ValidationError; those that are there no longer are an
    error, too."""
    if not keys:
        raise ValidationError(_("Choose conflicts."))
    found = conflicts_of(pair, user)
    by_key = {one.key: one for one in (*found.conflicts, *found.accepted)}
    if gone := {*keys} - by_key.keys():
        raise ValidationError(_("%d of the conflicts are no longer there. Look again.") % len(gone))
    rows = [
        AcceptedConflict(
            pair=pair,
            owner=conflict.owner,
            account=None if conflict.owner else conflict.first[0],
            first=[one.pk for one in conflict.first],
            second=[one.pk for one in conflict.second],
            reason=reason.strip(),
            ticket=ticket.strip(),
            ends_on=ends_on,
            accepted_by=user if user and user.pk else None,
            accepted_at=timezone.now(),
        )
        for conflict in map(by_key.__getitem__, {*keys})
    ]
    for row in rows:
        row.clean_fields(exclude=["pair", "owner", "account", "accepted_by"])
        row.clean()
    AcceptedConflict.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["pair", "owner", "account"],
        update_fields=["first", "second", "reason", "ticket", "ends_on", "accepted_by", "accepted_at"],
    )
    return len(rows)


def _side(pair: DutyPair, side: str, user: User | None, unknown: Unknown) -> Side:
    """Raises ValueError for a side that no visit has seen."""
    classification, privilege, on = pair.side(side)
    if classification:
        return Side(pair.label(side), classification, _classified(classification, user, unknown))
    answered = ask(Asked(privilege, on, user=user))
    answer = answered.answer
    for instance, reason in answer.unknown.items():
        _note(unknown, instance, reason)
    ids = frozenset(one.account for one in answer.rows.holdings)
    return Side(pair.label(side), ids=ids, rows=answer.rows, warnings=tuple(answered.warnings))


def _classified(classification: int, user: User | None, unknown: Unknown) -> frozenset[int]:
    for read in last_reads(shown_to(Instance.objects.all(), user)):
        if read.is_stale:
            _note(unknown, read.instance, read.reason)
    undecided = RuleResult.objects.filter(Q(unknown__gt=0) | ~Q(message=""), rule__classification=classification)
    undecided = undecided.filter(rule__active=True, rule__retired_at=None)
    for result in shown_to(undecided, user).select_related("instance", "rule").order_by("instance__name", "rule__code"):
        _note(unknown, result.instance, _("the rule %s is not decided for all accounts") % result.rule.code)
    held = shown_to(Assignment.objects.current(), user).filter(classification=classification, instance__retired_at=None)
    return frozenset(held.order_by().values_list("account", flat=True))


def _classified_by(classification: int | None, accounts: Collection[int]) -> dict[int, str]:
    held = Assignment.objects.current().filter(classification=classification, account__in=accounts)
    found: dict[int, str] = {}
    for one in held.select_related("rule").order_by("rule__code", "pk"):
        words = _("by the rule %s") % one.rule.code if one.rule else _("by hand: %s") % one.reason
        found.setdefault(one.account_id, words)
    return found


def _holders(sides: tuple[Side, Side], unknown: Unknown) -> list[_Holder]:
    """Return owners, and accounts without owner, with the accounts that give them each side."""
    accounts = Account.objects.present().filter(pk__in=sides[0].ids | sides[1].ids)
    # Nobody logs in with these.
    accounts = accounts.exclude(~Q(kind=Account.Kind.PUBLIC), Q(can_login=False) | Q(is_locked=True), is_system=True)
    holders: dict[tuple[str, int], _Holder] = {}
    for one in accounts.select_related("instance", "ownership__owner").order_by("instance__name", "name", "pk"):
        if one.kind == Account.Kind.PUBLIC:
            _note(unknown, one.instance, _("everyone there holds a side through PUBLIC"))
            continue
        owner = one.ownership.owner if hasattr(one, "ownership") else None
        if owner is None and one.can_login is False:
            # A role: its members hold what it has.
            continue
        key = ("owner", owner.pk) if owner else ("account", one.pk)
        holder = holders.setdefault(key, _Holder(owner))
        for held, side in zip(holder.sides, sides, strict=True):
            if one.pk in side.ids:
                held.append(one)
    # Owners first.
    return sorted(holders.values(), key=lambda one: (one.owner is None, str(one.owner or "")))


def _with_acceptances(pair: DutyPair, holders: list[_Holder]) -> list[Conflict]:
    rows = pair.accepted.current().order_by()
    accepted: Mapping[tuple[int | None, int | None], AcceptedConflict] = {
        (one.owner_id, one.account_id): one for one in rows
    }
    conflicts = []
    for holder in holders:
        first, second = holder.sides
        row = accepted.get((holder.owner.pk, None) if holder.owner else (None, first[0].pk))
        if row and not ({one.pk for one in first} <= {*row.first} and {one.pk for one in second} <= {*row.second}):
            row = None
        conflicts.append(Conflict(holder.owner, first, second, row))
    return conflicts


def _note(unknown: Unknown, instance: Instance, reason: str) -> None:
    if reason not in unknown[instance]:
        unknown[instance].append(reason)
