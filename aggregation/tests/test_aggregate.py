"""Closed periods from raw sizes, beside a plain computation of the same."""

from __future__ import annotations

import multiprocessing
import random
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aggregation import services
from aggregation.models import ChangedDay, DatabaseAggregate, InstanceAggregate
from aggregation.periods import DAY, Period, closed_between, last_closed, span_of
from aggregation.tests.conftest import noon
from capacity.models import Database, DatabaseSize, InstanceSize
from capacity.services import purge_sizes
from instances.models import Instance
from sync import services as sync
from sync.models import SyncRecord, SyncSession

FIGURES = [
    "avg_size",
    "min_size",
    "max_size",
    "first_size",
    "last_size",
    "days_collected",
    "days_expected",
    "change",
    "change_percent",
]


def today() -> date:
    return timezone.localdate()


def ago(days: int) -> date:
    return today() - timedelta(days=days)


def run(session: SyncSession | None = None) -> SyncSession:
    """Whatever is due, or this session, to its end."""
    if session is None:
        sync_session = sync.start("aggregation", services.due(), trigger="manual", enqueue=False)
        return sync.run_here(sync_session)
    return sync.run_here(session)


def ask(period: str, first: date, last: date, **options: Any) -> SyncSession:
    return run(services.backfill(period, first, last, trigger="command", enqueue=False, **options))


def stored(model: type) -> dict[tuple[Any, ...], dict[str, Any]]:
    """(owner, period, start) → figures."""
    owner = "database_id" if model is DatabaseAggregate else "instance_id"
    return {
        (row[owner], row["period"], row["start"]): {name: row[name] for name in FIGURES}
        for row in model.objects.values()
    }


def rounded(value: Fraction) -> Decimal:
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return exact.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def plainly(
    sizes: dict[date, int], began: date, ended: date | None, first: date, last: date
) -> dict[tuple[str, date], dict[str, Any]]:
    """What the closed periods from `first` to `last` are, by going through the days one by one."""
    told: dict[tuple[str, date], dict[str, Any]] = {}
    for period in Period:
        for span in closed_between(period, first, last, today()):
            every = [span.first + timedelta(days=number) for number in range(span.days)]
            there = [sizes[day] for day in every if day in sizes]
            if not there:
                continue
            expected = [day for day in every if day >= began and (ended is None or day < ended)]
            before = told.get((period.value, span.previous().first))
            base = before["last_size"] if before else None
            change = None if base is None else there[-1] - base
            told[period.value, span.first] = {
                "avg_size": rounded(Fraction(sum(there), len(there))),
                "min_size": min(there),
                "max_size": max(there),
                "first_size": there[0],
                "last_size": there[-1],
                "days_collected": len(there),
                "days_expected": max(len(there), len(expected)),
                "change": change,
                "change_percent": None if change is None or base == 0 else rounded(Fraction(100 * change, base)),
            }
    return told


# Numbers


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_are_those_of_a_plain_computation(sized, seed):
    """F3.2, F3.3, F3.6: random sizes with gaps, new and vanished databases; exact averages, null without a baseline."""
    rand = random.Random(seed)
    first = ago(150)
    for number in range(3):
        databases = {}
        for name in ("a", "b", "c"):
            start, end = sorted(rand.sample(range(150), 2)) if name != "a" else (0, 149)
            days = [first + timedelta(days=n) for n in range(start, end + 1) if rand.random() > 0.2]
            databases[name] = {day: rand.choice([0, rand.randrange(10**6), rand.randrange(2**50)]) for day in days}
        sized(f"i{number}", databases, shared=rand.randrange(1000))
    for database in Database.objects.filter(name="c"):
        last = database.sizes.order_by("-day").first()
        if last:
            Database.objects.filter(pk=database.pk).update(gone_at=noon(last.day + 2 * DAY))
    session = ask("all", first, today())
    assert session.status == "completed"
    for model, owners, sizes in (
        (DatabaseAggregate, Database.objects.all(), lambda row: row.sizes),
        (InstanceAggregate, Instance.objects.all(), lambda row: row.sizes),
    ):
        expected = {}
        for row in owners:
            of_days = dict(sizes(row).values_list("day", "size"))
            began = timezone.localdate(getattr(row, "first_seen_at", None) or row.created_at)
            gone = getattr(row, "gone_at", None)
            told = plainly(of_days, began, gone and timezone.localdate(gone), first, today())
            expected |= {(row.pk, *key): figures for key, figures in told.items()}
        assert stored(model) == expected
    # Each day what is due by itself would have come to the same.
    by_range = stored(DatabaseAggregate), stored(InstanceAggregate)
    DatabaseAggregate.objects.all().delete()
    InstanceAggregate.objects.all().delete()
    run()
    assert (stored(DatabaseAggregate), stored(InstanceAggregate)) == by_range


