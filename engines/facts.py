"""Facts about accounts, grants and sizes, the same for every engine. An adapter returns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from .errors import AdapterError

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


def grant_kind_choices() -> list[tuple[str, str]]:
    """For model fields. A function, so that migrations do not list the kinds."""
    return [(kind, kind) for kind in GRANT_KINDS]


AccountKey = tuple[str, str]
"""(name, host); host is empty where the engine has none, and for Oracle the container that the account lives in."""


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

    `kind` is "user" (can be used to log in, by design), "role" (holds privileges for others) or "public" (every account
    of the instance).

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
    last_login_at: datetime | None = None

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


def failed(name: str, error: AdapterError, **described: str) -> Capability:
    """The capability that `error` stopped; unknown, and not missing, where trying again may help."""
    message = str(error) if error.missing else f"{error} {error.hint}".strip()
    return Capability(name, None if error.transient else False, message, error.missing, **described)


class DatabaseFact(NamedTuple):
    """One database; a schema where the engine has no other. `native_id` tells one dropped and made anew under its
    name from the one before, where the engine has such a thing."""

    name: str
    native_id: str = ""
    is_system: bool = False


class SizeFact(NamedTuple):
    """What a database takes on disk, and how that divides where the engine can say so exactly; None elsewhere."""

    database: str
    size: int
    data_size: int | None = None
    index_size: int | None = None
    log_size: int | None = None


class TableSize(NamedTuple):
    """One table with what belongs to it: partitions that the engine shows as one, large values, indexes."""

    schema: str
    name: str
    size: int
    data_size: int | None = None
    index_size: int | None = None


@dataclass(frozen=True)
class Databases:
    """Phase one. A gap of scope "databases" says that there may be more."""

    databases: Sequence[DatabaseFact]
    gaps: Sequence[Gap] = ()


@dataclass(frozen=True)
class Sizes:
    """Phase two. `shared` holds, by name, what takes space and belongs to no database.

    A database of phase one is in `sizes`, or in a gap of scope "sizes", or was `dropped` meanwhile. A gap of that scope
    without a database says that every size may be too small, one of scope "shared" that a part has no figure.
    """

    sizes: Sequence[SizeFact]
    shared: Mapping[str, int] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    gaps: Sequence[Gap] = ()
