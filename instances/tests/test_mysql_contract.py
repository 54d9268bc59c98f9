"""What the MySQL adapter makes of MySQL 5.7, 8.0 and 8.4, EMULATED, and of what MySQL alone has, on a real server.

The first part runs the adapter's own SQL on catalogues laid out after MySQL's reference manuals (chapter "Grant
Tables" of 5.7, 8.0 and 8.4, which cannot be had as servers), held by SQLite behind an emulated DB-API connection. It
shows that the adapter does the right thing with such rows and rights; that a server gives such rows, only a server can
show. The second part (`live`) does that on the MySQL server at hand, 9.7; test_mysql.py has the rest. For another server
set TAIFISH_TEST_MYSQL_DSN=mysql://user:password@host:port/ to an account that may create accounts, on a server that may
be written to.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
import pytest

from engines.derived import fingerprint_of
from engines.errors import AdapterError
from engines.facts import AccountFact, Examination, Inventory, MembershipFact, Permissions
from engines.mysql import adapter as adapter_module
from engines.mysql.adapter import MySQLAdapter
from engines.mysql.decode import DB_COLUMNS, USER_COLUMNS
from engines.mysql.session import Driver
from engines.mysql.user_table import user_columns
from engines.registry import ENGINES
from engines.statements import PASSWORD
from engines.target import Target
from taifish.tests.mariadb import MysqlServer

TARGET = Target("mysql", "mysql.test", "taifish", "pass-phrase", level="C")
NOW = 1_800_000_000
CHANGED = NOW - 10 * 86400

USER_57 = {
    **dict.fromkeys(("Host", "User"), ""),
    **dict.fromkeys(sorted(USER_COLUMNS), "N"),
    "max_user_connections": 0,
    "plugin": "mysql_native_password",
    "authentication_string": "*THEHASH",
    "password_expired": "N",
    "password_last_changed": CHANGED,
    "password_lifetime": None,
    "account_locked": "N",
}
USER_80 = {
    **USER_57,
    "Create_role_priv": "N",
    "Drop_role_priv": "N",
    "plugin": "caching_sha2_password",
    "User_attributes": None,
}
TABLES_57 = {
    "user": tuple(USER_57),
    "db": ("Host", "Db", "User", *sorted(DB_COLUMNS)),
    "tables_priv": ("Host", "Db", "User", "Table_name", "Table_priv", "Column_priv"),
    "columns_priv": ("Host", "Db", "User", "Table_name", "Column_name", "Column_priv"),
    "procs_priv": ("Host", "Db", "User", "Routine_name", "Routine_type", "Proc_priv"),
    "proxies_priv": ("Host", "User", "Proxied_host", "Proxied_user", "With_grant"),
}
TABLES_80 = {
    **TABLES_57,
    "user": tuple(USER_80),
    "role_edges": ("FROM_HOST", "FROM_USER", "TO_HOST", "TO_USER", "WITH_ADMIN_OPTION"),
    "default_roles": ("HOST", "USER", "DEFAULT_ROLE_HOST", "DEFAULT_ROLE_USER"),
    "global_grants": ("USER", "HOST", "PRIV", "WITH_GRANT_OPTION"),
}
VARIABLES_57 = {"default_password_lifetime": "0", "max_execution_time": "0"}
VARIABLES_80 = {
    **VARIABLES_57,
    "activate_all_roles_on_login": "OFF",
    "mandatory_roles": "",
    "partial_revokes": "OFF",
}
SYSTEM_ACCOUNTS = {"5.7": ("mysql.sys", "mysql.session"), "8": ("mysql.sys", "mysql.session", "mysql.infoschema")}

VERSIONS = {
    "5.7.44-log": (TABLES_57, VARIABLES_57, SYSTEM_ACCOUNTS["5.7"]),
    "8.0.13": (
        {**TABLES_80, "user": tuple(column for column in USER_80 if column != "User_attributes")},
        {name: value for name, value in VARIABLES_80.items() if name != "partial_revokes"},
        SYSTEM_ACCOUNTS["8"],
    ),
    "8.0.39": (TABLES_80, VARIABLES_80, SYSTEM_ACCOUNTS["8"]),
    "8.4.3": (TABLES_80, VARIABLES_80, SYSTEM_ACCOUNTS["8"]),
}
WITH_ROLES = [version for version in VERSIONS if not version.startswith("5")]
WITH_RESTRICTIONS = ["8.0.39", "8.4.3"]


@dataclass
class Catalogue:
    """A MySQL server as far as the adapter can see: rows, variables, and what the collection account may not read."""

    version: str
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    #: What follows SHOW GRANTS → its rows.
    grants: dict[str, list[str]] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    fetched: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables, variables, system = VERSIONS[self.version]
        self.variables = {**variables, **self.variables}
        for name in system:
            self.user(name, "localhost", account_locked="Y", plugin="mysql_native_password")
        self.user("root", "localhost", **dict.fromkeys([*USER_COLUMNS, "Create_role_priv", "Drop_role_priv"], "Y"))

    def user(self, name: str, host: str = "%", **columns: Any) -> None:
        row = {**USER_80, "User": name, "Host": host, **columns}
        self.rows.setdefault("user", []).append({column: row[column] for column in self.tables["user"]})

    def role(self, name: str, host: str = "%", **columns: Any) -> None:
        """As CREATE ROLE leaves it."""
        self.user(
            name, host, **{"account_locked": "Y", "password_expired": "Y", "authentication_string": "", **columns}
        )

    def add(self, table: str, **columns: Any) -> None:
        blank = {column: "N" if column.endswith("_priv") and table == "db" else "" for column in self.tables[table]}
        self.rows.setdefault(table, []).append({**blank, **columns})

    def grant_role(self, role: str, member: str, admin: str = "N", default: bool = False) -> None:
        self.add("role_edges", FROM_HOST="%", FROM_USER=role, TO_HOST="%", TO_USER=member, WITH_ADMIN_OPTION=admin)
        if default:
            self.add("default_roles", HOST="%", USER=member, DEFAULT_ROLE_HOST="%", DEFAULT_ROLE_USER=role)

    def readable(self, table: str) -> list[str]:
        return [name for name in self.tables[table] if not {table, f"{table}.{name}"} & self.denied]

    def visit(self, **overrides: Any) -> tuple[Inventory, Permissions]:
        with MySQLAdapter(replace(TARGET, **overrides)) as adapter:
            return adapter.inventory(), adapter.permissions()


class Connection:
    """A DB-API connection whose server is SQLite with the catalogue's tables, as far as they may be read."""

    def get_server_info(self) -> str:
        return self.catalogue.version

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.create_function("VERSION", 0, lambda: catalogue.version)
        self.database.create_function("CURRENT_USER", 0, lambda: "taifish@10.%")
        self.database.create_function("UNIX_TIMESTAMP", 0, lambda: NOW)
        self.database.create_function("UNIX_TIMESTAMP", 1, lambda seconds: seconds)
        self.database.create_function("CONCAT", -1, lambda *parts: "".join(parts))
        self.database.create_function("FIND_IN_SET", 2, lambda word, words: word in words.split(","))
        self.database.execute("ATTACH ':memory:' AS mysql")
        self.database.execute("ATTACH ':memory:' AS information_schema")
        self.database.execute(
            "CREATE TABLE information_schema.COLUMNS (TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, PRIVILEGES)"
        )
        files = "INNODB_SYS_TABLESPACES" if catalogue.version.startswith("5") else "INNODB_TABLESPACES"
        self.database.execute(f"CREATE TABLE information_schema.{files} (NAME)")
        for table, columns in catalogue.tables.items():
            readable = catalogue.readable(table)
            for column in readable:
                self._insert("information_schema.COLUMNS", ["mysql", table, column, "select"])
            # SQLite compares as MySQL's utf8_bin does here: case matters.
            self.database.execute(f"CREATE TABLE mysql.{table} ({', '.join(columns)})")
            for row in catalogue.rows.get(table, []):
                self._insert(f"mysql.{table}", [row[column] for column in columns])

    def _insert(self, table: str, values: list[Any]) -> None:
        self.database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)

    def cursor(self) -> Cursor:
        return Cursor(self)

    def close(self) -> None:
        self.database.close()


