"""One connection to an Oracle server, by python-oracledb.

It uses thin mode, which needs no Oracle software and supports servers of version 12.1 and later.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

from ..certificates import Certificate, shown, unproven, watching_context
from ..errors import AdapterError
from ..facts import ServerInfo
from ..session import Session
from ..target import TLS_MODES, Target
from .account import exact_identifier
from .decode import clock_of
from .errors import adapter_error
from .reads import ROOT, Features, views

#: Minutes after which an idle connection is probed, so that the connection to a dead server ends.
EXPIRE_TIME = 1


def driver() -> Any:
    """The oracledb module. Raises AdapterError("driver_missing")."""
    try:
        import oracledb
    except ImportError as error:
        raise AdapterError(str(error), code="driver_missing", hint="pip install oracledb") from None
    return oracledb


def errors() -> tuple[type[Exception], ...]:
    """The exceptions of a call: the driver does not wrap those for unknown host names and invalid arguments."""
    return (driver().Error, OSError, ValueError, TypeError)


def certificate_of(target: Target, seconds: float) -> Certificate | None:
    """The certificate of a guarded target; None without TLS. Raises AdapterError, also if the server has not proved its
    identity and hashes are not allowed: Oracle's login sends a value from which the password can be cracked."""
    _check(target)
    seen = None
    if target.tls_mode not in ("disable", "prefer"):
        try:
            seen = shown(target, target.port or 1521, seconds)
        except errors() as error:
            raise adapter_error(error, target) from None
    if target.may_send == "nothing":
        raise unproven(target, "Oracle's login, which sends a hash,", seen, "use TCPS (TLS mode require or stricter)")
    return seen


def open_connection(target: Target, seconds: float) -> Any:
    """A python-oracledb connection, made within `seconds`. Raises AdapterError.

    TLS is Oracle's TCPS, which has a separate port, so mode "prefer" never uses TLS.
    """
    oracledb = driver()
    _check(target)
    # Otherwise the first connection of a process decides the mode, and all others wait for it.
    oracledb.enable_thin_mode()
    arguments: dict[str, Any] = {
        "user": target.username,
        "password": target.password,
        "host": target.host.removeprefix("[").removesuffix("]"),
        "port": target.port or 1521,
        "service_name": target.database,
        "protocol": "tcp",
        "tcp_connect_timeout": seconds,
        "retry_count": 0,
        "expire_time": EXPIRE_TIME,
        "program": target.application_name,
    }
    try:
        if target.tls_mode not in ("disable", "prefer"):
            arguments |= {
                "protocol": "tcps",
                "ssl_context": _tls_context(target),
                "ssl_server_dn_match": target.tls_mode == "verify-full",
            }
        return _within(seconds, lambda: oracledb.connect(**arguments))
    except errors() as error:
        raise adapter_error(error, target) from None


def _check(target: Target) -> None:
    """Raise AdapterError("bad_target") for an invalid target."""
    message, hint = "", "Correct host, port, service and user of the instance."
    if target.username.strip('"').upper() == "SYS":
        message = "SYS is refused: it connects only AS SYSDBA, which cannot be limited"
        hint = "Create a separate account with the rights of manage.py print_grants oracle."
    elif not target.database:
        message, hint = "the service is missing", "Enter the service as the database of the instance."
    elif target.tls_mode not in TLS_MODES:
        message, hint = f"unknown TLS mode: {target.tls_mode!r}", f"Use one of {', '.join(TLS_MODES)}."
    elif target.host.startswith("/"):
        message = "Oracle does not support Unix sockets"
    elif target.client_certificate:
        message = "Taifish cannot log in to Oracle by a client certificate"
        hint = "Choose a credential with a password."
    elif not 0 < (target.port or 1521) < 65536:
        message = f"{target.port} is not a port"
    elif re.search(r"[\s()=\x00]", target.host + target.database):
        message = "the host or the service contains a blank, a bracket or ="
    if message:
        raise AdapterError(message, code="bad_target", hint=hint)


def _tls_context(target: Target) -> ssl.SSLContext:
    if target.is_guarded:
        return watching_context(target)
    context = ssl.create_default_context(cafile=target.tls_ca or None)
    # The driver compares host names itself (ssl_server_dn_match), including alternative names.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE if target.tls_mode == "require" else ssl.CERT_REQUIRED
    return context


