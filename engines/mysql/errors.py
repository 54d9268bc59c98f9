"""Errors of the MySQL drivers as AdapterError, with codes and hints for DBAs; and the servers that are refused.

Error numbers: https://dev.mysql.com/doc/mysql-errors/8.4/en/ and
https://mariadb.com/kb/en/mariadb-error-code-reference/
"""

from __future__ import annotations

import re
import ssl

from ..advice import Advice
from ..advice import gettext_noop as _
from ..errors import AdapterError, scrub
from ..target import Target

#: Other products with MySQL's protocol → pattern in their version or version comment.
_IMITATIONS = {
    "TiDB": r"\bTiDB\b",
    "OceanBase": r"OceanBase|seekdb",
    "PolarDB-X": r"TDDL|PolarDB-X",
    "StarRocks": r"StarRocks",
    "Apache Doris": r"\bDoris\b",
    "SingleStore": r"SingleStore|MemSQL",
    "Vitess": r"Vitess",
    "Dolt": r"\bDolt\b",
    "ClickHouse": r"ClickHouse",
    "MatrixOne": r"MatrixOne",
    "Databend": r"Databend",
    "GreptimeDB": r"Greptime",
    "Manticore Search": r"Manticore|Sphinx",
}


def refuse_imitation(text: str) -> None:
    """Raise AdapterError("unsupported") if a server's version or version comment names another product."""
    for name, words in _IMITATIONS.items():
        if re.search(words, text, re.IGNORECASE):
            raise AdapterError(
                f"the server is {name}, not MySQL or MariaDB ({text})",
                code="unsupported",
                hint=f"{name} uses MySQL's protocol but stores accounts and privileges differently, so Taifish could "
                "misread them. Retire this instance, or correct its host and port.",
            )


#: OpenSSL's message, from either driver, if the server closes the connection without notice or resets it.
_LOST_UNDER_TLS = re.compile(r"unexpected eof|EOF occurred in violation of protocol", re.IGNORECASE)

_PLUGIN_HINT = _(
    "The driver does not support the account's authentication plugin. Use mysql_native_password or "
    "caching_sha2_password over TLS for the collection account."
)
_BY_NUMBER = {
    **dict.fromkeys((1045, 1698, 1130, 1820, 1862, 3118, 4151), "auth_failed"),
    **dict.fromkeys((1251, 1275, 1524, 2049, 2054, 2058, 2059, 2061), "auth_failed"),
    **dict.fromkeys((2002, 2003, 2005, 1129), "unreachable"),
    **dict.fromkeys((2006, 2012, 2013, 2055, 1927, 4031, 1158, 1159, 1160, 1161), "connection_lost"),
    **dict.fromkeys((1040, 1203, 1226), "too_many_connections"),
    **dict.fromkeys((1053, 1077, 1079, 1080), "server_starting"),
    **dict.fromkeys((1044, 1142, 1143, 1227, 1370, 1095), "denied"),
    **dict.fromkeys((3024, 1969, 1317, 1205), "timeout"),
    **dict.fromkeys((2026, 3159), "tls_failed"),
    1213: "deadlock",
    1049: "no_such_database",
    **dict.fromkeys((1054, 1146, 1193), "unsupported"),
}
_BY_CODE = {
    "unreachable": _("Check host, port and firewalls, and that the server is running."),
    "timeout": _("Check the network and the server's load, or raise the timeouts of the instance."),
    "connection_lost": _("The server or the network closed the connection. See the server's error log."),
    "too_many_connections": _("Raise max_connections or the account's limits, or visit when the load is lower."),
    "server_starting": _("The server is starting or shutting down. The visit is retried."),
    "deadlock": _("The server resolved a deadlock. The visit is retried."),
    "unsupported": _("The server lacks a system table, column or variable of its version. Upgrade its system tables."),
    "bad_target": _("Correct host, user, password and port of the instance."),
    "server_error": _("See the server's error log."),
    "no_such_database": _("Clear the database of the instance, or name one that exists."),
    "tls_failed": _("Check the TLS mode and the certificate authority of the instance."),
}
_REFUSED = _(
    "Check user and password. If both are right, check for an anonymous ''@'localhost' account, which takes precedence "
    "over 'user'@'%' for local connections, and whether the account or the server requires TLS."
)
_BY_ERROR = {
    1045: _REFUSED,
    1698: _(
        "Check user and password. If both are right, check for an anonymous ''@'localhost' account, which takes "
        "precedence over 'user'@'%' for local connections, and whether the account or the server requires TLS. "
        "Accounts with unix_socket need the OS user of the same name."
    ),
    1130: _("The server has no account for this host. Create the collection account for it."),
    1129: _("The server blocked this host after many connection errors. Run FLUSH HOSTS on the server."),
    **dict.fromkeys((1820, 1862), _("The password of the collection account has expired. Set a new one.")),
    **dict.fromkeys((3118, 4151), _("The collection account is locked. Run ALTER USER … ACCOUNT UNLOCK.")),
    3159: _("The server accepts only encrypted connections. Set the TLS mode to require."),
    1205: _("Another session locks a grant table. Check the process list."),
    1317: _("The statement was killed on the server, by a user or a limit."),
}


