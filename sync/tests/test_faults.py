"""A visit never lies and never sticks, whatever dies: real workers, real servers, real signals."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import psycopg2
import pytest
from celery import current_app
from django.conf import settings
from django.db import connection, connections
from django.db.models import F
from django.db.models.functions import Now
from django_celery_beat.models import PeriodicTask

from accounts.models import Account, AccountChange, Grant, Membership, RoleReach
from instances.models import Credential, Instance
from sync import services
from sync.models import SyncRecord, SyncSession, VisitHealth
from sync.tests.workers import QUEUE, Proxy, Workers, empty_queue, ended
from taifish import schedules
from taifish.tests.postgres import free_port
from taifish.tests.store import cluster

READING = ("connect", "inventory", "permissions")
#: Phase → the table at which its write waits: the first one it reads, and the last one it writes.
WRITING = {"write": "accounts_account", "write, half done": "accounts_accountchange"}
PHASES = (*READING, *WRITING)


@pytest.fixture
def server(postgres18) -> Iterator:
    postgres18.reset()
    yield postgres18
    postgres18.reset()


@pytest.fixture
def add(transactional_db) -> Callable[..., Instance]:
    """Makes instances on a port of 127.0.0.1 for a target, all with one credential per user name."""

    def add(target, name: str = "shop", **fields: object) -> Instance:
        credential, _ = Credential.objects.get_or_create(
            name=f"{target.username} of {target.port}",
            defaults={"username": target.username, "password": target.password},
        )
        # At depth A a visit has one connection.
        values = {"host": target.host, "port": target.port, "tls_mode": "disable", "level": "A"} | fields
        return Instance.objects.create(name=name, engine=target.engine, credential=credential, **values)

    return add


@pytest.fixture
def visited(server, add, proxy_to) -> Iterator[tuple[Instance, Proxy]]:
    """An instance that was visited, reached through a proxy, on which there is much to be found since."""
    proxy = proxy_to(server.cluster.port)
    target = server.collector()
    instance = add(target, port=proxy.port)
    server.fresh_database("shop")
    server.execute("CREATE ROLE old; CREATE ROLE team; GRANT team TO old")
    assert services.run_here(start(enqueue=False)).status == "completed"
    server.execute("CREATE ROLE fresh; GRANT team TO fresh; REVOKE team FROM old")
    server.execute("GRANT CREATE ON DATABASE shop TO fresh WITH GRANT OPTION; ALTER ROLE old SUPERUSER")
    return instance, proxy


def start(**options: object) -> SyncSession:
    return services.start("accounts", Instance.objects.all(), trigger="manual", **options)


def stored() -> dict[str, list[dict[str, object]]]:
    """Every row that an account visit may write."""
    tables = (Account, Membership, Grant, RoleReach, AccountChange)
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in tables}


def news() -> tuple[object, ...]:
    """What the store tells of the things that `visited` changed."""
    now = Membership.objects.filter(until=None).values_list("member__name", "role__name")
    then = Membership.objects.exclude(until=None).values_list("member__name", "role__name")
    changes = AccountChange.objects.filter(baseline=False).order_by("account__name")
    return (
        sorted(now.filter(role__name="team")),
        sorted(then),
        sorted(Grant.objects.filter(until=None, account__name="fresh").values_list("privilege", "scope", "grantable")),
        [(change.account.name, sorted(change.events)) for change in changes],
    )


#: Each once, whatever happened on the way.
NEWS = (
    [("fresh", "team")],
    [("old", "team")],
    [("CREATE", "shop", True)],
    [("fresh", ["appeared", "memberships", "privileges"]), ("old", ["attributes", "memberships", "privileges"])],
)


@contextlib.contextmanager
def obstacle(workers: Workers, proxy: Proxy, phase: str) -> Iterator[Callable[[], None]]:
    """Halts a visit in that phase. Yields what waits until one is halted there."""
    if phase in READING:
        proxy.halt(phase)
        try:
            yield lambda: workers.until(lambda: proxy.halted, f"a visit is halted in {phase}")
        finally:
            proxy.go_on()
        return
    table = WRITING[phase]
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    with own_connection() as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE {table} IN {'ACCESS EXCLUSIVE' if phase == 'write' else 'SHARE'} MODE")

        def wait() -> None:
            def halted() -> bool:
                cursor.execute(waiting, [table])
                return cursor.fetchone() is not None

            workers.until(halted, f"a visit waits at {table}")

        yield wait
        cursor.execute("ROLLBACK")


@contextlib.contextmanager
def own_connection() -> Iterator[object]:
    """A cursor on the store, in a session that is none of Django's."""
    store = connection.settings_dict
    own = psycopg2.connect(host=store["HOST"], port=store["PORT"], user=store["USER"], dbname=store["NAME"])
    own.autocommit = True
    try:
        with own.cursor() as cursor:
            yield cursor
    finally:
        own.close()


