"""Real MariaDB and MySQL servers to test against: a pytest plugin, independent of Django.

`mysql_family` runs a test on each of them, `mariadb` on each MariaDB, `mysql` on MySQL and `mariadb_newest` on one.
These are servers that all tests share, started when first asked for; who uses one leaves it as it was, with `reset()`.
`private_mysql_family`, `private_mariadb` and `private_mysql` are servers of the test's own, to stop and to kill.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pymysql
import pytest

from engines.registry import ENGINES
from engines.statements import PASSWORD
from engines.target import Target
from taifish.pginstall import process_options
from taifish.tests.postgres import free_port
from taifish.tests.servers import DEBIAN, missing, unpacked, version
from taifish.tests.watcher import private_folder

SYSTEM_DATABASES = ("mysql", "information_schema", "performance_schema", "sys")
TIMEOUT = 60.0


class MysqlFamilyServer:
    """One server in a private folder under /tmp, reached as superuser by socket and by all others on 127.0.0.1.

    `name` is a key of servers.DEBIAN. `options` are server options ("max_connections": "3"), also settable between
    `stop()` and `start()`. The superuser has our own name and comes in by the socket and who we are.
    """

    product: str
    #: They hold all accounts and rights, as rows that can be put back.
    grant_tables: tuple[str, ...]

    def __init__(self, name: str, **options: str) -> None:
        programs = unpacked(name)
        if programs is None:
            missing(f"{DEBIAN[name].product} of Debian {DEBIAN[name].suite}")
        self.programs = programs
        self.name = name
        self.version = tuple(int(part) for part in version(name).split("."))
        self._folder = private_folder(name)
        self.superuser = pwd.getpwuid(os.geteuid()).pw_name
        self.data = self._folder / "data"
        self.socket = self._folder / "run" / "server.sock"
        self.log = self._folder / "server.log"
        self.socket.parent.mkdir(mode=0o700)
        shutil.copytree(self.programs / "data", self.data)
        self.data.chmod(0o700)
        self.port = free_port()
        self.options = {"character_set_server": "utf8mb4", "max_connections": "30", **options}
        self._process: subprocess.Popen[bytes] | None = None
        self._initial: dict[str, list[tuple[Any, ...]]] = {}

    def start(self) -> None:
        """Start the server, return when it takes connections."""
        command = [
            str(self.programs / "bin" / DEBIAN[self.name].programs[0]),
            *DEBIAN[self.name].options,
            f"--datadir={self.data}",
            f"--tmpdir={self.data}",
            f"--socket={self.socket}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--pid-file={self.data / 'server.pid'}",
            *(f"--{name}={value}" for name, value in self.options.items()),
        ]
        if os.geteuid() == 0:
            command.append("--user=root")
        if not self._initial:
            first = self._folder / "first.sql"
            first.write_text("".join(f"{statement};\n" for statement in self._first_statements()))
            command.append(f"--init-file={first}")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, **process_options(), stdout=log, stderr=log)
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                with self.superuser_cursor():
                    break
            except pymysql.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()[-3000:]}") from None
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
            # PyMySQL reads the system's authorities for each connection with TLS, which takes a tenth of a second.
            ssl_disabled=True,
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
            statement.sql
            for statement in ENGINES["mysql"].script(
                *(level, (name, "%")),
                product=self.product,
                version=".".join(map(str, self.version)),
                hash_blind=hash_blind,
            )
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
            cursor.execute("SHOW PROCESSLIST")
            processes = cursor.fetchall()
            for number in (
                number
                for number, user, *_ in processes
                if number != cursor.connection.thread_id() and user not in ("system user", "event_scheduler")
            ):
                with suppress(pymysql.OperationalError):
                    cursor.execute(f"KILL {number}")
            cursor.execute("SHOW DATABASES")
            for (name,) in cursor.fetchall():
                if name not in SYSTEM_DATABASES:
                    cursor.execute(f"DROP DATABASE {identifier(name)}")
        self.restore(self._initial)

    def snapshot(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows of the grant tables, for `restore()`."""
        return {table: self.execute(f"SELECT * FROM mysql.{table}") for table in self.grant_tables}

    def restore(self, snapshot: dict[str, list[tuple[Any, ...]]]) -> None:
        """Make the accounts and their rights what they were then. Their databases must still be there."""
        with self.superuser_cursor() as cursor:
            for table, rows in snapshot.items():
                cursor.execute(f"DELETE FROM mysql.{table}")
                if rows:
                    places = ", ".join(["%s"] * len(rows[0]))
                    cursor.executemany(f"INSERT INTO mysql.{table} VALUES ({places})", rows)
            cursor.execute("FLUSH PRIVILEGES")

    def _first_statements(self) -> list[str]:
        """Statements of the first start, which make the superuser: one with all that root has."""
        raise NotImplementedError

    def _all_rights(self, account: str) -> list[str]:
        # GRANT PROXY is refused to the account that runs these statements.
        proxy = "(Host, User, Proxied_host, Proxied_user, With_grant) VALUES ('localhost', {}, '', '', 1)"
        return [
            f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION",
            "INSERT INTO mysql.proxies_priv " + proxy.format("'" + self.superuser.replace("'", "''") + "'"),
            "FLUSH PRIVILEGES",
        ]

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(TIMEOUT)
            self._process = None


