"""Random scripts for PostgreSQL, and what its catalogues hold, read by SQL of its own. Imports nothing of the product.

A script is a list of actions with numbers in it. Which role, table … a number means depends on what is there at that
moment, so that nearly every action has an effect.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg2

from accounts.tests.reference_history import Held, Key, Line, Truth, dotted, quoted

COLLECTOR = "taifish_collector"
ROLES = ("ada", 'b"o', "c.d", "Étienne", "e e", "f(x)", "表")
DATABASES = ("shop", "le mans", 'd"b', "д.б")
SCHEMAS = ("s", "s p", 's"q', "été")
NAMES = ("t", "T.1", 'q"t', "表 2", "a_b%")
COLUMNS = ("a", "b c", 'd"e')
PAST, FUTURE = ("2001-01-01", "2002-02-02"), ("2131-01-01", "2132-02-02")
ATTRIBUTES = (
    *("SUPERUSER", "NOSUPERUSER", "CREATEDB", "NOCREATEDB", "NOINHERIT", "NOINHERIT", "INHERIT", "LOGIN", "NOLOGIN"),
    *("CONNECTION LIMIT 3", "CONNECTION LIMIT -1", "VALID UNTIL 'infinity'"),
    *(f"VALID UNTIL '{day} UTC'" for day in (*PAST, *FUTURE)),
)
#: Kind → privileges that can be granted.
PRIVILEGES = {
    "table": ("SELECT", "INSERT", "DELETE", "TRUNCATE", "ALL"),
    "column": ("SELECT", "UPDATE", "REFERENCES"),
    "sequence": ("USAGE", "SELECT", "ALL"),
    "routine": ("EXECUTE",),
    "type": ("USAGE",),
    "schema": ("USAGE", "CREATE", "ALL"),
    "database": ("CREATE", "TEMPORARY", "CONNECT", "ALL"),
    "tablespace": ("CREATE",),
    "parameter": ("SET", "ALTER SYSTEM"),
}
NOUNS = {"table": "TABLE", "sequence": "SEQUENCE", "routine": "FUNCTION", "type": "DOMAIN", "schema": "SCHEMA"}
CREATE = {
    "table": 'CREATE TABLE {} (a int, "b c" int)',
    "sequence": "CREATE SEQUENCE {}",
    "routine": "CREATE FUNCTION {}(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "type": "CREATE DOMAIN {} AS int",
}
#: Built-in objects: kind, how GRANT names it, privilege.
BUILT_IN = (
    ("TABLE", "pg_catalog.pg_description", "SELECT"),
    ("TABLE", "pg_catalog.pg_authid", "SELECT"),
    ("FUNCTION", "pg_catalog.pg_sleep(double precision)", "EXECUTE"),
    ("FUNCTION", "pg_catalog.pg_read_file(text)", "EXECUTE"),
    ("SCHEMA", "information_schema", "USAGE"),
)
ACTIONS = (
    *("role_create", "role_drop", "role_recreate", "role_recreate", "role_rename", "role_rename", "role_swap"),
    *("attribute", "attribute", "join", "join", "join", "leave", "leave_option"),
    *("grant",) * 9,
    *("grant_again", "grant_again", "revoke", "revoke", "revoke_option", "default", "default", "built_in", "built_in"),
    *("create", "create", "drop", "recreate", "recreate", "rename", "rename", "move", "move", "swap_objects", "owner"),
    *("column_rename", "column_drop"),
    *("schema_create", "schema_drop", "schema_rename", "schema_rename", "schema_swap"),
    *("database_create", "database_drop", "database_recreate", "database_rename", "database_rename", "database_swap"),
    *("hide", "hide", "close", "show"),
)

#: kind, id, owner, path inside the database with the ids of the containers, ACL (null: default), and its type.
OBJECTS = """
SELECT 'schema', n.oid::text, n.nspowner, ARRAY[n.nspname]::text[], ARRAY[n.oid]::oid[],
       coalesce(n.nspacl, acldefault('n', n.nspowner))
  FROM pg_namespace n WHERE {mine}
UNION ALL
SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, c.oid::text, c.relowner,
       ARRAY[n.nspname, c.relname], ARRAY[n.oid, c.oid],
       coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'S') AND {mine}
