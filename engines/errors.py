"""The error of a failed read, and the removal of secrets from messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus


class AdapterError(Exception):
    """A failed read. Engines raise no other exception.

    `code` is a key of `CODES`, which says whether it is transient by default. `transient`: a retry may succeed. `hint`:
    what the DBA should do. `missing`: the SQL statement that solves it, if one statement does. The message is that of
    the server, without secrets. `certificate`: the fingerprint of the server's certificate, if a person must compare it
    before the password may be sent.
    """

    CODES = {
        "unreachable": True,
        "timeout": True,
        "budget_exceeded": True,
        "deadlock": True,
        "too_many_connections": True,
        "connection_lost": True,
        "server_starting": True,
        "auth_failed": False,
        "denied": False,
        "no_such_database": False,
        "tls_failed": False,
        "certificate_changed": False,
        "unproven_server": False,
        "unsupported": False,
        "driver_missing": False,
        "bad_target": False,
        "no_secret": False,
        "server_error": False,
    }

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str = "",
        transient: bool | None = None,
        missing: str = "",
        certificate: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.missing = missing
        self.certificate = certificate
        self.transient = self.CODES[code] if transient is None else transient


def scrub(text: str, secrets: Iterable[str]) -> str:
    """A driver's message with each secret replaced that stands as a word, plain, escaped or URL-encoded: drivers quote
    their arguments.

    A secret inside a longer word stays, because the broken word would reveal it. Use it for messages of drivers only:
    in a statement that Taifish composed, a match is a coincidence.
    """
    forms = sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True)
    if forms:
        text = re.sub("|".join(map(_as_word, forms)), "********", text)
    return text.strip()


def _forms(secret: str) -> set[str]:
    """The forms it may have in a message: plain, and as Python, JSON, SQL, connection strings and URLs write it."""
    raw = secret.encode(errors="surrogatepass")
    encoded = {quote(raw, safe=safe) for safe in ("", "/")} | {quote_plus(raw)}
    return {
        secret,
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        secret.replace("'", "''"),
        secret.replace('"', '""'),
        secret.replace("\\", "\\\\").replace("'", "\\'"),
        *encoded,
        *(re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in encoded),
    }


def _as_word(form: str) -> str:
    """A regular expression for `form` with no ASCII letter, digit or underscore continuing it on either side. Other
    letters end a word: Chinese messages have no blanks."""
    before = r"(?<![A-Za-z0-9_])" if _OF_WORDS.match(form[0]) else ""
    after = r"(?![A-Za-z0-9_])" if _OF_WORDS.match(form[-1]) else ""
    return f"{before}{re.escape(form)}{after}"


_OF_WORDS = re.compile("[A-Za-z0-9_]")
