"""One connection to a PostgreSQL server, by psycopg2. A visit is one read-only transaction, so that all phases see one
snapshot."""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..certificates import Certificate, no_tls, shown, unproven
from ..errors import AdapterError
from ..facts import ServerInfo
from ..session import Candidate, Session
from ..target import TLS_MODES, Target
from .account import quoted
from .errors import adapter_error, connect_denied, not_reached
from .reads import Features

#: Server encodings that Taifish decodes. With these, a name may contain any bytes, and the server rejects a result with
#: a name that it cannot convert to UTF-8. https://www.postgresql.org/docs/current/multibyte.html
DECODED_HERE = re.compile("SQL_ASCII|(LATIN|ISO_8859_|KOI8|WIN).+")

#: The templates that initdb creates.
TEMPLATES = ("template0", "template1")

#: Databases that cloud providers close to customers in spite of the ACL.
RESERVED = ("rdsadmin", "azure_maintenance", "cloudsqladmin")

#: SET LOCAL in the transaction: PgBouncer may reject startup options, and a plain SET would affect its next client.
BEGIN = """
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = %(statement_timeout)s;
SET LOCAL lock_timeout = %(lock_timeout)s;
SET LOCAL idle_in_transaction_session_timeout = %(idle_timeout)s;
SET LOCAL search_path = pg_catalog;
SET LOCAL quote_all_identifiers = off;
SET LOCAL jit = off;
SET LOCAL TimeZone = 'UTC';
SELECT current_setting('server_version'), current_database(),
       (SELECT count(*) = 2 FROM pg_attribute
         WHERE attrelid = 'pg_auth_members'::regclass AND attname IN ('inherit_option', 'set_option')),
       to_regclass('pg_catalog.pg_parameter_acl') IS NOT NULL
"""

#: The current database comes first: it is read in the snapshot of level A.
DATABASES = """
SELECT oid, datname, datallowconn, datistemplate,
       coalesce(has_database_privilege(session_user, oid, 'CONNECT'), false)
  FROM pg_database ORDER BY datname <> current_database(), datname
"""

DATABASE_EXISTS = "SELECT 1 FROM pg_database WHERE oid = %(oid)s"

_IDLE = 0  # psycopg2.extensions.TRANSACTION_STATUS_IDLE
_IN_TRANSACTION = 2  # psycopg2.extensions.TRANSACTION_STATUS_INTRANS


def driver() -> Any:
    """The psycopg2 module. Raises AdapterError("driver_missing")."""
    try:
        import psycopg2
    except ImportError as error:
        raise AdapterError(str(error), code="driver_missing", hint="pip install psycopg2-binary") from None
    # SQL_ASCII declares no encoding; most names are UTF-8.
    psycopg2.extensions.encodings["SQLASCII"] = "utf_8"
    return psycopg2


#: https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-SSLREQUEST
SSL_REQUEST = bytes.fromhex("0000000804d2162f")

#: Login methods that libpq may use, by `Target.may_send`. "none" is not among them: a server that does not ask for the
#: stored password proves nothing.
REQUIRE_AUTH = {"nothing": "scram-sha-256,gss", "hashes": "scram-sha-256,gss,md5"}

#: The method that reveals nothing to an impostor, for hints.
SCRAM = (
    "store the password of {user} as SCRAM (SET password_encryption = 'scram-sha-256'; then set the password again) "
    "and use scram-sha-256 in pg_hba.conf"
)


def certificate_of(target: Target, seconds: float) -> Certificate | None:
    """The certificate of a guarded target; None without TLS. Raises AdapterError, also if another one is pinned.

    libpq does not return the server's certificate, so a separate connection reads it. It sends no password.
    """
    _check_tls_mode(target)
    if target.tls_mode == "disable":
        return None
    try:
        seen = shown(target, target.port or 5432, min(target.connect_timeout, seconds), SSL_REQUEST)
    except (OSError, ValueError) as error:
        raise not_reached(error, target) from None
    if seen is None and target.needs_tls:
        raise no_tls(target)
    return seen


def _check_tls_mode(target: Target) -> None:
    if target.tls_mode not in TLS_MODES:
        hint = f"Use one of {', '.join(TLS_MODES)}."
        raise AdapterError(f"unknown TLS mode: {target.tls_mode!r}", code="bad_target", hint=hint)