def record_of(session: SyncSession) -> SyncRecord:
    return session.records.get()


@pytest.mark.parametrize("phase", PHASES)
def test_a_worker_killed_in_any_phase_leaves_nothing_and_another_does_its_work(phase, visited, workers):
    """F1.2, F1.1, F6.1: kill -9 of the whole process group; the lease runs out; the next worker completes the visit.

    F6.1 asks for two minutes from death to reaping. Death leaves at most a whole lease, and the reaper comes every
    30 s: both are read off here, the lease from the record at the moment of death, with the default put in for the
    test's short one.
    """
    _, proxy = visited
    before = stored()
    worker = workers.start()
    with obstacle(workers, proxy, phase) as reached:
        session = start()
        reached()
        record = record_of(session)
        assert (record.status, record.phase, record.attempt) == ("running", phase.partition(",")[0], 1)
        worker.kill()
        record = SyncRecord.objects.annotate(now=Now()).get(pk=record.pk)
    left = (record.lease_until - record.now).total_seconds()
    assert left <= workers.LEASE
    assert left - workers.LEASE + settings.TAIFISH_LEASE + reaping_interval() < 120
    assert stored() == before
    reaped = services.reap()["lost"]
    assert not reaped or clock() > record.lease_until, "the lease was not over yet"
    workers.start()
    workers.finish(session)
    [record] = ended(session, "completed", completed=1)
    assert (record.attempt, record.error, record.error_code) == (2, "", "")
    assert news() == NEWS
    assert VisitHealth.objects.get(kind="accounts").failures == 0


def clock() -> datetime:
    """The store's time, which leases go by."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        return cursor.fetchone()[0]


def reaping_interval() -> int:
    return next(int(when) for _, task, when, _ in schedules.TIMETABLE if task == "sync.reap")


def test_a_visit_that_kills_its_process_each_time_fails_in_the_end(visited, workers):
    """F1.2: the pool's process dies alone, as from the OOM killer; the worker lives and starts another. The message
    comes back at once, and must not be taken for the lease's end."""
    _, proxy = visited
    before = stored()
    worker = workers.start(concurrency=2)
    with obstacle(workers, proxy, "permissions") as reached:
        session = start(attempts=2)
        for attempt in (1, 2):
            reached()
            record = record_of(session)
            assert (record.status, record.attempt) == ("running", attempt)
            pid = int(record.worker.split(":")[1])
            assert pid in worker.pool()
            os.kill(pid, signal.SIGKILL)
            workers.until(lambda: not proxy.halted, "the proxy sees it die")
            assert record_of(session).status == "running"
            workers.until(lambda: services.reap()["lost"] == 1, "the reaper takes the record")
    workers.finish(session)
    [record] = ended(session, "failed", failed=1)
    assert (record.error_code, record.attempt) == ("worker_lost", 2)
    assert record.hint
    assert stored() == before
    assert VisitHealth.objects.get().failures == 1
    assert worker.process.poll() is None
    # And the same worker does the next one.
    session = start()
    workers.finish(session)
    ended(session, "completed", completed=1)


@pytest.mark.parametrize("phase", ["permissions", "write, half done"])
def test_a_worker_that_freezes_is_replaced_and_does_no_harm_when_it_wakes(phase, visited, workers):
    """F1.2, F1.10: a machine that is suspended, or cut off from the network, holds its locks; they end with its lease.

    Nothing tells the store that such a client is gone.
    """
    _, proxy = visited
    before = stored()
    frozen = workers.start()
    with obstacle(workers, proxy, phase) as reached:
        session = start()
        reached()
        frozen.signal(signal.SIGSTOP)
    assert stored() == before
    workers.start()
    workers.finish(session)
    [record] = ended(session, "completed", completed=1)
    assert (record.attempt, news()) == (2, NEWS)
    after = stored(), SyncRecord.objects.filter(pk=record.pk).values().get()
    frozen.signal(signal.SIGCONT)
    workers.until(lambda: f"visit {record.pk}" in frozen.said, "the one that woke up speaks")
    assert "was lost" in frozen.said or "failed" in frozen.said
    assert (stored(), SyncRecord.objects.filter(pk=record.pk).values().get()) == after


