"""What every engine's adapter takes, returns and raises.

An adapter knows its engine and nothing of Taifish: it takes a plain `Target`, returns frozen facts whose words
are the same for all engines, and raises `AdapterError`. A read that failed is an error or a named `Gap`,
never an empty answer.
"""

from __future__ import annotations

import json
import re
import time
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from .sizes import Databases, Sizes, TableSize

LEVELS = ("A", "B", "C")

#: Kinds of grant. What stands behind `scope` for each:
GRANT_KINDS = {
    "system": "whole instance (MySQL *.*, dynamic privileges; scope is empty)",
    "attribute": "attribute of an account (PostgreSQL SUPERUSER …, Oracle COMMON, PROFILE …; scope is empty)",
    "parameter": "server parameter",
    "tablespace": "tablespace",
    "database": "database (MySQL: schema or schema pattern)",
    "schema": "schema inside a database (PostgreSQL, Oracle)",
    "table": "table, view or other relation",
    "sequence": "sequence",
    "routine": "function or procedure",
    "type": "type or domain",
    "language": "procedural language",
    "foreign": "foreign data wrapper or foreign server",
    "large_object": "large object",
    "object": "object of another type, which its scope names (Oracle: directory, queue, edition …)",
    "default": "default privileges: what objects created later will carry",
    "column": "column",
    "proxy": "right to act as another account",
}

ACCOUNT_KINDS = {
    "user": "can be used to log in, by design",
    "role": "holds privileges for others",
    "public": "every account of the instance",
}

AccountKey = tuple[str, str]
"""(name, host); host is empty where the engine has none, and for Oracle the container that the account lives in."""


