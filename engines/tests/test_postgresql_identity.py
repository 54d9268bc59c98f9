"""Ids of objects, grantors, and rights on built-in objects, on real PostgreSQL servers."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from engines.facts import GrantFact, Permissions
from engines.paths import dotted
from engines.registry import adapter_for
from engines.target import Target
from taifish.tests.postgres import PostgresServer, identifier

#: Grantors with names that look like the separator and the oids that grantors are read as, or like SQL.
LEADS = ('10,16384 "a"', "new\nline; DROP ROLE bob --", "zoé\\")


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres
    postgres.reset()


def read(target: Target) -> Permissions:
    """The permissions, of which no two grants are the same possession."""
    with adapter_for(target) as adapter:
        adapter.inventory()
        permissions = adapter.permissions()
    assert permissions.gaps == []
    grants = permissions.grants
    for identity in (lambda g: g.object_id or g.scope, lambda g: g.scope):
        assert len({(g.account, g.kind, g.privilege, g.denied, identity(g)) for g in grants}) == len(grants)
    return permissions


def of(permissions: Permissions, *accounts: str) -> list[GrantFact]:
    return [grant for grant in permissions.grants if grant.account[0] in accounts]


OBJECTS = """
CREATE SCHEMA sales; CREATE SCHEMA archive;
CREATE TABLE sales.orders (id int); CREATE TABLE sales.items (); CREATE VIEW sales.recent AS SELECT 1 AS one;
CREATE SEQUENCE sales.numbers; CREATE TYPE sales.state AS ENUM ('open');
CREATE FUNCTION sales.price(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TRUSTED LANGUAGE other HANDLER plpgsql_call_handler;
CREATE FOREIGN DATA WRAPPER far; CREATE SERVER far FOREIGN DATA WRAPPER far;
"""

#: What may be granted → the words in GRANT. An object of each kind.
GRANTED = {
    "database": "CONNECT ON DATABASE shop",
    "tablespace": "CREATE ON TABLESPACE fast",
    "parameter": "SET ON PARAMETER log_statement",
    "schema": "USAGE ON SCHEMA sales",
    "table": "SELECT ON sales.orders",
    "sequence": "USAGE ON SEQUENCE sales.numbers",
    "routine": "EXECUTE ON FUNCTION sales.price",
    "type": "USAGE ON TYPE sales.state",
    "language": "USAGE ON LANGUAGE other",
    "foreign": "USAGE ON FOREIGN SERVER far",
    "large_object": "SELECT ON LARGE OBJECT 4711",
    "column": "UPDATE (id) ON sales.orders",
}


@pytest.fixture
def shop(server: PostgresServer) -> PostgresServer:
    """A server with an object of each kind in the database shop, and a role bob."""
    with server.superuser() as cursor:
        cursor.execute("CREATE ROLE bob LOGIN; SET allow_in_place_tablespaces = on")
        cursor.execute("CREATE TABLESPACE fast LOCATION ''")
    server.execute(OBJECTS, database=server.fresh_database("shop"))
    server.execute("SELECT lo_create(4711)", database="shop")
    return server


def grants_of(server: PostgresServer) -> dict[str, str]:
    return {kind: words for kind, words in GRANTED.items() if kind != "parameter" or server.major >= 15}


def test_ids_are_those_of_the_server(shop: PostgresServer) -> None:
    """F7.10: the oid of a database and, after it, of the object in it; columns by number, default privileges by what
    they are for."""
    grants = "".join(f"GRANT {words} TO bob;" for words in grants_of(shop).values())
    shop.execute(
        f"""
        {grants} ALTER DEFAULT PRIVILEGES FOR ROLE bob GRANT SELECT ON TABLES TO PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE bob IN SCHEMA sales GRANT USAGE ON SEQUENCES TO bob;
        """,
        database="shop",
    )
    ((database, bob, schema, *inside),) = shop.execute(
        """
        SELECT (SELECT oid FROM pg_database WHERE datname = 'shop'), 'bob'::regrole::oid, 'sales'::regnamespace::oid,
               'sales.orders'::regclass::oid, 'sales.numbers'::regclass::oid, 'sales.price'::regproc::oid,
               'sales.state'::regtype::oid, (SELECT oid FROM pg_language WHERE lanname = 'other'),
               (SELECT oid FROM pg_foreign_server WHERE srvname = 'far')
        """,
        database="shop",
    )
    kinds = ("table", "sequence", "routine", "type", "language", "foreign")
    expected = {
        ("attribute", ""),
        ("database", str(database)),
        ("tablespace", str(shop.execute("SELECT oid FROM pg_tablespace WHERE spcname = 'fast'")[0][0])),
        ("schema", f"{database}/{schema}"),
        *((kind, f"{database}/{oid}") for kind, oid in zip(kinds, inside, strict=True)),
        ("large_object", f"{database}/4711"),
        ("column", f"{database}/{inside[0]}/1"),
        ("default", f"{database}/{bob}/0/table"),
        ("default", f"{database}/{bob}/{schema}/sequence"),
    } | ({("parameter", "")} if shop.major >= 15 else set())
    permissions = read(shop.collector(level="C"))
    assert {(grant.kind, grant.object_id) for grant in of(permissions, "bob")} == expected
    databases = {g.scope: g.object_id for g in permissions.grants if g.kind == "database" and g.privilege == "OWNER"}
    assert {name: int(oid) for name, oid in databases.items()} == dict(
        shop.execute("SELECT datname::text, oid FROM pg_database")
    )


RENAMES = """
ALTER TABLE sales.orders RENAME COLUMN id TO number; ALTER TABLE sales.orders RENAME TO bookings;
ALTER TABLE sales.items RENAME TO orders; ALTER TABLE sales.bookings SET SCHEMA archive;
ALTER VIEW sales.recent SET SCHEMA archive; ALTER VIEW archive.recent RENAME TO latest;
ALTER SEQUENCE sales.numbers RENAME TO counter; ALTER TYPE sales.state RENAME TO status;
ALTER FUNCTION sales.price(int) RENAME TO cost; ALTER FUNCTION sales.cost(int) SET SCHEMA archive;
ALTER LANGUAGE other RENAME TO another;
ALTER FOREIGN DATA WRAPPER far RENAME TO further; ALTER SERVER far RENAME TO further;
ALTER SCHEMA archive RENAME TO swap; ALTER SCHEMA sales RENAME TO archive; ALTER SCHEMA swap RENAME TO sales;
ALTER TABLESPACE fast RENAME TO slow; ALTER ROLE bob RENAME TO robert;
"""


def test_ids_survive_renames_and_moves(shop: PostgresServer) -> None:
    """F7.10: nothing is lost or new when objects, their schema, their database and the account get other names, or swap
    them; only scopes and names of grantors differ."""
    grants = "".join(f"GRANT {words} TO bob WITH GRANT OPTION;" for words in grants_of(shop).values())
    shop.execute(
        f"""
        {grants} GRANT SELECT ON sales.items, sales.recent TO bob;
        ALTER DEFAULT PRIVILEGES FOR ROLE bob IN SCHEMA sales GRANT SELECT ON TABLES TO bob;
        SET ROLE bob; GRANT SELECT ON sales.orders TO PUBLIC;
        """,
        database="shop",
    )
    target = shop.collector(level="C")
    with adapter_for(target) as adapter:
        oids = {account.name: account.native_id for account in adapter.inventory().accounts}
    before = read(target)
    shop.execute(RENAMES, database="shop")
    shop.execute("ALTER DATABASE shop RENAME TO store")
    after = read(target)

    def held(permissions: Permissions, bob: str) -> set[tuple[str, ...]]:
        oid = {bob: oids["bob"]}
        return {(oid.get(g.account[0], g.account[0]), g.kind, g.privilege, g.object_id) for g in permissions.grants}

    assert held(after, "robert") == held(before, "bob")
    scopes = [
        {(g.kind, g.object_id, g.privilege): g.scope for g in of(permissions, "bob", "robert") if g.object_id}
        for permissions in (before, after)
    ]
    unchanged = {key: scope for key, scope in scopes[0].items() if scopes[1][key] == scope}
    assert unchanged == {}
    (mine,) = (g for g in of(before, "public") if g.kind == "table")
    (renamed,) = (g for g in of(after, "public") if g.kind == "table")
    assert (mine.scope, mine.grantors) == ("shop.sales.orders", ("bob",))
    assert (renamed.scope, renamed.grantors, renamed.object_id) == ("store.sales.bookings", ("robert",), mine.object_id)


def test_an_object_made_anew_has_another_id(shop: PostgresServer) -> None:
    """F7.10: under its old name."""
    shop.execute("GRANT SELECT ON sales.items TO bob", database="shop")
    target = shop.collector(level="B")
    before = read(target)
    shop.execute(
        "DROP TABLE sales.items; CREATE TABLE sales.items (); GRANT SELECT ON sales.items TO bob", None, "shop"
    )
    after = read(target)
    (old,), (new,) = ([g for g in of(permissions, "bob") if g.kind == "table"] for permissions in (before, after))
    assert old._replace(object_id="") == new._replace(object_id="")
    assert old.object_id != new.object_id


def test_grants_by_several_grantors_are_one_fact_with_all_names(shop: PostgresServer) -> None:
    """F7.10: on an object of each kind; a hostile name is nothing but a name."""
    superuser, roles = shop.cluster.superuser, [identifier(name) for name in LEADS]
    sql = "".join(f"CREATE ROLE {role};" for role in roles)
    for words in grants_of(shop).values():
        sql += f"GRANT {words} TO {', '.join(roles)} WITH GRANT OPTION; GRANT {words} TO bob;"
        sql += "".join(f"SET ROLE {role}; GRANT {words} TO bob;" for role in roles[:2])
        sql += f"SET ROLE {roles[2]}; GRANT {words} TO bob WITH GRANT OPTION; RESET ROLE;"
    # Without schema USAGE these roles could not name the objects.
    shop.execute("GRANT USAGE ON SCHEMA sales TO PUBLIC", database="shop")
    shop.execute(sql, database="shop")
    permissions = read(shop.collector(level="C"))
    everybody = tuple(sorted([superuser, *LEADS]))
    granted = [grant for grant in of(permissions, "bob") if grant.kind != "attribute"]
    assert {(g.kind, g.grantable, g.grantors) for g in granted} == {(kind, True, everybody) for kind in grants_of(shop)}
    leads = [grant for grant in of(permissions, *LEADS) if grant.kind in GRANTED]
    assert {(g.grantable, g.grantors) for g in leads} == {(True, (superuser,))}
    assert {g.grantors for g in permissions.grants if g.privilege == "OWNER" or g.kind == "attribute"} == {()}


def test_grantors_of_memberships_are_named_from_16_on(server: PostgresServer) -> None:
    """F7.10: before, the server keeps one grantor, which may be gone."""
    lead = LEADS[0]
    server.execute(f"CREATE ROLE app; CREATE ROLE bob; CREATE ROLE {identifier(lead)}")
    server.execute(f"GRANT app TO {identifier(lead)} WITH ADMIN OPTION; GRANT app TO bob; SET ROLE {identifier(lead)}")
    server.execute(f"SET ROLE {identifier(lead)}; GRANT app TO bob WITH ADMIN OPTION")
    permissions = read(server.collector())
    (membership,) = (m for m in permissions.memberships if m.member[0] == "bob")
    names = tuple(sorted([lead, server.cluster.superuser])) if server.major >= 16 else ()
    assert (membership.admin_option, membership.grantors) == (True, names)


def built_in(permissions: Permissions, database: str = "shop") -> set[tuple[str, str, str, bool]]:
    """(account, privilege, scope, denied) of grants on objects in system schemas of the database, and on them."""
    schemas = [dotted(database, schema) for schema in ("pg_catalog", "information_schema")]
    return {
        (g.account[0], g.privilege + "*" * g.grantable, g.scope, g.denied)
        for g in permissions.grants
        if any(g.scope == schema or g.scope.startswith(schema + ".") for schema in schemas)
    }


@pytest.mark.parametrize(
    ("words", "scope"),
    [
        ("SELECT ON pg_database", "table pg_database"),
        ("SELECT ON pg_authid", "table pg_authid"),
        ("EXECUTE ON FUNCTION pg_read_file(text)", "routine pg_read_file(text)"),
        ("EXECUTE ON FUNCTION lower(text)", "routine lower(text)"),
        ("USAGE ON TYPE int4range", "type int4range"),
        ("UPDATE (rolname) ON pg_authid", "column pg_authid.rolname"),
        ("SELECT (subname) ON pg_subscription", "column pg_subscription.subname"),
    ],
)
def test_a_grant_on_a_built_in_object_is_the_only_news(server: PostgresServer, words: str, scope: str) -> None:
    """F7.7: the rights that the object was shipped with are none, neither after GRANT nor after REVOKE, and those in
    another database are not concerned."""
    for database in ("shop", "other"):
        server.fresh_database(database)
    kind, name = scope.split()
    target = server.collector(level="C")
    server.execute(f"CREATE ROLE alice; GRANT {words} TO alice", database="shop")
    permissions = read(target)
    (grant,) = of(permissions, "alice")
    superuser = server.cluster.superuser
    assert built_in(permissions) == {("alice", words.split()[0], f"shop.pg_catalog.{name}", False)}
    assert (grant.kind, grant.grantors) == (kind, (superuser,))
    assert built_in(permissions, "other") == set()
    server.execute(f"REVOKE {words} FROM alice", database="shop")
    assert built_in(read(target)) == set()


def test_a_grant_on_all_built_in_objects_is_the_only_news(server: PostgresServer) -> None:
    """F7.7: for each object, its baseline is what it was shipped with."""
    server.fresh_database("shop")
    target = server.collector(level="C")
    schemas = "SCHEMA pg_catalog, information_schema"
    server.execute(
        f"""
        CREATE ROLE alice; GRANT TRIGGER ON ALL TABLES IN {schemas} TO alice; GRANT CREATE ON {schemas} TO alice;
        GRANT EXECUTE ON ALL ROUTINES IN {schemas} TO alice; GRANT USAGE ON LANGUAGE sql, plpgsql TO alice;
        """,
        database="shop",
    )
    permissions = read(target)
    changed = [
        g for g in permissions.grants if g.database == "shop" and g.kind != "database" and g.scope != "shop.public"
    ]
    assert {(g.account[0], g.denied) for g in changed} == {("alice", False)}
    ((objects,),) = server.execute(
        """
        WITH schemas AS (SELECT oid FROM pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema'))
        SELECT (SELECT count(*) FROM pg_class JOIN schemas s ON s.oid = relnamespace WHERE relkind IN ('r', 'v'))
               + (SELECT count(*) FROM pg_proc JOIN schemas s ON s.oid = pronamespace)
        """,
        database="shop",
    )
    assert len(changed) == objects + 2 + 2
    server.execute(
        f"""
        REVOKE TRIGGER ON ALL TABLES IN {schemas} FROM alice; REVOKE CREATE ON {schemas} FROM alice;
        REVOKE EXECUTE ON ALL ROUTINES IN {schemas} FROM alice; REVOKE USAGE ON LANGUAGE sql, plpgsql FROM alice;
        """,
        database="shop",
    )
    assert {g.scope for g in read(target).grants if g.database == "shop"} == {"shop", "shop.public"}


def test_a_shipped_right_that_was_taken_away_is_denied(server: PostgresServer) -> None:
    """F7.7: until it is granted again."""
    server.fresh_database("shop")
    target = server.collector(level="C")
    server.execute(
        """
        REVOKE EXECUTE ON FUNCTION lower(text) FROM PUBLIC; REVOKE SELECT (subname) ON pg_subscription FROM PUBLIC;
        REVOKE SELECT ON information_schema.tables FROM PUBLIC; REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
        REVOKE USAGE ON SCHEMA information_schema FROM PUBLIC;
        """,
        database="shop",
    )
    permissions = read(target)
    assert {(g.kind, g.privilege, g.scope, g.grantors) for g in permissions.grants if g.denied} == {
        ("routine", "EXECUTE", "shop.pg_catalog.lower(text)", ()),
        ("column", "SELECT", "shop.pg_catalog.pg_subscription.subname", ()),
        ("table", "SELECT", "shop.information_schema.tables", ()),
        ("language", "USAGE", "shop.plpgsql", ()),
        ("schema", "USAGE", "shop.information_schema", ()),
    }
    assert {g.account[0] for g in permissions.grants if g.denied} == {"public"}
    server.execute(
        """
        GRANT EXECUTE ON FUNCTION lower(text) TO PUBLIC; GRANT SELECT (subname) ON pg_subscription TO PUBLIC;
        GRANT SELECT ON information_schema.tables TO PUBLIC; GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC;
        GRANT USAGE ON SCHEMA information_schema TO PUBLIC;
        """,
        database="shop",
    )
    permissions = read(target)
    assert built_in(permissions) == set()
    assert [g for g in permissions.grants if g.denied] == []


def test_a_shipped_right_that_others_grant_too_is_not_new(server: PostgresServer) -> None:
    """F7.7: it is held as before. With the option it is new, because initdb grants no options."""
    server.fresh_database("shop")
    server.execute(
        """
        CREATE ROLE lead; GRANT SELECT ON pg_database TO lead WITH GRANT OPTION;
        SET ROLE lead; GRANT SELECT ON pg_database TO PUBLIC; RESET ROLE;
        GRANT EXECUTE ON FUNCTION pg_ls_waldir() TO pg_monitor WITH GRANT OPTION;
        """,
        database="shop",
    )
    assert built_in(read(server.collector(level="C"))) == {
        ("lead", "SELECT*", "shop.pg_catalog.pg_database", False),
        ("pg_monitor", "EXECUTE*", "shop.pg_catalog.pg_ls_waldir()", False),
    }


def test_what_others_put_into_pg_catalog_is_ordinary(server: PostgresServer) -> None:
    """F7.7: extensions do, with objects that have an owner and no baseline."""
    server.execute(
        """
        CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
        DROP EXTENSION plpgsql; CREATE EXTENSION plpgsql;
        """,
        database=server.fresh_database("shop"),
    )
    grants = read(server.collector(level="C")).grants
    superuser = server.cluster.superuser
    for kind, scope, privilege in [
        ("routine", "shop.pg_catalog.mine()", "EXECUTE"),
        ("routine", "shop.pg_catalog.plpgsql_call_handler()", "EXECUTE"),
        ("language", "shop.plpgsql", "USAGE"),
    ]:
        found = {(g.account[0], g.privilege, g.denied) for g in grants if (g.kind, g.scope) == (kind, scope)}
        assert found == {
            ("public", privilege, False),
            (superuser, privilege, False),
            (superuser, "OWNER", False),
        }, scope


#: Who may do what with all built-in objects: kind, id inside the database, grantee, privilege, grantable.
RIGHTS = """
WITH schemas AS (
    SELECT oid, nspacl, nspowner FROM pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema')
), acls(kind, id, acl) AS (
    SELECT 'table', oid::text, coalesce(relacl, acldefault('r', relowner))
      FROM pg_class WHERE relnamespace IN (SELECT oid FROM schemas) AND relkind IN ('r', 'v')
    UNION ALL SELECT 'routine', oid::text, coalesce(proacl, acldefault('f', proowner))
      FROM pg_proc WHERE pronamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT 'type', oid::text, coalesce(typacl, acldefault('T', typowner))
      FROM pg_type WHERE typnamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT 'language', oid::text, coalesce(lanacl, acldefault('l', lanowner)) FROM pg_language
    UNION ALL SELECT 'schema', oid::text, coalesce(nspacl, acldefault('n', nspowner)) FROM schemas
    UNION ALL SELECT 'column', attrelid || '/' || attnum, attacl
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace IN (SELECT oid FROM schemas)
)
SELECT kind, id, CASE grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(grantee) END::text, privilege_type,
       bool_or(is_grantable)
  FROM acls, aclexplode(acl) GROUP BY kind, id, grantee, privilege_type
"""

#: One name of each kind in GRANT, at random, with the privileges that it has.
PICK = """
SELECT * FROM (
    SELECT 'TABLE ' || oid::regclass, '{SELECT,UPDATE,TRIGGER,ALL}'::text[]
      FROM pg_class WHERE relnamespace IN (11, 'information_schema'::regnamespace) AND relkind IN ('r', 'v')
    UNION ALL SELECT 'ROUTINE ' || oid::regprocedure, '{EXECUTE}' FROM pg_proc WHERE pronamespace = 11
    UNION ALL SELECT 'TYPE ' || oid::regtype, '{USAGE}'
      FROM pg_type WHERE typtype IN ('d', 'r') AND typnamespace IN (11, 'information_schema'::regnamespace)
    UNION ALL SELECT 'LANGUAGE ' || quote_ident(lanname), '{USAGE}' FROM pg_language
     WHERE lanpltrusted
    UNION ALL SELECT 'SCHEMA ' || oid::regnamespace, '{USAGE,CREATE}' FROM pg_namespace WHERE oid = 11
    UNION ALL SELECT attrelid::regclass::text, ARRAY['SELECT (' || quote_ident(attname) || ')']
      FROM pg_attribute WHERE attrelid IN ('pg_subscription'::regclass, 'pg_proc'::regclass) AND attnum > 0
) objects ORDER BY 1
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_built_in_rights_are_those_that_changed_since_initdb(server: PostgresServer, seed: int) -> None:
    """F7.7: after random grants and revokes on built-in objects, the facts are the difference of what the server says
    before and after, in both directions."""
    chance = random.Random(seed)
    server.fresh_database("shop")
    superuser = server.cluster.superuser
    # Its reads must work whatever PUBLIC has lost.
    target = server.collector(level="C")
    server.execute("ALTER ROLE taifish_collector SUPERUSER; CREATE ROLE alice; CREATE ROLE lead")
    before = set(server.execute(RIGHTS, database="shop"))
    by_kind: dict[str, list[tuple[str, list[str]]]] = {}
    for name, privileges in server.execute(PICK, database="shop"):
        by_kind.setdefault(name.split()[0] if name.split()[0].isupper() else "column", []).append((name, privileges))
    for _ in range(300):
        name, privileges = chance.choice(by_kind[chance.choice(sorted(by_kind))])
        words = f"{chance.choice(privileges)} ON {name}"
        account = chance.choice(["alice", "lead", "PUBLIC", "PUBLIC", "pg_monitor", superuser])
        if chance.random() < 0.5:
            option = " WITH GRANT OPTION" if account != "PUBLIC" and chance.random() < 0.3 else ""
            server.execute(f"GRANT {words} TO {account}{option}", database="shop")
        else:
            server.execute(f"REVOKE {words} FROM {account} CASCADE", database="shop")
    server.execute(
        "ALTER FUNCTION upper(text) OWNER TO alice; REVOKE ALL ON pg_subscription FROM PUBLIC", database="shop"
    )
    after = set(server.execute(RIGHTS, database="shop"))
    held, had = ({row[:4] for row in rows} for rows in (after, before))
    expected = {(*row, False) for row in after - before} | {(*row, False, True) for row in had - held}
    assert len(expected) > 100
    assert {row[0] for row in expected} == {"table", "routine", "type", "language", "schema", "column"}

    found = {
        (g.kind, g.object_id.partition("/")[2], g.account[0], g.privilege, g.grantable, g.denied)
        for g in read(target).grants
        if g.database == "shop" and g.kind != "database" and g.scope != "shop.public"
    }
    assert found == expected
