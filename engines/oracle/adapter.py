"""Oracle 12.1 to 23ai, through any account that may read the dictionary's views: a database without containers, one
PDB, or the root with all PDBs that are open.

What is connected to is told by the session itself. In the root the account is a common user, and sees of other
containers only what its CONTAINER_DATA lets it: what it may not see, and what is not open, is a gap. Verified against
an emulated dictionary, not yet on a server: see tests/test_oracle_contract.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..adapter import Adapter
from ..errors import AdapterError
from ..fact_set import FactSet
from ..facts import (
    AccountFact,
    AccountKey,
    Databases,
    Examination,
    Gap,
    Inventory,
    Permissions,
    ServerInfo,
    Sizes,
    TableSize,
)
from ..paths import dotted
from . import check as oracle_doctor
from . import reads as sql
from . import sizes as oracle_sizes
from .containers import ROOT, UNREADABLE, Container, Containers
from .decode import PUBLIC, administrative, attributes_of, certain, clock_of, object_scope, quota, role_fact, user_fact
from .session import adapter_error, certificate_of, driver, errors, open_connection

KINDS_AT_A = ("memberships", "system", "attribute", "tablespace", "proxy")
OBJECTS = ("table", "sequence", "routine", "type", "object")

#: Rows read of each view of object grants; a gap is reported when there are more.
ROW_LIMIT = 200_000

#: No container is without a row of these.
IN_EVERY_CONTAINER = ("ROLES", "ROLE_PRIVS", "SYS_PRIVS")

#: Rows that travel at a time.
ROWS_AT_A_TIME = 5_000


class OracleAdapter(Adapter):
    """Scopes, `database` being the container: the PDB, the root (CDB$ROOT) or the database without containers:

    tablespace, schema, proxy       dotted(container, name); a proxy's is the account to connect as
    table, sequence, routine, type  dotted(container, owner, name)
    object                          dotted(container, owner, type, name): a directory, a queue, an edition …
    column                          dotted(container, owner, table, name)

    The host of an account is its container. In the root of a server users and roles of one name are others in each, and
    so is a common user, who may be locked in one and not in another; PUBLIC is there once for each.

    A right given both commonly and locally stands in two rows, which differ in COMMON: that is one fact, with the
    options of both, which ends when both are gone. `inherit` of a membership says that the role is enabled from login
    on, and of one role in another, which always is. What Oracle's own scripts granted on its own objects to its own
    accounts and to PUBLIC is left out, and so is what somebody grants there later.
    """

    _connection: Any = None

    def connect(self) -> ServerInfo:
        self._accounts: dict[AccountKey, AccountFact] = {}
        self._users: list[tuple[Container, Sequence[Any]]] = []
        patience = min(self.target.connect_timeout, self.remaining())
        seen = certificate_of(self.target, patience) if self.target.is_guarded else None
        self._connection = open_connection(self.target, patience)
        self.query(sql.BEGIN)
        ((number, name, role, user, offset),) = self.query(sql.SESSION)
        self.in_root = int(number) == ROOT
        self.grantee = sql.exact_identifier(user)
        self.role, self._clock = role, clock_of(offset)
        self._here = name
        version = str(self._connection.version)
        self.major = int(version.partition(".")[0])
        self._columns = {(table, column) for table, column in self.query(sql.COLUMNS)}
        fingerprint = seen.fingerprint if seen else ""
        return ServerInfo("Oracle", version, f"python-oracledb {driver().__version__}, thin", fingerprint)

    def inventory(self) -> Inventory:
        """DBA_USERS, DBA_ROLES and PUBLIC, or their CDB_ views. `valid_until` is when the password expires, at the end
        of its grace; how it is hashed is told, but no hash. Oracle tells of the last login too, which is not kept."""
        if self._connection is None:
            self.connect()
        gaps: list[Gap] = []
        if self.role == "PHYSICAL STANDBY":
            message = "this is a standby: accounts are those of its primary, but who is locked here is not known"
            hint = "Locks after failed logins on a standby stand in its V$RO_USER_ACCOUNT. Visit the primary too."
            gaps.append(Gap("account fields", "standby", message, hint=hint, fields=("is_locked",)))
        self._containers = self.containers()
        limits = self._limits(gaps)
        self._users = list(self._containers.with_rows(self.query(self.statement("USERS"))))
        if not self._users:
            raise AdapterError(
                "the server lists no accounts",
                code="server_error",
                hint="There is always one, our own: look at DBA_USERS.",
            )
        self._shown = {container.name: container for container, _ in self._users}
        facts = [user_fact(row, container, self._clock, limits[container.name]) for container, row in self._users]
        for container, row in self._whole("ROLES", self.query(self.statement("ROLES"))):
            facts.append(role_fact(row, container))
        for container in self._shown.values():
            facts.append(AccountFact(PUBLIC, container.name, kind="public", can_login=False))
        self._accounts = {fact.key: fact for fact in facts}
        self._administrators = self._password_file(gaps)
        for key, privileges in self._administrators:
            if "SYSDBA" in privileges and key in self._accounts:
                self._accounts[key] = self._accounts[key]._replace(is_superuser=True)
        gaps += self._containers.gaps("accounts", self._shown)
        inventory = Inventory([], gaps)
        return replace(inventory, accounts=[certain(fact, inventory.unread) for fact in self._accounts.values()])

    def permissions(self) -> Permissions:
        """Each view of grants in one statement. One that may not be read is a gap for what it holds."""
        if not self._accounts:
            self.inventory()
        gaps: list[Gap] = []
        facts = FactSet(self._accounts)
        for container, row in self._users:
            facts.grant((row[0], container.name), "attribute", attributes_of(row))
        self._add_memberships(facts, gaps)
        self._add_instance_grants(facts, gaps)
        kinds = self._object_kinds(self.target.level)
        if "table" in kinds:
            self._add_objects(kinds, facts, gaps)
        if self.in_root:
            self.containers().look_again(self._containers, self._shown)
        beyond = frozenset(self._object_kinds("C")) - set(kinds)
        return Permissions(facts.memberships, facts.grants, frozenset((*KINDS_AT_A, *kinds)), gaps, beyond)

    def databases(self) -> Databases:
        """See `oracle_sizes`."""
        return oracle_sizes.databases(self)

    def sizes(self) -> Sizes:
        return oracle_sizes.sizes(self)

    def table_sizes(self, database: str, limit: int) -> list[TableSize]:
        return oracle_sizes.table_sizes(self, database, limit)

    def examine(self, hash_blind: bool = False) -> Examination:
        """See `oracle_doctor`."""
        return oracle_doctor.examine(self)

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*errors()):
                self._connection.close()
            self._connection = None

    def containers(self) -> Containers:
        """Those there are now. Raises AdapterError."""
        return Containers(self.query, self.in_root, self._here, self.grantee)

    def statement(self, name: str) -> str:
        """The statement of a `Read` by its name, for where we are."""
        read = (sql.READS | sql.SIZES | sql.ON_DEMAND)[name]
        return sql.statement(read.sql, self.in_root, self._columns)

    def rows(self, name: str, scopes: Iterable[str], gaps: list[Gap]) -> list[tuple[Any, ...]]:
        """Rows of a `Read`; none, and a gap for each scope, where they may not be read or are not there."""
        return self._rows(self.statement(name), scopes, gaps)

    def _rows(self, statement: str, scopes: Iterable[str], gaps: list[Gap]) -> list[tuple[Any, ...]]:
        try:
            return self.query(statement)
        except AdapterError as error:
            if error.code not in UNREADABLE:
                raise
            gaps += [Gap(scope, error.code, str(error), hint=error.hint) for scope in scopes]
            return []

    def _facts(self, name: str, scopes: Iterable[str], gaps: list[Gap]) -> Iterable[tuple[Container, tuple[Any, ...]]]:
        denied: list[Gap] = []
        rows = self.rows(name, scopes, denied)
        gaps += denied
        return [] if denied else self._whole(name, rows)

    def _whole(self, name: str, rows: list[tuple[Any, ...]]) -> list[tuple[Container, tuple[Any, ...]]]:
        """Rows with their container. Raises AdapterError where one is left out that cannot be: what it holds would seem
        to be gone."""
        found = list(self._containers.with_rows(rows))
        if name in IN_EVERY_CONTAINER and (silent := self._shown.keys() - {container.name for container, _ in found}):
            raise AdapterError(
                f"no {sql.READS[name].tells} in container {', '.join(sorted(silent))}, where there are always some",
                code="server_error",
                hint=f"Look at {sql.views(self.statement(name))[0]} as the collection account.",
            )
        return found

    def _limits(self, gaps: list[Gap]) -> dict[str, dict[str, str]]:
        """Container → profile → how many sessions it allows."""
        limits: dict[str, dict[str, str]] = {container.name: {} for container in self._containers}
        denied: list[Gap] = []
        for container, (profile, limit) in self._facts("PROFILES", ["account fields"], denied):
            limits[container.name][profile] = limit
        gaps += [replace(gap, fields=("connection_limit",)) for gap in denied]
        return limits

    def _password_file(self, gaps: list[Gap]) -> list[tuple[AccountKey, list[str]]]:
        """Who may connect AS SYSDBA and the like. What is granted commonly holds in every container."""
        self._no_password_file: list[Gap] = []
        found = []
        for number, user, common, *flags in self.rows("PWFILE_USERS", ["account fields"], self._no_password_file):
            own = self._containers.by_id.get(int(number))
            everywhere = not self.in_root or common == "YES" or int(number) == 0
            for container in self._containers if everywhere else filter(None, [own]):
                found.append(((user, container.name), administrative(flags)))
        gaps += [replace(gap, fields=("is_superuser",)) for gap in self._no_password_file]
        return found

    def _add_memberships(self, facts: FactSet, gaps: list[Gap]) -> None:
        for container, row in self._facts("ROLE_PRIVS", ["memberships"], gaps):
            grantee, granted, admin, default = row
            member, role = (grantee, container.name), (granted, container.name)
            # A role with a password, or that a package enables, is not on from login, default or not.
            secured = role in self._accounts and self._accounts[role].auth_method in ("PASSWORD", "APPLICATION")
            is_user = member in self._accounts and self._accounts[member].kind == "user"
            facts.membership(member, role, admin == "YES", not is_user or (default == "YES" and not secured))

    def _add_instance_grants(self, facts: FactSet, gaps: list[Gap]) -> None:
        for container, (grantee, privilege, admin) in self._facts("SYS_PRIVS", ["system"], gaps):
            facts.grant((grantee, container.name), "system", [privilege], grantable=admin == "YES")
        for key, privileges in self._administrators:
            facts.grant(key, "system", privileges)
        gaps += [replace(gap, scope="system") for gap in self._no_password_file]
        for container, (user, tablespace, limit) in self._facts("TS_QUOTAS", ["tablespace"], gaps):
            scope = dotted(container.name, tablespace)
            facts.grant((user, container.name), "tablespace", [quota(limit)], scope, container.name)
        for container, (proxy, client) in self._facts("PROXIES", ["proxy"], gaps):
            scope = dotted(container.name, client)
            facts.grant((proxy, container.name), "proxy", ["CONNECT THROUGH"], scope, container.name)

    def _object_kinds(self, level: str) -> tuple[str, ...]:
        if level == "A":
            return ()
        schema = ("schema",) if "SCHEMA_PRIVS" in sql.reads(level, self.major) else ()
        return (*schema, *OBJECTS, *(("column",) if level == "C" else ()))

    def _add_objects(self, kinds: Sequence[str], facts: FactSet, gaps: list[Gap]) -> None:
        if "schema" in kinds:
            for container, (grantee, schema, privilege, admin) in self._facts("SCHEMA_PRIVS", ["schema"], gaps):
                scope = dotted(container.name, schema)
                holder = (grantee, container.name)
                facts.grant(holder, "schema", [privilege], scope, container.name, grantable=admin == "YES")
        for container, row in self._some_facts("TAB_PRIVS", OBJECTS, gaps):
            grantee, owner, name, type_, privilege, grantable = row
            kind, scope = object_scope(container, owner, name, type_)
            holder = (grantee, container.name)
            facts.grant(holder, kind, [privilege], scope, container.name, grantable=grantable == "YES")
        if "column" in kinds:
            for container, row in self._some_facts("COL_PRIVS", ["column"], gaps):
                grantee, owner, table, column, privilege, grantable = row
                scope = dotted(container.name, owner, table, column)
                holder = (grantee, container.name)
                facts.grant(holder, "column", [privilege], scope, container.name, grantable=grantable == "YES")

    def _some_facts(
        self, name: str, scopes: Sequence[str], gaps: list[Gap]
    ) -> Iterator[tuple[Container, tuple[Any, ...]]]:
        """`_facts`, but of no more than ROW_LIMIT rows."""
        rows = self._rows(f"{self.statement(name)} FETCH FIRST {ROW_LIMIT + 1} ROWS ONLY", scopes, gaps)
        if len(rows) > ROW_LIMIT:
            message, hint = f"{sql.READS[name].tells}: there are more than {ROW_LIMIT}", "Lower the read depth."
            gaps += [Gap(scope, "row_limit", message, hint=hint) for scope in scopes]
        return self._containers.with_rows(rows[:ROW_LIMIT])

    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        seconds = min(self.target.statement_timeout, self.remaining())
        try:
            # In milliseconds; 0 is for ever.
            self._connection.call_timeout = max(1, round(seconds * 1000))
            return self._fetch(sql, parameters)
        except errors() as error:
            self.remaining()
            raise self._failure(error, sql) from None

    def _fetch(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.arraysize = cursor.prefetchrows = ROWS_AT_A_TIME
            cursor.execute(sql, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def _failure(self, error: Exception, statement: str) -> AdapterError:
        grantee, in_root = getattr(self, "grantee", ""), getattr(self, "in_root", False)
        found = adapter_error(error, self.target, grantee, sql.views(statement), in_root)
        if found.code == "denied" and len(sql.views(statement)) > 1:
            # The server does not say which of them.
            lacking = [view for view in sql.views(statement) if not self._may_read(view)]
            found = adapter_error(error, self.target, grantee, lacking, in_root)
        return found

    def _may_read(self, view: str) -> bool:
        try:
            self._fetch(f"SELECT 1 FROM {view} WHERE 1 = 0", None)  # noqa: S608 -- the dictionary's own names
        except errors():
            return False
        return True
