"""A password goes through every door and every failure, and is then looked for wherever anybody could read."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import logging
import os
import re
import secrets
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from io import StringIO
from pathlib import Path
from unittest import mock
from urllib.parse import quote, quote_plus

import pytest
from celery import current_app
from cryptography.fernet import Fernet
from django import forms
from django.apps import apps
from django.conf import settings as configured
from django.contrib import admin
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client, override_settings
from django.urls import reverse
from rest_framework.throttling import UserRateThrottle

from alerts import services as alerts
from engines.target import Target
from instances.models import Credential, Instance
from instances.tests.api import superclient
from sync import services
from sync.models import SyncRecord, SyncSession
from sync.tests.workers import Proxy, Workers
from taifish import embedded
from taifish.api import router
from taifish.tests.postgres import free_port
from work.http import Allowed

#: Rows of each model whose admin pages are opened; of those that tell of visits, one for each way they may go here.
SEEN_ROWS, SEEN_VISITS = 2, 6


class Secret:
    """A password that every kind of writing changes, but for its core, which nothing else in the world contains."""

    def __init__(self) -> None:
        self.core = secrets.token_hex(12)
        self.text = f"""P"w'\\%é+/<&{self.core}"""
        self.forms = {
            "as it is": self.text.encode(),
            "its core": self.core.encode(),
            "percent-encoded": quote(self.text, safe="").encode(),
            "percent-encoded, slashes kept": quote(self.text).encode(),
            "form-encoded": quote_plus(self.text).encode(),
            "in JSON": json.dumps(self.text)[1:-1].encode(),
            "in JSON, not ASCII": json.dumps(self.text, ensure_ascii=False)[1:-1].encode(),
            "in Python": repr(self.text)[1:-1].encode(),
            "in HTML": html.escape(self.text).encode(),
            "in hexadecimal": self.core.encode().hex().encode(),
            "in UTF-16": self.core.encode("utf-16-le"),
        }
        # What base64 makes of it depends on where in a group of three bytes it begins.
        for before in range(3):
            data = b"\0" * before + self.core.encode()
            whole = base64.b64encode(data)[: len(data) // 3 * 4]
            self.forms[f"in base64, {before} bytes after"] = whole[(0, 2, 3)[before] :]

    def __repr__(self) -> str:
        return "<a secret>"


Places = dict[str, bytes]


def leaks(places: Places, *looked_for: Secret) -> list[str]:
    """Where a secret was found, and in what form; never what it is."""
    return sorted(
        f"{place}: {form}"
        for place, content in places.items()
        for secret in looked_for
        for form, needle in secret.forms.items()
        if needle in content
    )


# Where people and programs may look


def files(folder: Path) -> Places:
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                found[f"file {path.relative_to(folder)}"] = path.read_bytes()
    return found


def dump() -> Places:
    """The whole store, by pg_dump and by dumpdata, and what it says of itself."""
    store = connection.settings_dict
    found = subprocess.run(
        [
            *(embedded.binaries() / "pg_dump", "-h", store["HOST"], "-p", str(store["PORT"]), "-U", store["USER"]),
            store["NAME"],
        ],
        capture_output=True,
        check=True,
    )
    assert b"COPY public.instances_credential" in found.stdout
    out = StringIO()
    call_command("dumpdata", stdout=out)
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(string_agg(query, E'\\n'), '') FROM pg_stat_activity")
        activity = cursor.fetchone()[0]
    log = embedded.store(configured.TAIFISH_DATA_DIR).log.read_bytes()
    return {
        "pg_dump": found.stdout,
        "dumpdata": out.getvalue().encode(),
        "pg_stat_activity": activity.encode(),
        "log of the store": log,
    }


def processes(*mine: int) -> Places:
    """The command line of everybody, and the environment of these."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found[f"command line {folder.name}"] = (folder / "cmdline").read_bytes()
    for pid in (*mine, os.getpid()):
        found[f"environment {pid}"] = Path(f"/proc/{pid}/environ").read_bytes()
    return found


@mock.patch.dict(UserRateThrottle.THROTTLE_RATES, user=None)
def endpoints() -> Places:
    """What every GET and OPTIONS of the API answers, the schema included."""
    client = superclient()
    found: Places = {}

    def get(path: str, method: str = "get") -> object:
        answer = getattr(client, method)(path)
        # 400: it wants to be asked something.
        assert answer.status_code in (200, 400), f"{path}: {answer.status_code}"
        found[f"{method} {path}"] = answer.content + repr(answer.headers).encode()
        return answer

    def ids(path: str) -> list[int]:
        rows = get(f"{path}?page_size=1000").json().get("results", [])
        return [row["id"] for row in rows if "id" in row]

    get("/api/")
    get("/healthz")
    get("/api/schema/")
    get("/api/schema/?format=json")
    for prefix, viewset, _ in router.registry:
        parent = re.fullmatch(r"([^(]+)\(\?P<\w+>[^)]*\)(/.*)", prefix)
        lists = [f"{parent[1]}{pk}{parent[2]}" for pk in ids(f"/api/{parent[1]}")] if parent else [prefix]
        for name in lists:
            rows = ids(f"/api/{name}/")
            get(f"/api/{name}/", "options")
            for pk in rows if hasattr(viewset, "retrieve") else []:
                get(f"/api/{name}/{pk}/")
    return found


def admin_pages(secret: Secret) -> tuple[Places, list[str]]:
    """Every page of every registered model: lists, forms (a refused one with the secret typed in), exports …

    And those that fell over, which are looked through like the others.
    """
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser(f"s{secrets.token_hex(4)}"))
    found: Places = {}
    broken = []

    def keep(path: str, answer: object) -> object:
        if answer.status_code >= 500:
            broken.append(f"{path}: {getattr(answer, 'exc_info', '')}")
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        found[f"{answer.request['REQUEST_METHOD']} {path}"] = content + repr(answer.headers).encode()
        return answer

    keep("/admin/", client.get("/admin/"))
    for model, pages in admin.site._registry.items():
        limit = SEEN_VISITS if model._meta.app_label in ("instances", "sync") else SEEN_ROWS
        rows = list(model._default_manager.order_by("pk").values_list("pk", flat=True)[:limit])
        for pattern in pages.get_urls():
            wanted = set(getattr(pattern.pattern, "converters", {}))
            if not pattern.name or wanted - {"object_id"}:
                continue
            for pk in rows if wanted else [None]:
                path = reverse(f"admin:{pattern.name}", args=[pk] if wanted else [])
                answer = keep(path, client.get(path, follow=True))
                form = _form(answer)
                if form is None:
                    continue
                typed = {name: secret.text for name in form.fields if name.startswith(("password", "url", "secret"))}
                if typed:
                    keep(path, client.post(path, typed))
                if pattern.name.endswith("_export"):
                    answer = keep(path, client.post(path, _filled(form)))
                    assert "attachment" in answer.headers.get("Content-Disposition", ""), path
    return found, broken


def _form(answer: object) -> forms.BaseForm | None:
    context = answer.context or {}
    if "adminform" in context:
        return context["adminform"].form
    return context.get("form")


def _filled(form: forms.BaseForm) -> dict[str, object]:
    """What a person sends who ticks every box and takes the first of each choice."""
    return {
        name: True
        if isinstance(field, forms.BooleanField)
        else next((str(value) for value, _ in getattr(field, "choices", []) if str(value) != ""), field.initial or "")
        for name, field in form.fields.items()
    }


# Doors and failures


@contextlib.contextmanager
def liar() -> Iterator[int]:
    """A server that asks for the password in clear, and quotes it when it refuses."""

    def refuse(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(4096)
            client.sendall(b"R" + struct.pack("!ii", 8, 3))
            given = client.recv(4096)[5:-1]
            told = b"SFATAL\0C28P01\0Mpassword authentication failed: nobody here has " + given + b" for it\0\0"
            client.sendall(b"E" + struct.pack("!i", len(told) + 4) + told)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                refuse(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def logged(transactional_db, monkeypatch) -> Iterator[Callable[[], Places]]:
    """Everything that this process logs, at DEBUG, SQL included; kept out of pytest's own report."""
    # Pages of schedules have Celery import its tasks, and the first time this sets logging up anew.
    current_app.loader.import_default_modules()
    text, records = StringIO(), []
    handler = logging.StreamHandler(text)
    # SQL is all in its text; others carry more than they say.
    handler.addFilter(lambda record: record.name == "django.db.backends" or records.append(record.__dict__) or True)
    loggers = [logging.getLogger(name) for name in ("", "django")]
    for logger in loggers:
        monkeypatch.setattr(logger, "handlers", [handler])
        monkeypatch.setattr(logger, "level", logging.DEBUG)
    logging.getLogger().manager._clear_cache()
    monkeypatch.setattr(connections["default"], "force_debug_cursor", True)
    yield lambda: {"log of this process": f"{text.getvalue()}\n{records}".encode()}
    monkeypatch.undo()
    logging.getLogger().manager._clear_cache()


@pytest.fixture
def right(postgres18) -> Iterator[tuple[Secret, Target]]:
    """The password that opens the server, and how to reach it with it."""
    postgres18.reset()
    secret = Secret()
    target = postgres18.collector()
    postgres18.execute("ALTER ROLE taifish_collector PASSWORD %s", [secret.text])
    yield secret, replace(target, password=secret.text, tls_mode="disable")
    postgres18.reset()


def add(name: str, secret: Secret | str, port: int, username: str = "taifish_collector", **fields: object) -> Instance:
    """An instance and its credential, made by the API as a person would."""
    client = superclient()
    password = secret.text if isinstance(secret, Secret) else secret
    login = {"name": name, "username": username, "password": password, "hosts": "*"}
    credential = client.post("/api/credentials/", login).json()
    where = {"name": name, "engine": "postgresql", "host": "127.0.0.1", "port": port, "tls_mode": "disable"}
    answer = client.post("/api/instances/", {**where, **fields, "credential": credential["id"]})
    assert answer.status_code == 201
    return Instance.objects.get(name=name)


def answers_of_the_api(secret: Secret) -> Places:
    """What the API says to passwords, good and bad, and to wishes that concern an instance."""
    client = superclient()
    one = f"/api/credentials/{Credential.objects.get(name='good').pk}/"
    word = {"password": secret.text}
    said = [
        client.post("/api/credentials/", word, format="json"),
        client.post("/api/credentials/", {"name": "good", "username": "x" * 999, **word}, format="json"),
        client.put(one, word, format="json"),
        client.patch(one, word, format="json"),
        client.patch(one, {"password": [secret.text]}, format="json"),
        client.post("/api/credentials/", json.dumps(word)[:-1], content_type="application/json"),
        client.post("/api/instances/", word, format="json"),
    ]
    assert {answer.status_code for answer in said} == {200, 400}
    said += [
        client.post(f"/api/instances/{pk}/{verb}/")
        for pk in Instance.objects.values_list("pk", flat=True)
        for verb in ("test-connection", "check")
    ]
    assert {answer.json()["ok"] for answer in said[7:]} == {True, False}
    return {f"answer {number} of the API": answer.content for number, answer in enumerate(said)}


@override_settings(TAIFISH_WEBHOOK_ALLOW=Allowed(frozenset({"127.0.0.1"})))
def channels(secret: Secret, port: int) -> Places:
    """What is said to addresses and secrets of alert channels, where nobody listens and when they are wrong."""
    client = superclient()
    url = f"http://127.0.0.1:{port}/{quote(secret.text, safe='')}"
    word = {"name": "bot", "kind": "feishu", "url": url, "secret": secret.text}
    said = [
        client.post("/api/alert-channels/", word, format="json"),
        client.post("/api/alert-channels/", word, format="json"),
        client.post("/api/alert-channels/", word | {"name": "b", "kind": "slack"}, format="json"),
        client.post("/api/alert-channels/", word | {"name": "b", "url": secret.text}, format="json"),
    ]
    assert [answer.status_code for answer in said] == [201, 400, 400, 400]
    said.append(client.post(f"/api/alert-channels/{said[0].json()['id']}/test/"))
    assert said[-1].json()["error"].startswith("It cannot be reached, or gives no valid answer.")
    return {f"answer {number} about channels": answer.content for number, answer in enumerate(said)}


def said_by_commands() -> Places:
    """What the commands print, in this process."""
    said = {}
    for command in (
        "test_connection --all",
        "test_connection --all --json",
        "check_instance wrong",
        "check_instance wrong --json",
        "sync_accounts --all",
        "sync_accounts --all --json",
    ):
        out, err = StringIO(), StringIO()
        with pytest.raises(SystemExit):
            call_command(*command.split(), stdout=out, stderr=err)
        said[command] = (out.getvalue() + err.getvalue()).encode()
        assert b"auth_failed" in said[command]
    return said


def seen_while_visiting(workers: Workers, proxy: Proxy) -> Places:
    """Visit through a worker and through a command; what can be seen of their processes and the store meanwhile."""
    proxy.halt("permissions")
    command = [sys.executable, configured.BASE_DIR / "manage.py", "sync_accounts", "twin"]
    said = workers.folder / "command.log"
    with said.open("wb") as out:
        running = subprocess.Popen(command, env=workers.environment(), stdout=out, stderr=out)
    try:
        answer = superclient().post(
            "/api/sync-sessions/",
            {
                "kind": "accounts",
                "instance_ids": list(Instance.objects.exclude(name="twin").values_list("pk", flat=True)),
            },
            format="json",
        )
        assert answer.status_code == 202, answer.json()
        workers.until(lambda: proxy.halted == 2, "worker and command are in mid-visit")
        seen = processes(running.pid, *workers.processes()) | files(configured.TAIFISH_DATA_DIR) | dump()
        assert len([place for place in seen if place.startswith("environment")]) >= 4
        proxy.go_on()
        assert running.wait(60) == 0
    finally:
        running.kill()
        running.wait()
    session = SyncSession.objects.get(pk=answer.json()["id"])
    workers.finish(session)
    return seen | {"said by the command's process": said.read_bytes()}


def test_no_password_is_anywhere(right, logged, proxy_to, workers, settings):
    """Wrong password, stopped server, a server that quotes it, a lost key, and success: by API, admin, command, worker."""
    settings.TAIFISH_VISIT_ATTEMPTS = 1
    settings.TAIFISH_VISITS_PER_HOST = 100
    secret, target = right
    wrong = Secret()
    proxy = proxy_to(target.port)
    stopped = free_port()
    worker = workers.start(concurrency=2, TAIFISH_LOG_LEVEL="DEBUG")
    with liar() as lying:
        add("good", secret, proxy.port)
        add("twin", secret, proxy.port)
        add("wrong", wrong, target.port)
        add("stopped", secret, stopped)
        add("lied to", secret, lying, proof="as_before")
        lost = add("lost key", secret, target.port)
        other = Fernet(Fernet.generate_key()).encrypt(secret.text.encode()).decode()
        Credential.objects.filter(pk=lost.credential_id).update(token=other)
        places = seen_while_visiting(workers, proxy)
        places |= answers_of_the_api(secret) | said_by_commands() | channels(secret, stopped)
        services.run_here(services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False))
        places |= endpoints()
        pages, broken = admin_pages(secret)
    # One that is asked for while the same is pending is skipped.
    made = SyncRecord.objects.exclude(error_code="waiting")
    outcomes = set(made.values_list("instance__name", "status", "error_code"))
    assert outcomes == {
        ("good", "completed", ""),
        ("twin", "completed", ""),
        ("wrong", "failed", "auth_failed"),
        ("stopped", "failed", "unreachable"),
        ("lied to", "failed", "auth_failed"),
        ("lost key", "failed", "bad_target"),
    }
    assert "nobody here has ******** for it" in SyncRecord.objects.filter(instance__name="lied to").first().error
    places |= dump() | files(configured.TAIFISH_DATA_DIR) | files(workers.folder) | logged()
    places |= {f"mail {number}": str(message.message()).encode() for number, message in enumerate(mail.outbox)}
    assert b"FATAL" in places["log of this process"]
    assert b"FATAL" in places[f"file {worker.log.name}"]
    assert leaks(places | pages, secret, wrong) == []
    assert broken == []


