"""F6.2: schedules are people's, take effect at once, run in their time zone, coalesce, and never run twice."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from celery.beat import SchedulingError
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from sync.models import SyncSession
from taifish import beat, schedules
from taifish.beat import LeaderScheduler
from taifish.celery import app
from taifish.health import checks

QUEUE = Path(django_settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"])


@pytest.fixture
def sent() -> Iterator[Callable[[], list[dict]]]:
    """The headers of the messages sent since last asked."""

    def drain() -> list[dict]:
        headers = []
        with app.connection_for_read() as broker:
            queue = broker.SimpleQueue("celery")
            try:
                while True:
                    message = queue.get_nowait()
                    message.ack()
                    headers.append(message.headers)
            except Empty:
                queue.close()
        return headers

    drain()
    yield drain
    drain()


@pytest.fixture
def start(transactional_db) -> Iterator[Callable[..., LeaderScheduler]]:
    """A scheduler, as one more beat process would have it."""
    started = []

    def start(kind: type[DatabaseScheduler] = LeaderScheduler) -> DatabaseScheduler:
        started.append(kind(app=app))
        return started[-1]

    yield start
    for scheduler in started:
        scheduler._dirty.clear()
        scheduler._finalize.cancel()
        scheduler.close()


def job(name: str = "Sync accounts", *, ago: timedelta = timedelta(days=1), **when: str) -> PeriodicTask:
    """A daily job that last ran so long ago."""
    crontab, _ = CrontabSchedule.objects.get_or_create(**{"minute": "0", "hour": "1", "timezone": "UTC"} | when)
    return PeriodicTask.objects.create(
        name=name, task="accounts.sync", crontab=crontab, last_run_at=timezone.now() - ago
    )


def not_now() -> str:
    """An hour that is far from this one; but 4, at which the library looks always, for a task of Celery's own."""
    hour = (timezone.now().hour + 12) % 24
    return str(7 if hour == 4 else hour)


def rounds(scheduler: LeaderScheduler, count: int = 10) -> None:
    for _ in range(count):
        scheduler.tick()