def adapter_error(error: Exception, target: Target, grantee: str, waited_out: bool) -> AdapterError:
    """The AdapterError for a driver's exception: code by error number, message without the password.

    `grantee` is the quoted account for the GRANT in the hint; `waited_out` means that the client's time limit had
    passed when the error was raised.
    """
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    message = str(error.args[1]) if number and len(error.args) > 1 else str(error)
    # Connector/C wraps an error that the server sends in place of the TLS handshake.
    if found := re.search(r"before completion of TLS handshake.*: (\d+) - (.*)", message, re.DOTALL):
        number, message = int(found[1]), found[2]
    code = _BY_NUMBER.get(number, "server_error")
    cause: object = getattr(error, "original_exception", error)
    if _LOST_UNDER_TLS.search(message):
        code = "connection_lost"
    elif isinstance(cause, ssl.SSLError):
        code = "tls_failed"
    elif isinstance(cause, FileNotFoundError) and target.tls_ca and not target.host.startswith("/"):
        code, message = "tls_failed", f"cannot read the certificate authority {target.tls_ca!r}"
    elif code in ("unreachable", "connection_lost") and (waited_out or isinstance(cause, TimeoutError)):
        code = "timeout"
    elif number == 2026 and waited_out:
        # Connector/C reports its timeout under TLS as this error.
        code = "timeout"
    elif number == 0 and isinstance(error, ValueError):
        code = "bad_target"
    elif number == 0 and isinstance(error, RuntimeError):
        code = "auth_failed"
    elif number == 0 and type(error).__name__ == "InterfaceError":
        code = "connection_lost"
    hint, missing = Advice(_BY_ERROR.get(number) or _BY_CODE.get(code, "")), ""
    if code == "denied":
        missing = f"{_missing_grant(number, message)} TO {grantee};"
    elif code == "auth_failed" and not hint:
        hint = Advice(_PLUGIN_HINT)
    message = scrub(message, [target.password])
    return AdapterError(
        f"{message} ({number})" if number else message, code=code, hint=missing or hint, missing=missing
    )


def _missing_grant(number: int, message: str) -> str:
    """The GRANT, up to its grantee, for the right that a "denied" message names.

    Uses only plain words from the message: names in it are untrusted, and the result is SQL.
    """
    if number == 1227 and (found := re.search(r"at least one of\) the ([A-Z_ ,]+?) privilege", message)):
        return f"GRANT {found[1].split(',')[0]} ON *.*"
    if number == 1044 and (found := re.search(r"to database '(\w+)'", message)):
        return f"GRANT SELECT ON `{found[1]}`.*"
    if number == 1370 and (found := re.search(r"^([a-z ]+?) command denied .* for routine '(\w+\.\w+)'", message)):
        return f"GRANT {found[1].upper()} ON PROCEDURE {found[2]}"
    if number == 1143 and (found := re.search(r"column '(\w+)' in table '(\w+)'$", message)):
        return f"GRANT SELECT ({found[1]}) ON mysql.{found[2]}"
    if number == 1142 and (found := re.search(r"table [`'](?:(\w+)`\.`)?(\w+)[`']$", message)):
        return f"GRANT SELECT ON {found[1] or 'mysql'}.{found[2]}"
    return "GRANT SELECT ON mysql.*"