def _within(seconds: float, connect: Callable[[], Any]) -> Any:
    """The result of `connect`, within `seconds`. Raises TimeoutError, and the exceptions of `connect`.

    The driver limits only its TCP connect: a listener that accepts a connection and does not answer would block it
    forever.
    """
    done, late = threading.Event(), threading.Event()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(connect())
        except Exception as error:  # noqa: BLE001 -- raised again by the waiting thread
            outcome.append(error)
        done.set()
        if late.is_set() and not isinstance(outcome[0], Exception):
            with contextlib.suppress(Exception):
                outcome[0].close()

    threading.Thread(target=run, daemon=True, name="taifish-oracle-connect").start()
    if not done.wait(seconds):
        late.set()
        if not done.is_set():
            raise TimeoutError(f"no answer within {seconds:.0f} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


#: Refuses writes, and gives all statements the same snapshot.
BEGIN = "SET TRANSACTION READ ONLY"

#: Needs no privilege. CON_ID is 0 without containers, and CON_NAME is then the name of the database; in the root CON_ID
#: is 1. Dates are in the time zone of the server's operating system.
SESSION = """
SELECT SYS_CONTEXT('USERENV', 'CON_ID'), SYS_CONTEXT('USERENV', 'CON_NAME'),
       SYS_CONTEXT('USERENV', 'DATABASE_ROLE'), SYS_CONTEXT('USERENV', 'SESSION_USER'),
       TO_CHAR(SYSTIMESTAMP, 'TZH:TZM')
  FROM DUAL
"""

#: Lists the columns that the account may read.
COLUMNS = """
SELECT TABLE_NAME, COLUMN_NAME FROM ALL_TAB_COLUMNS
 WHERE OWNER = 'SYS' AND TABLE_NAME IN ('DBA_USERS', 'CDB_USERS', 'DBA_ROLES', 'CDB_ROLES', 'V_$PWFILE_USERS')
"""

#: Rows per network round trip.
ROWS_AT_A_TIME = 5_000


class OracleSession(Session):
    """Oracle 12.1 to 23ai, as any account that may read the dictionary's views: a database without containers, one PDB,
    or the root with all open PDBs.

    In the root the account is a common user; its CONTAINER_DATA limits which other containers it sees. Verified with an
    emulated dictionary, not yet on a server: see tests/test_oracle_contract.py. `role` is DATABASE_ROLE, `clock` the
    time zone of the dictionary's dates.
    """

    features = Features()
    role = ""

    def connect(self) -> ServerInfo:
        patience = min(self.target.connect_timeout, self.remaining())
        seen = certificate_of(self.target, patience) if self.target.is_guarded else None
        self._connection = open_connection(self.target, patience)
        self.query(BEGIN)
        ((number, name, self.role, user, offset),) = self.query(SESSION)
        self.account, self.clock = exact_identifier(user), clock_of(offset)
        version = str(self._connection.version)
        columns = frozenset((table, column) for table, column in self.query(COLUMNS))
        self.features = Features(int(version.partition(".")[0]), int(number) == ROOT, name, columns)
        fingerprint = seen.fingerprint if seen else ""
        return ServerInfo("Oracle", version, f"python-oracledb {driver().__version__}, thin", fingerprint)

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*errors()):
                self._connection.close()
            self._connection = None

    def limited(self, sql: str, rows: int) -> str:
        if not rows:
            return f"SELECT 1 FROM ({sql}) q WHERE 1 = 0"  # noqa: S608 -- constants of `reads`
        return f"{sql} FETCH FIRST {rows} ROWS ONLY"

    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        seconds = min(self.target.statement_timeout, self.remaining())
        try:
            # In milliseconds; 0 means no limit. A bit more than the budget, which is then known to be used up.
            self._connection.call_timeout = ceil(seconds * 1000) + 1
            return self._fetch(sql, parameters)
        except errors() as error:
            self.remaining()
            raise self._failure(error, sql) from None

    def _fetch(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.arraysize = cursor.prefetchrows = ROWS_AT_A_TIME
            cursor.execute(sql, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def _failure(self, error: Exception, statement: str) -> AdapterError:
        found = adapter_error(error, self.target, self.account, views(statement), self.features.in_root)
        if found.code == "denied" and len(views(statement)) > 1:
            # The server does not say which view was denied.
            lacking = [view for view in views(statement) if not self._may_read(view)]
            found = adapter_error(error, self.target, self.account, lacking, self.features.in_root)
        return found

    def _may_read(self, view: str) -> bool:
        try:
            self._fetch(f"SELECT 1 FROM {view} WHERE 1 = 0", None)  # noqa: S608 -- the dictionary's own names
        except errors():
            return False
        return True
