"""What the MySQL adapter says when things go wrong: real failures of real servers, with either driver."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from engines.adapter import Adapter
from engines.errors import AdapterError
from engines.mysql import session as session_module
from engines.mysql.session import MySQLSession
from engines.registry import adapter_for
from engines.target import Target
from taifish.tests.mariadb import MysqlFamilyServer

from .test_mysql import DRIVERS, prefer
from .test_postgresql_failures import _self_signed, listener


@pytest.fixture(params=DRIVERS)
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each driver, by name."""
    prefer(request.param, monkeypatch)
    name: str = request.param
    return name


@pytest.fixture
def server(chosen: str, mysql_family: MysqlFamilyServer) -> Iterator[MysqlFamilyServer]:
    yield mysql_family
    mysql_family.reset()


@pytest.fixture
def own_server(chosen: str, private_mysql_family: MysqlFamilyServer) -> MysqlFamilyServer:
    return private_mysql_family


def failure(target: Target, work: Callable[[Adapter], object] = Adapter.inventory) -> AdapterError:
    """The error of a visit that must fail; none shows the password, in itself or in a traceback."""
    with pytest.raises(AdapterError) as caught, adapter_for(target) as adapter:
        work(adapter)
    error = caught.value
    assert not target.password or target.password not in f"{error} {error.hint} {caught.getrepr()}"
    assert error.hint
    return error


#: MySQL's max_execution_time ends a SLEEP() without an error.
ENDLESS = "SELECT max(concat(u0.User, u19.Host)) FROM " + ", ".join(f"mysql.user u{number}" for number in range(20))


def endless(adapter: Adapter) -> object:
    return adapter.session.query(ENDLESS)


def roles_table(server: MysqlFamilyServer) -> str:
    return "mysql.role_edges" if server.product == "MySQL" else "mysql.roles_mapping"


def test_wrong_password(server: MysqlFamilyServer) -> None:
    error = failure(replace(server.collector(), password="wrong-one"))
    assert (error.code, error.transient) == ("auth_failed", False)
    assert "Access denied for user 'taifish_collector'" in str(error)
    assert failure(replace(server.collector(), password="")).code == "auth_failed"
    assert failure(server.target("nobody", "some-password")).code == "auth_failed"


def test_an_anonymous_account_in_the_way(server: MysqlFamilyServer) -> None:
    """The password is right, and the server looks at another account."""
    target = server.collector()
    server.execute("CREATE USER ''@localhost IDENTIFIED BY 'other'")
    error = failure(target)
    assert error.code == "auth_failed"
    assert "anonymous ''@'localhost'" in error.hint


def test_expired_and_locked(server: MysqlFamilyServer) -> None:
    target = server.collector()
    server.execute("ALTER USER taifish_collector PASSWORD EXPIRE")
    error = failure(target)
    assert (error.code, error.transient) == ("auth_failed", False)
    assert "expired" in error.hint
    server.execute("ALTER USER taifish_collector ACCOUNT LOCK")
    error = failure(target)
    assert error.code == "auth_failed"
    assert "ACCOUNT UNLOCK" in error.hint


def test_an_authentication_plugin_of_the_server_alone(server: MysqlFamilyServer) -> None:
    how = "WITH auth_socket" if server.product == "MySQL" else "VIA unix_socket"
    server.execute(f"CREATE USER by_socket IDENTIFIED {how}")
    assert failure(server.target("by_socket", "some-password")).code == "auth_failed"


def test_no_such_database_and_none_to_enter(server: MysqlFamilyServer) -> None:
    server.execute("CREATE DATABASE se_cret")
    target = server.collector(database="se_cret", grants=["SELECT ON mysql.*", "PROCESS ON *.*"])
    error = failure(target)
    assert (error.code, error.hint) == ("denied", "GRANT SELECT ON `se_cret`.* TO `taifish_collector`@`%`;")
    server.execute("GRANT SELECT ON *.* TO taifish_collector")
    error = failure(replace(target, database="elsewhere"))
    assert (error.code, error.transient) == ("no_such_database", False)


