"""What the PostgreSQL adapter says of real servers, read as the least-privileged collector."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines import reads
from engines.adapter import Adapter
from engines.facts import AccountFact, GrantFact, Inventory, MembershipFact, Permissions
from engines.paths import dotted
from engines.postgresql.engine import ENGINE
from engines.postgresql.semantics import POSTGRESQL
from engines.postgresql.session import DATABASES, PostgreSQLSession
from engines.registry import adapter_for
from engines.target import Target
from taifish.tests.postgres import PostgresServer, identifier

KINDS_AT_A = ("memberships", "attribute", "database", "tablespace", "parameter")
KINDS_AT_B = ("schema", "table", "sequence", "routine", "type", "language", "foreign", "default", "large_object")
OBJECT_KINDS = {"A": (), "B": KINDS_AT_B, "C": (*KINDS_AT_B, "column")}


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres
    postgres.reset()


@pytest.fixture
def server18(postgres18: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres18
    postgres18.reset()


def visit(target: Target) -> tuple[Inventory, Permissions]:
    with adapter_for(target) as adapter:
        return adapter.inventory(), adapter.permissions()


def accounts(target: Target) -> dict[str, AccountFact]:
    with adapter_for(target) as adapter:
        return {account.name: account for account in adapter.inventory().accounts}


def held(permissions: Permissions, kind: str, scope: str | None = None) -> set[tuple[str, str]]:
    """(account, privilege), with a * where it is grantable, and after a - where it was taken away."""
    return {
        (grant.account[0], "-" * grant.denied + grant.privilege + "*" * grant.grantable)
        for grant in permissions.grants
        if grant.kind == kind and scope in (None, grant.scope)
    }


def unforeseen(permissions: Permissions) -> list[GrantFact]:
    """Grants that nobody would look for in their kind: an answer is known without what cannot say it."""
    return [grant for grant in permissions.grants if not POSTGRESQL.carries(grant.kind, grant.privilege.__eq__)]


def every(*account_and_privileges: str) -> set[tuple[str, str]]:
    """every("alice SELECT INSERT", "public USAGE") as `held` gives it."""
    return {
        (name, privilege)
        for name, *privileges in (text.split() for text in account_and_privileges)
        for privilege in privileges
    }


def test_who_answers(server: PostgresServer) -> None:
    with adapter_for(server.collector()) as adapter:
        info = adapter.server
    assert info.product == "PostgreSQL"
    assert info.version.startswith(f"{server.major}.")
    assert info.driver.startswith("psycopg2 2.")


def test_inventory_tells_users_from_roles(server: PostgresServer) -> None:
    server.execute(
        """
        CREATE ROLE alice LOGIN PASSWORD 'x' CONNECTION LIMIT 3;
        CREATE ROLE readers;
        CREATE ROLE chief SUPERUSER LOGIN CONNECTION LIMIT 0;
        """
    )
    found = accounts(server.collector())
    assert found["alice"] == AccountFact(
        name="alice",
        native_id=str(server.execute("SELECT 'alice'::regrole::oid")[0][0]),
        can_login=True,
        is_locked=False,
        is_superuser=False,
        connection_limit=3,
    )
    assert (found["readers"].kind, found["readers"].can_login, found["readers"].is_locked) == ("role", False, False)
    assert found["readers"].connection_limit is None
    assert (found["chief"].is_superuser, found["chief"].connection_limit) == (True, 0)
    assert (found["public"].kind, found["public"].can_login) == ("public", False)
    assert len(found) == server.execute("SELECT count(*) FROM pg_roles")[0][0] + 1


def test_no_name_hides_an_account(server: PostgresServer) -> None:
    """F1.9: only what initdb made under a pg_ name is the system's."""
    server.execute(
        """
        CREATE ROLE pgbouncer LOGIN; CREATE ROLE pgadmin LOGIN; CREATE ROLE renamed LOGIN;
        UPDATE pg_authid SET rolname = 'pg_bouncer' WHERE rolname = 'renamed';
        """
    )
    try:
        found = accounts(server.collector())
    finally:
        server.execute("UPDATE pg_authid SET rolname = 'renamed' WHERE rolname = 'pg_bouncer'")
    assert not any(found[name].is_system for name in ("pgbouncer", "pgadmin", "pg_bouncer", "taifish_collector"))
    assert found["pg_monitor"].is_system
    assert not found[server.cluster.superuser].is_system


