"""Who holds both sides of a pair of duties, and where that is not known."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils.translation import gettext as _

from access.asking import Asked, ask
from accounts.freshness import last_reads
from accounts.models import Account
from classification.models import Assignment, RuleResult
from console.visibility import shown_to
from instances.models import Instance

from .models import DutyPair

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Unknown = dict[Instance, list[str]]


@dataclass(frozen=True)
class Conflict:
    """The accounts by which `owner`, or without an owner one account, holds each side."""

    owner: str | None
    first: list[Account]
    second: list[Account]


@dataclass(frozen=True)
class Found:
    """`without_owner` is the number of accounts with exactly one side and no owner: they may belong to anyone."""

    conflicts: list[Conflict]
    unknown: dict[Instance, list[str]]
    without_owner: int = 0


@dataclass
class _Holder:
    owner: str | None
    sides: tuple[list[Account], list[Account]] = field(default_factory=lambda: ([], []))


def conflicts_of(pair: DutyPair, user: User | None = None) -> Found:
    """Return the conflicts among the accounts that `user` may see. A side on a hidden instance is left out.

    Takes a fixed number of queries. Raises ValueError for a side that no visit has seen.
    """
    unknown: Unknown = defaultdict(list)
    sides = [_side(pair, side, user, unknown) for side in ("first", "second")]
    accounts = Account.objects.filter(pk__in=set().union(*sides), gone_at=None, is_filtered=False)
    holders: dict[tuple[str, int], _Holder] = {}
    for one in accounts.select_related("instance", "ownership__owner").order_by("instance__name", "name", "pk"):
        if one.kind == Account.Kind.PUBLIC:
            _note(unknown, one.instance, _("everyone there holds a side through PUBLIC"))
            continue
        owner = one.ownership.owner if hasattr(one, "ownership") else None
        key = ("owner", owner.pk) if owner else ("account", one.pk)
        holder = holders.setdefault(key, _Holder(owner.name if owner else None))
        for held, ids in zip(holder.sides, sides, strict=True):
            if one.pk in ids:
                held.append(one)
    both = [Conflict(one.owner, *one.sides) for one in holders.values() if all(one.sides)]
    alone = sum(one.owner is None and not all(one.sides) for one in holders.values())
    return Found(both, dict(unknown), alone)


def _side(pair: DutyPair, side: str, user: User | None, unknown: Unknown) -> set[int]:
    classification, privilege, on = pair.side(side)
    if classification:
        return _classified(classification, user, unknown)
    answer = ask(Asked(privilege, on, user=user)).answer
    for instance, reason in answer.unknown.items():
        _note(unknown, instance, reason)
    return {one.account for one in answer.rows.holdings}


def _classified(classification: int, user: User | None, unknown: Unknown) -> set[int]:
    for read in last_reads(shown_to(Instance.objects.all(), user)):
        if read.is_stale:
            _note(unknown, read.instance, read.reason)
    undecided = RuleResult.objects.filter(Q(unknown__gt=0) | ~Q(message=""), rule__classification=classification)
    undecided = undecided.filter(rule__active=True, rule__retired_at=None)
    for result in shown_to(undecided, user).select_related("instance", "rule"):
        _note(unknown, result.instance, _("the rule %s is not decided for all accounts") % result.rule.code)
    held = shown_to(Assignment.objects.current(), user).filter(classification=classification)
    return {*held.order_by().values_list("account", flat=True)}


def _note(unknown: Unknown, instance: Instance, reasons: str) -> None:
    if reasons not in unknown[instance]:
        unknown[instance].append(reasons)
