"""What the Oracle adapter makes of Oracle 12.1 to 23ai: contract tests, NOT tests on an Oracle server.

They run the adapter's own SQL on an emulated dictionary (`oracle_emulated`), and hold every statement against the
documented columns (`oracle_dictionary`). That shows that the adapter does the right thing with such rows and rights; that
an Oracle server gives such rows, only an Oracle server can show. The tests of the first part do that as well: with
TAIFISH_TEST_ORACLE_DSN=oracle://user:password@host:port/service (`make test-oracle DSN=…`) they run there too, as an
account that may create users in the database, PDB or root that the service leads to.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote, urlsplit

import oracledb
import pytest

from engines import reads as shared_reads
from engines.errors import AdapterError
from engines.facts import (
    AccountFact,
    Gap,
    GrantFact,
    Inventory,
    MembershipFact,
    Permissions,
    SizeFact,
    TableSize,
    TablespaceFact,
)
from engines.oracle import excess as excess_sql
from engines.oracle import reads as sql
from engines.oracle import session as session_sql
from engines.oracle.account import PASSWORD
from engines.oracle.decode import clock_of, moment
from engines.oracle.sizes import databases, tablespace_sizes
from engines.paths import split_path
from engines.registry import ENGINES, adapter_for
from engines.target import Target
from engines.tests.oracle_dictionary import VIEWS, Version, check, tables
from engines.tests.oracle_emulated import ROOT, SHAPES, Emulated, Pdb, ServeOracle, database_error, guid

DSN = os.environ.get("TAIFISH_TEST_ORACLE_DSN", "")
VERSIONS: list[Version] = [(12, 1), (12, 2), (18, 0), (19, 0), (21, 0), (23, 0)]


class Live:
    """The server behind the DSN; what tests make there has names that begin with `prefix`."""

    def __init__(self) -> None:
        url = urlsplit(DSN)
        assert url.hostname
        self.target = Target(
            "oracle",
            url.hostname,
            unquote(url.username or ""),
            unquote(url.password or ""),
            url.port or 1521,
            url.path.strip("/"),
        )
        self.connection = oracledb.connect(
            user=self.target.username,
            password=self.target.password,
            host=self.target.host,
            port=self.target.port or 1521,
            service_name=self.target.database,
        )
        self.version_text = self.connection.version
        ((number, self.container),) = self.rows(
            "SELECT SYS_CONTEXT('USERENV', 'CON_ID'), SYS_CONTEXT('USERENV', 'CON_NAME') FROM DUAL"
        )
        self.in_root = number == "1"
        self.prefix = f"{'C##' if self.in_root else ''}TF{secrets.token_hex(3).upper()}_"

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.rows(statement.replace("~", self.prefix))

    def collector(self, level: str = "C") -> Target:
        name, password = f"{self.prefix}COLLECTOR", f"Aa1{secrets.token_hex(10)}"
        self.execute(*(f"DROP USER {user}" for (user,) in self.rows(_NAMED.format("USERNAME", "USERS", name))))
        for statement in ENGINES["oracle"].script("C", (name, ""), product="Oracle", version=self.version_text):
            text = statement.sql.replace(PASSWORD, f'"{password}"')
            self.execute(text.rstrip(";"))
        return replace(self.target, username=name, password=password, level=level)

    def clean(self) -> None:
        for column, view, drop in (
            ("USERNAME", "USERS", "DROP USER {} CASCADE"),
            ("ROLE", "ROLES", "DROP ROLE {}"),
            ("PROFILE", "PROFILES", "DROP PROFILE {} CASCADE"),
        ):
            for (name,) in set(self.rows(_NAMED.format(column, view, f"{self.prefix}%"))):
                self.execute(drop.format(name))


_NAMED = "SELECT {0} FROM DBA_{1} WHERE {0} LIKE '{2}'"

World = Emulated | Live


@pytest.fixture(params=[*SHAPES, "live"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A server that takes DDL: emulated, and the real one."""
    if request.param != "live":
        yield request.getfixturevalue("serve_oracle")(request.param)
        return
    if not DSN:
        pytest.skip("TAIFISH_TEST_ORACLE_DSN names no Oracle server")
    live = Live()
    with closing(live.connection):
        try:
            yield live
        finally:
            live.clean()


def visit(world: World, level: str = "C") -> tuple[Inventory, Permissions]:
    with adapter_for(world.collector(level)) as adapter:
        return adapter.inventory(), adapter.permissions()


def named(world: World, inventory: Inventory) -> dict[str, AccountFact]:
    """The accounts a test made in the container that the service leads to, by their names without the prefix."""
    return {
        fact.name.removeprefix(world.prefix): fact
        for fact in inventory.accounts
        if fact.name.startswith(world.prefix) and fact.host == world.container and not fact.is_system
    }


def held(world: World, permissions: Permissions, name: str, where: str | None = None) -> set[str]:
    """Grants of an account as "kind scope privilege", with a * where it is grantable; scopes without the container."""
    found = set()
    for grant in permissions.grants:
        if grant.account == (f"{world.prefix}{name}", world.container if where is None else where):
            scope = grant.scope.removeprefix(f"{grant.database}.").replace(world.prefix, "")
            found.add(" ".join(f"{grant.kind} {scope} {grant.privilege}".split()) + "*" * grant.grantable)
    return found


# On the emulated dictionary and on a real server


def test_users(world: World) -> None:
    world.execute(
        "CREATE PROFILE ~FEW LIMIT SESSIONS_PER_USER 4",
        "CREATE USER ~ALICE IDENTIFIED BY Str0ng_enough_1 PROFILE ~FEW",
        "CREATE USER ~LOCKED IDENTIFIED BY Str0ng_enough_1 ACCOUNT LOCK",
        "CREATE USER ~EXPIRED IDENTIFIED BY Str0ng_enough_1 PASSWORD EXPIRE",
        "CREATE USER ~BOTH IDENTIFIED BY Str0ng_enough_1 PASSWORD EXPIRE ACCOUNT LOCK",
    )
    inventory, permissions = visit(world)
    assert [gap for gap in [*inventory.gaps, *permissions.gaps] if gap.code == "denied"] == []
    found = named(world, inventory)
    alice = found["ALICE"]
    assert (alice.kind, alice.is_system, alice.can_login, alice.is_superuser) == ("user", False, True, False)
    assert (alice.connection_limit, found["LOCKED"].connection_limit) == (4, None)
    assert alice.auth_method.startswith("PASSWORD ")
    assert alice.native_id.rpartition("/")[2].isdigit()
    assert (alice.password_changed_at is not None) == (int(world.version_text.split(".")[0]) >= 19)
    assert {name for name, fact in found.items() if fact.is_locked} == {"LOCKED", "BOTH"}
    assert {name for name, fact in found.items() if fact.password_expired} == {"EXPIRED", "BOTH"}
    everybody = {fact.key: fact for fact in inventory.accounts}
    system = everybody["SYS", world.container]
    assert (system.is_system, system.is_superuser) == (True, True)
    assert everybody["PUBLIC", world.container].kind == "public"
    assert everybody["DBA", world.container].is_system
    assert {f"attribute PROFILE {name}" for name in ("FEW", "DEFAULT")} == {
        text.replace(world.prefix, "")
        for name in ("ALICE", "LOCKED")
        for text in held(world, permissions, name)
        if "PROFILE" in text
    }