@pytest.mark.parametrize(
    ("valid_until", "fact", "locked"),
    [
        ("infinity", None, False),
        ("-infinity", None, True),
        ("0044-03-15 BC", None, True),
        ("12000-01-01", None, False),
        ("2001-02-03 04:05:06+07", datetime(2001, 2, 2, 21, 5, 6, tzinfo=UTC), True),
        ("2999-12-31 UTC", datetime(2999, 12, 31, tzinfo=UTC), False),
        ("9999-12-31 23:59:59 UTC", None, False),
        ("0001-01-02 UTC", datetime(1, 1, 2, tzinfo=UTC), True),
    ],
)
def test_any_valid_until(server18: PostgresServer, valid_until: str, fact: datetime | None, locked: bool) -> None:
    server18.execute(
        "CREATE ROLE alice LOGIN VALID UNTIL %(t)s; CREATE ROLE team VALID UNTIL %(t)s", {"t": valid_until}
    )
    found = accounts(server18.collector())
    assert (found["alice"].valid_until, found["alice"].is_locked) == (fact, locked)
    assert found["team"].is_locked is False


def test_memberships_with_their_options(server: PostgresServer) -> None:
    """F1.9, F7.10: nested roles; rows of several grantors are one membership that has any of their options."""
    server.execute(
        """
        CREATE ROLE app; CREATE ROLE lead LOGIN; CREATE ROLE alice LOGIN NOINHERIT; CREATE ROLE team;
        GRANT team TO lead WITH ADMIN OPTION; GRANT app TO team; GRANT team TO alice;
        """
    )
    by = (server.cluster.superuser,) if server.major >= 16 else ()
    expected = {
        MembershipFact(("team", ""), ("app", ""), grantors=by),
        MembershipFact(("lead", ""), ("team", ""), admin_option=True, grantors=by),
        MembershipFact(("alice", ""), ("team", ""), inherit=False, grantors=by),
    }
    if server.major >= 16:
        server.execute(
            """
            GRANT app TO lead WITH INHERIT FALSE, SET TRUE, ADMIN TRUE;
            GRANT app TO alice WITH INHERIT FALSE, SET FALSE;
            SET ROLE lead;
            GRANT app TO alice WITH INHERIT TRUE, SET FALSE;
            """
        )
        assert server.execute("SELECT count(*) FROM pg_auth_members WHERE member = 'alice'::regrole") == [(3,)]
        expected |= {
            MembershipFact(("lead", ""), ("app", ""), admin_option=True, inherit=False, grantors=by),
            MembershipFact(
                ("alice", ""), ("app", ""), inherit=True, set_option=False, grantors=tuple(sorted(["lead", *by]))
            ),
        }
    permissions = visit(server.collector())[1]
    created = {"app", "lead", "alice", "team"}
    found = [membership for membership in permissions.memberships if membership.member[0] in created]
    assert set(found) == expected
    assert len(found) == len(expected)


def test_attributes(server: PostgresServer) -> None:
    server.execute(
        "CREATE ROLE lesser LOGIN CREATEROLE CREATEDB REPLICATION BYPASSRLS; CREATE ROLE chief SUPERUSER; CREATE ROLE nobody"
    )
    permissions = visit(server.collector())[1]
    found = held(permissions, "attribute", "")
    assert found >= every("lesser LOGIN CREATEROLE CREATEDB REPLICATION BYPASSRLS", "chief SUPERUSER")
    assert {name for name, _ in found if name in ("nobody", "taifish_collector")} == {"taifish_collector"}
    assert unforeseen(permissions) == []


