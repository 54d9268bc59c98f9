"""The check and the script of the collection account, on real servers, as the account that the script creates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from engines.errors import AdapterError
from engines.facts import Capability, Examination, Excess, Inventory, Permissions
from engines.mysql.borrowed import fits
from engines.mysql.user_table import user_columns
from engines.postgresql import errors
from engines.postgresql.errors import SIGNATURES, function
from engines.registry import ENGINES, adapter_for
from engines.target import Target
from engines.tests.test_mysql import assert_never_wrong, full, world
from taifish.tests.mariadb import MariadbServer, MysqlFamilyServer, MysqlServer
from taifish.tests.postgres import PostgresServer, identifier

#: The database that visits begin in.
BASE = "base"
NAME = """the "collector"'s `own` @ \\"""


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres
    postgres.reset()


@pytest.fixture
def family(mysql_family: MysqlFamilyServer) -> Iterator[MysqlFamilyServer]:
    yield mysql_family
    mysql_family.reset()


@pytest.fixture
def maria(mariadb: MariadbServer) -> Iterator[MariadbServer]:
    yield mariadb
    mariadb.reset()


@pytest.fixture
def own_mysql(mysql: MysqlServer) -> Iterator[MysqlServer]:
    yield mysql
    mysql.reset()


def examine(target: Target, hash_blind: bool = False) -> Examination:
    with adapter_for(target) as adapter:
        return adapter.examine(hash_blind)


def visit(target: Target) -> tuple[Inventory, Permissions]:
    with adapter_for(target) as adapter:
        return adapter.inventory(), adapter.permissions()


def outcome(target: Target) -> tuple[Inventory, Permissions] | AdapterError:
    """The facts of a visit, or what it failed with."""
    try:
        return visit(target)
    except AdapterError as error:
        return error


def failing(examination: Examination) -> list[Capability]:
    return [capability for capability in examination.capabilities if capability.works is False]


def unknown(examination: Examination) -> set[str]:
    return {capability.name for capability in examination.capabilities if capability.works is None}


def rights(excess: Sequence[Excess]) -> set[str]:
    return {found.right for found in excess}


# PostgreSQL


def superuser(server: PostgresServer, database: str = "postgres") -> Target:
    host = str(server.cluster.socket_dir)
    return server.target(server.cluster.superuser, "", host=host, level="C", database=database)


def furnish(server: PostgresServer) -> None:
    server.execute("CREATE ROLE team; CREATE ROLE alice LOGIN CREATEDB; GRANT team TO alice WITH ADMIN OPTION")
    server.execute("GRANT CREATE ON TABLESPACE pg_default TO alice")
    server.execute(
        """
        CREATE SCHEMA s; CREATE TABLE s.t (a int, b int); GRANT SELECT ON s.t TO team; GRANT UPDATE (a) ON s.t TO alice;
        CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION s.f() TO alice;
        """,
        database=server.fresh_database('sh"op'),
    )


#: What is taken away: statement, where, the capability that goes, and the statement that gives it back.
TAKEN = [
    ("REVOKE pg_read_all_stats FROM {}", BASE, "sizes of all databases", "GRANT pg_read_all_stats TO {};"),
    (
        'REVOKE CONNECT ON DATABASE "sh""op" FROM PUBLIC',
        BASE,
        'objects in database sh"op',
        'GRANT CONNECT ON DATABASE "sh""op" TO {};',
    ),
    *(
        (f"REVOKE SELECT ON {table} FROM PUBLIC", BASE, name, f"GRANT SELECT ON pg_catalog.{table} TO {{}};")
        for table, name in {
            "pg_roles": "users and roles",
            "pg_auth_members": "memberships",
            "pg_tablespace": "attributes, and grants on databases, tablespaces and parameters",
            "pg_database": "list of databases",
            "pg_shdepend": "rights of the account",
        }.items()
    ),
    *(
        (f"REVOKE {right} FROM PUBLIC", 'sh"op', 'objects in database sh"op', f"GRANT {given} TO {{}};")
        for right, given in {
            "SELECT ON pg_attribute": "SELECT ON pg_catalog.pg_attribute",
            "EXECUTE ON FUNCTION aclexplode": "EXECUTE ON FUNCTION pg_catalog.aclexplode",
            "USAGE ON SCHEMA pg_catalog": "USAGE ON SCHEMA pg_catalog",
        }.items()
    ),
]


@pytest.mark.parametrize(("take", "where", "name", "give"), TAKEN, ids=[taken[0] for taken in TAKEN])
def test_each_right_taken_from_postgresql(server: PostgresServer, take: str, where: str, name: str, give: str) -> None:
    """F1.5: no wrong fact; the check names the missing right, and granting it is enough."""
    furnish(server)
    server.fresh_database(BASE)
    target = server.collector(NAME, level="C", database=BASE)
    assert failing(examine(target)) == []
    server.execute(take.format(identifier(NAME)), database=where)
    inventory, permissions = visit(superuser(server, BASE))
    examination = examine(target)
    lost = next(capability for capability in failing(examination) if capability.name == name)
    assert lost.missing == give.format(identifier(NAME))
    assert lost.cost
    found = outcome(target)
    if isinstance(found, AdapterError):
        assert (found.code, found.missing) == ("denied", lost.missing)
    else:
        assert found[0].accounts == inventory.accounts
        assert set(found[1].memberships) == set(permissions.memberships)
        gone = {(gap.scope, gap.database) for gap in found[1].gaps}
        assert set(found[1].grants) == {g for g in permissions.grants if (g.kind, g.database) not in gone}
    server.execute(lost.missing, database=lost.database or BASE)
    again = examine(target)
    assert (failing(again), unknown(again), again.excess) == ([], set(), [])
    assert not visit(target)[1].gaps


