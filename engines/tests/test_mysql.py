"""What the MySQL adapter says of real MariaDB and MySQL servers, read as the least-privileged collector with either
driver. `server` is each of them; `maria` and `my` are for what only MariaDB or only MySQL has. For 5.7, 8.0 and 8.4 see
test_mysql_contract.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import reads
from engines.errors import AdapterError
from engines.facts import AccountFact, Inventory, MembershipFact, Permissions
from engines.mysql import session as driver_module
from engines.mysql.decode import GRANTOR_LENGTHS, MARIADB_BITS, USER_COLUMNS, undoubled
from engines.mysql.session import MySQLSession
from engines.mysql.user_table import user_columns
from engines.paths import dotted
from engines.registry import adapter_for
from engines.target import Target
from taifish.tests.mariadb import MariadbServer, MysqlFamilyServer, MysqlServer, identifier

DRIVERS = ("mysqlclient", "PyMySQL")

#: Product → table → scopes of the gaps when it may not be read.
_GRANT_TABLES = {
    "db": {"accounts", "database"},
    "tables_priv": {"table", "column"},
    "columns_priv": {"column"},
    "procs_priv": {"routine"},
    "proxies_priv": {"proxy"},
}
GRANT_TABLES = {
    "MariaDB": {**_GRANT_TABLES, "roles_mapping": {"memberships"}},
    "MySQL": {
        **_GRANT_TABLES,
        "role_edges": {"memberships"},
        "default_roles": {"memberships"},
        "global_grants": {"system"},
    },
}
#: Product → columns of mysql.user that an account reads that may not see hashes.
COLUMNS = {
    "MariaDB": ("Host", "User", "is_role", "default_role", "max_user_connections", *sorted(USER_COLUMNS)),
    "MySQL": sorted(user_columns(is_mariadb=False, has_roles=True)),
}

KINDS_AT_A = ("memberships", "system", "database", "proxy")
OBJECT_KINDS = {"A": (), "B": ("table", "routine"), "C": ("table", "routine", "column")}


def without_hashes(product: str, missing: str = "") -> tuple[str, ...]:
    """What to grant for it, less one column of mysql.user."""
    kept = ", ".join(column for column in COLUMNS[product] if column != missing)
    return (f"SELECT ({kept}) ON mysql.user", *(f"SELECT ON mysql.{table}" for table in GRANT_TABLES[product]))


MYSQL_SETTINGS = {"activate_all_roles_on_login": "OFF", "mandatory_roles": "''", "partial_revokes": "OFF"}

HOSTILE_NAMES = (
    "mysqlapp",
    "mysql.sys",
    "a@b",
    "it's",
    'quo"te',
    "back`tick",
    "back\\slash",
    "new\nline",
    "per%cent_",
    "漢字☃é",
    "x" * 80,
    "SELECT",
    "",
)


def prefer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the driver of that name first; mysqlclient may be missing where nobody could build it, but not in CI."""
    modules = driver_module._MODULES
    if name == "mysqlclient" and not os.environ.get("CI"):
        pytest.importorskip(modules[name])
    monkeypatch.setattr(driver_module, "_MODULES", {name: modules[name], **modules})


def put_back(server: MysqlFamilyServer) -> None:
    """Make a shared server what it was, with the settings that tests change."""
    server.reset()
    for name, value in MYSQL_SETTINGS.items() if server.product == "MySQL" else ():
        server.execute(f"SET GLOBAL {name} = {value}")


@pytest.fixture(params=DRIVERS)
def server(
    request: pytest.FixtureRequest, mysql_family: MysqlFamilyServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MysqlFamilyServer]:
    """The shared servers, visited through each driver."""
    prefer(request.param, monkeypatch)
    yield mysql_family
    put_back(mysql_family)


@pytest.fixture(params=DRIVERS)
def maria(
    request: pytest.FixtureRequest, mariadb: MariadbServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MariadbServer]:
    """The MariaDB servers among them."""
    prefer(request.param, monkeypatch)
    yield mariadb
    mariadb.reset()


