"""MySQL 5.7, 8.0 and 8.4 where they differ from 9.7 (EMULATED), and a suite for any server.

MySQL 5.7, 8.0 and 8.4 are not available as servers. The first part runs the adapter's SQL on catalogues built from the
reference manuals (chapter "Grant Tables"), in SQLite behind an emulated DB-API connection: tables, columns, variables
and texts that differ from 9.7. What they share with 9.7 is tested on a server, in test_mysql.py, test_check.py and
accounts/tests/test_digest.py.

The second part (`live`) runs on MySQL 9.7 too. For another server set
TAIFISH_TEST_MYSQL_DSN=mysql://user:password@host:port/ to an account that may create accounts, on a server that may be
written to.
"""

from __future__ import annotations

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

from engines.errors import AdapterError
from engines.facts import AccountFact, Examination, Inventory, MembershipFact, Permissions
from engines.mysql import session as session_module
from engines.mysql.decode import DB_COLUMNS, USER_COLUMNS
from engines.mysql.session import Driver
from engines.mysql.user_table import user_columns
from engines.registry import ENGINES, adapter_for
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
    "tables_priv": ("Host", "Db", "User", "Table_name", "Table_priv", "Column_priv", "Grantor"),
    "columns_priv": ("Host", "Db", "User", "Table_name", "Column_name", "Column_priv"),
    "procs_priv": ("Host", "Db", "User", "Routine_name", "Routine_type", "Proc_priv", "Grantor"),
    "proxies_priv": ("Host", "User", "Proxied_host", "Proxied_user", "With_grant", "Grantor"),
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
        row = {**(USER_57 if "role_edges" not in self.tables else USER_80), "User": name, "Host": host, **columns}
        self.rows.setdefault("user", []).append({column: row[column] for column in self.tables["user"]})

    def add(self, table: str, **columns: Any) -> None:
        blank = {column: "N" if column.endswith("_priv") and table == "db" else "" for column in self.tables[table]}
        self.rows.setdefault(table, []).append({**blank, **columns})

    def readable(self, table: str) -> list[str]:
        return [name for name in self.tables[table] if not {table, f"{table}.{name}"} & self.denied]

    def visit(self, **overrides: Any) -> tuple[Inventory, Permissions]:
        with adapter_for(replace(TARGET, **overrides)) as adapter:
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
        self.database.create_function("USER", 0, lambda: "taifish@10.1.2.3")
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
        else:
            assert sql.startswith("SELECT /*+ MAX_EXECUTION_TIME("), sql
            self._refuse(sql)
            if parameters is not None:
                sql = sql.replace("%s", "?").replace("%%", "%")
            self.rows = self.connection.database.execute(sql, parameters or ()).fetchall()
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
        monkeypatch.setattr(session_module, "driver", lambda _: Driver("PyMySQL", pymysql))
        monkeypatch.setattr(session_module, "open_connection", lambda *_: Connection(catalogue))
        return catalogue

    return serving


def kinds(inventory: Inventory) -> dict[str, str | None]:
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
    catalogue.user("locked", account_locked="Y", password_lifetime=0)
    catalogue.user("aged", password_lifetime=5)
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
        auth_method="mysql_native_password" if version.startswith("5") else "caching_sha2_password",
        connection_limit=4,
    )
    assert (found["locked"].is_locked, found["locked"].valid_until) == (True, None)
    assert {name for name, fact in found.items() if fact.password_expired} == {"aged"}
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
        statements = [sql.replace("IFNULL(authentication_string, '') = ''", "") for sql in catalogue.statements]
        assert not [sql for sql in statements if "authentication_string" in sql or sql[7] == "*"]
        assert "THEHASH" not in repr(catalogue.fetched)
    assert counts[0] == counts[1] <= 17


def test_no_roles_before_8(serve: Any) -> None:
    catalogue = serve("5.7.44-log")
    catalogue.user("left", account_locked="Y", password_expired="Y", authentication_string="")
    inventory, permissions = catalogue.visit()
    assert kinds(inventory)["left"] == "user"
    assert "memberships" in permissions.covered
    assert permissions.memberships == permissions.gaps == []


def test_the_test_databases_of_old_installations(serve: Any) -> None:
    """F1.9: mysql_install_db up to 5.7 left rows for everybody in mysql.db."""
    catalogue = serve("5.7.44-log")
    for name in ("test", "test\\_%"):
        catalogue.add("db", Host="%", Db=name, Select_priv="Y")
    inventory, permissions = catalogue.visit()
    assert kinds(inventory)[""] == "public"
    assert held(permissions, "") == {"database test SELECT", "database test\\_% SELECT"}


