"""What goes wrong with an Oracle server, and what a DBA is told: python-oracledb's own errors, and real sockets."""

from __future__ import annotations

import builtins
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import oracledb
import pytest
from oracledb import errors as driver_errors

from engines.adapter import Adapter
from engines.errors import AdapterError
from engines.oracle import session as session_module
from engines.oracle.account import exact_identifier, identifier
from engines.oracle.engine import ENGINE
from engines.oracle.reads import READS
from engines.oracle.session import OracleSession
from engines.registry import adapter_for
from engines.target import Target
from engines.tests.oracle_emulated import database_error

SECRET = "s3cr3t-of-the-collector"
TARGET = Target("oracle", "127.0.0.1", "taifish", SECRET, 1521, "shoppdb", connect_timeout=2)


def driver_error(number: int, **words: Any) -> oracledb.Error:
    """What python-oracledb raises for a DPY- error."""
    error = driver_errors._create_err(number, **words)
    return error.exc_type(error)


def refused(target: Target = TARGET) -> AdapterError:
    """What connecting there ends in."""
    with pytest.raises(AdapterError) as caught, adapter_for(target):
        pass
    assert SECRET not in f"{caught.value}{caught.value.hint}{caught.value.missing}{caught.value.__cause__}"
    return caught.value


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], AdapterError]:
    """answer(error) is what a DBA is told when the driver raises it while it connects."""

    def answering(error: Exception) -> AdapterError:
        def connect(**arguments: Any) -> Any:
            raise error

        monkeypatch.setattr(oracledb, "connect", connect)
        return refused()

    return answering


#: ORA- number, message → code, whether trying again may help, and what the hint holds.
SERVER_ERRORS = [
    (1017, "invalid username/password; logon denied", "auth_failed", False, "user and password"),
    (1045, "user TAIFISH lacks CREATE SESSION privilege", "auth_failed", False, "GRANT CREATE SESSION TO TAIFISH;"),
    (28000, "The account is locked.", "auth_failed", False, "ALTER USER TAIFISH ACCOUNT UNLOCK;"),
    (28001, "the password has expired", "auth_failed", False, 'ALTER USER TAIFISH IDENTIFIED BY "…";'),
    (28040, "No matching authentication protocol", "auth_failed", False, "Set its password again"),
    (28009, "connection as SYS should be as SYSDBA or SYSOPER", "bad_target", False, "Correct"),
    (12541, "Cannot connect. No listener at host", "unreachable", True, "listener"),
    (12514, "TNS:listener does not currently know of service", "no_such_database", True, "lsnrctl services"),
    (12505, "SID is not registered with the listener", "no_such_database", False, "lsnrctl services"),
    (12528, "all appropriate instances are blocking new connections", "server_starting", True, "standby"),
    (1033, "ORACLE initialization or shutdown in progress", "server_starting", True, "standby"),
    (1034, "ORACLE not available", "server_starting", True, "starting"),
    (1035, "ORACLE only available to users with RESTRICTED SESSION privilege", "server_starting", True, "restricted"),
    (12519, "TNS:no appropriate service handler found", "too_many_connections", True, "processes"),
    (20, "maximum number of processes (300) exceeded", "too_many_connections", True, "processes"),
    (2391, "exceeded simultaneous SESSIONS_PER_USER limit", "too_many_connections", True, "profile"),
    (3113, "end-of-file on communication channel", "connection_lost", True, "alert log"),
    (28, "your session has been killed", "connection_lost", True, "alert log"),
    (12170, "TNS:Connect timeout occurred", "timeout", True, "timeouts"),
    (60, "deadlock detected while waiting for resource", "deadlock", True, "retried"),
    (1466, "unable to read data - table definition has changed", "server_error", True, "retried"),
    (1555, "snapshot too old: rollback segment number 9", "server_error", True, "undo"),
    (12660, "Encryption or crypto-checksumming parameters incompatible", "unsupported", False, "native network"),
    (29024, "Certificate validation failure", "tls_failed", False, "CA file"),
    (600, "internal error code, arguments: [kcbz], []", "connection_lost", True, "alert log"),
    (7445, "exception encountered: core dump", "server_error", False, "alert log"),
]

DRIVER_ERRORS = [
    (driver_errors.ERR_INVALID_SERVICE_NAME, {"service_name": "x", "host": "h", "port": 1}, "no_such_database", True),
    (driver_errors.ERR_INVALID_SID, {"sid": "x", "host": "h", "port": 1}, "no_such_database", False),
    (driver_errors.ERR_LISTENER_REFUSED_CONNECTION, {"error_code": 12564}, "unreachable", True),
    (driver_errors.ERR_SERVER_VERSION_NOT_SUPPORTED, {"server_version": "11.2"}, "unsupported", False),
    (driver_errors.ERR_UNSUPPORTED_VERIFIER_TYPE, {"verifier_type": 939}, "auth_failed", False),
    (driver_errors.ERR_FEATURE_NOT_SUPPORTED, {"feature": "Native Network Encryption"}, "unsupported", False),
    (driver_errors.ERR_CONNECTION_CLOSED, {}, "connection_lost", True),
    (driver_errors.ERR_CALL_TIMEOUT_EXCEEDED, {"timeout": 2000}, "timeout", True),
    (driver_errors.ERR_INVALID_SERVER_NAME, {"expected_name": "a", "actual_name": "b"}, "tls_failed", False),
    (driver_errors.ERR_NO_CREDENTIALS, {}, "auth_failed", False),
]


