"""Real MariaDB servers to test against: a pytest plugin, independent of Django.

`mariadb` is a server that all tests share, started when first asked for; who uses it leaves it as it was, with
`reset()`. `private_mariadb` is a server of the test's own, to stop and to kill. Where mariadbd is not installed these
tests are skipped, but not in CI (the environment variable CI): there it is an error.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql
import pytest

from instances.adapters.base import Target
from instances.adapters.grants import PASSWORD, script
from taifish.pginstall import manner
from taifish.tests.postgres import free_port

MARIADBD = shutil.which("mariadbd", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")

#: What mariadb-install-db runs, less the help texts and the sys schema.
SYSTEM_TABLES = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")
SHARE = Path("/usr/share/mysql")

GRANT_TABLES = ("global_priv", "db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "roles_mapping")
SYSTEM_DATABASES = ("mysql", "information_schema", "performance_schema", "sys")
TIMEOUT = 60.0


class MariadbServer:
    """One server in a private folder under /tmp, reached as superuser by socket and by all others on 127.0.0.1.

    `options` are server options ("max_connections": "3"), also settable between `stop()` and `start()`.
    """

    def __init__(self, **options: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="taifish-mariadb-", dir="/tmp"))
        self._folder.chmod(0o711)
        self.user = _system_user()
        self.superuser = pwd.getpwuid(os.geteuid()).pw_name
        self.data = self._folder / "data"
        self.socket = self._folder / "run" / "mariadb.sock"
        self.log = self._folder / "mariadb.log"
        for folder in (self.data, self.socket.parent):
            folder.mkdir(mode=0o700)
            if self.user:
                os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        self.port = free_port()
        self.options = {
            "character_set_server": "utf8mb4",
            "innodb_buffer_pool_size": "16M",
            "innodb_log_file_size": "4M",
            "debug_no_sync": "1",
            "max_connections": "30",
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._initial: dict[str, list[tuple[Any, ...]]] = {}
        self._create()

    def start(self) -> None:
        """Start the server, return when it takes connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._command(),
                    f"--socket={self.socket}",
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                    f"--pid-file={self.data / 'mariadb.pid'}",
                ],
                **manner(self.user),
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                with self.superuser_cursor():
                    break
            except pymysql.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"mariadbd did not start:\n{self.log.read_text()[-3000:]}") from None
                time.sleep(0.02)
        if not self._initial:
            self._initial = self.snapshot()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        self.kill9()
        shutil.rmtree(self._folder)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @contextmanager
    def superuser_cursor(self, database: str = "") -> Iterator[Any]:
        """A cursor of the superuser, in autocommit mode; it takes several statements at once."""
        connection = pymysql.connect(
            unix_socket=str(self.socket),
            user=self.superuser,
            database=database or None,
            charset="utf8mb4",
            autocommit=True,
            client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
        )
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def execute(self, sql: str, params: Any = None, database: str = "") -> list[tuple[Any, ...]]:
        """What the superuser gets for it: the rows of the last statement, [] when it has none."""
        with self.superuser_cursor(database) as cursor:
            cursor.execute(sql, params)
            rows = cursor.fetchall()
            while cursor.nextset():
                rows = cursor.fetchall()
            return list(rows)

    def target(self, username: str, password: str, **overrides: Any) -> Target:
        """How an ordinary account reaches the server: by TCP and password."""
        settings: dict[str, Any] = {"host": "127.0.0.1", "port": self.port}
        return Target("mysql", username=username, password=password, **{**settings, **overrides})

    def collector(
        self,
        name: str = "taifish_collector",
        grants: Sequence[str] | None = None,
        hash_blind: bool = False,
        **overrides: Any,
    ) -> Target:
        """A target for a new account with the least rights that a visit needs, those of `print_grants`, or with these
        `grants`."""
        level = overrides.get("level", "A")
        create, *rights = [
            statement.sql for statement in script("mysql", level, (name, "%"), product="MariaDB", hash_blind=hash_blind)
        ]
        account = f"{identifier(name)}@'%'"
        if grants is not None:
            rights = [f"GRANT {grant} TO {account}" for grant in grants]
        password = secrets.token_urlsafe(12)
        for statement in (f"DROP USER IF EXISTS {account}", create.replace(PASSWORD, f"'{password}'"), *rights):
            self.execute(statement)
        return self.target(name, password, **overrides)

    def reset(self) -> None:
        """Drop every database, and put the grant tables back to what they were after the first start."""
        with self.superuser_cursor() as cursor:
            # A connection that a failing test left open may hold locks that we would wait for.
            cursor.execute(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER <> 'system user'"
            )
            for (number,) in cursor.fetchall():
                with suppress(pymysql.OperationalError):
                    cursor.execute(f"KILL {number}")
            cursor.execute("SHOW DATABASES")
            for (name,) in cursor.fetchall():
                if name not in SYSTEM_DATABASES:
                    cursor.execute(f"DROP DATABASE {identifier(name)}")
        self.restore(self._initial)

    def snapshot(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows of the grant tables, for `restore()`."""
        return {table: self.execute(f"SELECT * FROM mysql.{table}") for table in GRANT_TABLES}

    def restore(self, snapshot: dict[str, list[tuple[Any, ...]]]) -> None:
        """Make the accounts and their rights what they were then. Their databases must still be there."""
        with self.superuser_cursor() as cursor:
            for table, rows in snapshot.items():
                cursor.execute(f"DELETE FROM mysql.{table}")
                if rows:
                    places = ", ".join(["%s"] * len(rows[0]))
                    cursor.executemany(f"INSERT INTO mysql.{table} VALUES ({places})", rows)
            cursor.execute("FLUSH PRIVILEGES")

    def _create(self) -> None:
        """System tables, and a superuser of our own name who comes in by the socket and who we are."""
        script = [
            "CREATE DATABASE mysql;",
            "USE mysql;",
            f"SET @auth_root_socket = '{self.superuser}';",
            *((SHARE / name).read_text() for name in SYSTEM_TABLES),
        ]
        # Those lines make accounts for the host's own name; mariadb-install-db can leave them out too.
        text = "".join(line for line in "\n".join(script).splitlines(True) if "@current_hostname" not in line)
        made = subprocess.run(
            [*self._command(), "--bootstrap", "--enforce-storage-engine="],
            **{key: value for key, value in manner(self.user).items() if key != "stdin"},
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if made.returncode:
            raise RuntimeError(f"mariadbd --bootstrap failed:\n{made.stdout.decode(errors='replace')[-3000:]}")

    def _command(self) -> list[str]:
        assert MARIADBD is not None
        return [
            MARIADBD,
            "--no-defaults",
            f"--datadir={self.data}",
            f"--tmpdir={self.data}",
            *(f"--{name}={value}" for name, value in self.options.items()),
        ]

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(TIMEOUT)
            self._process = None


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def _system_user() -> pwd.struct_passwd | None:
    """Who runs the server when we are root. None: we do."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("mysql") or names["nobody"]


def _server() -> MariadbServer:
    if MARIADBD is None:
        missing = "mariadbd is not installed (Debian: mariadb-server-core)"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    server = MariadbServer()
    server.start()
    return server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    server = _server()
    yield server
    server.remove()


@pytest.fixture
def private_mariadb() -> Iterator[MariadbServer]:
    server = _server()
    yield server
    server.remove()