def test_roles_in_roles(world: World) -> None:
    world.execute(
        "CREATE ROLE ~APP",
        "CREATE ROLE ~TEAM",
        "CREATE ROLE ~SECURED IDENTIFIED BY Str0ng_enough_1",
        "CREATE USER ~ALICE IDENTIFIED BY Str0ng_enough_1",
        "CREATE USER ~BOB IDENTIFIED BY Str0ng_enough_1",
        "GRANT ~APP TO ~TEAM",
        "GRANT ~TEAM TO ~ALICE WITH ADMIN OPTION",
        "GRANT ~SECURED TO ~ALICE",
        "GRANT ~APP TO ~BOB",
        "ALTER USER ~BOB DEFAULT ROLE NONE",
    )
    inventory, permissions = visit(world)
    found = named(world, inventory)
    assert {name for name, fact in found.items() if fact.kind == "role"} == {"APP", "TEAM", "SECURED"}
    assert (found["SECURED"].auth_method, found["APP"].auth_method, found["APP"].can_login) == ("PASSWORD", "", False)
    memberships = {
        (m.member[0].removeprefix(world.prefix), m.role[0].removeprefix(world.prefix), m.admin_option, m.inherit)
        for m in permissions.memberships
        if m.member[0].removeprefix(world.prefix) in ("ALICE", "BOB", "TEAM") and m.member[1] == world.container
    }
    assert memberships == {
        ("TEAM", "APP", False, True),
        ("ALICE", "TEAM", True, True),
        ("ALICE", "SECURED", False, False),
        ("BOB", "APP", False, False),
    }


def test_grants_of_every_kind(world: World) -> None:
    world.execute(
        "CREATE USER ~SHOP IDENTIFIED BY Str0ng_enough_1 QUOTA UNLIMITED ON USERS",
        "CREATE USER ~ALICE IDENTIFIED BY Str0ng_enough_1 QUOTA 20M ON USERS",
        "CREATE USER ~BOB IDENTIFIED BY Str0ng_enough_1",
        "CREATE TABLE ~SHOP.ORDERS (ID NUMBER, PAID NUMBER)",
        "CREATE SEQUENCE ~SHOP.NUMBERS",
        "CREATE PROCEDURE ~SHOP.PAY AS BEGIN NULL; END;",
        "GRANT CREATE SESSION TO ~ALICE WITH ADMIN OPTION",
        "GRANT SELECT ON ~SHOP.ORDERS TO ~ALICE WITH GRANT OPTION",
        "GRANT UPDATE (PAID) ON ~SHOP.ORDERS TO ~BOB",
        "GRANT SELECT ON ~SHOP.NUMBERS TO ~BOB",
        "GRANT EXECUTE ON ~SHOP.PAY TO ~BOB",
        "ALTER USER ~SHOP GRANT CONNECT THROUGH ~BOB",
    )
    _, permissions = visit(world)
    alice = {text for text in held(world, permissions, "ALICE") if not text.startswith("attribute")}
    assert alice == {"system CREATE SESSION*", "tablespace USERS QUOTA 20971520", "table SHOP.ORDERS SELECT*"}
    bob = {text for text in held(world, permissions, "BOB") if not text.startswith("attribute")}
    assert bob == {
        "column SHOP.ORDERS.PAID UPDATE",
        "sequence SHOP.NUMBERS SELECT",
        "routine SHOP.PAY EXECUTE",
        "proxy SHOP CONNECT THROUGH",
    }
    assert "tablespace USERS QUOTA UNLIMITED" in held(world, permissions, "SHOP")
    scopes = {grant.scope for grant in permissions.grants if grant.kind == "table"}
    assert f"{world.container}.{world.prefix}SHOP.ORDERS" in scopes
    on_objects = {grant.kind: grant for grant in permissions.grants if f"{world.prefix}SHOP." in grant.scope}
    assert on_objects.keys() == {"table", "column", "sequence", "routine"}
    assert {grant.grantors for grant in on_objects.values()} == {(f"{world.prefix}SHOP",)}
    assert len({grant.object_id for grant in on_objects.values()} - {""}) == 4
    assert on_objects["column"].object_id == f"{on_objects['table'].object_id}/PAID"


def test_the_script_is_all_that_it_takes(world: World) -> None:
    with adapter_for(world.collector()) as adapter:
        examination = adapter.examine()
    closed = {f"container {pdb.name}" for pdb in getattr(world, "pdbs", []) if pdb.mode == "MOUNTED"}
    assert {found.name for found in examination.capabilities if not found.works} == closed
    assert examination.excess == []
    assert examination.server.product == "Oracle"


def test_the_session_reads_only_and_is_bounded(world: World) -> None:
    target = replace(world.collector(), statement_timeout=3)
    with adapter_for(target) as adapter:
        with pytest.raises(AdapterError) as caught:
            adapter.session.query(
                "CREATE TABLE T (A NUMERIC)" if isinstance(world, Emulated) else "DELETE FROM SYS.DUAL"
            )
        assert caught.value.code in ("server_error", "denied")
        endless = "SELECT COUNT(*) FROM " + ", ".join(f"ALL_TAB_COLUMNS a{number}" for number in range(9))
        with pytest.raises(AdapterError) as caught:
            adapter.session.query(endless)
        assert (caught.value.code, caught.value.transient) == ("timeout", True)


def test_sizes(world: World) -> None:
    with adapter_for(world.collector()) as adapter:
        rows, _ = tablespace_sizes(adapter.session, databases(adapter.session)[0])
    here = {size.name: size for size in rows if size.database == world.container}
    assert {"SYSTEM", "USERS"} <= here.keys()
    for size in here.values():
        assert size.limit >= size.size > 0
        assert size.used is None or 0 <= size.used <= size.size
    assert here["SYSTEM"].used


# The SQL itself


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("in_root", [True, False])
def test_every_statement_is_oracles_and_asks_for_what_is_documented(version: Version, in_root: bool) -> None:
    columns = {(name.replace("V$", "V_$"), column) for name, found in tables(version).items() for column in found}
    features = sql.Features(version[0], in_root, columns=frozenset(columns))
    reads = [read.statement(features) for read in sql.READS if "C" in read.levels and read.when(features)]
    for statement in [*reads, sql.statement(sql.SEGMENTS, features)]:
        check(statement, version)
        check(f"{statement} FETCH FIRST 10 ROWS ONLY", version)
        check(f"SELECT 1 FROM ({statement}) q WHERE 1 = 0", version)
    for statement in (session_sql.SESSION, session_sql.COLUMNS):
        check(statement, version)
    for name in ("OWN_SYSTEM", "OWN_ROLES", "OWN_OBJECTS", "OWN_QUOTAS", "ROLE_ROLES", "ROLE_SYSTEM", "ROLE_OBJECTS"):
        check(getattr(excess_sql, name), version)


