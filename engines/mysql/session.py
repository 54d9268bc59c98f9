"""One connection to a MySQL or MariaDB server, and its drivers.

mysqlclient is preferred; PyMySQL has the same DB-API calls and needs no compiler.
"""

from __future__ import annotations

import contextlib
import math
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

from ..errors import AdapterError
from ..facts import ServerInfo
from ..session import Session
from ..target import TLS_MODES, Target
from .decode import quoted_account
from .errors import adapter_error, refuse_imitation
from .user_table import Server

#: Needs no privilege, and returns only variables that this server has.
VARIABLES = """SHOW GLOBAL VARIABLES WHERE Variable_name IN ('activate_all_roles_on_login', 'default_password_lifetime',
'general_log', 'log_output', 'mandatory_roles', 'max_execution_time', 'max_statement_time', 'partial_revokes',
'slow_query_log', 'version_comment')"""

#: Lists the columns on which the account has any privilege.
COLUMNS = """SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'mysql'
AND TABLE_NAME IN ('db', 'global_priv', 'user') AND FIND_IN_SET('select', PRIVILEGES)"""

#: Overrides presets that would change results: sql_mode may pad names with blanks, the other two truncate lists.
SESSION = "SET SESSION sql_mode = '', SESSION sql_select_limit = 18446744073709551615, SESSION sql_big_selects = 1"

_MODULES = {"mysqlclient": "MySQLdb", "PyMySQL": "pymysql"}


@dataclass(frozen=True)
class Driver:
    """A DB-API module and the name of its distribution."""

    name: str
    module: ModuleType

    def __str__(self) -> str:
        return f"{self.name} {version(self.name)}"

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The exceptions of a call: PyMySQL does not wrap socket, TLS and encoding errors, both raise ValueError for
        NUL bytes, and PyMySQL raises RuntimeError if the cryptography package is missing."""
        return (self.module.Error, OSError, ValueError, RuntimeError)


def driver(target: Target) -> Driver:
    """The first driver that can be imported and enforces the target's TLS mode; for a guarded target PyMySQL, because
    only its login methods can be restricted. Raises AdapterError("driver_missing")."""
    for name, module in _MODULES.items():
        try:
            candidate = Driver(name, import_module(module))
        except ImportError:
            continue
        # Built on MariaDB's Connector/C, mysqlclient continues without TLS if the server offers none, in all modes
        # except the one that verifies the host name.
        plain = target.tls_mode in ("require", "verify-ca") and name == "mysqlclient" and _is_connector_c(candidate)
        if name == "PyMySQL" or not (plain or target.is_guarded):
            return candidate
    raise AdapterError(
        f"cannot import a driver for MySQL and MariaDB ({' or '.join(_MODULES)})",
        code="driver_missing",
        hint="Install PyMySQL, or mysqlclient (needs a compiler and the MariaDB headers).",
    )


def _is_connector_c(mysqlclient: Driver) -> bool:
    """Whether it is built on MariaDB Connector/C (2.x, 3.x), not on MySQL's libmysqlclient (5.7 and later)."""
    return int(mysqlclient.module.get_client_info().split(".")[0]) in (2, 3)


def open_connection(chosen: Driver, target: Target, connect_timeout: int, read_timeout: int) -> Any:
    """A DB-API connection in autocommit mode with UTF-8 text. Timeouts in whole seconds. Raises `Driver.errors`."""
    if target.tls_mode not in TLS_MODES:
        raise ValueError(f"unknown TLS mode {target.tls_mode!r}: {', '.join(TLS_MODES)}")
    if not 0 < (target.port or 3306) < 65536:
        raise ValueError(f"{target.port} is not a port")
    if "\0" in target.username + target.password + target.database:
        raise ValueError("the user, password or database contains a NUL character")
    arguments: dict[str, Any] = {
        "user": target.username,
        "charset": "utf8mb4",
        "autocommit": True,
        "local_infile": False,
        "connect_timeout": connect_timeout,
        "write_timeout": read_timeout,
    }
    if target.database:
        arguments["database"] = target.database
    if target.host.startswith("/"):
        arguments["unix_socket"] = target.host
    else:
        arguments["host"] = target.host.removeprefix("[").removesuffix("]")
        arguments["port"] = target.port or 3306
    # A Unix socket uses TLS only if the mode requires it.
    local = target.host.startswith("/") and target.tls_mode == "prefer"
    tls_mode = "disable" if local else target.tls_mode
    opener = _open_mysqlclient if chosen.name == "mysqlclient" else _open_pymysql
    return opener(chosen, target, tls_mode, arguments, read_timeout)