UNION ALL
SELECT 'routine', p.oid::text, p.proowner, ARRAY[n.nspname, p.proname, oidvectortypes(p.proargtypes)],
       ARRAY[n.oid, p.oid], coalesce(p.proacl, acldefault('f', p.proowner))
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {mine}
UNION ALL
SELECT 'type', t.oid::text, t.typowner, ARRAY[n.nspname, t.typname], ARRAY[n.oid, t.oid],
       coalesce(t.typacl, acldefault('T', t.typowner))
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'd' AND {mine}
UNION ALL
SELECT 'column', c.oid || '/' || a.attnum, NULL, ARRAY[n.nspname, c.relname, a.attname],
       ARRAY[n.oid, c.oid, a.attnum::int::oid], a.attacl
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r' AND {mine}
UNION ALL
SELECT 'default', concat_ws('/', d.defaclrole, d.defaclnamespace, k.kind), NULL,
       ARRAY[r.rolname, coalesce(n.nspname, ''), k.kind], ARRAY[]::oid[], d.defaclacl
  FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
  JOIN (VALUES ('r'::"char", 'table'), ('S', 'sequence'), ('f', 'routine')) k(type, kind) ON k.type = d.defaclobjtype
""".replace("{mine}", "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'")

#: The same of the built-in objects that scripts touch, with the ACL they came with. initdb grants on information_schema
#: by statements that leave no trace; there the schema is open to all.
SHIPPED = """
SELECT 'table', c.oid::text, ARRAY['pg_catalog', c.relname]::text[], coalesce(c.relacl, acldefault('r', c.relowner)),
       coalesce(i.initprivs, acldefault('r', c.relowner))
  FROM pg_class c LEFT JOIN pg_init_privs i ON (i.classoid, i.objoid, i.objsubid) = ('pg_class'::regclass, c.oid, 0)
 WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relname IN ('pg_description', 'pg_authid')
UNION ALL
SELECT 'routine', p.oid::text, ARRAY['pg_catalog', p.proname, oidvectortypes(p.proargtypes)],
       coalesce(p.proacl, acldefault('f', p.proowner)), coalesce(i.initprivs, acldefault('f', p.proowner))
  FROM pg_proc p LEFT JOIN pg_init_privs i ON (i.classoid, i.objoid, i.objsubid) = ('pg_proc'::regclass, p.oid, 0)
 WHERE p.oid IN ('pg_sleep(double precision)'::regprocedure, 'pg_read_file(text)'::regprocedure)
UNION ALL
SELECT 'schema', n.oid::text, ARRAY[n.nspname], coalesce(n.nspacl, acldefault('n', n.nspowner)),
       coalesce(i.initprivs, acldefault('n', n.nspowner) || makeaclitem(0, n.nspowner, 'USAGE', false))
  FROM pg_namespace n LEFT JOIN pg_init_privs i
       ON (i.classoid, i.objoid, i.objsubid) = ('pg_namespace'::regclass, n.oid, 0)
 WHERE n.nspname = 'information_schema'
"""

ROLE_ROWS = """
SELECT oid, rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolinherit,
       nullif(rolconnlimit, -1), CASE WHEN isfinite(rolvaliduntil) THEN rolvaliduntil END, rolvaliduntil < now()
  FROM pg_roles
"""
#: oid, name, owner, ACL, and whether the collector reads what is inside.
DATABASE_ROWS = f"""
SELECT oid, datname, datdba, coalesce(datacl, acldefault('d', datdba)),
       datallowconn AND NOT datistemplate AND has_database_privilege('{COLLECTOR}', oid, 'CONNECT')
  FROM pg_database
