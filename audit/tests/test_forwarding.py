"""F8.2: the trail is forwarded as JSON lines, each event at least once, and none is left out."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.utils import timezone

from accounts.models import Account, AccountChange
from audit import forwarding
from audit.forwarding import ForwardError, forward
from audit.models import Event, Position
from audit.services import record
from engines.tests.impostors import identity
from instances.models import Credential, Instance
from taifish.environment import destination

HOSTILE = "a\r\nb\u202ec\x1b[2J\x7f\u2028d 中"


@pytest.fixture
def out(settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written to standard output, in pieces."""
    settings.TAIFISH_AUDIT_FORWARD = "stdout"
    written: list[str] = []

    class Out:
        def write(self, text: str) -> None:
            written.append(text)

        def flush(self) -> None:
            pass

    monkeypatch.setattr("sys.__stdout__", Out())
    return written


def documents(out: list[str]) -> list[dict[str, Any]]:
    text = "".join(out)
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    out.clear()
    return [json.loads(line) for line in text.splitlines()]


def test_lines_continue_where_they_ended(db, out, monkeypatch):
    monkeypatch.setattr(forwarding, "BATCH", 2)
    for number in range(5):
        record("login", name=f"{number}{HOSTILE}")
    assert forward() >= 5
    sent = [line for line in documents(out) if line["kind"] == "login"]
    assert [line["object"] for line in sent][-5:] == [f"{number}{HOSTILE}" for number in range(5)]
    assert sent[-1]["stream"] == "audit"
    assert forward() == 0
    record("logout", name="x")
    assert forward() == 1
    assert [line["kind"] for line in documents(out)] == ["logout"]


def test_nothing_is_sent_without_the_setting(db, settings):
    record("login", name="x")
    assert forward() == 0
    assert not Position.objects.exists()


@contextmanager
def other_session() -> Iterator[Any]:
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    other = psycopg2.connect(**parameters)
    try:
        yield other
    finally:
        other.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["audit", "account_changes"])
def test_what_commits_late_is_not_left_out(out, settings, monkeypatch, table):
    """A transaction that got a smaller id may commit after one with a greater id."""
    settings.TAIFISH_AUDIT_ACCOUNTS = True
    monkeypatch.setattr(forwarding, "TRIES", 2)
    monkeypatch.setattr(forwarding, "PAUSE", 0)
    credential = Credential.objects.create(name="c", username="u")
    instance = Instance.objects.create(name="one", engine="mysql", host="h", credential=credential)
    account = Account.objects.create(instance=instance, name="app", first_seen_at=timezone.now())
    forward()
    documents(out)
    if table == "audit":
        sql, values = "INSERT INTO audit_event (id, at, kind, door, object) VALUES (0, now(), 'login', '', %s)", []
    else:
        sql = (
            "INSERT INTO accounts_accountchange (account_id, at, events, details, baseline)"
            " VALUES (%s, now(), '{locked}', jsonb_build_object('which', %s::text), false)"
        )
        values = [account.pk]
    with other_session() as late, connection.cursor() as cursor:
        late.cursor().execute(sql, [*values, "late"])
        cursor.execute(sql, [*values, "early"])
        forward()
        assert [line for line in documents(out) if line["stream"] == table] == []
        late.commit()
    forward()
    sent = [line for line in documents(out) if line["stream"] == table]
    assert [line["object"] if table == "audit" else line["details"]["which"] for line in sent] == ["late", "early"]
    if table == "account_changes":
        assert (sent[0]["instance"], sent[0]["account"], sent[0]["events"]) == ("one", "app", ["locked"])


def test_changes_of_accounts_begin_with_what_is_new(db, out, settings):
    settings.TAIFISH_AUDIT_ACCOUNTS = True
    credential = Credential.objects.create(name="c", username="u")
    instance = Instance.objects.create(name="one", engine="mysql", host="h", credential=credential)
    account = Account.objects.create(instance=instance, name=HOSTILE, first_seen_at=timezone.now())
    AccountChange.objects.create(account=account, at=timezone.now(), events=["locked"])
    forward()
    assert [line for line in documents(out) if line["stream"] == "account_changes"] == []
    AccountChange.objects.create(account=account, at=timezone.now(), events=["unlocked"])
    forward()
    (line,) = [line for line in documents(out) if line["stream"] == "account_changes"]
    assert (line["account"], line["events"]) == (HOSTILE, ["unlocked"])


def body(message: bytes) -> dict[str, Any]:
    head, _, text = message.decode().partition(" - audit - ")
    assert head.startswith("<109>1 2")
    return json.loads(text)


