"""Aggregating sizes: which closed periods are due, and computing them as sets.

What is due by itself is what changed: days whose sizes were written or corrected since, and whatever has just closed.
A run costs what a day costs, however long the history. A person may ask for any range of days besides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext

from capacity.models import InstanceSize
from instances.models import Instance, InstanceQuerySet
from sync import services as sync
from sync.models import SyncRecord, SyncSession
from sync.registry import Outcome

from . import statements
from .models import PERIODS, ChangedDay, InstanceAggregate
from .periods import Period, Span, closed_between, closed_with, last_closed, named

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Instance id and what to aggregate of it.
Work = tuple[int, Span]


def horizon() -> date:
    """The first day whose sizes are all kept. What began before it can no longer be computed, and stays as it is."""
    return timezone.localdate() - timedelta(days=settings.TAIFISH_KEEP_SIZES_DAYS)


def due() -> InstanceQuerySet:
    """The active instances with something to aggregate: a changed day that is over, or sizes in a period that has just
    closed and has no aggregate yet."""
    today = timezone.localdate()
    changed = Q(Exists(ChangedDay.objects.filter(instance=OuterRef("pk"), day__lt=today)))
    for period in Period:
        span = last_closed(period, today)
        sizes = InstanceSize.objects.filter(instance=OuterRef("pk"), day__range=(span.first, span.last))
        changed |= Q(Exists(sizes)) & ~Q(Exists(InstanceAggregate.objects.of(span).filter(instance=OuterRef("pk"))))
    return Instance.objects.active().filter(changed)


def run_due(trigger: str, *, among: InstanceQuerySet | None = None, slot: str | None = None) -> SyncSession | None:
    """Aggregate whatever is due; None when nothing is."""
    instances = due() if among is None else due().filter(pk__in=among.order_by().values("pk"))
    return sync.start("aggregation", instances, trigger=trigger, slot=slot) if instances.exists() else None


def after_collection(session_id: int) -> None:
    """What a closed capacity session has made due, for the instances that it has visited."""
    seen = SyncRecord.objects.filter(session=session_id).exclude(summary={})
    run_due(SyncSession.Trigger.FOLLOW_UP, among=Instance.objects.filter(pk__in=seen.order_by().values("instance")))


def backfill(
    period: str,
    first: date,
    last: date,
    *,
    trigger: str,
    instances: InstanceQuerySet | None = None,
    user: User | None = None,
    enqueue: bool = True,
) -> SyncSession:
    """Aggregate every closed period of that name ("all" for each) that has a day in a range of days, both included.

    Raises ValueError for a name that is none, a range that holds no closed period, or one older than the sizes kept.
    """
    spans = [span for each in named(period) for span in asked_for(each, first, last)]
    if not spans:
        raise ValueError(
            gettext(
                "No %(period)speriod from %(first)s to %(last)s is closed and has all its sizes still: those of before "
                "%(kept_since)s are no longer kept."
            )
            % {
                "period": "" if period == "all" else f"{dict(PERIODS)[period]} ",
                "first": first,
                "last": last,
                "kept_since": horizon(),
            }
        )
    return sync.start(
        "aggregation",
        Instance.objects.active() if instances is None else instances,
        trigger=trigger,
        user=user,
        enqueue=enqueue,
        params={"period": period, "first": first.isoformat(), "last": last.isoformat()},
    )


def asked_for(period: Period, first: date, last: date) -> list[Span]:
    """The closed spans with a day in that range, less those whose sizes are no longer all kept."""
    if first > last:
        raise ValueError(
            gettext("The range ends, on %(last)s, before it begins, on %(first)s.") % {"last": last, "first": first}
        )
    kept_since = horizon()
    # From there on at most: a range that begins in the year 1 is no longer to walk through than any other.
    spans = closed_between(period, max(first, kept_since), min(last, timezone.localdate()), timezone.localdate())
    return [span for span in spans if span.first >= kept_since]


def write(session: SyncSession, instance_ids: Sequence[int]) -> dict[int, Outcome]:
    """Compute what is due, or what the session was asked for, of a batch of instances. Inside one transaction."""
    work, changed = _asked(session.params, instance_ids) if session.params else _due_of(instance_ids)
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    # Sorting the sizes of a batch in memory, for this transaction.
    statements.run("SET LOCAL work_mem = '64MB'", {})
    for period in Period:
        mine = [(instance_id, span) for instance_id, span in work if span.period == period]
        if mine:
            _aggregate(period, mine, counts)
    if changed:
        statements.run(statements.FORGET, changed)
    return {instance_id: _outcome(counts[instance_id]) for instance_id in instance_ids}


def _outcome(counts: Mapping[str, int]) -> Outcome:
    """Periods and rows in numbers; without any size in the periods there was nothing to do."""
    if counts["instances"]:
        return Outcome(dict(counts))
    return Outcome(
        {"databases": counts["databases"]}, skipped="There is no size in the periods asked for.", code="no_sizes"
    )


def _asked(params: Mapping[str, Any], instance_ids: Sequence[int]) -> tuple[list[Work], None]:
    first, last = (date.fromisoformat(params[name]) for name in ("first", "last"))
    spans = [span for period in named(params["period"]) for span in asked_for(period, first, last)]
    return [(instance_id, span) for instance_id in instance_ids for span in spans], None


def _due_of(instance_ids: Sequence[int]) -> tuple[list[Work], dict[str, Any]]:
    """The work, and the changed days that it makes good, as they were when they were looked at."""
    today, kept_since = timezone.localdate(), horizon()
    rows = list(
        ChangedDay.objects.filter(instance__in=instance_ids, day__lt=today).values_list("instance", "day", "version")
    )
    days: dict[int, list[date]] = defaultdict(list)
    for instance_id, day, _ in rows:
        days[instance_id].append(day)
    work = {(instance_id, span) for instance_id, those in days.items() for span in closed_with(those, today)}
    closed = [last_closed(period, today) for period in Period]
    lacking = statements.rows(
        statements.LACKING,
        {
            "instances": list(instance_ids),
            "periods": [span.period.value for span in closed],
            "firsts": [span.first for span in closed],
            "lasts": [span.last for span in closed],
        },
    )
    of_period = {span.period.value: span for span in closed}
    work |= {(instance_id, of_period[period]) for instance_id, period in lacking}
    changed = {
        "instances": [row[0] for row in rows],
        "days": [row[1] for row in rows],
        "versions": [row[2] for row in rows],
    }
    return sorted(item for item in work if item[1].first >= kept_since), changed


def _aggregate(period: Period, work: Sequence[Work], counts: dict[int, Counter[str]]) -> None:
    """Both models of one period. Whoever else computes one of these waits for this transaction to end.

    Spans without a hole between them are computed together, for all instances that want any of them: one that is
    computed without need comes out as it is.
    """
    wanted: dict[Span, set[int]] = defaultdict(set)
    for instance_id, span in work:
        wanted[span].add(instance_id)
    statements.run(statements.LOCK, {"locks": [f"aggregation:{period}:{span.first}" for span in wanted]})
    for spans in _islands(sorted(wanted)):
        values = {
            "period": period.value,
            "unit": statements.UNITS[period],
            "zone": settings.TIME_ZONE,
            "instances": sorted(set().union(*(wanted[span] for span in spans))),
            "first": spans[0].first,
            "last": spans[-1].last,
            "before": spans[0].previous().first,
            "firsts": [span.first for span in spans],
            "lasts": [span.last for span in spans],
            "befores": [span.previous().first for span in spans],
            "last_first": spans[-1].first,
            "next": spans[-1].following().first,
        }
        for name, upsert in statements.UPSERTS:
            for instance_id, count in statements.rows(upsert, values):
                counts[instance_id][name] += count
                counts[instance_id][period.value] += count if name == "instances" else 0
        if spans[-1].following().is_closed(timezone.localdate()):
            for rebase in statements.REBASES:
                statements.run(rebase, values)


def _islands(spans: Sequence[Span]) -> list[list[Span]]:
    """Sorted spans of one period, cut where one is missing."""
    islands: list[list[Span]] = []
    for span in spans:
        if islands and islands[-1][-1].following() == span:
            islands[-1].append(span)
        else:
            islands.append([span])
    return islands
