"""The servers that tests run on: how they come, and that they go."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from kombu import Connection

from engines.registry import ENGINES, how_tested
from taifish.tests import servers
from taifish.tests.brokers import Broker, RabbitMQ, Redis
from taifish.tests.watcher import processes

ROOT = Path(__file__).parents[2]
VISIT = """
import time
def test_that_never_ends(postgres18, mysql_family_server):
    for server in (mysql_family_server("mysql-sid"), mysql_family_server("mariadb-sid")):
        print("FOLDER", server.data.parent, flush=True)
    print("FOLDER", postgres18.cluster.home.parent, flush=True)
    time.sleep(600)
"""


def bring(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`make servers` on a machine without npm, apt and network."""
    return subprocess.run(
        [sys.executable, "-m", "taifish.tests.servers"],
        cwd=ROOT,
        env={"PATH": "/nonexistent", "TAIFISH_SERVERS": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    for name in (*servers.DEBIAN, *servers.PARTS, *(f"postgresql-{major}" for major in servers.POSTGRESQL_MAJORS)):
        if (servers.FOLDER / name).exists():
            (tmp_path / name).symlink_to(servers.FOLDER / name)
    there = servers.versions() | servers.part_versions()
    if "missing" in there.values():
        servers.missing("A server")
    again = bring(tmp_path, CI="true")
    assert (again.returncode, again.stderr) == (0, "")
    assert "Bringing" not in again.stdout
    for version in there.values():
        assert f"({version})" in again.stdout


def test_what_cannot_be_had_is_said_aloud_and_is_an_error_in_ci(tmp_path: Path) -> None:
    alone = bring(tmp_path)
    assert alone.returncode == 0
    assert "*** postgresql-12 is not there, and its tests are skipped: npm cannot be run" in alone.stderr
    assert "*** mysql-sid is not there, and its tests are skipped: apt-get cannot be run" in alone.stderr
    assert "MySQL of sid (missing)" in alone.stdout
    assert list(tmp_path.iterdir()) == []
    assert bring(tmp_path, CI="true").returncode == 1


@pytest.mark.parametrize("make", [partial(Redis, True), partial(Redis, False), RabbitMQ], ids=["kept", "lost", "amqp"])
def test_brokers_carry_messages_and_start_again_after_a_kill(make: Callable[[], Broker]) -> None:
    broker = make()
    try:
        broker.start()
        broker.kill9()
        assert not broker.is_ready()
        broker.start()
        with Connection(broker.url) as connection:
            queue = connection.SimpleQueue("errands")
            queue.put({"buy": "fish"})
            assert queue.get(timeout=60).payload == {"buy": "fish"}
            queue.close()
    finally:
        broker.remove()
    assert processes([str(broker.folder)]) == []


def test_servers_go_when_the_run_is_killed(tmp_path: Path) -> None:
    if not all(map(servers.unpacked, ("mysql-sid", "mariadb-sid"))):
        servers.missing("MySQL or MariaDB")
    (tmp_path / "test_visit.py").write_text(VISIT)
    plugins = [part for name in ("servers", "postgres", "mariadb") for part in ("-p", f"taifish.tests.{name}")]
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-s", "-c", os.devnull, "-p", "no:django", "-p", "no:cacheprovider"),
            *(*plugins, str(tmp_path)),
        ],
        cwd=ROOT,
        env={**os.environ, "TAIFISH_SERVERS": str(servers.FOLDER)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    with run.stdout:
        folders: list[str] = []
        while len(folders) < 3 and (line := run.stdout.readline()):
            if "FOLDER " in line:
                folders.append(line.split()[-1])
        running = processes(folders)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert len(running) >= 3
    deadline = time.monotonic() + 30
    while processes(folders) or any(Path(folder).exists() for folder in folders):
        assert time.monotonic() < deadline, processes(folders)
        time.sleep(0.05)


def test_what_is_said_to_be_how_tested_real_servers_is() -> None:
    """Versions named in the admin and docs/engines.md are those that the tests visit here."""
    found = servers.versions()
    if "missing" in found.values():
        servers.missing("A server")
    visited = {(name.split()[0], version) for name, version in found.items()}
    assert {how_tested(*server) for server in visited} == {"real"}
    page = (ROOT / "docs" / "engines.md").read_text()
    real = {product: versions for engine in ENGINES.values() for product, versions in engine.tested.items()}
    for product, versions in real.items():
        assert f"| {product} | {', '.join(versions)} |" in page
        for begin in versions:
            assert [number for name, number in visited if name == product and number.startswith(f"{begin}.")]
    assert (how_tested("MySQL", "8.0.39"), how_tested("MySQL", "9.1.0"), how_tested("Percona", "9.7")) == (
        "emulated",
        "",
        "",
    )
