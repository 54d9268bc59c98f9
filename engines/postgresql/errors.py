"""Errors of psycopg2 as AdapterError, with codes and hints for DBAs.

The code follows from the SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) if there is one.
For a refused connection libpq has none, so the message decides. Messages of libpq are English; those of the server are
in its lc_messages, of which English and Chinese are recognised.
"""

from __future__ import annotations

import ipaddress
import re
import ssl

from ..advice import Advice
from ..advice import gettext_noop as _
from ..errors import AdapterError, scrub
from ..statements import is_printable, offered
from ..target import Target
from .account import connect_grant, literal, quoted

#: SQLSTATE or its class → code. A full SQLSTATE takes precedence.
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

#: Tried in this order: messages about pg_hba.conf and about lost connections may mention SSL too.
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
    # Before the lost connections: so does libpq report that the limits of TCP ended a silent connection.
    "timeout": r"timeout expired|timed out",
    "connection_lost": r"closed the connection|closed unexpectedly|already closed|connection reset"
    r"|EOF detected|unexpected eof|could not (receive|send) data|lost synchronization",
    "tls_failed": r"SSL|certificate",
    "unreachable": r"could not translate host name|connection refused|unreachable|no route to host"
    r"|is the server running|permission denied|could not connect",
}

#: Object in a message about missing rights → the privilege. Visits read system objects only, and their names are the
#: same in every language.
CATALOGUE_PRIVILEGES = {
    r"(?:function|aggregate|函数|聚合|聚集) (\w+)": "EXECUTE ON FUNCTION {}",
    r"\b(pg_catalog)\b": "USAGE ON SCHEMA {}",
    r"\b(pg_\w+)": "SELECT ON pg_catalog.{}",
}

#: Functions with several signatures → those that Taifish calls. A GRANT must name one; messages name none.
SIGNATURES = {
    "count": ("",),
    "current_setting": ("text",),
    "has_database_privilege": ("oid, text", "name, oid, text"),
    "has_function_privilege": ("name, oid, text",),
    "has_tablespace_privilege": ("oid, text",),
    "pg_database_size": ("oid",),
    "pg_has_role": ("name, text", "name, name, text"),
    "pg_tablespace_size": ("oid",),
    "string_agg": ("text, text",),
    "unnest": ("anyarray",),
}


def function(name: str) -> str:
    """A function of the server in the syntax of GRANT, with every signature that Taifish calls."""
    path = f"pg_catalog.{name}"
    return ", ".join(f"{path}({types})" for types in SIGNATURES[name]) if name in SIGNATURES else path


#: Connections that the account needs at most: two for each visit, and visits of several kinds may meet with a check.
CONNECTIONS = 10

HBA = _(
    "Add to pg_hba.conf: {entry} and run SELECT pg_reload_conf(). If there is a hostssl entry already, set the TLS "
    "mode to require."
)
TOO_LONG = _(
    "The statement took longer than {seconds} s or was cancelled. Raise the instance's statement timeout, or visit it "
    "when its load is lower."
)
LOCKED = _("Another session locks a system catalogue (VACUUM FULL, for example). Retry when it has ended.")
HINTS = {
    "unreachable": _("Check host, port and firewalls, and that the server runs and listens there (listen_addresses)."),
    "auth_failed": _(
        "Check user and password of the credential. The server sends the same message for a role with an "
        "expired VALID UNTIL. A new role: CREATE ROLE {user} LOGIN PASSWORD '…'; GRANT pg_read_all_stats TO {user};"
    ),
    "no_such_database": _(
        "Set the instance's maintenance database to one that exists, usually postgres. A connection "
        "pooler accepts only databases in its configuration."
    ),
    "denied": _("Grant the right in the message as an administrator: {user} must be able to read pg_catalog."),
    "too_many_connections": _("Wait until other sessions have ended, or raise max_connections."),
    "server_starting": _("Wait until the server has started. If it does not, see its log."),
    "bad_target": _("Check host, port and database: PostgreSQL must listen there and accept connections."),
    "connection_lost": _("The server or the network closed the connection. See the server's log."),
    "tls_failed": _("Compare the TLS mode and CA file of the instance with ssl and ssl_cert_file of the server."),
    "unproven_server": _("The server must prove its identity before it gets the password."),
    "timeout": _(
        "The server did not answer in time. Check host, port, firewalls and load, or raise the connect timeout."
    ),
    "deadlock": _("Nothing to do: the visit is retried."),
    "unsupported": _("PostgreSQL 12 or newer is required; this server lacks a catalogue or setting."),
    "server_error": _("See the message and the server's log."),
}


