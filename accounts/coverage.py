"""What a visit read, and whether it is what the visit before it read."""

from __future__ import annotations

import marshal
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from hashlib import blake2b
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from instances.adapters.base import Gap
from instances.models import Instance

from .models import Coverage

if TYPE_CHECKING:
    from .services import AccountFacts

#: Raised when the same facts would be stored differently, so that the next visit compares everything again.
FORMAT = 1


def digest_of(facts: AccountFacts, gaps: Iterable[Gap]) -> str:
    """The same for the same facts in any order, gaps included but for their wording."""
    permissions = facts.permissions
    accounts = sorted(facts.inventory.accounts, key=itemgetter(0, 1))
    everything = [
        FORMAT,
        [[value.isoformat() if isinstance(value, datetime) else value for value in fact] for fact in accounts],
        sorted(facts.inventory.unread),
        list(map(tuple, sorted(permissions.memberships))),
        list(map(tuple, sorted(permissions.grants))),
        _essence(facts.level, permissions.covered, permissions.beyond, [asdict(gap) for gap in gaps]),
    ]
    # Version 2 of the format writes equal values alike; later ones write what is shared as references.
    return blake2b(marshal.dumps(everything, 2)).hexdigest()


def write_coverage(instance: Instance, facts: AccountFacts, gaps: Iterable[Gap], digest: str, now: datetime) -> None:
    """Begin another interval of coverage when it differs from the one that is open, and keep the digest."""
    read = Coverage(
        instance=instance,
        level=facts.level,
        covered=sorted(facts.permissions.covered),
        beyond=sorted(facts.permissions.beyond),
        gaps=[asdict(gap) for gap in gaps],
        digest=digest,
        since=now,
    )
    open_one = Coverage.objects.filter(instance=instance, until=None)
    before = open_one.first()
    if before and _essence(before.level, before.covered, before.beyond, before.gaps) == _essence(
        read.level, read.covered, read.beyond, read.gaps
    ):
        open_one.update(digest=digest)
    else:
        open_one.update(until=now)
        read.save()


def _essence(level: str, covered: Iterable[str], beyond: Iterable[str], gaps: Iterable[dict[str, str]]) -> list[Any]:
    """What makes two of them the same: the wording of a gap may vary from visit to visit."""
    told = sorted((gap["scope"], gap["database"], gap["code"]) for gap in gaps)
    return [level, sorted(covered), sorted(beyond), told]
