"""Owners for accounts by rules about names. Accounts with an owner are never changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import transaction

from accounts.models import Account
from console.visibility import shown_to
from tagging.models import InstanceTag

from .models import OwnerRule, Ownership, Person, without_owner

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True)
class Match:
    """An account, and the people that the first rule with a candidate names."""

    account: Account
    rule: OwnerRule
    people: Sequence[Person]


@dataclass
class Matching:
    """The accounts with one candidate, and those with several, which stay open."""

    found: list[Match] = field(default_factory=list)
    ambiguous: list[Match] = field(default_factory=list)

    def save(self) -> None:
        """Store the owners. One that was set in the meantime stays, as do kinds and notes."""
        with transaction.atomic():
            there = {
                row.account_id: row
                for row in Ownership.objects.filter(
                    account__in=[match.account for match in self.found]
                ).select_for_update()
            }
            new, changed = [], []
            for match in self.found:
                row = there.get(match.account.pk) or Ownership(account=match.account)
                if row.owner_id:
                    continue
                row.owner, row.kind = match.people[0], row.kind or match.rule.kind
                (changed if row.pk else new).append(row)
            Ownership.objects.bulk_create(new, batch_size=1000, ignore_conflicts=True)
            Ownership.objects.bulk_update(changed, ["owner", "kind"], batch_size=1000)


def matching(user: User | None = None) -> Matching:
    """Match the accounts without an owner that the user sees. Takes four queries at most."""
    rules = list(OwnerRule.objects.filter(active=True))
    if not rules:
        return Matching()
    people = list(Person.objects.all())
    named = [_by_name(rule, people) for rule in rules]
    tagged: dict[int, set[int]] = defaultdict(set)
    tags = {rule.tag_id for rule in rules if rule.tag_id}
    for tag, instance in InstanceTag.objects.filter(tag__in=tags).values_list("tag", "instance"):
        tagged[tag].add(instance)
    result = Matching()
    open_ones = without_owner(shown_to(Account.objects.present(), user)).select_related("instance")
    for account in open_ones.order_by("instance__name", "name", "host", "pk"):
        for rule, by_name in zip(rules, named, strict=True):
            candidates = by_name.get(account.name.lower(), ())
            if candidates and _applies(rule, account, tagged):
                into = result.found if len(candidates) == 1 else result.ambiguous
                into.append(Match(account, rule, candidates))
                break
    return result


def _by_name(rule: OwnerRule, people: Iterable[Person]) -> dict[str, list[Person]]:
    found: dict[str, list[Person]] = defaultdict(list)
    for person in people:
        if name := rule.name_for(person):
            found[name].append(person)
    return dict(found)


def _applies(rule: OwnerRule, account: Account, tagged: dict[int, set[int]]) -> bool:
    if rule.engine and rule.engine != account.instance.engine:
        return False
    return rule.tag_id is None or account.instance_id in tagged[rule.tag_id]