class Cursor:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rows: list[tuple[Any, ...]] = []

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def execute(self, sql: str, parameters: Any = None) -> None:
        catalogue = self.connection.catalogue
        catalogue.statements.append(sql)
        if sql.startswith("SHOW GLOBAL VARIABLES"):
            asked = re.findall(r"'(\w+)'", sql)
            self.rows = [(name, text[:1024]) for name, text in catalogue.variables.items() if name in asked]
        elif sql.startswith("SHOW SESSION VARIABLES"):
            self.rows = [("transaction_read_only", "ON")]
        elif sql.startswith("SHOW GRANTS"):
            self.rows = [(text,) for text in catalogue.grants[sql.removeprefix("SHOW GRANTS").strip()]]
        elif sql.startswith(("SET SESSION ", "START TRANSACTION ")):
            self.rows = []
        elif found := re.search(r"@@GLOBAL\.(\w+)", sql):
            self.rows = [(catalogue.variables[found[1]],)]
        else:
            assert sql.startswith("SELECT /*+ MAX_EXECUTION_TIME("), sql
            self._refuse(sql)
            self.rows = self.connection.database.execute(sql).fetchall()
        catalogue.fetched += self.rows

    def _refuse(self, sql: str) -> None:
        """https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html#error_er_tableaccess_denied_error"""
        catalogue = self.connection.catalogue
        if "TABLESPACES" in sql and "PROCESS" in catalogue.denied:
            raise pymysql.OperationalError(
                1227, "Access denied; you need (at least one of) the PROCESS privilege(s) for this operation"
            )
        for table in re.findall(r"FROM mysql\.(\w+)", sql):
            readable = catalogue.readable(table) if table in catalogue.tables else []
            if not readable:
                raise pymysql.OperationalError(
                    1142, f"SELECT command denied to user 'taifish'@'10.0.0.1' for table '{table}'"
                )
            for column in set(catalogue.tables[table]) - set(readable):
                if re.search(rf"\b{column}\b", sql):
                    raise pymysql.OperationalError(
                        1143,
                        f"SELECT command denied to user 'taifish'@'10.0.0.1' for column '{column}' in table '{table}'",
                    )

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """serve(version, …) is a catalogue that the adapter will meet, whatever it connects to."""

    def serving(version: str, **settings: Any) -> Catalogue:
        catalogue = Catalogue(version, **settings)
        monkeypatch.setattr(adapter_module, "driver", lambda _: Driver("PyMySQL", pymysql))
        monkeypatch.setattr(adapter_module, "open_connection", lambda *_: Connection(catalogue))
        return catalogue

    return serving


def kinds(inventory: Inventory) -> dict[str, str]:
    return {account.name: account.kind for account in inventory.accounts if not account.is_system}


