"""Random histories of PostgreSQL servers: what visits say happened, against the script that was run.

The reference reads the server's catalogues as a superuser, by SQL of its own, and keeps its own books: since which
visit something has been held without interruption, and what changed from visit to visit. It imports nothing of the
code that it checks.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Account, Grant, Membership
from instances.models import Instance
from sync.tests.targets import history_of, visit_once
from taifish.tests.postgres import PostgresServer, identifier

#: More than are recreated or swapped between two visits: a server where most ids differ is taken for another one.
ROLES = ("ann", "bob", 'c"d', "e.f", "ü (x)", "g h")
TABLES = ("t1", 't"2', "t.3")
SCHEMAS = ("s1", "s 2")
DATABASES = ("shop", "st.ore")
COLLECTOR = "taifish_collector"

#: Of each: kind, identity, oid of the grantee, privilege, grantable, grantor; and the path as an array.
HELD = """
WITH acls AS (
    SELECT 'schema' AS kind, n.oid::text AS id, ARRAY[n.nspname] AS path, n.nspowner AS owner,
           coalesce(n.nspacl, acldefault('n', n.nspowner)) AS acl
      FROM pg_namespace n WHERE n.nspname IN ('s1', 's 2', 's3', 'public')
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, c.oid::text, ARRAY[n.nspname, c.relname], c.relowner,
           coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('s1', 's 2', 's3', 'public') AND c.relkind IN ('r', 'S')
    UNION ALL
    SELECT 'column', c.oid || '/' || a.attnum, ARRAY[n.nspname, c.relname, a.attname], NULL, a.attacl
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('s1', 's 2', 's3', 'public') AND a.attacl IS NOT NULL AND NOT a.attisdropped
)
SELECT kind, id, path::text[], x.grantee, x.privilege_type, x.is_grantable, x.grantor FROM acls, aclexplode(acl) x
UNION ALL
SELECT kind, id, path::text[], owner, 'OWNER', false, NULL FROM acls WHERE owner IS NOT NULL
"""
ON_DATABASES = """
SELECT 'database', d.oid::text, ARRAY[d.datname]::text[], x.grantee, x.privilege_type, x.is_grantable, x.grantor
  FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x WHERE d.oid >= 16384
