"""Errors of python-oracledb as AdapterError, with codes and hints for DBAs.

The ORA- or DPY- number decides: https://docs.oracle.com/en/error-help/db/ and
https://python-oracledb.readthedocs.io/en/latest/user_guide/troubleshooting.html
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence

from ..advice import Advice
from ..advice import gettext_noop as _
from ..errors import AdapterError, scrub
from ..target import Target
from .account import identifier, select_grant

#: ORA- or DPY- number → code.
CODES = {
    **dict.fromkeys(("ORA-01005", "ORA-01017", "ORA-01045", "ORA-28000", "ORA-28001", "ORA-65162"), "auth_failed"),
    **dict.fromkeys(("ORA-28040", "ORA-28041", "DPY-3015", "DPY-4001"), "auth_failed"),
    **dict.fromkeys(("ORA-00942", "ORA-01031", "ORA-41900"), "denied"),
    **dict.fromkeys(("ORA-12541", "ORA-12543", "ORA-12545", "DPY-6000", "DPY-6005"), "unreachable"),
    **dict.fromkeys(("ORA-12504", "ORA-12505", "ORA-12514", "DPY-6001", "DPY-6003"), "no_such_database"),
    **dict.fromkeys(("ORA-00018", "ORA-00020", "ORA-02391", "ORA-12516", "ORA-12519"), "too_many_connections"),
    **dict.fromkeys(("ORA-12518", "ORA-12520"), "too_many_connections"),
    **dict.fromkeys(("ORA-01033", "ORA-01034", "ORA-01035", "ORA-01089", "ORA-01090"), "server_starting"),
    **dict.fromkeys(("ORA-01109", "ORA-01219", "ORA-12526", "ORA-12527", "ORA-12528"), "server_starting"),
    **dict.fromkeys(("DPY-4024", "ORA-00040", "ORA-00054", "ORA-01013", "ORA-02049", "ORA-04021"), "timeout"),
    **dict.fromkeys(("ORA-02392", "ORA-02393", "ORA-12170", "ORA-12535", "ORA-12606"), "timeout"),
    **dict.fromkeys(("DPY-1001", "DPY-4011", "ORA-02399"), "connection_lost"),
    **dict.fromkeys(("DPY-6002", "DPY-6006", "ORA-28860", "ORA-29024"), "tls_failed"),
    **dict.fromkeys(("DPY-3001", "DPY-3010", "ORA-00904", "ORA-12650", "ORA-12660"), "unsupported"),
    "ORA-00060": "deadlock",
    "ORA-28009": "bad_target",
}

_NOT_OPEN = _("The database is starting, stopping or mounted (a standby, for example). Visit a database that is open.")
_RESTRICTED = _("The database is open in restricted mode. The visit is retried.")
_OLD_VERIFIER = _(
    "The account has only a password verifier of Oracle 10g, or the server allows no newer ones. Set its password "
    "again while SQLNET.ALLOWED_LOGON_VERSION_SERVER is 11 or higher."
)
_NETWORK_ENCRYPTION = _(
    "The server requires Oracle's native network encryption, which needs Oracle's client. Set SQLNET.ENCRYPTION_SERVER "
    "= accepted on the server, or use TLS (TCPS)."
)
_PROFILE_LIMIT = _("A limit of the account's profile stopped the statement. Check its resource limits.")

#: ORA- or DPY- number → hint, if more specific than that of its code. {user} is the collection account.
_BY_NUMBER = {
    "ORA-01013": _("The statement was cancelled on the server, by a user or a limit."),
    "ORA-01035": _RESTRICTED,
    "ORA-01466": _("The dictionary changed after the visit began. The visit is retried."),
    "ORA-01555": _(
        "The server overwrote the undo data of the snapshot. Visit when the load is lower, or enlarge undo."
    ),
    "ORA-02391": _("The account's profile limits SESSIONS_PER_USER. Raise the limit, or run fewer visits at a time."),
    "ORA-02392": _PROFILE_LIMIT,
    "ORA-02393": _PROFILE_LIMIT,
    "ORA-12526": _RESTRICTED,
    "ORA-28001": _('The password has expired. A new one: ALTER USER {user} IDENTIFIED BY "…";'),
    "ORA-28040": _OLD_VERIFIER,
    "ORA-28041": _OLD_VERIFIER,
    "ORA-65162": _('The password has expired. A new one: ALTER USER {user} IDENTIFIED BY "…" CONTAINER = ALL;'),
    "DPY-3001": _NETWORK_ENCRYPTION,
    "DPY-3010": _("Oracle 12.1 or newer is required."),
    "DPY-3015": _OLD_VERIFIER,
    "ORA-12650": _NETWORK_ENCRYPTION,
    "ORA-12660": _NETWORK_ENCRYPTION,
}
_BY_CODE = {
    "unreachable": _("Check host, port and firewalls, and that the listener is running."),
    "auth_failed": _("Check user and password of the credential. For a new account run manage.py print_grants oracle."),
    "no_such_database": _("Compare the service with lsnrctl services. It is also unknown while its database is down."),
    "too_many_connections": _("Raise processes and sessions, or visit when the load is lower."),
    "server_starting": _NOT_OPEN,
    "timeout": _("Check the network and the server's load, or raise the timeouts of the instance."),
    "connection_lost": _("The server or the network closed the connection. See the server's alert log."),
    "deadlock": _("The server resolved a deadlock. The visit is retried."),
    "tls_failed": _("Compare the TLS mode, port and CA file of the instance with the listener's TCPS address."),
    "unsupported": _("Oracle 12.1 or newer is required; this server lacks a view or column."),
    "bad_target": _("Correct host, port, service and user of the instance."),
    "server_error": _("See the message and the server's alert log."),
    "denied": _("Grant the right in the message as an administrator."),
}

#: ORA- number → the statement that solves it.
_MISSING = {
    "ORA-01045": "GRANT CREATE SESSION TO {user};",
    "ORA-28000": "ALTER USER {user} ACCOUNT UNLOCK;",
}

#: A service is unknown to the listener while its database is down, and a retry has a newer snapshot.
_TRANSIENT = {"ORA-12514", "DPY-6001", "ORA-01466", "ORA-01555"}


def number_of(error: BaseException) -> str:
    """ "ORA-00942" or "DPY-6005"; "" for other exceptions. If the driver replaces an ORA- number by a DPY- number, it
    is the latter."""
    return getattr(error.args[0], "full_code", "") if error.args else ""


def adapter_error(
    error: Exception, target: Target, grantee: str = "", views: Sequence[str] = (), in_root: bool = False
) -> AdapterError:
    """The AdapterError for a driver's exception: code by number, message without the password.

    `grantee` is the account in the syntax of GRANT, `views` are those that it may not read.
    """
    number = number_of(error)
    user = grantee or identifier(target.username)
    cause = error.__cause__ or error
    # For a failed connection, the cause is more specific.
    code = CODES.get(number_of(cause), CODES.get(number, "server_error"))
    if isinstance(cause, ssl.SSLError):
        code = "tls_failed"
    elif isinstance(cause, TimeoutError):
        code = "timeout"
    elif isinstance(cause, FileNotFoundError) and target.tls_ca:
        code = "tls_failed"
    elif not number:
        code = "unreachable" if isinstance(error, OSError) else "bad_target"
    elif number.startswith("DPY-2"):
        code = "bad_target"
    missing = _MISSING.get(number, "").format(user=user)
    if code == "denied":
        missing = "\n".join(select_grant(view, user, in_root) for view in views)
    hint = missing or Advice(_BY_NUMBER.get(number) or _BY_CODE[code], user=user)
    return AdapterError(
        _words(error, target.password),
        code=code,
        hint=hint,
        transient=True if number in _TRANSIENT else None,
        missing=missing,
    )


def _words(error: Exception, password: str) -> str:
    """The message without the password, the connection id and the link to help."""
    text = re.sub(r"\n?Help: \S+", "", scrub(str(error), [password]))
    return " ".join(re.sub(r" ?\(CONNECTION_ID=[^)]*\)", "", text).split()) or type(error).__name__