# Rights of the collection account

OWN = "`taifish`@`10.%`"


def furnished(catalogue: Catalogue) -> Catalogue:
    catalogue.user("alice", Super_priv="Y", max_user_connections=3, password_lifetime=2, User_attributes=None)
    catalogue.user("bob", account_locked="Y", Grant_priv="Y", File_priv="Y")
    at = {"Host": "%", "User": "alice", "Db": "shop"}
    catalogue.add("tables_priv", **at, Table_name="t", Table_priv="Insert", Column_priv="Select")
    catalogue.add("columns_priv", **at, Table_name="t", Column_name="a", Column_priv="Select")
    catalogue.add("procs_priv", **at, Routine_name="p", Routine_type="FUNCTION", Proc_priv="Execute")
    catalogue.add("proxies_priv", Host="%", User="alice", Proxied_host="%", Proxied_user="bob", With_grant=0)
    if "role_edges" in catalogue.tables:
        catalogue.user("app", account_locked="Y", password_expired="Y", authentication_string="")
        edge = {"FROM_HOST": "%", "FROM_USER": "app", "TO_HOST": "%", "TO_USER": "alice"}
        catalogue.add("role_edges", **edge, WITH_ADMIN_OPTION="Y")
        catalogue.add("default_roles", HOST="%", USER="alice", DEFAULT_ROLE_HOST="%", DEFAULT_ROLE_USER="app")
        catalogue.add("global_grants", USER="alice", HOST="%", PRIV="SET_USER_ID", WITH_GRANT_OPTION="N")
    return catalogue


def blind_script(version: str) -> list[str]:
    """The GRANTs of the script that keeps hashes from the account."""
    statements = ENGINES["mysql"].script("C", ("taifish", "10.%"), product="MySQL", version=version, hash_blind=True)
    return [statement.sql for statement in statements[1:]]


def as_shown(version: str) -> list[str]:
    """These as SHOW GRANTS has them: https://dev.mysql.com/doc/refman/8.4/en/show-grants.html"""
    shown = [statement.removesuffix(";") for statement in blind_script(version)]
    shown = [re.sub(r"ON mysql\.(\w+)", r"ON `mysql`.`\1`", text) for text in shown if "*.*" not in text]
    shown = [re.sub(r"\(.*\)", lambda found: re.sub(r"(\w+)", r"`\1`", found[0]), text) for text in shown]
    return [f"GRANT PROCESS, SHOW DATABASES, SHOW VIEW ON *.* TO {OWN}", *shown]


def examine(catalogue: Catalogue, *shown: str, hash_blind: bool = False) -> Examination:
    """`shown` is what SHOW GRANTS answers."""
    catalogue.grants = {"": [*shown], f"FOR {OWN}": [*shown]}
    with adapter_for(TARGET) as adapter:
        return adapter.examine(hash_blind)


def missing(examination: Examination) -> list[str]:
    return [capability.missing for capability in examination.capabilities if capability.works is False]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_script_for_the_hash_blind_is_all_that_it_takes(serve: Any, version: str) -> None:
    """F1.5: on every version, and each table that it has is read. Only the kind of a role stays unknown."""
    catalogue = furnished(serve(version, denied={"user.authentication_string", "user.User_attributes"}))
    examination = examine(catalogue, *as_shown(version), hash_blind=True)
    with_roles = version in WITH_ROLES
    lost = [capability.name for capability in examination.capabilities if not capability.works]
    assert (lost, examination.excess) == (["roles apart from locked users"] * with_roles, [])
    inventory, permissions = catalogue.visit()
    assert [gap.scope for gap in inventory.gaps] == ["account fields"] * with_roles
    assert permissions.gaps == []
    expected = {
        *("system SUPER", "table shop.t INSERT", "column shop.t.a SELECT"),
        *("routine shop.function.p EXECUTE", "proxy bob.% PROXY"),
    }
    memberships = []
    if with_roles:
        memberships = [MembershipFact(("alice", "%"), ("app", "%"), admin_option=True)]
        expected.add("system SET_USER_ID")
        assert kinds(inventory)["app"] is None
        catalogue.denied.clear()
        again, _ = catalogue.visit()
        assert (kinds(again)["app"], again.gaps) == ("role", [])
    assert held(permissions, "alice") == expected
    assert list(permissions.memberships) == memberships