UNION ALL
SELECT 'database', oid::text, ARRAY[datname]::text[], datdba, 'OWNER', false, NULL FROM pg_database WHERE oid >= 16384
"""

Key = tuple[int, str, str, str]
"""Oid of the holder (0 for PUBLIC), kind, identity of the object, privilege."""


@dataclass
class Possession:
    path: tuple[str, ...]
    options: tuple[bool, ...]
    grantors: tuple[str, ...]
    since: int = 0


@dataclass
class Books:
    """What a careful reader would know after each visit."""

    roles: dict[int, str] = field(default_factory=dict)
    databases: dict[int, str] = field(default_factory=dict)
    grants: dict[Key, Possession] = field(default_factory=dict)
    memberships: dict[tuple[int, int], Possession] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)


class History:
    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        server.reset()
        for name in ROLES:
            server.execute(f"CREATE ROLE {identifier(name)} LOGIN")
        server.fresh_database("shop")
        for schema in SCHEMAS:
            self.run(f"CREATE SCHEMA {identifier(schema)}")
        for table in TABLES:
            self.run(f"CREATE TABLE s1.{identifier(table)} (a int, b int)")
        self.run("CREATE SEQUENCE s1.q")
        self.target = server.collector(COLLECTOR, level="C")
        self.moments: list[Any] = []
        self.books = Books()

    @property
    def database(self) -> str:
        """The database that is changed."""
        names = self.server.execute("SELECT datname FROM pg_database WHERE oid >= 16384 ORDER BY oid")
        return names[0][0]

    def run(self, sql: str, database: str = "") -> None:
        """Run a script; what the server refuses has not happened."""
        with contextlib.suppress(psycopg2.Error):
            self.server.execute(sql, database=database or self.database)

    def is_readable(self, database: str) -> bool:
        rows = self.server.execute(
            "SELECT datallowconn AND has_database_privilege(%s, oid, 'CONNECT') FROM pg_database WHERE datname = %s",
            [COLLECTOR, database],
        )
        return rows[0][0]

    def now(self) -> tuple[Books, set[str]]:
        """What the server has, and the ids of the databases whose inside cannot be read by the collector."""
        execute = self.server.execute
        everyone = dict(execute("SELECT oid, rolname::text FROM pg_roles"))
        roles = {oid: name for oid, name in everyone.items() if not name.startswith("pg_")}
        databases = dict(execute("SELECT oid, datname::text FROM pg_database WHERE oid >= 16384"))
        books = Books(roles, databases)
        rows = [(*row, "") for row in execute(ON_DATABASES)]
        hidden = set()
        for oid, name in databases.items():
            if self.is_readable(name):
                rows += [(*row, str(oid)) for row in execute(HELD, database=name)]
            else:
                hidden.add(str(oid))
        found: dict[Key, list[tuple[Any, ...]]] = defaultdict(list)
        for kind, own_id, path, grantee, privilege, grantable, grantor, database in rows:
            identity = f"{database}/{own_id}" if database else own_id
            full = (databases[int(database)], *path) if database else tuple(path)
            found[grantee, kind, identity, privilege].append((full, grantable, everyone.get(grantor)))
        for key, several in found.items():
            names = tuple(sorted({name for _, _, name in several if name}))
            books.grants[key] = Possession(several[0][0], (any(g for _, g, _ in several),), names)
        if self.server.major >= 16:
            sql = "SELECT member, roleid, admin_option, inherit_option, set_option, grantor FROM pg_auth_members"
        else:
            sql = (
                "SELECT m.member, m.roleid, m.admin_option, r.rolinherit, true, NULL FROM pg_auth_members m"
                " JOIN pg_roles r ON r.oid = m.member"
            )
        several_of: dict[tuple[int, int], list[Any]] = defaultdict(list)
        for member, role, *options, grantor in execute(sql):
            if member in roles and role in roles:
                several_of[member, role].append((options, roles.get(grantor)))
        for pair, several in several_of.items():
            options = tuple(any(one[n] for one, _ in several) for n in range(3))
            names = tuple(sorted({name for _, name in several if name}))
            books.memberships[pair] = Possession((), options, names)
        return books, hidden

    def visit(self, instance: Instance) -> None:
        now, hidden = self.now()
        record = visit_once("accounts", instance)
        assert record.status in ("completed", "partial"), record.error
        self.moments.append(record.started_at)
        number = len(self.moments) - 1
        before = self.books
        now.known = before.known | set(before.roles.values())
        for key, held in before.grants.items():
            grantee, identity = key[0], key[2]
            database = identity.split("/")[0]
            stays = "/" in identity and database in hidden and int(database) in now.databases
            if stays and (grantee in now.roles or grantee not in before.roles):
                path = (now.databases[int(database)], *held.path[1:])
                names = {before.roles[oid]: name for oid, name in now.roles.items() if oid in before.roles}
                grantors = tuple(sorted(names.get(name, name) for name in held.grantors))
                now.grants[key] = Possession(path, held.options, grantors, held.since)
        for key, held in now.grants.items():
            held.since = before.grants[key].since if key in before.grants else number
        for pair, held in now.memberships.items():
            held.since = before.memberships[pair].since if pair in before.memberships else number
        self.compare_state(instance, now)
        if number:
            self.compare_changes(record.account_changes.all(), before, now)
        self.books = now

    def compare_state(self, instance: Instance, books: Books) -> None:
        present = Account.objects.filter(instance=instance, gone_at=None, is_system=False).exclude(kind="public")
        assert dict(present.values_list("native_id", "name")) == {str(oid): name for oid, name in books.roles.items()}
        since = {moment: number for number, moment in enumerate(self.moments)}
        kinds = ("database", "schema", "table", "sequence", "column")
        rows = Grant.objects.filter(account__instance=instance, until=None, kind__in=kinds).values_list(
            "account__native_id", "kind", "object_id", "privilege", "scope", "grantable", "grantors", "held_since"
        )
        ids = {str(oid) for oid in books.databases}
        stored = {
            (int(holder or 0), kind, identity, privilege): (scope, (grantable,), tuple(grantors), since[held_since])
            for holder, kind, identity, privilege, scope, grantable, grantors, held_since in rows
            if identity.split("/")[0] in ids
        }
        expected = {
            key: (path_of(held.path), held.options, held.grantors, held.since) for key, held in books.grants.items()
        }
        assert differences(stored, expected) == {}
        links = Membership.objects.filter(member__instance=instance, until=None, role__is_system=False).values_list(
            "member__native_id", "role__native_id", "admin_option", "inherit", "set_option", "grantors", "held_since"
        )
        stored_links = {
            (int(member), int(role)): (tuple(options), tuple(grantors), since[held_since])
            for member, role, *options, grantors, held_since in links
        }
        expected_links = {pair: (held.options, held.grantors, held.since) for pair, held in books.memberships.items()}
        assert differences(stored_links, expected_links) == {}

    def compare_changes(self, changes: Any, before: Books, after: Books) -> None:
        """Who was renamed, created and dropped, and what was granted, taken away or changed in its options or name."""
        expected: dict[tuple[int, str], set[Any]] = defaultdict(set)

        def tell(oid: int, what: str, entry: Any) -> None:
            expected[oid, what].add(entry)

        for oid, name in after.roles.items():
            if oid not in before.roles:
                tell(oid, "recreated" if name in after.known else "appeared", "")
            elif before.roles[oid] != name:
                tell(oid, "renamed", (before.roles[oid], name))
        for oid in before.roles.keys() - after.roles.keys():
            tell(oid, "disappeared", "")
        for key in before.grants.keys() | after.grants.keys():
            old, new = before.grants.get(key), after.grants.get(key)
            oid, kind, _, privilege = key
            if old is None:
                tell(oid, "granted", (privilege, kind, path_of(new.path)))
            elif new is None:
                tell(oid, "revoked", (privilege, kind, path_of(old.path)))
            else:
                if old.options != new.options:
                    tell(oid, "options", ("grantable", new.options[0], privilege, path_of(new.path)))
                if old.path != new.path:
                    tell(oid, "objects", "")
        for pair in before.memberships.keys() | after.memberships.keys():
            old, new = before.memberships.get(pair), after.memberships.get(pair)
            member, role = pair
            names = before.roles | after.roles
            if old is None:
                tell(member, "joined", names[role])
            elif new is None:
                tell(member, "left", names[role])
            else:
                for option, was, is_ in zip(
                    ("admin_option", "inherit", "set_option"), old.options, new.options, strict=True
                ):
                    if was != is_:
                        tell(member, "options", (option, is_, "", names[role]))
        assert differences(_told(changes), dict(expected)) == {}


def _told(changes: Any) -> dict[tuple[int, str], set[Any]]:
    """The same, from the change log. The lines about renamed objects are checked by themselves."""
    told: dict[tuple[int, str], set[Any]] = defaultdict(set)
    kinds = ("database", "schema", "table", "sequence", "column")
    for change in changes.select_related("account"):
        oid, details = int(change.account.native_id or 0), change.details
        for event in {"appeared", "recreated", "disappeared", "reappeared"} & set(change.events):
            told[oid, event].add("")
        if "renamed" in change.events:
            told[oid, "renamed"].add(tuple(details["renamed"]))
        for word in ("granted", "revoked"):
            for one in details.get(word, ()):
                if one["kind"] in kinds and not one["scope"].startswith(("postgres", "template")):
                    told[oid, word].add((one["privilege"], one["kind"], one["scope"]))
        for one in details.get("options", ()):
            if "role" in one:
                told[oid, "options"].add((one["option"], one["added"], "", one["role"]))
            elif "privilege" in one:
                told[oid, "options"].add((one["option"], one["added"], one["privilege"], one["scope"]))
        for word in ("joined", "left"):
            for one in details.get(word, ()):
                told[oid, word].add(one["role"])
        if details.get("renamed_objects"):
            assert all(one["from"] != one["to"] for one in details["renamed_objects"])
            told[oid, "objects"].add("")
    return dict(told)


def differences(stored: dict[Any, Any], expected: dict[Any, Any]) -> dict[Any, Any]:
    keys = stored.keys() | expected.keys()
    return {key: (stored.get(key), expected.get(key)) for key in keys if stored.get(key) != expected.get(key)}


def path_of(parts: tuple[str, ...]) -> str:
    return ".".join(
        part if re.fullmatch(r"[^\s.\"()]+", part) else '"' + part.replace('"', '""') + '"' for part in parts
    )


role = st.sampled_from(ROLES).map(identifier)
table = st.tuples(st.sampled_from(("s1", "s 2", "s3")), st.sampled_from((*TABLES, "t4"))).map(
    lambda pair: ".".join(map(identifier, pair))
)
schema = st.sampled_from(("s1", "s 2", "s3")).map(identifier)


@st.composite
def statements(draw: st.DrawFn) -> str:
    """One change. Many are refused, as they would be for a person: what they name is not there (any longer)."""
    one, other = draw(role), draw(role)
    match draw(st.integers(0, 19)):
        case 0:
            return f"CREATE ROLE {one} LOGIN"
        case 1:
            return f"DROP OWNED BY {one} CASCADE; DROP ROLE {one}"
        case 2:
            return f"DROP OWNED BY {one} CASCADE; DROP ROLE {one}; CREATE ROLE {one}"
        case 3:
            return f"ALTER ROLE {one} RENAME TO {draw(st.sampled_from([other, 'new_name']))}"
        case 4:
            return f"ALTER ROLE {one} RENAME TO x_; ALTER ROLE {other} RENAME TO {one}; ALTER ROLE x_ RENAME TO {other}"
        case 5 | 6 | 7:
            what = draw(st.sampled_from(["SELECT", "INSERT", "UPDATE (a)", "SELECT (b)", "ALL"]))
            by = draw(st.sampled_from(["", f"SET ROLE {other}; "]))
            option = draw(st.sampled_from(["", " WITH GRANT OPTION"]))
            return f"{by}GRANT {what} ON {draw(table)} TO {one}{option}"
        case 8:
            word = draw(st.sampled_from(["", "GRANT OPTION FOR "]))
            return f"REVOKE {word}{draw(st.sampled_from(['SELECT', 'ALL', 'UPDATE (a)']))} ON {draw(table)} FROM {one} CASCADE"
        case 9:
            return f"GRANT {draw(st.sampled_from(['USAGE', 'CREATE', 'ALL']))} ON SCHEMA {draw(schema)} TO {one}"
        case 10:
            return f"GRANT {one} TO {other}{draw(st.sampled_from(['', ' WITH ADMIN OPTION']))}"
        case 11:
            return f"REVOKE {draw(st.sampled_from(['', 'ADMIN OPTION FOR ']))}{one} FROM {other}"
        case 12:
            word = draw(st.sampled_from(["INHERIT FALSE", "SET FALSE", "INHERIT TRUE"]))
            return draw(
                st.sampled_from(
                    [f"ALTER ROLE {one} NOINHERIT", f"ALTER ROLE {one} INHERIT", f"GRANT {other} TO {one} WITH {word}"]
                )
            )
        case 13:
            return f"ALTER TABLE {draw(table)} RENAME TO {identifier(draw(st.sampled_from((*TABLES, 't4'))))}"
        case 14:
            return f"ALTER TABLE {draw(table)} SET SCHEMA {draw(schema)}"
        case 15:
            made = draw(table)
            return draw(
                st.sampled_from(
                    [
                        f"DROP TABLE {made}",
                        f"DROP TABLE {made}; CREATE TABLE {made} (a int, b int); GRANT SELECT ON {made} TO {one}",
                    ]
                )
            )
        case 16:
            return f"ALTER SCHEMA {draw(schema)} RENAME TO {draw(schema)}"
        case 17:
            return f"ALTER TABLE {draw(table)} RENAME a TO {draw(st.sampled_from(['z', 'b']))}"
        case 18:
            return f"ALTER TABLE {draw(table)} OWNER TO {one}"
    return draw(st.sampled_from(["-- rename database", "-- close", "-- open", "-- grant CONNECT"]))


def apply(history: History, statement: str) -> None:
    database = history.database
    name = identifier(database)
    match statement:
        case "-- rename database":
            other = DATABASES[database == DATABASES[0]]
            history.run(f"ALTER DATABASE {name} RENAME TO {identifier(other)}", "postgres")
        case "-- close":
            history.run(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC", "postgres")
        case "-- open":
            history.run(f"GRANT CONNECT ON DATABASE {name} TO PUBLIC", "postgres")
        case "-- grant CONNECT":
            history.run(f"GRANT CONNECT ON DATABASE {name} TO {identifier(ROLES[0])} WITH GRANT OPTION", "postgres")
        case _:
            history.run(statement)


def one_history(server: PostgresServer, scripts: list[list[str]]) -> None:
    history = History(server)
    with history_of(history.target) as instance:
        history.visit(instance)
        for script in scripts:
            for statement in script:
                apply(history, statement)
            history.visit(instance)


@pytest.fixture
def clean(postgres: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres
    postgres.reset()


histories = st.lists(st.lists(statements(), min_size=1, max_size=2), min_size=6, max_size=12)
relaxed = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    "print_blob": True,
}


@settings(max_examples=5, **relaxed)
@given(histories)
def test_the_change_log_says_what_the_script_did(transactional_db, clean, scripts):
    """F7.10, F7.14: state, beginnings and changes differ from the script nowhere."""
    one_history(clean, scripts)


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
@settings(max_examples=100, **relaxed)
@given(histories)
def test_the_change_log_says_what_the_script_did_at_length(transactional_db, clean, scripts):
    """F7.10, F7.14: the same, 100 histories on each version."""
    one_history(clean, scripts)
