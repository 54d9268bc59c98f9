"""psycopg2 as the PostgreSQL adapter uses it: connecting, fetching, and what each failure means to a DBA.

Failures go by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) where there is one.
libpq gives none for a connection that was refused, so there the words decide: libpq's own are English, the
server's are in its lc_messages, of which English and Chinese are known.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import os
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from ..certificates import Certificate, no_tls, shown, unproven
from ..errors import AdapterError, scrub
from ..statements import is_printable, offered
from ..target import Target

TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")

#: Server encodings that are decoded here. In them the server stores any bytes as a name, and refuses a whole answer in
#: which it cannot convert one of them to UTF-8. https://www.postgresql.org/docs/current/multibyte.html
DECODED_HERE = re.compile("SQL_ASCII|(LATIN|ISO_8859_|KOI8|WIN).+")

#: SQLSTATE, or its class → code. The longer one wins.
STATES = {
    "08": "connection_lost",
    "25P03": "connection_lost",
    "28": "auth_failed",
    "3D000": "no_such_database",
    "40001": "deadlock",
    "40P01": "deadlock",
    "42501": "denied",
    "42703": "unsupported",
    "42704": "unsupported",
    "42883": "unsupported",
    "42P01": "unsupported",
    "53300": "too_many_connections",
    "55000": "bad_target",
    "55P03": "timeout",
    "57014": "timeout",
    "57P01": "connection_lost",
    "57P02": "connection_lost",
    "57P03": "server_starting",
    "57P04": "connection_lost",
    "57P05": "connection_lost",
}

#: Tried in this order: a pg_hba.conf entry may be missed for SSL, and a broken connection may be an SSL one.
SAYINGS = {
    "unproven_server": r"authentication method requirement|server did not complete authentication",
    "auth_failed": r"authentication failed|认证失败|no password supplied|pg_hba\.conf|role .+ does not exist"
    r"|角色 .+ 不存在|not permitted to log in|不允许角色|no such user|valid client certificate",
    "no_such_database": r"database .+ does not exist|数据库 .+ 不存在|no such database",
    "denied": r"permission denied for database|数据库.+权限不够",
    "too_many_connections": r"too many (clients|connections)|slots are reserved|no more connections allowed"
    r"|太多的客户|连接太多|已保留的连接",
    "server_starting": r"database system is|数据库系统",
    "bad_target": r"not currently accepting connections|当前不接受|invalid database|invalid port"
    r"|invalid connection option|null character|expected authentication request|invalid response",
    "connection_lost": r"closed the connection|closed unexpectedly|already closed|connection reset"
    r"|EOF detected|unexpected eof|could not (receive|send) data|lost synchronization",
    "tls_failed": r"SSL|certificate",
    "timeout": r"timeout expired|timed out",
    "unreachable": r"could not translate host name|connection refused|unreachable|no route to host"
    r"|is the server running|permission denied|could not connect",
}

#: What a message about missing rights names → the privilege. Only the system's own is read, and its names are in
#: every language the same.
CATALOGUE_PRIVILEGES = {
    r"function (\w+)": "EXECUTE ON FUNCTION pg_catalog.{}",
    r"\b(pg_catalog)\b": "USAGE ON SCHEMA {}",
    r"\b(pg_\w+)": "SELECT ON pg_catalog.{}",
}

HINTS = {
    "unreachable": "Check host, port and firewalls, and that the server runs and listens there (listen_addresses).",
    "auth_failed": "Check user and password of the credential; a role whose VALID UNTIL has passed is refused "
    "in the same words. A new one: CREATE ROLE {user} LOGIN PASSWORD '…'; GRANT pg_read_all_stats TO {user};",
    "no_such_database": "Name a database that exists as the instance's maintenance database, usually postgres. "
    "A connection pooler knows only those in its own configuration.",
    "denied": "Do as an administrator what the message asks for: {user} must be able to read pg_catalog.",
    "too_many_connections": "Wait, or raise max_connections, or the CONNECTION LIMIT of role or database.",
    "server_starting": "Wait until the server has started, or look into its log for what holds it.",
    "bad_target": "Check host, port and database: PostgreSQL must answer there and take connections.",
    "connection_lost": "The server, or something on the way, ended the connection; the server's log says who.",
    "tls_failed": "Compare the TLS mode and CA file of the instance with ssl and ssl_cert_file of the server.",
    "unproven_server": "The server must prove who it is before it gets the password.",
    "timeout": "Nothing answered in time: check host, port, firewalls and load, or raise the connect timeout.",
    "deadlock": "Nothing to do: the visit is tried again.",
    "unsupported": "PostgreSQL 12 or newer is needed; what answers lacks a catalogue or setting of it.",
    "server_error": "See the message and the server's log.",
}


def driver() -> Any:
    """The psycopg2 module. Raises AdapterError("driver_missing")."""
    try:
        import psycopg2
    except ImportError as error:
        raise AdapterError(str(error), code="driver_missing", hint="pip install psycopg2-binary") from None
    # As bytes, whatever they are; most are UTF-8.
    psycopg2.extensions.encodings["SQLASCII"] = "utf_8"
    return psycopg2


#: https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-SSLREQUEST
SSL_REQUEST = bytes.fromhex("0000000804d2162f")

#: What libpq may answer, by `Target.may_send`. A stored password that the server does not ask for proves nothing.
REQUIRE_AUTH = {"nothing": "scram-sha-256,gss", "hashes": "scram-sha-256,gss,md5"}

#: What reveals nothing to an impostor, for hints.
SCRAM = (
    "store the password of {user} as SCRAM (SET password_encryption = 'scram-sha-256'; then set the password anew) and "
    "ask for scram-sha-256 in pg_hba.conf"
)


def certificate_of(target: Target, seconds: float) -> Certificate | None:
    """The certificate of a guarded target, None where it has no TLS. Raises AdapterError, also for one that is not the
    pinned one.

    libpq shows a certificate to nobody, so that a connection made for this alone asks for it. It sends no password.
    """
    _check_tls_mode(target)
    if target.tls_mode == "disable":
        return None
    try:
        seen = shown(target, target.port or 5432, min(target.connect_timeout, seconds), SSL_REQUEST)
    except (OSError, ValueError) as error:
        raise _not_reached(error, target) from None
    if seen is None and target.needs_tls:
        raise no_tls(target)
    return seen


def _not_reached(error: Exception, target: Target) -> AdapterError:
    code = "unreachable"
    if isinstance(error, TimeoutError):
        code = "timeout"
    elif isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError | BrokenPipeError):
        code = "connection_lost"
    elif isinstance(error, ssl.SSLError):
        code = "tls_failed"
    elif isinstance(error, ValueError | OverflowError):
        code = "bad_target"
    message = f"connection to {target.host!r}, port {target.port or 5432}, failed: {error}"
    return AdapterError(message, code=code, hint=_hint(code, "", "", target, ""))


def _check_tls_mode(target: Target) -> None:
    if target.tls_mode not in TLS_MODES:
        hint = f"One of {', '.join(TLS_MODES)}."
        raise AdapterError(f"no such TLS mode: {target.tls_mode!r}", code="bad_target", hint=hint)


@contextlib.contextmanager
def _guard(target: Target, seen: Certificate | None) -> Iterator[dict[str, Any]]:
    """The arguments of libpq that keep the password from a server that has not proved itself.

    libpq cannot pin a certificate, but takes a self-signed one as its own authority. With any other the connection is
    not held to what was `seen`, and nothing that an impostor could use is sent.
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
                hint="Install psycopg2-binary 2.9.10 or newer, or have a certificate authority prove the server.",
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
    """A psycopg2 connection in autocommit mode, refused or made in so many seconds (per address of the host, 2 at
    least). Host may be a folder of sockets. `seen` is what `certificate_of` returned for a guarded
    target. Raises AdapterError."""
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
                # Encryption by Kerberos would pass for TLS, whatever the mode says.
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
        told = adapter_error(error, target, database)
        if told.code == "unproven_server":
            instead = SCRAM.format(user=quoted(target.username))
            if target.may_send == "all":
                instead += "; or let the server have a self-signed certificate: to no other can libpq be held"
            raise unproven(target, _method(str(error)), seen, instead) from None
        raise told from None
    connection.autocommit = True
    encoding = connection.get_parameter_status("server_encoding") or ""
    if DECODED_HERE.fullmatch(encoding):
        try:
            with _cut_after(connection, max(seconds, 1), threading.Event()):
                connection.set_client_encoding(encoding)
        except psycopg2.Error as error:
            connection.close()
            raise adapter_error(error, target, database) from None
    return connection


