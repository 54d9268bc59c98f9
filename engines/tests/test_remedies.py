"""Fault 1, F7.11: the SQL that we offer, pasted into the real clients, on servers full of hostile names.

What the servers hold before and after is read here from their catalogues, not by the product.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from engines.facts import AccountFact, GrantFact, Permissions
from engines.mysql.account import NO_ACCOUNT
from engines.paths import dotted
from engines.postgresql.account import DEPENDENT, OTHER_GRANTORS, OWNER
from engines.registry import adapter_for
from engines.revocation import GRANTED_BY_OTHERS, lock, take_away, take_one
from engines.statements import Held, Remedy, Subject
from engines.target import Target
from engines.tests.clients import paste
from taifish.tests.mariadb import MysqlFamilyServer
from taifish.tests.mariadb import identifier as backticks
from taifish.tests.postgres import PostgresServer, identifier

PIECES = (
    *("a", "B", "é", "口", "1", " ", ".", ",", "(", ")", "[", "%", "_", "@", "#", "&x", "=", "?", "$", "^"),
    *('"', "'", "`", "\\", "\\'", '\\"', "''", '""', "``"),
    *("--", "-- ", "/*", "*/", "/*!", ";", "$$", "$taifish$", ":x", ":'x'", ':"x"', "\\!", "\\g", "\\c", "\\q", "\\gexec"),
    *("DELIMITER //", "postgresql://h/", "host=h", "ALTER ROLE mallory SUPERUSER;", "GRANT ALL ON *.* TO mallory;", "PUBLIC"),
)  # fmt: skip
HIDDEN = ("\n", "\r\n", "\t", "\x7f", "\u202e", "\u2028", "\u200b", "\n; ALTER ROLE mallory SUPERUSER; --")


def names(longest: int, *, hidden: bool = True) -> st.SearchStrategy[str]:
    """Names of so many bytes at most."""
    pieces = st.sampled_from((*PIECES, *PIECES, *HIDDEN) if hidden else PIECES)
    text = st.lists(pieces, min_size=1, max_size=6).map("".join)
    return text.filter(lambda name: len(name.encode()) <= longest and not name.startswith("pg_") and bool(name.strip()))


def remedy_of(target: Target, key: tuple[str, str]) -> tuple[Subject, Remedy]:
    """What is offered for an account after a visit to the greatest depth."""
    with adapter_for(target) as adapter:
        accounts = {fact.key: fact for fact in adapter.inventory().accounts}
        permissions = adapter.permissions()
        fact, product = accounts[key], adapter.server.product
    subject = Subject(target.engine, fact.name, fact.host, fact.kind, fact.native_id, product)
    return subject, take_away(subject, *held(permissions, fact))


def held(permissions: Permissions, fact: AccountFact) -> tuple[list[Held], list[tuple[str, str]]]:
    def as_held(grant: GrantFact) -> Held:
        return Held(grant.kind, grant.privilege, grant.scope, grant.database, grant.denied, grant.grantable)

    grants = [as_held(grant) for grant in permissions.grants if grant.account == fact.key]
    return grants, [membership.role for membership in permissions.memberships if membership.member == fact.key]


# PostgreSQL

ACLS = {
    "pg_class": ("oid::text", "relacl"),
    "pg_attribute": ("attrelid || ' ' || attnum", "attacl"),
    "pg_proc": ("oid::text", "proacl"),
    "pg_namespace": ("oid::text", "nspacl"),
    "pg_type": ("oid::text", "typacl"),
    "pg_language": ("oid::text", "lanacl"),
    "pg_foreign_data_wrapper": ("oid::text", "fdwacl"),
    "pg_foreign_server": ("oid::text", "srvacl"),
    "pg_largeobject_metadata": ("oid::text", "lomacl"),
    "pg_default_acl": ("oid::text", "defaclacl"),
    "pg_database": ("oid::text", "datacl"),
    "pg_tablespace": ("oid::text", "spcacl"),
}
CATALOGUE = " UNION ALL ".join(
    f"SELECT '{table}', {key}, a.grantee::text, a.grantor::text || a.privilege_type || a.is_grantable"
    f" FROM {table}, aclexplode({acl}) a"
    for table, (key, acl) in ACLS.items()
)
ROLES = "SELECT 'role', oid::text, oid::text, row_to_json(a)::text FROM pg_authid a"
MEMBERS = "SELECT 'member', roleid::text, member::text, (to_jsonb(m) - 'oid')::text FROM pg_auth_members m"


def catalogue(server: PostgresServer, *databases: str) -> set[tuple[Any, ...]]:
    parameters = (
        " UNION ALL SELECT 'parameter', p.oid::text, a.grantee::text, a.grantor::text || a.privilege_type || a.is_grantable"
        " FROM pg_parameter_acl p, aclexplode(paracl) a"
        if server.major >= 15
        else ""
    )
    found = {("", *row) for row in server.execute(f"{ROLES} UNION ALL {MEMBERS}")}
    for database in databases:
        found |= {(database, *row) for row in server.execute(CATALOGUE + parameters, database=database)}
    return found


def make_postgresql(server: PostgresServer, database: str, account: str, role: str, schema: str, name: str) -> None:
    """An account, and mallory beside it, with a right on an object of each kind."""
    server.fresh_database(database)
    who, s, n = identifier(account), identifier(schema), identifier(name)
    server.execute(
        f"CREATE ROLE mallory LOGIN; CREATE ROLE {identifier(role)}; CREATE ROLE {who} LOGIN CREATEDB CREATEROLE;"
        f"GRANT {identifier(role)} TO {who}, mallory; GRANT CREATE ON DATABASE {identifier(database)} TO {who}, mallory"
        + (f"; GRANT SET ON PARAMETER work_mem, a.b TO {who}, mallory" if server.major >= 15 else "")
    )
    both = f"{who}, mallory"
    server.execute(
        f"""
        CREATE SCHEMA {s}; GRANT USAGE, CREATE ON SCHEMA {s} TO {both};
        CREATE TABLE {s}.{n} ({n} int, b int); GRANT SELECT, INSERT ON {s}.{n} TO {both};
        GRANT UPDATE ({n}), REFERENCES (b) ON {s}.{n} TO {both};
        CREATE VIEW {s}."v {n[1:-1]}" AS SELECT 1 AS x; GRANT DELETE ON {s}."v {n[1:-1]}" TO {both};
        CREATE SEQUENCE {s}.q; GRANT USAGE ON SEQUENCE {s}.q TO {both};
        CREATE TYPE {s}."y {n[1:-1]}" AS ENUM ('a'); GRANT USAGE ON TYPE {s}."y {n[1:-1]}" TO {both};
        CREATE FUNCTION {s}.{n}() RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION {s}.{n}({n} {s}."y {n[1:-1]}", b numeric(5,2)[], OUT c int) LANGUAGE sql AS 'SELECT 1';
        CREATE PROCEDURE {s}."p {n[1:-1]}"(a int, "char") LANGUAGE sql AS 'SELECT 1';
        CREATE AGGREGATE {s}."g {n[1:-1]}"(int) (SFUNC = int4pl, STYPE = int);
        GRANT EXECUTE ON ALL ROUTINES IN SCHEMA {s} TO {both};
        GRANT USAGE ON LANGUAGE plpgsql TO {both};
        SELECT lo_create(4711); GRANT SELECT ON LARGE OBJECT 4711 TO {both};
        CREATE FOREIGN DATA WRAPPER {n}; GRANT USAGE ON FOREIGN DATA WRAPPER {n} TO {both};
        CREATE SERVER {n} FOREIGN DATA WRAPPER {n}; GRANT USAGE ON FOREIGN SERVER {n} TO {both};
        ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(role)} IN SCHEMA {s} GRANT SELECT ON TABLES TO {both};
        ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(role)} GRANT EXECUTE ON FUNCTIONS TO {both};
        ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO {both};
        """,
        database=database,
    )


def check_postgresql(server: PostgresServer, database: str, account: str, role: str, schema: str, name: str) -> None:
    if len({account, role, "mallory"}) < 3 or database in ("postgres", "template0", "template1"):
        return
    server.reset()
    target = server.collector(level="C")
    make_postgresql(server, database, account, role, schema, name)
    ((oid,),) = server.execute("SELECT oid::text FROM pg_roles WHERE rolname = %s", (account,))
    before = catalogue(server, database, "postgres")
    _, remedy = remedy_of(target, (account, ""))
    text = "\n".join(remedy.statements)
    assert not any(hidden in statement for statement in remedy.statements for hidden in HIDDEN)
    said = paste(server, f"{text}\n")
    after = catalogue(server, database, "postgres")
    assert {row for row in before if row[3] != oid} == {row for row in after if row[3] != oid}, f"{text}\n{said}"
    if not any(hidden in name_ for name_ in (database, account, role, schema, name) for hidden in HIDDEN):
        assert {row for row in after if row[3] == oid and row[1] != "role"} == set(), f"{text}\n{said}"
        assert server.execute(
            "SELECT rolcanlogin, rolcreatedb, rolcreaterole FROM pg_authid WHERE oid = %s::oid", (oid,)
        ) == [(False, False, False)]
        assert "ERROR" not in said
    else:
        assert remedy.by_hand


PG_WORLD = given(database=names(63), account=names(63), role=names(63), schema=names(63), name=names(58))
HOSTILE = "x\nALTER ROLE mallory SUPERUSER; --"
QUOTES = """'`"\\$$"""
FEW = settings(
    max_examples=6, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
MANY = settings(FEW, max_examples=150)


@FEW
@PG_WORLD
@example(database="d", account="alice", role="team", schema="s", name=HOSTILE)
@example(database=HOSTILE, account=QUOTES, role=HOSTILE, schema="a.b", name="t")
@example(database="d", account=HOSTILE, role="team", schema="s", name="t")
@example(database="host=h ' \\", account="a b ", role=" R", schema="(s)", name="f(int)")
def test_psql_does_what_is_claimed_and_nothing_else(postgres: PostgresServer, **world: str) -> None:
    """Fault 1, F7.11"""
    check_postgresql(postgres, **world)


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
@MANY
@PG_WORLD
def test_psql_with_many_names(postgres: PostgresServer, **world: str) -> None:
    """Fault 1, F7.11"""
    check_postgresql(postgres, **world)


@pytest.mark.parametrize("carol", ["carol", """C"; '\\\\$$ --""", "PUBLIC"])
def test_what_other_grantors_gave_is_taken(postgres: PostgresServer, carol: str) -> None:
    """Fault 1, F7.11: rights and memberships end, whoever granted them, and so does what the account passed on."""
    server = postgres
    server.reset()
    target = server.collector(level="C")
    server.fresh_database("shop")
    c = identifier(carol)
    server.execute(
        f"""
        CREATE ROLE alice LOGIN; CREATE ROLE "Bob; --"; CREATE ROLE team; CREATE ROLE {c}; CREATE ROLE dave;
        CREATE ROLE erin; CREATE ROLE shopkeeper;
        GRANT team TO "Bob; --", alice, {c} WITH ADMIN OPTION;
        SET ROLE "Bob; --"; GRANT team TO alice WITH ADMIN OPTION; SET ROLE {c}; GRANT team TO alice; RESET ROLE;
        GRANT CREATE ON DATABASE shop TO {c} WITH GRANT OPTION;
        SET ROLE {c}; GRANT CREATE ON DATABASE shop TO alice; RESET ROLE;
        SET ROLE alice; GRANT team TO dave; RESET ROLE;
        """
    )
    server.execute(
        f"""
        CREATE TABLE t (a int); ALTER TABLE t OWNER TO shopkeeper; CREATE TABLE own (a int);
        ALTER TABLE own OWNER TO alice;
        GRANT SELECT, UPDATE (a) ON t TO {c}, erin WITH GRANT OPTION; GRANT SELECT ON t TO alice WITH GRANT OPTION;
        SET ROLE {c}; GRANT SELECT, UPDATE (a) ON t TO alice;
        SET ROLE erin; GRANT SELECT ON t TO alice WITH GRANT OPTION;
        SET ROLE alice; GRANT SELECT ON t TO dave; RESET ROLE;
        """,
        database="shop",
    )
    subject, _ = remedy_of(target, ("alice", ""))
    grants = [
        Held("database", "CREATE", "shop", "shop", grantors=(carol,)),
        Held("table", "SELECT", "shop.public.t", "shop", grantable=True, grantors=(carol, "erin")),
        Held("column", "UPDATE", "shop.public.t.a", "shop", grantors=(carol,)),
        Held("table", "OWNER", "shop.public.own", "shop"),
        Held("routine", "EXECUTE", "shop.pg_catalog.lower(text)", "shop", denied=True),
    ]
    remedy = take_away(subject, grants, [("team", "")])
    said = paste(server, "\n".join(remedy.statements) + "\n")
    assert "ERROR" not in said
    assert server.execute("SELECT count(*) FROM pg_auth_members WHERE member = 'alice'::regrole") == [(0,)]
    assert set(remedy.by_hand) == {OWNER, DEPENDENT, OTHER_GRANTORS}
    left = said.rpartition("left")[2]
    assert "rights on" not in left
    assert "owner of | table own" in " ".join(left.split())
    may = "SELECT r, has_table_privilege(r, 't', 'SELECT') FROM unnest(%s) r"
    roles = ["alice", carol, "dave", "erin"]
    expected = {"alice": False, carol: True, "dave": False, "erin": True}
    assert dict(server.execute(may, (roles,), database="shop")) == expected
    # From 16 on, whom the account let into a role leaves with it.
    assert server.execute("SELECT pg_has_role('dave', 'team', 'MEMBER')") == [(server.major < 16,)]
    server.reset()


def test_public_in_postgresql(postgres: PostgresServer) -> None:
    """Fault 1, F7.11"""
    server = postgres
    server.reset()
    server.fresh_database('a"b')
    server.execute("CREATE TABLE t (a int); GRANT SELECT ON t TO PUBLIC", database='a"b')
    public = Subject("postgresql", "public", kind="public")
    grants = [
        Held("database", "CONNECT", dotted('a"b'), 'a"b'),
        Held("table", "SELECT", dotted('a"b', "public", "t"), 'a"b'),
        Held("routine", "EXECUTE", dotted('a"b', "pg_catalog", "lower") + "(text)", 'a"b'),
    ]
    said = paste(server, "\n".join(take_away(public, grants, []).statements) + "\n")
    assert "ERROR" not in said
    assert server.execute("SELECT datacl::text ~ '[{,]=[^/]*c' FROM pg_database WHERE datname = 'a\"b'") == [(False,)]
    assert server.execute("SELECT relacl::text ~ '[{,]=' FROM pg_class WHERE relname = 't'", database='a"b') == [
        (False,)
    ]
    server.reset()


# MySQL and MariaDB


def rows(server: MysqlFamilyServer) -> set[tuple[Any, ...]]:
    """What the grant tables hold, without passwords and times."""
    columns = {
        "global_priv": "Host, User, JSON_REMOVE(Priv, '$.authentication_string', '$.password_last_changed', '$.version_id')",
        "user": "Host, User, CONCAT_WS(',', Select_priv, Super_priv, Reload_priv, Grant_priv, account_locked, User_attributes)",
        "db": "Host, User, db.*",
        "columns_priv": "Host, User, Db, Table_name, Column_name, Column_priv",
        "tables_priv": "Host, User, Db, Table_name, Table_priv, Column_priv",
        "procs_priv": "Host, User, Db, Routine_name, Routine_type, Proc_priv",
        "proxies_priv": "Host, User, Proxied_host, Proxied_user, With_grant",
    }
    return {
        (table, *map(str, row))
        for table in server.grant_tables
        if table != "password_history"
        for row in server.execute(f"SELECT {columns.get(table, '*')} FROM mysql.{table}")
    }


def of_account(server: MysqlFamilyServer, row: tuple[Any, ...], name: str) -> bool:
    """Whether the row says what the account has, and not who has it."""
    table, *fields = row
    if table in ("role_edges", "default_roles"):
        return fields[3 if table == "role_edges" else 1] == name
    # Both servers encode what is not ASCII twice in procs_priv.
    twice = "".join(
        chr(b) if b in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([b]).decode("cp1252") for b in name.encode()
    )
    return fields[0 if table == "global_grants" else 1] in ((name, twice) if table == "procs_priv" else (name,))


def make_mysql(server: MysqlFamilyServer, database: str, account: str, role: str, table: str, routine: str) -> None:
    mariadb = server.product == "MariaDB"
    d, t, r = backticks(database), backticks(table), backticks(routine)
    pattern = backticks(database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%"))
    granted = backticks(role) if mariadb else f"{backticks(role)}@`%`"
    server.execute(
        f"CREATE DATABASE {d}; CREATE TABLE {d}.{t} ({t} INT, second INT); CREATE ROLE {granted};"
        f"CREATE PROCEDURE {d}.{r}() SELECT 1; CREATE FUNCTION {d}.{r}() RETURNS INT DETERMINISTIC RETURN 1"
    )
    dynamic = "BINLOG ADMIN" if mariadb else "BINLOG_ADMIN"
    for who in (f"{backticks(account)}@`%`", "mallory@`%`"):
        for statement in (
            f"CREATE USER {who}",
            f"GRANT RELOAD, SELECT ON *.* TO {who} WITH GRANT OPTION",
            f"GRANT {dynamic} ON *.* TO {who} WITH GRANT OPTION",
            f"GRANT INSERT ON {pattern}.* TO {who} WITH GRANT OPTION",
            f"GRANT UPDATE ON `sh_p%`.* TO {who}",
            f"GRANT DELETE ON {d}.{t} TO {who} WITH GRANT OPTION",
            f"GRANT SELECT (second), UPDATE ({t}) ON {d}.{t} TO {who}",
            f"GRANT EXECUTE ON PROCEDURE {d}.{r} TO {who} WITH GRANT OPTION",
            f"GRANT ALTER ROUTINE ON FUNCTION {d}.{r} TO {who}",
            f"GRANT PROXY ON {backticks(role + 'x')}@`10.%` TO {who} WITH GRANT OPTION",
            f"GRANT {granted} TO {who} WITH ADMIN OPTION",
        ):
            server.execute(statement)
    server.execute("CREATE USER `keep`@`%`; GRANT SELECT ON *.* TO `keep`@`%`")


def check_mysql(server: MysqlFamilyServer, database: str, account: str, role: str, table: str, routine: str) -> None:
    if len({account.lower(), role.lower(), role.lower() + "x", "mallory", "keep", "taifish_collector"}) < 6:
        return
    if database.lower() in ("mysql", "sys") or role.upper() in ("PUBLIC", "NONE") or account.upper() == "PUBLIC":
        return
    server.reset()
    target = server.collector(level="C")
    make_mysql(server, database, account, role, table, routine)
    before = rows(server)
    _, remedy = remedy_of(target, (account, "%"))
    assert not any(hidden in statement for statement in remedy.statements for hidden in HIDDEN)
    text = "\n".join(remedy.statements)
    said = paste(server, f"{text}\n")
    after = rows(server)
    others = {row for row in before if not of_account(server, row, account)}
    assert others == {row for row in after if not of_account(server, row, account)}, f"{text}\n{said}"
    if any(hidden in name for name in (account, role) for hidden in HIDDEN):
        assert remedy.by_hand or server.product == "MariaDB"
        return
    assert "ERROR" not in said, f"{text}\n{said}"
    left = {row[0] for row in after if of_account(server, row, account)}
    assert left == {"global_priv" if server.product == "MariaDB" else "user"}, f"{text}\n{said}"
    who = f"{backticks(account)}@`%`"
    assert [row for (row,) in server.execute(f"SHOW GRANTS FOR {who}") if "USAGE ON *.*" not in row] == []
    assert "ACCOUNT LOCK" in server.execute(f"SHOW CREATE USER {who}")[0][0]


def names_of_mysql(longest: int, *, hidden: bool = True) -> st.SearchStrategy[str]:
    return names(longest, hidden=hidden).filter(lambda name: name == name.strip() and len(name) <= longest)


MY_WORLD = given(
    database=names_of_mysql(40),
    account=names_of_mysql(30),
    role=names_of_mysql(30),
    table=names_of_mysql(40),
    routine=names_of_mysql(40),
)
MY_HOSTILE = "x\n;DROP USER mallory; --"


@FEW
@MY_WORLD
@example(database="sh_p", account="alice", role="team", table=MY_HOSTILE, routine=MY_HOSTILE)
@example(database="a%b\\", account=QUOTES, role="r\\", table="t", routine="ä")
@example(database="d", account="a\\", role=MY_HOSTILE, table="t", routine="r")
@example(database="d.b", account="x\n;GRANT ALL ON *.* TO root;", role="r", table="t", routine="r")
def test_mysql_does_what_is_claimed_and_nothing_else(mysql_family: MysqlFamilyServer, **world: str) -> None:
    """Fault 1, F7.11"""
    check_mysql(mysql_family, **world)
    mysql_family.reset()


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
@MANY
@MY_WORLD
def test_mysql_with_many_names(mysql_family: MysqlFamilyServer, **world: str) -> None:
    """Fault 1, F7.11"""
    check_mysql(mysql_family, **world)


@pytest.mark.parametrize("mode", ["ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES", ""])
def test_any_sql_mode_of_the_session(mysql_family: MysqlFamilyServer, mode: str) -> None:
    """Fault 1, F7.11"""
    server = mysql_family
    server.reset()
    server.execute(f"SET GLOBAL sql_mode = '{mode}'")
    try:
        check_mysql(server, database="a\\'b", account="it's \\\"` \\", role="r'\\", table='t"\\', routine="p`\\")
    finally:
        server.execute("SET GLOBAL sql_mode = DEFAULT")
        server.reset()


def test_partial_revokes(private_mysql: MysqlFamilyServer) -> None:
    """Fault 1, F7.11: the server then takes names of databases literally, and refuses escaped ones."""
    server = private_mysql
    server.execute("SET GLOBAL partial_revokes = ON; CREATE DATABASE `shop_a`; CREATE USER alice; CREATE USER mallory")
    for who in ("alice", "mallory"):
        server.execute(f"GRANT SELECT ON `shop_a`.* TO {who}; GRANT INSERT ON *.* TO {who}")
        server.execute(f"REVOKE INSERT ON `shop_a`.* FROM {who}")
    target = server.collector(level="C")
    before = rows(server)
    _, remedy = remedy_of(target, ("alice", "%"))
    assert "ERROR" not in paste(server, "\n".join(remedy.statements))
    after = rows(server)
    assert {row for row in before if row[2] != "alice"} == {row for row in after if row[2] != "alice"}
    assert {row[0] for row in after if row[2] == "alice"} == {"user"}
    assert server.execute("SHOW GRANTS FOR alice") == [("GRANT USAGE ON *.* TO `alice`@`%`",)]


def test_roles_and_public_of_mariadb(mariadb: MysqlFamilyServer) -> None:
    """Fault 1, F7.11: they have no host, also in REVOKE."""
    server = mariadb
    server.reset()
    server.execute(
        """
        CREATE DATABASE d; CREATE TABLE d.t (a INT); CREATE ROLE `te"am'`; CREATE ROLE inner_role; GRANT inner_role TO `te"am'`;
        GRANT SELECT ON d.* TO `te"am'`; GRANT INSERT (a) ON d.t TO `te"am'`; GRANT RELOAD ON *.* TO `te"am'`;
        GRANT SELECT ON d.* TO PUBLIC; GRANT UPDATE ON d.t TO PUBLIC; GRANT inner_role TO PUBLIC;
        """
    )
    target = server.collector(level="C")
    for key in (("te\"am'", ""), ("PUBLIC", "")):
        _, remedy = remedy_of(target, key)
        assert "ERROR" not in paste(server, "\n".join(remedy.statements))
        assert {row[0] for row in rows(server) if row[2] == key[0]} <= {"global_priv"}, remedy
    server.reset()


def test_rows_without_an_account(mysql_family: MysqlFamilyServer) -> None:
    """Fault 1: REVOKE refuses these rows of mysql.db, and it is said."""
    server = mysql_family
    server.reset()
    server.execute("INSERT INTO mysql.db (Host, Db, User, Select_priv) VALUES ('%', 'd', '', 'Y'); FLUSH PRIVILEGES")
    _, remedy = remedy_of(server.collector(level="C"), ("", "%"))
    assert remedy == Remedy([], [NO_ACCOUNT])
    server.reset()


# Oracle, and what holds for all


@pytest.mark.parametrize("engine", ["postgresql", "mysql", "oracle"])
@given(name=names(60), host=names(20))
def test_no_name_is_in_what_is_to_be_done_by_hand(engine: str, name: str, host: str) -> None:
    """Fault 1: sentences hold numbers and digests only; statements nothing that is not shown."""
    subject = Subject(engine, name, "" if engine == "postgresql" else host, native_id="4711")
    for kind in ("database", "table", "routine", "foreign", "default", "attribute", "odd"):
        scope = dotted(
            *{"foreign": ("d", "server", name), "default": ("d", name, "", "odd")}.get(kind, ("d", "s", name))
        )
        remedy = take_away(subject, [Held(kind, name, scope, "d"), Held(kind, "SELECT", scope, "d")], [(name, host)])
        for sentence in (*remedy.by_hand, *lock(subject).by_hand):
            assert sentence.isprintable()
            # Capital words pass as a privilege, which sentences name.
            assert len(name) < 3 or re.fullmatch("[A-Z0-9_ ]+", name) or name not in sentence
            assert ";" not in sentence
            assert sentence.count("'") % 2 == 0
        for statement in remedy.statements:
            assert not any(hidden in statement for hidden in HIDDEN)
            assert statement.isprintable()


def test_oracle_statements() -> None:
    """Read, not run: there is no server here. SQL*Plus would ask for the value of &x, and take the next line for it."""
    grants = [
        Held("system", "DROP ANY TABLE", "", "PDB1"),
        Held("table", "SELECT", 'PDB1.HR."odd &name"', "PDB1"),
        Held("tablespace", "QUOTA", "PDB1.USERS", "PDB1"),
        Held("system", "CREATE SESSION FROM X; GRANT DBA", "", "PDB1"),
    ]
    remedy = take_away(Subject("oracle", "APP", "PDB1"), grants, [("R", "PDB1")])
    assert remedy.statements == [
        "SET DEFINE OFF",
        "ALTER SESSION SET CONTAINER = PDB1;",
        "ALTER USER APP ACCOUNT LOCK;",
        "REVOKE R FROM APP;",
        "REVOKE DROP ANY TABLE FROM APP;",
        'REVOKE SELECT ON HR."odd &name" FROM APP;',
    ]
    assert [sentence.partition(":")[0] for sentence in remedy.by_hand] == ["QUOTA on tablespace", "a right on system"]
    assert lock(Subject("oracle", 'a";x', "PDB1")).statements[-1] == 'ALTER USER "a;x" ACCOUNT LOCK;'
    assert lock(Subject("oracle", "R", "PDB1", "role")) == Remedy([], [])
    assert take_away(Subject("db2", "a"), grants, []) == Remedy([], [])


MYSQL = Subject("mysql", "ann", "%", product="MySQL")
ON_T = Held("table", "SELECT", "shop.public.t", "shop")


@pytest.mark.parametrize(
    ("subject", "held", "expected"),
    [
        (MYSQL, Held("table", "SELECT", "shop.t", "shop"), "REVOKE SELECT ON `shop`.`t` FROM `ann`@`%`;"),
        (MYSQL, Held("table", "SELECT", "shop.t", "shop", grantable=True), None),
        (MYSQL, Held("database", "SELECT", '"sh%"', "sh%"), None),
        (
            Subject("postgresql", "ann"),
            Held("database", "CONNECT", "shop", "shop"),
            'REVOKE CONNECT ON DATABASE "shop" FROM "ann";',
        ),
        (Subject("postgresql", "ann"), ON_T, 'REVOKE SELECT ON TABLE "public"."t" FROM "ann";'),
        (Subject("postgresql", "ann"), ON_T._replace(scope='shop.public."t\n;"'), None),
        (Subject("postgresql", "ann\n"), ON_T, None),
    ],
)
def test_one_right_is_taken_away_alone(subject, held, expected):
    """F9.5: an item of a review is about one right; without SQL for it alone, a sentence says where there is some."""
    remedy = take_one(subject, held)
    lines = [line for text in remedy.statements for line in text.splitlines() if line.startswith("REVOKE")]
    assert lines == ([expected] if expected else [])
    assert bool(remedy.by_hand) == (expected is None)


def test_one_membership_is_ended_alone():
    """Not those of other roles, which the SQL for the whole account ends too."""
    for subject, role in ((Subject("postgresql", "ann"), ("readers", "")), (MYSQL, ("r", "%"))):
        (statement,) = take_one(subject, role=role).statements
        assert statement.startswith("REVOKE ")
        assert not {"gexec", "ALL"} & {*re.findall(r"\w+", statement)}
    assert not take_one(Subject("postgresql", "ann"), role=("a\nb", "")).statements


def test_a_right_that_others_granted_is_said_to_be_so():
    assert take_one(Subject("postgresql", "ann"), ON_T._replace(grantors=("bob",))).by_hand == [GRANTED_BY_OTHERS]