@pytest.mark.parametrize(
    "wrong",
    [
        "SELEC 1 FROM DUAL",
        "SELECT USERNAME FROM DBA_USERS LIMIT 5",
        "SELECT NO_SUCH FROM DBA_USERS",
        "SELECT p.CON_ID FROM DBA_USERS p",
        "SELECT COMMON FROM V$PWFILE_USERS",
        "SELECT p.ROLE = 'DBA' FROM DBA_ROLES p",
        "SELECT 1 FROM DBA_SCHEMA_PRIVS",
        "SELECT 1 FROM (SELECT p.NO_SUCH FROM DBA_USERS p) q",
        "SELECT 1 FROM DBA_USERS p WHERE EXISTS (SELECT 1 FROM DBA_ROLES r WHERE r.NO_SUCH = p.USERNAME)",
    ],
)
def test_the_check_of_statements_refuses(wrong: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 -- sqlglot's own, or ours
        check(wrong, (12, 1))


def test_every_view_has_its_page() -> None:
    for name, view in VIEWS.items():
        assert view.url.endswith(f"/refrn/{name.replace('V$', 'V-')}.html")
    asked = {view for in_root in (True, False) for view in sql.granted_views("C", sql.Features(in_root=in_root))}
    known = {name.replace("V$", "V_$") for name in tables((23, 0))}
    assert {view.removeprefix("SYS.") for view in asked} <= known


def test_a_statement_that_outlasts_the_budget(serve_oracle: ServeOracle) -> None:
    """F1.10"""
    target = replace(serve_oracle().collector(), budget=2)
    endless = "SELECT COUNT(*) FROM " + ", ".join(f"ALL_TAB_COLUMNS a{number}" for number in range(9))
    # The emulation makes its dictionary while it connects, which may use the budget up.
    with pytest.raises(AdapterError) as caught, adapter_for(target) as adapter:
        adapter.session.query(endless)
    assert caught.value.code == "budget_exceeded"


# What rows mean


@pytest.mark.parametrize(
    ("status", "locked", "expired", "more"),
    [
        ("OPEN", False, False, set()),
        ("LOCKED", True, False, set()),
        ("LOCKED(TIMED)", True, False, {"LOCKED(TIMED)"}),
        ("EXPIRED", False, True, set()),
        ("EXPIRED(GRACE)", False, False, {"EXPIRED(GRACE)"}),
        ("EXPIRED & LOCKED", True, True, set()),
        ("EXPIRED & LOCKED(TIMED)", True, True, {"LOCKED(TIMED)"}),
        ("EXPIRED(GRACE) & LOCKED", True, False, {"EXPIRED(GRACE)"}),
        ("EXPIRED (GRACE) & LOCKED (TIMED)", True, False, {"EXPIRED(GRACE)", "LOCKED(TIMED)"}),
        ("OPEN & IN ROLLOVER", False, False, {"IN ROLLOVER"}),
        ("EXPIRED(GRACE) & IN ROLLOVER", False, False, {"EXPIRED(GRACE)", "IN ROLLOVER"}),
        ("LOCKED & IN ROLLOVER", True, False, {"IN ROLLOVER"}),
    ],
)
def test_status_taken_apart(
    serve_oracle: ServeOracle, status: str, locked: bool, expired: bool, more: set[str]
) -> None:
    server = serve_oracle()
    server.user_row("ALICE", ACCOUNT_STATUS=status)
    inventory, permissions = visit(server)
    fact = named(server, inventory)["ALICE"]
    assert (fact.is_locked, fact.password_expired) == (locked, expired)
    attributes = {grant.privilege for grant in permissions.grants if grant.account == ("ALICE", "SHOPPDB")}
    assert attributes == {"PROFILE DEFAULT", *more}


def test_a_user_in_full(serve_oracle: ServeOracle) -> None:
    server = serve_oracle()
    server.user_row(
        "ALICE",
        USER_ID=107,
        EXPIRY_DATE=datetime(2026, 10, 30, 8, 30),
        PASSWORD_CHANGE_DATE=datetime(2026, 5, 3, 14, 0),
        LAST_LOGIN=datetime(2026, 5, 4, 9, 0, tzinfo=timezone(timedelta(hours=8))),
        PASSWORD_VERSIONS="10G 11G 12C ",
        COMMON="YES",
    )
    inventory, permissions = visit(server)
    assert named(server, inventory)["ALICE"] == AccountFact(
        "ALICE",
        "SHOPPDB",
        native_id="107",
        is_system=False,
        can_login=True,
        is_locked=False,
        is_superuser=False,
        valid_until=datetime(2026, 10, 30, 0, 30, tzinfo=UTC),
        password_changed_at=datetime(2026, 5, 3, 6, 0, tzinfo=UTC),
        password_expired=False,
        auth_method="PASSWORD 10G 11G 12C",
        last_login_at=datetime(2026, 5, 4, 1, 0, tzinfo=UTC),
    )
    assert "attribute COMMON" in held(server, permissions, "ALICE")


def test_who_cannot_log_in(serve_oracle: ServeOracle) -> None:
    """Accounts that own a schema only, those for proxies only, and those that others vouch for."""
    server = serve_oracle()
    server.user_row("SCHEMA_ONLY", AUTHENTICATION_TYPE="NONE", PASSWORD_VERSIONS=None)
    server.user_row("BY_PROXY", PROXY_ONLY_CONNECT="Y")
    server.user_row("KERBEROS", AUTHENTICATION_TYPE="EXTERNAL", PASSWORD_VERSIONS=None)
    found = named(server, visit(server)[0])
    assert {name for name, fact in found.items() if fact.can_login} == {"KERBEROS"}
    assert found["KERBEROS"].auth_method == "EXTERNAL"


def test_a_profile_may_pass_on_to_the_default(serve_oracle: ServeOracle) -> None:
    server = serve_oracle()
    server.add("PROFILES", PROFILE="APP", RESOURCE_NAME="SESSIONS_PER_USER", LIMIT="DEFAULT")
    server.user_row("ALICE", PROFILE="APP")
    assert named(server, visit(server)[0])["ALICE"].connection_limit is None
    for row in server.rows["PROFILES"]:
        if row["PROFILE"] == "DEFAULT":
            row["LIMIT"] = "7"
    assert named(server, visit(server)[0])["ALICE"].connection_limit == 7


def test_a_right_given_commonly_and_locally_is_one_fact(serve_oracle: ServeOracle) -> None:
    """COMMON is in the key of the views: the fact has the options of both rows, and ends with the last of them."""
    server = serve_oracle()
    server.user_row("C##ALICE", COMMON="YES")
    server.member("DBA", "C##ALICE", common="YES")
    server.member("DBA", "C##ALICE", admin="YES", default="NO", common="NO")
    for common, admin in (("YES", "NO"), ("NO", "YES")):
        server.add("SYS_PRIVS", GRANTEE="C##ALICE", PRIVILEGE="ALTER USER", ADMIN_OPTION=admin, COMMON=common)
        server.object("C##ALICE", "HR", "T", "TABLE", "SELECT", grantable=admin, common=common)
    server.user_row("HR")
    _, permissions = visit(server)
    mine = [m for m in permissions.memberships if m.member[0] == "C##ALICE"]
    assert mine == [MembershipFact(("C##ALICE", "SHOPPDB"), ("DBA", "SHOPPDB"), admin_option=True, inherit=True)]
    assert {"system ALTER USER*", "table HR.T SELECT*"} <= held(server, permissions, "C##ALICE")
    for view in ("ROLE_PRIVS", "SYS_PRIVS", "TAB_PRIVS"):
        server.rows[view] = [
            row for row in server.rows[view] if row["GRANTEE"] != "C##ALICE" or row.get("COMMON") == "YES"
        ]
    _, permissions = visit(server)
    mine = [m for m in permissions.memberships if m.member[0] == "C##ALICE"]
    assert mine == [MembershipFact(("C##ALICE", "SHOPPDB"), ("DBA", "SHOPPDB"), admin_option=False, inherit=True)]
    assert {"system ALTER USER", "table HR.T SELECT"} <= held(server, permissions, "C##ALICE")


def test_several_grantors_are_one_fact(serve_oracle: ServeOracle) -> None:
    """F7.10: DBA_TAB_PRIVS has a row for each grantor."""
    server = serve_oracle()
    for name in ("ALICE", "HR"):
        server.user_row(name)
    server.object("ALICE", "HR", "T", "TABLE", "SELECT", grantor="ZOE", grantable="YES")
    server.object("ALICE", "HR", "T", "TABLE", "SELECT", grantor="HR")
    server.object("ALICE", "HR", "T", "TABLE", "INSERT", grantor="ZOE")
    column = {"GRANTEE": "ALICE", "OWNER": "HR", "TABLE_NAME": "T", "COLUMN_NAME": "A", "PRIVILEGE": "UPDATE"}
    for grantor in ("ZOE", "HR"):
        server.add("COL_PRIVS", **column, GRANTOR=grantor, GRANTABLE="NO")
    _, permissions = visit(server)
    found = {
        (grant.kind, grant.privilege, grant.grantable, grant.grantors)
        for grant in permissions.grants
        if grant.account[0] == "ALICE" and grant.kind != "attribute"
    }
    assert found == {
        ("table", "SELECT", True, ("HR", "ZOE")),
        ("table", "INSERT", False, ("ZOE",)),
        ("column", "UPDATE", False, ("HR", "ZOE")),
    }
    assert {grant.grantors for grant in permissions.grants if grant.kind in ("attribute", "system")} == {()}


@pytest.mark.parametrize("shape", SHAPES)
def test_ids_are_those_of_the_objects_themselves(serve_oracle: ServeOracle, shape: str) -> None:
    """F7.10: not those of partitions, bodies and a materialized view beside its table."""
    server = serve_oracle(shape)
    for name in ("APP", "HR"):
        server.user_row(name)
    expected = {}
    for kind, name, besides in (
        ("TABLE", "T", [("TABLE PARTITION", "P1"), ("TABLE SUBPARTITION", "S1"), ("INDEX", None)]),
        ("PACKAGE", "PACK", [("PACKAGE BODY", None)]),
        ("TYPE", "OBJ", [("TYPE BODY", None)]),
        ("TABLE", "SUMMARY", [("MATERIALIZED VIEW", None)]),
        ("DIRECTORY", "odd.name", []),
    ):
        for other, part in besides:
            server.stored_object("HR", name, other, part=part)
        server.stored_object("APP", name, kind)
        expected[name] = server.stored_object("HR", name, kind)
        server.object("APP", "HR", name, kind, "SELECT")
    for table in ("T", "SUMMARY"):
        column = {"GRANTEE": "APP", "OWNER": "HR", "TABLE_NAME": table, "COLUMN_NAME": "A", "PRIVILEGE": "UPDATE"}
        server.add("COL_PRIVS", **column, GRANTOR="HR", GRANTABLE="NO")
        expected[f"{table}.A"] = f"{expected[table]}/A"
    # A grant on a user is no grant on an object of the dictionary.
    server.object("APP", "SYS", "HR", "USER", "INHERIT PRIVILEGES")
    _, permissions = visit(server)
    start = f"{server.here.guid.hex().upper()}/" if server.in_root else ""
    found = {
        split_path(grant.scope)[-1]
        if grant.kind != "column"
        else ".".join(split_path(grant.scope)[2:]): grant.object_id
        for grant in permissions.grants
        if grant.account[0] == "APP" and grant.kind not in ("attribute", "system")
    }
    assert found == {**{name: f"{start}{number}" for name, number in expected.items()}, "HR": ""}


def test_ids_outlive_new_names_of_objects_and_containers(serve_oracle: ServeOracle) -> None:
    """F7.10: in the root, accounts and objects of a renamed PDB keep their ids."""

    def found(pdb_name: str, table: str) -> tuple[dict[str, str], dict[tuple[str, ...], str]]:
        server = serve_oracle("23ai root", pdbs=(Pdb(pdb_name, 3, guid=guid(3)), Pdb("HRPDB", 4, guid=guid(4))))
        shop = server.pdbs[2]
        server.user_row("APP", shop, USER_ID=104)
        server.user_row("HR", shop, USER_ID=105)
        server.add("ROLES", shop, ROLE="TEAM", ROLE_ID=106, AUTHENTICATION_TYPE="NONE", ORACLE_MAINTAINED="N")
        server.stored_object("HR", table, "TABLE", shop)
        server.object("APP", "HR", table, "TABLE", "SELECT", shop)
        column = {"GRANTEE": "APP", "OWNER": "HR", "TABLE_NAME": table, "COLUMN_NAME": "A", "PRIVILEGE": "UPDATE"}
        server.add("COL_PRIVS", shop, **column, GRANTOR="HR", GRANTABLE="NO")
        server.add("PROXIES", shop, PROXY="APP", CLIENT="HR")
        server.add("SCHEMA_PRIVS", shop, GRANTEE="APP", SCHEMA="HR", PRIVILEGE="SELECT ANY TABLE", ADMIN_OPTION="NO")
        quota = {"USERNAME": "APP", "TABLESPACE_NAME": "USERS", "BYTES": 0, "MAX_BYTES": -1, "DROPPED": "NO"}
        server.add("TS_QUOTAS", shop, **quota)
        inventory, permissions = visit(server)
        accounts = {fact.native_id: fact.name for fact in inventory.accounts if fact.host == pdb_name}
        grants = {
            (grant.kind, grant.privilege, grant.object_id): grant.scope
            for grant in permissions.grants
            if grant.account == ("APP", pdb_name) and grant.kind != "attribute"
        }
        return accounts, grants

    accounts, before = found("SHOPPDB", "T")
    own = "03" * 16
    assert {"APP", "HR", "TEAM", "PUBLIC"} <= set(accounts.values())
    assert all(native_id.startswith(f"{own}/") for native_id in accounts)
    assert len(before) == 5
    assert all(object_id.startswith(f"{own}/") for _, _, object_id in before)
    same_accounts, after = found("STOREPDB", "T2")
    assert same_accounts == accounts
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_without_the_view_of_objects_only_their_ids_are_missing(serve_oracle: ServeOracle, shape: str) -> None:
    """F7.10: for an account set up before ids were read: the visit is complete, and the check names the GRANT."""
    truth = visit(furnished(serve_oracle(shape)))
    server = furnished(serve_oracle(shape))
    view = f"SYS.{'CDB' if server.in_root else 'DBA'}_OBJECTS"
    server.denied = {view}
    inventory, permissions = visit(server)
    assert inventory == truth[0]
    assert permissions == replace(
        truth[1],
        grants=[
            grant._replace(object_id="" if grant.kind in ("table", "column") else grant.object_id)
            for grant in truth[1].grants
        ],
    )
    assert permissions.gaps == []
    assert {grant.kind for grant in truth[1].grants if grant.object_id} >= {"table", "column"}
    with adapter_for(server.collector()) as adapter:
        lost = [found for found in adapter.examine().capabilities if not found.works]
    (grant,) = [statement for statement in server.script() if f" ON {view} TO " in statement]
    assert [(found.missing, found.level) for found in lost] == [(grant, "B"), (grant, "C")]
    assert all("renamed object" in found.cost for found in lost)


def test_what_the_engine_granted_to_itself_is_left_out(serve_oracle: ServeOracle) -> None:
    """… but not what its objects are granted for to others, nor what PUBLIC has been given of an application."""
    server = serve_oracle()
    server.user_row("APP")
    server.object("APP", "SYS", "UTL_FILE", "PACKAGE", "EXECUTE")
    server.object("PUBLIC", "APP", "T", "TABLE", "SELECT")
    server.object("DBSNMP", "APP", "T", "TABLE", "SELECT")
    server.object("APP", "SYS", "DATA_PUMP_DIR", "DIRECTORY", "READ")
    server.object("APP", "SYS", "odd.name", "QUEUE", "DEQUEUE")
    server.add("COL_PRIVS", GRANTEE="PUBLIC", OWNER="SYS", TABLE_NAME="T", COLUMN_NAME="C", PRIVILEGE="UPDATE")
    _, permissions = visit(server)
    objects = [g for g in permissions.grants if g.kind in ("table", "routine", "object", "column")]
    assert {(grant.account[0], grant.kind, grant.scope, grant.privilege) for grant in objects} == {
        ("APP", "routine", "SHOPPDB.SYS.UTL_FILE", "EXECUTE"),
        ("PUBLIC", "table", "SHOPPDB.APP.T", "SELECT"),
        ("DBSNMP", "table", "SHOPPDB.APP.T", "SELECT"),
        ("APP", "object", "SHOPPDB.SYS.directory.DATA_PUMP_DIR", "READ"),
        ("APP", "object", 'SHOPPDB.SYS.queue."odd.name"', "DEQUEUE"),
    }
    assert {grant.database for grant in objects} == {"SHOPPDB"}


def test_schema_privileges_came_with_23ai(serve_oracle: ServeOracle) -> None:
    server = serve_oracle("23ai root")
    server.user_row("C##ALICE")
    row = {"GRANTEE": "C##ALICE", "SCHEMA": "HR", "PRIVILEGE": "SELECT ANY TABLE", "ADMIN_OPTION": "YES"}
    server.add("SCHEMA_PRIVS", **row)
    _, permissions = visit(server)
    assert "schema HR SELECT ANY TABLE*" in held(server, permissions, "ALICE")
    assert "schema" in permissions.covered
    older = serve_oracle("19c PDB")
    _, permissions = visit(older)
    assert "schema" not in permissions.covered | permissions.beyond
    assert not any("SCHEMA_PRIVS" in statement for statement in older.statements)


def test_the_password_file(serve_oracle: ServeOracle) -> None:
    server = serve_oracle("12.1, no containers")
    server.user_row("BACKUP")
    server.user_row("ADMIN")
    server.rows["V$PWFILE_USERS"] += [
        server.pwfile("BACKUP", "SYSBACKUP"),
        server.pwfile("ADMIN", "SYSDBA", "SYSKM"),
        server.pwfile("IN_THE_FILE_ONLY", "SYSDBA"),
    ]
    inventory, permissions = visit(server)
    assert {fact.name for fact in inventory.accounts if fact.is_superuser} == {"SYS", "ADMIN"}
    assert {"system SYSDBA", "system SYSKM"} <= held(server, permissions, "ADMIN")
    assert "system SYSBACKUP" in held(server, permissions, "BACKUP")
    assert held(server, permissions, "IN_THE_FILE_ONLY") == set()


@pytest.mark.parametrize("level", ["A", "B", "C"])
def test_depths(serve_oracle: ServeOracle, level: str) -> None:
    server = serve_oracle("23ai root")
    _, permissions = visit(server, level)
    objects = {"schema", "table", "sequence", "routine", "type", "object"}
    expected = {"A": set(), "B": objects, "C": {*objects, "column"}}[level]
    assert permissions.covered == {"memberships", "system", "attribute", "tablespace", "proxy", *expected}
    assert permissions.beyond == {*objects, "column"} - expected


@pytest.mark.parametrize("shape", SHAPES)
def test_statements_are_fixed_in_number_and_ask_for_no_secret(serve_oracle: ServeOracle, shape: str) -> None:
    """F1.8: one for each view, for ten accounts and for a thousand, for two containers and for six."""
    counts = []
    for users in (10, 1000):
        _, here, pdbs = SHAPES[shape]
        more = tuple(Pdb(f"P{number}", number, guid=guid(number)) for number in range(10, 10 + users // 250) if here)
        server = serve_oracle(shape, pdbs=(*pdbs, *more))
        for number in range(users):
            server.user_row(f"U{number}")
            server.add("SYS_PRIVS", GRANTEE=f"U{number}", PRIVILEGE="CREATE SESSION", ADMIN_OPTION="NO")
        inventory, permissions = visit(server)
        assert len(permissions.grants) > users < len(inventory.accounts)
        counts.append(len(server.statements))
        assert server.statements[0] == "SET TRANSACTION READ ONLY"
        assert not [text for text in server.statements if re.search(r"\bPASSWORD\b|\*", text)]
    assert counts[0] == counts[1] <= 20


def test_more_objects_than_the_limit_are_a_gap(serve_oracle: ServeOracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_reads, "ROW_LIMIT", 3)
    server = serve_oracle()
    server.user_row("APP")
    for number in range(5):
        server.object("APP", "HR", f"T{number}", "TABLE", "SELECT")
    _, permissions = visit(server)
    assert len([grant for grant in permissions.grants if grant.kind == "table"]) == 3
    assert {(gap.scope, gap.code) for gap in permissions.gaps} == {
        (kind, "row_limit") for kind in ("table", "sequence", "routine", "type", "object")
    }


# The root of a multitenant server


def test_the_root_tells_of_all_open_containers(serve_oracle: ServeOracle) -> None:
    server = serve_oracle("23ai root")
    shop, hr = server.pdbs[2:]
    for pdb in (server.root, shop, hr):
        server.user_row("C##OPS", pdb, COMMON="YES", ACCOUNT_STATUS="LOCKED" if pdb is hr else "OPEN", USER_ID=103)
    server.user_row("APP", shop)
    server.member("DBA", "APP", shop)
    server.object("APP", "HR", "T", "TABLE", "SELECT", shop)
    inventory, permissions = visit(server)
    assert inventory.gaps == permissions.gaps == []
    found = {fact.key: fact for fact in inventory.accounts}
    assert {key for key in found if key[0] in ("APP", "C##OPS", "PUBLIC")} == {
        ("APP", "SHOPPDB"),
        *(("C##OPS", where) for where in (ROOT, "SHOPPDB", "HRPDB")),
        *(("PUBLIC", where) for where in (ROOT, "SHOPPDB", "HRPDB")),
    }
    assert {key[1] for key, fact in found.items() if fact.is_locked} == {"HRPDB"}
    assert found["C##OPS", "HRPDB"].native_id == f"{'04' * 16}/103"
    assert MembershipFact(("APP", "SHOPPDB"), ("DBA", "SHOPPDB")) in permissions.memberships
    (grant,) = [grant for grant in permissions.grants if grant.kind == "table"]
    assert (grant.account, grant.scope, grant.database) == (("APP", "SHOPPDB"), "SHOPPDB.HR.T", "SHOPPDB")
    assert not any(where == "PDB$SEED" for _, where in found)


def test_sysdba_in_the_root(serve_oracle: ServeOracle) -> None:
    """Given commonly it holds in every container, given locally in one."""
    server = serve_oracle("23ai root")
    shop, hr = server.pdbs[2:]
    for pdb in (server.root, shop, hr):
        server.user_row("C##OPS", pdb, COMMON="YES")
    server.user_row("LOCAL", shop)
    server.rows["V$PWFILE_USERS"] += [
        server.pwfile("C##OPS", "SYSDBA", pdb=server.root),
        server.pwfile("LOCAL", "SYSDBA", pdb=shop, common="NO"),
        server.pwfile("C##OPS", "SYSBACKUP", pdb=hr, common="NO"),
    ]
    inventory, permissions = visit(server)
    supers = {fact.key for fact in inventory.accounts if fact.is_superuser and fact.name != "SYS"}
    assert supers == {("LOCAL", "SHOPPDB"), *(("C##OPS", where) for where in (ROOT, "SHOPPDB", "HRPDB"))}
    backup = {grant.account for grant in permissions.grants if grant.privilege == "SYSBACKUP"}
    assert backup == {("C##OPS", "HRPDB")}


def test_what_is_the_engines_own_in_one_container_may_be_somebodys_in_another(serve_oracle: ServeOracle) -> None:
    server = serve_oracle("23ai root")
    shop, hr = server.pdbs[2:]
    for pdb, own in ((shop, "Y"), (hr, "N")):
        server.user_row("TOOL", pdb, ORACLE_MAINTAINED=own)
        server.add("ROLES", pdb, ROLE="TOOLS", AUTHENTICATION_TYPE="NONE", ORACLE_MAINTAINED=own)
        server.object("PUBLIC", "TOOL", "T", "TABLE", "SELECT", pdb)
        server.object("TOOL", "SYS", "UTL_FILE", "PACKAGE", "EXECUTE", pdb)
        server.object("TOOLS", "SYS", "UTL_FILE", "PACKAGE", "EXECUTE", pdb)
    _, permissions = visit(server)
    objects = {grant.account for grant in permissions.grants if grant.kind in ("table", "routine")}
    assert objects == {("PUBLIC", "HRPDB"), ("TOOL", "HRPDB"), ("TOOLS", "HRPDB")}


@pytest.mark.parametrize("view", ["ROLES", "ROLE_PRIVS", "SYS_PRIVS"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_view_that_leaves_a_container_out_is_not_believed(serve_oracle: ServeOracle, shape: str, view: str) -> None:
    """F1.5: a container that lists its users and none of these did not answer."""
    server = serve_oracle(shape)
    last = (server.pdbs or [server.here])[-1]
    server.rows[view] = [row for row in server.rows[view] if row["CON_ID"] != last.number]
    with pytest.raises(AdapterError, match=f"in container {last.name}, although each container has some") as caught:
        visit(server)
    assert caught.value.code == "server_error"


@pytest.mark.parametrize("view", ["PROFILES", "PWFILE_USERS", "ROLE_PRIVS", "TAB_PRIVS", "CONTAINER_DATA"])
def test_what_may_pass_is_no_gap_but_fails_the_visit(serve_oracle: ServeOracle, view: str) -> None:
    """A gap is for what will be the same tomorrow."""
    server = serve_oracle("23ai root")

    def lose(statement: str) -> None:
        if re.search(rf"FROM \S+{view}", statement):
            raise database_error(3113, "end-of-file on communication channel")

    server.on_execute.append(lose)
    with pytest.raises(AdapterError) as caught:
        visit(server)
    assert (caught.value.code, caught.value.transient) == ("connection_lost", True)


@pytest.mark.parametrize(
    ("mode", "restricted", "told"),
    [("MOUNTED", None, "is mounted, not open"), ("READ WRITE", "YES", "is open in restricted mode")],
)
def test_a_container_that_is_not_open_is_a_gap(
    serve_oracle: ServeOracle, mode: str, restricted: str, told: str
) -> None:
    """F1.1: never a deletion."""
    server = serve_oracle("23ai root")
    hr = server.pdbs[3]
    hr.mode, hr.restricted = mode, restricted
    inventory, _ = visit(server)
    hint = "ALTER PLUGGABLE DATABASE HRPDB OPEN;"
    assert inventory.gaps == [Gap("accounts", "not_open", f"container HRPDB {told}", "HRPDB", hint)]
    assert {fact.host for fact in inventory.accounts} == {ROOT, "SHOPPDB"}
    with adapter_for(server.collector()) as adapter:
        capabilities = adapter.examine().capabilities
    (lost,) = [found for found in capabilities if not found.works]
    assert (lost.name, lost.message, lost.missing) == ("container HRPDB", told, "")


def test_containers_that_the_account_may_not_see(serve_oracle: ServeOracle) -> None:
    """The server names only those that CONTAINER_DATA allows: what is not named is not gone."""
    server = serve_oracle("23ai root")
    server.allowed = {ROOT}
    inventory, _ = visit(server)
    grant = "ALTER USER C##TAIFISH SET CONTAINER_DATA=ALL CONTAINER=CURRENT;"
    message = f"the account can see only these containers: {ROOT}"
    assert inventory.gaps == [Gap("accounts", "denied", message, hint=grant)]
    with adapter_for(server.collector()) as adapter:
        (lost,) = [found for found in adapter.examine().capabilities if not found.works]
    assert (lost.missing, grant in server.script()) == (grant, True)


def test_a_container_closed_during_the_visit(serve_oracle: ServeOracle) -> None:
    """Its rows are missing in the later views: nothing of that may be stored."""
    server = serve_oracle("23ai root")
    with adapter_for(server.collector()) as adapter:
        adapter.inventory()
        server.server.execute(
            "UPDATE sys.\"v_$containers\" SET open_mode = 'MOUNTED' WHERE con_id = 4", database="oracle"
        )
        # The transaction that the visit reads in sees the past: V$ views do not.
        adapter.session._connection.inner.commit()
        with pytest.raises(AdapterError, match="HRPDB is mounted, not open, but was open before") as caught:
            adapter.permissions()
    assert (caught.value.code, caught.value.transient) == ("server_starting", True)


def test_a_standby_says_so(serve_oracle: ServeOracle) -> None:
    server = serve_oracle()
    server.role = "PHYSICAL STANDBY"
    server.user_row("ALICE")
    inventory, _ = visit(server)
    assert [(gap.scope, gap.code) for gap in inventory.gaps] == [("account fields", "standby")]
    assert "ALICE" in named(server, inventory)


def test_a_standby_whose_pdbs_are_mounted(serve_oracle: ServeOracle) -> None:
    server = serve_oracle("23ai root")
    server.role = "PHYSICAL STANDBY"
    for pdb in server.pdbs[2:]:
        pdb.mode, pdb.restricted = "MOUNTED", None
    inventory, permissions = visit(server)
    gaps = {(gap.scope, gap.code, gap.database) for gap in inventory.gaps}
    assert gaps == {
        ("account fields", "standby", ""),
        ("accounts", "not_open", "SHOPPDB"),
        ("accounts", "not_open", "HRPDB"),
    }
    assert {account[1] for account in (grant.account for grant in permissions.grants)} == {ROOT}


# Rights withheld


def granted(shape: str) -> list[str]:
    version, here, _ = SHAPES[shape]
    return list(sql.granted_views("C", sql.Features(int(version.split(".")[0]), here == ROOT)))


def furnished(server: Emulated) -> Emulated:
    server.execute(
        "CREATE ROLE ~APP",
        "CREATE USER ~ALICE IDENTIFIED BY x QUOTA 20M ON USERS",
        "CREATE TABLE ~ALICE.T (ID NUMBER)",
        "GRANT ~APP TO ~ALICE",
        "GRANT CREATE SESSION TO ~ALICE",
        "GRANT SELECT ON ~ALICE.T TO ~APP",
        "GRANT UPDATE (ID) ON ~ALICE.T TO ~APP",
        "ALTER USER ~ALICE GRANT CONNECT THROUGH ~ALICE",
    )
    return server


#: Without these a visit fails.
ESSENTIAL = {f"SYS.{prefix}_{name}" for prefix in ("DBA", "CDB") for name in ("USERS", "ROLES")} | {"SYS.V_$CONTAINERS"}

#: What only sizes are read from.
SIZES = ("TABLESPACES", "DATA_FILES", "TEMP_FILES", "TABLESPACE_USAGE_METRICS")
FOR_SIZES = {f"SYS.{prefix}_{name}" for prefix in ("DBA", "CDB") for name in SIZES}
#: What only ids are read from.
FOR_IDS = {"SYS.DBA_OBJECTS", "SYS.CDB_OBJECTS"}


def without_ids(permissions: Permissions) -> list[GrantFact]:
    return [grant._replace(object_id="") for grant in permissions.grants]


@pytest.mark.parametrize(
    ("shape", "view"), [(shape, view) for shape in SHAPES for view in granted(shape)], ids=lambda text: text
)
def test_each_view_withheld_is_asked_for_by_the_statement_of_the_script(
    serve_oracle: ServeOracle, shape: str, view: str
) -> None:
    """F1.5: a clear error or a named gap, never a wrong fact, and the very GRANT."""
    server = furnished(serve_oracle(shape))
    everything = visit(server)
    server = furnished(serve_oracle(shape))
    server.denied = {view}
    (grant,) = [statement for statement in server.script() if f" ON {view} TO " in statement]
    outcome = outcome_of(server)
    if isinstance(outcome, AdapterError):
        assert (outcome.code, outcome.hint, outcome.missing, outcome.transient) == ("denied", grant, grant, False)
        assert view in ESSENTIAL
    else:
        inventory, permissions = outcome
        gaps = [*inventory.gaps, *permissions.gaps]
        assert {gap.hint for gap in gaps} == ({grant} if view not in FOR_SIZES | FOR_IDS else set())
        if view in FOR_IDS:
            everything = everything[0], replace(everything[1], grants=without_ids(everything[1]))
            permissions = replace(permissions, grants=without_ids(permissions))
        assert set(permissions.grants) <= set(everything[1].grants)
        assert set(permissions.memberships) <= set(everything[1].memberships)
        assert {grant.kind for grant in {*everything[1].grants} - {*permissions.grants}} <= {gap.scope for gap in gaps}
        known = [fact._replace(**dict.fromkeys(inventory.unread)) for fact in inventory.accounts]
        assert known == [fact._replace(**dict.fromkeys(inventory.unread)) for fact in everything[0].accounts]
    with adapter_for(server.collector()) as adapter:
        capabilities = adapter.examine().capabilities
    assert {found.missing for found in capabilities if not found.works} == {grant}


def outcome_of(server: Emulated) -> tuple[Inventory, Permissions] | AdapterError:
    """The facts of a visit, or what it failed with."""
    try:
        return visit(server)
    except AdapterError as error:
        return error


def test_rights_beyond_need(serve_oracle: ServeOracle) -> None:
    server = serve_oracle()
    own = {"USERNAME": "TAIFISH", "COMMON": "NO"}
    server.add("USER_SYS_PRIVS", **own, PRIVILEGE="CREATE SESSION", ADMIN_OPTION="YES")
    server.add("USER_SYS_PRIVS", **own, PRIVILEGE="SELECT ANY DICTIONARY", ADMIN_OPTION="NO")
    server.add("USER_ROLE_PRIVS", **own, GRANTED_ROLE="OUTER", ADMIN_OPTION="NO")
    server.add("USER_ROLE_PRIVS", **own, GRANTED_ROLE="READERS", ADMIN_OPTION="YES")
    server.add("ROLE_ROLE_PRIVS", ROLE="OUTER", GRANTED_ROLE="INNER")
    server.add("ROLE_SYS_PRIVS", ROLE="INNER", PRIVILEGE="ALTER USER")
    for name in ("T1", "T2", "T3"):
        server.add("ROLE_TAB_PRIVS", ROLE="INNER", OWNER="HR", TABLE_NAME=name, PRIVILEGE="SELECT")
    server.add("ROLE_TAB_PRIVS", ROLE="READERS", OWNER="SYS", TABLE_NAME="DBA_USERS", PRIVILEGE="SELECT")
    own = {"GRANTEE": "TAIFISH", "COMMON": "NO", "GRANTABLE": "NO"}
    server.add("USER_TAB_PRIVS", **own, OWNER="SYS", TABLE_NAME="DBA_USERS", TYPE="VIEW", PRIVILEGE="SELECT")
    server.add("USER_TAB_PRIVS", **own, OWNER="SYS", TABLE_NAME="USER$", TYPE="TABLE", PRIVILEGE="SELECT")
    server.add("USER_TAB_PRIVS", **own, OWNER="SYS", TABLE_NAME="D", TYPE="DIRECTORY", PRIVILEGE="READ")
    server.add("USER_TS_QUOTAS", TABLESPACE_NAME="USERS", MAX_BYTES=-1)
    server.rows.setdefault("V$PWFILE_USERS", []).append(server.pwfile("TAIFISH", "SYSDBA", common="NO"))
    with adapter_for(server.collector("A")) as adapter:
        found = {excess.right: excess for excess in adapter.examine().excess}
    assert {right: excess.remedy for right, excess in found.items() if right != "role OUTER"} == {
        "ADMIN OPTION on CREATE SESSION": "REVOKE CREATE SESSION FROM TAIFISH;\nGRANT CREATE SESSION TO TAIFISH;",
        "SELECT ANY DICTIONARY": "REVOKE SELECT ANY DICTIONARY FROM TAIFISH;",
        "ADMIN OPTION on role READERS": "REVOKE READERS FROM TAIFISH;\nGRANT READERS TO TAIFISH;",
        "SELECT on SYS.USER$": "REVOKE SELECT ON SYS.USER$ FROM TAIFISH;",
        "READ on DIRECTORY D": "REVOKE READ ON DIRECTORY D FROM TAIFISH;",
        "quota on tablespace USERS": "ALTER USER TAIFISH QUOTA 0 ON USERS;",
        "SYSDBA": "REVOKE SYSDBA FROM TAIFISH;",
    }
    outer = found["role OUTER"]
    assert outer.message.endswith("ALTER USER, SELECT on HR.T1, SELECT on HR.T2 and 1 more.")
    needs = [statement.sql for statement in ENGINES["oracle"].script("A", ("taifish", ""), version="19")][1:]
    assert outer.remedy.splitlines() == [*needs, "REVOKE OUTER FROM TAIFISH;"]


# Sizes


def sizes(server: Emulated) -> tuple[list[TablespaceFact], list[Gap]]:
    with adapter_for(server.collector()) as adapter:
        return tablespace_sizes(adapter.session, databases(adapter.session)[0])


def test_tablespaces_in_bytes(serve_oracle: ServeOracle) -> None:
    server = serve_oracle("23ai root")
    shop = server.pdbs[2]
    mega = 2**20
    server.add("TABLESPACES", shop, TABLESPACE_NAME="BIG", CONTENTS="PERMANENT", BLOCK_SIZE=16384)
    for size, extensible, limit in ((100, "YES", 500), (50, "NO", 0), (700, "YES", 500)):
        columns = {"BYTES": size * mega, "AUTOEXTENSIBLE": extensible, "MAXBYTES": limit * mega}
        server.add("DATA_FILES", shop, TABLESPACE_NAME="BIG", **columns)
    server.add("TABLESPACE_USAGE_METRICS", shop, TABLESPACE_NAME="BIG", USED_SPACE=6400)
    server.add("TABLESPACES", shop, TABLESPACE_NAME="SILENT", CONTENTS="UNDO", BLOCK_SIZE=8192)
    server.add("DATA_FILES", shop, TABLESPACE_NAME="SILENT", BYTES=mega, AUTOEXTENSIBLE="NO", MAXBYTES=0)
    tablespaces, gaps = sizes(server)
    assert gaps == []
    rows = {(row.database, row.name): row for row in tablespaces}
    # A file may grow to MAXBYTES if it extends itself, and has its size otherwise, as one that is larger than that.
    big = TablespaceFact("BIG", 850 * mega, 100 * mega, 1250 * mega, "permanent", "SHOPPDB")
    assert rows["SHOPPDB", "BIG"] == big
    assert rows["SHOPPDB", "SILENT"] == TablespaceFact("SILENT", mega, None, mega, "undo", "SHOPPDB")
    assert rows["HRPDB", "USERS"].limit == 1024 * mega
    assert {key[0] for key in rows} == {ROOT, "SHOPPDB", "HRPDB"}
    assert rows["HRPDB", "TEMP"].kind == "temporary"


def test_a_container_is_a_database_of_its_files(serve_oracle: ServeOracle) -> None:
    """F2.5, F2.7: allocated is the size, used its data; a PDB that is not open is listed and a gap, and never zero."""
    server = serve_oracle("23ai root")
    hr = server.pdbs[3]
    hr.mode, hr.restricted = "MOUNTED", None
    for table, size in (("ORDERS", 7), ("ORDERS", 5), ("ITEMS", 9)):
        server.add(
            "SEGMENTS", server.pdbs[2], OWNER="SHOP", SEGMENT_NAME=table, SEGMENT_TYPE="TABLE PARTITION", BYTES=size
        )
    with adapter_for(server.collector()) as adapter:
        databases, found = adapter.databases(), adapter.sizes()
        assert [(row.name, row.is_system) for row in databases.databases] == [
            (ROOT, True),
            ("HRPDB", False),
            ("SHOPPDB", False),
        ]
        assert databases.gaps == []
        mega = 2**20
        assert sorted(found.sizes) == [
            SizeFact(ROOT, 300 * mega, data_size=20 * mega),
            SizeFact("SHOPPDB", 300 * mega, data_size=20 * mega),
        ]
        assert [(gap.scope, gap.database) for gap in found.gaps] == [("sizes", "HRPDB")]
        # Of a container that is not open no tablespace is known to be gone.
        assert found.listed_in == {ROOT, "SHOPPDB"} == {row.database for row in found.tablespaces}
        with pytest.raises(AdapterError) as caught:
            adapter.table_sizes("SHOPPDB", 2)
        assert caught.value.hint == "GRANT SELECT ON SYS.CDB_SEGMENTS TO C##TAIFISH CONTAINER=ALL;"
    server.granted = {"SYS.CDB_SEGMENTS"}
    with adapter_for(server.collector()) as adapter:
        assert adapter.table_sizes("SHOPPDB", 2) == [
            TableSize("SHOP", "ORDERS", 12, data_size=12),
            TableSize("SHOP", "ITEMS", 9, data_size=9),
        ]


def test_without_its_files_no_container_has_a_size(serve_oracle: ServeOracle) -> None:
    """F2.5: an error that names the grant."""
    server = serve_oracle("19c PDB")
    server.denied = {"SYS.DBA_DATA_FILES"}
    with adapter_for(server.collector()) as adapter, pytest.raises(AdapterError) as caught:
        adapter.sizes()
    assert caught.value.hint == "GRANT SELECT ON SYS.DBA_DATA_FILES TO TAIFISH;"


def test_what_has_no_size_is_not_zero(serve_oracle: ServeOracle) -> None:
    """F3: a mounted PDB, a file that is offline, a view that may not be read."""
    server = serve_oracle("23ai root")
    shop, hr = server.pdbs[2:]
    hr.mode, hr.restricted = "MOUNTED", None
    server.add("TABLESPACES", shop, TABLESPACE_NAME="OFF", CONTENTS="PERMANENT", BLOCK_SIZE=8192)
    server.add("DATA_FILES", shop, TABLESPACE_NAME="OFF", BYTES=None, AUTOEXTENSIBLE=None, MAXBYTES=None)
    tablespaces, gaps = sizes(server)
    assert {(gap.scope, gap.code, gap.database) for gap in gaps} == {
        ("sizes", "not_open", "HRPDB"),
        ("sizes", "unreadable_file", "SHOPPDB"),
    }
    off = TablespaceFact("OFF", None, database="SHOPPDB")
    assert [row for row in tablespaces if row.name == "OFF"] == [off]
    assert "HRPDB" not in {row.database for row in tablespaces}
    for view, left in (("DATA_FILES", {"TEMP"}), ("TEMP_FILES", {"SYSTEM", "USERS"})):
        server = serve_oracle("19c PDB")
        server.denied = {f"SYS.DBA_{view}"}
        tablespaces, gaps = sizes(server)
        assert {row.name for row in tablespaces if row.size is not None} == left
        assert [gap.hint for gap in gaps] == [f"GRANT SELECT ON SYS.DBA_{view} TO TAIFISH;"]
    server = serve_oracle("19c PDB")
    server.denied = {"SYS.DBA_TABLESPACE_USAGE_METRICS"}
    tablespaces, gaps = sizes(server)
    assert {row.used for row in tablespaces} == {None}
    assert [gap.code for gap in gaps] == ["denied"]


def test_the_clock_of_a_server_far_from_here() -> None:
    noon = datetime(2026, 1, 1, 12, 0)
    assert moment(noon, clock_of("-03:30")) == datetime(2026, 1, 1, 15, 30, tzinfo=UTC)
    assert moment(datetime.max, clock_of("-03:30")) is None
    assert moment(None, clock_of("+00:00")) is None
    assert clock_of("+05:45").utcoffset(None) == timedelta(hours=5, minutes=45)
