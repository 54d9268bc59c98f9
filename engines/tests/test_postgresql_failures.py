"""What the PostgreSQL adapter says when things go wrong: real failures of real servers, in a DBA's terms."""

from __future__ import annotations

import gettext
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from engines.adapter import Adapter
from engines.errors import AdapterError
from engines.postgresql.engine import ENGINE
from engines.postgresql.errors import adapter_error
from engines.postgresql.session import PostgreSQLSession
from engines.registry import adapter_for
from engines.target import Target
from sync.tests.workers import Proxy
from taifish.tests.postgres import PostgresServer

CHINESE = Path("/usr/share/locale/zh_CN/LC_MESSAGES/postgres-15.mo")


@pytest.fixture
def server(postgres18: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres18
    postgres18.reset()


def failure(target: Target, work: Callable[[Adapter], object] = Adapter.inventory) -> AdapterError:
    """The error of a visit that must fail; none shows the password, in itself or in a traceback."""
    with pytest.raises(AdapterError) as caught, adapter_for(target) as adapter:
        work(adapter)
    error = caught.value
    assert not target.password or target.password not in f"{error} {error.hint} {caught.getrepr()}"
    assert error.hint
    return error


@contextmanager
def listener(answer: bytes | None = None) -> Iterator[int]:
    """A port that takes connections and says nothing, or always the same."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        if answer is not None:
            threading.Thread(target=_answer, args=(sock, answer), daemon=True).start()
        yield sock.getsockname()[1]


def _answer(sock: socket.socket, answer: bytes) -> None:
    while True:
        try:
            client = sock.accept()[0]
        except OSError:
            return
        with client:
            client.recv(1024)
            client.sendall(answer)


def test_wrong_password(server: PostgresServer) -> None:
    error = failure(replace(server.collector(), password="wrong-one"))
    assert (error.code, error.transient) == ("auth_failed", False)
    assert "password authentication failed" in str(error)


def test_unknown_role_expired_role_and_no_login(server: PostgresServer) -> None:
    assert failure(server.target("nobody", "some-password")).code == "auth_failed"
    target = server.collector()
    server.execute("ALTER ROLE taifish_collector VALID UNTIL '2001-01-01'")
    error = failure(target)
    assert error.code == "auth_failed"
    assert "VALID UNTIL" in error.hint
    server.execute("ALTER ROLE taifish_collector VALID UNTIL 'infinity' NOLOGIN")
    error = failure(target)
    assert (error.code, error.hint) == ("auth_failed", 'ALTER ROLE "taifish_collector" LOGIN;')


def test_no_password_at_all(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    assert failure(replace(server.collector(), password="")).code == "auth_failed"


def test_no_such_database(server: PostgresServer) -> None:
    target = server.collector(database="dbname=evil host=elsewhere")
    error = failure(target)
    assert (error.code, error.transient) == ("no_such_database", False)
    assert "dbname=evil host=elsewhere" in str(error)


def test_no_right_to_connect(server: PostgresServer) -> None:
    server.fresh_database('se"cret')
    server.execute('REVOKE CONNECT ON DATABASE "se""cret" FROM PUBLIC')
    error = failure(server.collector(database='se"cret'))
    assert (error.code, error.transient) == ("denied", False)
    assert error.hint == 'GRANT CONNECT ON DATABASE "se""cret" TO "taifish_collector";'


def test_a_database_that_takes_no_connections(server: PostgresServer) -> None:
    assert failure(server.collector(database="template0")).code == "bad_target"


@pytest.mark.parametrize(
    "catalogue", ["pg_roles", "pg_auth_members", "pg_database", "pg_tablespace", "pg_parameter_acl"]
)
def test_a_catalogue_withheld_fails_the_visit(server: PostgresServer, catalogue: str) -> None:
    """F1.5: what may not be read is an error that names the GRANT, in either phase, never an empty answer."""
    database = server.fresh_database("shop")
    server.execute(f"REVOKE SELECT ON pg_catalog.{catalogue} FROM PUBLIC", database=database)
    error = failure(server.collector(database=database), Adapter.permissions)
    assert (error.code, error.transient) == ("denied", False)
    assert error.hint == f'In database "shop": GRANT SELECT ON pg_catalog.{catalogue} TO "taifish_collector";'


@pytest.mark.parametrize(
    ("revoke", "grant"),
    [
        ("SELECT ON pg_catalog.pg_class", "SELECT ON pg_catalog.pg_class"),
        ("EXECUTE ON FUNCTION aclexplode(aclitem[])", "EXECUTE ON FUNCTION pg_catalog.aclexplode"),
        ("USAGE ON SCHEMA pg_catalog", "USAGE ON SCHEMA pg_catalog"),
    ],
)
def test_a_catalogue_withheld_in_one_database_is_a_gap_there(server: PostgresServer, revoke: str, grant: str) -> None:
    """F1.5: and following the hint closes it."""
    server.execute(f"REVOKE {revoke} FROM PUBLIC", database=server.fresh_database("shop"))
    target = server.collector(level="B")
    with adapter_for(target) as adapter:
        gaps = adapter.permissions().gaps
    (hint,) = {gap.hint for gap in gaps}
    assert {(gap.database, gap.code) for gap in gaps} == {("shop", "denied")}
    assert hint == f'In database "shop": GRANT {grant} TO "taifish_collector";'
    server.execute(hint.partition(": ")[2], database="shop")
    with adapter_for(target) as adapter:
        assert adapter.permissions().gaps == []


def test_too_many_connections(server: PostgresServer) -> None:
    target = server.collector()
    server.execute("ALTER ROLE taifish_collector CONNECTION LIMIT 1")
    with adapter_for(target):
        error = failure(target)
    assert (error.code, error.transient) == ("too_many_connections", True)


def test_a_full_server_is_full_on_the_way_too(private_postgres: PostgresServer) -> None:
    """F1.3: the next attempt finds a free place and needs no restart of anything."""
    target = private_postgres.collector()
    open_connections = []
    while True:
        try:
            open_connections.append(
                psycopg2.connect(
                    host=target.host,
                    port=target.port,
                    user=target.username,
                    password=target.password,
                    dbname="postgres",
                )
            )
        except psycopg2.OperationalError:
            break
    assert failure(target).code == "too_many_connections"
    for connection in open_connections:
        connection.close()
    deadline = time.monotonic() + 60
    while private_postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'taifish_collector'") != [
        (0,)
    ]:
        assert time.monotonic() < deadline
    with adapter_for(target) as adapter:
        assert adapter.inventory().accounts


def test_a_server_stopped_killed_and_started(private_postgres: PostgresServer) -> None:
    """F1.3: each failure has its name, and the visit after the restart succeeds."""
    target = private_postgres.collector(level="B")
    private_postgres.fresh_database("shop")

    with private_postgres.superuser():
        os.kill(int((private_postgres.cluster.data / "postmaster.pid").read_text().split()[0]), signal.SIGTERM)
        deadline = time.monotonic() + 60
        while (error := _failure_or_none(target)) is None:
            assert time.monotonic() < deadline
        assert (error.code, error.transient) == ("server_starting", True)
    private_postgres.stop()
    error = failure(target)
    assert (error.code, error.transient) == ("unreachable", True)
    private_postgres.start()

    def killed_between_the_phases(adapter: Adapter) -> None:
        adapter.inventory()
        private_postgres.kill9()
        adapter.permissions()

    error = failure(target, killed_between_the_phases)
    assert (error.code, error.transient) == ("connection_lost", True)
    private_postgres.start()

    class Killed(PostgreSQLSession):
        def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
            if self.database == "shop":
                private_postgres.kill9()
            return super().query(sql, parameters)

    with pytest.raises(AdapterError) as caught, Adapter(replace(ENGINE, session=Killed), target) as adapter:
        adapter.permissions()
    assert caught.value.code == "connection_lost"
    private_postgres.start()
    with adapter_for(target) as adapter:
        assert adapter.permissions().gaps == []


def _failure_or_none(target: Target) -> AdapterError | None:
    try:
        with adapter_for(target):
            return None
    except AdapterError as error:
        return error


def test_pg_hba(private_postgres: PostgresServer) -> None:
    target = private_postgres.collector()
    (private_postgres.cluster.home / "pg_hba.conf").write_text(
        f"local all {private_postgres.cluster.superuser} peer map=taifish\n"
    )
    private_postgres.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 60
    while (error := _failure_or_none(target)) is None:
        assert time.monotonic() < deadline
    assert error.code == "auth_failed"
    assert 'host "postgres" "taifish_collector" 127.0.0.1/32 scram-sha-256' in error.hint


def test_nothing_answers() -> None:
    target = Target("postgresql", "127.0.0.1", "taifish", "pass-phrase", connect_timeout=2)
    with listener() as port:
        started = time.monotonic()
        error = failure(replace(target, port=port))
        assert time.monotonic() - started < 30
    assert (error.code, error.transient) == ("timeout", True)
    assert failure(replace(target, port=port)).code == "unreachable"
    assert failure(replace(target, host="no-such-host.invalid")).code == "unreachable"
    assert failure(replace(target, host="/nonexistent/folder")).code == "unreachable"


def test_something_else_answers() -> None:
    with listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        error = failure(Target("postgresql", "127.0.0.1", "taifish", "pass-phrase", port=port))
    assert (error.code, error.transient) == ("bad_target", False)


@pytest.mark.parametrize("wrong", [{"tls_mode": "maybe"}, {"port": 99999}, {"password": "a\0b"}, {"username": "a\0b"}])
def test_what_no_server_could_take(server: PostgresServer, wrong: dict[str, Any]) -> None:
    assert failure(replace(server.target("taifish", "pass-phrase"), **wrong)).code == "bad_target"


def test_tls_against_a_server_without(server: PostgresServer, tmp_path: Path) -> None:
    for mode in ("require", "verify-ca", "verify-full"):
        error = failure(server.target("taifish", "pass-phrase", tls_mode=mode, tls_ca=str(tmp_path / "missing.pem")))
        assert (error.code, error.transient) == ("tls_failed", False)


def test_tls_checks_the_certificate(postgres_server: Callable[[int], PostgresServer], tmp_path: Path) -> None:
    server = postgres_server(12)  # The wheel's own are built without TLS.
    data = server.cluster.data
    certificate = _self_signed(data / "server.key", "localhost")
    (data / "server.crt").write_bytes(certificate)
    for path in (data / "server.key", data / "server.crt"):
        os.chown(path, data.stat().st_uid, data.stat().st_gid)
        path.chmod(0o600)
    (ca := tmp_path / "ca.pem").write_bytes(certificate)
    (other_ca := tmp_path / "other.pem").write_bytes(_self_signed(tmp_path / "other.key", "localhost"))
    server.execute("ALTER SYSTEM SET ssl = on")
    try:
        server.execute("SELECT pg_reload_conf()")
        target = server.collector(tls_mode="require")
        deadline = time.monotonic() + 60
        while _failure_or_none(target):
            assert time.monotonic() < deadline
        for good in (
            replace(target, tls_mode="verify-ca", tls_ca=str(ca)),
            replace(target, tls_mode="verify-full", tls_ca=str(ca), host="localhost"),
        ):
            with adapter_for(good) as adapter:
                assert adapter.session.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(True,)]
        for bad in (
            replace(target, tls_mode="verify-ca", tls_ca=str(other_ca)),
            replace(target, tls_mode="verify-full", tls_ca=str(ca)),
            replace(target, tls_mode="verify-full", host="localhost"),
        ):
            assert failure(bad).code == "tls_failed"
    finally:
        server.execute("ALTER SYSTEM RESET ssl")
        server.execute("SELECT pg_reload_conf()")
        server.reset()


def _self_signed(key_file: Path, host: str) -> bytes:
    """A certificate for the host, in PEM, whose key is written to the file."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def test_a_locked_catalogue(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1.10: neither waits for ever: the lock timeout first, else the statement timeout, else the budget."""
    target = server.collector()
    with server.superuser() as cursor:
        cursor.execute("BEGIN; LOCK TABLE pg_auth_members IN ACCESS EXCLUSIVE MODE")
        error = failure(replace(target, statement_timeout=1), Adapter.permissions)
        assert (error.code, error.transient) == ("timeout", True)
        assert "statement timeout" in error.hint
        error = failure(replace(target, budget=1), Adapter.permissions)
        assert (error.code, error.transient) == ("budget_exceeded", True)
        monkeypatch.setattr(PostgreSQLSession, "lock_timeout", 0.1)
        error = failure(target, Adapter.permissions)
        assert error.code == "timeout"
        assert "locks a system catalogue" in error.hint


def test_a_database_that_takes_too_long_is_a_gap_but_the_budget_is_final(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F1.10: one slow database is named; the visit as a whole keeps its time."""
    server.fresh_database("shop")
    target = server.collector(level="B")
    with server.superuser("shop") as cursor:
        cursor.execute("BEGIN; LOCK TABLE pg_largeobject_metadata IN ACCESS EXCLUSIVE MODE")
        with adapter_for(replace(target, statement_timeout=5)) as adapter:
            gaps = adapter.permissions().gaps
        assert {(gap.database, gap.code) for gap in gaps} == {("shop", "timeout")}
        assert failure(replace(target, budget=1), Adapter.permissions).code == "budget_exceeded"


def test_a_backend_that_hangs(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1.2: a server that no longer keeps its own timeouts is cut off from this side."""
    monkeypatch.setattr(PostgreSQLSession, "grace", 0.2)
    with adapter_for(server.collector(statement_timeout=3)) as adapter:
        pid = adapter.session.query("SELECT pg_backend_pid()")[0][0]
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(AdapterError) as caught:
                adapter.inventory()
            assert time.monotonic() - started < 30
        finally:
            os.kill(pid, signal.SIGCONT)
    assert (caught.value.code, caught.value.transient) == ("timeout", True)
    assert "hangs" in caught.value.hint


def test_a_server_that_freezes_while_a_database_is_read(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, proxy_to: Callable[[int], Proxy]
) -> None:
    """F1.2: the visit fails as a timeout that names the statement, although our side has closed the connection."""
    monkeypatch.setattr(PostgreSQLSession, "grace", 0.2)
    proxy = proxy_to(server.cluster.port)
    target = server.collector(port=proxy.port, statement_timeout=3, level="B", tls_mode="disable")
    with adapter_for(target) as adapter:
        adapter.inventory()
        proxy.halt_at = b"pg_largeobject_metadata"
        with pytest.raises(AdapterError) as caught:
            adapter.permissions()
    assert (caught.value.code, caught.value.transient) == ("timeout", True)
    assert "no answer within 3 s" in str(caught.value)
    assert "; statement: " in str(caught.value)


def test_the_limits_of_tcp_are_a_timeout(server: PostgresServer) -> None:
    """A host that vanishes is cut off by the kernel, in libpq's words."""
    for words in (
        "could not receive data from server: Connection timed out",
        "SSL SYSCALL error: Connection timed out",
    ):
        error = adapter_error(psycopg2.OperationalError(words), server.target("taifish", "secret"), "postgres")
        assert error.code == "timeout"


def test_a_terminated_session(server: PostgresServer) -> None:
    def terminated(adapter: Adapter) -> None:
        adapter.inventory()
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'taifish_collector'")
        adapter.permissions()

    error = failure(server.collector(), terminated)
    assert (error.code, error.transient) == ("connection_lost", True)


@pytest.mark.parametrize(
    ("state", "code", "transient"),
    [
        ("40P01", "deadlock", True),
        ("40001", "deadlock", True),
        ("42501", "denied", False),
        ("53300", "too_many_connections", True),
        ("53200", "server_error", True),
        ("57P03", "server_starting", True),
        ("08006", "connection_lost", True),
        ("28P01", "auth_failed", False),
        ("28000", "auth_failed", False),
        ("3D000", "no_such_database", False),
        ("55P03", "timeout", True),
        ("42P01", "unsupported", False),
        ("XX000", "server_error", False),
    ],
)
def test_sqlstate_decides_in_any_language(server: PostgresServer, state: str, code: str, transient: bool) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'нет, password authentication failed' USING ERRCODE = '{state}'; END $$"
    error = failure(server.collector(), lambda adapter: adapter.session.query(raising))
    assert (error.code, error.transient) == (code, transient)
    assert "нет" in str(error)


@pytest.mark.skipif(not CHINESE.exists(), reason=f"PostgreSQL's Chinese messages are not installed: no {CHINESE}")
@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('password authentication failed for user "%s"', "auth_failed"),
        ('no pg_hba.conf entry for host "%s", user "%s", database "%s", %s', "auth_failed"),
        ('role "%s" does not exist', "auth_failed"),
        ('role "%s" is not permitted to log in', "auth_failed"),
        ('database "%s" does not exist', "no_such_database"),
        ('permission denied for database "%s"', "denied"),
        ("sorry, too many clients already", "too_many_connections"),
        ('too many connections for role "%s"', "too_many_connections"),
        ("the database system is starting up", "server_starting"),
        ('database "%s" is not currently accepting connections', "bad_target"),
    ],
)
def test_refusals_in_chinese(message: str, code: str) -> None:
    """A refused connection has no SQLSTATE, so the server's own translation must be understood."""
    with CHINESE.open("rb") as catalogue:
        chinese = gettext.GNUTranslations(catalogue).gettext(message)
    assert chinese != message
    said = f'connection to server at "10.0.0.1", port 5432 failed: 致命错误:  {chinese.replace("%s", "taifish")}'
    error = adapter_error(psycopg2.OperationalError(said), Target("postgresql", "10.0.0.1", "taifish"), "postgres")
    assert error.code == code