@pytest.mark.parametrize(("number", "message", "code", "transient", "hint"), SERVER_ERRORS)
def test_what_the_server_says(
    answer: Callable[[Exception], AdapterError], number: int, message: str, code: str, transient: bool, hint: str
) -> None:
    told = answer(database_error(number, f"{message} {SECRET}"))
    assert (told.code, told.transient) == (code, transient)
    assert hint in told.hint
    assert f"ORA-{number:05}: {message} ********" in str(told)
    assert "http" not in str(told)


@pytest.mark.parametrize(("number", "words", "code", "transient"), DRIVER_ERRORS)
def test_what_the_driver_says(
    answer: Callable[[Exception], AdapterError], number: int, words: dict[str, Any], code: str, transient: bool
) -> None:
    told = answer(driver_error(number, **words))
    assert (told.code, told.transient, bool(told.hint)) == (code, transient, True)
    assert str(told).startswith(f"DPY-{number}: ")


@pytest.mark.parametrize("number", [942, 1031])
def test_a_view_that_may_not_be_read_names_its_grant(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Of a statement on several views, those that cannot be read: the server does not tell which."""
    withheld = {"SYS.DBA_ROLES", "SYS.DBA_TAB_PRIVS"}

    class Cursor:
        description = None

        def __enter__(self) -> Cursor:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def execute(self, statement: str, parameters: Any) -> None:
            asked = {name for name in withheld if name.removeprefix("SYS.") in statement}
            if asked:
                raise database_error(number, "table or view does not exist")

    class Connection:
        call_timeout = 0

        def cursor(self) -> Cursor:
            return Cursor()

        def close(self) -> None:
            pass

    session = OracleSession(TARGET)
    session._connection, session.account = Connection(), '"odd name"'
    (read,) = [read for read in READS if read.name == "TAB_PRIVS"]
    with pytest.raises(AdapterError) as caught:
        session.query(read.statement(session.features))
    assert caught.value.code == "denied"
    assert caught.value.missing.splitlines() == [
        'GRANT SELECT ON SYS.DBA_TAB_PRIVS TO "odd name";',
        'GRANT SELECT ON SYS.DBA_ROLES TO "odd name";',
    ]


@pytest.mark.parametrize("name", ["SYS", "sys", '"SYS"'])
def test_sys_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(oracledb, "connect", lambda **_: pytest.fail("SYS must not even try"))
    told = refused(replace(TARGET, username=name))
    assert (told.code, "AS SYSDBA" in str(told), "print_grants oracle" in told.hint) == ("bad_target", True, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"database": ""}, "the service is missing"),
        ({"tls_mode": "maybe"}, "unknown TLS mode: 'maybe'"),
        ({"host": "/run/oracle"}, "does not support Unix sockets"),
        ({"port": 70000}, "70000 is not a port"),
        ({"host": "db1)(PORT=1"}, "a blank, a bracket or ="),
        ({"database": "a b"}, "a blank, a bracket or ="),
    ],
)
def test_what_no_connection_can_be_made_of(changes: dict[str, Any], words: str) -> None:
    told = refused(replace(TARGET, **changes))
    assert (told.code, words in str(told), bool(told.hint)) == ("bad_target", True, True)


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[Target]:
    """A server that does this with each connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=run, daemon=True).start()
        yield replace(TARGET, port=server.getsockname()[1])


def test_nobody_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    told = refused(replace(TARGET, port=port))
    assert (told.code, told.transient) == ("unreachable", True)
    assert "CONNECTION_ID" not in str(told)


def test_a_name_that_nobody_knows() -> None:
    told = refused(replace(TARGET, host="no-such-host.invalid", connect_timeout=30))
    assert (told.code, told.transient) == ("unreachable", True)


def test_a_listener_that_says_nothing() -> None:
    """F1.10: the driver itself would wait for ever."""
    started = time.monotonic()
    with listener(lambda connection: time.sleep(30)) as target:
        told = refused(replace(target, connect_timeout=1))
    assert (told.code, told.transient) == ("timeout", True)
    assert time.monotonic() - started < 15