def test_each_right_withheld_on_5_7_is_asked_for_by_the_statement_of_the_script(serve: Any) -> None:
    """F1.5"""
    version = "5.7.44-log"
    script, shown = blind_script(version), as_shown(version)
    for table in VERSIONS[version][0]:
        if table != "user":
            lost = missing(examine(furnished(serve(version, denied={table})), *shown))
            assert lost == [f"GRANT SELECT ON mysql.{table} TO {OWN};"]
            assert lost[0] in script
    for privilege in ("PROCESS", "SHOW DATABASES", "SHOW VIEW"):
        less = [text.replace(f"{privilege}, ", "").replace(f", {privilege}", "") for text in shown]
        lost = missing(examine(furnished(serve(version, denied={privilege})), *less))
        assert lost == [f"GRANT {privilege} ON *.* TO {OWN};"]
        assert lost[0] in script
    for column in sorted(user_columns(is_mariadb=False, has_roles=False)):
        lost = missing(examine(furnished(serve(version, denied={f"user.{column}"})), *shown))
        assert lost == [f"GRANT SELECT ({column}) ON mysql.user TO {OWN};"]
        assert f" {column}," in script[0].replace("(", " ").replace(")", ",")


#: Column → fields that cannot be read without it. From 8.0 on, the first two also say what is a role.
UNREAD_ON_5_7 = {
    "account_locked": {"is_locked"},
    "password_expired": {"password_expired"},
    "password_last_changed": {"password_changed_at", "password_expired", "valid_until"},
    "password_lifetime": {"password_expired", "valid_until"},
    "plugin": {"auth_method", "can_login"},
    "max_user_connections": {"connection_limit"},
    "Super_priv": {"is_superuser"},
}


@pytest.mark.parametrize("column", UNREAD_ON_5_7)
def test_a_column_of_mysql_user_withheld_on_5_7(serve: Any, column: str) -> None:
    """F1.5: its absence is named and never taken for an answer. No kind is lost where there are no roles."""
    truth, _ = furnished(serve("5.7.44-log")).visit()
    inventory, _ = furnished(serve("5.7.44-log", denied={f"user.{column}"})).visit()
    assert inventory.unread == UNREAD_ON_5_7[column]
    for fact, true in zip(inventory.accounts, truth.accounts, strict=True):
        assert fact == true._replace(**{name: getattr(fact, name) for name in inventory.unread})
        assert all(getattr(fact, name) in (None, getattr(true, name)) for name in inventory.unread)
    (gap,) = inventory.gaps
    assert (gap.scope, gap.hint) == ("account fields", f"GRANT SELECT ({column}) ON mysql.user TO {OWN};")


def test_rights_beyond_need_as_5_7_shows_them(serve: Any) -> None:
    """With accounts in quotes: https://dev.mysql.com/doc/refman/5.7/en/show-grants.html"""
    lines = ("GRANT ALL PRIVILEGES ON `shop`.* TO 'taifish'@'10.%'", "GRANT RELOAD, PROCESS ON *.* TO 'taifish'@'10.%'")
    examination = examine(furnished(serve("5.7.44-log")), *as_shown("5.7.44-log"), *lines)
    assert {(excess.right, excess.remedy) for excess in examination.excess} == {
        ("ALL PRIVILEGES on `shop`.*", f"REVOKE ALL PRIVILEGES ON `shop`.* FROM {OWN};"),
        ("RELOAD on *.*", f"REVOKE RELOAD ON *.* FROM {OWN};"),
    }


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
        with adapter_for(target) as adapter:
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
def test_live_script_and_check(live: Live, hash_blind: bool) -> None:
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
        with adapter_for(target) as adapter:
            return adapter.examine(hash_blind)

    # The hash-blind cannot tell roles from locked users.
    first = missing(examined())
    assert ([sql for sql in first if "(authentication_string)" not in sql], examined().excess) == ([], [])
    assert len(first) == hash_blind
    for statement in statements[1:]:
        live.execute(re.sub(r"^GRANT (.*) TO ", r"REVOKE \1 FROM ", statement.sql))
        lost = [sql for sql in missing(examined()) if sql not in first]
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
    with adapter_for(replace(target, statement_timeout=3)) as adapter:
        with pytest.raises(AdapterError) as caught:
            adapter.session.query(endless)
        assert (caught.value.code, caught.value.transient) == ("timeout", True)
        with pytest.raises(AdapterError, match="READ ONLY"):
            adapter.session.query(f"CREATE TABLE {live.name('shop')}.mine (a int)")