def test_yesterday_is_whole_and_today_is_left_alone(sized):
    """F3.1: a run at any hour aggregates nothing of today."""
    sized("pg", {"shop": {ago(1): 10, today(): 99}})
    run()
    daily = InstanceAggregate.objects.filter(period="daily")
    assert list(daily.values_list("start", "end", "last_size")) == [(ago(1), ago(1), 10)]
    assert 99 not in InstanceAggregate.objects.values_list("max_size", flat=True)
    # Today's sizes wait for tomorrow.
    assert list(ChangedDay.objects.values_list("day", flat=True)) == [today()]
    assert not services.due().exists()


def test_without_a_baseline_there_is_no_change(sized):
    """F3.6: null and not 0; from 0 no percentage."""
    sized("pg", {"shop": {ago(4): 0, ago(3): 500, ago(1): 500}})
    ask("daily", ago(5), today())
    rows = InstanceAggregate.objects.order_by("start").values_list("start", "change", "change_percent")
    assert list(rows) == [(ago(4), None, None), (ago(3), 500, None), (ago(1), None, None)]


def test_averages_are_exact(sized):
    """F3.6: neither cut to whole bytes nor to what a float holds."""
    week = last_closed(Period.WEEKLY, today())
    big = 2**60
    sized("pg", {"shop": {week.first: big, week.first + DAY: big + 1, week.last: big + 1}})
    ask("weekly", week.first, week.last)
    row = DatabaseAggregate.objects.get()
    assert row.avg_size == Decimal(big) + Decimal("0.6667")
    assert (row.days_collected, row.days_expected, row.is_whole) == (3, 7, False)


def test_a_failed_instance_contributes_nothing_and_is_told(sized):
    """F3.3: neither its row nor its databases', and the session says which one."""
    sized("well", {"shop": {ago(2): 5, ago(1): 7}})
    failed = sized("failed", {"shop": {ago(2): 5}})
    session = ask("daily", ago(1), ago(1))
    assert set(InstanceAggregate.objects.values_list("instance__name", flat=True)) == {"well"}
    assert set(DatabaseAggregate.objects.values_list("database__instance__name", flat=True)) == {"well"}
    record = session.records.get(instance=failed)
    assert (record.status, record.error_code) == ("skipped", "no_sizes")


def test_incomplete_days_are_counted_apart(sized):
    """F3.3, F3.6: a total from which something is missing says so."""
    week = last_closed(Period.WEEKLY, today())
    sized("pg", {"shop": {week.first: 5, week.last: 7}}, incomplete=(week.last,))
    ask("weekly", week.first, week.last)
    row = InstanceAggregate.objects.get()
    assert (row.days_collected, row.days_complete, row.days_expected) == (2, 1, 7)


def test_filtered_and_retired_leave_no_contradiction(sized):
    """F3.9: what is hidden is aggregated too, and the total is still that of its parts."""
    instance = sized("pg", {"shop": {ago(1): 5}, "lab": {ago(1): 7}}, shared=100)
    Database.objects.filter(name="lab").update(is_filtered=True)
    ask("daily", ago(1), ago(1))
    parts = sum(DatabaseAggregate.objects.values_list("last_size", flat=True))
    assert InstanceAggregate.objects.get().last_size == parts + 100
    instance.retire()
    assert not services.due().exists()
    with pytest.raises(AssertionError):
        assert ask("daily", ago(1), ago(1)).records.exists()


# Again, and late