"""

Acl = list[tuple[int, int, str, bool]]


def acl_sql(sql: str, columns: str, acls: Sequence[str]) -> str:
    """The statement with each of its ACLs as rows of JSON: grantee, grantor, privilege, grantable."""
    names = columns.split()
    chosen = [
        f"(SELECT json_agg(json_build_array(e.grantee, e.grantor, e.privilege_type, e.is_grantable))"
        f" FROM aclexplode(q.{name}) e)"
        if name in acls
        else f"q.{name}"
        for name in names
    ]
    return f"SELECT {', '.join(chosen)} FROM ({sql}) q({', '.join(names)})"


def holdings(acl: Acl | None) -> dict[tuple[int, str], tuple[bool, frozenset[int]]]:
    """(grantee, privilege) → grantable, grantors."""
    found: dict[tuple[int, str], tuple[bool, frozenset[int]]] = {}
    for grantee, grantor, privilege, grantable in acl or ():
        before = found.get((int(grantee), privilege), (False, frozenset()))
        found[int(grantee), privilege] = grantable or before[0], before[1] | {int(grantor)}
    return found


class Script:
    """Runs actions on a server. `log` is what was run, as SQL."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.log: list[str] = []
        #: Grants that were made, each with what comes before GRANT, the grantee, and the database.
        self.granted: list[tuple[str, str, str, str]] = []

    def set_up(self) -> None:
        for name in ROLES[:4]:
            self.run(f"CREATE ROLE {quoted(name)} LOGIN")
        for name in DATABASES[:2]:
            self._new_database(name)

    def _new_database(self, name: str) -> None:
        self.run(f"CREATE DATABASE {quoted(name)}")
        schema = quoted(SCHEMAS[0])
        self.run(f"CREATE SCHEMA {schema}", name)
        for own, sql in zip(NAMES, CREATE.values(), strict=False):
            self.run(sql.format(f"{schema}.{quoted(own)}"), name)

    def run(self, sql: str, database: str = "postgres") -> bool:
        """Run it, unless the server refuses, as it would for a person. A database that lets nobody in does so for it."""
        closed = database in {name for name, is_open in self.databases if not is_open}
        if closed:
            self.server.execute(f"ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS true")
        try:
            self.server.execute(sql, None, database)
        except psycopg2.Error as error:
            if (error.pgcode or "")[:2] not in ("0A", "0L", "0P", "22", "2B", "3D", "3F", "42", "55"):
                raise
            return False
        finally:
            if closed:
                self.server.execute(f"ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS false")
        self.log.append(sql if database == "postgres" else f"\\c {database}\n{sql}")
        return True

    @property
    def databases(self) -> list[tuple[str, bool]]:
        """Name, and whether it allows connections."""
        return self.server.execute(
            "SELECT datname::text, datallowconn FROM pg_database WHERE oid >= 16384 ORDER BY oid"
        )

    def roles(self) -> list[str]:
        sql = "SELECT rolname::text FROM pg_roles WHERE oid >= 16384 AND rolname <> %s ORDER BY oid"
        return [name for (name,) in self.server.execute(sql, [COLLECTOR])]

    def objects(self, database: str) -> list[tuple[str, str, str]]:
        """Kind, how SQL names it, and its schema; columns as (table, column)."""
        closed = not dict(self.databases)[database]
        if closed:
            self.server.execute(f"ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS true")
        rows = self.server.execute(f"SELECT q.a, q.d FROM ({OBJECTS} ORDER BY 2) q(a, b, c, d, e, f)", None, database)
        if closed:
            self.server.execute(f"ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS false")
        found = []
        for kind, path in rows:
            if kind == "default" or (kind == "schema" and path[0] == "public"):
                continue
            name = ".".join(map(quoted, path[:2]))
            if kind == "column":
                found.append((kind, name, quoted(path[2])))
            else:
                found.append((kind, name, quoted(path[0])))
        return found

    def act(self, action: str, numbers: Sequence[int]) -> None:
        a, b, c, d = numbers
        databases = [name for name, _ in self.databases]
        getattr(self, f"_{action}")(a, b, c, d, databases[d % len(databases)] if databases else "postgres")

    def _role(self, number: int) -> str:
        roles = self.roles() or ["postgres"]
        return quoted(roles[number % len(roles)])

    def _grantee(self, number: int) -> str:
        roles = [*map(quoted, self.roles()), "PUBLIC"]
        return roles[number % len(roles)]

    def _free(self, pool: Sequence[str], taken: Iterable[str], number: int) -> str | None:
        free = [name for name in pool if name not in set(taken)]
        return free[number % len(free)] if free else None

    # Roles

    def _role_create(self, a: int, b: int, *_: Any) -> None:
        if name := self._free(ROLES, self.roles(), a):
            self.run(f"CREATE ROLE {quoted(name)} {('LOGIN', 'NOLOGIN', 'SUPERUSER')[b % 3]}")

    def _role_drop(self, a: int, *_: Any) -> None:
        self._drop_role(self._role(a))

    def _drop_role(self, role: str) -> bool:
        if len(self.roles()) < 3:
            return False
        for database in ("postgres", *(name for name, _ in self.databases)):
            self.run(f"REASSIGN OWNED BY {role} TO CURRENT_USER", database)
            self.run(f"DROP OWNED BY {role} CASCADE", database)
        return self.run(f"DROP ROLE {role}")

    def _role_recreate(self, a: int, b: int, *_: Any) -> None:
        role = self._role(a)
        if self._drop_role(role):
            self.run(f"CREATE ROLE {role} {('LOGIN', 'NOLOGIN')[b % 2]}")

    def _role_rename(self, a: int, b: int, *_: Any) -> None:
        if name := self._free(ROLES, self.roles(), b):
            self.run(f"ALTER ROLE {self._role(a)} RENAME TO {quoted(name)}")

    def _role_swap(self, a: int, b: int, *_: Any) -> None:
        self._exchange("ROLE", self._role(a), self._role(b), self._role(a), self._role(b))

    def _exchange(
        self, noun: str, one: str, other: str, one_name: str, other_name: str, database: str = "postgres"
    ) -> None:
        """Swap two names; the last two are those without the schema."""
        if one == other:
            return
        schema = one.removesuffix(one_name)
        if self.run(f"ALTER {noun} {one} RENAME TO swapped", database):
            self.run(f"ALTER {noun} {other} RENAME TO {one_name}", database)
            self.run(f"ALTER {noun} {schema}swapped RENAME TO {other_name}", database)

    def _attribute(self, a: int, b: int, *_: Any) -> None:
        self.run(f"ALTER ROLE {self._role(a)} {ATTRIBUTES[b % len(ATTRIBUTES)]}")

    def _join(self, a: int, b: int, c: int, d: int, _: str) -> None:
        words = ("ADMIN TRUE", "ADMIN FALSE", "INHERIT TRUE", "INHERIT FALSE", "SET TRUE", "SET FALSE")
        option = ("", "", " WITH ADMIN OPTION", *(f" WITH {word}" for word in words))[c % 9]
        if self.server.major < 16 and not option.endswith("OPTION"):
            option = ""
        by = ("", "", f" GRANTED BY {self._role(d)}")[d % 3]
        self.run(f"GRANT {self._role(a)} TO {self._role(b)}{option}{by}")

    def _leave(self, a: int, b: int, *_: Any) -> None:
        self._end_membership(a, "")

    def _leave_option(self, a: int, b: int, *_: Any) -> None:
        words = ("ADMIN", "INHERIT", "SET") if self.server.major >= 16 else ("ADMIN",)
        self._end_membership(a, f"{words[b % len(words)]} OPTION FOR ")

    def _end_membership(self, number: int, option: str) -> None:
        sql = (
            "SELECT r.rolname::text, m.rolname::text, g.rolname::text FROM pg_auth_members a"
            " JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member"
            " LEFT JOIN pg_roles g ON g.oid = a.grantor WHERE a.roleid >= 16384 ORDER BY 1, 2, 3"
        )
        if there := self.server.execute(sql):
            role, member, grantor = map(quoted, there[number % len(there)])
            by = f" GRANTED BY {grantor}" if self.server.major >= 16 else ""
            self.run(f"REVOKE {option}{role} FROM {member}{by} CASCADE")

    # Privileges

    def _thing(self, a: int, b: int, database: str) -> tuple[str, str]:
        """What is between GRANT and TO, and the database to do it in."""
        everywhere = [("database", f"DATABASE {quoted(database)}"), ("tablespace", "TABLESPACE pg_default")]
        if self.server.major >= 15:
            everywhere.append(("parameter", "PARAMETER work_mem"))
        inside = [
            (kind, f"TABLE {name}" if kind == "column" else f"{NOUNS[kind]} {name}", column)
            for kind, name, column in self.objects(database)
        ]
        things = [*inside, *((kind, name, "") for kind, name in everywhere)]
        kind, name, column = things[a % len(things)]
        privilege = PRIVILEGES[kind][b % len(PRIVILEGES[kind])]
        if kind == "column":
            privilege += f" ({column})"
        return f"{privilege} ON {name}", database if (kind, name, column) in inside else "postgres"

    def _grant(self, a: int, b: int, c: int, d: int, database: str) -> None:
        what, where = self._thing(a, b, database)
        grantee = self._grantee(c)
        option = " WITH GRANT OPTION" if grantee != "PUBLIC" and b % 2 else ""
        by = f"SET ROLE {self._role(d)}; " if d % 3 == 0 else ""
        if self.run(f"{by}GRANT {what} TO {grantee}{option}", where):
            self.granted.append((by, what, grantee, where))

    def _revoke(self, a: int, *_: Any) -> None:
        self._take_back(a, "")

    def _revoke_option(self, a: int, *_: Any) -> None:
        self._take_back(a, "GRANT OPTION FOR ")

    def _grant_again(self, a: int, b: int, c: int, *_: Any) -> None:
        if granted := self._granted(a):
            by, what, grantee, where = granted
            option = " WITH GRANT OPTION" if grantee != "PUBLIC" and b % 2 else ""
            self.run(f"{by if c % 2 else ''}GRANT {what} TO {grantee}{option}", where)

    def _granted(self, number: int) -> tuple[str, str, str, str] | None:
        """One of the grants that were made, in a database that is there."""
        there = {"postgres", *dict(self.databases)}
        found = [one for one in self.granted if one[-1] in there]
        return found[number % len(found)] if found else None

    def _take_back(self, number: int, option: str) -> None:
        if granted := self._granted(number):
            by, what, grantee, where = granted
            self.run(f"{by}REVOKE {option}{what} FROM {grantee} CASCADE", where)

    def _default(self, a: int, b: int, c: int, d: int, database: str) -> None:
        schemas = [name for kind, _, name in self.objects(database) if kind == "schema"]
        inside = f" IN SCHEMA {schemas[b % len(schemas)]}" if schemas and b % 2 else ""
        what = ("SELECT ON TABLES", "INSERT ON TABLES", "USAGE ON SEQUENCES", "EXECUTE ON FUNCTIONS")[c % 4]
        word = ("GRANT {} TO {}", "GRANT {} TO {}", "REVOKE {} FROM {}")[d % 3].format(what, self._grantee(b))
        self.run(f"ALTER DEFAULT PRIVILEGES FOR ROLE {self._role(a)}{inside} {word}", database)

    def _built_in(self, a: int, b: int, c: int, d: int, database: str) -> None:
        noun, name, privilege = BUILT_IN[a % len(BUILT_IN)]
        grantee = self._grantee(b)
        option = " WITH GRANT OPTION" if grantee != "PUBLIC" and d % 2 else ""
        if c % 2:
            self.run(f"GRANT {privilege} ON {noun} {name} TO {grantee}{option}", database)
        else:
            self.run(f"REVOKE {privilege} ON {noun} {name} FROM {('PUBLIC', grantee)[d % 2]} CASCADE", database)

    # Objects

    def _one(self, number: int, database: str, kinds: Iterable[str] = tuple(CREATE)) -> tuple[str, str, str] | None:
        found = [row for row in self.objects(database) if row[0] in kinds]
        return found[number % len(found)] if found else None

    def _schemas(self, database: str) -> list[str]:
        return [schema for kind, _, schema in self.objects(database) if kind == "schema"]

    def _create(self, a: int, b: int, c: int, d: int, database: str) -> None:
        schemas = self._schemas(database)
        if schemas:
            kind = tuple(CREATE)[a % len(CREATE)]
            self.run(CREATE[kind].format(f"{schemas[b % len(schemas)]}.{quoted(NAMES[c % len(NAMES)])}"), database)

    def _drop(self, a: int, b: int, c: int, d: int, database: str) -> None:
        if one := self._one(a, database):
            self.run(f"DROP {NOUNS[one[0]]} {one[1]} CASCADE", database)

    def _recreate(self, a: int, b: int, c: int, d: int, database: str) -> None:
        if one := self._one(a, database):
            kind, name, _ = one
            if self.run(f"DROP {NOUNS[kind]} {name} CASCADE", database):
                self.run(CREATE[kind].format(name), database)
                if b % 2:
                    self.run(f"GRANT ALL ON {NOUNS[kind]} {name} TO {self._grantee(c)}", database)

    def _rename(self, a: int, b: int, c: int, d: int, database: str) -> None:
        if one := self._one(a, database):
            self.run(f"ALTER {NOUNS[one[0]]} {one[1]} RENAME TO {quoted(NAMES[b % len(NAMES)])}", database)

    def _move(self, a: int, b: int, c: int, d: int, database: str) -> None:
        if one := self._one(a, database):
            schemas = [*self._schemas(database), "public"]
            self.run(f"ALTER {NOUNS[one[0]]} {one[1]} SET SCHEMA {schemas[b % len(schemas)]}", database)

    def _swap_names(self, one: tuple[str, str, str], other: tuple[str, str, str], database: str) -> None:
        names = [row[1].removeprefix(f"{row[2]}.") for row in (one, other)]
        self._exchange(NOUNS[one[0]], one[1], other[1], *names, database)

    def _swap_objects(self, a: int, b: int, c: int, d: int, database: str) -> None:
        one = self._one(a, database)
        if one:
            alike = [row for row in self.objects(database) if row[0] == one[0] and row[2] == one[2] and row != one]
            if alike:
                self._swap_names(one, alike[b % len(alike)], database)

    def _owner(self, a: int, b: int, c: int, d: int, database: str) -> None:
        things = [f"DATABASE {quoted(database)}"]
        things += [f"{NOUNS[kind]} {name}" for kind, name, _ in self.objects(database) if kind in CREATE]
        things += [f"SCHEMA {schema}" for schema in self._schemas(database)]
        thing = things[a % len(things)]
        self.run(f"ALTER {thing} OWNER TO {self._role(b)}", "postgres" if thing.startswith("DATABASE") else database)

    def _column_rename(self, a: int, b: int, c: int, d: int, database: str) -> None:
        if one := self._one(a, database, ("column",)):
            self.run(f"ALTER TABLE {one[1]} RENAME {one[2]} TO {quoted(COLUMNS[b % len(COLUMNS)])}", database)

    def _column_drop(self, a: int, b: int, c: int, d: int, database: str) -> None:
        one = self._one(a, database, ("column",))
        if one and self.run(f"ALTER TABLE {one[1]} DROP {one[2]} CASCADE", database) and b % 2:
            self.run(f"ALTER TABLE {one[1]} ADD {one[2]} int", database)
            self.run(f"GRANT UPDATE ({one[2]}) ON {one[1]} TO {self._grantee(c)}", database)

    def _schema_create(self, a: int, b: int, c: int, d: int, database: str) -> None:
        self.run(f"CREATE SCHEMA {quoted(SCHEMAS[a % len(SCHEMAS)])} AUTHORIZATION {self._role(b)}", database)

    def _schema_drop(self, a: int, b: int, c: int, d: int, database: str) -> None:
        if schemas := self._schemas(database):
            self.run(f"DROP SCHEMA {schemas[a % len(schemas)]} CASCADE", database)

    def _schema_rename(self, a: int, b: int, c: int, d: int, database: str) -> None:
        if schemas := self._schemas(database):
            new = quoted(SCHEMAS[b % len(SCHEMAS)])
            self.run(f"ALTER SCHEMA {schemas[a % len(schemas)]} RENAME TO {new}", database)

    def _schema_swap(self, a: int, b: int, c: int, d: int, database: str) -> None:
        schemas = self._schemas(database)
        if len(schemas) > 1:
            one, other = schemas[a % len(schemas)], schemas[b % len(schemas)]
            self._exchange("SCHEMA", one, other, one, other, database)

    # Databases

    def _database_create(self, a: int, *_: Any) -> None:
        if name := self._free(DATABASES, [name for name, _ in self.databases], a):
            self._new_database(name)

    def _database_drop(self, a: int, b: int, c: int, d: int, database: str) -> None:
        if len(self.databases) > 1:
            self._drop_database(database)

    def _drop_database(self, database: str) -> bool:
        self.server.drop_database(database)
        self.log.append(f"DROP DATABASE {quoted(database)}")
        return True

    def _database_recreate(self, a: int, b: int, c: int, d: int, database: str) -> None:
        self._drop_database(database)
        self._new_database(database)
        if a % 2:
            self.run(f"REVOKE CONNECT ON DATABASE {quoted(database)} FROM PUBLIC")

    def _database_rename(self, a: int, b: int, c: int, d: int, database: str) -> None:
        if name := self._free(DATABASES, [name for name, _ in self.databases], a):
            self.run(f"ALTER DATABASE {quoted(database)} RENAME TO {quoted(name)}")

    def _database_swap(self, a: int, b: int, c: int, d: int, database: str) -> None:
        others = [name for name, _ in self.databases if name != database]
        if others:
            one, other = quoted(database), quoted(others[a % len(others)])
            self._exchange("DATABASE", one, other, one, other)

    def _hide(self, a: int, b: int, c: int, d: int, database: str) -> None:
        self.run(f"REVOKE CONNECT ON DATABASE {quoted(database)} FROM PUBLIC")

    def _close(self, a: int, b: int, c: int, d: int, database: str) -> None:
        self.run(f"ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS false")

    def _show(self, a: int, b: int, c: int, d: int, database: str) -> None:
        self.run(f"ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS true")
        self.run(f"GRANT CONNECT ON DATABASE {quoted(database)} TO PUBLIC")