def test_syslog_by_datagrams(db, settings, tmp_path):
    record("login", name=HOSTILE)
    for kind, address in ((socket.AF_UNIX, str(tmp_path / "log")), (socket.AF_INET, ("127.0.0.1", 0))):
        with socket.socket(kind, socket.SOCK_DGRAM) as server:
            server.settimeout(10)
            server.bind(address)
            where = server.getsockname()
            url = f"unix://{where}" if kind == socket.AF_UNIX else f"udp://127.0.0.1:{where[1]}"
            settings.TAIFISH_AUDIT_FORWARD = f"syslog:{url}"
            Position.objects.all().delete()
            position = Event.objects.order_by("-pk")[1].pk if Event.objects.count() > 1 else 0
            Position.objects.create(stream="audit", last_id=position)
            assert forward() == 1
            assert body(server.recv(65536))["object"] == HOSTILE


def test_syslog_by_tcp_and_again_after_a_failure(db, settings):
    """Lines that were not taken are sent again."""
    record("login", name=HOSTILE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.TAIFISH_AUDIT_FORWARD = f"syslog:tcp://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ForwardError, match="does not take the audit trail"):
        forward()
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.TAIFISH_AUDIT_FORWARD = f"syslog:tcp://127.0.0.1:{server.getsockname()[1]}"
        received, count = forwarded_to(server)
    assert len(received) == count
    assert body(received[-1])["object"] == HOSTILE


def test_syslog_by_tls_goes_to_a_proven_server_only(db, settings, tmp_path, monkeypatch):
    record("login", name=HOSTILE)
    for trusted in (False, True):
        shown = identity(tmp_path, f"log{trusted}")
        monkeypatch.setenv("SSL_CERT_FILE", str(shown.certificate if trusted else tmp_path / "nobody.pem"))
        with shown.context().wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as server:
            settings.TAIFISH_AUDIT_FORWARD = f"syslog:tls://localhost:{server.getsockname()[1]}"
            received, count = forwarded_to(server)
        assert len(received) == count
        assert bool(count) is trusted
    assert body(received[-1])["object"] == HOSTILE


def test_a_receiver_by_tls_that_reads_late_loses_nothing(db, settings, tmp_path, monkeypatch):
    for _ in range(50):
        record("login", name=HOSTILE)
    monkeypatch.setattr(forwarding, "TIMEOUT", 3)
    shown = identity(tmp_path, "late")
    monkeypatch.setenv("SSL_CERT_FILE", str(shown.certificate))
    is_sent = threading.Event()
    with shown.context().wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as server:
        settings.TAIFISH_AUDIT_FORWARD = f"syslog:tls://localhost:{server.getsockname()[1]}"
        received, count = forwarded_to(server, is_sent)
    assert len(received) == count >= 50


def forwarded_to(server: socket.socket, sent: threading.Event | None = None) -> tuple[list[bytes], int]:
    """The messages of one connection, read after `sent`, and the number that `forward` tells; 0 if it was refused."""
    received: list[bytes] = []

    def serve() -> None:
        # A peer that does not trust the certificate ends the handshake.
        with suppress(OSError):
            peer, _ = server.accept()
            if sent:
                sent.wait(10)
            with peer, peer.makefile("rb") as stream:
                while length := b"".join(iter(lambda: stream.read(1).strip(), b"")):
                    received.append(stream.read(int(length)))

    thread = threading.Thread(target=serve)
    thread.start()
    count = 0
    with suppress(ForwardError):
        count = forward()
    if sent:
        sent.set()
    thread.join(10)
    return received, count


@pytest.mark.parametrize("value", ["syslog", "file:///x", "syslog:udp://", "syslog:http://x", "syslog:unix://log"])
def test_a_wrong_setting_says_what_to_do(monkeypatch, value):
    monkeypatch.setenv("TAIFISH_AUDIT_FORWARD", value)
    with pytest.raises(ImproperlyConfigured, match="set it to stdout, syslog:tls"):
        destination("TAIFISH_AUDIT_FORWARD")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "stdout",
        "syslog:udp://log.example:514",
        "syslog:tcp://[2001:db8::1]:601",
        "syslog:tls://log.example",
        "syslog:unix:///dev/log",
    ],
)
def test_right_settings(monkeypatch, value):
    monkeypatch.setenv("TAIFISH_AUDIT_FORWARD", value)
    assert destination("TAIFISH_AUDIT_FORWARD") == value
