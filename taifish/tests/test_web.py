"""The web server: what a page takes, and probes beside slow pages."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, AccountChange, Coverage
from instances.models import Credential, Instance
from instances.tests.pages import superstaff
from sync.models import SyncRecord, SyncSession
from taifish.tests.postgres import free_port

#: Answers pages when the file named in the environment is gone.
APPLICATION = """
import os, time
def application(environ, start_response):
    while environ["PATH_INFO"] != "/healthz" and os.path.exists(os.environ["HALT"]):
        time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture
def halted(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a server with one thread, and the file that its pages wait for."""
    halt = tmp_path / "halt"
    halt.touch()
    (tmp_path / "halting.py").write_text(APPLICATION)
    port = free_port()
    command = "gunicorn halting --worker-class taifish.web.Worker --workers 1 --threads 1 --no-control-socket"
    environment = {"HALT": str(halt), "PYTHONPATH": f"{tmp_path}:{settings.BASE_DIR}", "PATH": ""}
    server = subprocess.Popen(
        [sys.executable, "-m", *command.split(), f"--bind=127.0.0.1:{port}"],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    until = monotonic() + 30
    while monotonic() < until:
        with suppress(OSError):
            if get(port, "/healthz"):
                break
        sleep(0.05)
    yield port, halt
    halt.unlink(missing_ok=True)
    server.terminate()
    server.wait(20)


def get(port: int, path: str, timeout: float = 20) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def test_a_probe_does_not_queue_behind_pages(halted):
    """F11.1: with every thread at work on a page and others waiting, /healthz answers."""
    port, halt = halted
    seen: list[bytes] = []
    readers = [threading.Thread(target=lambda: seen.append(get(port, "/page"))) for _ in range(3)]
    for reader in readers:
        reader.start()
    sleep(0.3)
    assert [get(port, "/healthz", timeout=5) for _ in range(3)] == [b"ok"] * 3
    assert seen == []
    halt.unlink()
    for reader in readers:
        reader.join()
    assert seen == [b"ok"] * 3


def test_half_a_probe_does_not_hold_up_the_others(halted):
    port, _halt = halted
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\n")
        sleep(0.3)
        assert get(port, "/healthz", timeout=5) == b"ok"
        slow.sendall(b"Host: localhost\r\nConnection: close\r\n\r\n")
        assert slow.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.fixture
def many(db: None) -> Instance:
    """An instance with 120 accounts, each with a change."""
    credential = Credential.objects.create(name="c", username="u")
    instance = Instance.objects.create(name="pg", engine="postgresql", host="h", credential=credential)
    now = timezone.now()
    Coverage.objects.create(instance=instance, level="A", covered=[], beyond=[], since=now, read_at=now)
    rows = Account.objects.bulk_create(
        Account(instance=instance, name=f"account {n}", kind="user", can_login=True, first_seen_at=now)
        for n in range(120)
    )
    AccountChange.objects.bulk_create(AccountChange(account=row, at=now, events=["appeared"]) for row in rows)
    return instance


@pytest.mark.parametrize("model", ["account", "accountchange"])
def test_a_page_of_a_list_is_small(many, model):
    client = superstaff()
    answer = client.get(reverse(f"admin:accounts_{model}_changelist"))
    assert len(answer.context["cl"].result_list) == 50
    assert answer.content.count(b'<tr class="data-row">') == 50
    assert len(answer.content) < 250_000
    packed = client.get(reverse(f"admin:accounts_{model}_changelist"), headers={"Accept-Encoding": "gzip"})
    assert packed["Content-Encoding"] == "gzip"
    assert len(packed.content) < 40_000


def test_sessions_are_counted_for_the_page_alone(many, django_assert_num_queries):
    """The number of sessions is counted without their records, of which there are a thousand times as many."""
    session = SyncSession.objects.create(kind="accounts", trigger="manual")
    for status in ("completed", "failed"):
        other = Instance.objects.create(name=status, engine="mysql", host=status, credential=many.credential)
        SyncRecord.objects.create(session=session, instance=other, kind="accounts", status=status)
    SyncSession.objects.create(kind="capacity", trigger="manual")
    client = superstaff()
    with django_assert_num_queries(7) as captured:
        answer = client.get(reverse("admin:sync_syncsession_changelist"))
    counts = [query["sql"] for query in captured if query["sql"].startswith("SELECT COUNT(*)")]
    assert counts
    assert not any("sync_syncrecord" in sql for sql in counts)
    shown = [(row.n_total, row.n_completed, row.n_failed, row.n_running) for row in answer.context["cl"].result_list]
    assert shown == [(0, 0, 0, 0), (2, 1, 1, 0)]