def test_the_script_has_what_is_missing(server: PostgresServer) -> None:
    target = server.collector(NAME)
    statements = [statement.sql for statement in ENGINES["postgresql"].script("C", (NAME, ""))]
    server.execute(f"REVOKE pg_read_all_stats FROM {identifier(NAME)}")
    assert [capability.missing for capability in failing(examine(target))] == statements[1:]


def test_an_account_that_may_not_log_in(server: PostgresServer) -> None:
    target = server.collector(NAME)
    server.execute(f"ALTER ROLE {identifier(NAME)} NOLOGIN")
    with pytest.raises(AdapterError) as caught:
        examine(target)
    assert caught.value.missing == f"ALTER ROLE {identifier(NAME)} LOGIN;"
    server.execute(caught.value.missing)
    assert failing(examine(target)) == []


@pytest.mark.parametrize("held", [True, False])
def test_a_role_that_is_not_inherited_is_of_no_use(server: PostgresServer, held: bool) -> None:
    target = server.collector(NAME)
    role = identifier(NAME)
    server.execute(f"REVOKE pg_read_all_stats FROM {role}; ALTER ROLE {role} NOINHERIT")
    if held:
        server.execute(f"GRANT pg_read_all_stats TO {role}")
    (lost,) = failing(examine(target))
    assert lost.name == "sizes of all databases"
    server.execute(lost.missing)
    assert failing(examine(target)) == []


def test_what_follows_a_lost_connection_is_unknown_and_not_missing(server: PostgresServer) -> None:
    target = server.collector(NAME, level="B")
    with adapter_for(target) as adapter:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [NAME])
        examination = adapter.examine()
    assert failing(examination) == []
    assert {capability.works for capability in examination.capabilities[1:]} == {None}
    assert not any(capability.missing for capability in examination.capabilities)


def test_databases_left_out_are_named(server: PostgresServer) -> None:
    server.execute(f"ALTER DATABASE {server.fresh_database('model')} IS_TEMPLATE true")
    examination = examine(server.collector(level="B"))
    (listed,) = [capability for capability in examination.capabilities if capability.name == "list of databases"]
    assert listed.message == "1 to visit; database model is a template: grants on objects in it stay unknown"
    assert failing(examination) == []


def test_functions_that_measure_are_tried(server: PostgresServer) -> None:
    """EXECUTE on pg_database_size may be revoked from PUBLIC; the check says so, with the GRANT."""
    target = server.collector(NAME, database=server.fresh_database(BASE))
    for name in ("pg_database_size", "pg_tablespace_size"):
        server.execute(f"REVOKE EXECUTE ON FUNCTION {name}(oid) FROM PUBLIC", database=BASE)
        (lost,) = failing(examine(target))
        signature = f"pg_catalog.{name}(oid)"
        assert lost.message == f"may not execute {signature}"
        assert lost.missing == f"GRANT EXECUTE ON FUNCTION {signature} TO {identifier(NAME)};"
        server.execute(lost.missing, database=BASE)
        assert failing(examine(target)) == []


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_functions_of_the_same_name_are_granted_by_signature(server: PostgresServer, name: str) -> None:
    """The printed GRANT is valid although several functions have the name."""
    server.execute(f"CREATE ROLE {identifier(NAME)}")
    server.execute(f"GRANT EXECUTE ON FUNCTION {function(name)} TO {identifier(NAME)}")


#: Words before a parenthesis in the engine's modules that are Python's, and SQL's with one signature too.
NOT_IN_SQL = {"bool", "ceil", "format", "max", "min", "upper"}


def test_every_function_with_several_signatures_is_known(server: PostgresServer) -> None:
    """A GRANT without argument types fails for these."""
    modules = Path(errors.__file__).parent.glob("*.py")
    words = {word for module in modules for word in re.findall(r"\b([a-z_]+)\(", module.read_text())} - NOT_IN_SQL
    with server.superuser() as cursor:
        cursor.execute(
            "SELECT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%s)"
            " GROUP BY proname HAVING count(*) > 1",
            [sorted(words)],
        )
        assert {name for (name,) in cursor.fetchall()} <= SIGNATURES.keys()


def test_a_role_that_inherits_nothing_has_no_right_beyond_need(server: PostgresServer) -> None:
    """NOINHERIT, an attribute up to 15, takes rights away."""
    target = server.collector(NAME)
    server.execute(f"ALTER ROLE {identifier(NAME)} NOINHERIT")
    assert examine(target).excess == []


