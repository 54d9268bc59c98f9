"""Faults of the production form: of targets, of the store, of the network, of clocks, and a deployment in mid-session.

Each test leaves the form well: every session has ended, `verify_store` finds nothing, and the targets, which do not
change unless the test says so, have no change in the log.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from engines.target import Target
from sync.tests.workers import Proxy
from taifish import embedded
from taifish.embedded import Cluster
from taifish.pginstall import system_folder
from taifish.tests.brokers import Redis
from taifish.tests.browser import network
from taifish.tests.postgres import PostgresServer
from taifish.tests.production import Embedded, Production, own_store
from taifish.tests.results import record
from taifish.tests.servers import FOLDER, missing, unpacked
from taifish.tests.watcher import private_folder

pytestmark = pytest.mark.slow

#: Instances of the fixture `form`, all visited.
NAMES = [f"calm{n}" for n in range(12)]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="Network namespaces and mounts need root: NOT TESTED HERE.")


def populated(**options: str) -> PostgresServer:
    server = PostgresServer(18, **({"max_connections": "100"} | options))
    server.start()
    server.execute("CREATE ROLE team; " + "".join(f"CREATE ROLE r{n} IN ROLE team; " for n in range(100)))
    return server


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = populated()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def target(server: PostgresServer) -> Target:
    return server.collector(level="A")


@pytest.fixture(scope="module")
def shared(target: Target) -> Iterator[Production]:
    production = Production(own_store(), Redis(keeps=True), beats=2)
    try:
        production.add_instances(NAMES, target)
        production.start_sessions("accounts", "capacity")
        production.finish()
        yield production
    finally:
        production.remove()


@pytest.fixture
def form(shared: Production) -> Iterator[Production]:
    yield shared
    shared.finish()
    shared.verify()
    shared.shell("from instances.models import Instance\nInstance.objects.exclude(name__startswith='calm').delete()")


def records_of(form: Production, prefix: str) -> list[dict[str, Any]]:
    """The records of the last account session that visits instances of this prefix."""
    columns = ("name", "status", "attempt", "error_code", "started_at", "finished_at")
    rows = form.rows(
        "SELECT i.name, r.status, r.attempt, r.error_code, r.started_at, r.finished_at"
        "  FROM sync_syncrecord r JOIN instances_instance i ON i.id = r.instance_id"
        " WHERE i.name LIKE %s AND r.kind = 'accounts' AND r.session_id = (SELECT max(o.session_id) FROM sync_syncrecord o"
        "       JOIN instances_instance n ON n.id = o.instance_id WHERE n.name LIKE %s AND o.kind = 'accounts') ORDER BY 1",
        [f"{prefix}%", f"{prefix}%"],
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def running(form: Production, prefix: str) -> int:
    sql = "SELECT count(*) FROM sync_syncrecord r JOIN instances_instance i ON i.id = r.instance_id"
    return int(form.rows(f"{sql} WHERE r.status = 'running' AND i.name LIKE %s", [f"{prefix}%"])[0][0])


def changes(form: Production) -> int:
    return int(form.rows("SELECT count(*) FROM accounts_accountchange WHERE NOT baseline")[0][0])


def ended(form: Production) -> int:
    return int(form.rows("SELECT count(*) FROM accounts_membership WHERE until IS NOT NULL")[0][0])


# Targets


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel drops what arrives."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    filler.connect(listener.getsockname())
            yield listener.getsockname()[1]


def test_hanging_targets_hold_one_slot_each_for_their_budget_and_delay_nobody(
    form: Production, server: PostgresServer, target: Target
) -> None:
    """F6.4: a black hole, and one that stops answering in mid-read. Two of four slots stay free."""
    proxy = Proxy(server.cluster.port)
    proxy.halt("permissions")
    try:
        with black_hole() as port:
            form.add_instances(["hang-hole"], target, port=port, connect_timeout=30, budget=35)
            form.add_instances(["hang-mid"], target, port=proxy.port, budget=35)
            form.add_instances([f"well{n}" for n in range(20)], target)
            form.shell(form.started("accounts", attempts=1))
            most = 0

            def over() -> bool:
                nonlocal most
                most = max(most, running(form, "hang-"))
                return form.is_idle()

            seconds = form.until(over, "the session ends")
    finally:
        proxy.close()
    hanging, well = records_of(form, "hang-"), records_of(form, "well")
    assert [(row["name"], row["status"]) for row in hanging] == [("hang-hole", "failed"), ("hang-mid", "failed")]
    assert hanging[0]["error_code"] in ("timeout", "unreachable")
    took = [(row["finished_at"] - row["started_at"]).total_seconds() for row in hanging]
    assert max(took) < 35 + 20
    assert most <= 2
    assert {row["status"] for row in well} == {"completed"}
    assert max(row["finished_at"] for row in well) < min(row["finished_at"] for row in hanging)
    record(
        "Targets that hang",
        "black hole; silence in mid-read: held one slot for their budget, others not delayed",
        2,
        seconds,
    )


def test_a_target_behind_a_slow_and_losing_link_is_read_whole_or_not_at_all(
    form: Production, server: PostgresServer, target: Target
) -> None:
    link = Link(server.cluster.port, delay=0.02, cut_every=2)
    try:
        form.add_instances([f"far{n}" for n in range(6)], target, port=link.port)
        form.start_sessions("accounts", prefix="far")
        seconds = form.finish()
    finally:
        link.close()
    assert link.cuts >= 3
    rows = records_of(form, "far")
    assert {row["status"] for row in rows} == {"completed"}, rows
    assert max(row["attempt"] for row in rows) > 1
    assert changes(form) == 0
    record(
        "Network to the target",
        "each round trip 20 ms later, every other connection cut in mid-read",
        link.cuts,
        seconds,
    )


@dataclass
class Link(Proxy):
    """A proxy with a delay in each direction, in seconds; each `cut_every`-th connection is cut."""

    delay: float = 0
    cut_every: int = 0
    connections: int = 0
    cuts: int = 0

    def _carry(self, client: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            # Where reading has begun: after the answers to login and settings.
            limit = 2500 if self.cut_every and self.connections % self.cut_every == 0 else None
        to = ("127.0.0.1", self.server_port)
        with client, contextlib.suppress(OSError), socket.create_connection(to) as server:
            back = threading.Thread(target=self._one_way, args=(server, client, limit), daemon=True)
            back.start()
            self._one_way(client, server, None)
            back.join()

    def _one_way(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay)
                carried += len(data)
                if limit and carried > limit:
                    self.cuts += 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_full_target_is_visited_when_it_has_a_place_again(form: Production) -> None:
    """max_connections reached: transient, and nothing is written meanwhile."""
    small = populated(max_connections="8")
    try:
        with contextlib.ExitStack() as stack:
            form.add_instances(["full"], small.collector(level="A"))
            for _ in range(6):
                stack.enter_context(small.superuser())
            form.start_sessions("accounts", prefix="full")
            form.until(lambda: any(row["error_code"] for row in records_of(form, "full")), "a visit is refused")
            (refused,) = records_of(form, "full")
            freed = time.monotonic()
        form.finish()
        (visited,) = records_of(form, "full")
        assert (refused["error_code"], visited["status"]) == ("too_many_connections", "completed")
        assert visited["attempt"] > 1
        record("Target refuses", "max_connections reached", 1, time.monotonic() - freed)
    finally:
        small.remove()


def test_a_locked_account_fails_at_once_and_ends_nothing(form: Production, server: PostgresServer) -> None:
    before = ended(form)
    server.execute("ALTER ROLE taifish_collector NOLOGIN")
    try:
        form.start_sessions("accounts", prefix="calm")
        form.finish()
        rows = records_of(form, "calm")
        assert {(row["status"], row["attempt"]) for row in rows} == {("failed", 1)}, rows
    finally:
        server.execute("ALTER ROLE taifish_collector LOGIN")
    started = time.monotonic()
    form.start_sessions("accounts", prefix="calm")
    form.finish()
    assert {row["status"] for row in records_of(form, "calm")} == {"completed"}
    assert (ended(form), changes(form)) == (before, 0)
    record("Target refuses", "collection account locked", 1, time.monotonic() - started)


def test_a_target_that_restarts_between_phases_is_read_again(form: Production) -> None:
    own = populated()
    proxy = Proxy(own.cluster.port)
    try:
        form.add_instances(["restarted"], own.collector(level="A"), port=proxy.port)
        proxy.halt("permissions")
        form.start_sessions("accounts", prefix="restarted")
        form.until(lambda: proxy.halted, "the visit is between its phases")
        own.cluster.stop("immediate")
        own.start()
        proxy.go_on()
        seconds = form.finish()
        (row,) = records_of(form, "restarted")
        assert (row["status"], row["attempt"] > 1) == ("completed", True)
        record("Target restarts", "between two phases of a visit", 1, seconds)
    finally:
        proxy.close()
        own.remove()


# Store


def end_connections(form: Production) -> None:
    form.store.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keeper'")


@pytest.mark.parametrize(
    ("tried", "statement", "undo", "said"),
    [
        ("read-only", "ALTER DATABASE records SET default_transaction_read_only = on",
         "ALTER DATABASE records RESET default_transaction_read_only", "read-only transaction"),
        ("connection limit of the role reached", "ALTER ROLE keeper CONNECTION LIMIT 0",
         "ALTER ROLE keeper CONNECTION LIMIT -1", "too many connections"),
    ],
)  # fmt: skip
def test_a_store_that_refuses_is_used_again_when_it_no_longer_does(
    form: Production, tried: str, statement: str, undo: str, said: str
) -> None:
    form.start_sessions("accounts", "capacity", prefix="calm")
    form.store.execute(statement)
    end_connections(form)
    form.until(lambda: any(said in form.said(name) for name in form.services), "a service says what the store refuses")
    form.store.execute(undo)
    end_connections(form)
    seconds = form.finish()
    assert {row["status"] for row in records_of(form, "calm")} == {"completed"}
    assert changes(form) == 0
    form.until(lambda: form.get("/healthz")[0] == 200, "the web answers")
    record("Store refuses", tried, 1, seconds)


def test_the_web_is_back_after_a_restart_of_the_store(form: Production) -> None:
    """Under load, requests fail quickly while the store is away, and none afterwards."""
    form.until(lambda: form.get("/healthz")[0] == 200, "the web answers")
    answers: list[tuple[float, str, int, float]] = []
    stop = threading.Event()

    def user(path: str) -> None:
        while not stop.is_set():
            asked = time.monotonic()
            status = form.get(path, 30)[0]
            answers.append((asked, path, status, time.monotonic() - asked))

    users = [threading.Thread(target=user, args=(path,)) for path in ("/healthz", "/admin/login/", "/admin/login/")]
    for each in users:
        each.start()
    time.sleep(3)
    down = time.monotonic()
    form.store.cluster.stop("fast")
    time.sleep(2)
    form.store.start()
    up = time.monotonic()
    time.sleep(6)
    stop.set()
    for each in users:
        each.join()
    assert max(seconds for *_, seconds in answers) < 15
    assert {status for asked, _, status, _ in answers if asked < down - 1} == {200}
    assert 503 in {status for asked, path, status, _ in answers if path == "/healthz" and down < asked < up}
    wrong = [asked for asked, _, status, _ in answers if asked > up and status != 200]
    seconds = max(wrong, default=up) - up
    assert seconds < 5
    print(f"{len(answers)} requests")
    record("Store restarts", "under web load", 1, seconds)


@contextlib.contextmanager
def small_disk(folder: Path, cluster: Cluster, size: str = "200m") -> Iterator[Path]:
    """Put a folder on a small disk of its own, until the cluster in it has been stopped."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        cluster.stop("immediate")
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(mount: Path) -> Path:
    """Fill a disk, and return the file that does."""
    filler = mount / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    return filler