def test_one_silent_listener_does_not_hold_up_other_servers() -> None:
    """The driver would have all wait for the first connection of the process."""
    code = """
import sys, threading, time
from engines.tests.test_oracle_failures import TARGET, listener, refused, replace
with listener(lambda connection: time.sleep(30)) as silent, listener(lambda connection: connection.close()) as other:
    threading.Thread(target=lambda: refused(replace(silent, connect_timeout=20)), daemon=True).start()
    time.sleep(0.5)
    assert refused(replace(other, connect_timeout=4)).code == "connection_lost"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, cwd=Path(__file__).parents[2])


def test_a_budget_that_is_used_up_bounds_connecting_too() -> None:
    started = time.monotonic()
    with listener(lambda connection: time.sleep(30)) as target:
        told = refused(replace(target, connect_timeout=20, budget=1))
    assert told.code in ("timeout", "budget_exceeded")
    assert time.monotonic() - started < 15


def test_a_listener_that_hangs_up() -> None:
    with listener(lambda connection: connection.close()) as target:
        told = refused(target)
    assert (told.code, told.transient) == ("connection_lost", True)


def test_what_is_no_oracle() -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP ready and waiting for you\r\n" * 4)
        time.sleep(1)
        connection.close()

    with listener(greet) as target:
        told = refused(replace(target, connect_timeout=20))
    assert (told.code, bool(told.hint)) == ("connection_lost", True)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls(mode: str) -> None:
    def plain(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"this is no TLS handshake at all\r\n")
        connection.close()

    with listener(plain) as target:
        told = refused(replace(target, tls_mode=mode))
    assert (told.code, told.transient) == ("tls_failed", False)


def test_a_certificate_authority_that_is_not_there() -> None:
    told = refused(replace(TARGET, tls_mode="verify-full", tls_ca="/no/such/ca.pem"))
    assert told.code == "tls_failed"


@pytest.mark.parametrize(
    ("mode", "protocol", "checked", "named"),
    [
        ("disable", "tcp", None, None),
        ("prefer", "tcp", None, None),
        ("require", "tcps", ssl.CERT_NONE, False),
        ("verify-ca", "tcps", ssl.CERT_REQUIRED, False),
        ("verify-full", "tcps", ssl.CERT_REQUIRED, True),
    ],
)
def test_what_is_asked_of_the_driver(
    monkeypatch: pytest.MonkeyPatch, mode: str, protocol: str, checked: Any, named: bool | None
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(oracledb, "connect", lambda **arguments: asked.update(arguments))
    session_module.open_connection(replace(TARGET, tls_mode=mode, host="[::1]"), 3)
    context = asked.get("ssl_context")
    assert (asked["protocol"], context and context.verify_mode) == (protocol, checked)
    assert asked.get("ssl_server_dn_match") == named
    assert {name: asked[name] for name in ("host", "port", "service_name", "user", "program", "retry_count")} == {
        "host": "::1",
        "port": 1521,
        "service_name": "shoppdb",
        "user": "taifish",
        "program": "taifish",
        "retry_count": 0,
    }
    assert "mode" not in asked


def test_a_connection_that_comes_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    go, closed = threading.Event(), threading.Event()

    class Late:
        def close(self) -> None:
            closed.set()

    def connect(**arguments: Any) -> Late:
        go.wait(30)
        return Late()

    monkeypatch.setattr(oracledb, "connect", connect)
    with pytest.raises(AdapterError, match="no answer within 0 s"):
        session_module.open_connection(TARGET, 0.1)
    go.set()
    assert closed.wait(30)


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing driver harms its own engine only, and is told."""
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "oracledb":
            raise ImportError("No module named 'oracledb'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AdapterError) as caught, adapter_for(TARGET):
        pass
    assert (caught.value.code, "oracledb" in caught.value.hint) == ("driver_missing", True)


@pytest.mark.parametrize(
    ("name", "folded", "exact"),
    [
        ("taifish", "TAIFISH", '"taifish"'),
        ("TAIFISH", "TAIFISH", "TAIFISH"),
        ("c##taifish", "C##TAIFISH", '"c##taifish"'),
        ("odd name", '"odd name"', '"odd name"'),
        ('"taifish"', '"taifish"', '""taifish""'),
        ('"TAIFISH"', "TAIFISH", '""TAIFISH""'),
        ("1st", '"1st"', '"1st"'),
    ],
)
def test_names_in_statements(name: str, folded: str, exact: str) -> None:
    assert identifier(name) == folded
    if '"' not in name:
        assert exact_identifier(name) == exact


def test_a_server_with_no_accounts_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """F1.5: an empty answer is not believed."""
    adapter = Adapter(ENGINE, TARGET)
    answers: dict[str, list[tuple[Any, ...]]] = {"SYS_CONTEXT": [("0", "ORCL", "PRIMARY", "TAIFISH", "+00:00")]}

    def execute(statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        return next((rows for word, rows in answers.items() if word in statement), [])

    connection = type("Connection", (), {"version": "19.3.0.0.0", "close": lambda self: None})()
    monkeypatch.setattr(session_module, "open_connection", lambda *_: connection)
    monkeypatch.setattr(adapter.session, "_execute", execute)
    with adapter, pytest.raises(AdapterError, match="the server lists no accounts"):
        adapter.inventory()