def test_no_message_shows_the_password(server: PostgresServer) -> None:
    """The server quotes names, and a password may stand where a name was meant."""
    target = server.collector()
    error = failure(replace(target, database=target.password))
    assert error.code == "no_such_database"
    assert "********" in str(error)
    with pytest.raises(AdapterError) as caught:
        adapter_for(replace(target, username=target.password)).__enter__()
    # The hint is our own statement, and names the account as every page does.
    assert (caught.value.code, target.password in str(caught.value)) == ("auth_failed", False)


def test_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg2", None)
    error = failure(Target("postgresql", "127.0.0.1", "taifish"))
    assert (error.code, error.transient) == ("driver_missing", False)


def test_the_session_is_named_limited_and_cannot_write(server: PostgresServer) -> None:
    target = server.collector(application_name="taifish visit 7", statement_timeout=7)
    server.execute("ALTER ROLE taifish_collector SET search_path = evil; ALTER ROLE taifish_collector SET jit = on")
    server.execute("ALTER DATABASE postgres SET default_transaction_read_only = off")
    server.execute("GRANT CREATE ON SCHEMA public TO taifish_collector")
    with adapter_for(target) as adapter:
        assert server.execute("SELECT application_name FROM pg_stat_activity WHERE usename = 'taifish_collector'") == [
            ("taifish visit 7",)
        ]
        settings = [
            "transaction_read_only",
            "transaction_isolation",
            "search_path",
            "jit",
            "TimeZone",
            "statement_timeout",
        ]
        ((*found, statement_timeout),) = adapter.session.query(
            f"SELECT {', '.join(f'current_setting({name!r})' for name in settings)}"
        )
        assert found == ["on", "repeatable read", "pg_catalog", "off", "UTC"]
        assert statement_timeout in ("7s", "7001ms")
        with pytest.raises(AdapterError, match="read-only transaction"):
            adapter.session.query("CREATE TABLE public.mine ()")
    server.execute("ALTER DATABASE postgres RESET default_transaction_read_only")


def test_a_folder_of_sockets_as_host(server: PostgresServer) -> None:
    with adapter_for(server.collector(host=str(server.cluster.socket_dir))) as adapter:
        assert adapter.session.query("SELECT inet_client_addr() IS NULL") == [(True,)]
