"""What a visit to MySQL reads of accounts: which columns of which table, and what facts come of a row.

Password hashes stay where they are: columns are named one by one, and JSON documents that hold a hash among other
things are taken apart by the server, key by key.

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

#: MariaDB's name for everybody, held in its tables as a role.
MARIADB_PUBLIC: AccountKey = ("PUBLIC", "")


#: In seconds.
_DAY = 86_400


@dataclass(frozen=True)
class Server:
    """What tells one server's grant tables from another's: the `variables` it has, the `columns` that may be read, by
    table, and the `privileges` it knows (SHOW PRIVILEGES; asked of MariaDB only)."""

    version: str
    variables: Mapping[str, str]
    columns: Mapping[str, Sequence[str]]
    privileges: Set[str]

    @property
    def is_mariadb(self) -> bool:
        return "max_statement_time" in self.variables

    @property
    def has_roles(self) -> bool:
        """Whether this is a MySQL with role_edges, default_roles and global_grants (8.0)."""
        return "mandatory_roles" in self.variables

    @property
    def tablespaces(self) -> str:
        """The view that lists InnoDB's files."""
        return "INNODB_TABLESPACES" if self.has_roles else "INNODB_SYS_TABLESPACES"


def described(product: str, version: str) -> Server:
    """A server of which only product and version are known; "" for MySQL, and for the newest version."""
    major = re.match(r"\d+", version)
    has_roles = product != "MariaDB" and (major is None or int(major[0]) >= 8)
    variables = {"max_statement_time": ""} if product == "MariaDB" else {"mandatory_roles": ""} if has_roles else {}
    return Server(version, variables, {}, frozenset())


@dataclass(frozen=True)
class Account:
    """An account and what else its row says: privileges on *.* ("GRANT OPTION" among them), default role (MariaDB)
    and partial revokes as JSON (MySQL)."""

    fact: AccountFact
    privileges: frozenset[str] = frozenset()
    default_role: str = ""
    restrictions: str | None = None


@dataclass(frozen=True)
class _Field:
    """One thing to read: how, from which column, and which fields of AccountFact cannot be told without it."""

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
#: Asked for on its own: the document also holds second passwords and the secrets of further factors.
_RESTRICTIONS = _Field(
    "restrictions", "User_attributes", "CAST(JSON_EXTRACT(User_attributes, '$.Restrictions') AS CHAR)"
)

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
    """Columns of mysql.user that are read where there is nothing better; no hash is in any of them."""
    fields = _USER_VIEW if is_mariadb else _USER_TABLE
    flags = USER_COLUMNS | ({"Create_role_priv", "Drop_role_priv"} if has_roles else set())
    return frozenset({"User", "Host", *flags, *(field.column for field in fields)})