def test_too_many_connections(own_server: MysqlFamilyServer) -> None:
    """F1.3: for the account or for all; the next attempt finds a free place."""
    target = own_server.collector()
    own_server.execute("ALTER USER taifish_collector WITH MAX_USER_CONNECTIONS 1")
    with adapter_for(target):
        error = failure(target)
        assert (error.code, error.transient) == ("too_many_connections", True)
    own_server.execute("ALTER USER taifish_collector WITH MAX_USER_CONNECTIONS 0; CREATE USER crowd")
    own_server.execute("SET GLOBAL max_connections = 10")
    crowd: list[Any] = []
    with pytest.raises(pymysql.OperationalError):
        crowd.extend(pymysql.connect(host="127.0.0.1", port=own_server.port, user="crowd") for _ in range(20))
    assert failure(target).code == "too_many_connections"
    crowd.clear()  # closes them all
    assert wait_for(lambda: failure_or_none(target) is None)
    own_server.execute("SELECT 1")


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def soon(work: Callable[[], object]) -> Iterator[None]:
    """Run `work` in another thread in half a second; leave only when it is done."""
    timer = threading.Timer(0.5, work)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def failure_or_none(target: Target) -> AdapterError | None:
    try:
        with adapter_for(target) as adapter:
            adapter.inventory()
    except AdapterError as error:
        return error
    return None


def test_a_host_that_may_not_come(own_server: MysqlFamilyServer) -> None:
    target = own_server.collector()
    with own_server.superuser_cursor() as cursor:
        table = "user" if own_server.product == "MySQL" else "global_priv"
        cursor.execute(f"UPDATE mysql.{table} SET Host = '10.%'; FLUSH PRIVILEGES")
    error = failure(target)
    assert (error.code, error.transient) == ("auth_failed", False)
    assert "for this host" in error.hint


def test_a_server_stopped_killed_and_started(own_server: MysqlFamilyServer) -> None:
    """F1.3: each failure has its name, and the visit after the restart succeeds."""
    target = own_server.collector()
    own_server.stop()
    error = failure(target)
    assert (error.code, error.transient) == ("unreachable", True)
    own_server.start()

    def killed_between_the_phases(adapter: Adapter) -> None:
        adapter.inventory()
        own_server.kill9()
        adapter.permissions()

    error = failure(target, killed_between_the_phases)
    assert (error.code, error.transient) == ("connection_lost", True)
    own_server.start()

    def killed_in_a_statement(adapter: Adapter) -> None:
        with soon(own_server.kill9):
            adapter.session.query("SELECT SLEEP(30)")

    started = time.monotonic()
    error = failure(target, killed_in_a_statement)
    assert (error.code, error.transient) == ("connection_lost", True)
    assert time.monotonic() - started < 25
    own_server.start()
    with adapter_for(target) as adapter:
        assert adapter.inventory().accounts
        assert adapter.permissions().gaps == []


def test_a_killed_session_and_a_killed_statement(server: MysqlFamilyServer) -> None:
    def killed(how: str) -> Callable[[Adapter], object]:
        def work(adapter: Adapter) -> None:
            ((number,),) = adapter.session.query("SELECT CONNECTION_ID()")
            with soon(lambda: server.execute(f"KILL {how} {number}")):
                adapter.session.query("SELECT SLEEP(30)")

        return work

    error = failure(server.collector(), killed("CONNECTION"))
    assert (error.code, error.transient) == ("connection_lost", True)

    def rows_locked_then_killed(adapter: Adapter) -> None:
        ((number,),) = adapter.session.query("SELECT CONNECTION_ID()")
        with server.superuser_cursor() as cursor:
            cursor.execute(f"LOCK TABLES {roles_table(server)} WRITE")
            waits = f"SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = {number} AND STATE LIKE 'Waiting%'"

            def kill() -> None:
                assert wait_for(lambda: bool(server.execute(waits)))
                server.execute(f"KILL QUERY {number}")

            with soon(kill):
                adapter.permissions()

    error = failure(server.collector(), rows_locked_then_killed)
    assert (error.code, error.transient) == ("timeout", True)
    assert "killed on the server" in error.hint


