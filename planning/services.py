"""Computing what pages read: a projection of every size, stored after each collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from instances.models import Instance
from sync.models import SyncRecord
from tagging.models import InstanceTag, Tag
from work.days import local_day
from work.enqueue import Message, send

from .answers import NoForecast
from .models import Projection, Volume
from .reading import SIZED, sizes_of, total

if TYPE_CHECKING:
    from .forecast import Numbers

#: Fields that the next run replaces.
_COMPUTED = [field.name for field in Projection._meta.concrete_fields if field.name not in ("id", "kind", "target")]


def compute(
    instances: QuerySet[Instance] | None = None, on_part: Callable[[int, int], None] = lambda done, total: None
) -> Counter[str]:
    """Compute and store the projections of these active instances (default: all), of their databases, and of all
    totals. Those of things that are gone are deleted. Returns the number computed by kind.

    Sizes are read in batches, so memory does not depend on the number of databases. `on_part` is called after each with
    the number of projections so far and in all, without totals.
    """
    import numpy as np

    from .forecast import BATCH

    computed_at, counts = timezone.now(), Counter[str]()
    active = list(Instance.objects.active().order_by("pk").values_list("pk", flat=True))
    chosen = set(active) if instances is None else {*active} & set(instances.values_list("pk", flat=True))
    of_instances = sizes_of("instance", active)
    things = {
        kind: list(
            sized.things()
            .filter(**{f"{sized.instance}__in": chosen})
            .order_by(sized.instance, "pk")
            .values_list("pk", sized.instance)
        )
        for kind, sized in SIZED.items()
    }
    in_all = sum(map(len, things.values()))
    for kind, pairs in things.items():
        for begin in range(0, len(pairs), BATCH):
            batch = pairs[begin : begin + BATCH]
            ids = [pk for pk, _ in batch]
            days = of_instances[np.searchsorted(active, ids)] if kind == "instance" else sizes_of(kind, ids)
            counts[kind] += _store([(kind, *pair) for pair in batch], days, computed_at)
            on_part(counts.total(), in_all)
    groups = _groups(active)
    parts = [of_instances[np.searchsorted(active, members)] for members in groups.values()]
    counts_of = [(len(days), int((~np.isnan(days)).any(1).sum())) for days in parts]
    _store([(*key, None) for key in groups], np.array([total(days) for days in parts]), computed_at, counts_of)
    counts.update(kind for kind, _ in groups)
    _forget(computed_at)
    return counts


def _groups(active: Sequence[int]) -> dict[tuple[str, int], list[int]]:
    """Return (kind, target) of each total → ids of its instances."""
    tags, volumes = (
        {pk: [] for pk in model.objects.order_by("pk").values_list("pk", flat=True)} for model in (Tag, Volume)
    )
    known = set(active)
    pairs: Iterable[tuple[dict[int, list[int]], QuerySet]] = (
        (tags, InstanceTag.objects.values_list("tag", "instance")),
        (volumes, Volume.instances.through.objects.values_list("volume", "instance")),
    )
    for members, rows in pairs:
        for group, instance in rows:
            if group in members and instance in known:
                members[group].append(instance)
    tagged = {instance for members in tags.values() for instance in members}
    return {
        ("fleet", 0): list(active),
        ("untagged", 0): [pk for pk in active if pk not in tagged],
        **{("tag", pk): members for pk, members in tags.items()},
        **{("volume", pk): members for pk, members in volumes.items()},
    }


def _store(
    keys: Sequence[tuple[str, int, int | None]],
    days: Numbers,
    computed_at: datetime,
    parts: Sequence[tuple[int, int]] = (),
) -> int:
    """Compute and store the projections of (kind, target, instance) with these sizes. Storing one again replaces it.

    `parts` has the number of instances of each total, and of those with a size: without all of them there is no
    forecast, only the size of those.
    """
    import numpy as np

    from .forecast import outlook_of

    outlook, today = outlook_of(days), local_day(computed_at)
    rows = []
    for i, (kind, target, instance) in enumerate(keys):
        n_parts, n_sized = parts[i] if parts else (0, 0)
        answer = outlook.answer(i, today)
        if 0 < n_sized < n_parts:
            size = None if np.isnan(outlook.size[i]) else int(outlook.size[i])
            answer = NoForecast("unread", int(outlook.n_recent[i]), answer.as_of, size=size)
        fields = {"kind": kind, "target": target, "instance_id": instance, "computed_at": computed_at}
        rows.append(Projection.of(answer, n_parts=n_parts, n_sized=n_sized, **fields))
    Projection.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["kind", "target"], update_fields=_COMPUTED, batch_size=1000
    )
    return len(rows)


def _forget(computed_at: datetime) -> None:
    """Delete the projections of things that are gone. Totals are all computed in every run."""
    Projection.objects.exclude(kind__in=SIZED).filter(computed_at__lt=computed_at).delete()
    for kind, sized in SIZED.items():
        thing = sized.things().filter(pk=OuterRef("target"))
        Projection.objects.filter(~Exists(thing), kind=kind).delete()


def compute_after(session_id: int) -> Counter[str]:
    """Compute those of the instances that a capacity session visited."""
    seen = SyncRecord.objects.filter(session=session_id).exclude(summary={}).order_by()
    return compute(Instance.objects.filter(pk__in=seen.values("instance")))


def after_collection(session_id: int) -> None:
    """Have projections computed when a capacity session closes."""
    transaction.on_commit(lambda: send([Message("planning.forecast", (session_id,))]))