class MariadbServer(MysqlFamilyServer):
    product = "MariaDB"
    grant_tables = ("global_priv", "db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "roles_mapping")

    def __init__(self, name: str = "mariadb-sid", **options: str) -> None:
        super().__init__(name, **options)

    def _first_statements(self) -> list[str]:
        if self.superuser == "root":
            return []
        account = f"{identifier(self.superuser)}@localhost"
        return [
            f"CREATE USER {account} IDENTIFIED VIA unix_socket",
            *self._all_rights(account),
        ]


class MysqlServer(MysqlFamilyServer):
    product = "MySQL"
    grant_tables = (
        *("user", "db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv"),
        *("role_edges", "default_roles", "global_grants", "password_history"),
    )

    def __init__(self, name: str = "mysql-sid", **options: str) -> None:
        super().__init__(name, **options)

    def _first_statements(self) -> list[str]:
        account = f"{identifier(self.superuser)}@localhost"
        statements = [
            "INSTALL PLUGIN auth_socket SONAME 'auth_socket.so'",
            "ALTER USER root@localhost IDENTIFIED WITH auth_socket",
        ]
        if self.superuser == "root":
            return [*statements, f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION"]
        return [*statements, f"CREATE USER {account} IDENTIFIED WITH auth_socket", *self._all_rights(account)]


def identifier(name: str) -> str:
    """`name` as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def new_server(name: str) -> MariadbServer | MysqlServer:
    """A server by its key in servers.DEBIAN, not started."""
    return MysqlServer(name) if DEBIAN[name].product == "MySQL" else MariadbServer(name)


ALL = tuple(DEBIAN)
MARIADBS = tuple(name for name in ALL if DEBIAN[name].product == "MariaDB")
MYSQLS = tuple(name for name in ALL if DEBIAN[name].product == "MySQL")
NEWEST_MARIADB = MARIADBS[-1]


def _id(name: str) -> str:
    """ "mariadb10.11"; without the version where the server is missing."""
    number = ".".join(version(name).split(".")[:2]) if unpacked(name) else ""
    return f"{DEBIAN[name].product.lower()}{number}"


@pytest.fixture(scope="session")
def mysql_family_server() -> Iterator[Callable[[str], MariadbServer | MysqlServer]]:
    """The session's server of that name, started at the first call."""
    servers: dict[str, MariadbServer | MysqlServer] = {}

    def server(name: str) -> MariadbServer | MysqlServer:
        if name not in servers:
            servers[name] = new_server(name)
            servers[name].start()
        return servers[name]

    yield server
    for started in servers.values():
        started.remove()


@pytest.fixture(scope="session", params=ALL, ids=_id)
def mysql_family(request: pytest.FixtureRequest, mysql_family_server: Callable[[str], Any]) -> Any:
    return mysql_family_server(request.param)


@pytest.fixture(scope="session", params=MARIADBS, ids=_id)
def mariadb(request: pytest.FixtureRequest, mysql_family_server: Callable[[str], Any]) -> MariadbServer:
    return mysql_family_server(request.param)


@pytest.fixture(scope="session", params=MYSQLS, ids=_id)
def mysql(request: pytest.FixtureRequest, mysql_family_server: Callable[[str], Any]) -> MysqlServer:
    return mysql_family_server(request.param)


@pytest.fixture(scope="session")
def mariadb_newest(mysql_family_server: Callable[[str], Any]) -> MariadbServer:
    return mysql_family_server(NEWEST_MARIADB)


def _private(request: pytest.FixtureRequest) -> Iterator[Any]:
    server = new_server(request.param)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=ALL, ids=_id)
def private_mysql_family(request: pytest.FixtureRequest) -> Iterator[MariadbServer | MysqlServer]:
    yield from _private(request)


@pytest.fixture(params=MARIADBS, ids=_id)
def private_mariadb(request: pytest.FixtureRequest) -> Iterator[MariadbServer]:
    yield from _private(request)


@pytest.fixture(params=MYSQLS, ids=_id)
def private_mysql(request: pytest.FixtureRequest) -> Iterator[MysqlServer]:
    yield from _private(request)