def test_a_slow_statement(server: MysqlFamilyServer) -> None:
    """F1.10: the server's own limit first, else the budget."""
    target = server.collector()
    started = time.monotonic()
    error = failure(replace(target, statement_timeout=1), endless)
    assert (error.code, error.transient) == ("timeout", True)
    error = failure(replace(target, budget=1), endless)
    assert (error.code, error.transient) == ("budget_exceeded", True)
    assert time.monotonic() - started < 30


def test_a_budget_used_up_between_statements(server: MysqlFamilyServer) -> None:
    def late(adapter: Adapter) -> None:
        adapter.inventory()
        time.sleep(1.1)
        adapter.permissions()

    assert failure(server.collector(budget=1), late).code == "budget_exceeded"


def test_a_locked_grant_table(server: MysqlFamilyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1.10: the wait for a lock ends, by its own limit, the statement's or the budget."""
    target = server.collector()
    with server.superuser_cursor() as cursor:
        cursor.execute(f"LOCK TABLES {roles_table(server)} WRITE")
        error = failure(replace(target, statement_timeout=1), Adapter.permissions)
        assert (error.code, error.transient) == ("timeout", True)
        assert failure(replace(target, budget=1), Adapter.permissions).code == "budget_exceeded"
        monkeypatch.setattr(MySQLSession, "lock_timeout", 1)
        error = failure(target, Adapter.permissions)
        assert (error.code, error.transient) == ("timeout", True)
        assert "locks a grant table" in error.hint


def freeze(pid: int) -> None:
    """Stop a process, return when all of its threads have stopped."""
    os.kill(pid, signal.SIGSTOP)

    def is_stopped(task: Path) -> bool:
        try:
            return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
        except (FileNotFoundError, ProcessLookupError):
            return True

    while not all(map(is_stopped, Path(f"/proc/{pid}/task").iterdir())):
        time.sleep(0.01)


def test_a_server_that_hangs(own_server: MysqlFamilyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1.2: one that no longer keeps its own limits is cut off from this side, and hangs nobody at connecting."""
    monkeypatch.setattr(MySQLSession, "grace", 0)
    target = own_server.collector(statement_timeout=3)
    with adapter_for(target) as adapter:
        freeze(own_server.pid)
        try:
            started = time.monotonic()
            with pytest.raises(AdapterError) as caught:
                adapter.inventory()
            with pytest.raises(AdapterError) as again:
                adapter.session.query("SELECT 1")
            error = failure(replace(target, connect_timeout=1))
            assert time.monotonic() - started < 30
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
    # Our side closed the connection: what follows is that timeout, too, and not a connection that the server lost.
    assert (again.value.code, str(again.value)) == ("timeout", str(caught.value))
    assert "; statement: SELECT" in str(caught.value)
    assert (caught.value.code, caught.value.transient) == ("timeout", True)
    assert (error.code, error.transient) == ("timeout", True)


def test_nothing_answers(chosen: str) -> None:
    target = Target("mysql", "127.0.0.1", "taifish", "pass-phrase", connect_timeout=1)
    with listener() as port:
        started = time.monotonic()
        error = failure(replace(target, port=port))
        assert time.monotonic() - started < 30
    assert (error.code, error.transient) == ("timeout", True)
    assert failure(replace(target, port=port)).code == "unreachable"
    assert failure(replace(target, host="no-such-host.invalid", connect_timeout=30)).code == "unreachable"
    assert failure(replace(target, host="/nonexistent/folder/sock")).code == "unreachable"


def test_something_else_answers(chosen: str) -> None:
    with listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        error = failure(Target("mysql", "127.0.0.1", "taifish", "pass-phrase", port=port, connect_timeout=2))
    assert error.code in AdapterError.CODES


@pytest.mark.parametrize("wrong", [{"port": 99999}, {"password": "a\0b"}, {"username": "a\0b"}])
def test_what_no_server_could_take(server: MysqlFamilyServer, wrong: dict[str, Any]) -> None:
    error = failure(replace(server.target("taifish", "pass-phrase"), **wrong))
    assert error.code == "bad_target"


def test_an_unknown_tls_mode(server: MysqlFamilyServer) -> None:
    assert failure(server.target("taifish", "pass-phrase", tls_mode="maybe")).code == "bad_target"


def test_tls_against_a_server_without(own_server: MysqlFamilyServer, chosen: str, tmp_path: Path) -> None:
    # MySQL, and MariaDB since 11.4, make a certificate for themselves.
    own_server.stop()
    own_server.options |= {"tls_version": ""} if own_server.product == "MySQL" else {"ssl": "0"}
    own_server.start()
    target = own_server.collector()
    for mode in ("require", "verify-ca", "verify-full"):
        error = failure(replace(target, tls_mode=mode))
        assert (error.code, error.transient) == ("tls_failed", False), mode
    error = failure(replace(target, tls_mode="verify-ca", tls_ca=str(tmp_path / "missing.pem")))
    assert (error.code, error.transient) == ("tls_failed", False)
    # Asked to prefer TLS, MariaDB's Connector/C takes the connection for one with TLS, and caching_sha2_password fails.
    plain = ("disable",) if (chosen, own_server.product) == ("mysqlclient", "MySQL") else ("prefer", "disable")
    for mode in plain:
        with adapter_for(replace(target, tls_mode=mode)) as adapter:
            assert adapter.session.query("SELECT 1") == [(1,)]


def start_with_tls(server: MysqlFamilyServer) -> bytes:
    """Start a stopped server with a certificate of its own for localhost; its PEM."""
    key, crt = server.data / "server.key", server.data / "server.crt"
    certificate = _self_signed(key, "localhost")
    crt.write_bytes(certificate)
    for path in (key, crt):
        os.chown(path, server.data.stat().st_uid, server.data.stat().st_gid)
        path.chmod(0o600)
    server.options |= {"ssl_cert": str(crt), "ssl_key": str(key)}
    server.start()
    return certificate


@pytest.mark.parametrize("how", ["between two statements", "in a statement", "by KILL"])
def test_a_connection_lost_under_tls(own_server: MysqlFamilyServer, how: str) -> None:
    """Fault 8, F1.3: mysqlclient calls it a TLS error (2026), and it is a lost connection, to be tried again."""
    own_server.stop()
    start_with_tls(own_server)

    def lost(adapter: Adapter) -> None:
        assert adapter.session.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1]
        ((number,),) = adapter.session.query("SELECT CONNECTION_ID()")
        if how == "between two statements":
            own_server.kill9()
            adapter.session.query("SELECT SLEEP(30)")
        in_a_statement = how == "in a statement"
        with soon(own_server.kill9 if in_a_statement else lambda: own_server.execute(f"KILL CONNECTION {number}")):
            adapter.session.query("SELECT SLEEP(30)")

    error = failure(own_server.collector(), lost)
    assert (error.code, error.transient) == ("connection_lost", True)


def test_tls_checks_the_certificate(own_server: MysqlFamilyServer, tmp_path: Path) -> None:
    own_server.stop()
    certificate = start_with_tls(own_server)
    (ca := tmp_path / "ca.pem").write_bytes(certificate)
    (other_ca := tmp_path / "other.pem").write_bytes(_self_signed(tmp_path / "other.key", "localhost"))
    target = own_server.collector()
    for good, encrypted in (
        (target, True),
        (replace(target, tls_mode="require"), True),
        (replace(target, tls_mode="disable"), False),
        (replace(target, tls_mode="verify-ca", tls_ca=str(ca)), True),
        (replace(target, tls_mode="verify-full", tls_ca=str(ca), host="localhost"), True),
    ):
        with adapter_for(good) as adapter:
            ((_, cipher),) = adapter.session.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            assert bool(cipher) == encrypted, good
    for bad in (
        replace(target, tls_mode="verify-ca", tls_ca=str(other_ca)),
        replace(target, tls_mode="verify-ca"),
        replace(target, tls_mode="verify-full", tls_ca=str(ca)),
        replace(target, tls_mode="verify-full", host="localhost"),
    ):
        assert failure(bad).code == "tls_failed", bad
    own_server.execute("ALTER USER taifish_collector REQUIRE SSL")
    error = failure(replace(target, tls_mode="disable"))
    assert (error.code, "requires TLS" in error.hint) == ("auth_failed", True)


@pytest.mark.parametrize(
    ("number", "code", "transient"),
    [
        (1045, "auth_failed", False),
        (1044, "denied", False),
        (1142, "denied", False),
        (1143, "denied", False),
        (1227, "denied", False),
        (1040, "too_many_connections", True),
        (1053, "server_starting", True),
        (1129, "unreachable", True),
        (1130, "auth_failed", False),
        (1205, "timeout", True),
        (1213, "deadlock", True),
        (1820, "auth_failed", False),
        (1862, "auth_failed", False),
        (1969, "timeout", True),
        (3024, "timeout", True),
        (1146, "unsupported", False),
        (1054, "unsupported", False),
        (1105, "server_error", False),
    ],
)
def test_the_number_decides_in_any_language(server: MysqlFamilyServer, number: int, code: str, transient: bool) -> None:
    signal_it = f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'нет, Access denied'"
    error = failure(server.collector(), lambda adapter: adapter.session.query(signal_it))
    assert (error.code, error.transient) == (code, transient)
    assert "нет" in str(error)


def test_no_message_shows_the_password(server: MysqlFamilyServer) -> None:
    """The server quotes names, and a password may stand where a name was meant."""
    target = server.collector()
    server.execute("GRANT SELECT ON *.* TO taifish_collector")
    error = failure(replace(target, database=target.password))
    assert error.code == "no_such_database"
    assert "********" in str(error)
    error = failure(replace(target, username=target.password))
    assert error.code == "auth_failed"


def test_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    target = Target("mysql", "127.0.0.1", "taifish")
    assert session_module.driver(target).name == "PyMySQL"
    monkeypatch.setitem(sys.modules, "pymysql", None)
    error = failure(target)
    assert (error.code, error.transient) == ("driver_missing", False)


def test_the_session_is_limited_and_cannot_write(server: MysqlFamilyServer) -> None:
    target = server.collector(statement_timeout=7)
    server.execute(
        "CREATE DATABASE shop; CREATE TABLE shop.t (a int) ENGINE=MyISAM; GRANT ALL ON shop.* TO taifish_collector"
    )
    with adapter_for(target) as adapter:
        on_mysql = server.product == "MySQL"
        limits = (
            "@@max_execution_time / 1000, @@transaction_read_only"
            if on_mysql
            else "@@max_statement_time, @@tx_read_only"
        )
        ((limit, read_only, lock, mode),) = adapter.session.query(f"SELECT {limits}, @@lock_wait_timeout, @@sql_mode")
        assert 6 < float(limit) <= 7.1
        assert (lock, mode, read_only) == (10, "", 1)
        with pytest.raises(AdapterError, match="READ ONLY transaction"):
            adapter.session.query("INSERT INTO shop.t VALUES (1)")
        with pytest.raises(AdapterError, match="READ ONLY transaction"):
            adapter.session.query("CREATE USER mine")


def test_what_the_server_presets_does_not_cut_or_pad_answers(own_server: MysqlFamilyServer) -> None:
    """F1.5: a list cut short by the account's own settings would look like accounts gone."""
    own_server.execute("CREATE USER a, b, c; GRANT PROCESS ON *.* TO a")
    own_server.execute(
        "SET GLOBAL sql_select_limit = 2; SET GLOBAL sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES,"
        "NO_BACKSLASH_ESCAPES'; SET GLOBAL max_join_size = 1; SET GLOBAL sql_safe_updates = 1"
    )
    with adapter_for(own_server.collector()) as adapter:
        names = {account.name for account in adapter.inventory().accounts}
        grants = {grant.privilege for grant in adapter.permissions().grants if grant.account == ("a", "%")}
    assert {"a", "b", "c", own_server.superuser} <= names
    assert grants == {"PROCESS"}


def test_a_socket_as_host(server: MysqlFamilyServer) -> None:
    server.socket.parent.chmod(0o711)
    with adapter_for(server.collector(host=str(server.socket))) as adapter:
        assert adapter.inventory().accounts