class AdapterError(Exception):
    """A read that failed. Everything below a visit raises this and nothing else.

    `code` is stable and short (see `CODES`), `transient` says whether trying again may help, `hint` says what a
    DBA should do, `missing` is the SQL that does it where one statement does, and the message is the server's own,
    with secrets taken out. `certificate` is the fingerprint of the server's certificate, where a person has to compare
    it before the password may be sent.
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


#: How far an instance may be trusted with the password before it has proved who it is:
PROOFS = {
    "strict": "nothing that helps an impostor: SCRAM, ed25519",
    "hashes": "also a hash to crack: md5, mysql_native_password, caching_sha2_password's fast path, Oracle's login",
    "as_before": "whatever the server asks for, as in releases before there was this choice",
}


@dataclass(frozen=True)
class Target:
    """Where to connect and how long to wait. Times in seconds; `budget` bounds the whole visit.

    `proof` is a key of PROOFS. `certificate` is the SHA-256 fingerprint that the server's certificate must have, in
    lower-case hex; `compared` says that a person vouched for it, so that it proves who the server is.
    """

    engine: str
    host: str
    username: str
    password: str = field(default="", repr=False)
    port: int | None = None
    database: str = ""
    tls_mode: str = "prefer"
    tls_ca: str = ""
    proof: str = "as_before"
    certificate: str = ""
    compared: bool = False
    connect_timeout: int = 10
    statement_timeout: int = 60
    budget: int = 600
    level: str = "A"
    application_name: str = "taifish"

    @property
    def is_local(self) -> bool:
        """Whether it is a Unix socket, which does not leave the machine."""
        return self.host.startswith("/")

    @property
    def is_verified(self) -> bool:
        """Whether TLS proves the server by an authority. Those of the system sign for everybody: with them the host
        name must be checked too. libpq never takes them for verify-ca."""
        named = bool(self.tls_ca) or self.engine == "postgresql"
        return self.tls_mode == "verify-full" or (self.tls_mode == "verify-ca" and named)

    @property
    def is_guarded(self) -> bool:
        """Whether the adapter must watch what it sends, and the certificate."""
        return self.proof != "as_before" and not self.is_local and not self.is_verified

    @property
    def needs_tls(self) -> bool:
        """Whether plain text is out of the question: the mode says so, or TLS was used before. Oracle has TLS on a port
        of its own, so that "prefer" is always without."""
        if self.tls_mode != "prefer":
            return self.tls_mode != "disable"
        return self.is_guarded and bool(self.certificate) and self.engine != "oracle"

    @property
    def may_send(self) -> str:
        """What the server may be sent of the password: "all", "hashes" or "nothing" that helps an impostor.

        A certificate that was pinned without a person shows that the server is the same as before, not who it is.
        """
        proved = bool(self.certificate) and self.compared and self.needs_tls
        if not self.is_guarded or proved or not self.password:
            return "all"
        return "hashes" if self.proof == "hashes" else "nothing"


@dataclass(frozen=True)
class ServerInfo:
    """Who answered: product ("PostgreSQL", "MySQL", "MariaDB" …) and its version as the server prints it, and the
    fingerprint of its certificate where that is to be pinned."""

    product: str
    version: str
    driver: str
    certificate: str = ""


@dataclass(frozen=True)
class Gap:
    """A scope that could not be read this time, so that nothing in it may be closed.

    `scope` is "accounts" (the listing is incomplete), "account fields" (the `AccountFact` fields in `fields`),
    "memberships", a grant kind, or one of those in `sizes`; `database` narrows it ("" = everywhere); of accounts it is
    the host of those that may be missing.
    """

    scope: str
    code: str
    message: str
    database: str = ""
    hint: str = ""
    fields: tuple[str, ...] = ()


class AccountFact(NamedTuple):
    """One user or role. It, a membership and a grant are named tuples: a visit makes tens of thousands of them.

    None means that the engine has no such thing or, for a field in `Inventory.unread`, that it could not be read. A
    value in such a field is certain all the same: SYS is a superuser, also where the password file was not read.
    """

    name: str
    host: str = ""
    kind: str | None = "user"
    native_id: str = ""
    is_system: bool = False
    can_login: bool | None = None
    is_locked: bool | None = None
    is_superuser: bool | None = None
    valid_until: datetime | None = None
    password_changed_at: datetime | None = None
    password_expired: bool | None = None
    auth_method: str | None = ""
    connection_limit: int | None = None

    @property
    def key(self) -> AccountKey:
        return (self.name, self.host)


class MembershipFact(NamedTuple):
    """`member` holds `role`. Rows by several grantors are one fact whose options are or-ed: the server tests
    each option on any of the rows."""

    member: AccountKey
    role: AccountKey
    admin_option: bool = False
    inherit: bool = True
    set_option: bool = True


class GrantFact(NamedTuple):
    """`account` holds `privilege` (upper case, the engine's own name) on `scope`.

    `database` is the database the scope lies in, or the database itself for kind "database"; "" otherwise.
    `scope` is the canonical path made by `dotted()`. `denied` marks a negative right (partial revoke, DENY).
    """

    account: AccountKey
    kind: str
    privilege: str
    scope: str = ""
    database: str = ""
    grantable: bool = False
    denied: bool = False


@dataclass(frozen=True)
class Inventory:
    """Phase one. Here and in `Permissions` facts may be a list, or `derived.Derived`, which is made only when somebody
    looks."""

    accounts: Sequence[AccountFact]
    gaps: Sequence[Gap] = ()

    @property
    def unread(self) -> frozenset[str]:
        """The `AccountFact` fields that could not be read, of some accounts at least."""
        return frozenset(name for gap in self.gaps for name in gap.fields)


@dataclass(frozen=True)
class Permissions:
    """Phase two. `covered` names what was read: "memberships" and grant kinds. Less `gaps`, that is the scope in
    which a row that is not here has ended. `beyond` names the kinds that this server has and the level leaves out.
    `notes` are warnings about what was read."""

    memberships: Sequence[MembershipFact]
    grants: Sequence[GrantFact]
    covered: frozenset[str]
    gaps: Sequence[Gap] = ()
    beyond: frozenset[str] = frozenset()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Capability:
    """One thing that Taifish does with an instance, tried out on it.

    `works` is None where something else failed first, so that nobody knows. `message` says what was found, `missing`
    is the SQL that makes it work, to be run in `database` where that is given, `cost` is what Taifish cannot tell as
    long as it does not, and `level` the read depth from which on it matters.
    """

    name: str
    works: bool | None
    message: str
    missing: str = ""
    cost: str = ""
    level: str = "A"
    database: str = ""


@dataclass(frozen=True)
class Excess:
    """A right that the collection account holds and Taifish never uses; `remedy` is the SQL that takes it away, to be
    run in `database` where that is given, and leaves the account what it needs."""

    right: str
    message: str
    remedy: str
    database: str = ""


@dataclass(frozen=True)
class Examination:
    """What the collection account can and cannot do, and what it could do beyond need."""

    server: ServerInfo
    capabilities: Sequence[Capability]
    excess: Sequence[Excess]


@lru_cache(maxsize=10_000)
def dotted(*parts: str) -> str:
    """Canonical path of an object, outermost part first, in original case.

    A part that a dot, quote, parenthesis, blank or control character would make ambiguous, and an empty one, is put in
    double quotes, with double quotes inside doubled: dotted("shop", "public", "a.b") == 'shop.public."a.b"'.
    `semantics.split_path()` reads it back.
    """
    return ".".join(p if _PLAIN.fullmatch(p) else '"' + p.replace('"', '""') + '"' for p in parts)


_PLAIN = re.compile(r'[^\s."()\x00-\x1f\x7f]+')


def is_printable(text: str) -> bool:
    """Whether it can stand in SQL that people paste. A line break in a name would let it go on as a statement of its
    own, and what a terminal or a reader does not show, nobody can check."""
    return not any(unicodedata.category(character) in _HIDDEN for character in text)


#: Control, format and surrogate characters, separators of lines and paragraphs.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """`text` with hidden characters as escapes, for people to read."""
    return "".join(c if is_printable(c) else repr(c)[1:-1] for c in text)


def offered(*statements: str) -> str:
    """Statements for people to paste, one a line; none of them if a name in one has hidden characters."""
    return "\n".join(statements) if all(map(is_printable, statements)) else ""


class Adapter(ABC):
    """One connection to one instance, read-only. Use as a context manager: entering connects and sets `server`.

    Subclasses give the abstract methods, and run SQL through `query()` only, which counts statements and keeps the
    wall-clock budget.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.server = ServerInfo("", "", "")
        self.statements = 0
        self._deadline = time.monotonic() + target.budget

    def __enter__(self) -> Adapter:
        try:
            self.server = self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abstractmethod
    def connect(self) -> ServerInfo:
        """Open the session (read-only, named, with time limits) and say who answered. Raises AdapterError."""

    @abstractmethod
    def inventory(self) -> Inventory:
        """Every user and role of the instance."""

    @abstractmethod
    def permissions(self) -> Permissions:
        """Memberships and grants, to the depth of `target.level`."""

    @abstractmethod
    def databases(self) -> Databases:
        """Every database of the instance."""

    @abstractmethod
    def sizes(self) -> Sizes:
        """What each of those databases takes on disk, and what they share. Raises AdapterError when no size at all
        could be read."""

    @abstractmethod
    def table_sizes(self, database: str, limit: int) -> list[TableSize]:
        """The largest tables of one database, largest first. It looks at each table: not for a visit."""

    @abstractmethod
    def examine(self, hash_blind: bool = False) -> Examination:
        """Try out whatever a visit to the depth of `target.level` and a reading of sizes do, and look for rights beyond
        need. With `hash_blind`, to be able to read password hashes is beyond need too.

        Never raises AdapterError: what failed is a capability that does not work.
        """

    @abstractmethod
    def close(self) -> None:
        """Close whatever is open. Never raises."""

    @abstractmethod
    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        """Run one statement, return all rows. Raises AdapterError."""

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of one statement. Raises AdapterError; "budget_exceeded" when the visit's time is used up."""
        self.remaining()
        self.statements += 1
        return self._execute(sql, parameters)

    def probe(
        self, name: str, sql: str, begin: Callable[[], object] = tuple, **described: str
    ) -> tuple[Capability, list[tuple[Any, ...]] | None]:
        """Whether a statement can be run, as a capability `described` by its other fields, and its rows. `begin` is
        called before it."""
        try:
            begin()
            rows = self.query(sql)
        except AdapterError as error:
            return failed(name, error, **described), None
        return Capability(name, True, "works", **described), rows

    def remaining(self) -> float:
        """Seconds left of the visit's budget. Raises AdapterError when there are none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise AdapterError(
                f"the visit took longer than its budget of {self.target.budget} s",
                code="budget_exceeded",
                hint="Raise the instance's time budget, lower its read depth, or visit it at a quieter hour.",
            )
        return left


def failed(name: str, error: AdapterError, **described: str) -> Capability:
    """The capability that `error` stopped; unknown, and not missing, where trying again may help."""
    message = str(error) if error.missing else f"{error} {error.hint}".strip()
    return Capability(name, None if error.transient else False, message, error.missing, **described)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """A driver's message in which no secret stands as a word, as it is, escaped or URL-encoded: drivers quote what they
    were given.

    A secret inside a longer word stays: it would break that word, and so reveal itself. For messages of drivers only:
    in a statement that we composed, what looks like the secret is something else.
    """
    forms = sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True)
    if forms:
        text = re.sub("|".join(map(_as_word, forms)), "********", text)
    return text.strip()


def _forms(secret: str) -> set[str]:
    """How a message may spell it: as it is, and as Python, JSON, SQL, connection strings and URLs write it."""
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
    """An expression for `form` where no letter, digit or underscore of ASCII goes on from its ends. Other letters end a
    word: Chinese messages have no blanks."""
    before = r"(?<![A-Za-z0-9_])" if _OF_WORDS.match(form[0]) else ""
    after = r"(?![A-Za-z0-9_])" if _OF_WORDS.match(form[-1]) else ""
    return f"{before}{re.escape(form)}{after}"


_OF_WORDS = re.compile("[A-Za-z0-9_]")
