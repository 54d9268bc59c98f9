"""`manage.py up`, run as a person runs it: a process of its own with a data folder of its own."""

from __future__ import annotations

import base64
import contextlib
import http.cookiejar
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psycopg2
import pytest
from cryptography.fernet import Fernet

from taifish import embedded, pginstall
from taifish.tests.postgres import free_port

MANAGE = Path(embedded.__file__).resolve().parents[1] / "manage.py"
SETTINGS = ("DATABASE_URL", "CELERY_", "TAIFISH_", "DJANGO_SETTINGS_MODULE", "PYTEST_", "COV_")


@dataclass(frozen=True)
class Place:
    """A data folder, and what the first `up --once` in it said."""

    var: Path
    first: subprocess.CompletedProcess[str]

    @property
    def cluster(self) -> embedded.Cluster:
        return embedded.store(self.var)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        return {**kept, "TAIFISH_DATA_DIR": str(self.var), "PYTHONDONTWRITEBYTECODE": "1", **more}

    def up(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, MANAGE, "up", *arguments],
            env=self.environment(**more), capture_output=True, text=True, timeout=400,
        )  # fmt: skip

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        was_running = self.cluster.running()
        self.cluster.start()
        connection = psycopg2.connect(
            host=str(self.cluster.socket_dir), user=self.cluster.superuser, dbname=embedded.DATABASE
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()
        finally:
            connection.close()
            if not was_running:
                self.cluster.stop()

    def processes(self) -> dict[int, str]:
        """Process id → command line of everything that runs with this data folder."""
        mark = f"TAIFISH_DATA_DIR={self.var}\0".encode()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        return found

    def wait_for_nothing(self) -> None:
        """Until what was ended is gone."""
        deadline = time.monotonic() + 60
        while left := self.processes():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="taifish-test-", dir="/tmp"))
    folder.chmod(0o711)
    unvisited = Place(folder / "var", subprocess.CompletedProcess([], 0))
    unvisited.var.mkdir()
    try:
        yield Place(unvisited.var, unvisited.up("--once"))
    finally:
        for pid in unvisited.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        unvisited.cluster.stop("immediate")
        shutil.rmtree(unvisited.cluster.home, ignore_errors=True)
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            pginstall.SYSTEM_FOLDER.rmdir()


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[str]
    url: str
    log: Path

    def get(self, path: str) -> int:
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def wait_until(self, true: Callable[[], object], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)


@contextlib.contextmanager
def serving(place: Place, *options: str, manage: Path = MANAGE, **more: str) -> Iterator[Served]:
    bind = f"127.0.0.1:{free_port()}"
    log = place.var.parent / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, manage, "up", "--bind", bind, *options],
            env=place.environment(**more), stdout=output, stderr=output, text=True,
        )  # fmt: skip
    served = Served(process, f"http://{bind}", log)
    try:
        served.wait_until(lambda: served.get("/healthz") == 200)
        yield served
    finally:
        process.kill()
        process.wait()


def workers(place: Place) -> list[int]:
    """The worker's main process first."""

    def started(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])

    return sorted((pid for pid, command in place.processes().items() if " worker " in command), key=started)


def test_one_command_shows_the_accounts_of_a_real_server(place: Place) -> None:
    said = place.first.stdout
    assert place.first.returncode == 0, place.first.stderr
    assert re.search(r"Created the user 'admin' with the password \S{12,} \(shown only now\)", said)
    assert "taifish-store: postgresql, accounts visited: completed." in said
    assert re.search(r"^taifish +user +yes +yes +no +\d+ +0$", said, re.MULTILINE)
    assert "taifish-store: postgresql, capacity visited: completed." in said
    assert re.search(r"^taifish +\d+\.\d+ MiB$", said, re.MULTILINE)
    assert re.search(r"^taifish_collector +user +yes +no +no +\d+ +1$", said, re.MULTILINE)
    assert not place.cluster.running()
    place.wait_for_nothing()


def test_the_collection_role_may_do_no_more_than_it_must(place: Place) -> None:
    attributes = "rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    role = "taifish_collector"
    assert place.rows(f"SELECT {attributes} FROM pg_roles WHERE rolname = '{role}'") == [(True, *[False] * 5)]
    held = place.rows(f"SELECT roleid::regrole::text FROM pg_auth_members WHERE member = '{role}'::regrole")
    assert held == [("pg_read_all_stats",)]


def test_its_password_is_nowhere_in_clear(place: Place) -> None:
    (token,) = place.rows("SELECT token FROM instances_credential")[0]
    password = Fernet((place.var / "keys" / "credential_keys").read_bytes().strip()).decrypt(token.encode())
    assert len(password) > 20
    files = [path for root in (place.var, place.cluster.home) for path in root.rglob("*") if path.is_file()]
    assert len(files) > 500
    assert [path for path in files if password in path.read_bytes()] == []
    assert password.decode() not in place.first.stdout + place.first.stderr


