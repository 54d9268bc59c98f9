"""Workers and beat that start before their store or broker wait for it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection

from sync.tests.workers import Workers
from taifish.tests.postgres import free_port
from taifish.tests.servers import FOLDER

REDIS = FOLDER / "redis" / "bin" / "redis-server"
PROGRAMS = {"worker": "worker --concurrency=1 --pidfile= --without-gossip --without-mingle", "beat": "beat --pidfile="}
#: What each logs when it is at work.
AT_WORK = {"worker": " ready.", "beat": "this beat leads now"}


@pytest.fixture
def absent_store() -> Iterator[tuple[str, Path]]:
    """A URL of the test's store, where nothing answers until the socket's link is made; and that link."""
    store = connection.settings_dict
    folder = Path(tempfile.mkdtemp(prefix="taifish-test-", dir="/tmp"))
    link = folder / f".s.PGSQL.{store['PORT']}"
    link.with_name("real").symlink_to(Path(store["HOST"]) / link.name)
    yield f"postgresql://{store['USER']}@{quote(str(folder), safe='')}:{store['PORT']}/{store['NAME']}", link
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_store_that_is_down_is_waited_for(name, workers: Workers, absent_store):
    """F11.1: with one line in the log, and no exit."""
    url, link = absent_store
    program = workers.celery(PROGRAMS[name], DATABASE_URL=url)
    workers.until(lambda: "waiting: the store does not answer" in program.said, "it waits")
    # Longer than two more attempts.
    with pytest.raises(subprocess.TimeoutExpired):
        program.process.wait(4)
    link.with_name("real").rename(link)
    workers.until(lambda: AT_WORK[name] in program.said, "it is at work")
    assert program.said.count("waiting:") == 1
    assert program.said.count("the store is ready now") == 1
    assert "Traceback" not in program.said


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_broker_that_is_down_is_waited_for(name, workers: Workers, tmp_path):
    """F11.1"""
    if not REDIS.exists():
        pytest.skip(f"A BROKER THAT IS DOWN WAS NOT TESTED: {REDIS} is not there")
    port = free_port()
    program = workers.celery(PROGRAMS[name], CELERY_BROKER_URL=f"redis://:hidden@127.0.0.1:{port}/0")
    workers.until(lambda: "waiting: the broker redis://" in program.said, "it waits")
    with pytest.raises(subprocess.TimeoutExpired):
        program.process.wait(4)
    options = f"--port {port} --bind 127.0.0.1 --requirepass hidden --save".split()
    with subprocess.Popen([REDIS, *options, ""], cwd=tmp_path, stdout=subprocess.DEVNULL) as redis:
        try:
            workers.until(lambda: AT_WORK[name] in program.said, "it is at work")
            assert program.said.count("waiting:") == 1
            assert "Traceback" not in program.said
            assert "hidden" not in program.said
        finally:
            workers.end()
            redis.kill()
