"""The read of accounts on MySQL and MariaDB: columns to read, and facts from a row.

No password hash leaves the server: each column is named, and the server extracts single keys from JSON documents that
contain a hash.

https://dev.mysql.com/doc/refman/8.4/en/grant-tables.html#grant-tables-user-db
https://mariadb.com/kb/en/mysqlglobal_priv-table/
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from ..facts import AccountFact, AccountKey
from .decode import MARIADB_BITS, USER_COLUMNS, mariadb_access, yes_no

SYSTEM_ACCOUNTS = frozenset(
    (name, "localhost") for name in ("mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys")
)

#: MariaDB's role for all accounts.
MARIADB_PUBLIC: AccountKey = ("PUBLIC", "")


#: The column of mysql.user with the hashes.
HASH = "authentication_string"

#: In seconds.
_DAY = 86_400


@dataclass(frozen=True)
class Server:
    """The server's properties on which reads depend: its `variables`, the readable `columns` by table, and its
    `privileges` (SHOW PRIVILEGES; read on MariaDB only)."""

    version: str
    variables: Mapping[str, str]
    columns: Mapping[str, Sequence[str]]
    privileges: Set[str]

    @property
    def is_mariadb(self) -> bool:
        return "max_statement_time" in self.variables

    @property
    def has_roles(self) -> bool:
        """Whether it is MySQL with role_edges, default_roles and global_grants (8.0)."""
        return "mandatory_roles" in self.variables

    @property
    def tablespaces(self) -> str:
        """The name of the view of InnoDB's files."""
        return "INNODB_TABLESPACES" if self.has_roles else "INNODB_SYS_TABLESPACES"

    @property
    def tables(self) -> str:
        """The view that lists InnoDB's tables."""
        return "INNODB_TABLES" if self.has_roles else "INNODB_SYS_TABLES"

    @property
    def logs_to_tables(self) -> bool:
        """Whether mysql.general_log or mysql.slow_log grows."""
        logs = {self.variables.get(name) for name in ("general_log", "slow_query_log")}
        return "TABLE" in self.variables.get("log_output", "").upper() and "ON" in logs


def described(product: str, version: str) -> Server:
    """A server given by product ("" for MySQL) and version ("" for the newest)."""
    major = re.match(r"\d+", version)
    has_roles = product != "MariaDB" and (major is None or int(major[0]) >= 8)
    variables = {"max_statement_time": ""} if product == "MariaDB" else {"mandatory_roles": ""} if has_roles else {}
    return Server(version, variables, {}, frozenset())


@dataclass(frozen=True)
class Account:
    """An account with other columns of its row: privileges on *.* (including "GRANT OPTION"), default role (MariaDB)
    and partial revokes as JSON (MySQL)."""

    fact: AccountFact
    privileges: frozenset[str] = frozenset()
    default_role: str = ""
    restrictions: str | None = None


@dataclass(frozen=True)
class _Field:
    """A value to read: its column, its SQL, and the fields of AccountFact that are lost without it."""

    name: str
    column: str
    sql: str
    lost: str = ""


_USER_TABLE = (
    _Field("locked", "account_locked", "account_locked = 'Y'", "is_locked kind can_login"),
    _Field("expired", "password_expired", "password_expired = 'Y'", "password_expired kind can_login"),
    _Field(
        "changed",
        "password_last_changed",
        "UNIX_TIMESTAMP(password_last_changed)",
        "password_changed_at password_expired valid_until",
    ),
    _Field("lifetime", "password_lifetime", "password_lifetime", "password_expired valid_until"),
    _Field("plugin", "plugin", "plugin", "auth_method can_login"),
    _Field("limit", "max_user_connections", "max_user_connections", "connection_limit"),
)
#: Only this key: the document also contains second passwords and the secrets of further factors.
_RESTRICTIONS = _Field(
    "restrictions", "User_attributes", "CAST(JSON_EXTRACT(User_attributes, '$.Restrictions') AS CHAR)"
)
#: CREATE ROLE leaves this column empty. It holds the hash, so the server compares it.
_NO_HASH = _Field("no_hash", HASH, "IFNULL(authentication_string, '') = ''")

_USER_VIEW = (
    _Field("is_role", "is_role", "is_role = 'Y'", "kind can_login"),
    _Field("default_role", "default_role", "default_role"),
    _Field("limit", "max_user_connections", "max_user_connections", "connection_limit"),
)
_NOT_IN_VIEW = {"is_locked", "password_changed_at", "password_expired", "valid_until", "auth_method"}

