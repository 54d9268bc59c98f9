"""Read what fills: everything with a limit, its sizes by day, and when it will be full."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from capacity.models import DatabaseSize, InstanceSize
from console.visibility import shown_to
from instances.models import Instance
from tagging.models import InstanceTag

from .forecast import WINDOW, Forecast, NoForecast
from .forecast import forecasts as of_series
from .models import SizeLimit, Volume

Series = dict[date, int]

KINDS = ("instance", "database", "tag", "fleet", "volume")

#: In a sum, an instance that was not read keeps its last size for so many days. After that, the sum is unknown.
BRIDGED = 7


@dataclass(frozen=True)
class Ceiling:
    """Something that fills, and the bytes at which it is full.

    `kind` is one of KINDS. `pk` is its primary key, None for the fleet.
    `instance` is the instance it lies in; None if it covers several, whose ids are `members`. `row` sets the limit.
    """

    kind: str
    pk: int | None
    name: str
    limit: int
    row: SizeLimit | Volume
    instance: Instance | None = None
    members: tuple[int, ...] = ()


def ceilings(user: User | None = None, limits: QuerySet[SizeLimit] | None = None) -> list[Ceiling]:
    """Return everything with a limit that the user may see; with `limits`, these only. Takes a fixed number of queries.
    Retired instances and databases that are gone are left out."""
    rows = shown_to(SizeLimit.objects.all() if limits is None else limits, user)
    alive = rows.exclude(instance__retired_at__isnull=False).exclude(database__instance__retired_at__isnull=False)
    found = list(alive.exclude(database__gone_at__isnull=False).select_related("instance", "database__instance", "tag"))
    volumes = list(shown_to(Volume.objects.prefetch_related("instances"), user)) if limits is None else []
    active: set[int] = set()
    tagged: dict[int, list[int]] = defaultdict(list)
    if volumes or any(limit.instance is None and limit.database is None for limit in found):
        active = set(Instance.objects.active().values_list("pk", flat=True))
        pairs = InstanceTag.objects.filter(tag__in=[limit.tag_id for limit in found if limit.tag_id])
        for tag, instance in pairs.values_list("tag", "instance"):
            tagged[tag].append(instance)
    return [
        *(_of_limit(limit, active, tagged) for limit in found),
        *(
            Ceiling(
                *("volume", volume.pk, volume.name, volume.size, volume),
                members=tuple(instance.pk for instance in volume.instances.all() if instance.pk in active),
            )
            for volume in volumes
        ),
    ]


def _of_limit(limit: SizeLimit, active: set[int], tagged: dict[int, list[int]]) -> Ceiling:
    if limit.instance:
        return Ceiling("instance", limit.instance.pk, limit.instance.name, limit.size, limit, limit.instance)
    if limit.database:
        instance = limit.database.instance
        name = f"{instance.name} / {limit.database.name}"
        return Ceiling("database", limit.database.pk, name, limit.size, limit, instance)
    if limit.tag:
        members = tuple(pk for pk in tagged[limit.tag.pk] if pk in active)
        return Ceiling("tag", limit.tag.pk, limit.tag.label, limit.size, limit, members=members)
    return Ceiling("fleet", None, gettext("whole fleet"), limit.size, limit, members=tuple(active))


def series(found: Sequence[Ceiling]) -> list[Series]:
    """Return the sizes of each of them, of the last WINDOW days. Takes one query per table of sizes."""
    databases = [ceiling.pk for ceiling in found if ceiling.kind == "database"]
    instances = {pk for ceiling in found for pk in ceiling.members or [ceiling.pk] if ceiling.kind != "database"}
    # An incomplete day would look like a decrease.
    of_instances = _sizes(InstanceSize.objects.filter(instance__in=instances, is_complete=True), "instance")
    of_databases = _sizes(DatabaseSize.objects.filter(database__in=databases), "database") if databases else {}
    return [
        of_databases.get(ceiling.pk or 0, {})
        if ceiling.kind == "database"
        else of_instances.get(ceiling.pk or 0, {})
        if ceiling.kind == "instance"
        else total([of_instances.get(pk, {}) for pk in ceiling.members])
        for ceiling in found
    ]


def _sizes(rows: QuerySet[Any], of: str) -> dict[int, Series]:
    since = timezone.localdate() - timedelta(days=WINDOW)
    sizes: dict[int, Series] = defaultdict(dict)
    for pk, day, size in rows.filter(day__gt=since).order_by().values_list(of, "day", "size"):
        sizes[pk][day] = size
    return sizes


def total(parts: Iterable[Series]) -> Series:
    """Return the sum by day. A part is 0 before its first day: it did not exist. A missing day counts as the last size
    before it, for BRIDGED days; then the sum of that day is missing."""
    parts = [part for part in parts if part]
    if not parts:
        return {}
    first, last = min(map(min, parts)), max(map(max, parts))
    days = (last - first).days + 1
    sums = np.zeros(days)
    for part in parts:
        at = np.array(sorted((day - first).days for day in part))
        sizes = np.array([part[first + timedelta(days=int(day))] for day in at], dtype=float)
        place = np.searchsorted(at, np.arange(days), side="right") - 1
        bridged = np.arange(days) - at[place] <= BRIDGED
        sums += np.where(place < 0, 0.0, np.where(bridged, sizes[place], np.nan))
    return {first + timedelta(days=i): int(size) for i, size in enumerate(sums) if not np.isnan(size)}


def forecasts(found: Sequence[Ceiling]) -> list[tuple[Ceiling, Forecast | NoForecast]]:
    """Return each of them with its forecast, nearest first."""
    sizes = series(found)
    limits = [_limit(ceiling, days) for ceiling, days in zip(found, sizes, strict=True)]
    return sorted(zip(found, of_series(sizes, limits), strict=True), key=_nearness)


def _limit(ceiling: Ceiling, sizes: Series) -> int:
    """Of a volume that Prometheus measured: what its instances had that day, and what was available."""
    volume = ceiling.row
    if isinstance(volume, Volume) and volume.available is not None and volume.read_at:
        before = [day for day in sizes if day <= timezone.localdate(volume.read_at)]
        if before:
            return sizes[max(before)] + volume.available
    return ceiling.limit


def _nearness(item: tuple[Ceiling, Forecast | NoForecast]) -> tuple[int, int, str]:
    ceiling, found = item
    if isinstance(found, NoForecast):
        return (3, 0, ceiling.name)
    if found.days is not None:
        return (0, found.days, ceiling.name)
    # Rank 1: only the upper bound reaches the limit within a year.
    return (2, 0, ceiling.name) if found.earliest is None else (1, found.earliest, ceiling.name)