def held(permissions: Permissions, name: str) -> set[str]:
    """Grants of an account as "kind scope privilege", with a * where it is grantable and a ! where it is denied."""
    return {
        f"{grant.kind} {grant.scope} {grant.privilege}".replace("  ", " ") + "*" * grant.grantable + "!" * grant.denied
        for grant in permissions.grants
        if grant.account[0] == name
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_users(serve: Any, version: str) -> None:
    """F1.9: on every version the same facts, with one statement for all accounts."""
    catalogue = serve(version, variables={"default_password_lifetime": "30"})
    catalogue.user("alice", max_user_connections=4, Super_priv="Y", password_lifetime=90)
    catalogue.user("locked", account_locked="Y")
    catalogue.user("expired", password_expired="Y")
    catalogue.user("ageless", password_lifetime=0)
    catalogue.user("aged", password_lifetime=5)
    catalogue.user("nobody", plugin="mysql_no_login", password_last_changed=None)
    inventory, permissions = catalogue.visit()
    found = {account.name: account for account in inventory.accounts}
    assert found["alice"] == AccountFact(
        "alice",
        "%",
        can_login=True,
        is_locked=False,
        is_superuser=True,
        valid_until=datetime.fromtimestamp(CHANGED, UTC) + timedelta(days=90),
        password_changed_at=datetime.fromtimestamp(CHANGED, UTC),
        password_expired=False,
        auth_method="caching_sha2_password",
        connection_limit=4,
    )
    assert {name for name, fact in found.items() if fact.is_locked and not fact.is_system} == {"locked"}
    assert {name for name, fact in found.items() if fact.password_expired} == {"expired", "aged"}
    assert {name for name, fact in found.items() if fact.is_superuser} == {"alice", "root"}
    assert found["expired"].valid_until == datetime.fromtimestamp(CHANGED, UTC) + timedelta(days=30)
    assert found["ageless"].valid_until is None
    assert (found["nobody"].can_login, found["nobody"].password_changed_at) == (False, None)
    assert {fact.key for fact in found.values() if fact.is_system} == {
        (name, "localhost") for name in VERSIONS[version][2]
    }
    assert set(kinds(inventory).values()) == {"user"}
    assert inventory.gaps == permissions.gaps == []
    assert held(permissions, "alice") == {"system SUPER"}
    assert "system CREATE TABLESPACE*" in held(permissions, "root")
    assert ("system CREATE ROLE*" in held(permissions, "root")) == (version in WITH_ROLES)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_session_and_its_statements(serve: Any, version: str) -> None:
    """F1.8, F1.10: limited, read-only, no more statements for 1,000 accounts, and no hash asked for."""
    counts = []
    for number in (10, 1000):
        catalogue = serve(version)
        for index in range(number):
            catalogue.user(f"u{index}")
            catalogue.add("db", Host="%", User=f"u{index}", Db="shop", Select_priv="Y")
        _, permissions = catalogue.visit()
        assert len(permissions.grants) > number
        counts.append(len(catalogue.statements))
        assert "SET SESSION TRANSACTION READ ONLY" in catalogue.statements
        assert "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY" in catalogue.statements
        assert any("max_execution_time = 60" in sql for sql in catalogue.statements)
        assert not [sql for sql in catalogue.statements if "authentication_string" in sql or sql[7] == "*"]
        assert "THEHASH" not in repr(catalogue.fetched)
    assert counts[0] == counts[1] <= 17


def test_what_is_a_role(serve: Any) -> None:
    catalogue = serve("8.4.3")
    catalogue.role("app")
    catalogue.role("unexpired", password_expired="N")
    catalogue.user("locked", account_locked="Y")
    catalogue.user("expired", password_expired="Y")
    catalogue.user("boss")
    catalogue.user("alice")
    catalogue.grant_role("unexpired", "alice")
    catalogue.grant_role("boss", "alice")
    inventory, _ = catalogue.visit()
    assert kinds(inventory) == {
        "root": "user",
        "app": "role",
        "unexpired": "role",
        "locked": "user",
        "expired": "user",
        "boss": "user",
        "alice": "user",
    }
    app = next(account for account in inventory.accounts if account.name == "app")
    assert app == AccountFact("app", "%", kind="role", can_login=False, is_locked=False, is_superuser=False)


def test_no_roles_before_8(serve: Any) -> None:
    catalogue = serve("5.7.44-log")
    catalogue.user("left", account_locked="Y", password_expired="Y")
    inventory, permissions = catalogue.visit()
    assert kinds(inventory)["left"] == "user"
    assert "memberships" in permissions.covered
    assert permissions.memberships == permissions.gaps == []


@pytest.mark.parametrize("all_active", ["OFF", "ON"])
@pytest.mark.parametrize("version", WITH_ROLES)
def test_memberships(serve: Any, version: str, all_active: str) -> None:
    """F1.9: nested, with admin option, and active from login on or not."""
    catalogue = serve(version, variables={"activate_all_roles_on_login": all_active})
    for role in ("app", "team", "audit"):
        catalogue.role(role)
    for user in ("alice", "bob"):
        catalogue.user(user)
    catalogue.grant_role("app", "team")
    catalogue.grant_role("team", "alice", admin="Y", default=True)
    catalogue.grant_role("team", "bob")
    catalogue.grant_role("ghost", "bob")
    _, permissions = catalogue.visit()
    assert set(permissions.memberships) == {
        MembershipFact(("team", "%"), ("app", "%")),
        MembershipFact(("alice", "%"), ("team", "%"), admin_option=True),
        MembershipFact(("bob", "%"), ("team", "%"), inherit=all_active == "ON"),
    }


def test_mandatory_roles(serve: Any) -> None:
    """F1.9: every user has them, however long the variable is (SHOW VARIABLES cuts it)."""
    names = [f"r{number:03}" for number in range(300)]
    text = ", ".join([*(f"`{name}`@`%`" for name in names), "`odd,na``me`@localhost", "'q@d'", "plain@%", "gone"])
    catalogue = serve("8.4.3", variables={"mandatory_roles": text})
    for name in names:
        catalogue.role(name)
    catalogue.role("odd,na`me", "localhost")
    catalogue.role("q@d")
    catalogue.role("plain", password_expired="N")
    catalogue.user("alice")
    catalogue.add("default_roles", HOST="%", USER="alice", DEFAULT_ROLE_HOST="%", DEFAULT_ROLE_USER="r007")
    inventory, permissions = catalogue.visit()
    hers = {m.role: m.inherit for m in permissions.memberships if m.member == ("alice", "%")}
    assert hers.keys() == {*((name, "%") for name in names), ("odd,na`me", "localhost"), ("q@d", "%"), ("plain", "%")}
    assert {role for role, inherit in hers.items() if inherit} == {("r007", "%")}
    users = {account.key for account in inventory.accounts if account.kind == "user"}
    assert {m.member for m in permissions.memberships} == users
    assert kinds(inventory)["plain"] == "role"


CHANGES: dict[str, Callable[[Catalogue], object]] = {
    "a user": lambda catalogue: catalogue.user("eve"),
    **{
        column: lambda catalogue, column=column, value=value: catalogue.rows["user"][-1].update({column: value})
        for column, value in {
            "account_locked": "Y",
            "password_expired": "Y",
            "password_last_changed": CHANGED + 1,
            "password_lifetime": 3,
            "plugin": "mysql_no_login",
            "max_user_connections": 9,
            "Super_priv": "Y",
            "Grant_priv": "Y",
            "Create_role_priv": "Y",
            "User_attributes": '{"Restrictions": [{"Database": "shop", "Privileges": ["SELECT"]}]}',
        }.items()
    },
    "a membership": lambda catalogue: catalogue.grant_role("team", "alice"),
    "an admin": lambda catalogue: catalogue.rows["role_edges"][0].update(WITH_ADMIN_OPTION="Y"),
    "a default role": lambda catalogue: catalogue.add(
        "default_roles", HOST="%", USER="bob", DEFAULT_ROLE_HOST="%", DEFAULT_ROLE_USER="team"
    ),
    "all roles active": lambda catalogue: catalogue.variables.update(activate_all_roles_on_login="ON"),
    "a mandatory role": lambda catalogue: catalogue.variables.update(mandatory_roles="team"),
    "the lifetime of passwords": lambda catalogue: catalogue.variables.update(default_password_lifetime="30"),
    "patterns taken literally": lambda catalogue: catalogue.variables.update(partial_revokes="OFF"),
    "a dynamic privilege": lambda catalogue: catalogue.add(
        "global_grants", USER="bob", HOST="%", PRIV="BACKUP_ADMIN", WITH_GRANT_OPTION="N"
    ),
    "a database": lambda catalogue: catalogue.add("db", Host="%", User="bob", Db="lab", Drop_priv="Y"),
    "everybody": lambda catalogue: catalogue.add("db", Host="%", User="", Db="lab", Drop_priv="Y"),
    "a table": lambda catalogue: catalogue.add(
        "tables_priv", Host="%", User="bob", Db="shop", Table_name="t", Table_priv="Select"
    ),
    "a column": lambda catalogue: catalogue.add(
        "columns_priv", Host="%", User="bob", Db="shop", Table_name="t", Column_name="a", Column_priv="Select"
    ),
    "a routine": lambda catalogue: catalogue.add(
        "procs_priv", Host="%", User="bob", Db="shop", Routine_name="p", Routine_type="PROCEDURE", Proc_priv="Execute"
    ),
    "a proxy": lambda catalogue: catalogue.add(
        "proxies_priv", Host="%", User="bob", Proxied_host="%", Proxied_user="team", With_grant=0
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_facts_is_one_of_fingerprints(serve: Any, change: str) -> None:
    """Facts with the fingerprints of the visit before are not made: it must tell of every change."""

    def visit() -> tuple[list[bytes], list[set[Any]]]:
        catalogue = serve("8.4.3", variables={"partial_revokes": "ON"})
        catalogue.role("team")
        catalogue.user("alice")
        catalogue.grant_role("team", "bob")
        catalogue.add("db", Host="%", User="team", Db="sho_", Select_priv="Y")
        catalogue.user("bob", Select_priv="Y")
        if changed:
            CHANGES[change](catalogue)
        inventory, permissions = catalogue.visit(level="C")
        facts = inventory.accounts, permissions.memberships, permissions.grants
        return [fingerprint_of(some) for some in facts], [set(some) for some in facts]

    changed = False
    prints, facts = visit()
    assert visit() == (prints, facts)
    changed = True
    other_prints, other_facts = visit()
    assert other_facts != facts
    changed_facts = [some != other for some, other in zip(facts, other_facts, strict=True)]
    changed_prints = [some != other for some, other in zip(prints, other_prints, strict=True)]
    assert all(of_prints >= of_facts for of_prints, of_facts in zip(changed_prints, changed_facts, strict=True))


def test_the_clock_alone_is_noticed(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1.7: a password's lifetime ends, and no row changes; other seconds pass unnoticed."""

    def visit(now: int) -> tuple[bytes, bool | None]:
        catalogue = serve("8.4.3")
        catalogue.user("alice", password_lifetime=30)
        monkeypatch.setitem(globals(), "NOW", now)
        inventory, _ = catalogue.visit()
        (alice,) = [account for account in inventory.accounts if account.name == "alice"]
        return fingerprint_of(inventory.accounts), alice.password_expired

    end = CHANGED + 30 * 86_400
    last, first = visit(end - 1), visit(end)
    assert (last[1], first[1]) == (False, True)
    assert visit(end - 1000) == last
    assert visit(end + 1000) == first
    assert last[0] != first[0]


@pytest.mark.parametrize("version", WITH_ROLES)
def test_dynamic_privileges(serve: Any, version: str) -> None:
    """F1.9: any name the server has, each with a grant option of its own."""
    catalogue = serve(version)
    catalogue.user("alice", Process_priv="Y", Grant_priv="Y")
    name = "SET_USER_ID" if version.startswith("8.0") else "SET_ANY_DEFINER"
    catalogue.add("global_grants", USER="alice", HOST="%", PRIV=name, WITH_GRANT_OPTION="N")
    catalogue.add("global_grants", USER="alice", HOST="%", PRIV="BACKUP_ADMIN", WITH_GRANT_OPTION="Y")
    _, permissions = catalogue.visit()
    assert held(permissions, "alice") == {"system PROCESS*", f"system {name}", "system BACKUP_ADMIN*"}


@pytest.mark.parametrize("version", WITH_RESTRICTIONS)
def test_partial_revokes(serve: Any, version: str) -> None:
    """F1.9: as denied rows; the same JSON's second password stays on the server."""
    catalogue = serve(version, variables={"partial_revokes": "ON"})
    attributes = {
        "additional_password": "$A$005$SECOND",
        "Restrictions": [{"Database": "pay_roll", "Privileges": ["SELECT", "SHOW VIEW"]}],
        "metadata": {"note": "x"},
    }
    catalogue.user("alice", Select_priv="Y", Show_view_priv="Y", User_attributes=json.dumps(attributes))
    catalogue.user("bob", User_attributes=json.dumps({"Password_locking": {"failed_login_attempts": 3}}))
    catalogue.add("db", Host="%", User="bob", Db="team_a", Select_priv="Y")
    _, permissions = catalogue.visit()
    assert held(permissions, "alice") == {
        "system SELECT",
        "system SHOW VIEW",
        "database pay\\_roll SELECT!",
        "database pay\\_roll SHOW VIEW!",
    }
    (denied, _) = [grant for grant in permissions.grants if grant.denied]
    assert denied.database == "pay_roll"
    # With partial_revokes a name is a name and not a pattern.
    assert held(permissions, "bob") == {"database team\\_a SELECT"}
    assert "SECOND" not in repr(catalogue.fetched)


@pytest.mark.parametrize("version", VERSIONS)
def test_objects(serve: Any, version: str) -> None:
    catalogue = serve(version)
    catalogue.user("alice")
    at = {"Host": "%", "User": "alice", "Db": "shop"}
    catalogue.add("db", **at, Create_tmp_table_priv="Y", Grant_priv="Y")
    catalogue.add("tables_priv", **at, Table_name="t", Table_priv="Insert,Create View,Grant", Column_priv="Select")
    catalogue.add("tables_priv", **at, Table_name="u", Table_priv="", Column_priv="Update")
    catalogue.add("columns_priv", **at, Table_name="t", Column_name="a", Column_priv="Select")
    catalogue.add("columns_priv", **at, Table_name="u", Column_name="b", Column_priv="Update,References")
    catalogue.add("procs_priv", **at, Routine_name="p", Routine_type="PROCEDURE", Proc_priv="Execute,Alter Routine")
    catalogue.add("proxies_priv", Host="%", User="alice", Proxied_host="", Proxied_user="", With_grant=1)
    _, permissions = catalogue.visit()
    assert held(permissions, "alice") == {
        "database shop CREATE TEMPORARY TABLES*",
        "table shop.t INSERT*",
        "table shop.t CREATE VIEW*",
        "column shop.t.a SELECT*",
        "column shop.u.b UPDATE",
        "column shop.u.b REFERENCES",
        "routine shop.procedure.p EXECUTE",
        "routine shop.procedure.p ALTER ROUTINE",
        'proxy "".% PROXY*',
    }


def test_the_test_databases_of_old_installations(serve: Any) -> None:
    """F1.9: mysql_install_db up to 5.7 left rows for everybody in mysql.db."""
    catalogue = serve("5.7.44-log")
    for name in ("test", "test\\_%"):
        catalogue.add("db", Host="%", Db=name, Select_priv="Y")
    inventory, permissions = catalogue.visit()
    assert kinds(inventory)[""] == "public"
    assert held(permissions, "") == {"database test SELECT", "database test\\_% SELECT"}


# Rights of the collection account


def furnished(catalogue: Catalogue) -> Catalogue:
    catalogue.role("app")
    catalogue.user("alice", Super_priv="Y", max_user_connections=3, password_lifetime=2, User_attributes=None)
    catalogue.user("bob", account_locked="Y", Grant_priv="Y", File_priv="Y")
    at = {"Host": "%", "User": "alice", "Db": "shop"}
    catalogue.add("db", **at, Select_priv="Y")
    catalogue.add("tables_priv", **at, Table_name="t", Table_priv="Insert", Column_priv="Select")
    catalogue.add("columns_priv", **at, Table_name="t", Column_name="a", Column_priv="Select")
    catalogue.add("procs_priv", **at, Routine_name="p", Routine_type="FUNCTION", Proc_priv="Execute")
    catalogue.add("proxies_priv", Host="%", User="bob", Proxied_host="%", Proxied_user="alice", With_grant=0)
    if "role_edges" in catalogue.tables:
        catalogue.grant_role("app", "alice", default=True)
        catalogue.add("global_grants", USER="bob", HOST="%", PRIV="BACKUP_ADMIN", WITH_GRANT_OPTION="N")
    return catalogue


def assert_never_wrong(found: tuple[Inventory, Permissions], truth: tuple[Inventory, Permissions]) -> set[str]:
    """Every fact is true and each that is missing lies under a gap. The scopes with gaps."""
    (inventory, permissions), gaps = found, {gap.scope for gap in (*found[0].gaps, *found[1].gaps)}
    assert all(gap.hint.startswith("GRANT SELECT ") for gap in (*inventory.gaps, *permissions.gaps))
    assert all(gap.hint.endswith(" TO `taifish`@`10.%`;") for gap in (*inventory.gaps, *permissions.gaps))
    assert ("account fields" in gaps) == bool(inventory.unread)
    known = {account.key: account for account in truth[0].accounts}
    assert {account.key for account in inventory.accounts} == known.keys()
    for account in inventory.accounts:
        if account.kind is None and known[account.key].kind == "role":
            # A role is shown without the plugin and dates in its row, which say nothing. This may be a user.
            continue
        for name in set(AccountFact._fields) - inventory.unread:
            assert getattr(account, name) == getattr(known[account.key], name), name
    assert set(permissions.memberships) == (set() if "memberships" in gaps else set(truth[1].memberships))
    assert set(permissions.grants) <= set(truth[1].grants)
    for kind in permissions.covered - {"memberships"} - gaps:
        assert {grant for grant in permissions.grants if grant.kind == kind} == {
            grant for grant in truth[1].grants if grant.kind == kind
        }
    return gaps


TABLE_GAPS = {
    "db": {"accounts", "database"},
    "tables_priv": {"table", "column"},
    "columns_priv": {"column"},
    "procs_priv": {"routine"},
    "proxies_priv": {"proxy"},
    "role_edges": {"account fields", "memberships"},
    "default_roles": {"memberships"},
    "global_grants": {"system"},
}


@pytest.mark.parametrize("version", ["5.7.44-log", "8.4.3"])
@pytest.mark.parametrize("table", TABLE_GAPS)
def test_a_grant_table_withheld(serve: Any, version: str, table: str) -> None:
    """F1.5"""
    if table not in VERSIONS[version][0]:
        pytest.skip("there is no such table")
    truth = furnished(serve(version)).visit()
    assert assert_never_wrong(furnished(serve(version, denied={table})).visit(), truth) == TABLE_GAPS[table]


COLUMN_GAPS = {
    "account_locked": {"is_locked", "kind", "can_login"},
    "password_expired": {"password_expired", "kind", "can_login"},
    "password_last_changed": {"password_changed_at", "password_expired", "valid_until"},
    "password_lifetime": {"password_expired", "valid_until"},
    "plugin": {"auth_method", "can_login"},
    "max_user_connections": {"connection_limit"},
    "Super_priv": {"is_superuser"},
}


@pytest.mark.parametrize("version", ["5.7.44-log", "8.4.3"])
@pytest.mark.parametrize("column", [name for name in USER_80 if name not in ("User", "Host")])
def test_a_column_of_mysql_user_withheld(serve: Any, version: str, column: str) -> None:
    """F1.5: its absence is named and never taken for an answer; the hash's is not even noticed."""
    if column not in VERSIONS[version][0]["user"]:
        pytest.skip("there is no such column")
    variables = {"partial_revokes": "ON"} if column == "User_attributes" else {}
    truth = furnished(serve(version, variables=variables)).visit()
    found = furnished(serve(version, variables=variables, denied={f"user.{column}"})).visit()
    gaps = assert_never_wrong(found, truth)
    unread = COLUMN_GAPS.get(column, set())
    if version == "5.7.44-log" and column in ("account_locked", "password_expired"):
        unread = unread - {"kind", "can_login"}
    assert found[0].unread == unread
    expected = {"account fields"} if unread else set()
    expected |= {"memberships"} if "kind" in unread else set()
    expected |= {"system"} if column.endswith("_priv") else set()
    expected |= {"database"} if column == "User_attributes" else set()
    assert gaps == expected
    if expected:
        assert {gap.hint for gap in (*found[0].gaps, *found[1].gaps)} == {
            f"GRANT SELECT ({column}) ON mysql.user TO `taifish`@`10.%`;"
        }


def test_second_passwords_stay_unread_where_there_are_no_partial_revokes(serve: Any) -> None:
    """User_attributes holds both; the server keeps partial_revokes on as long as it is needed."""
    truth = furnished(serve("8.4.3")).visit()
    catalogue = furnished(serve("8.4.3", denied={"user.User_attributes"}))
    assert assert_never_wrong(catalogue.visit(), truth) == set()
    assert not [sql for sql in catalogue.statements if "User_attributes" in sql]


@pytest.mark.parametrize(
    ("denied", "hint"),
    [
        ({"user"}, "GRANT SELECT ON mysql.user TO `taifish`@`10.%`;"),
        ({"user.Host"}, "GRANT SELECT (Host) ON mysql.user TO `taifish`@`10.%`;"),
        ({"user.User"}, "GRANT SELECT (User) ON mysql.user TO `taifish`@`10.%`;"),
    ],
)
@pytest.mark.parametrize("version", ["5.7.44-log", "8.4.3"])
def test_accounts_that_cannot_be_listed_are_an_error(serve: Any, version: str, denied: set[str], hint: str) -> None:
    """F1.5"""
    catalogue = serve(version, denied=denied)
    with pytest.raises(AdapterError) as caught:
        catalogue.visit()
    assert (caught.value.code, caught.value.hint) == ("denied", hint)


def test_no_rows_at_all_is_an_error(serve: Any) -> None:
    """F1.5: on a server that we are logged in to there is an account."""
    catalogue = serve("8.4.3")
    catalogue.rows["user"].clear()
    with pytest.raises(AdapterError) as caught:
        catalogue.visit()
    assert caught.value.code == "server_error"


# The doctor

OWN = "`taifish`@`10.%`"
USAGE = f"GRANT USAGE ON *.* TO {OWN}"


def blind_script(version: str) -> list[str]:
    """The GRANTs of the script that keeps hashes from the account."""
    statements = ENGINES["mysql"].script("C", ("taifish", "10.%"), product="MySQL", version=version, hash_blind=True)
    return [statement.sql for statement in statements[1:]]


def examine(catalogue: Catalogue, *shown: str, hash_blind: bool = False, **more: list[str]) -> Examination:
    """`shown` is what SHOW GRANTS answers, `more` what it answers to USING a role of that name."""
    catalogue.grants = {"": [*shown], f"FOR {OWN}": [*shown]}
    catalogue.grants |= {f"FOR {OWN} USING `{role}`@`%`": lines for role, lines in more.items()}
    with MySQLAdapter(TARGET) as adapter:
        return adapter.examine(hash_blind)


def missing(examination: Examination) -> list[str]:
    return [capability.missing for capability in examination.capabilities if capability.works is False]


def as_shown(version: str) -> list[str]:
    """The script's GRANTS as SHOW GRANTS tells them: https://dev.mysql.com/doc/refman/8.4/en/show-grants.html"""
    told = [statement.removesuffix(";") for statement in blind_script(version)]
    told = [re.sub(r"ON mysql\.(\w+)", r"ON `mysql`.`\1`", text) for text in told if "*.*" not in text]
    told = [re.sub(r"\(.*\)", lambda found: re.sub(r"(\w+)", r"`\1`", found[0]), text) for text in told]
    return [f"GRANT PROCESS, SHOW DATABASES, SHOW VIEW ON *.* TO {OWN}", *told]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_script_for_the_hash_blind_is_all_that_it_takes(serve: Any, version: str) -> None:
    hidden = {"user.authentication_string", "user.User_attributes"}
    catalogue = furnished(serve(version, denied=hidden))
    examination = examine(catalogue, *as_shown(version), hash_blind=True)
    assert {capability.works for capability in examination.capabilities} == {True}
    assert examination.excess == []
    inventory, permissions = catalogue.visit()
    assert inventory.gaps == permissions.gaps == []


@pytest.mark.parametrize("version", ["5.7.44-log", "8.4.3"])
def test_each_table_withheld_is_asked_for_by_the_statement_of_the_script(serve: Any, version: str) -> None:
    """F1.5"""
    for table in VERSIONS[version][0]:
        if table != "user":
            examination = examine(furnished(serve(version, denied={table})), *as_shown(version))
            assert missing(examination) == [f"GRANT SELECT ON mysql.{table} TO {OWN};"]
            assert set(missing(examination)) <= set(blind_script(version))
    for privilege in ("PROCESS", "SHOW DATABASES", "SHOW VIEW"):
        shown = [text.replace(f"{privilege}, ", "").replace(f", {privilege}", "") for text in as_shown(version)]
        examination = examine(furnished(serve(version, denied={privilege})), *shown)
        assert missing(examination) == [f"GRANT {privilege} ON *.* TO {OWN};"]
        assert set(missing(examination)) <= set(blind_script(version))


@pytest.mark.parametrize("version", ["5.7.44-log", "8.4.3"])
@pytest.mark.parametrize("column", sorted(user_columns(is_mariadb=False, has_roles=True)))
def test_each_column_withheld_is_asked_for(serve: Any, version: str, column: str) -> None:
    """F1.5"""
    if column not in VERSIONS[version][0]["user"]:
        pytest.skip("there is no such column")
    assert f" {column}," in blind_script(version)[0].replace("(", " ").replace(")", ",")
    examination = examine(furnished(serve(version, denied={f"user.{column}"})), *as_shown(version))
    assert missing(examination) == [f"GRANT SELECT ({column}) ON mysql.user TO {OWN};"]


def test_partial_revokes_cost_a_look_at_second_passwords(serve: Any) -> None:
    catalogue = serve("8.4.3", variables={"partial_revokes": "ON"}, denied={"user.User_attributes"})
    examination = examine(furnished(catalogue), *as_shown("8.4.3"))
    (lost,) = [capability for capability in examination.capabilities if not capability.works]
    assert lost.missing == f"GRANT SELECT (User_attributes) ON mysql.user TO {OWN};"
    assert "second passwords" in lost.cost


@pytest.mark.parametrize(
    ("line", "right", "remedy"),
    [
        (
            f"GRANT BACKUP_ADMIN,CLONE_ADMIN ON *.* TO {OWN} WITH GRANT OPTION",
            "BACKUP_ADMIN, CLONE_ADMIN on *.*",
            f"REVOKE BACKUP_ADMIN, CLONE_ADMIN ON *.* FROM {OWN};",
        ),
        (
            f"GRANT RELOAD, PROCESS, SUPER ON *.* TO {OWN}",
            "RELOAD, SUPER on *.*",
            f"REVOKE RELOAD, SUPER ON *.* FROM {OWN};",
        ),
        (
            "GRANT ALL PRIVILEGES ON `shop`.* TO 'taifish'@'10.%'",
            "ALL PRIVILEGES on `shop`.*",
            f"REVOKE ALL PRIVILEGES ON `shop`.* FROM {OWN};",
        ),
        (
            f"GRANT PROXY ON ``@`` TO {OWN} WITH GRANT OPTION",
            "PROXY on ``@``",
            f"REVOKE PROXY ON ``@`` FROM {OWN};",
        ),
    ],
)
def test_rights_beyond_need_as_mysql_shows_them(serve: Any, line: str, right: str, remedy: str) -> None:
    examination = examine(furnished(serve("8.4.3")), *as_shown("8.4.3"), line)
    assert (right, remedy) in {(excess.right, excess.remedy) for excess in examination.excess}


def test_a_role_is_looked_through_without_what_the_account_has_itself(serve: Any) -> None:
    """MySQL adds the account's own rights to those of the role."""
    own = f"GRANT INSERT ON `shop`.* TO {OWN}"
    role = f"GRANT `app`@`%`,`idle`@`%` TO {OWN}"
    examination = examine(
        furnished(serve("8.4.3")),
        USAGE,
        own,
        role,
        app=[USAGE, own, f"GRANT DELETE ON `shop`.`t` TO {OWN}", role],
        idle=[USAGE, own, role],
    )
    assert [(excess.right, excess.message) for excess in examination.excess] == [
        ("INSERT on `shop`.*", "Taifish reads the grant tables and nothing else."),
        ("role `app`@`%`", "It gives what Taifish never uses: DELETE on `shop`.`t`."),
    ]
    assert examination.excess[1].remedy.endswith(f"\nREVOKE `app`@`%` FROM {OWN};")


# A real MySQL server

DSN = os.environ.get("TAIFISH_TEST_MYSQL_DSN", "")


@dataclass
class Live:
    """The server behind the DSN, and the accounts and databases a test makes there: all of them named by `name()`."""

    connection: Any
    target: Target
    prefix: str

    def name(self, name: str) -> str:
        return f"{self.prefix}_{name}"

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Rows of the last statement; `~` stands for the prefix."""
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement.replace("~", f"{self.prefix}_"))
            return list(cursor.fetchall())

    def collector(self, *grants: str, level: str = "C") -> Target:
        name, password = self.name("collector"), secrets.token_urlsafe(12)
        self.execute(f"DROP USER IF EXISTS {name}", f"CREATE USER {name} IDENTIFIED BY '{password}'")
        self.execute(*(f"GRANT {grant} TO {name}" for grant in grants))
        return replace(self.target, username=name, password=password, level=level)

    def visit(self, target: Target) -> tuple[Inventory, Permissions]:
        with MySQLAdapter(target) as adapter:
            return adapter.inventory(), adapter.permissions()

    def clean(self) -> None:
        for (name,) in self.execute("SELECT User FROM mysql.user WHERE User LIKE '~%'"):
            self.execute(f"DROP USER {name}")
        self.execute("DROP DATABASE IF EXISTS ~shop")


@pytest.fixture(params=["OFF", "ON"], ids="partial_revokes={}".format)
def live(request: pytest.FixtureRequest, mysql_family_server: Callable[[str], MysqlServer]) -> Iterator[Live]:
    """The MySQL server at hand with that partial_revokes, or the one of TAIFISH_TEST_MYSQL_DSN as it is."""
    if DSN:
        url = urlsplit(DSN)
        assert url.hostname
        target = Target("mysql", url.hostname, unquote(url.username or "root"), unquote(url.password or ""), url.port)
        connected: dict[str, Any] = {"host": target.host, "port": target.port or 3306, "password": target.password}
    else:
        server = mysql_family_server("mysql-sid")
        target = server.target(server.superuser, "")
        connected = {"unix_socket": str(server.socket)}
    with closing(pymysql.connect(user=target.username, autocommit=True, **connected)) as connection:
        live = Live(connection, target, f"taifish{secrets.token_hex(3)}")
        if not DSN:
            live.execute(f"SET GLOBAL partial_revokes = {request.param}")
        try:
            yield live
        finally:
            live.clean()
            if not DSN:
                live.execute("SET GLOBAL partial_revokes = OFF")


def ours(live: Live, facts: Iterable[Any], owner: str) -> set[Any]:
    """Facts of the test's own accounts, names without the prefix, the collector left out."""
    return {
        fact
        for fact in facts
        if (name := getattr(fact, owner)[0]).startswith(live.prefix) and name != live.name("collector")
    }


def test_live_users_and_roles(live: Live) -> None:
    live.execute(
        "CREATE USER ~alice IDENTIFIED BY 'Str0ng-enough!' WITH MAX_USER_CONNECTIONS 3 PASSWORD EXPIRE INTERVAL 30 DAY",
        "CREATE USER ~locked IDENTIFIED BY 'Str0ng-enough!' ACCOUNT LOCK",
        "CREATE USER ~expired IDENTIFIED BY 'Str0ng-enough!' PASSWORD EXPIRE",
    )
    has_roles = bool(live.execute("SHOW VARIABLES LIKE 'mandatory_roles'"))
    if has_roles:
        live.execute(
            "CREATE ROLE ~app, ~team",
            "GRANT ~app TO ~team",
            "GRANT ~team TO ~alice WITH ADMIN OPTION",
            "SET DEFAULT ROLE ~team TO ~alice",
            "GRANT ~app TO ~locked",
        )
    inventory, permissions = live.visit(live.collector("SELECT ON mysql.*"))
    assert inventory.gaps == permissions.gaps == []
    found = {fact.name.removeprefix(f"{live.prefix}_"): fact for fact in ours(live, inventory.accounts, "key")}
    alice = found["alice"]
    assert (alice.kind, alice.can_login, alice.is_locked, alice.connection_limit) == ("user", True, False, 3)
    assert alice.password_changed_at is not None
    assert abs(datetime.now(UTC) - alice.password_changed_at) < timedelta(minutes=10)
    assert alice.valid_until == alice.password_changed_at + timedelta(days=30)
    assert found["locked"].is_locked
    assert found["expired"].password_expired
    if has_roles:
        assert {name for name, fact in found.items() if fact.kind == "role"} == {"app", "team"}
        assert {
            (m.member[0], m.role[0], m.admin_option, m.inherit) for m in ours(live, permissions.memberships, "member")
        } == {
            (live.name("team"), live.name("app"), False, True),
            (live.name("alice"), live.name("team"), True, True),
            (live.name("locked"), live.name("app"), False, False),
        }
    assert {fact.key for fact in inventory.accounts if fact.is_system} >= {
        ("mysql.sys", "localhost"),
        ("mysql.session", "localhost"),
    }


def test_live_grants_and_without_the_hashes(live: Live) -> None:
    """Facts equal what was granted, with and without a look at the hashes."""
    live.execute(
        "CREATE DATABASE ~shop",
        "CREATE TABLE ~shop.t (a int, b int)",
        "CREATE PROCEDURE ~shop.p() SELECT 1",
        "CREATE USER ~alice",
        "CREATE USER ~bob",
        "GRANT PROCESS, SHOW DATABASES ON *.* TO ~alice WITH GRANT OPTION",
        "GRANT SELECT, CREATE TEMPORARY TABLES ON ~shop.* TO ~alice",
        "GRANT INSERT, SELECT (a) ON ~shop.t TO ~bob WITH GRANT OPTION",
        "GRANT EXECUTE ON PROCEDURE ~shop.p TO ~bob",
        "GRANT PROXY ON ~alice TO ~bob",
    )
    shop, pattern = live.name("shop"), live.name("shop")
    alice, bob = (live.name("alice"), "%"), (live.name("bob"), "%")
    expected = {
        (alice, "system", "", "PROCESS", True, False),
        (alice, "system", "", "SHOW DATABASES", True, False),
        (alice, "database", pattern, "SELECT", False, False),
        (alice, "database", pattern, "CREATE TEMPORARY TABLES", False, False),
        (bob, "table", f"{shop}.t", "INSERT", True, False),
        (bob, "column", f"{shop}.t.a", "SELECT", True, False),
        (bob, "routine", f"{shop}.procedure.p", "EXECUTE", False, False),
        (bob, "proxy", f"{alice[0]}.%", "PROXY", False, False),
    }
    variables = dict(live.execute("SHOW VARIABLES WHERE Variable_name IN ('mandatory_roles', 'partial_revokes')"))
    if "mandatory_roles" in variables:
        # A dynamic privilege has its own grant option, whatever the account may pass on besides.
        live.execute("GRANT BACKUP_ADMIN ON *.* TO ~alice", "GRANT ROLE_ADMIN ON *.* TO ~bob WITH GRANT OPTION")
        expected.add((alice, "system", "", "BACKUP_ADMIN", False, False))
        expected.add((bob, "system", "", "ROLE_ADMIN", True, False))
    if variables.get("partial_revokes") == "ON":
        live.execute("GRANT SELECT ON *.* TO ~bob", "REVOKE SELECT ON mysql.* FROM ~bob")
        expected |= {
            (bob, "system", "", "SELECT", False, False),
            (bob, "database", "mysql", "SELECT", False, True),
        }
        expected = {
            (*key[:2], key[2].replace("_", "\\_") if key[1] == "database" else key[2], *key[3:]) for key in expected
        }
    columns = [
        name
        for (name,) in live.execute(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS "
            "WHERE TABLE_SCHEMA = 'mysql' AND TABLE_NAME = 'user' AND COLUMN_NAME <> 'authentication_string'"
        )
    ]
    tables = [name for name in TABLES_80 if name != "user" and live.execute(f"SHOW TABLES FROM mysql LIKE '{name}'")]
    blind = [f"SELECT ({', '.join(columns)}) ON mysql.user", *(f"SELECT ON mysql.{name}" for name in tables)]
    for given in (["SELECT ON mysql.*"], blind):
        inventory, permissions = live.visit(live.collector(*given))
        assert inventory.gaps == permissions.gaps == []
        found = ours(live, permissions.grants, "account")
        assert {(g.account, g.kind, g.scope, g.privilege, g.grantable, g.denied) for g in found} == expected


@pytest.mark.parametrize("hash_blind", [False, True])
def test_live_script_and_doctor(live: Live, hash_blind: bool) -> None:
    """The script runs as it is, is all that it takes, and each part of it is missed when it is gone."""
    if hash_blind and ("partial_revokes", "ON") in live.execute("SHOW VARIABLES LIKE 'partial_revokes'"):
        pytest.skip("with partial_revokes the script says itself that it is not enough")
    ((version,),) = live.execute("SELECT VERSION()")
    name = live.name("collector")
    statements = ENGINES["mysql"].script("C", (name, "%"), product="MySQL", version=version, hash_blind=hash_blind)
    password = f"Aa1!{secrets.token_urlsafe(12)}"
    live.execute(statements[0].sql.replace(PASSWORD, f"'{password}'"))
    live.execute(*(statement.sql for statement in statements[1:]))
    target = replace(live.target, username=name, password=password, level="C")

    def examined() -> Examination:
        with MySQLAdapter(target) as adapter:
            return adapter.examine(hash_blind)

    assert ({capability.works for capability in examined().capabilities}, examined().excess) == ({True}, [])
    for statement in statements[1:]:
        live.execute(re.sub(r"^GRANT (.*) TO ", r"REVOKE \1 FROM ", statement.sql))
        lost = missing(examined())
        assert lost == [statement.sql] or "mysql.user" in statement.sql or "mysql.*" in statement.sql
        assert lost
        live.execute(statement.sql)
    live.execute(f"GRANT INSERT ON mysql.* TO {name} WITH GRANT OPTION", f"GRANT SUPER, SELECT ON *.* TO {name}")
    for excess in examined().excess:
        live.execute(*excess.remedy.splitlines())
    assert examined().excess == []


def test_live_limits(live: Live) -> None:
    """F1.10: the server ends a slow statement itself, and writes nothing for the collector."""
    live.execute("CREATE DATABASE ~shop")
    target = live.collector("SELECT ON mysql.*", "CREATE ON ~shop.*")
    endless = "SELECT max(concat(u0.User, u19.Host)) FROM " + ", ".join(f"mysql.user u{number}" for number in range(20))
    with MySQLAdapter(replace(target, statement_timeout=1)) as adapter:
        with pytest.raises(AdapterError) as caught:
            adapter.query(endless)
        assert (caught.value.code, caught.value.transient) == ("timeout", True)
        with pytest.raises(AdapterError, match="READ ONLY"):
            adapter.query(f"CREATE TABLE {live.name('shop')}.mine (a int)")