def test_a_worker_that_wakes_before_anybody_took_its_visit_tries_again(visited, workers):
    """F1.2, F1.3: its transaction is over, which is no fault of the target, and no reason to give up."""
    _, proxy = visited
    worker = workers.start()
    with obstacle(workers, proxy, "write, half done") as reached:
        session = start()
        reached()
        worker.signal(signal.SIGSTOP)
    workers.until(lambda: not transactions(), "the store ends the transaction")
    worker.signal(signal.SIGCONT)
    workers.until(lambda: not SyncSession.objects.get(pk=session.pk).is_open, "it completes without the reaper")
    [record] = ended(session, "completed", completed=1)
    assert (record.attempt, news()) == (2, NEWS)


def transactions() -> int:
    """How many others are in a transaction on the store."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        return cursor.fetchone()[0]


def test_lost_messages_are_sent_again(visited, workers):
    """F6.1: the rows are the truth about work: without its message it is done all the same, however often that was
    lost, within two minutes."""
    session = start()
    assert empty_queue() == 1
    workers.start()
    SyncRecord.objects.update(sent_at=Now() - timedelta(seconds=110), sent_times=1000)
    assert services.reap()["sent_again"] == 0
    SyncRecord.objects.update(sent_at=Now() - timedelta(seconds=121))
    assert services.reap()["sent_again"] == 1
    workers.finish(session)
    [record] = ended(session, "completed", completed=1)
    assert record.attempt == 1


def test_no_message_is_taken_half_written(workers):
    """A worker ends over half a message, and its visits with it. These take long enough to write to be looked at."""
    worker = workers.start()
    for _ in range(10):
        current_app.send_task("sync.visit", (0,), headers={"padding": "x" * 5_000_000})
        workers.until(lambda: not list(QUEUE.iterdir()), "the message is taken")
    assert worker.process.poll() is None
    assert "Traceback" not in worker.said


def test_a_visit_that_waited_long_for_its_turn_is_not_lost_with_its_message(server, add, proxy_to, workers):
    """F6.1: visits that wait for their turn are messages in a worker's memory, and die with it; however often they
    were put off before, they are sent again within two minutes."""
    proxy = proxy_to(server.cluster.port)
    target = server.collector()
    add(target, "first", port=proxy.port)
    worker = workers.start(concurrency=2, TAIFISH_VISITS_PER_HOST="1")
    with obstacle(workers, proxy, "inventory") as reached:
        first = start()
        reached()
        add(target, "second", port=proxy.port)
        second = services.start("accounts", Instance.objects.filter(name="second"), trigger="manual")
        waits = set()

        def put_off() -> int:
            waits.add(record_of(second).not_before)
            return len(waits - {None})

        workers.until(lambda: put_off() >= 3, "it is put off again and again")
        worker.kill()
        empty_queue()
    workers.start()
    lead = timedelta(seconds=120 - reaping_interval())
    SyncRecord.objects.filter(status="pending").update(sent_at=F("sent_at") - lead, not_before=F("not_before") - lead)
    workers.finish(first, second)
    ended(first, "completed", completed=1)
    ended(second, "completed", completed=1)


def test_a_target_that_stops_in_mid_visit_is_visited_when_it_is_back(private_postgres, add, proxy_to, workers):
    """F1.3: a lost connection is tried again, by the same worker, and poisons nothing."""
    proxy = proxy_to(private_postgres.cluster.port)
    add(private_postgres.collector(), port=proxy.port)
    worker = workers.start()
    [pid] = worker.pool()
    proxy.halt("permissions")
    session = start(attempts=10)
    workers.until(lambda: proxy.halted, "the visit is halted")
    private_postgres.kill9()
    workers.until(lambda: record_of(session).attempt >= 2, "it is tried again")
    proxy.go_on()
    record = record_of(session)
    assert (record.error_code in ("connection_lost", ""), stored()["Account"]) == (True, [])
    private_postgres.start()
    workers.finish(session)
    [record] = ended(session, "completed", completed=1)
    assert 2 <= record.attempt < 10
    assert Account.objects.filter(name="taifish_collector").exists()
    assert worker.pool() == [pid]


@pytest.mark.parametrize("phase", ["permissions", "write, half done"])
def test_a_store_that_is_killed_under_the_worker_loses_nothing(phase, visited, workers):
    """F1.2, F1.3: kill -9 of the store in mid-visit; when it is back the same worker goes on."""
    _, proxy = visited
    before = stored()
    worker = workers.start()
    [pid] = worker.pool()
    with contextlib.ExitStack() as halted:
        halted.enter_context(contextlib.suppress(psycopg2.Error))
        reached = halted.enter_context(obstacle(workers, proxy, phase))
        session = start()
        reached()
        connections.close_all()
        with killed_store():
            proxy.go_on()
            workers.until(lambda: "OperationalError" in worker.said, "the worker notices")
    assert stored() == before
    workers.finish(session)
    [record] = ended(session, "completed", completed=1)
    assert (record.attempt, news()) == (2, NEWS)
    assert worker.pool() == [pid]


@contextlib.contextmanager
def killed_store() -> Iterator[None]:
    """Inside, the store of all tests lies dead."""
    store = cluster()
    os.kill(int((store.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    try:
        deadline = time.monotonic() + 30
        while store.running():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        store.start()


def test_two_syncs_of_one_instance_take_turns(visited, workers):
    """F1.10: two visits of a kind to one instance never overlap, whoever asks for them."""
    _, proxy = visited
    proxy.most = 0
    workers.start(concurrency=3)
    with obstacle(workers, proxy, "inventory") as reached:
        first = start()
        reached()
        second = start()
        workers.until(lambda: record_of(second).not_before, "the second visit is put off")
        assert (record_of(first).status, record_of(second).status) == ("running", "pending")
        third = start()
        assert record_of(third).error_code == "waiting"
    workers.finish(first, second)
    ended(first, "completed", completed=1)
    ended(second, "completed", completed=1)
    ended(third, "skipped", skipped=1)
    assert proxy.most == 1
    assert news() == NEWS


def test_twenty_instances_in_parallel_and_a_dead_one_delays_nobody(server, add, proxy_to, workers):
    """F1.10: four processes visit four at a time; one that accepts and never answers holds up one of them."""
    proxy = proxy_to(server.cluster.port)
    target = server.collector()
    worker = workers.start(concurrency=4)
    with socket.create_server(("127.0.0.1", 0)) as dead:
        add(target, "dead", port=dead.getsockname()[1], connect_timeout=300)
        session = start(attempts=1)
        visit = record_of(session)
        workers.until(lambda: SyncRecord.objects.get(pk=visit.pk).status == "running", "the dead one is visited")
        for number in range(20):
            add(target, f"db{number:02}", port=proxy.port)
        proxy.halt("inventory")
        alive = services.start("accounts", Instance.objects.exclude(name="dead"), trigger="manual")
        workers.until(lambda: proxy.halted == 3, "the three others are at work")
        busy = SyncRecord.objects.filter(status="running").values_list("worker", flat=True)
        assert {int(name.split(":")[1]) for name in busy} == set(worker.pool())
        proxy.go_on()
        workers.finish(alive)
        ended(alive, "completed", completed=20)
        assert SyncRecord.objects.get(pk=visit.pk).status == "running"
    workers.finish(session)
    [record] = ended(session, "failed", failed=1)
    assert record.error_code in ("connection_lost", "unreachable")
    assert Account.objects.filter(name="taifish_collector").count() == 20


@pytest.mark.parametrize("phase", ["connect", "inventory", "permissions"])
def test_cancel_ends_a_running_visit_at_its_next_phase(phase, visited, workers):
    """F1.11: nothing is written, and nothing overwrites the cancelled state."""
    _, proxy = visited
    before = stored()
    worker = workers.start()
    with obstacle(workers, proxy, phase) as reached:
        session = start()
        reached()
        assert services.cancel(session) == 0
        services.reap()
        assert record_of(session).status == "running"
    workers.until(lambda: not SyncSession.objects.get(pk=session.pk).is_open, "the session ends by itself")
    [record] = ended(session, "cancelled", cancelled=1)
    assert (stored(), record.attempt) == (before, 1)
    services.reap()
    worker.kill()
    ended(session, "cancelled", cancelled=1)
    workers.start()
    again = start()
    workers.finish(again)
    ended(again, "completed", completed=1)
    assert news() == NEWS
    ended(session, "cancelled", cancelled=1)


def test_cancel_ends_a_visit_whose_worker_is_dead(visited, workers):
    """F1.11, F1.2: cancelled by the reaper, and not tried again."""
    _, proxy = visited
    before = stored()
    worker = workers.start()
    with obstacle(workers, proxy, "permissions") as reached:
        session = start()
        reached()
        services.cancel(session)
        worker.kill()
    workers.finish(session)
    [record] = ended(session, "cancelled", cancelled=1)
    assert (stored(), record.attempt) == (before, 1)


def test_one_failed_of_two_hundred(server, add, workers, settings):
    """F1.12: 199 real visits and one closed port are "partial", with 199 counted."""
    target = server.collector()
    closed_port = free_port()
    for number in range(200):
        add(target, f"db{number:03}", **({"port": closed_port} if number == 117 else {}))
    worker = workers.start(concurrency=4)
    settings.TAIFISH_START_SPREAD = 0
    session = start(attempts=2)
    workers.finish(session, seconds=450)
    records = ended(session, "partial", completed=199, failed=1)
    [failed] = [record for record in records if record.status == "failed"]
    assert (failed.instance.name, failed.error_code, failed.attempt) == ("db117", "unreachable", 2)
    assert Account.objects.filter(name="taifish_collector").count() == 199
    assert worker.process.poll() is None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_in_random_phases_and_never_a_stuck_or_half_written_record(visited, server, workers):
    """F1.2, F1.1, F6.1: kill -9 of the whole worker, halted in a phase or at any moment."""
    _, proxy = visited
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    victim = workers.start()
    for turn in range(20):
        server.execute(f"CREATE ROLE r{turn}; GRANT team TO r{turn}; GRANT CREATE ON DATABASE shop TO r{turn}")
        before = stored()
        phase = chance.choice([*PHASES, None])
        print(f"{turn}: {phase}")
        if phase:
            with obstacle(workers, proxy, phase) as reached:
                session = start()
                reached()
                victim.kill()
            assert stored() == before
        else:
            session = start()
            time.sleep(chance.uniform(0, 0.4))
            victim.kill()
            workers.until(lambda: not transactions(), "the store rolls back")
            # A message that died with the worker: as if the wait for it were over.
            SyncRecord.objects.filter(status="pending").update(sent_at=None)
            assert (record_of(session).status == "completed") == (stored() != before)
        victim = workers.start()
        workers.finish(session)
        ended(session, "completed", completed=1)
        assert Membership.objects.filter(member__name=f"r{turn}", role__name="team").count() == 1
        assert Grant.objects.filter(account__name=f"r{turn}", privilege="CREATE", until=None).count() == 1
        assert AccountChange.objects.filter(account__name=f"r{turn}").count() == 1
    assert SyncSession.objects.filter(kind="accounts").count() == 21
    # What the visits started: classifications.
    workers.finish(*SyncSession.objects.all())
    assert not SyncSession.objects.exclude(status__in=("completed", "skipped")).exists()


@pytest.mark.slow
def test_a_dead_workers_visit_is_under_way_again_within_two_minutes(visited, workers):
    """F6.1, by the clock: the lease and the timetable as they are shipped, the reaper started by a real beat."""
    _, proxy = visited
    default = {"TAIFISH_LEASE": str(settings.TAIFISH_LEASE)}
    worker = workers.start(**default)
    with obstacle(workers, proxy, "permissions") as reached:
        session = start()
        reached()
        worker.kill()
        died = time.monotonic()
    schedules.install()
    PeriodicTask.objects.exclude(task="sync.reap").delete()
    workers.celery("beat --pidfile=", **default)
    workers.start(**default)
    # The session is closed after its last record, in a transaction of its own.
    done = SyncSession.objects.filter(pk=session.pk, status="completed")
    workers.until(done.exists, "it is done", seconds=180)
    assert time.monotonic() - died < 120
    ended(session, "completed", completed=1)
    assert news() == NEWS