def test_database_grants(server: PostgresServer) -> None:
    """F1.9: a null ACL means PUBLIC's defaults; grants by several grantors are one, grantable if any is."""
    server.fresh_database("open.house")
    server.fresh_database("closed")
    server.execute(
        """
        CREATE ROLE boss; CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN;
        ALTER DATABASE closed OWNER TO boss;
        REVOKE ALL ON DATABASE closed FROM PUBLIC;
        GRANT CONNECT, CREATE ON DATABASE closed TO alice WITH GRANT OPTION;
        GRANT CONNECT ON DATABASE closed TO bob;
        SET ROLE alice;
        GRANT CONNECT ON DATABASE closed TO bob WITH GRANT OPTION;
        """
    )
    permissions = visit(server.collector())[1]
    superuser = server.cluster.superuser
    assert held(permissions, "database", '"open.house"') == every(
        "public CONNECT TEMPORARY", f"{superuser} CONNECT CREATE TEMPORARY OWNER"
    )
    assert held(permissions, "database", "closed") == every(
        "boss CONNECT CREATE TEMPORARY OWNER", "alice CONNECT* CREATE*", "bob CONNECT*"
    )
    assert held(permissions, "database", "template0") >= every(f"{superuser} OWNER")
    assert {grant.database for grant in permissions.grants if grant.scope == '"open.house"'} == {"open.house"}
    assert len(set(permissions.grants)) == len(permissions.grants)
    assert (permissions.covered, permissions.gaps) == (frozenset(KINDS_AT_A), [])


def test_tablespace_and_parameter_grants(server: PostgresServer) -> None:
    with server.superuser() as cursor:
        cursor.execute("CREATE ROLE alice LOGIN; CREATE ROLE keeper; SET allow_in_place_tablespaces = on")
        cursor.execute("CREATE TABLESPACE fast OWNER keeper LOCATION ''")
        cursor.execute("GRANT CREATE ON TABLESPACE fast TO alice WITH GRANT OPTION")
        if server.major >= 15:
            cursor.execute("GRANT SET ON PARAMETER log_statement TO alice")
    permissions = visit(server.collector())[1]
    assert held(permissions, "tablespace", "fast") == every("keeper CREATE OWNER", "alice CREATE*")
    assert held(permissions, "parameter", "log_statement") >= (every("alice SET") if server.major >= 15 else set())
    assert {grant.database for grant in permissions.grants if grant.kind != "database"} == {""}


def table_privileges(server: PostgresServer) -> str:
    return "SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER" + " MAINTAIN" * (server.major >= 17)


OBJECTS = """
CREATE ROLE owner; CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN;
CREATE SCHEMA sales AUTHORIZATION owner;
GRANT USAGE ON SCHEMA sales TO alice WITH GRANT OPTION;
SET ROLE owner;
CREATE TABLE sales.orders (id int, "card number" text);
CREATE TABLE sales.untouched ();
CREATE TABLE sales.parts (id int) PARTITION BY RANGE (id);
CREATE VIEW sales.recent AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW sales.daily AS SELECT 1 AS one;
CREATE SEQUENCE sales.numbers;
CREATE FUNCTION sales.price(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION sales.price(text, int[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE sales.close(day date) LANGUAGE sql AS 'SELECT 1';
CREATE DOMAIN sales.euro AS numeric;
CREATE TYPE sales.state AS ENUM ('open');
CREATE TYPE sales.pair AS (a int, b int);
CREATE FUNCTION sales.state_of(sales.state) RETURNS int LANGUAGE sql AS 'SELECT 1';
GRANT SELECT ON sales.orders TO bob;
GRANT SELECT (id), UPDATE ("card number") ON sales.orders TO bob WITH GRANT OPTION;
GRANT SELECT ON sales.recent, sales.parts, sales.daily TO PUBLIC;
GRANT USAGE ON SEQUENCE sales.numbers TO bob;
REVOKE EXECUTE ON FUNCTION sales.price(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sales.price(int) TO bob;
REVOKE USAGE ON TYPE sales.euro FROM PUBLIC;
RESET ROLE;
CREATE FOREIGN DATA WRAPPER far; CREATE SERVER far FOREIGN DATA WRAPPER far;
GRANT USAGE ON FOREIGN SERVER far TO bob;
GRANT USAGE ON FOREIGN DATA WRAPPER far TO alice;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
SELECT lo_create(4711);
GRANT SELECT ON LARGE OBJECT 4711 TO bob;
"""