def _open_mysqlclient(
    chosen: Driver, target: Target, tls_mode: str, arguments: dict[str, Any], read_timeout: int
) -> Any:
    # The C libraries use the default Unix socket for exactly "localhost". Everywhere else, including certificates, case
    # does not matter, so this spelling means TCP to the same host.
    if arguments.get("host") == "localhost":
        arguments["host"] = "LOCALHOST"
    arguments |= {
        "password": target.password,
        "read_timeout": read_timeout,
        "local_infile": 0,
        "multi_statements": False,
    }
    if target.tls_ca:
        arguments["ssl"] = {"ca": target.tls_ca}
    elif tls_mode.startswith("verify"):
        # Without this key mysqlclient loads no authorities, not even the system's.
        arguments["ssl"] = {"capath": ssl.get_default_verify_paths().capath}
    modes = dict(zip(TLS_MODES, ("DISABLED", "REQUIRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"), strict=True))
    if tls_mode in ("disable", "prefer", "require"):
        arguments.pop("ssl", None)
    if target.client_certificate:
        files = {"cert": target.client_certificate, "key": target.client_key}
        arguments["ssl"] = arguments.get("ssl", {}) | files
    connect: Callable[..., Any] = chosen.module.connect
    try:
        return connect(ssl_mode=modes[tls_mode], **arguments)
    except chosen.module.OperationalError as error:
        # The mode PREFERRED of mysqlclient differs between libraries, so try TLS first, then without.
        if tls_mode == "prefer" and error.args[0] == 2026 and _NO_TLS.search(str(error)):
            return connect(ssl_mode="DISABLED", **arguments)
        raise


_NO_TLS = re.compile(r"server (?:does not|doesn't) support", re.IGNORECASE)


def _open_pymysql(chosen: Driver, target: Target, tls_mode: str, arguments: dict[str, Any], read_timeout: int) -> Any:
    arguments |= {
        # PyMySQL would encode a str as Latin-1.
        "password": target.password.encode(),
        "program_name": target.application_name,
        "read_timeout": arguments["connect_timeout"],
    }
    # Imports PyMySQL, which mysqlclient does not need.
    from .guard import GuardedConnection, prefer_tls

    if target.is_guarded:
        connection = GuardedConnection(target, **arguments)
        connection.connect()
        connection._read_timeout = read_timeout
        return connection
    if tls_mode == "disable":
        arguments["ssl_disabled"] = True
    else:
        # PyMySQL's own context verifies the host name only with a CA file, and loads the system's authorities even
        # if it verifies nothing: a tenth of a second for each connection.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = tls_mode == "verify-full"
        if tls_mode.startswith("verify"):
            # Certificates generated by MySQL lack extensions that VERIFY_X509_STRICT requires: it is not set.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(target.tls_ca) if target.tls_ca else context.load_default_certs()
        else:
            context.verify_mode = ssl.CERT_NONE
        if target.client_certificate:
            context.load_cert_chain(target.client_certificate, target.client_key)
        arguments["ssl"] = context
    connection = chosen.module.connect(defer_connect=True, **arguments)
    if tls_mode == "prefer":
        prefer_tls(connection)
    connection.connect()
    # The only way to have different limits for the handshake and for statements.
    connection._read_timeout = read_timeout
    return connection


def whole_seconds(seconds: float) -> int:
    """`seconds` rounded up, at least 1: drivers and servers use whole seconds, and 0 means no limit."""
    return max(1, math.ceil(seconds))


