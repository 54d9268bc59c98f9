"""An emulated Oracle server: its dictionary in an embedded PostgreSQL, behind a DB-API connection.

The adapter's SQL runs unchanged on the tables of `oracle_dictionary`, as a role that may read only what `print_grants
oracle` grants; these GRANT statements run unchanged too. Errors are python-oracledb's objects. Some kinds of DDL create
the rows that Oracle would have in its dictionary, so that a test can run here and on a real server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Any

import oracledb
import psycopg2
import pytest
from oracledb.errors import _Error
from psycopg2 import errorcodes, sql

from engines.oracle import session as session_module
from engines.registry import ENGINES
from engines.target import Target
from engines.tests.oracle_dictionary import Version, check, tables
from taifish.tests.postgres import PostgresServer

TYPES = {"text": "text", "number": "bigint", "date": "timestamp", "moment": "timestamptz", "raw": "bytea"}

#: The role of the collector in PostgreSQL.
READER = "oracle_reader"

ROOT = "CDB$ROOT"
MB = 2**20


def database_error(number: int, message: str) -> oracledb.Error:
    """The exception of python-oracledb for an ORA- error."""
    error = _Error(message=f"ORA-{number:05}: {message}", code=number)
    return error.exc_type(error)


@dataclass
class Pdb:
    """A container: `mode` and `restricted` are those of V$CONTAINERS."""

    name: str
    number: int
    mode: str = "READ WRITE"
    restricted: str = "NO"
    guid: bytes = b""

    @property
    def is_shown(self) -> bool:
        """Whether the root's CDB_ views have its rows. https://docs.oracle.com/database/121/REFRN (CDB_ views)"""
        return self.mode.startswith("READ") and self.restricted == "NO" and self.name != "PDB$SEED"


ServeOracle = Callable[..., "Emulated"]


def guid(number: int) -> bytes:
    return bytes([number]) * 16


#: Shape → version, container, PDBs.
SHAPES: dict[str, tuple[str, str, tuple[Pdb, ...]]] = {
    "12.1, no containers": ("12.1.0.2.0", "", ()),
    "19c PDB": ("19.24.0.0.0", "SHOPPDB", (Pdb("SHOPPDB", 3, guid=guid(3)),)),
    "23ai root": (
        "23.5.0.24.07",
        ROOT,
        (Pdb("SHOPPDB", 3, guid=guid(3)), Pdb("HRPDB", 4, "READ ONLY", guid=guid(4))),
    ),
}