def test_object_grants(server: PostgresServer) -> None:
    """F1.9: tables, routines and all else inside a database, with ownership and PUBLIC."""
    server.execute(OBJECTS, database=server.fresh_database("shop"))
    permissions = visit(server.collector(level="B"))[1]
    all_of_table, superuser = table_privileges(server), server.cluster.superuser

    assert held(permissions, "schema", "shop.sales") == every("owner USAGE CREATE OWNER", "alice USAGE*")
    assert held(permissions, "table", "shop.sales.orders") == every(f"owner {all_of_table} OWNER", "bob SELECT")
    assert held(permissions, "table", "shop.sales.untouched") == every(f"owner {all_of_table} OWNER")
    for relation in ("recent", "parts", "daily"):
        assert held(permissions, "table", f"shop.sales.{relation}") >= every("owner OWNER", "public SELECT")
    assert held(permissions, "sequence", "shop.sales.numbers") == every("owner USAGE SELECT UPDATE OWNER", "bob USAGE")
    assert held(permissions, "routine", "shop.sales.price(integer)") == every("owner EXECUTE OWNER", "bob EXECUTE")
    assert held(permissions, "routine", "shop.sales.price(text, integer[])") == every(
        "owner EXECUTE OWNER", "public EXECUTE"
    )
    assert held(permissions, "routine", "shop.sales.close(date)") >= every("public EXECUTE")
    assert held(permissions, "routine", "shop.sales.state_of(sales.state)") >= every("owner OWNER")
    assert held(permissions, "type", "shop.sales.euro") == every("owner USAGE OWNER")
    assert held(permissions, "type", "shop.sales.pair") == every("owner USAGE OWNER", "public USAGE")
    sales_types = {g.scope for g in permissions.grants if g.kind == "type" and ".sales." in g.scope}
    assert sales_types == {"shop.sales.euro", "shop.sales.state", "shop.sales.pair"}
    assert held(permissions, "foreign", "shop.server.far") == every(f"{superuser} USAGE OWNER", "bob USAGE")
    assert held(permissions, "foreign", "shop.wrapper.far") == every(f"{superuser} USAGE OWNER", "alice USAGE")
    assert held(permissions, "language", "shop.plpgsql") == every("public -USAGE")
    assert held(permissions, "large_object", "shop.4711") == every(f"{superuser} SELECT UPDATE OWNER", "bob SELECT")
    assert held(permissions, "column") == set()
    assert {grant.database for grant in permissions.grants if grant.scope.startswith("shop.")} == {"shop"}
    assert permissions.covered == {*KINDS_AT_A, *OBJECT_KINDS["B"]}
    assert permissions.gaps == []
    assert unforeseen(permissions) == []


def test_column_grants(server: PostgresServer) -> None:
    """F1.9: single columns, at level C only."""
    server.execute(OBJECTS, database=server.fresh_database("shop"))
    permissions = visit(server.collector(level="C"))[1]
    assert held(permissions, "column") == every("bob SELECT* UPDATE*")
    assert held(permissions, "column", "shop.sales.orders.id") == every("bob SELECT*")
    assert held(permissions, "column", 'shop.sales.orders."card number"') == every("bob UPDATE*")
    assert "column" in permissions.covered


def test_default_privileges(server: PostgresServer) -> None:
    server.execute(
        """
        CREATE ROLE "the owner"; CREATE ROLE bob; CREATE SCHEMA sales;
        ALTER DEFAULT PRIVILEGES FOR ROLE "the owner" IN SCHEMA sales GRANT SELECT ON TABLES TO bob;
        ALTER DEFAULT PRIVILEGES FOR ROLE "the owner" GRANT USAGE ON SEQUENCES TO PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE "the owner" REVOKE EXECUTE ON ROUTINES FROM PUBLIC;
        """,
        database=server.fresh_database("shop"),
    )
    permissions = visit(server.collector(level="B"))[1]
    found = {
        (grant.scope, grant.account[0], grant.privilege) for grant in permissions.grants if grant.kind == "default"
    }
    own = "the owner"
    assert found == {
        ('shop."the owner".sales.table', "bob", "SELECT"),
        *(('shop."the owner"."".sequence', own, privilege) for privilege in ("SELECT", "UPDATE", "USAGE")),
        ('shop."the owner"."".sequence', "public", "USAGE"),
        ('shop."the owner"."".routine', own, "EXECUTE"),
    }


