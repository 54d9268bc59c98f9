"""The production form: an external store, a broker, and workers, beat and web as processes, with a fleet to visit.

`Production` keeps its processes running as a supervisor would. What it changes and asks goes through the product's own
commands (`manage`, `shell`) or straight to the store (`rows`), because the store of the tests is another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
from cryptography.fernet import Fernet
from django.conf import settings

from engines.target import Target
from taifish import embedded
from taifish.tests.brokers import Broker
from taifish.tests.postgres import PostgresServer, free_port
from taifish.tests.watcher import private_folder, processes

MANAGE = settings.BASE_DIR / "manage.py"
OURS = ("DATABASE_URL", "CELERY_", "TAIFISH_", "DJANGO_SETTINGS_MODULE", "PYTEST_", "COV_")

#: All that is still to be done: sessions that are open, or whose follow-ups were not called.
_OPEN = "SELECT count(*) FROM sync_syncsession WHERE status = 'running' OR followed_up_at IS NULL"


class Service:
    """A process in a group of its own. `start` begins it anew."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], log: Path, code: Path) -> None:
        self.name, self.argv, self.environment, self.log, self.code = name, [*argv], dict(environment), log, code
        self.starts = 0
        self.start()

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.argv,
                cwd=self.code,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def children(self) -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(stat.parent.name))
        return found

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill9(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()


def own_store(major: int = 18, **options: str) -> PostgresServer:
    """A server for a store. As in production it counts its rows: without that, it plans as if its tables were empty."""
    return PostgresServer(major, max_connections="60", autovacuum="on", **options)


class Production:
    """Starts everything on construction; `settings` are variables of the environment of all processes."""

    def __init__(
        self,
        store: PostgresServer,
        broker: Broker,
        workers: int = 2,
        concurrency: int = 2,
        beats: int = 1,
        web: bool = True,
        **settings: str,
    ) -> None:
        self.folder = private_folder("production")
        self.store, self.broker = store, broker
        self.services: dict[str, Service] = {}
        store.start()
        password = secrets.token_urlsafe(12)
        store.execute(f"CREATE ROLE keeper LOGIN PASSWORD '{password}'")
        store.execute("CREATE DATABASE records OWNER keeper")
        self.url = f"postgresql://keeper:{password}@127.0.0.1:{store.cluster.port}/records"
        broker.start()
        self.web_port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            "DATABASE_URL": self.url,
            "CELERY_BROKER_URL": broker.url,
            "TAIFISH_SECRET_KEY": secrets.token_urlsafe(50),
            "TAIFISH_CREDENTIAL_KEYS": Fernet.generate_key().decode(),
            "TAIFISH_DATA_DIR": str(self.folder),
            "TAIFISH_HTTPS": "no",
            "TAIFISH_LEASE": "5",
            "TAIFISH_RETRY_DELAY": "1",
            "TAIFISH_VISIT_ATTEMPTS": "10",
            "TAIFISH_START_SPREAD": "0",
            "TAIFISH_VISITS_PER_HOST": "100",
            "PYTHONDONTWRITEBYTECODE": "1",
            **settings,
        }
        try:
            # In one process: each takes seconds to start. The schedule is edited as an operator may: the reaper's 30
            # seconds are most of the time that a test would wait.
            self.shell(
                "from django.core.management import call_command\n"
                "call_command('migrate', verbosity=0); call_command('install_schedules'); call_command('install_rules')\n"
                "from django_celery_beat.models import IntervalSchedule, PeriodicTask\n"
                "every, _ = IntervalSchedule.objects.get_or_create(every=3, period='seconds')\n"
                "task = PeriodicTask.objects.get(task='sync.reap'); task.interval = every; task.save()"
            )
            for number in range(workers):
                self.add_worker(f"worker{number}", concurrency)
            for number in range(beats):
                self.add(f"beat{number}", *self.celery, "beat", "--pidfile=")
            if web:
                bind = f"127.0.0.1:{self.web_port}"
                options = ["--bind", bind, "--workers", "2", "--worker-class", "gthread", "--threads", "8"]
                self.add("web", *self.python, "gunicorn", "taifish.wsgi", *options, "--no-control-socket")
        except BaseException:
            self.remove()
            raise

    @property
    def python(self) -> tuple[str, ...]:
        """Python, with the folder in its command line: the watcher then ends what a killed test leaves behind."""
        return sys.executable, "-X", f"folder={self.folder}", "-m"

    @property
    def celery(self) -> tuple[str, ...]:
        return *self.python, "celery", "-A", "taifish"

    def add(self, name: str, *argv: str, code: Path = settings.BASE_DIR, **environment: str) -> Service:
        """A process with Taifish's code in that folder."""
        log = self.folder / f"{name}.log"
        self.services[name] = Service(name, argv, self.environment | environment, log, code)
        return self.services[name]

    def add_worker(
        self, name: str, concurrency: int = 2, *prefix: str, code: Path = settings.BASE_DIR, **environment: str
    ) -> Service:
        """A worker; `prefix` is what runs it (`ip netns exec …`)."""
        options = ["worker", f"--concurrency={concurrency}", f"--hostname={name}@%h", "--pidfile="]
        return self.add(name, *prefix, *self.celery, *options, code=code, **environment)

    def manage(self, *arguments: str, seconds: float = 300) -> str:
        """What a command prints. Fails with what it said unless it exits 0."""
        done = self.run(*arguments, seconds=seconds)
        assert done.returncode == 0, f"{arguments[0]}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def run(self, *arguments: str, seconds: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(MANAGE), *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def shell(self, code: str) -> str:
        """What code prints that runs with the product's settings."""
        return self.manage("shell", "-v", "0", "-c", code)

    def rows(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Of a statement on the store, in a transaction of its own. Raises psycopg2.Error."""
        with contextlib.closing(psycopg2.connect(self.url, connect_timeout=5)) as connection:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []

    def get(self, path: str, seconds: float = 10) -> tuple[int, bytes]:
        """Status and body of a page; status 0 without an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}", timeout=seconds) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def supervise(self) -> None:
        """Start what has died."""
        for service in self.services.values():
            if not service.is_alive():
                service.start()

    def start_store(self) -> None:
        """Start the store if it has gone down."""
        if not self.store.cluster.running():
            self.store.start()

    def until(self, condition: Callable[[], object], what: str, seconds: float = 300) -> float:
        """Supervise until the condition holds. Returns the seconds that it took; fails with the ends of the logs."""
        started = time.monotonic()
        while True:
            self.supervise()
            with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
                if condition():
                    return time.monotonic() - started
            if time.monotonic() - started > seconds:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{self.state()}")
            time.sleep(0.2)

    def state(self) -> str:
        """Open records and the ends of the logs."""
        lines = []
        with contextlib.suppress(psycopg2.Error):
            columns = (
                "id, session_id, kind, status, phase, attempt, error_code, worker, lease_until, not_before, sent_at"
            )
            lines += self.rows(f"SELECT {columns} FROM sync_syncrecord WHERE status IN ('pending', 'running') LIMIT 20")
            lines += self.rows(
                "SELECT id, kind, status, followed_up_at FROM sync_syncsession ORDER BY id DESC LIMIT 10"
            )
        ends = [f"{path.name}: {path.read_text(errors='replace')[-2500:]}" for path in self.folder.glob("*.log")]
        return "\n".join([*map(str, lines), *ends])

    def is_idle(self) -> bool:
        return self.rows(_OPEN) == [(0,)]

    def finish(self, seconds: float = 480) -> float:
        """Wait until every session has ended and its follow-ups were called, theirs included. Returns the seconds."""
        return self.until(self.is_idle, "every session ends", seconds)

    def add_instances(self, names: Sequence[str], target: Target, **fields: Any) -> None:
        """Instances of these names, all on one server."""
        self.shell(self.added(names, target, **fields))

    def added(self, names: Sequence[str], target: Target, **fields: Any) -> str:
        """The code of `add_instances`."""
        values = {
            "engine": target.engine,
            "host": target.host,
            "port": target.port,
            "database": target.database,
            "tls_mode": "disable",
            "level": target.level,
            "proof": "hashes",
        } | fields
        return (
            "from instances.models import *\n"
            f"c, new = Credential.objects.get_or_create(name={target.username + str(target.port)!r},\n"
            f"    defaults={{'username': {target.username!r}}})\n"
            f"if new: c.password = {target.password!r}; c.save()\n"
            f"for name in {list(names)!r}:\n"
            f"    Instance.objects.get_or_create(name=name, defaults=dict(credential=c, **{values!r}))\n"
        )

    def start_sessions(self, *kinds: str, prefix: str = "") -> None:
        """A session of each kind of the instances whose names begin with the prefix."""
        self.shell(self.started(*kinds, prefix=prefix))

    def started(self, *kinds: str, prefix: str = "", attempts: int | None = None) -> str:
        """The code of `start_sessions`."""
        return (
            "from sync import services\nfrom instances.models import Instance\n"
            f"for kind in {kinds!r}:\n"
            f"    services.start(kind, Instance.objects.filter(name__startswith={prefix!r}), trigger='manual',\n"
            f"        attempts={attempts})\n"
        )

    def verify(self) -> None:
        """Fail if `verify_store` finds a violation."""
        done = self.run("verify_store", "--json")
        assert done.returncode in (0, 3), done.stderr[-4000:]
        broken = [each for each in json.loads(done.stdout)["invariants"] if each["count"]]
        assert not broken, json.dumps(broken, indent=2)[:6000]

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def remove(self) -> None:
        for service in self.services.values():
            service.kill9()
        mark = f"TAIFISH_DATA_DIR={self.folder}\0".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)
        self._remove_servers()
        # What was killed may take a moment to be gone.
        deadline = time.monotonic() + 60
        while left := processes([str(self.folder)]):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    def _remove_servers(self) -> None:
        self.broker.remove()
        self.store.remove()


class Embedded(Production):
    """`manage.py up` in place of it: store, broker, worker, beat and web of one machine, in `folder`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.services = {}
        place = embedded.database(folder)
        self.url = f"postgresql://{place['USER']}@{quote(place['HOST'], safe='')}:{place['PORT']}/{place['NAME']}"
        self.web_port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            "TAIFISH_DATA_DIR": str(folder),
            "TAIFISH_LEASE": "5",
            "TAIFISH_RETRY_DELAY": "1",
            "TAIFISH_VISIT_ATTEMPTS": "10",
            "TAIFISH_VISITS_PER_HOST": "100",
            "PYTHONDONTWRITEBYTECODE": "1",
            **settings,
        }
        try:
            self.manage("up", "--once", seconds=300)
            self.add("up", sys.executable, str(MANAGE), "up", "--bind", f"127.0.0.1:{self.web_port}")
        except BaseException:
            self.remove()
            raise

    def start_store(self) -> None:
        """`up` does."""

    def _remove_servers(self) -> None:
        embedded.store(self.folder).stop("immediate")