_GLOBAL_PRIV = (
    _Field("locked", "Priv", "JSON_VALUE(Priv, '$.account_locked')"),
    _Field("changed", "Priv", "JSON_VALUE(Priv, '$.password_last_changed')"),
    _Field("lifetime", "Priv", "JSON_VALUE(Priv, '$.password_lifetime')"),
    _Field("plugin", "Priv", "JSON_VALUE(Priv, '$.plugin')"),
    _Field("more_plugins", "Priv", "JSON_EXTRACT(Priv, '$.auth_or[*].plugin')"),
    _Field("limit", "Priv", "JSON_VALUE(Priv, '$.max_user_connections')"),
    _Field("access", "Priv", "JSON_VALUE(Priv, '$.access')"),
    _Field("row_version", "Priv", "JSON_VALUE(Priv, '$.version_id')"),
    _Field("is_role", "Priv", "JSON_VALUE(Priv, '$.is_role')"),
    _Field("default_role", "Priv", "JSON_VALUE(Priv, '$.default_role')"),
)


def user_columns(is_mariadb: bool, has_roles: bool) -> frozenset[str]:
    """The columns of mysql.user that an account without access to hashes reads."""
    fields = _USER_VIEW if is_mariadb else _USER_TABLE
    flags = USER_COLUMNS | ({"Create_role_priv", "Drop_role_priv"} if has_roles else set())
    return frozenset({"User", "Host", *flags, *(field.column for field in fields)})