def test_system_objects_only_where_somebody_changed_them(server: PostgresServer) -> None:
    database = server.fresh_database("shop")
    untouched = visit(server.collector("first", level="C"))[1]
    system = ("shop.pg_catalog", "shop.information_schema")
    assert [grant for grant in untouched.grants if grant.scope.startswith(system)] == []

    server.execute(
        """
        CREATE ROLE spy;
        GRANT SELECT ON pg_authid TO spy;
        GRANT EXECUTE ON FUNCTION pg_ls_dir(text) TO spy;
        GRANT SELECT (rolname) ON pg_authid TO PUBLIC;
        GRANT SELECT ON information_schema._pg_user_mappings TO PUBLIC;
        REVOKE SELECT ON information_schema.tables FROM PUBLIC;
        """,
        database=database,
    )
    permissions = visit(server.collector(level="C"))[1]
    touched = {grant.scope for grant in permissions.grants if grant.scope.startswith(system)}
    assert touched == {
        "shop.pg_catalog.pg_authid",
        "shop.pg_catalog.pg_authid.rolname",
        "shop.pg_catalog.pg_ls_dir(text)",
        "shop.information_schema._pg_user_mappings",
        "shop.information_schema.tables",
    }
    assert held(permissions, "table", "shop.pg_catalog.pg_authid") == every("spy SELECT")
    assert held(permissions, "column", "shop.pg_catalog.pg_authid.rolname") == every("public SELECT")
    assert held(permissions, "routine", "shop.pg_catalog.pg_ls_dir(text)") == every("spy EXECUTE")
    assert held(permissions, "table", "shop.information_schema._pg_user_mappings") == every("public SELECT")
    assert held(permissions, "table", "shop.information_schema.tables") == every("public -SELECT")


NAMES = st.text(
    st.one_of(
        st.sampled_from("\"'\\.%_,{}() \n\tаé中🐟"), st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    ),
    min_size=1,
).filter(lambda name: len(name.encode()) <= 63 and not name.startswith("pg_") and name not in ("public", "none"))
HOSTILE = {"pgbouncer%", "a.b", 'say "hi"', "it's", "new\nline", "\\", "🐟" * 15 + "abc", "NULL", "{x,y}", "a=b host=x"}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(NAMES, min_size=10, max_size=40))
def test_hostile_names_arrive_intact(server18: PostgresServer, names: set[str]) -> None:
    """F1.9: accounts, and all that a name is part of."""
    names |= HOSTILE
    with server18.superuser() as cursor:
        server18.reset()
        ordered = sorted(names)
        cursor.execute("".join(f"CREATE ROLE {identifier(name)};" for name in ordered))
        for database in ordered[:2]:
            cursor.execute(f"CREATE DATABASE {identifier(database)}")
    objects = "".join(
        f"CREATE SCHEMA {n}; CREATE TABLE {n}.{n} ({n} int); GRANT SELECT ({n}) ON {n}.{n} TO {n};"
        for n in map(identifier, names)
    )
    for database in ordered[:2]:
        server18.execute(objects.replace("%", "%%"), [], database=database)
    inventory, permissions = visit(server18.collector("the \"'\\ collector", level="C"))
    assert names <= {account.name for account in inventory.accounts}
    assert permissions.gaps == []
    assert {(g.account[0], g.database, g.scope) for g in permissions.grants if g.kind == "column"} == {
        (name, database, dotted(database, name, name, name)) for name in names for database in ordered[:2]
    }