@pytest.mark.parametrize("kind", ["ROLE", "DATABASE"])
@pytest.mark.parametrize("limit", [0, 20])
def test_a_connection_limit_has_a_statement_that_only_raises_it(server: PostgresServer, kind: str, limit: int) -> None:
    """The limit of a role or a database is no matter of max_connections. The one that an administrator chose is
    raised by what Taifish needs, and not lowered nor removed; without a limit, nothing changes."""
    database = server.fresh_database("s'h\"op$$\\")
    target = server.collector(NAME, database=database)
    name = identifier(NAME if kind == "ROLE" else database)
    server.execute(f"ALTER {kind} {name} CONNECTION LIMIT {limit}")
    with ExitStack() as held:
        for _ in range(limit):
            held.enter_context(adapter_for(target))
        with pytest.raises(AdapterError) as caught:
            examine(target)
        assert (caught.value.code, "Adds the 10 connections" in caught.value.missing) == ("too_many_connections", True)
        server.execute(caught.value.missing)
        assert failing(examine(target)) == []
    limits = "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s"
    if kind == "DATABASE":
        limits = "SELECT datconnlimit FROM pg_database WHERE datname = %s"
    with server.superuser() as cursor:
        cursor.execute(limits, [NAME if kind == "ROLE" else database])
        assert cursor.fetchall() == [(limit + 10,)]
        cursor.execute(f"ALTER {kind} {name} CONNECTION LIMIT -1")
        cursor.execute(caught.value.missing)
        cursor.execute(limits, [NAME if kind == "ROLE" else database])
        assert cursor.fetchall() == [(-1,)]


#: Rights beyond need: statement, database, and the right in the check. {} is the account.
GIVEN = [
    ("ALTER ROLE {} SUPERUSER", "postgres", "SUPERUSER"),
    ("ALTER ROLE {} CREATEROLE", "postgres", "CREATEROLE"),
    ("ALTER ROLE {} CREATEDB", "postgres", "CREATEDB"),
    ("ALTER ROLE {} REPLICATION", "postgres", "REPLICATION"),
    ("ALTER ROLE {} BYPASSRLS", "postgres", "BYPASSRLS"),
    ("GRANT pg_monitor TO {}", "postgres", "member of pg_monitor"),
    ("GRANT pg_read_all_data TO {}", "postgres", "member of pg_read_all_data"),
    ("GRANT team TO {}; GRANT pg_write_all_data TO team", "postgres", "member of pg_write_all_data"),
    ("GRANT team TO {}; ALTER ROLE team CREATEROLE", "postgres", "CREATEROLE"),
    ("GRANT team TO alice; GRANT alice TO {}", "postgres", "CREATEDB"),
    ("GRANT pg_read_all_stats TO {} WITH ADMIN OPTION", "postgres", "ADMIN OPTION on pg_read_all_stats"),
    ('GRANT CREATE ON DATABASE "sh""op" TO {}', "postgres", 'CREATE on database sh"op'),
    (
        'GRANT CONNECT ON DATABASE "sh""op" TO {} WITH GRANT OPTION',
        "postgres",
        'CONNECT on database sh"op with grant option',
    ),
    ('ALTER DATABASE "sh""op" OWNER TO {}', "postgres", 'OWNER on database sh"op'),
    ("GRANT CREATE ON TABLESPACE pg_default TO {}", "postgres", "CREATE on tablespace pg_default"),
    ("GRANT SELECT ON pg_authid TO {}", "postgres", "SELECT on pg_authid"),
    ("GRANT SELECT (passwd) ON pg_shadow TO {}", "postgres", "SELECT on pg_shadow"),
    ("GRANT SELECT ON s.t TO {}", 'sh"op', "rights on table s.t"),
    ("GRANT INSERT (a) ON s.t TO {}", 'sh"op', "rights on table s.t"),
    ("GRANT EXECUTE ON FUNCTION s.f() TO {}", 'sh"op', "rights on function s.f()"),
    ("GRANT CREATE ON SCHEMA s TO {}", 'sh"op', "rights on schema s"),
    ("ALTER TABLE s.t OWNER TO {}", 'sh"op', "OWNER of table s.t"),
    (
        "ALTER DEFAULT PRIVILEGES FOR ROLE alice IN SCHEMA s GRANT INSERT ON TABLES TO {}",
        'sh"op',
        "rights on default acl for role alice in schema s on tables",
    ),
]


@pytest.mark.parametrize(("give", "where", "right"), GIVEN, ids=[given[0] for given in GIVEN])
def test_each_right_beyond_need_on_postgresql(server: PostgresServer, give: str, where: str, right: str) -> None:
    """It is named, and its remedy takes it away and nothing that is needed."""
    if "_all_data" in give and server.major < 14:
        pytest.skip("pg_read_all_data and pg_write_all_data came with PostgreSQL 14")
    furnish(server)
    server.execute("REVOKE team FROM alice")
    target = server.collector(NAME, level="C")
    server.execute(give.format(identifier(NAME)), database=where)
    found = examine(target).excess
    assert right in rights(found)
    for remedy, database in dict.fromkeys((excess.remedy, excess.database) for excess in found):
        server.execute(remedy, database=database or "postgres")
    again = examine(target)
    assert (again.excess, failing(again), unknown(again)) == ([], [], set())