@contextlib.contextmanager
def _guard(target: Target, seen: Certificate | None) -> Iterator[dict[str, Any]]:
    """The arguments of libpq that withhold the password from a server that has not proved its identity.

    libpq cannot pin a certificate, but accepts a self-signed one as its authority. With other certificates, libpq may
    connect to a server with another one than `seen`, so nothing that helps an impostor may be sent.
    """
    arguments: dict[str, Any] = {
        "sslmode": target.tls_mode,
        "sslrootcert": target.tls_ca or ("system" if target.tls_mode == "verify-full" else None),
    }
    if not target.is_guarded:
        yield arguments
        return
    if seen:
        arguments["sslmode"] = "require"
    anchor = seen if seen and seen.is_anchor else None
    may_send = target.may_send
    if may_send == "all" and target.password and not anchor:
        may_send = "hashes" if target.proof == "hashes" else "nothing"
    if may_send != "all":
        if driver().extensions.libpq_version() < 160000:
            raise AdapterError(
                "libpq is older than 16 and would send the password to any server",
                code="driver_missing",
                hint="Install psycopg2-binary 2.9.10 or newer, or verify the server by a certificate authority.",
            )
        arguments["require_auth"] = REQUIRE_AUTH[may_send]
    if not anchor:
        yield arguments
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as authority:
        authority.write(anchor.pem)
        authority.flush()
        yield arguments | {"sslmode": "verify-ca", "sslrootcert": authority.name}


def connect(target: Target, database: str, seconds: float, seen: Certificate | None = None) -> Any:
    """A psycopg2 connection in autocommit mode. Waits `seconds` for each address of the host, at least 2. The host may
    be a directory of sockets. `seen` is the result of `certificate_of` for a guarded target. Raises AdapterError."""
    psycopg2 = driver()
    _check_tls_mode(target)
    try:
        with _guard(target, seen) as guard:
            connection = psycopg2.connect(
                host=target.host.removeprefix("[").removesuffix("]"),
                port=target.port or 5432,
                dbname=database,
                user=target.username,
                password=target.password or None,
                sslcert=target.client_certificate or None,
                sslkey=target.client_key or None,
                # Kerberos encryption would replace TLS in every mode.
                gssencmode="disable",
                connect_timeout=math.ceil(min(target.connect_timeout, seconds)),
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
                tcp_user_timeout=30_000,
                application_name=target.application_name,
                client_encoding="UTF8",
                **guard,
            )
    except (psycopg2.Error, ValueError) as error:
        failure = adapter_error(error, target, database)
        if failure.code == "unproven_server":
            instead = SCRAM.format(user=quoted(target.username))
            if target.may_send == "all":
                instead += "; or give the server a self-signed certificate: libpq can pin no other"
            raise unproven(target, _method(str(error)), seen, instead) from None
        raise failure from None
    connection.autocommit = True
    encoding = connection.get_parameter_status("server_encoding") or ""
    if DECODED_HERE.fullmatch(encoding):
        cut = threading.Event()
        try:
            with _cut_after(connection, max(seconds, 1), cut):
                connection.set_client_encoding(encoding)
        except psycopg2.Error as error:
            connection.close()
            raise (_no_answer(seconds) if cut.is_set() else adapter_error(error, target, database)) from None
    return connection


def _method(message: str) -> str:
    """The login method that libpq rejected, in words."""
    words = {"cleartext": "the password in clear text", "hashed": "an md5 hash of the password"}
    words["did not complete"] = "no password, although one is stored,"
    return next((method for word, method in words.items() if word in message), "a login method that is not allowed")


def fetch(
    connection: Any, target: Target, database: str, statements: str, parameters: Any, seconds: float
) -> list[tuple[Any, ...]]:
    """The rows of the last statement. Cuts the connection after `seconds`. Raises AdapterError.

    In a name that cannot be decoded, because it was created in a database with another encoding, the invalid bytes are
    replaced by \\xNN, so that all other rows are still read.
    """
    psycopg2 = driver()
    cut = threading.Event()
    try:
        with _cut_after(connection, seconds, cut), connection.cursor() as cursor:
            cursor.execute(statements, parameters)
            try:
                return cursor.fetchall() if cursor.description else []
            except UnicodeDecodeError:
                psycopg2.extensions.register_type(psycopg2.extensions.BYTES, cursor)
                psycopg2.extensions.register_type(psycopg2.extensions.BYTESARRAY, cursor)
                cursor.execute(statements, parameters)
                codec = psycopg2.extensions.encodings[connection.encoding]
                return [tuple(_decoded(value, codec) for value in row) for row in cursor.fetchall()]
    except psycopg2.Error as error:
        if cut.is_set():
            raise _no_answer(seconds) from None
        raise adapter_error(error, target, database) from None