def _method(message: str) -> str:
    """The way to log in that libpq refused, in words."""
    words = {"cleartext": "the password in clear text", "hashed": "an md5 hash of the password"}
    words["did not complete"] = "no password, although one is stored,"
    return next((method for word, method in words.items() if word in message), "a login that is not allowed here")


def fetch(
    connection: Any, target: Target, database: str, statements: str, parameters: Any, seconds: float
) -> list[tuple[Any, ...]]:
    """The rows of the last statement; after so many seconds the connection is cut off. Raises AdapterError.

    A name that cannot be decoded (it was made in a database with another encoding) must not hide all others: its odd
    bytes arrive as \\xNN.
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
            raise AdapterError(
                f"no answer within {seconds:.0f} s, and the server did not keep its own statement timeout",
                code="timeout",
                hint="The server or the way to it hangs: look at its load, and at the network.",
            ) from None
        raise adapter_error(error, target, database) from None


def adapter_error(error: Exception, target: Target, database: str) -> AdapterError:
    """The AdapterError for what psycopg2 raised while it connected to, or worked in, `database`."""
    state = getattr(error, "pgcode", None) or ""
    message = scrub(str(error), [target.password]) or type(error).__name__
    code = STATES.get(state) or STATES.get(state[:2]) or ("" if state else _by_words(str(error)))
    code = code or "server_error"
    missing = offered(_missing(code, state, str(error), target, database))
    hint = missing or _hint(code, state, str(error), target, database)
    if missing and code == "denied" and state:
        hint = f"In database {quoted(database)}: {missing}"
    # Class 53: the server is short of memory or disk for the moment.
    transient = True if state.startswith("53") else None
    return AdapterError(message, code=code, hint=hint, transient=transient, missing=missing)


def connect_denied(target: Target, database: str) -> AdapterError:
    """What connecting to a database without the CONNECT privilege would end in."""
    missing = offered(connect_grant(database, target.username))
    hint = missing or "Grant CONNECT on it to the account: its name has control characters, so no SQL is offered."
    return AdapterError(f'permission denied for database "{database}"', code="denied", hint=hint, missing=missing)


def connect_grant(database: str, role: str) -> str:
    return f"GRANT CONNECT ON DATABASE {quoted(database)} TO {quoted(role)};"


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string, whatever standard_conforming_strings says."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def connect_to(database: str) -> str:
    """psql's command that goes to a database and keeps server and user. A name alone could be a connection string, and
    lead to another server; pg_dump writes it the same way."""
    value = database.replace("\\", "\\\\").replace("'", "\\'")
    connection = quoted(f"dbname='{value}'")
    return f"\\connect -reuse-previous=on {connection}"


def _by_words(message: str) -> str:
    return next((code for code, words in SAYINGS.items() if re.search(words, message, re.IGNORECASE)), "")


def _missing(code: str, state: str, message: str, target: Target, database: str) -> str:
    """The statement that gives what was refused, if that is known."""
    user = quoted(target.username)
    if code == "auth_failed" and re.search("not permitted to log in|不允许角色", message):
        return f"ALTER ROLE {user} LOGIN;"
    if code == "denied" and not state:
        return connect_grant(database, target.username)
    if code == "denied":
        for words, privilege in CATALOGUE_PRIVILEGES.items():
            if named := re.search(words, message):
                return f"GRANT {privilege.format(named[1])} TO {user};"
    return ""


def _hint(code: str, state: str, message: str, target: Target, database: str) -> str:
    user = quoted(target.username)
    if code == "auth_failed" and "pg_hba.conf" in message and is_printable(database):
        return (
            f"Add to pg_hba.conf: host {quoted(database)} {user} {_client(message)} scram-sha-256 "
            "and run SELECT pg_reload_conf(). If it has a hostssl entry already, set the TLS mode to require."
        )
    if state == "57014":
        return (
            f"The statement took longer than {target.statement_timeout} s, or somebody cancelled it: "
            "raise the instance's statement timeout, or visit it at a quieter hour."
        )
    if state == "55P03":
        return "Another session locks a system catalogue (VACUUM FULL, for example): try when it has ended."
    return HINTS[code].format(user=user)


def _client(message: str) -> str:
    """Our address, with mask, as the server saw it: the first one that it quotes."""
    for address in re.findall(r'"([0-9A-Fa-f.:]+)"', message.partition("failed: ")[2]):
        try:
            return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
        except ValueError:
            continue
    return "<address of Taifish>/32"


def _decoded(value: Any, codec: str) -> Any:
    if isinstance(value, list):
        return [_decoded(part, codec) for part in value]
    return value.decode(codec, "backslashreplace") if isinstance(value, bytes) else value


@contextlib.contextmanager
def _cut_after(connection: Any, seconds: float, cut: threading.Event) -> Iterator[None]:
    """Shut the connection's socket down after so long, and set `cut`: a stopped server keeps no timeout, and
    libpq would wait for it for ever."""
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
