"""A fleet's unchanged account visits: by workers as they are deployed, to real servers.

Each instance has 57 accounts, is read at depth A, and has been read before: all are one PostgreSQL under as many
addresses, so that no host is visited by more than one worker. Workers, server, store and broker share the machine. The
start is not spread, and nothing follows the visits. `wan_*` are visits through a proxy that delays each round trip by
20 ms. Seconds are those from the start of the session to its end.

`*_ms` is the processor time of an account visit by who used it: worker, visited server (`target`), store, broker, and
all of them (`visit_ms`). `capacity_*` are visits of the other kind. The
broker is Redis where it is there (`redis-server`, or that in the folder of the tests' servers), else a folder.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ground import ROOT, beside, quick, report, store

#: Processes of a worker on this machine, and with the delay.
CONCURRENCY, WAN_CONCURRENCY = 4, 16
#: Seconds that a packet takes each way.
DELAY = 0.01

ROLES = """
DO $$ BEGIN
    FOR n IN 1..6 LOOP EXECUTE format('CREATE ROLE team%s', n); END LOOP;
    FOR n IN 1..33 LOOP
        EXECUTE format('CREATE ROLE u%s LOGIN IN ROLE team%s', n, 1 + n % 6);
        EXECUTE format('GRANT CREATE, CONNECT, TEMPORARY ON DATABASE postgres TO u%s', n);
    END LOOP;
END $$
"""
#: What the first visit of one instance stored, for all others.
COPIED = """
INSERT INTO accounts_account ({accounts}, instance_id)
SELECT {a.accounts}, i.id FROM accounts_account a, instances_instance i
 WHERE a.instance_id = {first} AND i.id <> {first};
CREATE TEMPORARY TABLE twin AS
SELECT a.id AS source, b.id AS twin, b.instance_id AS instance
  FROM accounts_account a JOIN accounts_account b USING (name, host)
 WHERE a.instance_id = {first} AND b.instance_id <> {first};
CREATE INDEX ON twin (source, instance);
ANALYZE twin;
INSERT INTO accounts_grant ({grants}, account_id)
SELECT {a.grants}, t.twin FROM accounts_grant a JOIN twin t ON t.source = a.account_id;
INSERT INTO accounts_membership ({memberships}, member_id, role_id)
SELECT {a.memberships}, m.twin, r.twin FROM accounts_membership a JOIN twin m ON m.source = a.member_id
  JOIN twin r ON r.source = a.role_id AND r.instance = m.instance;
INSERT INTO accounts_rolereach ({reaches}, member_id, role_id, via_id)
SELECT {a.reaches}, m.twin, r.twin, v.twin FROM accounts_rolereach a JOIN twin m ON m.source = a.member_id
  JOIN twin r ON r.source = a.role_id AND r.instance = m.instance
  JOIN twin v ON v.source = a.via_id AND v.instance = m.instance;
INSERT INTO accounts_coverage ({coverage}, instance_id)
SELECT {a.coverage}, i.id FROM accounts_coverage a, instances_instance i
 WHERE a.instance_id = {first} AND i.id <> {first};
UPDATE instances_instance i SET product = f.product, version = f.version
  FROM instances_instance f WHERE f.id = {first};
"""


def copy_everywhere(first: int) -> None:
    from django.db import connection

    tables = {
        "accounts": ("accounts_account", "instance_id"),
        "grants": ("accounts_grant", "account_id"),
        "memberships": ("accounts_membership", "member_id role_id"),
        "reaches": ("accounts_rolereach", "member_id role_id via_id"),
        "coverage": ("accounts_coverage", "instance_id"),
    }
    sql = COPIED.replace("{first}", str(first))
    with connection.cursor() as cursor:
        for name, (table, keys) in tables.items():
            columns = [f'"{column.name}"' for column in connection.introspection.get_table_description(cursor, table)]
            kept = [column for column in columns if column.strip('"') not in {"id", *keys.split()}]
            sql = sql.replace(f"{{{name}}}", ", ".join(kept))
            sql = sql.replace(f"{{a.{name}}}", ", ".join(f"a.{column}" for column in kept))
        cursor.execute("SET session_replication_role = replica;" + sql + "SET session_replication_role = origin")
        cursor.execute("VACUUM ANALYZE")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def broker() -> Iterator[tuple[str, int]]:
    """The address of a broker, and its process; "" and 0: the folder that is the default."""
    found = shutil.which("redis-server") or shutil.which(
        "redis-server", path=Path(os.environ.get("TAIFISH_SERVERS") or ROOT / ".servers") / "redis" / "bin"
    )
    if not found:
        yield "", 0
        return
    port = free_port()
    command = [found, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0", redis.pid
    finally:
        redis.terminate()
        redis.wait()


@contextmanager
def process(*arguments: object) -> Iterator[int]:
    """This file as a process that says when it is ready."""
    running = subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        while (line := running.stdout.readline().strip()) != "ready":
            assert running.poll() is None, line
        yield running.pid
    finally:
        running.terminate()
        running.wait()


def work(concurrency: int) -> None:
    """A worker that starts no classification or aggregation after visits."""
    sys.argv[0] = "celery"
    sys.path.insert(0, str(ROOT))
    import django
    from celery import signals

    from taifish.celery import app

    django.setup()
    from sync.registry import KINDS

    for kind in KINDS.values():
        kind.follow_ups.clear()
    signals.worker_ready.connect(lambda **_: print("ready", flush=True), weak=False)
    options = "--without-gossip --without-mingle --without-heartbeat --loglevel=WARNING"
    app.worker_main(["worker", f"--concurrency={concurrency}", *options.split(), f"--hostname=bench-{os.getpid()}@%h"])


def delay(port: int, to: int) -> None:
    """A proxy: what arrives goes on after DELAY, in its order."""

    async def passed_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while data := await source.read(65536):
            last = loop.time() + DELAY
            loop.call_at(last, target.write, data)
        await asyncio.sleep(max(0, last - loop.time()) + 0.001)
        target.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The handshake of TCP is a round trip too.
        await asyncio.sleep(2 * DELAY)
        there, back = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(passed_on(reader, back), passed_on(there, writer), return_exceptions=True)

    async def serve() -> None:
        server = await asyncio.start_server(connected, "0.0.0.0", port, backlog=512)
        print("ready", flush=True)
        await server.serve_forever()

    asyncio.run(serve())


def megabytes(pid: int, what: str = "Pss") -> float:
    """The memory of a process; of "Pss", pages that processes share count as parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{what}:"))
    return int(found.split()[1]) * 1024 / 1e6