def test_a_second_start_finds_everything_as_it_was(place: Place) -> None:
    kept = """
        SELECT (SELECT string_agg(to_jsonb(i)::text, '') FROM instances_instance i),
               (SELECT string_agg(to_jsonb(c)::text, '') FROM instances_credential c),
               (SELECT string_agg(to_jsonb(u)::text, '') FROM auth_user u),
               (SELECT string_agg(to_jsonb(t)::text, '') FROM django_celery_beat_periodictask t),
               (SELECT string_agg(to_jsonb(g)::text, '' ORDER BY id) FROM accounts_grant g),
               (SELECT count(*) FROM accounts_accountchange),
               (SELECT rolpassword FROM pg_authid WHERE rolname = 'taifish_collector')
    """
    before = place.rows(kept)
    keys = {path: path.read_bytes() for path in (place.var / "keys").iterdir()}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys)
    again = place.up("--once")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("visited: completed.") == 2
    assert "password" not in again.stdout
    assert place.rows(kept) == before
    assert {path: path.read_bytes() for path in (place.var / "keys").iterdir()} == keys


def test_a_visit_that_fails_fails_the_command(place: Place) -> None:
    """Exit 0 means that everything was read."""
    rename = "import sys; from django.db import connection as c; c.cursor().execute(sys.argv[1])"
    shell = [sys.executable, MANAGE, "shell", "--no-imports", "-c"]
    sql = "ALTER ROLE taifish_collector {}"

    def run(option: str) -> None:
        code = rename.replace("sys.argv[1]", repr(sql.format(option)))
        subprocess.run([*shell, code], env=place.environment(), check=True, capture_output=True)

    run("NOLOGIN")
    try:
        failed = place.up("--once", TAIFISH_VISIT_ATTEMPTS="1")
    finally:
        run("LOGIN")
    assert failed.returncode == 1
    assert failed.stdout.count("visited: failed.") == 2
    assert 'role "taifish_collector" is not permitted to log in' in failed.stderr
    assert "the visit did not complete" in failed.stderr