def test_parameters_beyond_need(server: PostgresServer) -> None:
    if server.major < 15:
        pytest.skip("no rights on parameters before 15")
    target = server.collector(NAME)
    server.execute(f"GRANT ALTER SYSTEM ON PARAMETER work_mem TO {identifier(NAME)}")
    (excess,) = examine(target).excess
    assert excess.right == "ALTER SYSTEM on parameter work_mem"
    server.execute(excess.remedy)
    assert examine(target).excess == []


def test_a_role_that_gives_what_is_needed_is_not_beyond_it(server: PostgresServer) -> None:
    """And when it gives more, leaving it costs nothing that is needed."""
    target = server.collector(NAME, level="B")
    role = identifier(NAME)
    server.fresh_database("shop")
    server.execute(
        f"""
        CREATE ROLE readers; GRANT pg_read_all_stats TO readers; GRANT readers TO {role};
        REVOKE pg_read_all_stats FROM {role}; REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
        GRANT CONNECT ON DATABASE shop TO readers
        """
    )
    assert (examine(target).excess, failing(examine(target))) == ([], [])
    server.execute("GRANT CREATE ON DATABASE shop TO readers")
    (excess,) = examine(target).excess
    assert excess.message.endswith("it comes with the role readers.")
    server.execute(excess.remedy)
    again = examine(target)
    assert (again.excess, failing(again)) == ([], [])


def test_a_role_granted_by_somebody_else_is_revoked_from_them(server: PostgresServer) -> None:
    target = server.collector(NAME)
    server.execute("CREATE ROLE chief; GRANT pg_monitor TO chief WITH ADMIN OPTION")
    server.execute(f"SET ROLE chief; GRANT pg_monitor TO {identifier(NAME)}")
    (excess,) = examine(target).excess
    server.execute(excess.remedy)
    assert examine(target).excess == []


def test_the_servers_own_superuser_is_told_to_stay_away(server: PostgresServer) -> None:
    examination = examine(superuser(server))
    (excess,) = examination.excess
    assert (excess.right, failing(examination)) == ("SUPERUSER", [])
    server.execute(excess.remedy)
    assert server.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'taifish_collector'") == [(False,)]


# MariaDB and MySQL


def account(name: str) -> str:
    return "`" + name.replace("`", "``") + "`@`%`"


def script(product: str, hash_blind: bool) -> list[str]:
    """The GRANTs of the script, without what makes the account."""
    account = ("taifish_collector", "%")
    statements = ENGINES["mysql"].script("C", account, product=product, hash_blind=hash_blind)
    return [statement.sql for statement in statements[1:]]


def revoke(grant: str) -> str:
    return re.sub(r"^GRANT (.*) TO ", r"REVOKE \1 FROM ", grant)


def repair(server: MysqlFamilyServer, target: Target, tolerated: Sequence[str] = ()) -> list[str]:
    """Run the statements that the check finds missing until none is missing; returns them."""
    run: list[str] = []
    for _ in range(3):
        lost = [capability for capability in failing(examine(target)) if capability.name not in tolerated]
        for capability in lost:
            server.execute(capability.missing)
        run += [capability.missing for capability in lost]
    assert [capability.name for capability in failing(examine(target))] == list(tolerated)
    return run


#: Product → what the account lacks that may see no hash.
HIDDEN = {
    "MariaDB": ["lock, age and method of passwords, newer privileges"],
    "MySQL": ["roles apart from locked users"],
}

#: Product → the tables of the script, that of the accounts first.
TABLES = {
    "MariaDB": ("global_priv", "db", "proxies_priv", "roles_mapping", "tables_priv", "procs_priv", "columns_priv"),
    "MySQL": (
        *("user", "db", "proxies_priv", "role_edges", "default_roles", "global_grants"),
        *("tables_priv", "procs_priv", "columns_priv"),
    ),
}


def test_the_script_is_all_that_is_asked(family: MysqlFamilyServer) -> None:
    world(family)
    target = family.collector(NAME, level="C")
    inventory, permissions = visit(target)
    assert inventory.gaps == permissions.gaps == []
    examination = examine(target)
    assert (failing(examination), unknown(examination), examination.excess) == ([], set(), [])


def test_each_grant_taken(family: MysqlFamilyServer) -> None:
    """F1.5: without it a visit fails; the check names each table, PROCESS and SHOW DATABASES."""
    world(family)
    tables = TABLES[family.product]
    for grant in script(family.product, hash_blind=False):
        target = family.collector(level="C")
        family.execute(revoke(grant))
        lost = failing(examine(target))
        assert all(capability.cost for capability in lost)
        if "mysql.*" in grant:
            assert unknown(examine(target)) == {"fields of accounts"}
            with pytest.raises(AdapterError, match=tables[0]) as caught:
                visit(target)
            assert caught.value.missing in {capability.missing for capability in lost}
            assert {capability.missing for capability in lost} == {
                f"GRANT SELECT ON mysql.{table} TO {account('taifish_collector')};" for table in tables
            }
        else:
            assert [capability.missing for capability in lost] == [grant]
            assert visit(target)[1].gaps == []
        repair(family, target)


