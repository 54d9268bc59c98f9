"""MySQL 5.7 to 9 and MariaDB 10.5 to 11, through any account that may read the grant tables.

The simple way is GRANT SELECT ON mysql.* to the collection account. It lets that account see password hashes, which
nothing here reads; without them it takes SELECT on each grant table, and of mysql.user only on the columns that
`mysql_accounts` names. What a server has is asked of the server: its variables tell which features, and
information_schema.COLUMNS which columns may be read.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..adapter import Adapter
from ..derived import Derived
from ..errors import AdapterError
from ..facts import Databases, Examination, Gap, Inventory, MembershipFact, Permissions, ServerInfo, Sizes, TableSize
from . import check as mysql_doctor
from . import facts as mysql_facts
from . import sizes as mysql_sizes
from .decode import DB_COLUMNS, quoted_account, routine_rows
from .reads import READS
from .session import Driver, adapter_error, driver, open_connection, refuse_imitation, whole_seconds
from .user_table import Account, Server, Source

KINDS_AT_A = ("memberships", "system", "database", "proxy")
OBJECT_KINDS: dict[str, tuple[str, ...]] = {"A": (), "B": ("table", "routine"), "C": ("table", "routine", "column")}

#: Rows read of each table of object grants; a gap is reported when there are more.
ROW_LIMIT = 200_000

#: Seconds to wait for a grant table that somebody has locked: longer, and we would be in the way.
LOCK_TIMEOUT = 10

#: Seconds the server has to keep its own statement timeout before the connection is cut from this side.
GRACE = 5

#: Seen on MySQL 9.7 and MariaDB 10.11 and 11.8. Which of them the server still has in memory stands in no table.
DOUBLED = (
    "{} grants on routines have a name that is not ASCII (user, database, routine). The server misreads their rows in "
    "mysql.procs_priv when it restarts and at FLUSH PRIVILEGES, and loses these grants: repeat them then."
)

#: Asks for no privilege, and names only what this server has.
VARIABLES = """SHOW GLOBAL VARIABLES WHERE Variable_name IN ('activate_all_roles_on_login', 'default_password_lifetime',
'mandatory_roles', 'max_execution_time', 'max_statement_time', 'partial_revokes', 'version_comment')"""

#: A column is listed to whoever has any privilege on it.
COLUMNS = """SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'mysql'
AND TABLE_NAME IN ('db', 'global_priv', 'user') AND FIND_IN_SET('select', PRIVILEGES)"""

#: What an account may not do to its answers: sql_mode may pad names with blanks, the other two cut lists short.
SESSION = "SET SESSION sql_mode = '', SESSION sql_select_limit = 18446744073709551615, SESSION sql_big_selects = 1"


class MySQLAdapter(Adapter):
    """Scopes:

    database  dotted(name as mysql.db has it), a LIKE pattern (`team%`, `shop\\_a`): see `database_scope`
    table     dotted(database, name)
    column    dotted(database, table, name)
    routine   dotted(database, "function" or "procedure" or "package" or "package body", name)
    proxy     dotted(name, host) of the account to act as; the one without a name stands for all

    `inherit` of a membership says that the role is active from login on; others are there for SET ROLE.

    Rows of mysql.db without a user hold for everybody from their host: if there is no anonymous account of that host
    to show them at, they belong to an account of kind "public" with an empty name.
    """

    _connection: Any = None

    def connect(self) -> ServerInfo:
        self._driver: Driver = driver(self.target)
        self.grantee = quoted_account(self.target.username, "%")
        self._accounts: Derived[Account] | None = None
        self._folders: dict[str, str] = {}
        self._variables: dict[str, str] = {}
        self._read_timeout = whole_seconds(min(self.target.statement_timeout, self.remaining()) + GRACE)
        patience = whole_seconds(min(self.target.connect_timeout, self.remaining()))
        started = time.monotonic()
        try:
            self._connection = open_connection(self._driver, self.target, patience, self._read_timeout)
        except self._driver.errors as error:
            self.remaining()
            raise self._failure(error, time.monotonic() - started >= patience) from None
        refuse_imitation(self._connection.get_server_info())
        # Before the variables: on MySQL, presets like max_join_size and sql_select_limit hold for SHOW VARIABLES too.
        self.query(SESSION)
        self._variables.update(self.query(VARIABLES))
        refuse_imitation(self._variables.get("version_comment", ""))
        self._begin()
        ((version, name, self._now),) = self.query("SELECT VERSION(), CURRENT_USER(), UNIX_TIMESTAMP()")
        self.grantee = quoted_account(*name.rsplit("@", 1))
        columns: dict[str, list[str]] = {}
        for table, column in self.query(COLUMNS):
            columns.setdefault(table, []).append(column)
        is_mariadb = "max_statement_time" in self._variables
        privileges = {name.upper() for name, *_ in self.query("SHOW PRIVILEGES")} if is_mariadb else set()
        self.features = Server(version, self._variables, columns, privileges)
        context = getattr(self._connection, "context", None)
        fingerprint = context.seen.fingerprint if context and context.seen else ""
        return ServerInfo("MariaDB" if is_mariadb else "MySQL", version, str(self._driver), fingerprint)

    def inventory(self) -> Inventory:
        """mysql.user, or mysql.global_priv key by key. `valid_until` is when the password's lifetime ends.

        A row of mysql.user says neither whether it is a role (MySQL), nor whether an account is locked for a while
        after failed logins.
        """
        if self._connection is None:
            self.connect()
        gaps: list[Gap] = []
        self._source = Source(self.features)
        self._no_edges: list[Gap] = []
        self._edges: list[tuple[Any, ...]] = []
        if self.features.has_roles:
            self._edges = self._rows(READS["role_edges"].sql, ["account fields"], self._no_edges)
        gaps += [replace(gap, fields=("can_login", "kind")) for gap in self._no_edges]
        self._mandatory = self._mandatory_roles()
        rows = self.query(self._source.sql)
        if not rows:
            raise AdapterError(
                "the server lists no accounts",
                code="server_error",
                hint="There is always one, our own: look at mysql.user.",
            )
        nameless = self._rows("SELECT DISTINCT Host FROM mysql.db WHERE User = ''", ["accounts"], gaps)
        if self._source.unread:
            fields = tuple(sorted(self._source.unread))
            gaps.append(
                replace(self._unread("account fields", f"could not be read: {', '.join(fields)}"), fields=fields)
            )
        ended = self._source.ended(rows, self._now)
        self._accounts = Derived(
            mysql_facts.accounts,
            self.features,
            rows,
            ended,
            None if self._no_edges else self._edges,
            self._mandatory,
            nameless,
        )
        return Inventory(Derived(mysql_facts.account_facts, self._accounts), gaps)

    def permissions(self) -> Permissions:
        """The grant tables, each in one statement. One that may not be read is a gap for what it holds.

        Rows of accounts that are not in mysql.user stay there after a manual DELETE, and give nothing.
        """
        if self._accounts is None:
            self.inventory()
        gaps: list[Gap] = []
        self._notes: list[str] = []
        server, known = self.features, self._accounts
        memberships = self._memberships(gaps)
        if "system" in self._source.lacks:
            gaps.append(self._unread("system", "not every privilege on *.* can be read"))
        dynamic = self._rows(READS["global_grants"].sql, ["system"], gaps) if server.has_roles else []
        columns = self.database_columns()
        databases = self._rows(READS["db"].sql.format(columns=", ".join(columns)), ["database"], gaps)
        if "restrictions" in self._source.lacks:
            gaps.append(self._unread("database", "partial revokes cannot be read"))
        proxies = self._rows(READS["proxies_priv"].sql, ["proxy"], gaps)
        grants = Derived(
            mysql_facts.together,
            Derived(mysql_facts.system_grants, server, known, dynamic),
            Derived(mysql_facts.database_grants, server, known, columns, databases),
            Derived(mysql_facts.other_grants, server, known, proxies, *self._object_rows(gaps)),
        )
        kinds = OBJECT_KINDS[self.target.level]
        beyond = frozenset(OBJECT_KINDS["C"]) - set(kinds)
        return Permissions(memberships, grants, frozenset((*KINDS_AT_A, *kinds)), gaps, beyond, self._notes)

    def databases(self) -> Databases:
        """See `mysql_sizes`."""
        self._folders, databases = mysql_sizes.databases(self)
        return databases

    def sizes(self) -> Sizes:
        if not self._folders:
            self.databases()
        return mysql_sizes.sizes(self, self._folders)

    def table_sizes(self, database: str, limit: int) -> list[TableSize]:
        return mysql_sizes.table_sizes(self, database, limit)

    def examine(self, hash_blind: bool = False) -> Examination:
        """See `mysql_doctor`."""
        return mysql_doctor.examine(self, hash_blind)

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*self._driver.errors):
                self._connection.close()
            self._connection = None

    def _mandatory_roles(self) -> str:
        # SHOW VARIABLES cuts values at 1,024 characters.
        if not self._variables.get("mandatory_roles"):
            return ""
        return str(self.query("SELECT @@GLOBAL.mandatory_roles")[0][0])

    def _memberships(self, gaps: list[Gap]) -> Sequence[MembershipFact]:
        # Which roles are active from login on hangs on both: better no membership than one with the wrong options.
        if "kind" in self._source.unread or "default_role" in self._source.lacks:
            gaps.append(self._unread("memberships", "roles and default roles cannot be read"))
        elif self.features.is_mariadb:
            rows = self._rows(READS["roles_mapping"].sql, ["memberships"], gaps)
            return Derived(mysql_facts.mariadb_memberships, self._accounts, rows)
        elif self._no_edges:
            gaps += [replace(gap, scope="memberships") for gap in self._no_edges]
        elif self.features.has_roles:
            denied: list[Gap] = []
            rows = self._rows(READS["default_roles"].sql, ["memberships"], denied)
            gaps += denied
            if not denied:
                arguments = self.features, self._accounts, self._edges, self._mandatory, rows
                return Derived(mysql_facts.mysql_memberships, *arguments)
        return []

    def _object_rows(self, gaps: list[Gap]) -> tuple[list[tuple[Any, ...]], ...]:
        """Rows of tables_priv, columns_priv and procs_priv, as far as the depth goes."""
        kinds = OBJECT_KINDS[self.target.level]
        tables: list[tuple[Any, ...]] = []
        columns: list[tuple[Any, ...]] = []
        routines: list[tuple[Any, ...]] = []
        if "table" in kinds:
            scopes, before = [kind for kind in kinds if kind != "routine"], len(gaps)
            tables = self._some_rows(READS["tables_priv"].sql, scopes, gaps)
            # Whether a column's privileges may be passed on is written at its table.
            if "column" in kinds and len(gaps) == before:
                columns = self._some_rows(READS["columns_priv"].sql, ["column"], gaps)
            routines = self._routine_rows(gaps)
        return tables, columns, routines

    def _routine_rows(self, gaps: list[Gap]) -> list[tuple[Any, ...]]:
        rows = self._some_rows(READS["procs_priv"].sql, ["routine"], gaps)
        decoded, n_doubled, cut = routine_rows(rows, 128 if self.features.is_mariadb else 32)
        if n_doubled:
            self._notes.append(DOUBLED.format(n_doubled))
        message = "a name in mysql.procs_priv may be incomplete: the server stores only its first part"
        hint = "Give the user, database or routine a shorter name, or one in ASCII."
        gaps += [Gap("routine", "name_cut", message, database, hint) for database in sorted(cut)]
        return decoded

    def database_columns(self) -> tuple[str, ...]:
        """Columns of mysql.db that hold a privilege on this server."""
        listed = self.features.columns.get("db", ())
        return tuple(sorted(DB_COLUMNS.union(name for name in listed if name.endswith("_priv"))))

    def _rows(self, sql: str, scopes: Sequence[str], gaps: list[Gap]) -> list[tuple[Any, ...]]:
        """Rows of a table; none, and a gap for each scope, where it may not be read or is not there."""
        try:
            return self.query(sql)
        except AdapterError as error:
            if error.code not in ("denied", "unsupported"):
                raise
            gaps += [Gap(scope, error.code, str(error), hint=error.hint) for scope in scopes]
            return []

    def _some_rows(self, sql: str, scopes: Sequence[str], gaps: list[Gap]) -> list[tuple[Any, ...]]:
        """`_rows`, but no more than ROW_LIMIT."""
        rows = self._rows(f"{sql} LIMIT {ROW_LIMIT + 1}", scopes, gaps)
        if len(rows) > ROW_LIMIT:
            table = sql.rpartition(" ")[2]
            message, hint = f"{table} has more than {ROW_LIMIT} rows", "Lower the instance's read depth."
            gaps += [Gap(scope, "row_limit", message, hint=hint) for scope in scopes]
        return rows[:ROW_LIMIT]

    def _unread(self, scope: str, message: str) -> Gap:
        return Gap(scope, "denied", message, hint=f"GRANT SELECT {self._source.wanted} TO {self.grantee};")

    def _begin(self) -> None:
        """Start the one transaction of the visit. It refuses writes, and where the grant tables are InnoDB's (MySQL 8)
        all statements see one moment. MyISAM (5.7) and Aria (MariaDB) have no snapshots: there each table is read as it
        is by then, rows of accounts that came meanwhile are left out, and the next visit sees what was torn."""
        limits = f"SET SESSION lock_wait_timeout = {LOCK_TIMEOUT}"
        if "max_statement_time" in self._variables:
            limits += f", SESSION max_statement_time = {self._limit()}"
        elif "max_execution_time" in self._variables:
            limits += f", SESSION max_execution_time = {round(self._limit() * 1000)}"
        self.query(limits)
        self.query("SET SESSION TRANSACTION READ ONLY")
        self.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def _limit(self) -> float:
        """Seconds for the next statement: no more than is left of the budget, but for what lets it overstep that."""
        return round(min(self.target.statement_timeout, self.remaining()) + 0.01, 3)

    def _execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        if sql.startswith("SELECT"):
            if "max_statement_time" in self._variables:
                sql = f"SET STATEMENT max_statement_time = {self._limit()} FOR {sql}"
            elif "max_execution_time" in self._variables:
                sql = f"SELECT /*+ MAX_EXECUTION_TIME({round(self._limit() * 1000)}) */" + sql.removeprefix("SELECT")
        started = time.monotonic()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return list(cursor.fetchall())
        except self._driver.errors as error:
            self.remaining()
            raise self._failure(error, time.monotonic() - started >= self._read_timeout) from None

    def _failure(self, error: Exception, waited_out: bool) -> AdapterError:
        return adapter_error(error, self.target, self.grantee, waited_out)
