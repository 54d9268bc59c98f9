"""What saving an account filter would do, before it is saved."""

from __future__ import annotations

from dataclasses import dataclass

from .hiding import matcher
from .models import Account, AccountFilter
from .services import matchers


@dataclass(frozen=True)
class Effect:
    """`matched` lists present accounts that the filter is about, the first of `n_matched`; `n_hidden` accounts would
    be hidden and `n_shown` shown that are not so now."""

    matched: list[Account]
    n_matched: int
    n_hidden: int
    n_shown: int


def effect_of(candidate: AccountFilter, limit: int) -> Effect:
    """The effect of a filter as it stands, stored, changed or new. Lists at most `limit` accounts."""
    stored = AccountFilter.objects.filter(pk=candidate.pk).first()
    concerned = candidate.concerned()
    others = AccountFilter.objects.filter(active=True).exclude(pk=candidate.pk)
    after = matchers(
        [*others, candidate] if candidate.active else others, concerned | (stored or candidate).concerned()
    )
    within = set(concerned.values_list("pk", flat=True))
    is_meant = matcher([AccountFilter(action="hide", pattern=candidate.pattern, system_only=candidate.system_only)])
    rows = Account.objects.present().filter(instance__in=after).select_related("instance")
    matched: list[Account] = []
    n_matched = 0
    flips = {True: 0, False: 0}
    for account in rows.iterator():
        hidden = after[account.instance_id](account.name, account.is_system)
        flips[hidden] += hidden != account.is_filtered
        if account.instance_id in within and is_meant(account.name, account.is_system):
            n_matched += 1
            if len(matched) < limit:
                matched.append(account)
    return Effect(matched, n_matched, n_hidden=flips[True], n_shown=flips[False])
