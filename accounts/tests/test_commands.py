"""`manage.py sync_accounts`, on real servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Account
from sync.models import SyncSession
from tagging.models import InstanceTag, Tag
from taifish.tests.postgres import free_port


def run(*arguments: str) -> tuple[int, str]:
    """The exit code and what was printed; a wrong call prints its complaint."""
    out = StringIO()
    try:
        call_command("sync_accounts", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    raise AssertionError("sync_accounts did not set its exit code")


@pytest.fixture
def closed_port() -> int:
    """A port that refuses connections."""
    return free_port()


def test_everything_read_exits_0(add, server):
    add("prod", server.collector())
    server.execute("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app")
    code, told = run("prod")
    assert code == 0, told
    first, last = told.splitlines()
    assert first.startswith("prod: completed; ")
    assert "accounts; " in first
    assert "granted" in first
    session = SyncSession.objects.get(kind="accounts")
    assert last == f"accounts #{session.pk}: completed; 1 completed of 1"
    assert (session.trigger, session.requested_by) == ("command", None)
    app = Account.objects.get(instance__name="prod", name="app")
    assert "CREATE on database postgres" in {str(grant) for grant in app.grants.all()}


def test_a_mariadb_or_mysql_server_too(add, mysql_family):
    add("maria", mysql_family.collector())
    code, told = run("--all")
    assert (code, told.startswith("maria: completed; ")) == (0, True), told
    assert Account.objects.filter(instance__name="maria", name="root").exists()


def test_json_is_one_document(add, server, closed_port):
    add("prod", server.collector())
    add("dead", port=closed_port)
    code, told = run("--all", "--json")
    document = json.loads(told)
    assert (code, document["status"], document["counts"]) == (3, "partial", {"completed": 1, "failed": 1})
    assert document["session"] == SyncSession.objects.get(kind="accounts").pk
    dead, prod = document["records"]
    assert (dead["instance"], dead["status"], dead["error_code"]) == ("dead", "failed", "unreachable")
    assert dead["error"]
    assert dead["hint"]
    assert (prod["status"], prod["gaps"], prod["error"]) == ("completed", [], "")
    assert prod["summary"]["accounts"] == Account.objects.count()


def test_some_failed_exits_3_and_all_failed_1(add, server, closed_port):
    add("prod", server.collector())
    add("dead", port=closed_port)
    code, told = run("dead", "prod")
    assert code == 3
    assert told.splitlines()[0].startswith("dead: failed; unreachable: ")
    assert told.splitlines()[2].endswith("partial; 1 failed, 1 completed of 2")
    code, told = run("dead")
    assert (code, len(told.splitlines())) == (1, 2)


def test_a_retry_is_made_where_it_may_help(add, closed_port, settings):
    settings.TAIFISH_RETRY_DELAY = 0.1
    add("dead", port=closed_port)
    assert run("dead")[0] == 1
    assert SyncSession.objects.latest("pk").records.get().attempt == 1
    assert run("dead", "--retries", "2")[0] == 1
    assert SyncSession.objects.latest("pk").records.get().attempt == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Select instances"),
        (["prod", "--all"], "Select instances"),
        (["--tag", "lab", "--all"], "Select instances"),
        (["prod", "nope", "old"], "'nope' is unknown, 'old' is retired."),
        (["--tag", "nope"], "No active instance has the tag 'nope'."),
        (["--tag", ""], "No active instance has the tag ''."),
        (["prod", "--retries", "-1"], "a whole number from 0"),
        (["prod", "--confirm-shrink"], "nothing to confirm"),
    ],
)
def test_a_wrong_call_exits_2_and_visits_nothing(add, arguments, told):
    add("prod")
    add("old").retire()
    code, complaint = run(*arguments)
    assert (code, told in complaint) == (2, True), complaint
    assert not SyncSession.objects.exists()


def test_a_tag_chooses(add, server):
    add("other")
    InstanceTag.objects.create(
        instance=add("prod", server.collector()), tag=Tag.objects.create(slug="lab", label="Lab")
    )
    code, told = run("--tag", "lab")
    assert (code, told.splitlines()[-1].endswith("1 completed of 1")) == (0, True), told


def test_a_shrink_is_confirmed_once_and_no_further(add, server):
    """F1.6: an implausible shrink is held; what a person confirms is what was held, not whatever comes next."""
    add("prod", server.collector())
    for number in range(24):
        server.execute(f"CREATE ROLE app{number:02} LOGIN")
    assert run("prod")[0] == 0
    for number in range(14):
        server.execute(f"DROP ROLE app{number:02}")
    code, told = run("prod")
    assert (code, "suspicious_shrink: 14 of 26 accounts" in told) == (1, True), told
    assert "would end" in told
    assert not Account.objects.exclude(gone_at=None).exists()
    for number in range(14, 16):
        server.execute(f"DROP ROLE app{number:02}")
    code, told = run("prod", "--confirm-shrink")
    assert (code, "suspicious_shrink: 16 of 26 accounts" in told) == (1, True), told
    code, told = run("prod", "--confirm-shrink")
    assert (code, "16 disappeared" in told) == (0, True), told
    assert Account.objects.exclude(gone_at=None).count() == 16
    code, told = run("prod", "--confirm-shrink")
    assert (code, "nothing to confirm" in told) == (2, True)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """It listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield listener


def test_an_interrupt_cancels_the_session(add, silent):
    """F1.11: cancel stops pending visits at once and running ones soon."""
    for number in range(6):
        add(f"silent{number}", port=silent.getsockname()[1], connect_timeout=2)
    visits = []

    def interrupt() -> None:
        """Once the first visit has begun."""
        visits.append(silent.accept())
        os.kill(os.getpid(), signal.SIGINT)

    # A process that runs tests for another ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        code, told = run("--all")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    session = SyncSession.objects.get(kind="accounts")
    assert (session.status, session.finished_at is not None) == ("cancelled", True)
    assert not session.records.filter(status__in=["pending", "running"]).exists()
    assert "cancelled; " in told.splitlines()[-1]
    assert told.splitlines()[-1].endswith(" of 6")
