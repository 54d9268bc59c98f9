"""Rules, channels, and a service on this machine that takes what is posted to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps

from alerts import sending
from alerts.models import AlertRule, Channel
from instances.models import Credential, Instance
from taifish.environment import allowed

GIB = 1024**3


@dataclass
class Service:
    """What was posted (path, headers, body), and how it answers: a status and a body, or not at all while it `hangs`."""

    url: str = ""
    posted: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    status: int = 200
    answer: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    go_on: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def service() -> Iterator[Service]:
    it = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            it.posted.append((self.path, dict(self.headers), json.loads(body)))
            if it.hangs:
                it.go_on.wait(10)
                return
            self.send_response(it.status)
            for name, value in it.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(it.answer.encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield it
    it.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def local_services(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Channels may reach this machine, without TLS too."""
    monkeypatch.setenv("TAIFISH_WEBHOOK_ALLOW", "127.0.0.0/8, localhost, nowhere.invalid")
    settings.TAIFISH_WEBHOOK_ALLOW = allowed("TAIFISH_WEBHOOK_ALLOW")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services may be silent for less long."""
    monkeypatch.setattr(sending, "TIMEOUT", 1)


@pytest.fixture
def make_channel(db: None) -> Callable[..., Channel]:
    def make(kind: str = "webhook", url: str = "", secret: str = "", **fields: object) -> Channel:
        channel = Channel(**{"name": f"{kind} {Channel.objects.count()}", "kind": kind} | fields)
        channel.url, channel.secret = url, secret
        channel.full_clean()
        channel.save()
        return channel

    return make


@pytest.fixture
def first_rules(db: None) -> None:
    """The rules that the migrations install, which an earlier test may have deleted."""
    for migration in (
        "0002_first_rules",
        "0003_two_more_kinds",
        "0004_moved",
        "0005_inbox",
        "0006_reviews",
        "0007_duties",
    ):
        import_module(f"alerts.migrations.{migration}").install(apps, None)


@pytest.fixture
def make_rule(db: None) -> Callable[..., AlertRule]:
    """An active rule."""

    def make(kind: str, *channels: Channel, **fields: object) -> AlertRule:
        rule = AlertRule(**{"name": f"rule {AlertRule.objects.count()}", "kind": kind, "active": True} | fields)
        rule.full_clean()
        rule.save()
        rule.channels.set(channels)
        return rule

    return make


@pytest.fixture
def make_instance(db: None) -> Callable[..., Instance]:
    def make(name: str, **fields: object) -> Instance:
        credential, _ = Credential.objects.get_or_create(name="c", defaults={"username": "u"})
        values = {"engine": "postgresql", "host": name, "credential": credential} | fields
        return Instance.objects.create(name=name, **values)

    return make