@needs_root
def test_a_full_disk_of_a_target_ends_nothing(form: Production) -> None:
    """F2.1: it is read, or the visit fails; what is there is not taken for gone."""
    full = PostgresServer(18, max_wal_size="64MB", min_wal_size="32MB")
    with contextlib.ExitStack() as stack:
        stack.callback(full.remove)
        mount = stack.enter_context(small_disk(full._folder, full.cluster))
        full.start()
        full.execute("CREATE ROLE team; " + "".join(f"CREATE ROLE r{n} IN ROLE team; " for n in range(100)))
        form.add_instances(["full0"], full.collector(level="B"))
        form.start_sessions("accounts", "capacity", prefix="full")
        form.finish()
        filler = fill(mount)
        with contextlib.suppress(Exception):
            # More than the disk takes: the server says so in its own way, and may go down.
            full.execute("CREATE TABLE more AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
        form.start_sessions("accounts", "capacity", prefix="full")
        form.finish()
        (row,) = records_of(form, "full")
        assert row["status"] == "completed" or row["error_code"], row
        assert (changes(form), ended(form)) == (0, 0)
        filler.unlink()
        if not full.cluster.running():
            full.start()
        started = time.monotonic()
        form.start_sessions("accounts", "capacity", prefix="full")
        form.finish()
        assert [row["status"] for row in records_of(form, "full")] == ["completed"]
        assert (changes(form), ended(form)) == (0, 0)
        record("Disk full", "of a target", 1, time.monotonic() - started)


@needs_root
def test_a_full_disk_of_an_external_store_loses_nothing(target: Target) -> None:
    store = own_store(max_wal_size="64MB", min_wal_size="32MB")
    with contextlib.ExitStack() as stack, small_disk(store._folder, store.cluster) as mount:
        production = Production(store, Redis(keeps=True))
        stack.callback(production.remove)
        seconds = fills_up(production, target, mount)
        record("Disk full", "of the store (external)", 1, seconds)


@needs_root
def test_a_full_disk_under_the_embedded_store_loses_nothing(target: Target) -> None:
    folder = private_folder("embedded")
    store = embedded.store(folder)
    system_folder()
    store.home.mkdir()
    with small_disk(store.home, store, "300m") as mount, contextlib.ExitStack() as stack:
        production = Embedded(folder)
        stack.callback(production.remove)
        seconds = fills_up(production, target, mount)
        record("Disk full", "of the store (embedded)", 1, seconds)
    store.home.rmdir()


def fills_up(production: Production, target: Target, mount: Path) -> float:
    """First visits on a store whose disk is full: they wait or fail, and are done when there is room. Returns the
    seconds from then on."""
    production.add_instances([f"disk{n}" for n in range(10)], target)
    filler = fill(mount)
    with contextlib.suppress(AssertionError):
        production.start_sessions("accounts", "capacity")
    # Nothing says when every worker has met the full disk.
    time.sleep(8)
    production.supervise()
    filler.unlink()
    production.start_store()
    started = time.monotonic()
    production.until(lambda: production.rows("SELECT 1"), "the store answers")
    production.start_sessions("accounts", "capacity")
    production.finish()
    production.start_sessions("accounts", "capacity")
    production.finish()
    seconds = time.monotonic() - started
    assert {row["status"] for row in records_of(production, "disk")} == {"completed"}
    assert changes(production) == 0
    production.verify()
    return seconds


# Web

#: 200,000 aggregates of 500 databases that are gone.
_MANY = """
WITH gone AS (
    INSERT INTO capacity_database (instance_id, name, native_id, is_system, is_filtered, first_seen_at, last_seen_at, gone_at)
    SELECT (SELECT min(id) FROM instances_instance), 'gone' || n, '', false, false, '2020-01-01', '2021-01-01', '2021-01-01'
      FROM generate_series(1, 500) n RETURNING id)
INSERT INTO aggregation_databaseaggregate (database_id, period, start, "end", avg_size, min_size, max_size, first_size,
       last_size, days_collected, days_expected, computed_at)
SELECT id, 'daily', day, day, 1, 1, 1, 1, 1, 1, 1, now() FROM gone, generate_series(date '2020-01-01', '2021-02-03', '1 day') day
"""


def peak_of(pid: int) -> int:
    """Bytes of memory that the process has had at most."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def test_ten_files_of_200_000_rows_at_once_take_little_memory(form: Production) -> None:
    """They are streamed, and others are served meanwhile."""
    form.rows(_MANY)
    try:
        key = form.shell(
            "from django.contrib.auth.models import User\nfrom django.test import Client\n"
            "user = User.objects.filter(username='filer').first() or User.objects.create_superuser('filer')\n"
            "client = Client(); client.force_login(user); print(client.cookies['sessionid'].value)"
        ).split()[-1]
        form.until(lambda: form.get("/admin/login/")[0] == 200, "the web answers")
        workers = form.services["web"].children()
        # What the first ones load for good; either worker may answer.
        assert max(download(form, key, select_across="0") for _ in range(8)) < 100
        before = sum(map(peak_of, workers))
        counts: list[int] = []
        threads = [threading.Thread(target=lambda: counts.append(download(form, key))) for _ in range(10)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        slowest = 0.0
        while any(thread.is_alive() for thread in threads):
            asked = time.monotonic()
            assert form.get("/healthz", 30)[0] == 200
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.2)
        assert len(counts) == 10
        assert set(counts) == {counts[0]}
        assert counts[0] > 200_000
        growth = sum(map(peak_of, workers)) - before
        print(f"{growth / 2**20:.0f} MiB more, healthz at most {slowest:.1f} s")
        assert growth < 50 * 2**20
        tried = "ten CSV files of 200,000 rows at once: less than 50 MB more memory, others served"
        record("Large downloads", tried, 10, time.monotonic() - started)
    finally:
        form.rows("DELETE FROM aggregation_databaseaggregate WHERE start < '2021-03-01'")
        form.rows("DELETE FROM capacity_database WHERE name LIKE 'gone%%' AND gone_at = '2021-01-01'", [])


def download(form: Production, session: str, **more: str) -> int:
    """Rows of the CSV file of all database aggregates; read as it comes."""
    token = "a" * 32
    url = f"http://127.0.0.1:{form.web_port}/admin/aggregation/databaseaggregate/?which=all&period=daily"
    (first,) = form.rows("SELECT min(id) FROM aggregation_databaseaggregate")[0]
    data = {
        "action": "as_csv",
        "_selected_action": str(first),
        "select_across": "1",
        "csrfmiddlewaretoken": token,
    } | more
    request = urllib.request.Request(url, urllib.parse.urlencode(data).encode())
    request.add_header("Cookie", f"sessionid={session}; csrftoken={token}")
    rows = 0
    with urllib.request.urlopen(request, timeout=240) as answer:
        assert answer.headers["Content-Type"].startswith("text/csv")
        while data_read := answer.read(65536):
            rows += data_read.count(b"\n")
    return rows


# Deployment and schedules


def test_a_deployment_in_mid_session_loses_no_visit(form: Production, target: Target) -> None:
    """SIGTERM: workers end their visits and go; the next ones do the rest. No visit needs another attempt."""
    form.add_instances([f"deploy{n}" for n in range(30)], target)
    form.start_sessions("accounts", prefix="deploy")
    form.until(lambda: any(row["status"] == "completed" for row in records_of(form, "deploy")), "it is under way")
    for name in ("worker0", "worker1", "beat0", "beat1", "web"):
        form.services[name].process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    form.finish()
    rows = records_of(form, "deploy")
    assert Counter((row["status"], row["error_code"]) for row in rows) == {("completed", ""): 30}
    assert {row["attempt"] for row in rows} == {1}
    record("Deployment", "SIGTERM to workers, beats and web in mid-session", 1, time.monotonic() - started)


_NEXT_MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("sync", {last!r})]
    operations = [migrations.RunSQL(
        "ALTER TABLE sync_syncrecord ADD lane text NOT NULL DEFAULT ''", "ALTER TABLE sync_syncrecord DROP lane")]
"""


@pytest.fixture
def next_release(form: Production, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """A copy of the code with one more migration: its folder, and what migrates the store with it and back."""
    left_out = shutil.ignore_patterns(".*", "tests", "docs", "bench", "var", "__pycache__", "*.egg-info")
    code = shutil.copytree(settings.BASE_DIR, tmp_path / "next", ignore=left_out)
    folder = code / "sync" / "migrations"
    last = max(path.stem for path in folder.glob("0*.py"))
    (folder / "9999_next.py").write_text(_NEXT_MIGRATION.format(last=last))

    def migrate(to: str) -> None:
        command = [sys.executable, "manage.py", "migrate", "sync", to]
        subprocess.run(command, cwd=code, env=form.environment, check=True, capture_output=True)

    form.add_worker("next", code=code)
    yield migrate
    form.services.pop("next").kill9()
    migrate(last)


def test_workers_of_two_releases_never_share_a_store(
    form: Production, target: Target, next_release: Callable[[str], None]
) -> None:
    """Those of the next release wait for its migration; those of the last one go when it is there, and wait."""
    form.until(lambda: "was not migrated to this release (sync.9999_next)" in form.said("next"), "the next one waits")
    form.add_instances([f"two{n}" for n in range(30)], target)
    form.start_sessions("accounts", prefix="two")
    form.until(lambda: any(row["status"] == "completed" for row in records_of(form, "two")), "it is under way")
    next_release("9999")
    started = time.monotonic()
    form.finish()
    form.start_sessions("accounts", prefix="two")
    form.finish()
    seconds = time.monotonic() - started
    assert {row["status"] for row in records_of(form, "two")} == {"completed"}
    workers = form.rows(
        "SELECT DISTINCT worker FROM sync_syncrecord WHERE session_id = (SELECT max(session_id) FROM sync_syncrecord)"
    )
    assert {int(worker.split(":")[1]) for (worker,) in workers} <= {*form.services["next"].children()}
    another = "the store was migrated by another release (sync.9999_next)"
    for name in ("worker0", "worker1"):
        form.until(
            lambda name=name: f"waiting: {another}: install that release here" in form.said(name), f"{name} waits"
        )
        assert f"this worker takes no more work: {another}" in form.said(name)
    leads = f"this beat no longer leads: {another}"
    form.until(lambda: leads in form.said("beat0") + form.said("beat1"), "no beat leads")
    assert (changes(form), ended(form)) == (0, 0)
    record("Two releases", "workers of the next one beside those of the last, its migration in between", 1, seconds)


def test_two_beats_serve_each_occurrence_once_while_schedules_are_edited(form: Production) -> None:
    """F6.5: the leader is killed twice, and the interval changes meanwhile."""
    edit = (
        "from django_celery_beat.models import IntervalSchedule, PeriodicTask\n"
        "every, _ = IntervalSchedule.objects.get_or_create(every={every}, period='seconds')\n"
        "task = PeriodicTask.objects.get(task='accounts.sync')\n"
        "task.crontab, task.interval, task.enabled = None, every, {enabled}; task.save()"
    )
    before = form.rows("SELECT coalesce(max(id), 0) FROM sync_syncsession")[0]
    started = time.monotonic()
    try:
        for every, victim in ((4, "beat0"), (3, "beat1"), (5, "beat0")):
            form.shell(edit.format(every=every, enabled=True))
            time.sleep(5)
            form.services[victim].kill9()
            form.supervise()
    finally:
        form.shell(edit.format(every=4, enabled=False))
    lasted = time.monotonic() - started
    seconds = form.finish()
    slots = [
        slot for (slot,) in form.rows("SELECT slot FROM sync_syncsession WHERE id > %s AND kind = 'accounts'", before)
    ]
    scheduled = [slot for slot in slots if slot]
    assert 3 <= len(scheduled) == len(set(scheduled)) <= lasted / 3 + 3
    record("Two beats", "the leader killed and the schedule edited, three times", 3, seconds)


# Clocks

LIBRARY = "usr/lib/*/faketime/libfaketime.so.1"


def faked(offset: Path) -> dict[str, str]:
    """Variables that move the wall clock of a process by what the file says, again and again."""
    if not unpacked("faketime"):
        missing("libfaketime")
    (library,) = (FOLDER / "faketime").glob(LIBRARY)
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.parametrize("whose", ["worker and beat", "store"])
def test_clocks_that_jump_by_an_hour_falsify_nothing(whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forwards and back, with a real change on the target at each: it is logged once, and intervals stay in order."""
    own = populated()
    own.execute("CREATE ROLE n0 IN ROLE team")
    own.fresh_database("d0")
    store = own_store()
    offset = store._folder / "offset"
    offset.write_text("+0h\n")
    offset.chmod(0o644)
    variables = faked(offset)
    production = None
    try:
        if whose == "store":
            with monkeypatch.context() as patch:
                from taifish import embedded

                plain = embedded.process_options
                patch.setattr(
                    embedded,
                    "process_options",
                    lambda *args, **more: _with_environment(plain(*args, **more), variables),
                )
                store.cluster.start()
        production = Production(store, Redis(keeps=True), workers=0, beats=0, web=False)
        moved = {} if whose == "store" else variables
        production.add_worker("worker0", 2, **moved)
        production.add("beat0", *production.celery, "beat", "--pidfile=", **moved)
        production.add_instances([f"jump{n}" for n in range(3)], own.collector(level="A"))
        production.start_sessions("accounts", "capacity")
        production.finish()
        if whose == "store":
            apart = production.rows("SELECT extract(epoch FROM now())")[0][0]
        seconds = 0.0
        for number, hours in enumerate(("+1h", "+0h", "-1h", "+0h")):
            offset.write_text(f"{hours}\n")
            if whose == "store":
                jumped = production.rows("SELECT extract(epoch FROM now())")[0][0]
                assert number or jumped - apart > 3000
            # The second change ends what began while the clock was ahead.
            own.execute(f"CREATE ROLE n{number + 1} IN ROLE team; REVOKE team FROM n{number}")
            own.execute(f"CREATE DATABASE d{number + 1}")
            own.drop_database(f"d{number}")
            production.start_sessions("accounts", "capacity")
            seconds = max(seconds, production.finish())
            assert {row["status"] for row in records_of(production, "jump")} == {"completed"}
            production.verify()
        logged = production.rows(
            "SELECT count(*), count(DISTINCT account_id) FROM accounts_accountchange WHERE NOT baseline"
        )
        # At each jump and on each of three instances one member joins, one leaves, and the databases change that their
        # owner and everyone may use.
        assert logged == [(3 * 4 * 4, 3 * (5 + 2))]
        record("Clock jumps", f"+1 h, back, −1 h, back: of {whose}", 4, seconds)
    finally:
        if production:
            production.remove()
        own.remove()


def _with_environment(options: dict[str, Any], variables: dict[str, str]) -> dict[str, Any]:
    return options | {"env": {**options["env"], **variables}}


# Network


class Namespace:
    """A network namespace whose only way out is a link to this machine, at 10.213.`number`.1."""

    def __init__(self, number: int) -> None:
        self.name, self.host, self.link = f"taifish{number}", f"10.213.{number}.1", f"taifish{number}"
        self.remove()
        for command in (
            f"ip netns add {self.name}",
            f"ip link add {self.link} type veth peer name inner netns {self.name}",
            # No address of IPv6: it would come seconds later, when the tests in a browser go on.
            f"ip link set {self.link} addrgenmode none",
            f"ip addr add {self.host}/24 dev {self.link}",
            f"ip link set {self.link} up",
            f"ip -n {self.name} addr add 10.213.{number}.2/24 dev inner",
            f"ip -n {self.name} link set inner up",
            f"ip -n {self.name} link set lo up",
            f"ip -n {self.name} route add default via {self.host}",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)

    def set(self, state: str) -> None:
        subprocess.run(["ip", "link", "set", self.link, state], check=True)

    def remove(self) -> None:
        # The link first: with its namespace it would go at some later time.
        subprocess.run(["ip", "link", "del", self.link], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)


@pytest.fixture
def network_changes() -> Iterator[None]:
    with network(fcntl.LOCK_EX):
        yield


@needs_root
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("network_changes")
def test_a_worker_host_that_is_cut_off_writes_nothing_and_the_other_takes_over(
    server: PostgresServer, target: Target
) -> None:
    """Two worker hosts, each with a network of its own; the link of one goes in mid-visit, and comes back."""
    hosts = [Namespace(number) for number in (81, 82)]
    links: list[Link] = []
    common = "10.213.80.1"
    subprocess.run(["ip", "addr", "add", f"{common}/32", "dev", "lo"], check=True)
    production = None
    try:
        production = Production(own_store(), Redis(keeps=True), workers=0, web=False)

        def way(port: int, **options: Any) -> int:
            links.append(Link(port, host=common, **options))
            return links[-1].port

        store, broker = way(production.store.cluster.port), way(production.broker.port)
        reached = {
            "DATABASE_URL": production.url.replace(f"127.0.0.1:{production.store.cluster.port}", f"{common}:{store}"),
            "CELERY_BROKER_URL": production.broker.url.replace(
                f"127.0.0.1:{production.broker.port}", f"{common}:{broker}"
            ),
        }
        for number, host in enumerate(hosts):
            production.add_worker(f"worker{number}", 2, "ip", "netns", "exec", host.name, **reached)
        names = [f"two{n}" for n in range(16)]
        production.add_instances(names, target, host=common, port=way(server.cluster.port, delay=0.15))
        production.start_sessions("accounts")

        def both_work() -> bool:
            busy = production.rows(
                "SELECT DISTINCT split_part(worker, ':', 2) FROM sync_syncrecord WHERE status = 'running'"
            )
            return len(busy) == 4

        production.until(both_work, "both hosts are busy")
        hosts[0].set("down")
        cut = time.monotonic()
        production.finish()
        seconds = time.monotonic() - cut
        hosts[0].set("up")
        assert {row["status"] for row in records_of(production, "two")} == {"completed"}
        assert max(row["attempt"] for row in records_of(production, "two")) > 1
        # The host that is back works again.
        production.services["worker1"].kill9()
        del production.services["worker1"]
        production.start_sessions("accounts")
        production.finish()
        assert {row["status"] for row in records_of(production, "two")} == {"completed"}
        assert changes(production) == 0
        production.verify()
        record("Network of a worker host", "one of two hosts cut off in mid-visit", 1, seconds)
    finally:
        if production:
            production.remove()
        for link in links:
            link.close()
        for host in hosts:
            host.remove()
        subprocess.run(["ip", "addr", "del", f"{common}/32", "dev", "lo"], check=False)