def test_each_grant_taken_from_the_hash_blind(family: MysqlFamilyServer) -> None:
    """F1.5: no wrong fact; the check names exactly the statement of the script."""
    world(family)
    truth, hidden = full(family), HIDDEN[family.product]
    target = family.collector(level="C", hash_blind=True)
    assert [capability.name for capability in failing(examine(target))] == hidden
    for grant in script(family.product, hash_blind=True)[1:]:
        family.execute(revoke(grant))
        found = visit(target)
        assert_never_wrong(*found, truth, {gap.scope for gap in (*found[0].gaps, *found[1].gaps)})
        assert repair(family, target, hidden) == [grant]


@pytest.mark.slow
def test_each_column_taken_from_the_hash_blind(family: MysqlFamilyServer) -> None:
    """F1.5"""
    world(family)
    truth, on_mariadb = full(family), family.product == "MariaDB"
    target = family.collector(level="C", hash_blind=True)
    for column in sorted(user_columns(is_mariadb=on_mariadb, has_roles=not on_mariadb)):
        grant = f"GRANT SELECT ({column}) ON mysql.user TO {account('taifish_collector')};"
        family.execute(revoke(grant))
        found = outcome(target)
        if isinstance(found, AdapterError):
            assert (column in ("User", "Host"), found.missing) == (True, grant)
        else:
            assert_never_wrong(*found, truth, {gap.scope for gap in (*found[0].gaps, *found[1].gaps)})
        assert repair(family, target, HIDDEN[family.product]) == [grant]


def test_what_hash_blindness_costs_can_be_bought_back(family: MysqlFamilyServer) -> None:
    family.execute("CREATE ROLE app; CREATE ROLE team; GRANT app TO team")
    target = family.collector(hash_blind=True)
    (lost,) = failing(examine(target))
    assert ([lost.name], "password hashes" in lost.cost) == (HIDDEN[family.product], True)
    assert [gap.scope for gap in visit(target)[0].gaps] == ["account fields"]
    family.execute(lost.missing)
    inventory, permissions = visit(target)
    assert (failing(examine(target)), inventory.gaps, permissions.gaps) == ([], [], [])
    (beyond,) = examine(target, hash_blind=True).excess
    if family.product == "MariaDB":
        assert beyond.right == "SELECT on `mysql`.`global_priv`"
    else:
        assert "`authentication_string`" in beyond.right
        family.execute(beyond.remedy)
        assert [capability.name for capability in failing(examine(target))] == HIDDEN["MySQL"]


#: Rights beyond need, and the right in the check. MySQL writes roles with their host.
GIVEN_TO_BOTH = {
    "GRANT ALL ON *.* TO {} WITH GRANT OPTION": "GRANT OPTION on *.*",
    "GRANT SUPER, FILE ON *.* TO {}": "FILE, SUPER on *.*",
    "GRANT SELECT ON *.* TO {}": "SELECT on *.*",
    "GRANT INSERT ON mysql.* TO {}": "INSERT on `mysql`.*",
    "GRANT ALL ON mysql.* TO {}": "ALL PRIVILEGES on `mysql`.*",
    "GRANT SELECT ON mysql.* TO {} WITH GRANT OPTION": "GRANT OPTION on `mysql`.*",
    "GRANT SELECT ON `sh``op\"'`.* TO {}": "SELECT on `sh``op\"'`.*",
    "GRANT SELECT (a), INSERT (`) TO b``,`), UPDATE ON `sh``op\"'`.t TO {}": (
        "INSERT (`) TO b``,`), SELECT (`a`), UPDATE on `sh``op\"'`.`t`"
    ),
    "GRANT EXECUTE ON PROCEDURE `sh``op\"'`.p TO {}": "EXECUTE on PROCEDURE `sh``op\"'`.`p`",
    "GRANT PROXY ON root@localhost TO {}": "PROXY on `root`@`localhost`",
    "GRANT `te``am` TO {}": "role `te``am`",
    "GRANT `out``er` TO {}": "role `out``er`",
    "GRANT readers TO {} WITH ADMIN OPTION": "ADMIN OPTION on role `readers`",
}
GIVEN_ON = {
    "MariaDB": {
        "GRANT ALL ON *.* TO {}": "ALL PRIVILEGES on *.*",
        "GRANT UPDATE ON mysql.global_priv TO {}": "UPDATE on `mysql`.`global_priv`",
    },
    "MySQL": {
        "GRANT UPDATE ON mysql.user TO {}": "UPDATE on `mysql`.`user`",
        "GRANT BACKUP_ADMIN, CLONE_ADMIN ON *.* TO {} WITH GRANT OPTION": "BACKUP_ADMIN, CLONE_ADMIN on *.*",
        "GRANT `te``am`, readers TO {}": "role `te``am`",
    },
}