def _no_answer(seconds: float) -> AdapterError:
    return AdapterError(
        f"no answer within {seconds:.0f} s, and the server did not enforce its statement timeout",
        code="timeout",
        hint="The server or the network hangs. Check its load and the network.",
    )


def _decoded(value: Any, codec: str) -> Any:
    if isinstance(value, list):
        return [_decoded(part, codec) for part in value]
    return value.decode(codec, "backslashreplace") if isinstance(value, bytes) else value


@contextlib.contextmanager
def _cut_after(connection: Any, seconds: float, cut: threading.Event) -> Iterator[None]:
    """Shut down the connection's socket after `seconds`, and set `cut`: a stopped server enforces no timeout, and libpq
    would wait forever."""
    descriptor = connection.fileno()

    def shut() -> None:
        cut.set()
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as wire:
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class PostgreSQLSession(Session):
    """PostgreSQL 12 to 18, as any role that can log in; levels B and C also need CONNECT on each database."""

    _certificate: Certificate | None = None

    def connect(self) -> ServerInfo:
        self.account = self.target.username
        self.database = self.target.database or "postgres"
        self._certificate = certificate_of(self.target, self.remaining()) if self.target.is_guarded else None
        self._connection = self._open(self.database)
        version, self.database, has_options, has_parameters = self.begin()
        self.features = Features(has_options, has_parameters)
        fingerprint = self._certificate.fingerprint if self._certificate else ""
        return ServerInfo("PostgreSQL", version, f"psycopg2 {driver().__version__.split()[0]}", fingerprint)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def candidates(self) -> list[Candidate]:
        """Every database except the templates that initdb creates."""
        return [
            Candidate(
                oid, name, _skipped(name, connectable, template), None if allowed else connect_denied(self.target, name)
            )
            for oid, name, connectable, template, allowed in self.query(DATABASES)
            if name not in TEMPLATES
        ]

    def exists(self, native_id: int) -> bool:
        """Whether the database exists now, in a new snapshot."""
        self.begin()
        found = self.query(DATABASE_EXISTS, {"oid": native_id})
        self._rollback()
        return bool(found)

    @contextlib.contextmanager
    def inside(self, database: str) -> Iterator[None]:
        """Within this context, `query()` runs in that database. Ends the main transaction first, which would block
        vacuum."""
        if database == self.database:
            yield
            return
        self._rollback()
        main = self._connection, self.database
        self._connection, self.database = self._open(database), database
        try:
            self.begin()
            yield
        finally:
            self._connection.close()
            self._connection, self.database = main

    def _open(self, database: str) -> Any:
        try:
            return connect(self.target, database, self.remaining(), self._certificate)
        except AdapterError:
            self.remaining()
            raise

    def begin(self) -> tuple[Any, ...]:
        """Start a transaction and return the row of the SELECT in `BEGIN`."""
        self._rollback()
        limits = {
            "statement_timeout": self._milliseconds(self.target.statement_timeout),
            "lock_timeout": self._milliseconds(self.lock_timeout),
            "idle_timeout": self._milliseconds(self.target.budget),
        }
        return self.query(BEGIN, limits)[0]

    def _rollback(self) -> None:
        if not self.idle:
            self.query("ROLLBACK")

    @property
    def idle(self) -> bool:
        """Whether no transaction is open."""
        return self._connection is None or self._connection.info.transaction_status == _IDLE

    def _milliseconds(self, seconds: float) -> int:
        """At most 1 ms more than the rest of the budget, so that a statement can exceed it."""
        return math.ceil(min(seconds, self.remaining()) * 1000) + 1

    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        limit = self._milliseconds(self.target.statement_timeout)
        if self._connection.info.transaction_status == _IN_TRANSACTION:
            sql = f"SET LOCAL statement_timeout = {limit}; {sql}"
        try:
            return fetch(self._connection, self.target, self.database, sql, parameters, limit / 1000 + self.grace)
        except AdapterError:
            self.remaining()
            raise

    def _is_cut(self, error: AdapterError) -> bool:
        return bool(self._connection.closed)


def _skipped(name: str, connectable: bool, template: bool) -> tuple[str, str, str] | None:
    """Code, message and hint for a database that visits leave out; else None."""
    if name in RESERVED:
        return "provider_reserved", f"database {name} is reserved for the provider", "Nothing to do."
    if template:
        return "not_visited", f"database {name} is a template", "Nothing to do, unless it should not be one."
    if not connectable:
        return "not_visited", f"database {name} allows no connections", "Nothing to do, unless it should."
    return None