FILLERS = {
    "a log line": lambda secret: f"could not connect as taifish_collector with {secret.text}: refused".encode(),
    "a URL": lambda secret: f"postgresql://taifish:{quote_plus(secret.text)}@db:5432/postgres".encode(),
    "JSON": lambda secret: json.dumps({"password": secret.text}).encode(),
    "a page": lambda secret: f'<input value="{html.escape(secret.text)}">'.encode(),
    "a header": lambda secret: base64.b64encode(f"taifish_collector:{secret.text}".encode()),
    "a header, one byte on": lambda secret: base64.b64encode(f"taifish_collector1:{secret.text}".encode()),
    "a header, two bytes on": lambda secret: base64.b64encode(f"taifish_collector12:{secret.text}".encode()),
    "a bytea": lambda secret: secret.text.encode().hex().encode(),
    "a part of it": lambda secret: secret.core.encode(),
}


@pytest.mark.parametrize("filler", FILLERS)
def test_the_search_finds_a_secret_however_it_is_written(filler):
    secret = Secret()
    assert leaks({"somewhere": FILLERS[filler](secret)}, Secret()) == []
    assert [found.split(":")[0] for found in leaks({"somewhere": FILLERS[filler](secret)}, secret)][:1] == ["somewhere"]


def test_the_search_looks_where_it_says(right, logged, workers):
    """A secret planted on purpose is reported from each of the places: log, store, API, admin, files, processes."""
    secret, target = right
    add("good", secret, target.port)
    Instance.objects.update(note=f"its password is {secret.text}")
    logging.getLogger("sync.visits").debug("planted: %s", secret.text)
    (workers.folder / "worker.log").write_text(secret.text)
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", secret.text],
        env={"PLANTED": secret.text},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        sleeper.stdout.readline()
        places = (
            logged() | files(workers.folder) | dump() | endpoints() | admin_pages(secret)[0] | processes(sleeper.pid)
        )
    finally:
        sleeper.communicate()
    found = {leak.rsplit(": ", 1)[0] for leak in leaks(places, secret)}
    pk = Instance.objects.get().pk
    assert found >= {
        "log of this process",
        "file worker.log",
        "pg_dump",
        "dumpdata",
        "get /api/instances/?page_size=1000",
        f"get /api/instances/{pk}/",
        f"GET /admin/instances/instance/{pk}/change/",
        f"command line {sleeper.pid}",
        f"environment {sleeper.pid}",
    }


def test_an_alert_names_the_failure_and_no_secret(transactional_db, right, settings, monkeypatch):
    """The mail about a failed visit, to the addresses that TAIFISH_ALERT_EMAILS named before the upgrade."""
    secret, target = right
    store, broker = Secret(), Secret()
    monkeypatch.setenv("TAIFISH_ALERT_EMAILS", "dba@example.com")
    import_module("taifish.migrations.0004_alert_emails").make_channel(apps, None)
    settings.TAIFISH_VISIT_ATTEMPTS = 1
    settings.TAIFISH_DATABASE_URL = f"postgresql://taifish:{quote(store.text, safe='')}@db/taifish"
    settings.CELERY_BROKER_URL = f"redis://:{quote(broker.text, safe='')}@redis/0"
    add("wrong", Secret(), target.port)
    services.run_here(services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False))
    alerts.evaluate()
    assert alerts.deliver() == {"sent": 1}
    [alert] = mail.outbox
    assert alert.to == ["dba@example.com"]
    said = str(alert.message()) + alert.body
    assert re.search(r"- wrong: visits of the kind “Accounts” failed at [^:]+:\d\d UTC: auth_failed: ", alert.body)
    assert leaks({"mail": said.encode()}, secret, store, broker) == []