def test_each_right_beyond_need(family: MysqlFamilyServer) -> None:
    """It is named, and its remedy takes it away and nothing that is needed."""
    family.execute(
        """
        CREATE DATABASE `sh``op"'`; CREATE TABLE `sh``op"'`.t (a int, `) TO b``,` int);
        CREATE PROCEDURE `sh``op"'`.p() SELECT 1;
        CREATE ROLE `te``am`; GRANT DELETE ON `sh``op"'`.* TO `te``am`; CREATE ROLE `out``er`; GRANT `te``am` TO `out``er`;
        CREATE ROLE readers; GRANT SELECT ON mysql.* TO readers; GRANT PROCESS ON *.* TO readers;
        """
    )
    for give, right in {**GIVEN_TO_BOTH, **GIVEN_ON[family.product]}.items():
        target = family.collector(NAME)
        family.execute(give.format(account(NAME)))
        found = examine(target).excess
        assert right in {told.removesuffix("@`%`") if "role" in told else told for told in rights(found)}, give
        for excess in found:
            family.execute(excess.remedy)
        again = examine(target)
        assert (again.excess, failing(again)) == ([], []), give


def test_all_privileges_of_mysql_are_beyond_need(own_mysql: MysqlServer) -> None:
    """SHOW GRANTS lists what ALL stands for: static privileges on one line, dynamic ones on another."""
    target = own_mysql.collector(NAME)
    own_mysql.execute(f"GRANT ALL ON *.* TO {account(NAME)}")
    found = examine(target).excess
    named = {name for right in rights(found) for name in right.removesuffix(" on *.*").split(", ")}
    needed = {"USAGE", "PROXY", "GRANT OPTION", "PROCESS", "SHOW DATABASES", "SHOW VIEW"}
    assert named == {name.upper() for name, *_ in own_mysql.execute("SHOW PRIVILEGES")} - needed
    for excess in found:
        own_mysql.execute(excess.remedy)
    assert (examine(target).excess, failing(examine(target))) == ([], [])


def test_a_role_of_mysql_is_looked_through_without_what_the_account_has_itself(own_mysql: MysqlServer) -> None:
    """SHOW GRANTS … USING a role adds rights of the account to those of the role."""
    target = own_mysql.collector()
    own_mysql.execute(
        """
        CREATE DATABASE shop; CREATE TABLE shop.t (a int); CREATE ROLE app, idle;
        GRANT INSERT ON shop.* TO taifish_collector; GRANT INSERT ON shop.* TO app; GRANT DELETE ON shop.t TO app;
        GRANT app, idle TO taifish_collector;
        """
    )
    found = examine(target).excess
    assert [(excess.right, excess.message) for excess in found] == [
        ("INSERT on `shop`.*", "Taifish reads only the grant tables."),
        ("role `app`@`%`", "It has rights that Taifish never uses: DELETE on `shop`.`t`."),
    ]
    for excess in found:
        own_mysql.execute(excess.remedy)
    assert (examine(target).excess, failing(examine(target))) == ([], [])


def test_a_role_that_gives_what_is_asked_is_not_beyond_it(family: MysqlFamilyServer) -> None:
    target = family.collector(grants=[])
    family.execute(
        """
        CREATE ROLE readers; GRANT SELECT ON mysql.* TO readers; GRANT PROCESS, SHOW DATABASES, SHOW VIEW ON *.* TO readers;
        GRANT readers TO taifish_collector;
        """
    )
    word = "TO" if family.product == "MySQL" else "FOR"
    family.execute(f"SET DEFAULT ROLE readers {word} taifish_collector")
    assert (examine(target).excess, failing(examine(target))) == ([], [])


def test_hashes_are_beyond_need_for_whoever_wants_it_so(family: MysqlFamilyServer) -> None:
    target = family.collector(NAME, level="C")
    family.execute(f"CREATE ROLE readers; GRANT SELECT ON mysql.* TO readers; GRANT readers TO {account(NAME)}")
    family.execute(f"GRANT SELECT (authentication_string, User) ON mysql.user TO {account(NAME)}")
    assert examine(target).excess == []
    found = examine(target, hash_blind=True).excess
    mine = {"SELECT on `mysql`.*", "SELECT (`User`, `authentication_string`) on `mysql`.`user`"}
    role = {"role `readers`"}
    if family.product == "MySQL":
        # SHOW GRANTS adds up what the account and its role have: the role is named when it alone gives it.
        assert rights(found) == mine
        for excess in found:
            family.execute(excess.remedy)
        found, mine, role = examine(target, hash_blind=True).excess, set(), {"role `readers`@`%`"}
    assert rights(found) == mine | role
    for excess in found:
        family.execute(excess.remedy)
    assert examine(target, hash_blind=True).excess == []
    assert [capability.name for capability in failing(examine(target))] == HIDDEN[family.product]
    with adapter_for(target) as adapter, pytest.raises(AdapterError, match="denied"):
        adapter.session.query("SELECT authentication_string FROM mysql.user")


#: Statement → the right beyond need that it takes. The last two need rights that do not apply to the session.
TRIED = {
    "DELETE FROM `sh``op`.t WHERE false": "DELETE on `sh``op`.*",
    "INSERT INTO other.t SELECT 1, 1 FROM dual WHERE false": "GRANT OPTION, INSERT on `other`.`t`",
    "SELECT b FROM other.t": "SELECT (`a`, `b`) on `other`.`t`",
    "UPDATE other.t SET a = 1 WHERE false": "UPDATE on `oth%`.*",
    "SELECT other.f()": "EXECUTE on FUNCTION `other`.`f`",
    "DROP TABLE IF EXISTS other.nothing": "DROP on `other`.*",
    "DELETE FROM hidden.t WHERE false": "DELETE on `hidden`.*",
}