class Source:
    """The table of accounts: mysql.user on MySQL; on MariaDB mysql.global_priv, or its view mysql.user if Priv, the
    column with the hashes, is not readable.

    `sql` returns the rows for `account()`. `unread` names fields of AccountFact; `lacks` other incomplete data:
    "system" (privileges on *.*), "restrictions", "default_role", "no_hash". `missing` names the columns of mysql.user
    that are not readable; `required` is the object of the GRANT SELECT that makes everything but hashes readable.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._lifetime = int(server.variables.get("default_password_lifetime", 0))
        readable = set(server.columns.get("user", ()))
        priv_readable = "Priv" in server.columns.get("global_priv", ())
        # If no column seems readable, read them all, so that the server reports the error.
        in_json = server.is_mariadb and (priv_readable or not readable)
        self._fields: tuple[_Field, ...] = _USER_VIEW if server.is_mariadb else _USER_TABLE
        known = user_columns(server.is_mariadb, server.has_roles) | readable
        flags = frozenset(name for name in known if name.endswith("_priv"))
        if in_json:
            self._fields, flags = _GLOBAL_PRIV, frozenset()
        # The server refuses to switch the variable off while accounts have partial revokes.
        if server.variables.get("partial_revokes") == "ON":
            self._fields += (_RESTRICTIONS,)
        if server.has_roles:
            self._fields += (_NO_HASH,)
        required = {field.column for field in self._fields} | flags
        if in_json or not readable:
            readable = required
        missing = [field for field in self._fields if field.column not in readable]
        self._fields = tuple(field for field in self._fields if field.column in readable)
        self._flags = sorted(flags & readable)
        self._places = {field.name: place for place, field in enumerate(self._fields, start=2)}
        # MySQL does not mark roles: they are what CREATE ROLE makes. Users may be granted to others too.
        marks = ["is_role"] if server.is_mariadb else ["locked", "expired", "no_hash"] if server.has_roles else []
        self._marks = [self._places.get(name) for name in marks]
        self.lacks = {field.name for field in missing if not field.lost}
        unread = {fact for field in missing for fact in field.lost.split()}
        if server.is_mariadb and not in_json:
            unread |= _NOT_IN_VIEW
        if not (server.is_mariadb or server.has_roles):
            unread -= {"kind"} if "plugin" not in readable else {"kind", "can_login"}
        if "Super_priv" in flags - readable:
            unread.add("is_superuser")
        self.unread = frozenset(unread)
        # The view has columns for the older privileges only.
        if flags - readable or (server.is_mariadb and not in_json):
            self.lacks.add("system")
        self.missing = frozenset(required - readable)
        self.required = select_on_user(self.missing - {HASH})
        if server.is_mariadb:
            self.required = "ON mysql.global_priv"
        terms = [field.sql for field in self._fields]
        terms.append(f"CONCAT({', '.join(self._flags)})" if self._flags else "''")
        table = "global_priv" if in_json else "user"
        self.sql = f"SELECT User, Host, {', '.join(terms)} FROM mysql.{table}"  # noqa: S608 - the catalogue's own names

    def ended(self, rows: Iterable[Sequence[Any]], now: int) -> list[AccountKey]:
        """The accounts in the rows of `sql` with a password that has expired at the Unix time `now`. Only this depends
        on the clock."""
        if "changed" not in self._places:
            return []
        changed, lifetime = self._places["changed"], self._places.get("lifetime")
        if not self._lifetime:
            # Without a default, passwords expire only on accounts with a lifetime.
            rows = [] if lifetime is None else [row for row in rows if row[lifetime] is not None]
        ends = ((row, self._end(row[changed], None if lifetime is None else row[lifetime])) for row in rows)
        return [(row[0], row[1]) for row, end in ends if end and end <= now]

    def account(self, row: Sequence[Any], ended: Container[AccountKey]) -> Account:
        """The account of a row of `sql`. `ended` is the result of `ended()`."""
        read = self._read(row)
        privileges = self._privileges(read, row[-1])
        is_role = self._is_role(row)
        fact = self._role(row, privileges) if is_role else self._user(row, read, privileges, ended)
        if is_role is None:
            unknown: dict[str, Any] = dict.fromkeys(_differences(fact, self._role(row, privileges)))
            fact = fact._replace(**unknown)
        return Account(fact, privileges, read.get("default_role") or "", read.get("restrictions"))

    def undecided(self, rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
        """The rows of `sql` with accounts that may be users or roles."""
        return [row for row in rows if self._is_role(row) is None] if None in self._marks else []

    def depends_on_kind(self, row: Sequence[Any], ended: Container[AccountKey]) -> set[str]:
        """The fields of AccountFact that differ between the user and the role of such a row."""
        read = self._read(row)
        privileges = self._privileges(read, row[-1])
        return _differences(self._user(row, read, privileges, ended), self._role(row, privileges))

    def _read(self, row: Sequence[Any]) -> dict[str, Any]:
        return dict(zip((field.name for field in self._fields), row[2:-1], strict=True))

    def _is_role(self, row: Sequence[Any]) -> bool | None:
        """Whether it is a role; None if unknown."""
        if not self._marks or not all(place is None or _flag(row[place]) for place in self._marks):
            return False
        return None if None in self._marks else True

    def _unless_unread(self, field: str, value: Any) -> Any:
        """The value of a field of AccountFact, or None if the field could not be read."""
        return None if field in self.unread else value

    def _role(self, row: Sequence[Any], privileges: Set[str]) -> AccountFact:
        key: AccountKey = (row[0], row[1])
        superuser = "SUPER" in privileges or self._unless_unread("is_superuser", False)
        kind = "public" if self.server.is_mariadb and key == MARIADB_PUBLIC else "role"
        return AccountFact(
            *key, kind, is_system=key in SYSTEM_ACCOUNTS, can_login=False, is_locked=False, is_superuser=superuser
        )

    def _user(
        self, row: Sequence[Any], read: Mapping[str, Any], privileges: Set[str], ended: Container[AccountKey]
    ) -> AccountFact:
        changed = _number(read.get("changed"))
        end = self._end(changed, read.get("lifetime"))
        expired = _flag(read.get("expired")) or changed == 0
        limit = _number(read.get("limit"))
        more = read.get("more_plugins")
        plugins = [read.get("plugin") or "", *(json.loads(more) if more else ())]
        # MariaDB has no such plugin.
        no_plugin = "plugin" not in read and not self.server.is_mariadb
        return self._role(row, privileges)._replace(
            kind="user",
            # https://dev.mysql.com/doc/refman/8.4/en/no-login-pluggable-authentication.html
            can_login=None if no_plugin else "mysql_no_login" not in plugins,
            is_locked=self._unless_unread("is_locked", _flag(read.get("locked"))),
            valid_until=self._unless_unread("valid_until", _time(end) if end else None),
            password_changed_at=_time(changed) if changed else None,
            password_expired=expired or (row[0], row[1]) in ended or self._unless_unread("password_expired", False),
            auth_method=self._unless_unread("auth_method", " or ".join(filter(None, plugins))),
            # 0 means the server's max_user_connections; on MariaDB, -1 means no connections.
            connection_limit=max(limit, 0) if limit else None,
        )

    def _end(self, changed: Any, lifetime: Any) -> int | None:
        """When a password set at `changed` expires, both Unix times; None for never. The lifetime is in days; if None
        or negative, the server's default applies."""
        days = self._lifetime if lifetime is None or int(lifetime) < 0 else int(lifetime)
        changed = _number(changed)
        return changed + days * _DAY if changed and days else None

    def _privileges(self, read: Mapping[str, Any], flags: str) -> frozenset[str]:
        if "access" not in read:
            return frozenset(yes_no(self._flags, flags, self.server.is_mariadb))
        return mariadb_access(int(read["access"] or 0), int(read["row_version"] or 0), *self._knowledge)

    @cached_property
    def _knowledge(self) -> tuple[int, int]:
        """The last two arguments of `mariadb_access`."""
        numbers = re.findall(r"\d+", self.server.version)[:3]
        version = int("".join(f"{int(number):02}" for number in numbers))
        return version, sum(name in self.server.privileges for name in MARIADB_BITS)

    @property
    def knows_grant_option(self) -> bool:
        """Whether the grant option of privileges on *.* is readable."""
        return "Grant_priv" in self._flags or not self._flags


def select_on_user(columns: Iterable[str]) -> str:
    """The columns and object of a GRANT SELECT on mysql.user."""
    return f"({', '.join(sorted(columns))}) ON mysql.user"


def everybody(host: str) -> Account:
    """The account for rows of mysql.db without a user."""
    return Account(AccountFact("", host, kind="public", can_login=False))


def _differences(user: AccountFact, role: AccountFact) -> set[str]:
    return {name for name, one, other in zip(AccountFact._fields, user, role, strict=True) if one != other}


def _flag(value: Any) -> bool:
    return value not in (None, 0, "0", "", False)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