class Emulated:
    """`here` is the container that the service leads to; "" for a server without containers, whose database is ORCL.

    `rows` are of all containers: view, less its prefix → rows, with CON_ID. `denied` names GRANT statements' views that
    the collector lacks, and `granted` those that it has beyond the script.
    """

    def __init__(self, server: PostgresServer, version: str, here: str = "", pdbs: tuple[Pdb, ...] = ()) -> None:
        self.server, self.version_text = server, version
        major, minor = version.split(".")[:2]
        self.version: Version = (int(major), int(minor))
        self.root = Pdb(ROOT, 1, guid=bytes(16))
        self.pdbs = [self.root, Pdb("PDB$SEED", 2, "READ ONLY", guid=b"\x02" * 16), *pdbs] if here else []
        self.here = next((pdb for pdb in self.pdbs if pdb.name == here), Pdb("ORCL", 0))
        self.in_root = here == ROOT
        self.prefix = "C##" if self.in_root else ""
        self.user, self.container = f"{self.prefix}TAIFISH", self.here.name
        self.role, self.allowed = "PRIMARY", {pdb.name for pdb in self.pdbs}
        self.time_zone = "Asia/Shanghai"
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.denied: set[str] = set()
        self.granted: set[str] = set()
        self.statements: list[str] = []
        self.on_execute: list[Any] = []
        for pdb in self.pdbs or [self.here]:
            self._furnish(pdb)

    # Initial rows

    def _furnish(self, pdb: Pdb) -> None:
        for number, name in enumerate(("SYS", "SYSTEM", "OUTLN", "DBSNMP")):
            self.user_row(name, pdb, USER_ID=number, ORACLE_MAINTAINED="Y", COMMON="YES")
        for number, name in enumerate(("DBA", "CONNECT", "RESOURCE", "SELECT_CATALOG_ROLE"), start=10):
            columns = {"AUTHENTICATION_TYPE": "NONE", "ORACLE_MAINTAINED": "Y", "COMMON": "YES", "ROLE_ID": number}
            self.add("ROLES", pdb, ROLE=name, **columns)
        self.add("PROFILES", pdb, PROFILE="DEFAULT", RESOURCE_NAME="SESSIONS_PER_USER", LIMIT="UNLIMITED")
        self.add("PROFILES", pdb, PROFILE="DEFAULT", RESOURCE_NAME="IDLE_TIME", LIMIT="UNLIMITED")
        for privilege in ("CREATE SESSION", "SELECT ANY TABLE"):
            self.add("SYS_PRIVS", pdb, GRANTEE="DBA", PRIVILEGE=privilege, ADMIN_OPTION="NO", COMMON="YES")
        self.member("DBA", "SYS", pdb, admin="YES", common="YES")
        for name in ("DUAL", "ALL_TABLES"):
            self.object("PUBLIC", "SYS", name, "VIEW", "SELECT", pdb)
        self.object("SELECT_CATALOG_ROLE", "SYS", "DBA_USERS", "VIEW", "SELECT", pdb)
        for name, contents in (("SYSTEM", "PERMANENT"), ("USERS", "PERMANENT"), ("TEMP", "TEMPORARY")):
            self.add("TABLESPACES", pdb, TABLESPACE_NAME=name, CONTENTS=contents, BLOCK_SIZE=8192, STATUS="ONLINE")
            files = "TEMP_FILES" if name == "TEMP" else "DATA_FILES"
            limit = {"AUTOEXTENSIBLE": "YES", "MAXBYTES": 1024 * MB}
            self.add(files, pdb, TABLESPACE_NAME=name, BYTES=100 * MB, **limit)
            self.add("TABLESPACE_USAGE_METRICS", pdb, TABLESPACE_NAME=name, USED_SPACE=1280)
        if pdb.number < 2:
            self.rows.setdefault("V$PWFILE_USERS", []).append(self.pwfile("SYS", "SYSDBA", "SYSOPER", pdb=pdb))

    def add(self, view: str, pdb: Pdb | None = None, **columns: Any) -> None:
        self.rows.setdefault(view, []).append({"CON_ID": (pdb or self.here).number, **columns})

    def user_row(self, name: str, pdb: Pdb | None = None, **columns: Any) -> None:
        self.add(
            "USERS",
            pdb,
            **{
                "USERNAME": name,
                "USER_ID": 100 + len(self.rows.get("USERS", ())),
                "PASSWORD": None,
                "ACCOUNT_STATUS": "OPEN",
                "PROFILE": "DEFAULT",
                "AUTHENTICATION_TYPE": "PASSWORD",
                "PASSWORD_VERSIONS": "11G 12C ",
                "PROXY_ONLY_CONNECT": "N",
                "COMMON": "NO",
                "ORACLE_MAINTAINED": "N",
                "PASSWORD_CHANGE_DATE": datetime(2026, 5, 3, 14, 0),
                **columns,
            },
        )

    def member(
        self,
        role: str,
        member: str,
        pdb: Pdb | None = None,
        admin: str = "NO",
        default: str = "YES",
        common: str = "NO",
    ) -> None:
        self.add(
            "ROLE_PRIVS",
            pdb,
            GRANTED_ROLE=role,
            GRANTEE=member,
            ADMIN_OPTION=admin,
            DEFAULT_ROLE=default,
            COMMON=common,
        )

    def object(
        self,
        grantee: str,
        owner: str,
        name: str,
        kind: str,
        privilege: str,
        pdb: Pdb | None = None,
        grantable: str = "NO",
        common: str = "NO",
        grantor: str = "",
    ) -> None:
        columns = {"GRANTEE": grantee, "OWNER": owner, "TABLE_NAME": name, "TYPE": kind, "PRIVILEGE": privilege}
        options = {"GRANTABLE": grantable, "COMMON": common, "GRANTOR": grantor or owner}
        self.add("TAB_PRIVS", pdb, **columns, **options)

    def pwfile(self, name: str, *privileges: str, pdb: Pdb | None = None, common: str = "YES") -> dict[str, Any]:
        flags = ("SYSDBA", "SYSOPER", "SYSASM", "SYSBACKUP", "SYSDG", "SYSKM")
        number = (pdb or self.here).number
        held = {flag: "TRUE" if flag in privileges else "FALSE" for flag in flags}
        return {"USERNAME": name, "CON_ID": number, "COMMON": common, **held}

    # DDL that the shared tests use

    def execute(self, *statements: str) -> None:
        for statement in statements:
            for pattern, act in self._ddl():
                if found := re.fullmatch(pattern, statement.replace("~", self.prefix)):
                    act(**found.groupdict())
                    break
            else:
                raise AssertionError(f"not understood here: {statement}")

    def _ddl(self) -> Iterator[tuple[str, Any]]:
        yield r"CREATE USER (?P<name>\S+) IDENTIFIED BY \S+(?P<rest>.*)", self._create_user
        yield r"CREATE ROLE (?P<name>\S+)(?P<rest> IDENTIFIED BY \S+)?", self._create_role
        yield r"CREATE PROFILE (?P<name>\S+) LIMIT SESSIONS_PER_USER (?P<limit>\d+)", self._create_profile
        yield r"CREATE (?P<kind>TABLE|PROCEDURE|SEQUENCE) (?P<owner>[\w#]+)\.(?P<name>\w+)(?P<rest>.*)", self._create
        yield r"ALTER USER (?P<client>\S+) GRANT CONNECT THROUGH (?P<proxy>\S+)", self._proxy
        yield r"ALTER USER (?P<user>\S+) DEFAULT ROLE NONE", self._default_none
        yield (
            (
                r"GRANT (?P<privilege>\w+)(?: \((?P<column>\w+)\))? ON (?P<owner>[\w#]+)\.(?P<name>\w+) TO (?P<grantee>\S+)"
                r"(?P<option> WITH GRANT OPTION)?"
            ),
            self._grant_object,
        )
        yield r"GRANT (?P<what>[\w# ]+?) TO (?P<grantee>\S+)(?P<option> WITH ADMIN OPTION)?", self._grant

    def _create_user(self, name: str, rest: str) -> None:
        status = [word for word, ddl in (("EXPIRED", "PASSWORD EXPIRE"), ("LOCKED", "ACCOUNT LOCK")) if ddl in rest]
        profile = re.search(r"PROFILE (\S+)", rest)
        self.user_row(name, ACCOUNT_STATUS=" & ".join(status) or "OPEN", PROFILE=profile[1] if profile else "DEFAULT")
        for size, tablespace in re.findall(r"QUOTA (\S+) ON (\S+)", rest):
            limit = -1 if size == "UNLIMITED" else int(size.removesuffix("M")) * MB
            columns = {"BYTES": 0, "MAX_BYTES": limit, "DROPPED": "NO"}
            self.add("TS_QUOTAS", USERNAME=name, TABLESPACE_NAME=tablespace, **columns)

    def _create_role(self, name: str, rest: str | None) -> None:
        secured = "PASSWORD" if rest else "NONE"
        number = 500 + len(self.rows["ROLES"])
        columns = {"AUTHENTICATION_TYPE": secured, "ORACLE_MAINTAINED": "N", "COMMON": "NO", "ROLE_ID": number}
        self.add("ROLES", ROLE=name, **columns)

    def _create_profile(self, name: str, limit: str) -> None:
        self.add("PROFILES", PROFILE=name, RESOURCE_NAME="SESSIONS_PER_USER", LIMIT=limit)

    def _create(self, kind: str, owner: str, name: str, rest: str) -> None:
        self.stored_object(owner, name, kind)

    def stored_object(self, owner: str, name: str, kind: str, pdb: Pdb | None = None, part: str | None = None) -> int:
        """The id of a new object. `part` is the name of a partition."""
        number = 70_000 + len(self.rows.get("OBJECTS", ()))
        columns = {"OWNER": owner, "OBJECT_NAME": name, "SUBOBJECT_NAME": part, "OBJECT_TYPE": kind}
        self.add("OBJECTS", pdb, **columns, OBJECT_ID=number)
        return number

    def _proxy(self, client: str, proxy: str) -> None:
        constraint = {"AUTHENTICATION": "NO", "AUTHORIZATION_CONSTRAINT": "PROXY MAY ACTIVATE ALL CLIENT ROLES"}
        self.add("PROXIES", PROXY=proxy, CLIENT=client, **constraint)

    def _default_none(self, user: str) -> None:
        for row in self.rows["ROLE_PRIVS"]:
            if row["GRANTEE"] == user:
                row["DEFAULT_ROLE"] = "NO"

    def _grant(self, what: str, grantee: str, option: str | None) -> None:
        admin = "YES" if option else "NO"
        if any(role["ROLE"] == what for role in self.rows["ROLES"]):
            self.member(what, grantee, admin=admin)
        else:
            self.add("SYS_PRIVS", GRANTEE=grantee, PRIVILEGE=what, ADMIN_OPTION=admin, COMMON="NO")

    def _grant_object(
        self, privilege: str, column: str | None, owner: str, name: str, grantee: str, option: str | None
    ) -> None:
        grantable = "YES" if option else "NO"
        if column:
            columns = {"GRANTEE": grantee, "OWNER": owner, "TABLE_NAME": name, "COLUMN_NAME": column}
            self.add("COL_PRIVS", **columns, PRIVILEGE=privilege, GRANTABLE=grantable, GRANTOR=owner)
            return
        (kind,) = (
            row["OBJECT_TYPE"] for row in self.rows["OBJECTS"] if (row["OWNER"], row["OBJECT_NAME"]) == (owner, name)
        )
        self.object(grantee, owner, name, kind, privilege, grantable=grantable)

    # The collector's view

    def collector(self, level: str = "C") -> Target:
        service = self.here.name.lower()
        return Target("oracle", "oracle.test", self.user, "pass-phrase", database=service, level=level)

    def connect(self) -> Connection:
        self._lay_out()
        return Connection(self)

    def _lay_out(self) -> None:
        """The dictionary for this session."""
        known = tables(self.version)
        with self.server.superuser("oracle") as cursor:
            cursor.execute(
                f"DROP SCHEMA IF EXISTS sys CASCADE; CREATE SCHEMA sys; GRANT USAGE ON SCHEMA sys TO {READER}"
            )
            context = {
                "CON_ID": self.here.number,
                "CON_NAME": self.here.name,
                "DATABASE_ROLE": self.role,
                "SESSION_USER": self.user,
            }
            cases = " ".join(f"WHEN '{name}' THEN '{value}'" for name, value in context.items())
            cursor.execute(
                "CREATE FUNCTION sys.sys_context(text, text) RETURNS text LANGUAGE sql AS"
                f" $$ SELECT CASE $2 {cases} END $$;"
                "CREATE FUNCTION sys.sys_extract_utc(timestamptz) RETURNS timestamp LANGUAGE sql AS"
                " $$ SELECT $1 AT TIME ZONE 'UTC' $$;"
                "CREATE VIEW sys.dual AS SELECT 'X' AS dummy, now() AS systimestamp; GRANT SELECT ON sys.dual TO PUBLIC"
            )
            for name, columns in known.items():
                self._create_table(cursor, name, columns, self.shown(name))
            beyond = [f"GRANT SELECT ON {view} TO {self.user};" for view in self.granted]
            for statement in [*self.script(), *beyond]:
                found = re.fullmatch(r"(GRANT SELECT ON (\S+)) TO \S+?( CONTAINER=ALL)?;", statement)
                if found and found[2] not in self.denied:
                    cursor.execute(f"{found[1]} TO {READER}")

    def script(self) -> list[str]:
        found = ENGINES["oracle"].script("C", (self.user, ""), product="Oracle", version=self.version_text)
        return [statement.sql for statement in found]

    def _create_table(self, cursor: Any, name: str, columns: dict[str, str], rows: list[dict[str, Any]]) -> None:
        table = name.replace("V$", "V_$").lower()
        kinds = ", ".join(f'"{column.lower()}" {TYPES[kind]}' for column, kind in columns.items())
        cursor.execute(f'CREATE TABLE sys."{table}" ({kinds})')
        if name.startswith("V$"):
            cursor.execute(
                f'CREATE VIEW sys."{name.lower()}" WITH (security_invoker) AS SELECT * FROM sys."{table}";'
                f'GRANT SELECT ON sys."{name.lower()}" TO PUBLIC'
            )
        elif name.startswith(("ALL_", "USER_", "ROLE_")):
            cursor.execute(f'GRANT SELECT ON sys."{table}" TO PUBLIC')
        insert = sql.SQL("INSERT INTO sys.{} VALUES ({})").format(
            sql.Identifier(table), sql.SQL(", ").join([sql.Placeholder()] * len(columns))
        )
        for row in rows:
            cursor.execute(insert, [row.get(column) for column in columns])

    def shown(self, view: str) -> list[dict[str, Any]]:
        """The rows of a view for a session in `here`."""
        seen = {pdb.number for pdb in self.pdbs if pdb.is_shown and pdb.name in self.allowed}
        here = self.here.number
        if view == "V$CONTAINERS":
            visible = [pdb for pdb in self.pdbs if pdb.name in self.allowed and (self.in_root or pdb is self.here)]
            return [
                {
                    "CON_ID": pdb.number,
                    "NAME": pdb.name,
                    "GUID": pdb.guid,
                    "OPEN_MODE": pdb.mode,
                    "RESTRICTED": pdb.restricted,
                }
                for pdb in visible
            ]
        if view == "V$PWFILE_USERS":
            # A PDB also sees rows for the whole server.
            wanted = {0, 1, here} if not self.in_root else {0, *seen}
            return [row for row in self.rows[view] if row["CON_ID"] in wanted]
        if view == "ALL_TAB_COLUMNS":
            return [
                {"OWNER": "SYS", "TABLE_NAME": name.replace("V$", "V_$"), "COLUMN_NAME": column}
                for name, columns in tables(self.version).items()
                for column in columns
            ]
        if view == "DBA_CONTAINER_DATA":
            rows = [{"ALL_CONTAINERS": "N", "CONTAINER_NAME": name} for name in sorted(self.allowed)]
            if self.allowed == {pdb.name for pdb in self.pdbs}:
                rows = [{"ALL_CONTAINERS": "Y", "CONTAINER_NAME": None}]
            return [{"USERNAME": self.user, "DEFAULT_ATTR": "Y", **row} for row in rows]
        prefix, _, name = view.partition("_")
        rows = self.rows.get(name, []) if prefix in ("DBA", "CDB") else self.rows.get(view, [])
        return [row for row in rows if row["CON_ID"] in (seen if prefix == "CDB" else {here})]


