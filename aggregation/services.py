"""Find the closed periods that are due, and aggregate their sizes set-based.

A period is due when sizes of its days were written or corrected, or when it has just closed. The cost of a run does not
depend on the length of the history. A user may also aggregate any range of days.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext

from capacity.models import InstanceSize
from instances.models import Instance, InstanceQuerySet
from sync import services as sync
from sync.models import SyncRecord, SyncSession
from sync.registry import Outcome
from work.days import local_day

from . import statements
from .models import PERIODS, ChangedDay, InstanceAggregate
from .periods import Period, Span, closed_between, closed_with, last_closed, named

if TYPE_CHECKING:
    from django.contrib.auth.models import User

#: Instance id and a span to aggregate.
Work = tuple[int, Span]


def horizon() -> date:
    """Return the first day with sizes that are still kept. Earlier spans cannot be computed again and stay as is."""
    return local_day() - timedelta(days=settings.TAIFISH_KEEP_SIZES_DAYS)


def due() -> InstanceQuerySet:
    """Return the active instances with a changed past day, or with sizes in a period that has just closed and has no
    aggregate yet."""
    today = local_day()
    changed = Q(Exists(ChangedDay.objects.filter(instance=OuterRef("pk"), day__lt=today)))
    for period in Period:
        span = last_closed(period, today)
        sizes = InstanceSize.objects.filter(instance=OuterRef("pk"), day__range=(span.first, span.last))
        changed |= Q(Exists(sizes)) & ~Q(Exists(InstanceAggregate.objects.of(span).filter(instance=OuterRef("pk"))))
    return Instance.objects.active().filter(changed)


def run_due(trigger: str, *, among: InstanceQuerySet | None = None, slot: str | None = None) -> SyncSession | None:
    """Start a session for the due instances; return None if there are none."""
    instances = due() if among is None else due().filter(pk__in=among.order_by().values("pk"))
    return sync.start("aggregation", instances, trigger=trigger, slot=slot) if instances.exists() else None


def after_collection(session_id: int) -> None:
    """Aggregate what a closed capacity session has made due, for the instances that it visited."""
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
    """Aggregate every closed period of that name ("all" for each) with a day in the range, both ends included.

    Raises ValueError for an unknown period, or for a range without a closed period that still has all its sizes.
    """
    spans = [span for each in named(period) for span in closed_in_range(each, first, last)]
    if not spans:
        raise ValueError(
            gettext(
                "No %(period)speriod from %(first)s to %(last)s is closed and still has all its sizes. Sizes before "
                "%(kept_since)s have been deleted."
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


def closed_in_range(period: Period, first: date, last: date) -> list[Span]:
    """Return the closed spans with a day in the range that still have all their sizes."""
    if first > last:
        raise ValueError(
            gettext("The range ends on %(last)s, before it begins on %(first)s.") % {"last": last, "first": first}
        )
    kept_since = horizon()
    # Start at the horizon, so that a range from the year 1 does not take longer.
    spans = closed_between(period, max(first, kept_since), min(last, local_day()), local_day())
    return [span for span in spans if span.first >= kept_since]


def write(session: SyncSession, instance_ids: Sequence[int]) -> dict[int, Outcome]:
    """Aggregate what is due, or the session's range, for a batch of instances. Runs inside one transaction."""
    work, changed = _requested(session.params, instance_ids) if session.params else _due_of(instance_ids)
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    # Sort the sizes of a batch in memory, in this transaction only.
    statements.run("SET LOCAL work_mem = '64MB'", {})
    for period in Period:
        of_period = [(instance_id, span) for instance_id, span in work if span.period == period]
        if of_period:
            _aggregate(period, of_period, counts)
    if changed:
        statements.run(statements.FORGET, changed)
    return {instance_id: _outcome(counts[instance_id]) for instance_id in instance_ids}


def _outcome(counts: Mapping[str, int]) -> Outcome:
    """Return the counts of periods and rows; skipped if the periods have no sizes."""
    if counts["instances"]:
        return Outcome(dict(counts))
    return Outcome({"databases": counts["databases"]}, skipped="no_sizes")


def _requested(params: Mapping[str, Any], instance_ids: Sequence[int]) -> tuple[list[Work], None]:
    first, last = (date.fromisoformat(params[name]) for name in ("first", "last"))
    spans = [span for period in named(params["period"]) for span in closed_in_range(period, first, last)]
    return [(instance_id, span) for instance_id in instance_ids for span in spans], None


def _due_of(instance_ids: Sequence[int]) -> tuple[list[Work], dict[str, Any]]:
    """Return the due work, and the changed days that it covers, with the versions read here."""
    today, kept_since = local_day(), horizon()
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
    """Aggregate both models of one period. Other transactions that compute the same spans wait for this one.

    Adjacent spans are computed together, for all instances that need any of them. Computing a span again does not
    change it.
    """
    instances: dict[Span, set[int]] = defaultdict(set)
    for instance_id, span in work:
        instances[span].add(instance_id)
    statements.run(statements.LOCK, {"locks": [f"aggregation:{period}:{span.first}" for span in instances]})
    for spans in _islands(sorted(instances)):
        values = {
            "period": period.value,
            "unit": statements.UNITS[period],
            "zone": settings.TIME_ZONE,
            "instances": sorted(set().union(*(instances[span] for span in spans))),
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
        if spans[-1].following().is_closed(local_day()):
            for rebase in statements.REBASES:
                statements.run(rebase, values)


def _islands(spans: Sequence[Span]) -> list[list[Span]]:
    """Group sorted spans of one period into runs of adjacent spans."""
    islands: list[list[Span]] = []
    for span in spans:
        if islands and islands[-1][-1].following() == span:
            islands[-1].append(span)
        else:
            islands.append([span])
    return islands
