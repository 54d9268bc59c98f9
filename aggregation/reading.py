"""Read growth: trends, incomplete periods, top growers, totals, the current period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.db.models import Avg, Count, F, Max, Min, Q, QuerySet, Sum

from console.visibility import shown_to
from instances.models import Instance
from tagging.models import Tag
from work.days import local_day

from .models import DatabaseAggregate, InstanceAggregate
from .periods import Period, Span, last_closed, span_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Bytes by the first day of a period.
Sizes = dict[date, int]


def chosen_instances(tag: Tag | None = None, engine: str = "", user: User | None = None) -> QuerySet[Instance]:
    """Return the active instances that the user may see, optionally by tag and engine."""
    instances = shown_to(Instance.objects.active(), user)
    instances = instances.filter(tags=tag) if tag else instances
    return instances.filter(engine=engine) if engine else instances


@dataclass(frozen=True)
class Trend:
    """Sums over a set of instances for one closed period. `change` is None if no instance has a baseline.

    `n_whole` of `n_instances` have a size for every expected day.
    """

    start: date
    end: date
    avg_size: float
    min_size: int
    max_size: int
    last_size: int
    change: int | None
    n_instances: int
    n_whole: int


def trend(period: Period, instances: QuerySet[Instance], count: int) -> list[Trend]:
    """Return the last `count` closed periods, oldest first, without those in which no instance has a size."""
    first = _first_day(last_closed(period, local_day()), count)
    whole = Q(days_collected__gte=F("days_expected"), days_complete__gte=F("days_collected"))
    rows = (
        InstanceAggregate.objects.filter(period=period, start__gte=first, instance__in=instances.order_by())
        .order_by("start")
        .values("start", "end")
        .annotate(
            avg=Sum("avg_size"),
            min=Sum("min_size"),
            max=Sum("max_size"),
            last=Sum("last_size"),
            grown=Sum("change"),
            n=Count("pk"),
            whole=Count("pk", filter=whole),
        )
    )
    return [
        Trend(
            row["start"],
            row["end"],
            float(row["avg"]),
            int(row["min"]),
            int(row["max"]),
            int(row["last"]),
            None if row["grown"] is None else int(row["grown"]),
            row["n"],
            row["whole"],
        )
        for row in rows
    ]


def largest_instances(period: Period, instances: QuerySet[Instance], count: int, limit: int) -> dict[Instance, Sizes]:
    """Return the instances that were largest in the last closed period, largest first, with their average sizes in
    bytes by the first day of each of the last `count` closed periods. A period without a size has no entry."""
    last = last_closed(period, local_day())
    rows = InstanceAggregate.objects.filter(period=period)
    largest = rows.filter(start=last.first, instance__in=instances.order_by()).order_by("-avg_size", "instance__name")
    found: dict[Instance, Sizes] = {row.instance: {} for row in largest.select_related("instance")[:limit]}
    by_id = {instance.pk: sizes for instance, sizes in found.items()}
    known = rows.filter(instance__in=by_id, start__gte=_first_day(last, count))
    for pk, start, size in known.values_list("instance", "start", "avg_size"):
        by_id[pk][start] = round(size)
    return found


def _first_day(last: Span, count: int) -> date:
    """Return the first day of the `count` periods that end with the last."""
    for _ in range(count - 1):
        last = last.previous()
    return last.first


def top_growers(span: Span, instances: QuerySet[Instance], limit: int) -> QuerySet[DatabaseAggregate]:
    """Return the databases that grew most in a closed period, largest growth first. Excludes filtered databases and
    those without a baseline."""
    rows = DatabaseAggregate.objects.of(span).filter(
        change__gt=0, database__is_filtered=False, database__instance__in=instances.order_by()
    )
    order = F("change").desc(nulls_last=True)
    return rows.select_related("database__instance").order_by(order, "pk")[:limit]


@dataclass(frozen=True)
class Lacking:
    """An instance with an incomplete period: days collected and complete, of those expected. 0 if it has no row."""

    instance: Instance
    collected: int
    complete: int
    expected: int


def lacking(span: Span, instances: QuerySet[Instance]) -> list[Lacking]:
    """Return the instances with an incomplete closed period, those without any size first."""
    rows = {
        row.instance_id: row for row in InstanceAggregate.objects.of(span).filter(instance__in=instances.order_by())
    }
    found = []
    for instance in instances.order_by("name"):
        row = rows.get(instance.pk)
        began = max(local_day(instance.created_at), span.first)
        expected = row.days_expected if row else (span.last - began).days + 1
        if expected > 0 and (row is None or min(row.days_complete, row.days_collected) < row.days_expected):
            found.append(Lacking(instance, row.days_collected if row else 0, row.days_complete if row else 0, expected))
    return sorted(found, key=lambda item: item.collected > 0)


_TOTALS = """
SELECT {name}, sum(a.last_size)::bigint, sum(a.change)::bigint, count(*), count(a.change)
  FROM aggregation_instanceaggregate a JOIN instances_instance i ON i.id = a.instance_id {join}
 WHERE a.period = %(period)s AND a.start = %(start)s AND i.id = ANY(%(instances)s)
 GROUP BY 1 ORDER BY 2 DESC, 1
"""
_GROUPS = {
    "instance": {"name": "i.name", "join": ""},
    "engine": {"name": "i.engine", "join": ""},
    "tag": {
        "name": "t.slug",
        "join": "JOIN tagging_instancetag x ON x.instance_id = i.id JOIN tagging_tag t ON t.id = x.tag_id",
    },
}


@dataclass(frozen=True)
class Total:
    """Sums over a group of instances. `change` sums the `n_with_change` of `n_instances` that have a baseline. An
    instance with two tags counts in both."""

    name: str
    size: int
    change: int | None
    n_instances: int
    n_with_change: int


def totals(by: str, span: Span, instances: QuerySet[Instance]) -> list[Total]:
    """Return totals of a closed period per "instance", "engine" or "tag", largest first. Raises ValueError."""
    if by not in _GROUPS:
        raise ValueError(f"Unknown group {by!r}. Choose from: {', '.join(_GROUPS)}.")
    with connection.cursor() as cursor:
        cursor.execute(
            _TOTALS.format(**_GROUPS[by]),
            {
                "period": span.period.value,
                "start": span.first,
                "instances": list(instances.order_by().values_list("pk", flat=True)),
            },
        )
        return [Total(*row) for row in cursor.fetchall()]


@dataclass(frozen=True)
class SoFar:
    """The figures of the current period, as of now. They are not stored."""

    period: str
    start: date
    end: date
    avg_size: Any
    min_size: int
    max_size: int
    last_size: int
    days_collected: int
    days_so_far: int


def so_far(period: Period, of: Any) -> SoFar | None:
    """Return the figures of one instance or database in the current period, today included; None without a size."""
    today = local_day()
    span = span_of(period, today)
    sizes = of.sizes.filter(day__range=(span.first, today))
    row = sizes.order_by().aggregate(avg=Avg("size"), min=Min("size"), max=Max("size"), n=Count("day"))
    if not row["n"]:
        return None
    last = sizes.order_by("-day").values_list("size", flat=True)[0]
    return SoFar(
        period.value,
        span.first,
        span.last,
        row["avg"],
        row["min"],
        row["max"],
        last,
        row["n"],
        (today - span.first).days + 1,
    )
