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

from . import mysql_doctor, mysql_sizes
from .base import AccountKey, Adapter, AdapterError, Examination, Gap, Inventory, Permissions, ServerInfo, dotted
from .facts import GRANT_OPTION, FactSet
from .mysql_accounts import Account, Server, Source, everybody
from .mysql_driver import Driver, adapter_error, driver, open_connection, whole_seconds
from .mysql_grants import DB_COLUMNS, database_scope, quoted_account, restrictions, role_names, set_members, yes_no
from .mysql_sql import READS
from .sizes import Databases, Sizes, TableSize

KINDS_AT_A = ("memberships", "system", "database", "proxy")
OBJECT_KINDS: dict[str, tuple[str, ...]] = {"A": (), "B": ("table", "routine"), "C": ("table", "routine", "column")}

#: Rows read of each table of object grants; a gap is reported when there are more.
ROW_LIMIT = 200_000

#: Seconds to wait for a grant table that somebody has locked: longer, and we would be in the way.
LOCK_TIMEOUT = 10

#: Seconds the server has to keep its own statement timeout before the connection is cut from this side.
GRACE = 5

#: Asks for no privilege, and names only what this server has.
VARIABLES = """SHOW GLOBAL VARIABLES WHERE Variable_name IN ('activate_all_roles_on_login', 'default_password_lifetime',
'mandatory_roles', 'max_execution_time', 'max_statement_time', 'partial_revokes')"""

#: A column is listed to whoever has any privilege on it.
COLUMNS = """SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'mysql'
AND TABLE_NAME IN ('db', 'global_priv', 'user') AND FIND_IN_SET('select', PRIVILEGES)"""

#: What an account may not do to its answers: sql_mode may pad names with blanks, the other two cut lists short.
SESSION = "SET SESSION sql_mode = '', SESSION sql_select_limit = 18446744073709551615, SESSION sql_big_selects = 1"