def test_a_name_that_is_not_utf8_hides_no_other(server18: PostgresServer) -> None:
    """F1.5: roles are shared by databases of any encoding, so one may carry LATIN1 bytes."""
    server18.execute("CREATE DATABASE old TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER libc")
    server18.execute(
        r"""DO $$ BEGIN EXECUTE convert_from('\x43524541544520524f4c4520226dfc6c6c657222', 'SQL_ASCII'); END $$""",
        database="old",
    )
    server18.execute("CREATE ROLE alice")
    inventory, permissions = visit(server18.collector(level="B"))
    assert {"alice", r"m\xfcller"} <= {account.name for account in inventory.accounts}
    assert permissions.gaps == []


def test_statements_do_not_grow_with_accounts(server: PostgresServer) -> None:
    """F1.8: four statements for the instance, and from level B two or three for each database."""
    server.fresh_database("shop")
    target = server.collector()

    def statements(level: str) -> int:
        with adapter_for(Target(**{**vars(target), "level": level})) as adapter:
            adapter.inventory()
            adapter.permissions()
            return adapter.statements

    few = statements("A"), statements("B"), statements("C")
    server.execute(
        """
        DO $$ BEGIN FOR i IN 1..300 LOOP
            EXECUTE format('CREATE ROLE r%s; GRANT pg_monitor TO r%s; CREATE SCHEMA s%s AUTHORIZATION r%s', i, i, i, i);
        END LOOP; END $$
        """,
        database="shop",
    )
    assert (statements("A"), statements("B"), statements("C")) == few == (4, 9, 9)


def test_a_long_acl_is_read_once(server: PostgresServer) -> None:
    """F1.8: the pages that the server reads grow with the length of an ACL, not with its square."""
    server.fresh_database("shop")
    server.execute("CREATE TABLE t ()", database="shop")

    def pages() -> int:
        with PostgreSQLSession(
            server.target(server.cluster.superuser, "", host=str(server.cluster.socket_dir), database="shop")
        ) as session:
            reads_of_grants = (read for read in ENGINE.reads if read.name in ("grants", "objects at C"))
            explained = [
                session.query(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {read.statement(session.features)}")[0][0][0]
                for read in reads_of_grants
            ]
        return sum(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] for plan in explained)

    pages()
    few = pages()
    server.execute(
        """
        DO $$ BEGIN FOR i IN 1..2000 LOOP EXECUTE 'CREATE ROLE r' || i; END LOOP;
        EXECUTE (SELECT format('GRANT ALL ON DATABASE shop TO %s; GRANT ALL ON t TO %s', r, r)
                   FROM (SELECT string_agg('r' || i, ', ') FROM generate_series(1, 2000) i) roles(r));
        END $$
        """,
        database="shop",
    )
    assert pages() < few + 2000


def test_phases_see_one_snapshot(server18: PostgresServer) -> None:
    """F1.6: what changes in mid-visit is left to the next one, and never half seen."""
    server18.execute("CREATE ROLE early LOGIN; GRANT pg_monitor TO early")
    with adapter_for(server18.collector()) as adapter:
        names = {account.name for account in adapter.inventory().accounts}
        server18.execute("DROP ROLE early; CREATE ROLE late LOGIN; GRANT pg_monitor TO late")
        permissions = adapter.permissions()
    mentioned = {m.member[0] for m in permissions.memberships} | {g.account[0] for g in permissions.grants}
    assert "early" in mentioned
    assert "late" not in mentioned
    assert mentioned <= names


