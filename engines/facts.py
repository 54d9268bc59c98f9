"""Facts about accounts, grants and sizes, which an adapter returns; the same types for all engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from .errors import AdapterError

LEVELS = ("A", "B", "C")

#: The read depth of new instances: at A, grants on tables stay unknown.
DEFAULT_LEVEL = "B"


#: Kinds of grant → what `scope` names for each.
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
    "object": "object of another type, named in the scope (Oracle: directory, queue, edition …)",
    "default": "default privileges: those of objects created later",
    "column": "column",
    "proxy": "right to act as another account",
}


def grant_kind_choices() -> list[tuple[str, str]]:
    """The choices of model fields. A function, so that migrations do not list the kinds."""
    return [(kind, kind) for kind in GRANT_KINDS]


AccountKey = tuple[str, str]
"""(name, host). For Oracle, host is the container of the account; it is empty for engines without hosts."""


@dataclass(frozen=True)
class ServerInfo:
    """The server: product ("PostgreSQL", "MySQL", "MariaDB" …), its version as the server prints it, and the
    fingerprint of its certificate if Taifish should pin it."""

    product: str
    version: str
    driver: str
    certificate: str = ""


#: Codes of gaps that are a known state of the server: a database that is closed or reserved for the provider. Its
#: contents stay unknown, but the visit is complete.
KNOWN_STATES = ("not_visited", "provider_reserved")


@dataclass(frozen=True)
class Gap:
    """A scope that this visit could not read: stored rows in it stay open.

    `scope` is "accounts" (the list is incomplete), "account fields" (the `AccountFact` fields in `fields`),
    "memberships", a grant kind, or a scope of `Databases` or `Sizes`. `database` limits it to one database ("" = all);
    for accounts it is the host of those that may be missing.
    """

    scope: str
    code: str
    message: str
    database: str = ""
    hint: str = ""
    fields: tuple[str, ...] = ()


class AccountFact(NamedTuple):
    """One user or role. Accounts, memberships and grants are named tuples: a visit makes tens of thousands of them.

    `kind` is "user" (intended for login), "role" (holds privileges for others) or "public" (every account of the
    instance).

    None means that the engine has no such attribute or, for a field in `Inventory.unread`, that it could not be read. A
    value other than None is certain even in such a field: SYS is a superuser even if the password file was not read.
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
    """`member` is in `role`. Rows by several grantors are one fact with their options or-ed: for the server, one row
    with an option is enough. `grantors` are their names in order; empty where the engine names none."""

    member: AccountKey
    role: AccountKey
    admin_option: bool = False
    inherit: bool = True
    set_option: bool = True
    grantors: tuple[str, ...] = ()


class GrantFact(NamedTuple):
    """`account` holds `privilege` (upper case, the engine's own name) on `scope`.

    `database` is the database that contains the scope, or the database itself for kind "database"; "" otherwise.
    `scope` is the canonical path made by `dotted()`. `denied` marks a partial revoke (MySQL).

    `object_id` is the server's id of the object that `scope` names, unique on the instance within its kind, and the
    same after the object is renamed or moved; "" where the engine has none. An object inside a database has the id of
    the database and its own, "16384/16390". `grantors` are the names of all who granted it, in order; empty where the
    engine names none. Grants of one privilege by several grantors are one fact, grantable if one of them is.
    """

    account: AccountKey
    kind: str
    privilege: str
    scope: str = ""
    database: str = ""
    grantable: bool = False
    denied: bool = False
    object_id: str = ""
    grantors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inventory:
    """Result of phase one. Here and in `Permissions`, facts are a list or a `derived.Derived`, made on first access."""

    accounts: Sequence[AccountFact]
    gaps: Sequence[Gap] = ()

    @property
    def unread(self) -> frozenset[str]:
        """The `AccountFact` fields that could not be read for at least some accounts."""
        return frozenset(name for gap in self.gaps for name in gap.fields)


@dataclass(frozen=True)
class Permissions:
    """Result of phase two. `covered` names what was read: "memberships" and grant kinds. In that scope, except `gaps`,
    a stored row that is missing here has ended. `beyond` names the grant kinds of this server that the level does not
    read. `notes` are warnings about what was read."""

    memberships: Sequence[MembershipFact]
    grants: Sequence[GrantFact]
    covered: frozenset[str]
    gaps: Sequence[Gap] = ()
    beyond: frozenset[str] = frozenset()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Capability:
    """The result of trying one operation of Taifish on an instance.

    `works` is None if an earlier failure prevented the attempt. `message` is the finding. `missing` is the SQL that
    makes it work, to be run in `database` if given. `cost` is what stays unknown until it works, and `level` the lowest
    read depth that needs it.
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
    """A right of the collection account that Taifish never uses. `remedy` is the SQL that revokes it and keeps the
    rights that the account needs, to be run in `database` if given."""

    right: str
    message: str
    remedy: str
    database: str = ""


@dataclass(frozen=True)
class Examination:
    """The result of a check: capabilities of the collection account, and its rights beyond need."""

    server: ServerInfo
    capabilities: Sequence[Capability]
    excess: Sequence[Excess]


def failed(name: str, error: AdapterError, **described: str) -> Capability:
    """The capability that failed with `error`; `works` is None if the error is transient."""
    message = str(error) if error.missing else f"{error} {error.hint}".strip()
    return Capability(name, None if error.transient else False, message, error.missing, **described)


class DatabaseFact(NamedTuple):
    """One database, which is a schema in MySQL. `native_id` differs between a dropped database and a new one of the
    same name, if the engine has such an id."""

    name: str
    native_id: str = ""
    is_system: bool = False


class SizeFact(NamedTuple):
    """The size of a database on disk in bytes, and its parts; None for a part without an exact figure.

    `elsewhere` maps shared parts to the number of tables with bytes there and not in `size`; "" stands for tables of
    unknown size. None: not read, or the engine has no such tables.
    """

    database: str
    size: int
    data_size: int | None = None
    index_size: int | None = None
    log_size: int | None = None
    elsewhere: Mapping[str, int] | None = None


class TablespaceFact(NamedTuple):
    """A tablespace of a database, or of the instance if `database` is empty. Its bytes are among those of the databases
    and shared parts.

    `size` is allocated on disk, None if it could not be read; `used` is in use of that, and its files may grow to
    `limit`, None where the server does not say. `kind` is "permanent", "undo" or "temporary".
    """

    name: str
    size: int | None
    used: int | None = None
    limit: int | None = None
    kind: str = "permanent"
    database: str = ""


class TableSize(NamedTuple):
    """The size of one table in bytes, with its large values, its indexes, and partitions that the engine adds up."""

    schema: str
    name: str
    size: int
    data_size: int | None = None
    index_size: int | None = None


@dataclass(frozen=True)
class Databases:
    """Result of phase one. A gap of scope "databases" means that the list may be incomplete."""

    databases: Sequence[DatabaseFact]
    gaps: Sequence[Gap] = ()


@dataclass(frozen=True)
class Sizes:
    """Result of phase two. `shared` maps names of files that belong to no database to their bytes.

    Each database of phase one is in `sizes`, in a gap of scope "sizes", or in `dropped`. A gap of scope "sizes" without
    a database means that every size may be too small; one of scope "shared", that a shared size is missing.

    `listed_in` names the databases, "" for the instance itself, for which `tablespaces` is complete.
    """

    sizes: Sequence[SizeFact]
    shared: Mapping[str, int] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    gaps: Sequence[Gap] = ()
    tablespaces: Sequence[TablespaceFact] = ()
    listed_in: frozenset[str] = frozenset()