def test_running_again_changes_nothing(sized):
    """F3.5: the same rows, not even written again."""
    week = last_closed(Period.WEEKLY, today())
    sized("pg", {"shop": {week.first + timedelta(days=n): 10 * n for n in range(7)}})
    run()
    before = list(DatabaseAggregate.objects.order_by("pk").values()) + list(
        InstanceAggregate.objects.order_by("pk").values()
    )
    ask("all", week.first, week.last)
    run()
    after = list(DatabaseAggregate.objects.order_by("pk").values()) + list(
        InstanceAggregate.objects.order_by("pk").values()
    )
    assert after == before


def test_a_late_or_corrected_size_aggregates_what_it_touches(sized):
    """F3.7: its day, week, month and quarter, and the change of the ones that follow; by whatever way it was written."""
    first = ago(100)
    sized("pg", {"shop": {first + timedelta(days=n): 1000 + n for n in range(100)}})
    sized("other", {"shop": {first + timedelta(days=n): 1 for n in range(100)}})
    ask("all", first, today())
    run()
    assert not services.due().exists()
    before = stored(DatabaseAggregate)
    shop = Database.objects.get(instance__name="pg")
    day = last_closed(Period.WEEKLY, today()).previous().last
    DatabaseSize.objects.filter(database=shop, day=day).update(size=5000)
    InstanceSize.objects.filter(instance=shop.instance, day=day).update(size=5000)
    assert list(services.due()) == [shop.instance]
    run()
    assert not services.due().exists()
    sizes = dict(shop.sizes.values_list("day", "size"))
    expected = plainly(sizes, first, None, first, today())
    after = stored(DatabaseAggregate)
    assert {key[1:]: figures for key, figures in after.items() if key[0] == shop.pk} == expected
    touched = {key[1:] for key in after if after[key] != before[key]}
    assert touched >= {("daily", day), ("daily", day + DAY), ("weekly", span_of(Period.WEEKLY, day).first)}
    assert {key[0] for key in after if after[key] != before[key]} == {shop.pk}


def test_a_size_that_comes_while_its_day_is_aggregated_is_not_forgotten(sized):
    """F3.7: the day is marked anew, so that it is done again."""
    instance = sized("pg", {"shop": {ago(1): 5}})
    work, changed = services._due_of([instance.pk])
    assert work
    DatabaseSize.objects.update(size=9)
    services.statements.run(services.statements.FORGET, changed)
    assert ChangedDay.objects.filter(day=ago(1)).exists()
    run()
    assert DatabaseAggregate.objects.get(period="daily").last_size == 9


def test_a_day_without_sizes_any_more_loses_its_aggregate(sized):
    """F3.7: asked for again, what has nothing behind it goes, and the next has no baseline."""
    sized("pg", {"shop": {ago(3): 5, ago(2): 6, ago(1): 8}})
    ask("daily", ago(3), ago(1))
    DatabaseSize.objects.filter(day=ago(2)).delete()
    InstanceSize.objects.filter(day=ago(2)).delete()
    ask("daily", ago(2), ago(2))
    rows = DatabaseAggregate.objects.order_by("start").values_list("start", "change")
    assert list(rows) == [(ago(3), None), (ago(1), None)]


def test_what_is_no_longer_kept_stays_aggregated(sized, settings):
    """F3.7, F2.8: deleting old sizes marks nothing, and a range of that time is refused."""
    settings.TAIFISH_KEEP_SIZES_DAYS = 190
    sized("pg", {"shop": {ago(n): n for n in (200, 195, 1)}})
    with pytest.raises(ValueError, match="have been deleted"):
        services.backfill("daily", ago(200), ago(195), trigger="manual")
    settings.TAIFISH_KEEP_SIZES_DAYS = 400
    ask("daily", ago(200), ago(1))
    run()
    before = stored(InstanceAggregate)
    settings.TAIFISH_KEEP_SIZES_DAYS = 190
    assert purge_sizes() == 4
    assert not services.due().exists()
    ask("all", ago(300), today())
    assert stored(InstanceAggregate).items() >= before.items()


def test_a_range_says_what_is_wrong_with_it(sized):
    """F3.4: an unknown period lists the valid ones; nothing closed is no silent success."""
    sized("pg", {"shop": {ago(1): 1}})
    for period, first, last, told in (
        ("yearly", ago(3), ago(1), "daily, weekly, monthly, quarterly, all"),
        ("daily", ago(1), ago(3), "before it begins"),
        ("daily", today(), today(), "is closed"),
        ("monthly", today(), today() + timedelta(days=5), "is closed"),
    ):
        with pytest.raises(ValueError, match=told):
            services.backfill(period, first, last, trigger="manual")
    assert not SyncSession.objects.filter(kind="aggregation").exists()