def closure(edges: set[tuple[str, str]], start: str) -> set[str]:
    reached, todo = {start}, [start]
    while todo:
        role = todo.pop()
        new = {target for source, target in edges if source == role} - reached
        reached |= new
        todo += new
    return reached


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_facts_imply_what_the_server_answers(server: PostgresServer, seed: int) -> None:
    """F1.9: closure and ACLs by our facts equal pg_has_role(), has_database_privilege(), has_table_privilege()."""
    chance = random.Random(seed)
    roles = [f"r{number}" for number in range(12)]
    server.fresh_database("shop")
    sql = "".join(f"CREATE ROLE {role} {chance.choice(['', 'NOINHERIT', 'LOGIN'])};" for role in roles)
    sql += "CREATE ROLE r_super SUPERUSER; CREATE TABLE public.t (); REVOKE ALL ON DATABASE shop FROM PUBLIC;"
    for _ in range(14):
        low, high = sorted(chance.sample(range(12), 2))
        flags = [chance.choice(("TRUE", "FALSE")) for _ in range(3)]
        options = "WITH INHERIT {}, SET {}, ADMIN {}".format(*flags) if server.major >= 16 else ""
        sql += f"GRANT r{high} TO r{low} {options};"
    for _ in range(8):
        option = chance.choice(("", "WITH GRANT OPTION"))
        sql += (
            f"GRANT {chance.choice(('CONNECT', 'CREATE', 'TEMP'))} ON DATABASE shop TO {chance.choice(roles)} {option};"
        )
        sql += f"GRANT {chance.choice(('SELECT', 'INSERT', 'DELETE'))} ON t TO {chance.choice([*roles, 'PUBLIC'])};"
    server.execute(sql + f"ALTER TABLE t OWNER TO {chance.choice(roles)};", database="shop")
    target = server.collector(level="B")
    server.execute("GRANT CONNECT ON DATABASE shop TO taifish_collector")
    inventory, permissions = visit(target)
    assert permissions.gaps == []

    superusers = {account.name for account in inventory.accounts if account.is_superuser}
    members = {(m.member[0], m.role[0]) for m in permissions.memberships}
    inherited = {(m.member[0], m.role[0]) for m in permissions.memberships if m.inherit}
    settable = {(m.member[0], m.role[0]) for m in permissions.memberships if m.set_option}
    granted = {(g.account[0], g.kind, g.scope, g.privilege) for g in permissions.grants}
    by_facts: set[tuple[Any, ...]] = set()
    for role in [*roles, "r_super"]:
        holders = closure(inherited, role) | {"public"}
        for other in roles:
            for how, edges in (("MEMBER", members), ("USAGE", inherited), ("SET", settable)):
                if role in superusers or other in closure(edges, role):
                    by_facts.add((role, other, how))
        for kind, scope, privilege in [
            *(("database", "shop", p) for p in ("CONNECT", "CREATE", "TEMPORARY")),
            *(("table", "shop.public.t", p) for p in ("SELECT", "INSERT", "DELETE", "UPDATE")),
        ]:
            if role in superusers or any((holder, kind, scope, privilege) in granted for holder in holders):
                by_facts.add((role, kind, privilege))
    by_server = server.execute(
        f"""
        WITH roles AS (SELECT rolname::text AS name FROM pg_roles WHERE rolname ~ '^r[0-9_]')
        SELECT a.name, b.name, how FROM roles a, roles b, unnest(%(how)s) how
         WHERE b.name <> 'r_super' AND pg_has_role(a.name, b.name, {"how" if server.major >= 16 else "replace(how, 'SET', 'MEMBER')"})
        UNION ALL SELECT name, 'database', p FROM roles, unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) p
         WHERE has_database_privilege(name, 'shop', p)
        UNION ALL SELECT name, 'table', p FROM roles, unnest(ARRAY['SELECT', 'INSERT', 'DELETE', 'UPDATE']) p
         WHERE has_table_privilege(name, 'public.t', p)
        """,
        {"how": ["MEMBER", "USAGE", "SET"]},
        database="shop",
    )
    assert by_facts == set(by_server)


def drop_on(statement: str, action: Callable[[], object]) -> Callable[[Target], Adapter]:
    """The adapter, with something happening to the server right after that statement's first run."""

    class Disturbed(PostgreSQLSession):
        done = False

        def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
            rows = super().query(sql, parameters)
            if sql == statement and not self.done:
                self.done = True
                action()
            return rows

    return partial(Adapter, replace(ENGINE, session=Disturbed))