def works(target: Target, sql: str) -> bool:
    with closing(
        pymysql.connect(host=target.host, port=target.port, user=target.username, password=target.password)
    ) as one:
        try:
            one.cursor().execute(sql)
        except pymysql.OperationalError as error:
            if error.args[0] not in (1044, 1142, 1143, 1370):
                raise
            return False
        return True


@pytest.mark.parametrize("hash_blind", [False, True])
def test_rights_through_accounts_of_the_same_name(family: MysqlFamilyServer, hash_blind: bool) -> None:
    """The check names those that work, the account that they come from, and a statement that harms nobody else."""
    target = family.collector(NAME, hash_blind=hash_blind, level="C")
    mine, name = account(NAME).replace("`%`", "`127.0.0.1`"), account(NAME).removesuffix("@`%`")
    wide, narrow, elsewhere = (f"{name}@`{host}`" for host in ("%", "127.0.0.%", "10.1.%"))
    family.execute(f"RENAME USER {wide} TO {mine}")
    family.execute(
        f"""
        CREATE DATABASE `sh``op`; CREATE TABLE `sh``op`.t (a int); CREATE DATABASE other; CREATE DATABASE hidden;
        CREATE TABLE other.t (a int, b int); CREATE TABLE hidden.t (a int); GRANT SELECT ON hidden.* TO {mine};
        CREATE FUNCTION other.f() RETURNS int DETERMINISTIC NO SQL RETURN 1;
        CREATE USER {wide}; CREATE USER {narrow}; CREATE USER {elsewhere}; CREATE USER ''@'%'; CREATE USER who@'%';
        GRANT DELETE ON `sh``op`.* TO {wide}; GRANT DELETE ON hidden.* TO {wide};
        GRANT INSERT, SELECT (a, b) ON other.t TO {narrow} WITH GRANT OPTION; GRANT EXECUTE ON FUNCTION other.f TO {wide};
        GRANT UPDATE ON `oth%`.* TO ''@'%'; GRANT DROP ON other.* TO {elsewhere}; GRANT DROP ON other.* TO who@'%';
        GRANT PROCESS, FILE ON *.* TO {wide}; GRANT SELECT ON mysql.* TO {wide}; FLUSH PRIVILEGES
        """
    )
    found = [excess for excess in examine(target, hash_blind).excess if " through " in excess.right]
    seen = {right for right in TRIED.values() if any(excess.right.startswith(f"{right} through") for excess in found)}
    assert seen == {right for sql, right in TRIED.items() if works(target, sql)}
    assert len(seen) == 5
    hashes = {f"SELECT on `mysql`.* through {wide}"} if hash_blind else set()
    assert rights(found) == {
        f"DELETE on `sh``op`.* through {wide}",
        f"GRANT OPTION, INSERT on `other`.`t` through {narrow}",
        f"SELECT (`a`, `b`) on `other`.`t` through {narrow}",
        f"EXECUTE on FUNCTION `other`.`f` through {wide}",
        "UPDATE on `oth%`.* through ``@`%`",
        *hashes,
    }
    for excess in found:
        is_anonymous = "``@" in excess.right
        assert (excess.remedy == "", "all of them would lose it" in excess.message) == (is_anonymous, is_anonymous)
        family.execute(excess.remedy or "SELECT 1")
    again = examine(target, hash_blind)
    assert {right for right in rights(again.excess) if " through " in right} == {"UPDATE on `oth%`.* through ``@`%`"}
    assert [sql for sql in TRIED if works(target, sql)] == ["UPDATE other.t SET a = 1 WHERE false"]
    assert {one.name for one in failing(again)} <= {*HIDDEN[family.product]}


def test_roles_of_public_and_of_accounts_of_the_same_name(maria: MariadbServer) -> None:
    """On MariaDB: the session may set the role of the other account, and has what PUBLIC has at once."""
    target = maria.collector()
    maria.execute("RENAME USER taifish_collector@'%' TO taifish_collector@'127.0.0.1'")
    maria.execute(
        """
        CREATE DATABASE shop; CREATE TABLE shop.t (a int); CREATE ROLE inner_one; CREATE ROLE app; CREATE ROLE every;
        CREATE ROLE harmless; GRANT PROCESS ON *.* TO harmless; GRANT harmless TO PUBLIC; GRANT inner_one TO every;
        GRANT DELETE ON shop.t TO inner_one; GRANT every TO PUBLIC; GRANT INSERT ON shop.* TO PUBLIC;
        CREATE USER taifish_collector@'%'; GRANT UPDATE ON shop.* TO app; GRANT app TO taifish_collector@'%';
        FLUSH PRIVILEGES
        """
    )
    for sql in ("DELETE FROM shop.t WHERE false", "INSERT INTO shop.t SELECT 1 FROM dual WHERE false", "SET ROLE app"):
        assert works(target, sql), sql
    found = {excess.right: excess for excess in examine(target).excess}
    assert found.keys() == {
        "role `every` through PUBLIC",
        "INSERT on `shop`.* through PUBLIC",
        "role `app` through `taifish_collector`@`%`",
    }
    assert "DELETE on `shop`.`t`" in found["role `every` through PUBLIC"].message
    assert {excess.remedy for right, excess in found.items() if "PUBLIC" in right} == {""}
    maria.execute(found["role `app` through `taifish_collector`@`%`"].remedy)
    assert "role `app` through `taifish_collector`@`%`" not in rights(examine(target).excess)
    with pytest.raises(pymysql.OperationalError, match="1959"):
        works(target, "SET ROLE app")


