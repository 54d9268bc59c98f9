"""Real PostgreSQL servers to test against: a pytest plugin, independent of Django.

`postgres` runs a test on the major versions that servers.py chooses, `postgres18` on one; both share servers that live
as long as the session and start when first asked for. `private_postgres` is a server of the test's own, to stop and to
kill.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from engines.registry import ENGINES
from engines.statements import PASSWORD
from engines.target import Target
from taifish.embedded import Cluster
from taifish.tests.servers import POSTGRESQL_MAJORS, chosen, missing, postgresql_binaries
from taifish.tests.watcher import private_folder


class PostgresServer:
    """One cluster in a private folder under /tmp, reached as superuser by socket and by all others on 127.0.0.1."""

    def __init__(self, major: int, **options: str) -> None:
        self.major = major
        bin_dir = postgresql_binaries(major)
        if bin_dir is None:
            missing(f"PostgreSQL {major}")
        self._folder = private_folder(f"pg{major}")
        self.cluster = Cluster(
            self._folder / "server",
            bin_dir=bin_dir,
            options={
                "listen_addresses": "127.0.0.1",
                "port": str(free_port()),
                "fsync": "off",
                "shared_buffers": "32MB",
                "max_connections": "30",
                # It would change sizes between what a visit reads and what a test compares them with.
                "autovacuum": "off",
                # 12 and 13 hash with MD5 unless told to.
                "password_encryption": "scram-sha-256",
                **options,
            },
        )

    def start(self) -> None:
        self.cluster.start()

    def stop(self) -> None:
        self.cluster.stop()

    def kill9(self) -> None:
        """Kill the server the hard way. Its children would follow by themselves, but may answer one more query first."""
        postmaster = int((self.cluster.data / "postmaster.pid").read_text().split()[0])
        # Before its children: it would take the death of one for a crash to recover from.
        for pid in (postmaster, *_children(postmaster)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self.cluster.running():
            time.sleep(0.01)

    def remove(self) -> None:
        self.cluster.stop("immediate")
        shutil.rmtree(self._folder)

    @contextmanager
    def superuser(self, database: str = "postgres") -> Iterator[Any]:
        """A cursor of the superuser, in autocommit mode."""
        connection = psycopg2.connect(
            host=str(self.cluster.socket_dir),
            port=self.cluster.port,
            user=self.cluster.superuser,
            dbname=database,
            client_encoding="UTF8",
        )
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def execute(self, sql: str, params: Any = None, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What the superuser gets for it: the rows of the last statement, [] when it has none."""
        with self.superuser(database) as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    def target(self, username: str, password: str, **overrides: Any) -> Target:
        """How an ordinary role reaches the server: by TCP and password."""
        settings: dict[str, Any] = {"host": "127.0.0.1", "port": self.cluster.port, "database": "postgres"}
        return Target("postgresql", username=username, password=password, **{**settings, **overrides})

    def collector(self, name: str = "taifish_collector", **overrides: Any) -> Target:
        """A target for a new role with the least rights that a visit needs: those of `print_grants`."""
        password = secrets.token_urlsafe(12)
        for statement in ENGINES["postgresql"].script(overrides.get("level", "A"), (name, "")):
            self.execute(statement.sql.replace(PASSWORD, f"'{password}'"))
        return self.target(name, password, **overrides)

    def fresh_database(self, name: str) -> str:
        """An empty database of that name, whatever it held before."""
        self.drop_database(name)
        self.execute(f"CREATE DATABASE {identifier(name)}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop it, if it is there, whoever is in it: WITH (FORCE), which 12 does not have."""
        deadline = time.monotonic() + 60
        with self.superuser() as cursor:
            while True:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
                try:
                    cursor.execute(f"DROP DATABASE IF EXISTS {identifier(name)}")
                except psycopg2.errors.ObjectInUse:
                    # The server waits five seconds for them itself.
                    if time.monotonic() > deadline:
                        raise
                else:
                    return

    def reset(self) -> None:
        """Drop every database, tablespace and role that came after initdb."""
        with self.superuser() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE oid >= 16384")
            for (name,) in cursor.fetchall():
                cursor.execute(f"ALTER DATABASE {identifier(name)} IS_TEMPLATE false ALLOW_CONNECTIONS true")
                self.drop_database(name)
            cursor.execute("SELECT spcname FROM pg_tablespace WHERE oid >= 16384")
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP TABLESPACE {identifier(name)}")
            cursor.execute(
                """
                DO $$
                DECLARE role name;
                BEGIN
                    FOR role IN SELECT rolname FROM pg_roles WHERE oid >= 16384 LOOP
                        EXECUTE format('DROP OWNED BY %I CASCADE', role);
                    END LOOP;
                    FOR role IN SELECT rolname FROM pg_roles WHERE oid >= 16384 LOOP
                        EXECUTE format('DROP ROLE %I', role);
                    END LOOP;
                END $$
                """
            )


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _children(pid: int) -> list[int]:
    """Process ids of the children, by the parent that each process's /proc/PID/stat names."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


#: Below those that the kernel gives to connections, which could take one before a server has it.
_ports = itertools.cycle(random.Random().sample(range(15_000, 32_000), 17_000))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, each time another."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Callable[[int], PostgresServer]]:
    """The session's server of a major version, started at the first call."""
    servers: dict[int, PostgresServer] = {}

    def server(major: int) -> PostgresServer:
        if major not in servers:
            servers[major] = PostgresServer(major)
            servers[major].start()
        return servers[major]

    yield server
    for started in servers.values():
        started.remove()


@pytest.fixture(scope="session", params=chosen(POSTGRESQL_MAJORS), ids=lambda major: f"pg{major}")
def postgres(request: pytest.FixtureRequest, postgres_server: Callable[[int], PostgresServer]) -> PostgresServer:
    return postgres_server(request.param)


@pytest.fixture(scope="session")
def postgres18(postgres_server: Callable[[int], PostgresServer]) -> PostgresServer:
    return postgres_server(18)


@pytest.fixture
def private_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer(18)
    server.start()
    yield server
    server.remove()