class MySQLSession(Session):
    """MySQL 5.7 to 9 and MariaDB 10.5 to 11, as any account that may read the grant tables.

    The variables of the server show its features, and information_schema.COLUMNS the readable columns. `now` is the
    server's Unix time at the start of the visit.
    """

    now = 0
    _waited_out = False

    def connect(self) -> ServerInfo:
        self._driver: Driver = driver(self.target)
        self.account = quoted_account(self.target.username, "%")
        self._variables: dict[str, str] = {}
        self._read_timeout = whole_seconds(min(self.target.statement_timeout, self.remaining()) + self.grace)
        patience = whole_seconds(min(self.target.connect_timeout, self.remaining()))
        started = time.monotonic()
        try:
            self._connection = open_connection(self._driver, self.target, patience, self._read_timeout)
        except self._driver.errors as error:
            self.remaining()
            raise self._failure(error, time.monotonic() - started >= patience) from None
        refuse_imitation(self._connection.get_server_info())
        # First, because on MySQL presets like max_join_size and sql_select_limit affect SHOW VARIABLES too.
        self.query(SESSION)
        self._variables.update(self.query(VARIABLES))
        refuse_imitation(self._variables.get("version_comment", ""))
        self._start()
        ((version, name, self.now),) = self.query("SELECT VERSION(), CURRENT_USER(), UNIX_TIMESTAMP()")
        self.account = quoted_account(*name.rsplit("@", 1))
        columns: dict[str, list[str]] = {}
        for table, column in self.query(COLUMNS):
            columns.setdefault(table, []).append(column)
        is_mariadb = "max_statement_time" in self._variables
        privileges = {name.upper() for name, *_ in self.query("SHOW PRIVILEGES")} if is_mariadb else set()
        if self._variables.get("mandatory_roles"):
            # SHOW VARIABLES truncates values to 1,024 characters.
            ((self._variables["mandatory_roles"],),) = self.query("SELECT @@GLOBAL.mandatory_roles")
        self.features = Server(version, self._variables, columns, privileges)
        context = getattr(self._connection, "context", None)
        fingerprint = context.seen.fingerprint if context and context.seen else ""
        return ServerInfo("MariaDB" if is_mariadb else "MySQL", version, str(self._driver), fingerprint)

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*self._driver.errors):
                self._connection.close()
            self._connection = None

    def _start(self) -> None:
        """Start the only transaction of the visit. It is read-only, and if the grant tables use InnoDB (MySQL 8) all
        statements see one snapshot. MyISAM (5.7) and Aria (MariaDB) have no snapshots: each table is read in its
        current state, rows of accounts created meanwhile are ignored, and the next visit reads them."""
        limits = f"SET SESSION lock_wait_timeout = {self.lock_timeout}"
        if "max_statement_time" in self._variables:
            limits += f", SESSION max_statement_time = {self._limit()}"
        elif "max_execution_time" in self._variables:
            limits += f", SESSION max_execution_time = {round(self._limit() * 1000)}"
        self.query(limits)
        self.query("SET SESSION TRANSACTION READ ONLY")
        self.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def _limit(self) -> float:
        """Seconds for the next statement: at most 0.01 more than the rest of the budget, so that it can exceed it."""
        return round(min(self.target.statement_timeout, self.remaining()) + 0.01, 3)

    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        if sql.startswith("SELECT"):
            if "max_statement_time" in self._variables:
                sql = f"SET STATEMENT max_statement_time = {self._limit()} FOR {sql}"
            elif "max_execution_time" in self._variables:
                sql = f"SELECT /*+ MAX_EXECUTION_TIME({round(self._limit() * 1000)}) */" + sql.removeprefix("SELECT")
        started = time.monotonic()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return list(cursor.fetchall())
        except self._driver.errors as error:
            self.remaining()
            self._waited_out = time.monotonic() - started >= self._read_timeout
            raise self._failure(error, self._waited_out) from None

    def _is_cut(self, error: AdapterError) -> bool:
        # Both drivers close a connection when their read timeout expires.
        return self._waited_out

    def _failure(self, error: Exception, waited_out: bool) -> AdapterError:
        return adapter_error(error, self.target, self.account, waited_out)