@pytest.fixture(params=DRIVERS)
def my(request: pytest.FixtureRequest, mysql: MysqlServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[MysqlServer]:
    """The MySQL servers among them."""
    prefer(request.param, monkeypatch)
    yield mysql
    put_back(mysql)


@pytest.fixture
def clean(mysql_family: MysqlFamilyServer) -> Iterator[MysqlFamilyServer]:
    """The shared servers, visited through the preferred driver."""
    yield mysql_family
    mysql_family.reset()


def visit(target: Target) -> tuple[Inventory, Permissions]:
    with adapter_for(target) as adapter:
        return adapter.inventory(), adapter.permissions()


def accounts(target: Target) -> dict[tuple[str, str], AccountFact]:
    with adapter_for(target) as adapter:
        return {account.key: account for account in adapter.inventory().accounts}


def held(permissions: Permissions, name: str, host: str = "%") -> set[str]:
    """Grants of an account as "kind scope privilege", with a * where it is grantable and a ! where it is denied."""
    return {
        f"{grant.kind} {grant.scope} {grant.privilege}".replace("  ", " ") + "*" * grant.grantable + "!" * grant.denied
        for grant in permissions.grants
        if grant.account == (name, host)
    }


def test_who_answers(server: MysqlFamilyServer) -> None:
    with adapter_for(server.collector()) as adapter:
        info = adapter.server
    assert info.product == server.product
    assert info.version == server.execute("SELECT VERSION()")[0][0]
    assert info.driver.split()[0] == next(iter(driver_module._MODULES))


def test_users(maria: MariadbServer) -> None:
    maria.execute(
        """
        CREATE USER alice@'10.0.0.%' IDENTIFIED BY 'a' WITH MAX_USER_CONNECTIONS 3;
        CREATE USER locked IDENTIFIED BY 'a' ACCOUNT LOCK;
        CREATE USER expired IDENTIFIED BY 'a' PASSWORD EXPIRE;
        CREATE USER ageing IDENTIFIED BY 'a' PASSWORD EXPIRE INTERVAL 30 DAY;
        CREATE USER aged IDENTIFIED BY 'a' PASSWORD EXPIRE INTERVAL 1 DAY;
        CREATE USER ageless IDENTIFIED BY 'a' PASSWORD EXPIRE NEVER;
        CREATE USER barred WITH MAX_USER_CONNECTIONS -1;
        CREATE USER several IDENTIFIED VIA mysql_native_password USING PASSWORD('a') OR unix_socket;
        GRANT SUPER ON *.* TO several;
        UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.password_last_changed', 1000000000) WHERE User = 'aged';
        FLUSH PRIVILEGES;
        """
    )
    before = datetime.now(UTC) - timedelta(minutes=1)
    found = {name: fact for (name, _), fact in accounts(maria.collector()).items()}
    alice = found["alice"]
    assert alice.password_changed_at is not None
    assert before < alice.password_changed_at < before + timedelta(minutes=2)
    assert alice == AccountFact(
        name="alice",
        host="10.0.0.%",
        can_login=True,
        is_locked=False,
        is_superuser=False,
        password_changed_at=alice.password_changed_at,
        password_expired=False,
        auth_method="mysql_native_password",
        connection_limit=3,
    )
    assert {name for name, fact in found.items() if fact.is_locked} == {"locked", "mariadb.sys"}
    assert {name for name, fact in found.items() if fact.password_expired} == {"expired", "aged", "mariadb.sys"}
    ageing = found["ageing"]
    assert ageing.password_changed_at is not None
    assert ageing.valid_until == ageing.password_changed_at + timedelta(days=30)
    assert found["aged"].valid_until == datetime.fromtimestamp(1000000000, UTC) + timedelta(days=1)
    assert (found["ageless"].valid_until, found["locked"].valid_until) == (None, None)
    assert (found["locked"].connection_limit, found["barred"].connection_limit) == (None, 0)
    assert found["several"].auth_method == "mysql_native_password or unix_socket"
    assert {name for name, fact in found.items() if fact.is_superuser} == {"root", "several"} | {maria.superuser}
    assert {fact.key for fact in found.values() if fact.is_system} == {("mariadb.sys", "localhost")}


def test_users_of_mysql(my: MysqlServer) -> None:
    """F1.9"""
    my.execute(
        """
        CREATE USER alice@'10.0.0.%' IDENTIFIED BY 'a' WITH MAX_USER_CONNECTIONS 3;
        CREATE USER locked IDENTIFIED BY 'a' ACCOUNT LOCK; CREATE USER expired IDENTIFIED BY 'a' PASSWORD EXPIRE;
        CREATE USER ageing IDENTIFIED BY 'a' PASSWORD EXPIRE INTERVAL 30 DAY;
        CREATE USER aged IDENTIFIED BY 'a' PASSWORD EXPIRE INTERVAL 1 DAY;
        CREATE USER ageless IDENTIFIED BY 'a' PASSWORD EXPIRE NEVER;
        CREATE USER super IDENTIFIED WITH auth_socket; GRANT SUPER ON *.* TO super;
        CREATE USER barred;
        UPDATE mysql.user SET password_last_changed = FROM_UNIXTIME(1000000000) WHERE User = 'aged';
        UPDATE mysql.user SET plugin = 'mysql_no_login', password_last_changed = NULL WHERE User = 'barred';
        """
    )
    before = datetime.now(UTC) - timedelta(minutes=1)
    found = {name: fact for (name, _), fact in accounts(my.collector()).items()}
    alice = found["alice"]
    assert alice.password_changed_at is not None
    assert before < alice.password_changed_at < before + timedelta(minutes=2)
    assert alice == AccountFact(
        name="alice",
        host="10.0.0.%",
        can_login=True,
        is_locked=False,
        is_superuser=False,
        password_changed_at=alice.password_changed_at,
        password_expired=False,
        auth_method="caching_sha2_password",
        connection_limit=3,
    )
    system = {"mysql.sys", "mysql.session", "mysql.infoschema"}
    assert {name for name, fact in found.items() if fact.is_system} == system
    assert {name for name, fact in found.items() if fact.is_locked} == {"locked", *system}
    assert {name for name, fact in found.items() if fact.password_expired} == {"expired", "aged"}
    ageing = found["ageing"]
    assert ageing.password_changed_at is not None
    assert ageing.valid_until == ageing.password_changed_at + timedelta(days=30)
    assert found["aged"].valid_until == datetime.fromtimestamp(1000000000, UTC) + timedelta(days=1)
    assert (found["ageless"].valid_until, found["locked"].valid_until) == (None, None)
    assert (
        {"super", "root"}
        <= {name for name, fact in found.items() if fact.is_superuser}
        <= {*("super", "root", "mysql.session", my.superuser)}
    )
    assert found["super"].auth_method == "auth_socket"
    assert (found["barred"].can_login, found["barred"].password_changed_at) == (False, None)


def test_passwords_end_by_the_servers_default_too(private_mysql_family: MysqlFamilyServer) -> None:
    private_mysql_family.execute(
        """
        SET GLOBAL default_password_lifetime = 7;
        CREATE USER alice IDENTIFIED BY 'a'; CREATE USER ageless IDENTIFIED BY 'a' PASSWORD EXPIRE NEVER;
        CREATE USER ageing IDENTIFIED BY 'a' PASSWORD EXPIRE INTERVAL 30 DAY;
        """
    )
    found = accounts(private_mysql_family.collector())

    def days(name: str) -> timedelta | None:
        fact = found[name, "%"]
        return fact.valid_until and fact.password_changed_at and fact.valid_until - fact.password_changed_at

    assert (days("alice"), days("ageing"), days("ageless")) == (timedelta(days=7), timedelta(days=30), None)


def test_no_name_hides_an_account(server: MysqlFamilyServer) -> None:
    """F1.9: names arrive as they are, with their grants; only the engine's own account is the system's."""
    names = [name[:32] if server.product == "MySQL" else name for name in HOSTILE_NAMES]
    for name in names:
        server.execute(f"CREATE USER {identifier(name)}@'%'; GRANT PROCESS ON *.* TO {identifier(name)}@'%'")
    inventory, permissions = visit(server.collector())
    found = {account.key: account for account in inventory.accounts}
    for name in names:
        assert (found[name, "%"].kind, found[name, "%"].is_system) == ("user", False)
        assert held(permissions, name) == {"system PROCESS"}
    assert len(found) == server.execute("SELECT count(*) FROM mysql.user")[0][0]


def test_names_differ_by_case_and_host(server: MysqlFamilyServer) -> None:
    """F1.9"""
    server.execute("CREATE USER app@'%', App@'%', app@localhost, app@'10.%'; GRANT FILE ON *.* TO App@'%'")
    _, permissions = visit(server.collector())
    assert held(permissions, "App") == {"system FILE"}
    assert held(permissions, "app") == held(permissions, "app", "localhost") == set()
    assert {("app", "%"), ("App", "%"), ("app", "localhost"), ("app", "10.%")} <= accounts(server.collector()).keys()


def test_roles_nested_default_and_public(maria: MariadbServer) -> None:
    """F1.9: `inherit` says what is active from login on."""
    maria.execute(
        """
        CREATE ROLE app; CREATE ROLE team; CREATE ROLE audit;
        CREATE USER alice; CREATE USER bob;
        GRANT app TO team; GRANT team TO alice WITH ADMIN OPTION; GRANT team TO bob; GRANT audit TO alice;
        SET DEFAULT ROLE team FOR alice;
        GRANT audit TO PUBLIC; GRANT SHOW DATABASES ON *.* TO PUBLIC; GRANT CREATE USER ON *.* TO app;
        """
    )
    inventory, permissions = visit(maria.collector())
    kinds = {account.name: account.kind for account in inventory.accounts}
    assert {name: kinds[name] for name in ("app", "team", "alice", "PUBLIC")} == {
        "app": "role",
        "team": "role",
        "alice": "user",
        "PUBLIC": "public",
    }
    team = next(account for account in inventory.accounts if account.name == "team")
    assert team == AccountFact("team", kind="role", can_login=False, is_locked=False, is_superuser=False)
    assert {fact for fact in permissions.memberships if fact.member[0] != maria.superuser} == {
        MembershipFact(("team", ""), ("app", "")),
        MembershipFact(("alice", "%"), ("team", ""), admin_option=True),
        MembershipFact(("bob", "%"), ("team", ""), inherit=False),
        MembershipFact(("alice", "%"), ("audit", ""), inherit=False),
        MembershipFact(("PUBLIC", ""), ("audit", "")),
    }
    # Who makes a role may hand it on.
    assert MembershipFact((maria.superuser, "localhost"), ("app", ""), True, inherit=False) in permissions.memberships
    assert held(permissions, "PUBLIC", "") == {"system SHOW DATABASES"}
    assert held(permissions, "app", "") == {"system CREATE USER"}
    assert held(permissions, "alice") == set()


#: Accounts and what they are: a role is what CREATE ROLE makes, as long as it is that.
ROLES_AND_USERS = """
CREATE ROLE app, team, unlocked, unexpired, given; CREATE USER made ACCOUNT LOCK PASSWORD EXPIRE;
ALTER USER unlocked ACCOUNT UNLOCK; ALTER USER unexpired IDENTIFIED BY 'a'; GRANT app TO team;
ALTER USER given IDENTIFIED BY 'a' PASSWORD EXPIRE;
CREATE USER locked IDENTIFIED BY 'a' ACCOUNT LOCK; CREATE USER expired IDENTIFIED BY 'a' PASSWORD EXPIRE;
CREATE USER twice IDENTIFIED BY 'a' ACCOUNT LOCK PASSWORD EXPIRE; CREATE USER blank IDENTIFIED BY '' PASSWORD EXPIRE;
CREATE USER open_; CREATE USER socket IDENTIFIED WITH auth_socket ACCOUNT LOCK; CREATE USER alice IDENTIFIED BY 'a';
CREATE USER boss IDENTIFIED BY 'a' ACCOUNT LOCK; CREATE USER chief IDENTIFIED BY 'a' ACCOUNT LOCK PASSWORD EXPIRE;
GRANT team, boss, chief, unexpired, twice TO alice; GRANT alice TO locked
"""
ROLES = {"app", "team", "made"}
#: Users that only the hash tells from roles.
LIKE_ROLES = {"given", "twice", "chief"}
#: What users have and roles have not.
OF_LOCKED_USERS = {"kind", "can_login", "is_locked", "password_expired", "password_changed_at", "auth_method"}


def test_what_is_a_role_on_mysql(my: MysqlServer) -> None:
    """F1.9, F7.10: MySQL does not mark roles. A locked user is a user, also if it is granted to others."""
    my.execute(ROLES_AND_USERS)
    inventory, permissions = visit(my.collector())
    found = {fact.name: fact for fact in inventory.accounts}
    assert {name for name, fact in found.items() if fact.kind == "role"} == ROLES
    assert {fact.kind for fact in found.values()} == {"role", "user"}
    assert found["app"] == AccountFact("app", "%", kind="role", can_login=False, is_locked=False, is_superuser=False)
    locked = {name for name, fact in found.items() if fact.is_locked and not fact.is_system}
    assert locked == {"unexpired", "given", "locked", "twice", "socket", "boss", "chief"}
    assert (found["twice"].password_expired, found["twice"].auth_method) == (True, "caching_sha2_password")
    assert {m.role[0] for m in permissions.memberships if m.member == ("alice", "%")} == {
        *("team", "boss", "chief", "unexpired", "twice"),
    }


def test_roles_and_locked_users_without_the_column_of_the_hashes(my: MysqlServer) -> None:
    """F1.5, F7.10: their kind is unknown, with all that depends on it; everything else is as with it."""
    my.execute(ROLES_AND_USERS)
    # Both exist from the start, so that both visits list the same accounts.
    seeing, target = my.collector("seeing"), my.collector(hash_blind=True)
    truth, _ = visit(seeing)
    inventory, permissions = visit(target)
    unclear = ROLES | LIKE_ROLES
    for fact, true in zip(inventory.accounts, truth.accounts, strict=True):
        unknown = dict.fromkeys(OF_LOCKED_USERS) if fact.name in unclear else {}
        assert fact == true._replace(**unknown)
    (gap,) = inventory.gaps
    hint = "GRANT SELECT (authentication_string) ON mysql.user TO `taifish_collector`@`%`;"
    assert (gap.scope, gap.code, set(gap.fields), gap.hint) == ("account fields", "denied", OF_LOCKED_USERS, hint)
    # Whether "team" has "app" at login depends on what it is.
    assert [(gap.scope, gap.hint) for gap in permissions.gaps] == [("memberships", hint)]
    assert {(m.member[0], m.role[0]) for m in permissions.memberships} == {
        ("locked", "alice"),
        *(("alice", role) for role in ("team", "boss", "chief", "unexpired", "twice")),
    }
    my.execute(hint)
    assert visit(target)[0] == truth
    assert visit(target)[1].gaps == []


def test_a_limit_or_an_end_depends_on_the_kind_where_there_is_one(my: MysqlServer) -> None:
    """F1.5"""
    my.execute("CREATE ROLE app; CREATE USER alice WITH MAX_USER_CONNECTIONS 3")
    target = my.collector(hash_blind=True)
    assert visit(target)[0].unread == OF_LOCKED_USERS
    limits = "WITH MAX_USER_CONNECTIONS 5 PASSWORD EXPIRE INTERVAL 30 DAY ACCOUNT LOCK"
    my.execute(f"CREATE USER chief IDENTIFIED BY 'a' {limits}; ALTER USER chief PASSWORD EXPIRE")
    inventory, _ = visit(target)
    assert inventory.unread == OF_LOCKED_USERS | {"connection_limit", "valid_until"}
    found = {fact.name: fact for fact in inventory.accounts}
    assert (found["chief"].connection_limit, found["alice"].connection_limit) == (None, 3)
    my.execute("DROP USER chief; DROP ROLE app")
    inventory, permissions = visit(target)
    assert (inventory.gaps, inventory.unread, permissions.gaps) == ([], set(), [])


@pytest.mark.parametrize("all_active", ["OFF", "ON"])
@pytest.mark.parametrize("mandatory", ["", "app", "app,team", "gone"])
def test_memberships_that_depend_on_an_unknown_kind(my: MysqlServer, all_active: str, mandatory: str) -> None:
    """F1.5, F7.10: what is known of memberships is right, and what is not leaves a gap."""
    my.execute(
        """
        CREATE ROLE app, team; CREATE USER alice, bob; CREATE USER chief IDENTIFIED BY 'a' ACCOUNT LOCK PASSWORD EXPIRE;
        GRANT app TO team; GRANT team TO alice WITH ADMIN OPTION; GRANT app, team TO chief; SET DEFAULT ROLE app TO chief;
        """
    )
    full, blind = my.collector("full"), my.collector("blind", hash_blind=True)
    my.execute(f"SET GLOBAL activate_all_roles_on_login = {all_active}; SET GLOBAL mandatory_roles = '{mandatory}'")
    (_, truth), (inventory, found) = visit(full), visit(blind)
    assert {fact.name for fact in inventory.accounts if fact.kind is None} == {"app", "team", "chief"}
    missing = set(truth.memberships) - set(found.memberships)
    assert set(found.memberships) <= set(truth.memberships)
    unsure = set() if all_active == "ON" else {("team", "app"), ("chief", "team")}
    # Users are in the mandatory roles, and roles are not.
    unsure |= {("chief", "app"), ("chief", "team")} if mandatory == "app,team" and all_active == "ON" else set()
    assert {(m.member[0], m.role[0]) for m in missing} <= unsure
    is_gap = all_active == "OFF" or mandatory in ("app", "app,team")
    assert [gap.scope for gap in found.gaps] == ["memberships"] * is_gap
    assert is_gap or not missing


@pytest.mark.parametrize("all_active", ["OFF", "ON"])
def test_roles_nested_default_and_mandatory_on_mysql(my: MysqlServer, all_active: str) -> None:
    """F1.9: `inherit` says what is active from login on. Every user has the mandatory roles, however long the variable
    is: SHOW VARIABLES cuts it."""
    my.execute(
        """
        CREATE ROLE app, team, audit; CREATE USER alice; CREATE USER bob;
        GRANT app TO team; GRANT team TO alice WITH ADMIN OPTION; GRANT team TO bob; SET DEFAULT ROLE team TO alice;
        """
    )
    target = my.collector()
    my.execute(f"SET GLOBAL activate_all_roles_on_login = {all_active}")
    _, permissions = visit(target)
    assert set(permissions.memberships) == {
        MembershipFact(("team", "%"), ("app", "%")),
        MembershipFact(("alice", "%"), ("team", "%"), admin_option=True),
        MembershipFact(("bob", "%"), ("team", "%"), inherit=all_active == "ON"),
    }
    names = [f"r{number:03}" for number in range(150)]
    my.execute(f"CREATE ROLE {', '.join(names)}, `odd,na``me`@localhost, `q@d`, plain")
    my.execute("ALTER USER plain IDENTIFIED BY 'a'; SET DEFAULT ROLE team TO alice; GRANT r007 TO alice")
    my.execute("SET DEFAULT ROLE r007 TO alice")
    text = ", ".join([*(f"`{name}`@`%`" for name in names), "`odd,na``me`@localhost", "'q@d'", "plain@%", "gone"])
    my.execute("SET GLOBAL mandatory_roles = %s", [text])
    inventory, permissions = visit(target)
    hers = {m.role: m.inherit for m in permissions.memberships if m.member == ("alice", "%")}
    mandatory = {*((name, "%") for name in names), ("odd,na`me", "localhost"), ("q@d", "%"), ("plain", "%")}
    assert hers.keys() == {("team", "%"), *mandatory}
    # Mandatory roles are active at login, default roles or not.
    assert {role for role, inherit in hers.items() if not inherit} == (
        {("team", "%")} if all_active == "OFF" else set()
    )
    users = {account.key for account in inventory.accounts if account.kind == "user"}
    assert {m.member for m in permissions.memberships if m.role == ("r000", "%")} == users
    # A user may be mandatory too.
    assert {account.name for account in inventory.accounts if account.key in mandatory and account.kind == "user"} == {
        "plain"
    }


def test_each_privilege_on_everything(server: MysqlFamilyServer) -> None:
    """F1.9: the words are the server's own; ALL is what the server makes of it."""
    names = {name.upper() for name, *_ in server.execute("SHOW PRIVILEGES")} - {"PROXY", "USAGE", "GRANT OPTION"}
    assert server.product == "MySQL" or names <= set(MARIADB_BITS)
    for number, name in enumerate(sorted(names)):
        server.execute(f"CREATE USER u{number}; GRANT {name} ON *.* TO u{number}")
    server.execute("CREATE USER every; GRANT ALL ON *.* TO every; CREATE USER passing; GRANT FILE ON *.* TO passing")
    server.execute("GRANT GRANT OPTION ON *.* TO passing; CREATE USER only; GRANT GRANT OPTION ON *.* TO only")
    _, permissions = visit(server.collector())
    for number, name in enumerate(sorted(names)):
        assert held(permissions, f"u{number}") == {f"system {name}"}
    assert held(permissions, "every") == {f"system {name}" for name in names}
    assert held(permissions, "passing") == {"system FILE*"}
    assert held(permissions, "only") == {"system GRANT OPTION*"}
    # The one that the server's installation made holds all that there is.
    mine = {grant for grant in held(permissions, server.superuser, "localhost") if grant.startswith("system")}
    assert mine == {f"system {name}*" for name in names}


@pytest.mark.parametrize(
    ("name", "scope", "database"),
    [
        ("shop", "shop", "shop"),
        ("shop_a", "shop_a", "shop_a"),
        ("shop\\_a", "shop\\_a", "shop_a"),
        ("team%", "team%", "team%"),
        ("100\\%", "100\\%", "100%"),
        ("Shop-1", "Shop-1", "Shop-1"),
        ("sh op.x", '"sh op.x"', "sh op.x"),
        ("漢字", "漢字", "漢字"),
    ],
)
def test_database_patterns(server: MysqlFamilyServer, name: str, scope: str, database: str) -> None:
    """F1.9: an escaped wildcard is another right than a live one."""
    server.execute(f"CREATE USER alice; GRANT SELECT, SHOW VIEW ON {identifier(name)}.* TO alice WITH GRANT OPTION")
    _, permissions = visit(server.collector())
    assert held(permissions, "alice") == {f"database {scope} SELECT*", f"database {scope} SHOW VIEW*"}
    assert {grant.database for grant in permissions.grants if grant.account[0] == "alice"} == {database}


def test_rows_without_a_user_hold_for_everybody(server: MysqlFamilyServer) -> None:
    """F1.9: the server gives such a row of mysql.db to any account, named or not."""
    server.execute("CREATE DATABASE test; CREATE TABLE test.t (a int)")
    row = "INSERT INTO mysql.db (Host, Db, User, Select_priv) VALUES ('%', 'test', '', 'Y'); FLUSH PRIVILEGES"
    server.execute(row)
    target = server.collector("anyone", grants=())
    with adapter_for(target) as adapter:
        assert adapter.session.query("SELECT * FROM test.t") == []
    inventory, permissions = visit(server.collector())
    everybody = {account.key: account.kind for account in inventory.accounts}["", "%"]
    assert (everybody, held(permissions, "")) == ("public", {"database test SELECT"})
    server.execute("DELETE FROM mysql.db WHERE User = ''; FLUSH PRIVILEGES; CREATE USER ''@'%'")
    server.execute(row)
    inventory, permissions = visit(server.collector())
    assert [account.kind for account in inventory.accounts if not account.name] == ["user"]
    assert held(permissions, "") == {"database test SELECT"}


def test_proxies(server: MysqlFamilyServer) -> None:
    server.execute(
        """
        CREATE USER front; CREATE USER back@'10.%'; CREATE USER 'a@b'@'%';
        GRANT PROXY ON back@'10.%' TO front; GRANT PROXY ON 'a@b'@'%' TO front WITH GRANT OPTION;
        """
    )
    _, permissions = visit(server.collector())
    # The server makes this grant option one on everything too: SHOW GRANTS says so.
    front = {'proxy back."10.%" PROXY', "proxy a@b.% PROXY*", "system GRANT OPTION*"}
    assert held(permissions, "front") == front
    # What the server's installation gives: everybody, and the right to say who else may.
    assert 'proxy "".% PROXY*' in held(permissions, server.superuser, "localhost")


def test_objects(server: MysqlFamilyServer) -> None:
    """F1.9: tables and routines at B, columns at C, with the grant option where the server keeps it."""
    server.execute(
        """
        CREATE DATABASE `sh.op`; CREATE TABLE `sh.op`.`t 1` (a int, `b"` int); CREATE VIEW `sh.op`.v AS SELECT 1 AS x;
        CREATE PROCEDURE `sh.op`.p() SELECT 1; CREATE FUNCTION `sh.op`.p() RETURNS int RETURN 1;
        CREATE USER alice; CREATE USER bob;
        GRANT INSERT, SELECT (a, `b"`) ON `sh.op`.`t 1` TO alice; GRANT SHOW VIEW ON `sh.op`.v TO alice;
        GRANT UPDATE (a) ON `sh.op`.`t 1` TO bob WITH GRANT OPTION;
        GRANT EXECUTE ON PROCEDURE `sh.op`.p TO bob;
        GRANT EXECUTE, ALTER ROUTINE ON FUNCTION `sh.op`.p TO bob WITH GRANT OPTION;
        """
    )
    table = '"sh.op"."t 1"'
    alice = {f"table {table} INSERT", 'table "sh.op".v SHOW VIEW'}
    bob = {
        f"table {table} GRANT OPTION*",
        'routine "sh.op".procedure.p EXECUTE',
        'routine "sh.op".function.p EXECUTE*',
        'routine "sh.op".function.p ALTER ROUTINE*',
    }
    expected = {
        "A": (set(), set()),
        "B": (alice, bob),
        "C": (
            alice | {f"column {table}.a SELECT", f"column {dotted('sh.op', 't 1', 'b' + chr(34))} SELECT"},
            bob | {f"column {table}.a UPDATE*"},
        ),
    }
    for level, (hers, his) in expected.items():
        _, permissions = visit(server.collector(level=level))
        assert (held(permissions, "alice"), held(permissions, "bob")) == (hers, his)
        assert permissions.covered == {*KINDS_AT_A, *OBJECT_KINDS[level]}
        assert permissions.gaps == []
        objects = [grant for grant in permissions.grants if grant.account[0] in ("alice", "bob")]
        assert {grant.database for grant in objects} <= {"sh.op"}


def grantors(permissions: Permissions, *names: str) -> set[tuple[str, str, str, tuple[str, ...]]]:
    """Account, kind, privilege and grantors of these accounts' grants on tables and routines, and of proxies."""
    kinds = ("table", "routine", "proxy")
    return {
        (grant.account[0], grant.kind, grant.privilege, grant.grantors)
        for grant in permissions.grants
        if grant.account[0] in names and grant.kind in kinds
    }


#: The last one does not fit MariaDB's column of grantors of routines, encoded twice as it is there.
GRANTORS = ("boss", "a@b'`\\\"", "größe☃", "new\nline", "ÄÖ" * 16, "数" * 128)


@pytest.mark.parametrize("name", GRANTORS)
def test_grantors(server: MysqlFamilyServer, name: str) -> None:
    """F7.10: stored as the server shows them, also after another account grants again, and with any name."""
    name = name[:32] if server.product == "MySQL" else name
    boss, root = f"{identifier(name)}@'localhost'", f"{server.superuser}@localhost"
    server.execute(
        f"""
        CREATE DATABASE shop; CREATE TABLE shop.t (a int); CREATE PROCEDURE shop.p() SELECT 1;
        CREATE USER alice, bob, {boss} IDENTIFIED BY 'a';
        GRANT ALL ON *.* TO {boss} WITH GRANT OPTION; GRANT PROXY ON bob TO {boss} WITH GRANT OPTION;
        GRANT SELECT, INSERT (a) ON shop.t TO alice; GRANT EXECUTE ON PROCEDURE shop.p TO alice;
        """
    )
    target = server.collector(hash_blind=True, level="C")
    _, before = visit(target)
    by_root = {("alice", "table", "SELECT", (root,)), ("alice", "routine", "EXECUTE", (root,))}
    assert grantors(before, "alice", "bob") == by_root
    assert grantors(before, name) == {(name, "proxy", "PROXY", (root,))}
    kinds = {grant.kind for grant in before.grants if grant.grantors}
    assert kinds == {"table", "routine", "proxy"}
    connection = pymysql.connect(unix_socket=str(server.socket), user=name, password="a", autocommit=True)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("GRANT UPDATE ON shop.t TO alice")
        cursor.execute("GRANT ALTER ROUTINE ON PROCEDURE shop.p TO alice")
        cursor.execute("GRANT PROXY ON bob TO alice")
    _, after = visit(target)
    shown = (f"{name}@localhost",)
    # The row of all privileges on an object has one grantor.
    ((stored,),) = server.execute("SELECT Grantor FROM mysql.tables_priv WHERE User = 'alice'")
    assert stored == shown[0]
    ((length,),) = server.execute("SELECT char_length(Grantor) FROM mysql.procs_priv WHERE User = 'alice'")
    on_routines = () if length in GRANTOR_LENGTHS else shown
    assert (on_routines == ()) == (server.product == "MariaDB" and name == "数" * 128)
    assert grantors(after, "alice") == {
        ("alice", "table", "SELECT", shown),
        ("alice", "table", "UPDATE", shown),
        ("alice", "routine", "EXECUTE", on_routines),
        ("alice", "routine", "ALTER ROUTINE", on_routines),
        ("alice", "proxy", "PROXY", shown),
    }
    server.execute("GRANT UPDATE ON shop.t TO alice WITH GRANT OPTION; GRANT EXECUTE ON PROCEDURE shop.p TO alice")
    _, again = visit(target)
    assert {row for row in grantors(again, "alice") if row[1] != "proxy"} == {
        ("alice", "table", "SELECT", (root,)),
        ("alice", "table", "UPDATE", (root,)),
        ("alice", "routine", "EXECUTE", (root,)),
        ("alice", "routine", "ALTER ROUTINE", (root,)),
    }
    # Only the grantor differs: facts that are compared by the fingerprint of their rows must not look the same.
    assert len({visited.grants.fingerprint for visited in (before, after, again)}) == 3


def test_what_outlived_its_account_is_no_grant(server: MysqlFamilyServer) -> None:
    server.execute("INSERT INTO mysql.db (Host, Db, User, Select_priv) VALUES ('%', 'shop', 'ghost', 'Y')")
    if server.product == "MariaDB":
        server.execute("INSERT INTO mysql.roles_mapping (Host, User, Role) VALUES ('%', 'ghost', 'nobody')")
    else:
        server.execute("INSERT INTO mysql.role_edges (FROM_USER, TO_USER) VALUES ('nobody', 'ghost')")
        server.execute("INSERT INTO mysql.global_grants (USER, HOST, PRIV) VALUES ('ghost', '%', 'BACKUP_ADMIN')")
    _, permissions = visit(server.collector())
    assert held(permissions, "ghost") == set()
    assert permissions.memberships == []


def test_more_rows_than_are_read_is_a_gap(clean: MysqlFamilyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "ROW_LIMIT", 2)
    clean.execute("CREATE DATABASE shop; CREATE USER alice")
    for number in range(3):
        clean.execute(f"CREATE TABLE shop.t{number} (a int); GRANT SELECT ON shop.t{number} TO alice")
    clean.execute("GRANT UPDATE (a) ON shop.t0 TO alice")
    _, permissions = visit(clean.collector(level="C"))
    assert {(gap.scope, gap.code) for gap in permissions.gaps} == {("table", "row_limit"), ("column", "row_limit")}
    assert not [grant for grant in permissions.grants if grant.kind == "column"]


@pytest.mark.parametrize("level", ["A", "C"])
def test_the_number_of_statements_is_fixed(server: MysqlFamilyServer, level: str) -> None:
    """F1.8: 1,000 accounts take as many statements as 10."""
    counts = []
    server.execute("CREATE ROLE team; CREATE DATABASE shop; CREATE TABLE shop.t (a int)")
    for first, last in ((0, 10), (10, 1000)):
        users = ", ".join(f"u{number}" for number in range(first, last))
        server.execute(f"CREATE USER {users}; GRANT SELECT ON shop.* TO {users}; GRANT UPDATE (a) ON shop.t TO {users}")
        server.execute("".join(f"GRANT team TO u{number};" for number in range(first, last)))
        with adapter_for(server.collector(level=level)) as adapter:
            assert len(adapter.inventory().accounts) >= last
            assert len(adapter.permissions().memberships) >= last
            counts.append(adapter.statements)
    assert counts[0] == counts[1] <= 17


# Rights of the collection account


def world(server: MysqlFamilyServer) -> None:
    """Something of everything, to be hidden piece by piece."""
    dynamic, default = ("BINLOG_ADMIN", "TO") if server.product == "MySQL" else ("BINLOG ADMIN", "FOR")
    server.execute(
        f"""
        CREATE DATABASE shop; CREATE TABLE shop.t (a int); CREATE PROCEDURE shop.p() SELECT 1;
        CREATE ROLE app; CREATE ROLE team; GRANT app TO team;
        CREATE USER alice IDENTIFIED BY 'pa-ss-wo-rd' WITH MAX_USER_CONNECTIONS 5;
        GRANT team TO alice; SET DEFAULT ROLE team {default} alice; GRANT SUPER, FILE, {dynamic} ON *.* TO alice;
        CREATE USER bob ACCOUNT LOCK; CREATE USER carol PASSWORD EXPIRE; GRANT PROXY ON alice TO bob;
        GRANT SELECT, INSERT ON shop.* TO bob WITH GRANT OPTION;
        GRANT INSERT, SELECT (a) ON shop.t TO alice; GRANT EXECUTE ON PROCEDURE shop.p TO alice;
        """
    )


def full(server: MysqlFamilyServer) -> tuple[Inventory, Permissions]:
    """All there is to say, read with every right."""
    return visit(server.collector("observer", level="C"))


def others(facts: Sequence[Any]) -> set[Any]:
    """Facts of accounts that did not come for the test."""

    def owner(fact: Any) -> str:
        key = getattr(fact, "account", None) or getattr(fact, "member", None) or fact.key
        return str(key[0])

    return {fact for fact in facts if owner(fact) not in ("observer", "taifish_collector")}


def assert_never_wrong(
    inventory: Inventory, permissions: Permissions, truth: tuple[Inventory, Permissions], scopes: set[str]
) -> None:
    """Every fact is true, and what is missing has its name in `scopes`."""
    gaps = {gap.scope for gap in (*inventory.gaps, *permissions.gaps)}
    assert gaps == scopes
    assert all(gap.code == "denied" and gap.message for gap in (*inventory.gaps, *permissions.gaps))
    assert all(re.match(r"GRANT SELECT .*ON mysql\.\w+ TO `taifish_collector`@`%`;$", g.hint) for g in permissions.gaps)
    assert ("account fields" in scopes) == bool(inventory.unread)
    known = {account.key: account for account in truth[0].accounts}
    # The row of a role has these too. They mean nothing there, which shows only where the kind was read.
    of_users = {"valid_until", "password_changed_at", "password_expired", "auth_method", "connection_limit"}
    for account in others(inventory.accounts):
        is_role = "kind" in inventory.unread and known[account.key].kind == "role"
        for name in set(AccountFact._fields) - (of_users if is_role else set()):
            value = getattr(account, name)
            assert value == getattr(known[account.key], name) or (value is None and name in inventory.unread), name
    assert {account.key for account in others(inventory.accounts)} == {
        account.key for account in others(truth[0].accounts)
    }
    assert others(permissions.memberships) <= others(truth[1].memberships)
    assert others(permissions.grants) <= others(truth[1].grants)
    if "memberships" not in gaps:
        assert others(permissions.memberships) == others(truth[1].memberships)
    for kind in permissions.covered - {"memberships"} - gaps:
        assert {grant for grant in others(permissions.grants) if grant.kind == kind} == {
            grant for grant in others(truth[1].grants) if grant.kind == kind
        }


NOT_IN_VIEW = {"is_locked", "password_changed_at", "password_expired", "valid_until", "auth_method"}
#: What an account without access to hashes cannot read of `world`.
BLIND_FIELDS = {"MariaDB": NOT_IN_VIEW, "MySQL": OF_LOCKED_USERS}
BLIND_GAPS = {"MariaDB": {"account fields", "system"}, "MySQL": {"account fields", "memberships"}}


def test_without_the_column_of_the_hashes(server: MysqlFamilyServer) -> None:
    """F1.5: what MariaDB holds in mysql.global_priv alone is named as unread; all else is there."""
    world(server)
    truth = full(server)
    inventory, permissions = visit(server.collector(grants=without_hashes(server.product), level="C"))
    assert inventory.unread == BLIND_FIELDS[server.product]
    assert_never_wrong(inventory, permissions, truth, BLIND_GAPS[server.product])
    assert held(permissions, "alice") >= {"system SUPER", "system FILE"}
    assert others(permissions.memberships)


def test_rights_through_a_default_role(server: MysqlFamilyServer) -> None:
    world(server)
    truth = full(server)
    target = server.collector(grants=(), level="C")
    server.execute(
        "CREATE ROLE reader; GRANT SELECT ON mysql.* TO reader; GRANT reader TO taifish_collector; SET DEFAULT ROLE reader"
        + (" TO taifish_collector" if server.product == "MySQL" else " FOR taifish_collector")
    )
    inventory, permissions = visit(target)
    assert inventory.gaps == permissions.gaps == []
    assert {grant for grant in others(permissions.grants) if grant.account[0] != "reader"} == others(truth[1].grants)


def test_a_grant_table_withheld_is_a_gap(server: MysqlFamilyServer) -> None:
    """F1.5: for what it holds, and its hint closes it."""
    world(server)
    truth = full(server)
    accounts_table = "global_priv" if server.product == "MariaDB" else "user"
    for missing, scopes in GRANT_TABLES[server.product].items():
        tables = [f"SELECT ON mysql.{table}" for table in (accounts_table, *GRANT_TABLES[server.product])]
        tables.remove(f"SELECT ON mysql.{missing}")
        target = server.collector(grants=tables, level="C")
        inventory, permissions = visit(target)
        assert_never_wrong(inventory, permissions, truth, scopes)
        (hint,) = {gap.hint for gap in (*inventory.gaps, *permissions.gaps)}
        assert hint == f"GRANT SELECT ON mysql.{missing} TO `taifish_collector`@`%`;"
        server.execute(hint)
        inventory, permissions = visit(target)
        assert_never_wrong(inventory, permissions, truth, set())


#: Product → column of mysql.user → fields that are unread without it.
LOST_FIELDS = {
    "MariaDB": {
        "is_role": {"kind", "can_login", "connection_limit"},
        "max_user_connections": {"connection_limit"},
        "Super_priv": {"is_superuser"},
    },
    "MySQL": {
        "account_locked": {"is_locked", "kind", "can_login"},
        "password_expired": {"password_expired", "kind", "can_login"},
        "password_last_changed": {"password_changed_at", "password_expired", "valid_until"},
        "password_lifetime": {"password_expired", "valid_until"},
        "plugin": {"auth_method", "can_login"},
        "max_user_connections": {"connection_limit"},
        "Super_priv": {"is_superuser"},
    },
}


def test_a_column_withheld_is_named(clean: MysqlFamilyServer) -> None:
    """F1.5: no column's absence is taken for its answer."""
    product = clean.product
    world(clean)
    truth = full(clean)
    for missing in COLUMNS[product]:
        if missing in ("Host", "User"):
            continue
        inventory, permissions = visit(clean.collector(grants=without_hashes(product, missing), level="C"))
        unread = LOST_FIELDS[product].get(missing, set()) | BLIND_FIELDS[product]
        assert inventory.unread == unread, missing
        scopes = set(BLIND_GAPS[product])
        if missing.endswith("_priv"):
            scopes |= {"system"}
        if "kind" in unread or missing == "default_role":
            scopes |= {"memberships"}
        assert_never_wrong(inventory, permissions, truth, scopes)
        if product == "MySQL":
            hints = {gap.hint for gap in (*inventory.gaps, *permissions.gaps)}
            columns = (missing, "authentication_string")
            assert hints <= {f"GRANT SELECT ({name}) ON mysql.user TO `taifish_collector`@`%`;" for name in columns}
        if missing == "Grant_priv":
            # MySQL's dynamic privileges have a grant option of their own, in another table.
            system = {grant.privilege for grant in permissions.grants if grant.kind == "system"}
            assert not [name for name in system if "_" not in name]


#: Product → what the account may read, and the first thing that it lacks to list accounts.
UNLISTED = {
    "MariaDB": [
        ((), "GRANT SELECT ON mysql.global_priv"),
        (("SELECT ON mysql.db",), "GRANT SELECT ON mysql.global_priv"),
        (("SELECT (Host) ON mysql.global_priv",), "GRANT SELECT (User) ON mysql.global_priv"),
        (("SELECT (User, plugin) ON mysql.user",), "GRANT SELECT (Host) ON mysql.user"),
        (("SELECT (Host, is_role) ON mysql.user",), "GRANT SELECT (User) ON mysql.user"),
    ],
    "MySQL": [
        ((), "GRANT SELECT ON mysql.user"),
        (("SELECT ON mysql.db",), "GRANT SELECT ON mysql.user"),
        (("SELECT (User, plugin) ON mysql.user",), "GRANT SELECT (Host) ON mysql.user"),
        (("SELECT (Host, plugin) ON mysql.user",), "GRANT SELECT (User) ON mysql.user"),
    ],
}


def test_accounts_that_cannot_be_listed_are_an_error(server: MysqlFamilyServer) -> None:
    """F1.5: never an empty answer."""
    for granted, hint in UNLISTED[server.product]:
        target = server.collector(grants=granted)
        with pytest.raises(AdapterError) as caught, adapter_for(target) as adapter:
            adapter.inventory()
        assert (caught.value.code, caught.value.transient) == ("denied", False)
        assert caught.value.hint == f"{hint} TO `taifish_collector`@`%`;"


def test_no_account_at_all_is_an_error(server: MysqlFamilyServer) -> None:
    """F1.5: on a server that we are logged in to there is an account. It logs in from memory here."""
    target = server.collector()
    server.execute(f"DELETE FROM mysql.{'user' if server.product == 'MySQL' else 'global_priv'}")
    with pytest.raises(AdapterError) as caught:
        visit(target)
    assert caught.value.code == "server_error"


def test_partial_revokes_need_a_look_at_second_passwords(my: MysqlServer) -> None:
    """F1.5, F1.9: the column that holds partial revokes is a gap where it may not be read, and asked for."""
    my.execute("CREATE DATABASE pay_roll; CREATE USER alice; CREATE USER bob FAILED_LOGIN_ATTEMPTS 3")
    target = my.collector(hash_blind=True, level="C")
    my.execute(
        r"""
        GRANT INSERT ON `pay\_roll`.* TO bob;
        SET GLOBAL partial_revokes = ON; GRANT SELECT, SHOW VIEW ON *.* TO alice;
        REVOKE SELECT, SHOW VIEW ON pay_roll.* FROM alice; GRANT SELECT ON team_a.* TO bob;
        """
    )
    hint = "GRANT SELECT (User_attributes) ON mysql.user TO `taifish_collector`@`%`;"
    inventory, permissions = visit(target)
    assert (inventory.gaps, inventory.unread) == ([], set())
    assert [(gap.scope, gap.code, gap.hint) for gap in permissions.gaps] == [("database", "denied", hint)]
    with adapter_for(target) as adapter:
        failing = {one.name: one for one in adapter.examine(True).capabilities if not one.works}
    assert failing.keys() == {"partial revokes", "roles apart from locked users"}
    lost = failing["partial revokes"]
    assert lost.missing == hint
    assert "second passwords" in lost.cost
    my.execute(hint)
    _, permissions = visit(target)
    assert permissions.gaps == []
    everywhere = {"system SELECT", "system SHOW VIEW"}
    denied = {"database pay\\_roll SELECT!", "database pay\\_roll SHOW VIEW!"}
    assert held(permissions, "alice") == everywhere | denied
    assert {grant.database for grant in permissions.grants if grant.denied} == {"pay_roll"}
    # With partial_revokes a name is a name and not a pattern, a backslash in it too: this is not on pay_roll any more.
    assert held(permissions, "bob") == {"database team\\_a SELECT", "database pay\\\\\\_roll INSERT"}
    assert "pay\\_roll" in {grant.database for grant in permissions.grants}


@pytest.mark.parametrize("blind", [False, True])
def test_no_hash_is_ever_fetched(server: MysqlFamilyServer, monkeypatch: pytest.MonkeyPatch, blind: bool) -> None:
    world(server)
    if server.product == "MariaDB":
        server.execute(
            """
            CREATE USER two IDENTIFIED BY 'other';
            UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.auth_or', JSON_ARRAY(JSON_OBJECT(),
                JSON_OBJECT('plugin', 'ed25519', 'authentication_string', 'SECONDHASH'))) WHERE User = 'two'
            """
        )
        stored = server.execute("SELECT Priv FROM mysql.global_priv")
    else:
        server.execute(
            "CREATE USER two IDENTIFIED BY 'other'; ALTER USER two IDENTIFIED BY 'new' RETAIN CURRENT PASSWORD;"
            # Beside it in the same document.
            "SET GLOBAL partial_revokes = ON; GRANT SELECT ON *.* TO two; REVOKE SELECT ON mysql.* FROM two"
        )
        stored = server.execute(
            "SELECT json_object('authentication_string', hex(authentication_string)) FROM mysql.user UNION ALL"
            " SELECT json_object('authentication_string', hex(User_attributes->>'$.additional_password')) FROM mysql.user"
        )
    hashes = {text for (row,) in stored for text in re.findall(r'"authentication_string": ?"([^"]+)"', row)}
    assert len(hashes) >= 4
    fetched: list[Any] = []
    real = MySQLSession._execute

    def recording(session: MySQLSession, sql: str, parameters: Any) -> list[tuple[Any, ...]]:
        rows = real(session, sql, parameters)
        fetched.append((sql, rows))
        return rows

    monkeypatch.setattr(MySQLSession, "_execute", recording)
    visit(server.collector(grants=without_hashes(server.product) if blind else ["SELECT ON mysql.*"], level="C"))
    seen = repr(fetched)
    if server.product == "MySQL":
        assert blind or "Restrictions" in seen
        # A hash is not text there.
        hashes |= {repr(bytes.fromhex(text).decode(errors="replace"))[1:-1] for text in hashes}
    assert not [text for text in hashes if text in seen]
    assert "alice" in seen
    # The server tests whether there is one.
    statements = [sql.replace("IFNULL(authentication_string, '') = ''", "tested") for sql, _ in fetched]
    assert any("tested" in sql for sql in statements) == (server.product == "MySQL" and not blind)
    assert not [sql for sql in statements if "authentication_string" in sql or "Password" in sql]


# Names that mysql.procs_priv holds encoded twice


@pytest.fixture
def family(mysql_family: Any) -> Iterator[Any]:
    """Each server of MySQL and MariaDB."""
    mysql_family.reset()
    yield mysql_family
    mysql_family.reset()


def test_grants_on_routines_with_any_name_arrive(family: Any) -> None:
    """Fault 9, F1.9: user, database or routine may have a name that is not ASCII, in as many bytes as there are."""
    family.execute("CREATE USER plain@'%', `öre`@'10.%'")
    expected = set()
    for database in ("shop", "größe", "Ѐ\u00a0商店"):
        family.execute(f"CREATE DATABASE {identifier(database)}")
        for routine in ("p", "zähle", "数", "Ã¶", "ЂЌАМН"):
            name = f"{identifier(database)}.{identifier(routine)}"
            family.execute(f"CREATE PROCEDURE {name}() SELECT 1")
            family.execute(f"GRANT EXECUTE, ALTER ROUTINE ON PROCEDURE {name} TO plain@'%', `öre`@'10.%'")
            scope = dotted(database, "procedure", routine)
            expected |= {f"routine {scope} EXECUTE", f"routine {scope} ALTER ROUTINE"}
    target = family.collector(level="B")
    inventory, permissions = visit(target)
    assert held(permissions, "plain") == held(permissions, "öre", "10.%") == expected
    assert [*inventory.gaps, *permissions.gaps] == []
    (note,) = permissions.notes
    assert note.startswith("29 grants on routines")
    assert "FLUSH PRIVILEGES" in note
    family.execute("FLUSH PRIVILEGES")
    assert not [line for (line,) in family.execute("SHOW GRANTS FOR `öre`@'10.%'") if "EXECUTE" in line]


def test_a_name_that_the_server_cut_is_a_gap(family: Any) -> None:
    """Fault 9, F1.5: encoded twice, a long name does not fit its column. What is left of it is no name."""
    family.execute("CREATE USER ada@'%'; CREATE DATABASE shop")
    for routine in ("数" * 40, "ä" * 40, "x" * 64, "p"):
        family.execute(f"CREATE PROCEDURE shop.{identifier(routine)}() SELECT 1")
        family.execute(f"GRANT EXECUTE ON PROCEDURE shop.{identifier(routine)} TO ada@'%'")
    _, permissions = visit(family.collector(level="B"))
    assert held(permissions, "ada") == {
        f"routine {dotted('shop', 'procedure', routine)} EXECUTE" for routine in ("p", "x" * 64)
    }
    assert [(gap.scope, gap.code, gap.database) for gap in permissions.gaps] == [("routine", "name_cut", "shop")]


@given(st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF), max_size=20))
def test_every_name_is_decoded(name: str) -> None:
    """Fault 9: what the server makes of a name, and what is made of that."""
    encoded = "".join(
        bytes([byte]).decode("latin1" if byte in b"\x81\x8d\x8f\x90\x9d" else "cp1252") for byte in name.encode()
    )
    assert undoubled(encoded) == (name, not name.isascii()) or "\ufffd" in name


@pytest.mark.parametrize("name", ["", "plain", "größe", "é", "数", "Ω€"])
def test_a_name_that_was_encoded_once_stays(name: str) -> None:
    assert undoubled(name) == (name, False)