def visited(kind: str, rows: Any) -> float:
    """Seconds of a session with these instances."""
    from sync import services
    from sync.models import SyncRecord

    began = time.monotonic()
    session = services.start(kind, rows, trigger="command")
    while session.status == "running":
        time.sleep(0.1)
        session.refresh_from_db()
        assert time.monotonic() - began < 3600
    took = time.monotonic() - began
    wrong = SyncRecord.objects.filter(session=session).exclude(status="completed")
    assert not wrong.exists(), (wrong.count(), wrong.first().error)
    return took


def measure(server: Any, redis: int, fleet: int, distant: int, sized: int) -> dict[str, Any]:
    """Of so many instances, so many of them behind the delay, and so many visited for their sizes."""
    from django.conf import settings

    from accounts.models import Account
    from instances.models import Credential, Instance
    from sync import services
    from sync.models import SyncRecord
    from sync.registry import KINDS
    from taifish import embedded

    for kind in KINDS.values():
        kind.follow_ups.clear()
    web = beside("web")
    server.execute(ROLES)
    target = server.collector(level="A")
    far = free_port()
    credential = Credential.objects.create(name="bench", username=target.username, password=target.password)

    def instance(number: int, name: str, port: int) -> Instance:
        host = f"127.0.{1 + number // 250}.{1 + number % 250}"
        values = {"engine": "postgresql", "host": host, "port": port, "level": "A", "credential": credential}
        return Instance(name=name, **values)

    Instance.objects.bulk_create(instance(n, f"near {n}", target.port) for n in range(fleet))
    Instance.objects.bulk_create(instance(n, f"far {n}", far) for n in range(distant))
    near, wan = (Instance.objects.filter(name__startswith=name) for name in ("near", "far"))
    first = near.order_by("pk")[0]
    services.run_here(services.start("accounts", near.filter(pk=first.pk), trigger="command", enqueue=False))
    copy_everywhere(first.pk)
    postmaster = int((embedded.store(settings.TAIFISH_DATA_DIR).data / "postmaster.pid").read_text().split()[0])
    visited_server = int((server.cluster.data / "postmaster.pid").read_text().split()[0])
    figures: dict[str, Any] = {"accounts": Account.objects.filter(instance=first).count(), "instances": fleet}

    def used(worker: int) -> dict[str, float]:
        groups = {"target": visited_server, "store": postmaster, "broker": redis}
        groups |= {"worker": worker}
        return {name: web.processor_seconds(pid) if pid else 0.0 for name, pid in groups.items()}

    with process("--work", CONCURRENCY) as worker:
        # Each process of the pool has made visits.
        visited("accounts", near.filter(pk__in=list(near.values_list("pk", flat=True)[:40])))
        before = used(worker)
        figures["fleet_s"] = visited("accounts", near)
        after = used(worker)
        figures |= {f"{name}_ms": 1000 * (after[name] - before[name]) / fleet for name in before}
        figures["visit_ms"] = sum(figures[f"{name}_ms"] for name in before)
        some = near.filter(pk__in=list(near.values_list("pk", flat=True)[:sized]))
        visited("capacity", some)
        before = used(worker)
        figures["capacity_s"] = visited("capacity", some)
        figures["capacity_ms"] = 1000 * (sum(used(worker).values()) - sum(before.values())) / sized
    with process("--delay", far, target.port), process("--work", WAN_CONCURRENCY) as worker:
        figures["wan_s"] = visited("accounts", wan)
        pool = [megabytes(pid) for pid in web.processes_of(worker) if pid != worker]
        resident = [megabytes(pid, "Rss") for pid in web.processes_of(worker) if pid != worker]
        figures |= {"wan_worker_mb": sum(pool) + megabytes(worker), "wan_child_mb": max(resident)}
    unchanged = SyncRecord.objects.filter(kind="accounts", session__gt=1)
    assert not unchanged.exclude(summary__changed=0, summary__granted=0).exists()
    return figures | {"load": os.getloadavg()[0], "processors": os.cpu_count()}


def main() -> None:
    small = quick()
    with ExitStack() as stack:
        address, redis = stack.enter_context(broker())
        chosen = {"CELERY_BROKER_URL": address} if address else {}
        stack.enter_context(store(TAIFISH_START_SPREAD="0", **chosen))
        from taifish.tests.postgres import PostgresServer

        server = PostgresServer(18, listen_addresses="*", max_connections="100")
        stack.callback(server.remove)
        server.start()
        figures = measure(server, redis, *((100, 60, 40) if small else (10_000, 1000, 270))) | {
            "broker": address.partition(":")[0] or "folder"
        }
    targets = {"fleet_s": ("<=", 300.0), "wan_s": ("<=", 60.0)}
    report("fleet", figures, {} if small else targets)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(int(sys.argv[2]))
    elif sys.argv[1:2] == ["--delay"]:
        delay(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