def test_rights_through_others_that_cannot_be_read_are_unknown(family: MysqlFamilyServer) -> None:
    """At read depth A without hashes, grants on tables are not readable; that matters if there is such an account."""
    target = family.collector(hash_blind=True)
    name = "rights through accounts of the same name"
    assert name not in unknown(examine(target))
    family.execute("CREATE USER taifish_collector@'127.0.0.%'; FLUSH PRIVILEGES")
    family.execute("RENAME USER taifish_collector@'%' TO taifish_collector@'127.0.0.1'; FLUSH PRIVILEGES")
    (lacking,) = [capability for capability in examine(target).capabilities if capability.name == name]
    assert (lacking.works, "tables_priv" in lacking.message) == (None, True)
    for statement in lacking.missing.splitlines():
        family.execute(statement)
    assert name not in unknown(examine(target))


def test_rows_of_an_account_that_is_none(family: MysqlFamilyServer) -> None:
    target = family.collector()
    family.execute("RENAME USER taifish_collector@'%' TO taifish_collector@'127.0.0.1'; CREATE DATABASE shop")
    family.execute(
        "INSERT INTO mysql.db (User, Host, Db, Drop_priv) VALUES ('taifish_collector', '127.%', 'shop', 'Y')"
    )
    family.execute("FLUSH PRIVILEGES")
    assert works(target, "DROP TABLE IF EXISTS shop.t")
    (excess,) = examine(target).excess
    assert (excess.right, excess.remedy) == ("DROP on `shop`.* through `taifish_collector`@`127.%`", "")
    assert "delete the rows" in excess.message


@pytest.mark.parametrize(
    ("host", "client", "expected"),
    [
        ("%", "10.1.2.3", True), ("", "10.1.2.3", True), ("10.1.%", "10.1.2.3", True), ("10.2.%", "10.1.2.3", False),
        ("10.1.0.0/255.255.0.0", "10.1.2.3", True), ("10.1.0.0/16", "10.2.2.3", False), ("10.1.0.0/x", "10.1.2.3", False),
        ("%.example.org", "DB.example.org", True), ("%.example.org", "10.1.2.3", False), ("10.%", "db.example.org", True),
        ("127.0.0.1", "localhost", True), ("10.%", "localhost", False), (r"a\_b", "a_b", True), (r"a\_b", "axb", False),
        ("::1", "::1", True), ("fe80::%", "::1", False),
    ],
)  # fmt: skip
def test_hosts_that_fit_a_client(host: str, client: str, expected: bool) -> None:
    assert fits(host, client) == expected


def test_what_follows_a_lost_connection_to_the_family_is_unknown(family: MysqlFamilyServer) -> None:
    target = family.collector()
    with adapter_for(target) as adapter:
        ((number,),) = adapter.session.query("SELECT CONNECTION_ID()")
        family.execute(f"KILL {number}")
        examination = adapter.examine()
    assert {capability.works for capability in examination.capabilities[1:]} == {None}
    assert not any(capability.missing for capability in examination.capabilities)


def test_nothing_of_the_own_hash_is_kept(family: MysqlFamilyServer) -> None:
    target = family.collector()
    column, table = ("JSON_VALUE(Priv, '$.authentication_string')", "global_priv")
    if family.product == "MySQL":
        column, table = "authentication_string", "user"
    # Before that MySQL has a salt, which is no text.
    ((hashed,),) = family.execute(f"SELECT RIGHT({column}, 40) FROM mysql.{table} WHERE User = 'taifish_collector'")
    assert len(hashed) == 40
    assert hashed not in repr(examine(target))


# The script


def test_the_depth_and_the_version_decide_what_is_granted() -> None:
    def tables(level: str, **server: Any) -> set[str]:
        statements = ENGINES["mysql"].script(level, ("t", "%"), hash_blind=True, **server)
        return {name for statement in statements for name in re.findall(r"ON mysql\.(\w+)", statement.sql)}

    common = {"user", "db", "proxies_priv"}
    roles = {"role_edges", "default_roles", "global_grants"}
    assert tables("A", version="5.7.44-log") == common
    assert tables("A", version="8.0.39") == tables("A") == common | roles
    assert tables("A", product="MariaDB", version="10.11.6-MariaDB") == common | {"roles_mapping"}
    assert tables("B", version="5.7.44") == common | {"tables_priv", "procs_priv"}
    assert tables("C", version="9.4.0") == common | roles | {"tables_priv", "procs_priv", "columns_priv"}