def test_a_taken_port_is_said_before_anything_starts(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = place.up("--bind", bind)
    assert refused.returncode == 1
    assert f"cannot bind {bind}: Address already in use." in refused.stderr
    assert "--bind or TAIFISH_BIND" in refused.stderr
    assert refused.stdout == ""
    nonsense = place.up(TAIFISH_BIND="8000")
    assert nonsense.returncode == 1
    assert "use HOST:PORT" in nonsense.stderr


def test_it_serves_logs_in_and_stops_clean(place: Place) -> None:
    """The admin's password comes from the environment, and the page lists the accounts."""
    password = "from-the-environment"
    with serving(place, TAIFISH_ADMIN_PASSWORD=password) as served:
        assert served.get("/admin/login/") == 200
        assert b"from-the-environment" not in b"".join(
            Path(f"/proc/{pid}/environ").read_bytes() for pid in place.processes() if pid != served.process.pid
        )
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        login = f"{served.url}/admin/login/?next=/admin/accounts/account/"
        page = browser.open(login).read().decode()
        (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[:1]
        form = {"csrfmiddlewaretoken": token, "username": "admin", "password": password}
        answer = browser.open(login, urllib.parse.urlencode(form).encode()).read().decode()
        assert "taifish_collector" in answer
        served.wait_until(lambda: " ready." in served.log.read_text())
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(90) == 0, served.log.read_text()
    assert served.log.read_text().endswith("Taifish has stopped.\n")
    place.wait_for_nothing()
    assert not place.cluster.running()


def test_what_is_killed_comes_back(place: Place) -> None:
    """Worker and store killed with -9 are started again; when the supervisor itself is, its children end too."""
    with serving(place) as served:
        served.wait_until(lambda: " ready." in served.log.read_text())
        killed = workers(place)[0]
        os.kill(killed, signal.SIGKILL)
        served.wait_until(lambda: "worker was killed by SIGKILL: starting it again in 1 s" in served.log.read_text())
        served.wait_until(lambda: workers(place) and workers(place)[0] != killed)
        served.wait_until(lambda: served.log.read_text().count(" ready.") == 2)

        server = int((place.cluster.data / "postmaster.pid").read_text().split()[0])
        os.kill(server, signal.SIGKILL)
        served.wait_until(lambda: place.cluster.running() and served.get("/healthz") == 200)

        assert len(place.processes()) > 4
        served.process.kill()
        served.process.wait()
        place.wait_for_nothing()
    # The last of the children held the store, and stopped it.
    assert not place.cluster.running()


def test_a_changed_file_is_served(place: Place, tmp_path: Path) -> None:
    """`up --dev`, as `make dev` runs it, on a copy of the tree: broken code too is got over; Ctrl-C leaves nothing."""
    tree = tmp_path / "tree"
    left_out = shutil.ignore_patterns(".*", "var", "tests", "__pycache__")
    shutil.copytree(MANAGE.parent, tree, ignore=left_out, symlinks=True)
    health = tree / "taifish" / "health.py"
    code = health.read_text()
    template = tree / "templates" / "admin" / "login.html"

    def answers(path: str, text: str) -> Callable[[], bool]:
        def answers() -> bool:
            try:
                with urllib.request.urlopen(served.url + path, timeout=30) as answer:
                    return text in answer.read().decode()
            except OSError:
                return False

        return answers

    with serving(place, "--dev", manage=tree / "manage.py") as served:
        served.wait_until(lambda: " ready." in served.log.read_text())
        worker = workers(place)[0]
        health.write_text(code.replace('"status": "ok"', '"status": "changed"'))
        served.wait_until(answers("/healthz", "changed"))
        served.wait_until(lambda: workers(place)[:1] not in ([], [worker]))
        health.write_text("this is no Python")
        served.wait_until(lambda: "SyntaxError" in served.log.read_text())
        health.write_text(code)
        served.wait_until(answers("/healthz", "ok"))
        template.write_text(template.read_text().replace("{% block login_after %}", "{% block login_after %}new words"))
        served.wait_until(answers("/admin/login/", "new words"))
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(90) == 0, served.log.read_text()
    place.wait_for_nothing()
    assert not place.cluster.running()


def basic(served: Served, name: str, password: str, source: str = "127.0.0.1") -> int:
    """The status that the API answers to a name and a password that come from an address of this machine."""
    host, port = served.url.removeprefix("http://").split(":")
    given = base64.b64encode(f"{name}:{password}".encode()).decode()
    with contextlib.closing(HTTPConnection(host, int(port), timeout=60, source_address=(source, 0))) as connection:
        connection.request("GET", "/api/instances/", headers={"Authorization": f"Basic {given}"})
        return connection.getresponse().status


def test_guessing_at_many_names_does_not_hold_up_the_web(place: Place) -> None:
    """Fault 11, F8.3: 16 clients with wrong passwords and new names each time, on the web that `up` serves."""
    tries = 20
    answers: Counter[int] = Counter()
    numbers = itertools.count()
    end = threading.Event()

    def guess(served: Served) -> None:
        while not end.is_set():
            answers[basic(served, f"name{next(numbers)}", "wrong")] += 1

    given = {"TAIFISH_ADMIN_PASSWORD": "r1ght-Password", "TAIFISH_API_BASIC": "yes"}
    with serving(place, **given, TAIFISH_LOGIN_ADDRESS_TRIES=str(tries)) as served:
        served.wait_until(lambda: " ready." in served.log.read_text())
        clients = [threading.Thread(target=guess, args=[served]) for _ in range(16)]
        for client in clients:
            client.start()
        took, neighbour = [], []
        try:
            for _ in range(30):
                began = time.monotonic()
                assert served.get("/healthz") == 200
                took.append(time.monotonic() - began)
                time.sleep(0.1)
            neighbour = [basic(served, "admin", "r1ght-Password", "127.0.0.2") for _ in range(3)]
            served.wait_until(lambda: answers[401] >= tries)
        finally:
            end.set()
            for client in clients:
                client.join()
        assert basic(served, "admin", "r1ght-Password") == 429
        assert basic(served, "admin", "r1ght-Password", "127.0.0.2") == 200
    assert neighbour == [200] * 3
    assert set(answers) == {401, 429}
    # Those that were being examined when the limit was reached.
    assert answers[401] <= tries + 4
    assert sorted(took)[len(took) // 2] < 1


@pytest.mark.parametrize("size", [3_000_000, 30_000_000])
def test_a_large_body_gets_an_answer(place: Place, size: int) -> None:
    """Fault 13, F8.7: not a cut connection. Who sends all of a body before reading sees why it is refused."""
    given = base64.b64encode(b"admin:r1ght-Password").decode()
    json, form = "application/json", "application/x-www-form-urlencoded"
    answers = []
    with serving(place, TAIFISH_ADMIN_PASSWORD="r1ght-Password", TAIFISH_API_BASIC="yes") as served:
        host, port = served.url.removeprefix("http://").split(":")
        for path, kind in (("/api/tags/", json), ("/api/tags/", form), ("/admin/login/", form), ("/nowhere/", json)):
            headers = {"Content-Type": kind, "Authorization": f"Basic {given}"}
            with contextlib.closing(HTTPConnection(host, int(port), timeout=30)) as connection:
                connection.request("POST", path, b"x" * size, headers)
                answer = connection.getresponse()
                answers.append((path, answer.status, b"The request is too large" in answer.read()))
    api = [("/api/tags/", 413, True), ("/api/tags/", 413, True)]
    # Above the limit of all requests none is looked at.
    others = [(403, False), (404, False)] if size < 2**24 else [(413, True)] * 2
    assert answers == [*api, ("/admin/login/", *others[0]), ("/nowhere/", *others[1])]
