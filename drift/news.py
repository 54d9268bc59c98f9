"""How many deviations a baseline has, for what asks every few minutes: compared again only after news."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from django.utils import timezone

from accounts.freshness import last_reads
from instances.models import Instance

from .compare import COMPARES, Compared, drift_of
from .models import Baseline

#: Accounts that are named of an instance.
MOST = 10


class Counted(NamedTuple):
    """The deviations of one instance that are not accepted, and the first accounts that have them."""

    instance_id: int
    n: int
    accounts: list[str]
    is_unknown: bool


def counted(baseline: Baseline) -> list[Counted]:
    """What `drift_of` finds, in numbers. Takes a fixed number of queries, and the comparison itself only if something
    that it depends on has changed since the last one, which is stored."""
    basis = _basis(baseline)
    kept = baseline.counted
    if not kept or kept["basis"] != basis:
        rows = [_counted(one) for one in drift_of(baseline).compared]
        kept = {"basis": basis, "at": timezone.now().isoformat(), "rows": rows}
        Baseline.objects.filter(pk=baseline.pk).update(counted=kept)
    return [Counted(*row) for row in kept["rows"]]


def _counted(one: Compared) -> Counted:
    accounts = [*dict.fromkeys(row.label for row in one.deviations)]
    return Counted(one.instance.pk, len(one.deviations), accounts[:MOST], one.is_unknown)


def _basis(baseline: Baseline) -> str:
    """A digest of all that a comparison depends on.

    It is taken before the comparison: what a visit stores in between is compared again the next time. Facts change
    with `read_at` only. A read becomes stale by time, too.
    """
    # A state has no reference, and no instance has the id None.
    ids = [*baseline.group().values_list("pk", flat=True), baseline.reference_id]
    reads = last_reads(Instance.objects.filter(pk__in=ids))
    versions = dict(Instance.objects.filter(pk__in=[read.instance.pk for read in reads]).values_list("pk", "version"))
    sides = [
        [
            *(read.instance.pk, read.instance.engine, versions.get(read.instance.pk), read.is_stale),
            *(read.read_at, read.level, read.beyond, read.gaps, read.unread),
        ]
        for read in sorted(reads, key=lambda read: read.instance.pk)
    ]
    accepted = sorted(
        baseline.accepted.current().order_by().values_list("instance_id", "key"), key=lambda row: (row[0] or 0, row[1])
    )
    parts: list[Any] = [COMPARES, baseline.reference_id, baseline.state_at, baseline.ignored, sides, accepted]
    return hashlib.md5(json.dumps(parts, default=str).encode(), usedforsecurity=False).hexdigest()