def test_a_database_dropped_in_mid_visit_harms_nobody(server: PostgresServer) -> None:
    """F1.6: no gap for what is gone, and the databases after it are read."""
    for name in ("a_doomed", "shop"):
        server.fresh_database(name)
        server.execute("CREATE SCHEMA sales", database=name)
    drop = drop_on(DATABASES, lambda: server.drop_database("a_doomed"))
    with drop(server.collector(level="B")) as adapter:
        permissions = adapter.permissions()
    assert permissions.gaps == []
    assert {grant.database for grant in permissions.grants if grant.kind == "schema"} == {"postgres", "shop"}


def test_a_renamed_database_is_a_gap(server18: PostgresServer) -> None:
    """F1.6: it exists, so its grants have not ended."""
    server18.fresh_database("shop")
    rename = drop_on(DATABASES, lambda: server18.execute("ALTER DATABASE shop RENAME TO store"))
    with rename(server18.collector(level="B")) as adapter:
        gaps = adapter.permissions().gaps
    assert {(gap.scope, gap.database, gap.code) for gap in gaps} == {
        (kind, "shop", "no_such_database") for kind in OBJECT_KINDS["B"]
    }


def test_a_database_cut_off_while_it_is_read_is_a_gap(server18: PostgresServer) -> None:
    """F1.6: the other databases and the instance are read all the same."""
    for name in ("aaa", "shop"):
        server18.fresh_database(name)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'aaa'"

    class Disturbed(PostgreSQLSession):
        def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
            if self.database == "aaa" and "WITH namespaces" in sql:
                server18.execute(kill)
            return super().query(sql, parameters)

    with Adapter(replace(ENGINE, session=Disturbed), server18.collector(level="B")) as adapter:
        permissions = adapter.permissions()
    assert {(gap.database, gap.code) for gap in permissions.gaps} == {("aaa", "connection_lost")}
    assert "shop.public" in {grant.scope for grant in permissions.grants}


def test_databases_that_are_not_read_are_gaps(server: PostgresServer) -> None:
    """F1.5: no right to connect, closed, a template, or the provider's: each is named, and nothing in it has ended."""
    for name in ("closed", "secret", "mould", "rdsadmin", "shop"):
        server.fresh_database(name)
    server.execute("REVOKE CONNECT ON DATABASE secret FROM PUBLIC")
    server.execute("ALTER DATABASE closed ALLOW_CONNECTIONS false")
    server.execute("ALTER DATABASE mould IS_TEMPLATE true")
    permissions = visit(server.collector(level="C"))[1]
    assert {(gap.scope, gap.database, gap.code) for gap in permissions.gaps} == {
        (kind, database, code)
        for kind in OBJECT_KINDS["C"]
        for database, code in [
            ("closed", "not_visited"),
            ("mould", "not_visited"),
            ("rdsadmin", "provider_reserved"),
            ("secret", "denied"),
        ]
    }
    hints = {gap.hint for gap in permissions.gaps if gap.database == "secret"}
    assert hints == {'GRANT CONNECT ON DATABASE "secret" TO "taifish_collector";'}
    assert {grant.database for grant in permissions.grants if grant.kind == "schema"} == {"postgres", "shop"}
    assert {grant.scope for grant in permissions.grants if grant.kind == "database"} >= {"secret", "closed", "mould"}


def test_a_reached_row_limit_is_named(server18: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1.5: what lies beyond the limit is a gap, from the first kind that was cut; kinds before it are whole."""
    server18.fresh_database("shop")
    server18.execute("CREATE SCHEMA sales; CREATE TABLE t1 (); CREATE TABLE t2 (); CREATE SEQUENCE s1", database="shop")
    everything = visit(server18.collector("first", level="C"))[1]
    schemas = [grant for grant in everything.grants if grant.kind == "schema" and grant.database == "shop"]
    monkeypatch.setattr(reads, "ROW_LIMIT", len(schemas) + 2)
    permissions = visit(server18.collector(level="C"))[1]
    assert {(gap.scope, gap.database, gap.code) for gap in permissions.gaps} == {
        (kind, "shop", "row_limit") for kind in OBJECT_KINDS["C"] if kind != "schema"
    }
    assert (
        len([g for g in permissions.grants if g.database == "shop" and g.kind in OBJECT_KINDS["C"]]) == len(schemas) + 2
    )
    assert set(schemas) <= set(permissions.grants)