class Source:
    """Where accounts are read from: MySQL's mysql.user; MariaDB's mysql.global_priv, or its view mysql.user where Priv,
    the column with the hashes, may not be read.

    `sql` gives the rows for `account()`. `unread` names fields of AccountFact; `lacks` what else is incomplete:
    "system" (privileges on *.*), "restrictions", "default_role"; `missing` names the columns of mysql.user that may not
    be read; `wanted` is what to GRANT SELECT on to have it all.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._lifetime = int(server.variables.get("default_password_lifetime", 0))
        readable = set(server.columns.get("user", ()))
        priv_readable = "Priv" in server.columns.get("global_priv", ())
        # Where nothing may be read, it seems, all is asked for, and the server says what is wrong.
        in_json = server.is_mariadb and (priv_readable or not readable)
        self._fields: tuple[_Field, ...] = _USER_VIEW if server.is_mariadb else _USER_TABLE
        known = user_columns(server.is_mariadb, server.has_roles) | readable
        flags = frozenset(name for name in known if name.endswith("_priv"))
        if in_json:
            self._fields, flags = _GLOBAL_PRIV, frozenset()
        # The server keeps the variable on as long as an account has partial revokes.
        if server.variables.get("partial_revokes") == "ON":
            self._fields += (_RESTRICTIONS,)
        wanted = {field.column for field in self._fields} | flags
        if in_json or not readable:
            readable = wanted
        missing = [field for field in self._fields if field.column not in readable]
        self._fields = tuple(field for field in self._fields if field.column in readable)
        self._flags = sorted(flags & readable)
        self.lacks = {field.name for field in missing if not field.lost}
        unread = {fact for field in missing for fact in field.lost.split()}
        if server.is_mariadb and not in_json:
            unread |= _NOT_IN_VIEW
        if not (server.is_mariadb or server.has_roles):
            unread -= {"kind"} if "plugin" not in readable else {"kind", "can_login"}
        if "Super_priv" in flags - readable:
            unread.add("is_superuser")
        self.unread = frozenset(unread)
        # The view has a column for each of the older privileges only.
        if flags - readable or (server.is_mariadb and not in_json):
            self.lacks.add("system")
        self.missing = frozenset(wanted - readable)
        self.wanted = select_on_user(self.missing)
        if server.is_mariadb:
            self.wanted = "ON mysql.global_priv"
        terms = [field.sql for field in self._fields]
        terms.append(f"CONCAT({', '.join(self._flags)})" if self._flags else "''")
        table = "global_priv" if in_json else "user"
        self.sql = f"SELECT User, Host, {', '.join(terms)} FROM mysql.{table}"  # noqa: S608 - the catalogue's own names

    def ended(self, rows: Iterable[Sequence[Any]], now: int) -> list[AccountKey]:
        """Of the rows of `sql`, whose password's lifetime is over at a Unix time. Nothing else goes by the clock."""
        places = {field.name: place for place, field in enumerate(self._fields, start=2)}
        if "changed" not in places:
            return []
        changed, lifetime = places["changed"], places.get("lifetime")
        if not self._lifetime:
            # Few have one of their own, and no other password ever ends.
            rows = [] if lifetime is None else [row for row in rows if row[lifetime] is not None]
        ends = ((row, self._end(row[changed], None if lifetime is None else row[lifetime])) for row in rows)
        return [(row[0], row[1]) for row, end in ends if end and end <= now]

    def account(
        self, row: Sequence[Any], granted: Container[AccountKey], ended: Container[AccountKey], complete: bool = True
    ) -> Account:
        """What a row of `sql` says. `granted` are the accounts that have been granted to others, and `complete` says
        that there are no more of them. For `ended` see there."""
        key: AccountKey = (row[0], row[1])
        read = dict(zip((field.name for field in self._fields), row[2:-1], strict=True))
        privileges = self._privileges(read, row[-1])
        superuser = "SUPER" in privileges or self._unless_unread("is_superuser", False)
        fact = AccountFact(*key, is_system=key in SYSTEM_ACCOUNTS, is_superuser=superuser, can_login=False)
        is_role = self._is_role(read, key in granted or (None if not complete else False))
        if is_role:
            kind = "public" if self.server.is_mariadb and key == MARIADB_PUBLIC else "role"
            fact = fact._replace(kind=kind, is_locked=False)
        else:
            fact = self._user(fact, read, key in ended)
        if is_role is None:
            fact = fact._replace(kind=None, can_login=fact.can_login and None)
        return Account(fact, privileges, read.get("default_role") or "", read.get("restrictions"))

    def _is_role(self, read: Mapping[str, Any], granted: bool | None) -> bool | None:
        """Whether it is a role; None where that could not be read. MySQL does not mark roles: a role is locked, and
        either has an expired password too, which is how CREATE ROLE leaves it, or has been `granted` to others."""
        if self.server.is_mariadb:
            return _flag(read["is_role"]) if "is_role" in read else None
        if not self.server.has_roles:
            return False
        locked, expired = (_flag(read[name]) if name in read else None for name in ("locked", "expired"))
        if locked is False or (expired is False and granted is False):
            return False
        return True if locked and (expired or granted) else None

    def _unless_unread(self, field: str, value: Any) -> Any:
        """The value of a field of AccountFact, or None where the field could not be read."""
        return None if field in self.unread else value

    def _user(self, fact: AccountFact, read: Mapping[str, Any], ended: bool) -> AccountFact:
        changed = _number(read.get("changed"))
        end = self._end(changed, read.get("lifetime"))
        expired = _flag(read.get("expired")) or changed == 0
        limit = _number(read.get("limit"))
        more = read.get("more_plugins")
        plugins = [read.get("plugin") or "", *(json.loads(more) if more else ())]
        # MariaDB has no such plugin.
        no_plugin = "plugin" not in read and not self.server.is_mariadb
        return fact._replace(
            # Whose plugin this is, nobody logs in as: https://dev.mysql.com/doc/refman/8.4/en/no-login-pluggable-authentication.html
            can_login=None if no_plugin else "mysql_no_login" not in plugins,
            is_locked=self._unless_unread("is_locked", _flag(read.get("locked"))),
            valid_until=self._unless_unread("valid_until", _time(end) if end else None),
            password_changed_at=_time(changed) if changed else None,
            password_expired=expired or ended or self._unless_unread("password_expired", False),
            auth_method=self._unless_unread("auth_method", " or ".join(filter(None, plugins))),
            # 0 is "as the server's max_user_connections"; MariaDB has -1 for "none at all".
            connection_limit=max(limit, 0) if limit else None,
        )

    def _end(self, changed: Any, lifetime: Any) -> int | None:
        """When a password set at `changed` is over, both Unix times; None for never. The lifetime is in days, and
        the server's where there is none or a negative one."""
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
        """Whether of privileges on *.* it can be said which may be passed on."""
        return "Grant_priv" in self._flags or not self._flags


def select_on_user(columns: Iterable[str]) -> str:
    """What follows GRANT SELECT for these columns of mysql.user."""
    return f"({', '.join(sorted(columns))}) ON mysql.user"


def everybody(host: str) -> Account:
    """The owner of rows in mysql.db without a user."""
    return Account(AccountFact("", host, kind="public", can_login=False))


def _flag(value: Any) -> bool:
    return value not in (None, 0, "0", "", False)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