def read(server: Any) -> Truth:
    """What the server has, as far as the collector can read it."""
    people: dict[Any, dict[str, Any]] = {
        0: {
            "label": "public", "kind": "public", "can_login": False, "is_superuser": None, "is_locked": None,
            "valid_until": None, "connection_limit": None,
        }
    }  # fmt: skip
    grants: dict[Key, Held] = {}
    expired = set()
    names = {}
    for oid, name, login, superuser, role, database, replication, rls, inherit, limit, until, passed in server.execute(
        ROLE_ROWS
    ):
        names[oid] = name
        people[oid] = {
            "label": name,
            "kind": "user" if login else "role",
            "can_login": login,
            "is_superuser": superuser,
            "is_locked": bool(login and passed),
            "valid_until": until and until.isoformat(),
            "connection_limit": limit,
        }
        if passed:
            expired.add(oid)
        held = {
            "SUPERUSER": superuser, "CREATEROLE": role, "CREATEDB": database, "REPLICATION": replication,
            "BYPASSRLS": rls, "LOGIN": login, "NOINHERIT": server.major < 16 and not inherit,
        }  # fmt: skip
        for attribute, has in held.items():
            if has:
                grants[oid, "attribute", "", attribute, False] = Held({"grantable": False})

    def add(kind: str, own_id: str, place: tuple[Line, ...], acl: Acl | None, owner: int | None, database: str) -> None:
        for (grantee, privilege), (grantable, grantors) in holdings(acl).items():
            key = (grantee, kind, own_id, privilege, False)
            grants[key] = Held({"grantable": grantable}, grantors, place, database)
        if owner is not None:
            grants[owner, kind, own_id, "OWNER", False] = Held({"grantable": False}, frozenset(), place, database)

    readable, databases, there = set(), {}, defaultdict(set)
    for oid, name, owner, acl, is_read in server.execute(acl_sql(DATABASE_ROWS, "oid name owner acl read", ["acl"])):
        databases[str(oid)] = name
        top = ("database", str(oid), dotted(name))
        add("database", str(oid), (top,), acl, owner, name)
        if not is_read:
            continue
        readable.add(str(oid))
        columns = acl_sql(OBJECTS, "kind id owner path ids acl", ["acl"])
        for kind, own_id, own_owner, path, ids, own_acl in server.execute(columns, None, name):
            own_id = f"{oid}/{own_id}"
            there[str(oid)].add(own_id)
            add(kind, own_id, place_of(top, name, kind, own_id, path, ids), own_acl, own_owner, name)
        columns = acl_sql(SHIPPED, "kind id path acl shipped", ["acl", "shipped"])
        for kind, own_id, path, own_acl, shipped in server.execute(columns, None, name):
            own_id = f"{oid}/{own_id}"
            there[str(oid)].add(own_id)
            place = (top, (kind, own_id, scope_of(name, kind, path)))
            now, before = holdings(own_acl), holdings(shipped)
            for (grantee, privilege), (grantable, grantors) in now.items():
                if (grantee, privilege) not in before or grantable > before[grantee, privilege][0]:
                    key = (grantee, kind, own_id, privilege, False)
                    grants[key] = Held({"grantable": grantable}, grantors, place, name)
            for grantee, privilege in before.keys() - now.keys():
                # Nobody grants what is taken away.
                key = (grantee, kind, own_id, privilege, True)
                grants[key] = Held({"grantable": False}, frozenset(), place, name)
    sql = "SELECT oid, spcname, spcowner, coalesce(spcacl, acldefault('t', spcowner)) FROM pg_tablespace"
    for oid, name, owner, acl in server.execute(acl_sql(sql, "oid name owner acl", ["acl"])):
        add("tablespace", str(oid), (("tablespace", str(oid), dotted(name)),), acl, owner, "")
    if server.major >= 15:
        for name, acl in server.execute(acl_sql("SELECT parname, paracl FROM pg_parameter_acl", "name acl", ["acl"])):
            add("parameter", name, (("parameter", name, dotted(name)),), acl, None, "")

    def fate(key: Key, held: Held) -> str:
        _, kind, own_id, _, _ = key
        if kind in ("attribute", "tablespace", "parameter"):
            return "revoked"
        database = own_id.partition("/")[0]
        if database not in databases:
            return "dropped"
        if kind == "database":
            return "revoked"
        if database not in readable:
            return "unread"
        if own_id in there[database]:
            return "revoked"
        # A column, or default privileges, may go while all objects with owners stay.
        if kind == "default" or (kind == "column" and own_id.rpartition("/")[0] in there[database]):
            return "either"
        return "dropped"

    def moved(key: Key, held: Held) -> Held:
        name = databases[key[2].partition("/")[0]]
        before, after = held.place[0][2], dotted(name)
        place = tuple((kind, own_id, after + path.removeprefix(before)) for kind, own_id, path in held.place)
        return Held(held.options, held.grantors, place, name, held.since, held.seen)

    return Truth(people, grants, memberships(server, names), fate, moved, frozenset(expired))