# Sessions


def test_aggregation_follows_collection(add, server, django_capture_on_commit_callbacks):
    """F3.8: because a collection has ended, not because the clock says so."""
    instance = add("prod", server.collector())
    sync.run_here(sync.start("capacity", Instance.objects.all(), trigger="manual", enqueue=False))
    # Of today nothing is closed yet.
    assert not SyncSession.objects.filter(kind="aggregation").exists()
    for model in (DatabaseSize, InstanceSize):
        model.objects.update(day=ago(1))
    sync.run_here(sync.start("capacity", Instance.objects.all(), trigger="manual", enqueue=False))
    followed = SyncSession.objects.get(kind="aggregation")
    assert followed.trigger == "follow_up"
    run(followed)
    daily = InstanceAggregate.objects.get(period="daily")
    assert (daily.instance, daily.start) == (instance, ago(1))
    assert DatabaseAggregate.objects.filter(period="daily").count() == Database.objects.count()


@pytest.mark.django_db(transaction=True)
def test_the_one_that_fails_stands_alone(sized):
    """F3.3, F3.5: a batch is split until the culprit stands alone; the others are done, and it changes nothing."""
    for number in range(8):
        sized(f"i{number}", {"shop": {ago(1): number}})
    bad = Instance.objects.get(name="i5")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN IF NEW.instance_id = {bad.pk} THEN RAISE EXCEPTION 'no room'; END IF; RETURN NEW; END $$;
                CREATE TRIGGER refuse BEFORE INSERT ON aggregation_instanceaggregate
                FOR EACH ROW EXECUTE FUNCTION refuse()"""
        )
    try:
        session = ask("daily", ago(1), ago(1))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")
    assert session.status == "partial"
    record = session.records.get(status="failed")
    assert (record.instance, "no room" in record.error) == (bad, True)
    assert InstanceAggregate.objects.count() == 7
    assert not DatabaseAggregate.objects.filter(database__instance=bad).exists()


def test_a_batch_takes_a_fixed_number_of_statements(sized):
    def cost(count: int) -> int:
        ids = list(Instance.objects.order_by("pk").values_list("pk", flat=True)[:count])
        with CaptureQueriesContext(connection) as queries:
            services.write(SyncSession(params={}), ids)
        return len(queries)

    for number in range(20):
        sized(f"i{number}", {name: {ago(1): number, ago(2): 7} for name in ("a", "b", "c")})
    assert cost(2) == cost(20) <= 20


def _race(url: dict[str, Any], session_id: int, barrier: Any) -> None:
    connections.close_all()
    connections["default"].settings_dict.update(url)
    barrier.wait(30)
    sync.run_here(SyncSession.objects.get(pk=session_id))
    connections.close_all()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_processes_at_once_fifty_times(sized):
    """F3.5: the same rows as one alone, no error, no deadlock, none twice."""
    first = ago(60)
    for number in range(3):
        sized(f"i{number}", {name: {first + timedelta(days=n): n * number for n in range(60)} for name in ("a", "b")})
    ask("all", first, today())
    expected = stored(DatabaseAggregate), stored(InstanceAggregate)
    context = multiprocessing.get_context("fork")
    connections.close_all()
    for _ in range(50):
        DatabaseAggregate.objects.all().delete()
        InstanceAggregate.objects.all().delete()
        sessions = [
            services.backfill("all", first, today(), trigger="command", enqueue=False).pk,
            services.backfill("all", first, ago(1), trigger="command", enqueue=False).pk,
        ]
        url = {"NAME": connection.settings_dict["NAME"]}
        connections.close_all()
        barrier = context.Barrier(2)
        racers = [context.Process(target=_race, args=(url, pk, barrier)) for pk in sessions]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(60)
        assert [racer.exitcode for racer in racers] == [0, 0]
        assert set(SyncSession.objects.filter(pk__in=sessions).values_list("status", flat=True)) == {"completed"}
        assert not SyncRecord.objects.filter(session__in=sessions).exclude(status="completed").exists()
        assert (stored(DatabaseAggregate), stored(InstanceAggregate)) == expected
