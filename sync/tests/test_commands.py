"""Commands after commands that died: real processes, on real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command

from accounts.models import Account
from instances.models import Credential, Instance
from sync import services
from sync.models import SyncRecord, SyncSession
from sync.tests.workers import Proxy, Workers, empty_queue

INSTANCES = 6


def run(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    with pytest.raises(SystemExit) as stop:
        call_command("sync_accounts", *arguments, stdout=out)
    return stop.value.code, out.getvalue()


@pytest.fixture
def fleet(postgres18, transactional_db, proxy_to) -> Iterator[Proxy]:
    """Instances of one server, behind a proxy. No worker runs."""
    postgres18.reset()
    proxy = proxy_to(postgres18.cluster.port)
    target = postgres18.collector()
    credential = Credential.objects.create(name="c", username=target.username, password=target.password)
    for n in range(INSTANCES):
        Instance.objects.create(
            name=f"db{n}",
            engine="postgresql",
            host="127.0.0.1",
            port=proxy.port,
            tls_mode="disable",
            level="A",
            credential=credential,
        )
    empty_queue()
    yield proxy
    empty_queue()
    postgres18.reset()


def killed_command(workers: Workers, proxy: Proxy) -> SyncSession:
    """`sync_accounts --all`, killed with SIGKILL while it reads two instances."""
    proxy.halt("permissions")
    environment = workers.environment(TAIFISH_VISITS_PER_HOST="2")
    command = [sys.executable, "manage.py", "sync_accounts", "--all"]
    with subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stderr=subprocess.DEVNULL) as process:
        workers.until(lambda: proxy.halted == 2, "two visits are halted")
        process.kill()
    proxy.go_on()
    left = SyncRecord.objects.values_list("status", flat=True)
    assert sorted(left) == ["pending"] * (INSTANCES - 2) + ["running"] * 2
    return SyncSession.objects.get()


def test_a_command_completes_what_a_killed_one_left(fleet, workers, caplog):
    """F1.2: the records of a command that died are reaped, run and reported, with no worker there; until their lease is
    over the next command says who holds them."""
    dead = killed_command(workers, fleet)
    holder = SyncRecord.objects.filter(status="running")[0].worker
    code, told = run("--all")
    assert code == 0, told
    *lines, last = told.splitlines()
    assert sorted(line.partition("; ")[0] for line in lines) == [f"db{n}: completed" for n in range(INSTANCES)]
    session = SyncSession.objects.latest("pk")
    assert last == (
        f"{session}: completed; {INSTANCES} completed of {INSTANCES}; {INSTANCES - 2} of them in session {dead.pk}"
    )
    assert any(f"session {dead.pk}: worker {holder} runs it" in record.getMessage() for record in caplog.records), (
        caplog.text
    )
    assert Account.objects.values("instance").distinct().count() == INSTANCES


def test_the_next_command_runs_a_session_of_which_everything_is_pending(fleet, workers):
    """The next command after all leases are over finds all records pending: it runs them, and its own session, of
    which nothing was visited, is not completed."""
    dead = killed_command(workers, fleet)
    # Each lease ends at its own moment.
    lost = []
    workers.until(lambda: lost.append(services.reap()["lost"]) or sum(lost) == 2, "the leases are over")
    code, told = run("--all", "--json")
    document = json.loads(told)
    assert (code, document["status"], document["counts"]) == (0, "skipped", {"completed": INSTANCES})
    assert {record["session"] for record in document["records"]} == {dead.pk}
    dead.refresh_from_db()
    assert dead.status == "completed"


def test_a_command_reports_how_visits_in_other_sessions_ended(fleet):
    """Visits that are pending elsewhere and fail are failures of the command that waited for them."""
    Instance.objects.filter(name="db0").update(port=1)
    pending = services.start("accounts", Instance.objects.all(), trigger="schedule", enqueue=False, attempts=1)
    code, told = run("--all")
    assert code == 3, told
    assert any(line.startswith("db0: failed; unreachable: ") for line in told.splitlines())
    assert told.splitlines()[-1].endswith(
        f": skipped; 1 failed, {INSTANCES - 1} completed of {INSTANCES}; {INSTANCES} of them in session {pending.pk}"
    )


def test_an_interrupted_command_cancels_only_its_own_session(fleet, workers):
    """F1.11: the visits of another session, which it was running, stay in that session."""
    pending = services.start("accounts", Instance.objects.all(), trigger="schedule", enqueue=False)
    fleet.halt("inventory")

    def interrupt() -> None:
        workers.until(lambda: fleet.halted, "a visit is halted")
        os.kill(os.getpid(), signal.SIGINT)
        fleet.go_on()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        code, _ = run("--all")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    pending.refresh_from_db()
    assert pending.cancel_requested_at is None
    assert "cancelled" not in pending.records.values_list("status", flat=True)
