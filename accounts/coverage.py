"""What a visit read, and whether it is what the visit before it read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import connection

from engines import derived
from engines.derived import fingerprint_of
from engines.facts import Gap
from instances.models import Instance

from .models import Coverage
from .rows import AccountFacts


def digest_of(facts: AccountFacts, gaps: Iterable[Gap]) -> str:
    """A digest that is the same for the same facts in any order, and for gaps that differ only in their wording. It may
    differ where the facts do not: facts that are derived from rows have the digest of the rows."""
    permissions = facts.permissions
    everything = (
        derived.VERSION,
        facts.server,
        _essence(facts.level, permissions.covered, permissions.beyond, [asdict(gap) for gap in gaps]),
        *map(fingerprint_of, (facts.inventory.accounts, permissions.memberships, permissions.grants)),
    )
    return fingerprint_of(everything)


def read_again(instance: Instance, digest: str, now: datetime) -> int | None:
    """Keep that a visit read what the last one had read. Returns how many accounts there are; None if it had not."""
    with connection.cursor() as cursor:
        cursor.execute(_READ_AGAIN, {"instance": instance.pk, "digest": digest, "now": now})
        row = cursor.fetchone()
    return row[0] if row else None


_READ_AGAIN = """
UPDATE accounts_coverage SET read_at = greatest(read_at, %(now)s)
 WHERE instance_id = %(instance)s AND until IS NULL AND digest = %(digest)s
RETURNING (SELECT count(*) FROM accounts_account WHERE instance_id = %(instance)s AND gone_at IS NULL)
"""


def write_coverage(
    instance: Instance,
    before: Coverage | None,
    facts: AccountFacts,
    gaps: Iterable[Gap],
    digest: str,
    now: datetime,
) -> None:
    """Begin another interval of coverage when it differs from the one that is open, `before`; keep the digest, and when
    that was read."""
    read = Coverage(
        instance=instance,
        level=facts.level,
        covered=sorted(facts.permissions.covered),
        beyond=sorted(facts.permissions.beyond),
        gaps=[asdict(gap) for gap in gaps],
        unread=sorted(facts.inventory.unread),
        digest=digest,
        since=now,
        read_at=now,
    )
    open_one = Coverage.objects.filter(instance=instance, until=None)
    if before and _essence(before.level, before.covered, before.beyond, before.gaps) == _essence(
        read.level, read.covered, read.beyond, read.gaps
    ):
        open_one.update(digest=digest, read_at=now)
    else:
        open_one.update(until=now)
        read.save()


def _essence(level: str, covered: Iterable[str], beyond: Iterable[str], gaps: Iterable[dict[str, Any]]) -> list[Any]:
    """What makes two of them the same: the wording of a gap may vary from visit to visit."""
    kept = sorted((gap["scope"], gap["database"], gap["code"], *gap.get("fields", ())) for gap in gaps)
    return [level, sorted(covered), sorted(beyond), kept]