@dataclass
class Connection:
    """A DB-API connection like python-oracledb's, with statements executed by PostgreSQL."""

    emulated: Emulated
    call_timeout: int = 0
    inner: Any = field(init=False)

    def __post_init__(self) -> None:
        server = self.emulated.server
        self.version = self.emulated.version_text
        self.inner = psycopg2.connect(
            host=str(server.cluster.socket_dir),
            port=server.cluster.port,
            user=server.cluster.superuser,
            dbname="oracle",
        )
        with self.inner.cursor() as cursor:
            cursor.execute(f"SET ROLE {READER}; SET search_path = sys; SET TimeZone = '{self.emulated.time_zone}'")
        self.inner.commit()

    def cursor(self) -> Cursor:
        return Cursor(self)

    def close(self) -> None:
        self.inner.close()


class Cursor:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.inner = connection.inner.cursor()
        self.arraysize = self.prefetchrows = 0

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inner.close()

    @property
    def description(self) -> Any:
        return self.inner.description

    def execute(self, statement: str, parameters: Any) -> None:
        emulated = self.connection.emulated
        emulated.statements.append(statement)
        for hook in emulated.on_execute:
            hook(statement)
        if statement == "SET TRANSACTION READ ONLY":
            self.inner.execute(statement)
            return
        if not statement.startswith("CREATE"):
            check(statement, emulated.version)
        assert not parameters
        # Oracle rolls back a failed statement, PostgreSQL the whole transaction.
        self.inner.execute(f"SAVEPOINT one; SET LOCAL statement_timeout = {self.connection.call_timeout}")
        try:
            self.inner.execute(statement)
        except psycopg2.Error as error:
            with closing(self.connection.inner.cursor()) as undo:
                undo.execute("ROLLBACK TO one")
            raise _translated(error) from None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.inner.fetchall()