def test_missing_schedules_are_installed_in_the_configured_zone(db, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    assert schedules.install() == [name for name, *_ in schedules.TIMETABLE]
    nightly = PeriodicTask.objects.get(task="accounts.sync").crontab
    assert (nightly.hour, nightly.minute, str(nightly.timezone)) == ("1", "0", "Asia/Shanghai")
    assert schedules.install() == []
    assert PeriodicTask.objects.count() == len(schedules.TIMETABLE)


def test_what_a_person_changed_survives_every_deploy(db, capsys):
    schedules.install()
    nightly, reap, purge = (
        PeriodicTask.objects.get(task=task) for task in ("accounts.sync", "sync.reap", "sync.purge")
    )
    nightly.name = "Nightly"
    nightly.crontab = CrontabSchedule.objects.create(minute="15", hour="22", timezone="Europe/Berlin")
    nightly.save()
    reap.enabled = False
    reap.save()
    purge.delete()
    PeriodicTask.objects.create(name="Sync accounts", task="something.else", interval=reap.interval)
    before = list(PeriodicTask.objects.exclude(task="sync.purge").order_by("pk").values())
    call_command("install_schedules")
    assert capsys.readouterr().out == "all schedules exist\n"
    assert list(PeriodicTask.objects.order_by("pk").values()) == before
    call_command("install_schedules", "--deleted")
    assert capsys.readouterr().out == "created: Forget old sessions\n"
    assert list(PeriodicTask.objects.exclude(task="sync.purge").order_by("pk").values()) == before


def test_a_schedule_that_is_new_in_a_version_is_created(db, monkeypatch, capsys):
    monkeypatch.setattr(schedules, "TIMETABLE", schedules.TIMETABLE[1:])
    schedules.install()
    monkeypatch.undo()
    assert schedules.install() == ["Sync accounts"]


def test_times_as_shipped_follow_the_zone_and_those_of_people_do_not(db, settings, capsys):
    schedules.install()
    sync, capacity, classify = (
        PeriodicTask.objects.get(task=task) for task in ("accounts.sync", "capacity.collect", "classification.run")
    )
    capacity.crontab = CrontabSchedule.objects.create(minute="15", hour="22", timezone="UTC")
    classify.crontab = CrontabSchedule.objects.create(minute="30", hour="3", timezone="Europe/Berlin")
    capacity.save()
    classify.save()
    settings.TIME_ZONE = "Asia/Shanghai"
    call_command("install_schedules")
    assert "now in Asia/Shanghai: Sync accounts" in capsys.readouterr().out
    zones = {}
    for task in (sync, capacity, classify):
        task.refresh_from_db()
        zones[task.task] = (task.crontab.hour, str(task.crontab.timezone))
    assert zones == {
        "accounts.sync": ("1", "Asia/Shanghai"),
        "capacity.collect": ("22", "UTC"),
        "classification.run": ("3", "Europe/Berlin"),
    }
    assert schedules.follow_time_zone() == []
    (told,) = (check.text for check in checks() if check.name == "Schedules")
    _before, names = told.split("in another time zone than Asia/Shanghai: ")
    assert sorted(names.split(", ")) == ["Classify accounts", "Collect capacity"]


def test_every_schedule_names_a_task_that_exists():
    app.loader.import_default_modules()
    assert {task for _, task, *_ in schedules.TIMETABLE} <= app.tasks.keys()


def test_the_scheduler_installs_nothing_of_its_own(start):
    start()
    assert not PeriodicTask.objects.exists()
    assert app.conf.beat_scheduler == "taifish.beat:LeaderScheduler"


def test_one_in_the_morning_in_shanghai_is_five_in_the_afternoon_utc(db):
    entry = ModelEntry(job(ago=timedelta(0), timezone="Asia/Shanghai"), app=app)
    due, seconds = entry.is_due()
    when = datetime.now(UTC) + timedelta(seconds=seconds)
    assert not due
    assert abs(when - when.replace(hour=17, minute=0, second=0, microsecond=0)) < timedelta(seconds=5)


def test_missed_runs_become_one(start, sent):
    job(ago=timedelta(days=5), hour=not_now())
    scheduler = start()
    rounds(scheduler)
    [headers] = sent()
    assert (headers["task"], headers["taifish_slot"].startswith("Sync accounts after ")) == ("accounts.sync", True)
    row = PeriodicTask.objects.get()
    assert (row.total_run_count, timezone.now() - row.last_run_at < timedelta(minutes=1)) == (1, True)
    rounds(start())
    assert sent() == []


def test_the_library_alone_would_have_skipped_it(start, sent):
    """Why `enabled_models_qs` is ours: without it, a run missed at a distant hour is not looked at."""
    job(ago=timedelta(days=5), hour=not_now())
    rounds(start(DatabaseScheduler))
    assert sent() == []


def test_an_edit_takes_effect_in_a_running_scheduler(start, sent):
    nightly = job(ago=timedelta(hours=2), hour=not_now())
    scheduler = start()
    rounds(scheduler)
    assert sent() == []
    an_hour_ago = str((timezone.now() - timedelta(hours=1)).hour)
    nightly.crontab.minute, nightly.crontab.hour = "0", an_hour_ago
    nightly.crontab.save()
    rounds(scheduler)
    assert len(sent()) == 1
    PeriodicTask.objects.get().delete()
    job("Another", hour=an_hour_ago)
    rounds(scheduler)
    [headers] = sent()
    assert headers["periodic_task_name"] == "Another"
    nightly = PeriodicTask.objects.get()
    nightly.enabled = False
    nightly.last_run_at = timezone.now() - timedelta(days=1)
    nightly.save()
    rounds(scheduler)
    assert sent() == []


@pytest.mark.parametrize(
    "other",
    [{"task": "sync.visit"}, {"task": "celery.chain"}, {"args": "[1]"}, {"kwargs": '{"a": 1}'}, {"queue": "mine"}],
)
def test_only_our_tasks_run_and_without_arguments(start, sent, other):
    """F8.7: what was edited before, or in the store, does not run, and Health calls it late."""
    job("Good")
    # For more than the grace that Health gives.
    bad = job("Bad", ago=timedelta(days=2))
    PeriodicTask.objects.filter(pk=bad.pk).update(**other)
    rounds(start())
    assert [headers["periodic_task_name"] for headers in sent()] == ["Good"]
    (said,) = (check for check in checks() if check.name == "Schedules")
    assert (said.ok, said.text) == (False, "late: Bad")


def test_two_schedulers_run_a_job_once(transactional_db, sent):
    jobs = [job(f"Job {number}") for number in range(5)]
    barrier = threading.Barrier(2)
    led = []

    def run() -> None:
        scheduler = LeaderScheduler(app=app)
        barrier.wait()
        rounds(scheduler, 30)
        led.append(scheduler._leading)
        barrier.wait()
        scheduler._finalize.cancel()
        scheduler.close()
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(headers["periodic_task_name"] for headers in sent()) == [job.name for job in jobs]
    assert sorted(led) == [False, True]


def test_when_the_leader_dies_the_other_takes_over_and_repeats_nothing(start, sent):
    job("Before")
    leader, other = start(), start()
    rounds(leader)
    rounds(other)
    assert len(sent()) == 1
    assert other.tick() == other.max_interval
    leader._own.close()
    until(other._lead)
    job("After")
    rounds(other)
    assert [headers["periodic_task_name"] for headers in sent()] == ["After"]
    # Back again, the former leader finds its place taken.
    leader._leading = False
    job("Later")
    rounds(leader)
    assert sent() == []
    rounds(other)
    assert [headers["periodic_task_name"] for headers in sent()] == ["Later"]


def test_a_run_that_cannot_be_sent_stays_due(start, sent):
    before = job().last_run_at
    leader = start()
    aside = QUEUE.with_name("aside")
    shutil.move(QUEUE, aside)
    try:
        assert leader.tick() == beat.RETRY_SECONDS
        assert leader.tick() == beat.RETRY_SECONDS
    finally:
        shutil.move(aside, QUEUE)
    row = PeriodicTask.objects.get()
    assert (row.last_run_at, row.total_run_count) == (before, 0)
    leader._own.close()
    scheduler = start()
    until(scheduler._lead)
    rounds(scheduler)
    [headers] = sent()
    assert headers["taifish_slot"] == f"Sync accounts after {before.isoformat()}"


def test_a_failure_to_send_one_does_not_run_the_others_again(start, sent, monkeypatch):
    job("Good")
    scheduler = start()
    rounds(scheduler)
    monkeypatch.setattr(LeaderScheduler, "apply_async", refuse)
    job("Bad")
    rounds(scheduler)
    monkeypatch.undo()
    rounds(scheduler)
    assert [headers["periodic_task_name"] for headers in sent()] == ["Good", "Bad"]


def refuse(*args: object, **kwargs: object) -> None:
    raise SchedulingError("the broker does not answer")


def test_an_interval_keeps_its_pace(start, sent):
    scheduler = start()
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    PeriodicTask.objects.create(name="Tick", task="sync.reap", interval=every, last_run_at=timezone.now())
    until = time.monotonic() + 3.2
    while time.monotonic() < until:
        time.sleep(max(0, min(scheduler.tick(), 0.2)))
    assert len(sent()) in (2, 3)


@pytest.fixture
def celery(transactional_db, tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """`celery -A taifish …` as a process of its own, on this test's store and broker."""
    store = connection.settings_dict
    environment = os.environ | {
        "DATABASE_URL": f"postgresql://{store['USER']}@{quote(store['HOST'], safe='')}:{store['PORT'] or 5432}/{store['NAME']}",
        "TAIFISH_SECRET_KEY": secrets.token_hex(32),
        "TAIFISH_CREDENTIAL_KEYS": Fernet.generate_key().decode(),
    }
    running = []

    def celery(*arguments: str) -> subprocess.Popen:
        log = (tmp_path / f"{len(running)}.log").open("w")
        running.append(
            subprocess.Popen([sys.executable, "-m", "celery", "-A", "taifish", *arguments], env=environment, stderr=log)
        )
        return running[-1]

    yield celery
    for process in running:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_two_beats_and_a_worker_as_real_processes(celery, sent, tmp_path):
    """A missed run is made good once; the leader is killed with -9; the other beat serves what comes next, once."""
    nightly = job(ago=timedelta(days=3), hour=not_now())
    beats = [celery("beat", "--max-interval", "1", "-l", "info") for _ in range(2)]
    celery("worker", "-P", "solo", "-l", "info")
    until(SyncSession.objects.exists)
    until(lambda: PeriodicTask.objects.get().total_run_count == 1)
    logs = [tmp_path / "0.log", tmp_path / "1.log"]
    [leader] = [number for number, log in enumerate(logs) if "this beat leads now" in log.read_text()]
    beats[leader].send_signal(signal.SIGKILL)
    beats[leader].wait()
    until(lambda: "this beat leads now" in logs[1 - leader].read_text())
    first = SyncSession.objects.get()
    assert (first.trigger, first.slot.startswith("Sync accounts after ")) == ("schedule", True)
    nightly.refresh_from_db()
    nightly.last_run_at -= timedelta(days=1)
    nightly.save()
    until(lambda: SyncSession.objects.count() == 2)
    # The same occurrence again, as a beat that died right after sending would have it.
    app.send_task("accounts.sync", headers={beat.SLOT_HEADER: first.slot})
    app.send_task("accounts.sync")
    until(lambda: SyncSession.objects.filter(slot=None).exists())
    assert SyncSession.objects.count() == 3
    assert SyncSession.objects.filter(slot=first.slot).get() == first


#: A zone → a moment in the evening before its clocks go forward, and before they go back.
NIGHTS = {
    "Europe/Berlin": (datetime(2027, 3, 27, 20, tzinfo=UTC), datetime(2026, 10, 24, 20, tzinfo=UTC)),
    "America/New_York": (datetime(2027, 3, 14, 0, tzinfo=UTC), datetime(2026, 10, 31, 22, tzinfo=UTC)),
}
DAILY = [when for _name, _task, when, _about in schedules.TIMETABLE if isinstance(when, str) and "*" not in when]


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("zone", NIGHTS)
def test_a_daily_schedule_runs_once_in_the_nights_of_daylight_saving(zone, forward):
    """F6.5: also at an hour that the night lacks, and at one that it has twice."""
    tz, evening = ZoneInfo(zone), NIGHTS[zone][not forward]
    for minute, hour in map(str.split, [*DAILY, "30 2", "30 1"]):
        row = CrontabSchedule(minute=minute, hour=hour, timezone=tz)
        schedule, now, last, runs = row.schedule, evening, evening, []
        schedule.nowfun = lambda: now.astimezone(tz)  # noqa: B023 -- asked within this turn
        for number in range(2 * 24 * 12):
            now = evening + timedelta(minutes=5 * number)
            if schedule.is_due(last).is_due:
                runs.append(now.astimezone(tz).date())
                last = now
        today = evening.astimezone(tz).date()
        assert runs == [today + timedelta(days=1), today + timedelta(days=2)], (minute, hour)