def memberships(server: Any, names: dict[int, str]) -> dict[Key, Held]:
    if server.major >= 16:
        sql = "SELECT member, roleid, grantor, admin_option, inherit_option, set_option FROM pg_auth_members"
    else:
        sql = (
            "SELECT m.member, m.roleid, NULL, m.admin_option, r.rolinherit, true"
            " FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member"
        )
    found: dict[Key, Held] = {}
    for member, role, grantor, *values in server.execute(sql):
        before = found.get((member, role), Held(dict.fromkeys(("admin_option", "inherit", "set_option"), False)))
        options = {name: value or before.options[name] for name, value in zip(before.options, values, strict=True)}
        found[member, role] = Held(options, before.grantors | ({grantor} if grantor else set()))
    return found


def scope_of(database: str, kind: str, path: Sequence[str]) -> str:
    return f"{dotted(database, *path[:-1])}({path[-1]})" if kind == "routine" else dotted(database, *path)


def place_of(
    top: Line, database: str, kind: str, own_id: str, path: Sequence[str], ids: Sequence[int]
) -> tuple[Line, ...]:
    """The containers of an object and itself, outermost first."""
    scope = scope_of(database, kind, path)
    if kind == "default":
        return top, (kind, own_id, scope)
    kinds = {1: ("schema",), 2: ("schema", kind), 3: ("schema", "table", kind)}[len(ids)]
    paths = [dotted(database, *path[:number]) for number in range(1, len(ids))]
    own = [f"{top[1]}/{one}" for one in ids[:-1]]
    inner = tuple(zip(kinds, [*own, own_id], [*paths, scope], strict=True))
    return (top, *inner)