class MySQLAdapter(Adapter):
    """Scopes:

    database  name as mysql.db has it, a LIKE pattern (`team%`, `shop\\_a`): see `database_scope`
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
        self._accounts: dict[AccountKey, Account] = {}
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
        self.query(SESSION)
        self._variables.update(self.query(VARIABLES))
        self._begin()
        ((version, name, now),) = self.query("SELECT VERSION(), CURRENT_USER(), UNIX_TIMESTAMP()")
        self.grantee = quoted_account(*name.rsplit("@", 1))
        columns: dict[str, list[str]] = {}
        for table, column in self.query(COLUMNS):
            columns.setdefault(table, []).append(column)
        is_mariadb = "max_statement_time" in self._variables
        privileges = {name.upper() for name, *_ in self.query("SHOW PRIVILEGES")} if is_mariadb else set()
        self.features = Server(version, self._variables, columns, privileges, now)
        return ServerInfo("MariaDB" if is_mariadb else "MySQL", version, str(self._driver))

    def inventory(self) -> Inventory:
        """mysql.user, or mysql.global_priv key by key. `valid_until` is when the password's lifetime ends.

        A row of mysql.user says neither whether it is a role (MySQL), nor whether an account is locked for a while
        after failed logins.
        """
        if self._connection is None:
            self.connect()
        gaps: list[Gap] = []
        self._source = Source(self.features)
        unread = set(self._source.unread)
        self._no_edges: list[Gap] = []
        self._edges = self._role_edges(self._no_edges)
        if self._no_edges:
            unread |= {"kind", "can_login"}
            gaps += self._no_edges
        self._mandatory = self._mandatory_roles()
        granted = {role for role, *_ in self._edges}.union(self._mandatory)
        rows = self.query(self._source.sql)
        if not rows:
            raise AdapterError(
                "the server lists no accounts",
                code="server_error",
                hint="There is always one, our own: look at mysql.user.",
            )
        accounts = [self._source.account(row, granted) for row in rows]
        self._accounts = {account.fact.key: account for account in accounts}
        nameless = "SELECT DISTINCT Host FROM mysql.db WHERE User = ''"
        for (host,) in self._rows(nameless, ["accounts"], gaps):
            self._accounts.setdefault(("", host), everybody(host))
        if self._source.unread:
            message = f"could not be read: {', '.join(sorted(self._source.unread))}"
            gaps.append(self._unread("account fields", message))
        return Inventory([account.fact for account in self._accounts.values()], frozenset(unread), gaps)

    def permissions(self) -> Permissions:
        """The grant tables, each in one statement. One that may not be read is a gap for what it holds.

        Rows of accounts that are not in mysql.user stay there after a manual DELETE, and give nothing.
        """
        if not self._accounts:
            self.inventory()
        gaps: list[Gap] = []
        facts = FactSet(self._accounts)
        self._add_memberships(facts, gaps)
        self._add_system(facts, gaps)
        self._add_databases(facts, gaps)
        for user, host, name, from_host, grantable in self._rows(READS["proxies_priv"].sql, ["proxy"], gaps):
            # To the server, no host is any host.
            scope = dotted(name, from_host or "%")
            facts.grant((user, host), "proxy", ["PROXY"], scope, grantable=bool(grantable))
        kinds = OBJECT_KINDS[self.target.level]
        if "table" in kinds:
            self._add_tables("column" in kinds, facts, gaps)
            self._add_routines(facts, gaps)
        beyond = frozenset(OBJECT_KINDS["C"]) - set(kinds)
        return Permissions(facts.memberships, facts.grants, frozenset((*KINDS_AT_A, *kinds)), gaps, beyond)

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

    def _role_edges(self, gaps: list[Gap]) -> list[tuple[AccountKey, AccountKey, bool]]:
        """(role, member, admin option) of MySQL's mysql.role_edges."""
        if not self.features.has_roles:
            return []
        rows = self._rows(READS["role_edges"].sql, ["account fields"], gaps)
        return [((row[0], row[1]), (row[2], row[3]), row[4] == "Y") for row in rows]

    def _mandatory_roles(self) -> list[AccountKey]:
        # SHOW VARIABLES cuts values at 1,024 characters.
        if not self._variables.get("mandatory_roles"):
            return []
        return role_names(self.query("SELECT @@GLOBAL.mandatory_roles")[0][0])

    def _add_memberships(self, facts: FactSet, gaps: list[Gap]) -> None:
        # Which roles are active from login on hangs on both: better no membership than one with the wrong options.
        if "kind" in self._source.unread or "default_role" in self._source.lacks:
            gaps.append(self._unread("memberships", "roles and default roles cannot be read"))
        elif self.features.is_mariadb:
            self._add_mariadb_memberships(facts, gaps)
        elif self._no_edges:
            gaps += [replace(gap, scope="memberships") for gap in self._no_edges]
        elif self.features.has_roles:
            self._add_mysql_memberships(facts, gaps)

    def _add_mariadb_memberships(self, facts: FactSet, gaps: list[Gap]) -> None:
        for user, host, role, admin in self._rows(READS["roles_mapping"].sql, ["memberships"], gaps):
            member = self._accounts.get((user, host))
            if member:
                active = member.fact.kind != "user" or member.default_role == role
                facts.membership(member.fact.key, (role, ""), admin == "Y", active)

    def _add_mysql_memberships(self, facts: FactSet, gaps: list[Gap]) -> None:
        denied: list[Gap] = []
        rows = self._rows(READS["default_roles"].sql, ["memberships"], denied)
        defaults = {((row[0], row[1]), (row[2], row[3])) for row in rows}
        gaps += denied
        if denied:
            return
        all_active = self._variables.get("activate_all_roles_on_login") == "ON"
        users = {key for key, account in self._accounts.items() if account.fact.kind == "user"}
        for role, member, admin in self._edges:
            active = all_active or member not in users or (member, role) in defaults
            facts.membership(member, role, admin, active)
        for role in self._mandatory:
            for member in users - {role}:
                facts.membership(member, role, False, all_active or (member, role) in defaults)

    def _add_system(self, facts: FactSet, gaps: list[Gap]) -> None:
        partly = "system" in self._source.lacks
        if partly:
            gaps.append(self._unread("system", "not every privilege on *.* can be read"))
        if self._source.knows_grant_option:
            for key, account in self._accounts.items():
                # The grant option alone is a fact only if nothing else may hide beside it.
                if not (partly and account.privileges == {GRANT_OPTION}):
                    facts.grant(key, "system", account.privileges)
        if self.features.has_roles:
            for user, host, privilege, grantable in self._rows(READS["global_grants"].sql, ["system"], gaps):
                facts.grant((user, host), "system", [privilege.upper()], grantable=grantable == "Y")

    def _add_databases(self, facts: FactSet, gaps: list[Gap]) -> None:
        columns = self.database_columns()
        # With partial_revokes the server takes the wildcards in these names for what they look like.
        literal = self._variables.get("partial_revokes") == "ON"
        sql = READS["db"].sql.format(columns=", ".join(columns))
        for user, host, name, flags in self._rows(sql, ["database"], gaps):
            database, scope = database_scope(name, literal)
            privileges = yes_no(columns, flags, self.features.is_mariadb)
            facts.grant((user, host), "database", privileges, scope, database)
        if "restrictions" in self._source.lacks:
            gaps.append(self._unread("database", "partial revokes cannot be read"))
        for key, account in self._accounts.items():
            for name, privilege in restrictions(account.restrictions):
                database, scope = database_scope(name, literal=True)
                facts.grant(key, "database", [privilege], scope, database, denied=True)

    def _add_tables(self, with_columns: bool, facts: FactSet, gaps: list[Gap]) -> None:
        mariadb, passed_on, before = self.features.is_mariadb, set(), len(gaps)
        scopes = ["table", "column"][: 1 + with_columns]
        for user, host, database, table, words in self._some_rows(READS["tables_priv"].sql, scopes, gaps):
            privileges = set_members(words, mariadb)
            facts.grant((user, host), "table", privileges, dotted(database, table), database)
            if GRANT_OPTION in privileges:
                passed_on.add((user, host, database, table))
        if not with_columns or len(gaps) > before:
            # Whether a column's privileges may be passed on is written at its table.
            return
        for user, host, database, table, column, words in self._some_rows(READS["columns_priv"].sql, ["column"], gaps):
            facts.grant(
                (user, host),
                "column",
                set_members(words, mariadb),
                dotted(database, table, column),
                database,
                grantable=(user, host, database, table) in passed_on,
            )

    def _add_routines(self, facts: FactSet, gaps: list[Gap]) -> None:
        for user, host, database, name, kind, words in self._some_rows(READS["procs_priv"].sql, ["routine"], gaps):
            scope = dotted(database, kind.lower(), name)
            facts.grant((user, host), "routine", set_members(words, self.features.is_mariadb), scope, database)

    def database_columns(self) -> list[str]:
        """Columns of mysql.db that hold a privilege on this server."""
        listed = self.features.columns.get("db", ())
        return sorted(DB_COLUMNS.union(name for name in listed if name.endswith("_priv")))

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