def _translated(error: psycopg2.Error) -> Exception:
    """Oracle's error for one of PostgreSQL."""
    if error.pgcode in (errorcodes.INSUFFICIENT_PRIVILEGE, errorcodes.UNDEFINED_TABLE):
        return database_error(942, "table or view does not exist")
    if error.pgcode == errorcodes.UNDEFINED_COLUMN:
        return database_error(904, "invalid identifier")
    if error.pgcode == errorcodes.READ_ONLY_SQL_TRANSACTION:
        return database_error(1456, "may not perform insert, delete, update operation inside a READ ONLY transaction")
    if error.pgcode == errorcodes.QUERY_CANCELED:
        timed_out = _Error(message="DPY-4024: call timeout of 1000 ms exceeded")
        return timed_out.exc_type(timed_out)
    return AssertionError(str(error))


@pytest.fixture(scope="module")
def dictionary_server(postgres18: PostgresServer) -> Iterator[PostgresServer]:
    postgres18.fresh_database("oracle")
    postgres18.execute(f"CREATE ROLE {READER}")
    yield postgres18
    postgres18.reset()


@pytest.fixture
def serve_oracle(dictionary_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> ServeOracle:
    """serve_oracle(shape) is an emulated server to which the adapter connects for any address."""

    def serving(shape: str = "19c PDB", **changes: Any) -> Emulated:
        version, here, pdbs = SHAPES[shape]
        pdbs = tuple(replace(pdb) for pdb in changes.get("pdbs", pdbs))
        emulated = Emulated(dictionary_server, version, here, pdbs)
        monkeypatch.setattr(session_module, "open_connection", lambda *_: emulated.connect())
        return emulated

    return serving