def adapter_error(error: Exception, target: Target, database: str) -> AdapterError:
    """The AdapterError for an exception that psycopg2 raised while connecting to `database` or using it."""
    state = getattr(error, "pgcode", None) or ""
    message = scrub(str(error), [target.password]) or type(error).__name__
    code = STATES.get(state) or STATES.get(state[:2]) or ("" if state else _by_words(str(error)))
    code = code or "server_error"
    missing = offered(_missing(code, state, str(error), target, database))
    hint = missing or _hint(code, state, str(error), target, database)
    if missing and code == "denied" and state:
        hint = f"In database {quoted(database)}: {missing}"
    # Class 53: insufficient resources, such as memory or disk.
    transient = True if state.startswith("53") else None
    return AdapterError(message, code=code, hint=hint, transient=transient, missing=missing)


def connect_denied(target: Target, database: str) -> AdapterError:
    """The error for connecting to a database without the CONNECT privilege."""
    missing = offered(connect_grant(database, target.username))
    hint = missing or "Grant CONNECT on it to the account. No SQL is offered, because a name has control characters."
    return AdapterError(f'permission denied for database "{database}"', code="denied", hint=hint, missing=missing)


def not_reached(error: Exception, target: Target) -> AdapterError:
    """The error of a connection that was made only to read the certificate."""
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


def _by_words(message: str) -> str:
    return next((code for code, words in SAYINGS.items() if re.search(words, message, re.IGNORECASE)), "")


def _missing(code: str, state: str, message: str, target: Target, database: str) -> str:
    """The statement that grants the missing right; "" if unknown."""
    user = quoted(target.username)
    if code == "auth_failed" and re.search("not permitted to log in|不允许角色", message):
        return f"ALTER ROLE {user} LOGIN;"
    if code == "denied" and not state:
        return connect_grant(database, target.username)
    if code == "too_many_connections" and re.search("for role|角色", message):
        return _more_connections("ROLE", target.username, "pg_roles", "rolname", "rolconnlimit")
    if code == "too_many_connections" and re.search("for database|数据库", message):
        return _more_connections("DATABASE", database, "pg_database", "datname", "datconnlimit")
    if code == "denied":
        for words, privilege in CATALOGUE_PRIVILEGES.items():
            if named := re.search(words, message):
                thing = function(named[1]) if "FUNCTION" in privilege else named[1]
                return f"GRANT {privilege.format(thing)} TO {user};"
    return ""


def _more_connections(kind: str, name: str, catalogue: str, column: str, limit: str) -> str:
    """The statement that raises the connection limit of a role or database by what Taifish needs. A
    refused login does not show the limit, and a fixed one could be below what an administrator chose."""
    body = (
        "DECLARE change text; BEGIN FOR change IN"  # noqa: S608 -- the name is quoted
        f" SELECT format('ALTER {kind} %I CONNECTION LIMIT %s', {column}, {limit} + {CONNECTIONS})"
        f" FROM pg_catalog.{catalogue} WHERE {column} = {literal(name)} AND {limit} >= 0"
        " LOOP EXECUTE change; END LOOP; END"
    )
    return f"/* Adds the {CONNECTIONS} connections that Taifish may open to the current limit. */ DO {literal(body)};"


def _hint(code: str, state: str, message: str, target: Target, database: str) -> str:
    user = quoted(target.username)
    if code == "auth_failed" and "pg_hba.conf" in message and is_printable(database):
        return Advice(HBA, entry=f"host {quoted(database)} {user} {_client(message)} scram-sha-256")
    if state == "57014":
        return Advice(TOO_LONG, seconds=str(target.statement_timeout))
    if state == "55P03":
        return Advice(LOCKED)
    return Advice(HINTS[code], user=user)


def _client(message: str) -> str:
    """The address of Taifish, with mask, as the server sees it: the first address in quotes."""
    for address in re.findall(r'"([0-9A-Fa-f.:]+)"', message.partition("failed: ")[2]):
        try:
            return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
        except ValueError:
            continue
    return "<address of Taifish>/32"
