"""The relation on MySQL and MariaDB, where which grants count depends on the client's address and on active roles.

The rules were found by trying on servers: see access/tests/test_truth_mysql.py, which compares.

A client logs in as one account: of the accounts with the name it gives and the anonymous ones, the one whose host
matches its address most specifically. Its session has the grants on databases, tables, columns and routines of every
account with this name whose host matches the address, and the grants on databases of anonymous accounts. For one
object, only one of these counts: the one with the most specific host, then the most specific pattern. With roles:

MySQL    While any role is active, the rights of the account and its active roles are merged by the text of patterns,
         and one text counts. Clients and same-named accounts matter only while no role is active.
MariaDB  Rights of the account, of the active role and of PUBLIC are added. Each has its own pattern that counts.

Clients are not known. It is enough to look at some for each combination of hosts in play. Which grants on databases
count is decided for one database only: of a question without one, `undecided()` says where the answer may be too much.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import connection

from engines.mysql.semantics import FITS, HOST_ORDER, HOST_WEIGHT, PATTERN_WEIGHT, WITNESSES

from .sql import PART, Sql

if TYPE_CHECKING:
    from .question import Question

#: A database pattern without the quotes that `dotted()` added.
UNQUOTED = (
    "CASE WHEN g.scope LIKE '\"%%' THEN replace(substr(g.scope, 2, length(g.scope) - 2), '\"\"', '\"') ELSE g.scope END"
)

#: SQL of the table of a grant on a column, else of the object of the grant.
_TABLE = f"CASE g.kind WHEN 'column' THEN substring(g.scope FROM '^(.*)\\.{PART}$') ELSE g.scope END"


def fitting(query: Sql, database: str) -> str:
    """Return SQL: the grant is on a pattern that the database fits."""
    name = query.parameter(database)
    # The question may quote a pattern as shown, and `shop\_a` does not match itself.
    shown = f" OR g.scope = {name}" if "\\" in database else ""
    return (
        f"g.kind = 'database' AND (g.database = {name} OR g.scope LIKE '%%\\%%%%' OR g.scope LIKE '%%\\_%%'{shown})"
        f" AND ({name} LIKE {UNQUOTED}{shown})"
    )


def undecided(instances: Collection[int], at: datetime | None) -> set[int]:
    """Return the instances where it depends on the database which grants on databases count at a moment: patterns that
    may meet in one session overlap, or a privilege is revoked for a database. Takes one query."""
    query = Sql(at is not None)
    held = query.cte(
        f"SELECT DISTINCT x.instance_id, x.id, x.name, {UNQUOTED} AS pattern, g.denied,\n"
        "       EXISTS (SELECT FROM accounts_membership m WHERE m.role_id = x.id) AS is_role\n"
        "  FROM accounts_grant g JOIN accounts_account x ON x.id = g.account_id\n"
        "  JOIN instances_instance i ON i.id = x.instance_id AND i.engine = 'mysql'\n"
        f" WHERE g.kind = 'database' AND {query.holding('g')} AND {query.within('x.instance_id')}"
    )
    starts = query.cte(
        "SELECT *, regexp_replace(substring(pattern FROM '^(?:\\\\.|[^%%_\\\\])*'), '\\\\(.)', '\\1', 'g') AS start\n"
        f"  FROM {held} WHERE NOT denied"
    )
    # Each of them can be joined by an index or has few rows on one side.
    meeting = ("a.name = b.name", "a.name = '' AND a.id <> b.id", "a.is_role AND a.pattern <> b.pattern")
    pairs = "\n UNION ".join(
        f"SELECT a.instance_id, a.pattern, b.pattern FROM {starts} a JOIN {starts} b ON b.instance_id = a.instance_id\n"
        f"   AND {condition} AND (a.id, a.pattern) <> (b.id, b.pattern)\n"
        "   AND (starts_with(a.start, b.start) OR starts_with(b.start, a.start))"
        for condition in meeting
    )
    sql = f"{query.with_clause()} {pairs} UNION SELECT instance_id, NULL, NULL FROM {held} WHERE denied"
    with connection.cursor() as cursor:
        cursor.execute(sql, query.parameters | {"instances": list(instances), "at": at})
        return {instance for instance, one, other in cursor.fetchall() if one is None or overlap(one, other)}


def overlap(one: str, other: str) -> bool:
    """Return whether a database name fits both patterns."""
    a, b = (re.findall(r"\\.|.", pattern.lower(), re.DOTALL) for pattern in (one, other))
    found, todo = {(0, 0)}, [(0, 0)]
    while todo:
        i, j = todo.pop()
        if (i, j) == (len(a), len(b)):
            return True
        x, y = a[i] if i < len(a) else None, b[j] if j < len(b) else None
        steps = []
        if x == "%" or y == "%":
            steps += [(i + 1, j)] if x else []
            steps += [(i, j + 1)] if y else []
        elif x and y and ("_" in (x, y) or x[-1] == y[-1]):
            steps.append((i + 1, j + 1))
        for step in steps:
            if step not in found:
                found.add(step)
                todo.append(step)
    return False


#: The session of an account after SET ROLE NONE.
NO_ROLE = 0


class Decision:
    """The CTEs of one question. `rows()` is the result; `sources` is the CTE of what is held directly."""

    def __init__(self, query: Sql, question: Question, sources: str, since: str = "", login: str = "") -> None:
        self.query, self.question, self.since, self.database = query, question, since, question.database
        self.login = login
        self.held = query.cte(
            "SELECT s.grant_id, s.holder_id, s.instance_id, s.scope, s.because, g.kind, g.privilege,\n"
            f"       {UNQUOTED} AS pattern, {_TABLE} AS object, a.name, a.host, a.kind AS holder_kind,\n"
            "       i.product = 'MariaDB' AS mariadb\n"
            f"  FROM {sources} s JOIN accounts_grant g ON g.id = s.grant_id\n"
            "  JOIN accounts_account a ON a.id = s.holder_id JOIN instances_instance i ON i.id = s.instance_id\n"
            " WHERE i.engine = 'mysql'"
        )

    def rows(self) -> str:
        """Return the CTE of rows: account_id, instance_id, session_id, entry_id, holder_id, grant_id, because, scope,
        clients, via_id. `session_id` is the account at login, a role after SET ROLE, or NO_ROLE. `clients` are the
        hosts that a client must fit, null for any client of the account. The account reaches the session by the
        memberships of `via_id`, another account of its name or itself."""
        query = self.query
        existing, held = query.existing, self.held
        # Accounts and roles that have the holder within them.
        wide = query.cte(
            f"SELECT DISTINCT holder_id, holder_id FROM {held}\n"
            f" UNION SELECT w.holder_id, m.member_id FROM {{self}} w {query.members('w.node_id', self.since)}",
            "(holder_id, node_id)",
        )
        names = query.cte(
            f"SELECT DISTINCT instance_id, mariadb, {self.login} AS name FROM {held}"
            if self.login
            else f"SELECT DISTINCT instance_id, mariadb, name FROM {held} WHERE holder_kind = 'user' OR NOT mariadb\n"
            f" UNION SELECT a.instance_id, i.product = 'MariaDB', a.name FROM {wide} w\n"
            "  CROSS JOIN LATERAL (SELECT * FROM accounts_account x"
            " WHERE x.id = w.node_id AND x.kind = 'user' OFFSET 0) a\n"
            "  JOIN instances_instance i ON i.id = a.instance_id\n"
            # What anonymous accounts hold on databases serves everybody.
            f" UNION SELECT a.instance_id, h.mariadb, a.name FROM {held} h\n"
            "  JOIN accounts_account a ON a.instance_id = h.instance_id AND a.kind = 'user'"
            f" AND {existing('a')} WHERE h.name = '' AND h.kind = 'database'"
        )
        peers = query.cte(
            "SELECT n.instance_id, n.name AS login, n.mariadb, a.id, a.name <> n.name AS anonymous, a.host, a.kind\n"
            f"  FROM {names} n JOIN accounts_account a ON a.instance_id = n.instance_id AND a.name IN (n.name, '')\n"
            f" WHERE {existing('a')} AND (a.kind = 'user' OR a.name = '' OR NOT n.mariadb)"
        )
        families = query.cte(
            f"SELECT instance_id, login, count(*) > 1 AS shared FROM {peers} GROUP BY instance_id, login"
        )
        witnesses = query.cte(
            "SELECT DISTINCT p.instance_id, p.login, p.mariadb, p.host, w.address, w.is_name\n"
            f"  FROM {peers} p JOIN {families} f USING (instance_id, login)\n"
            f"  CROSS JOIN LATERAL ({WITNESSES.format(host='p.host')}) w WHERE f.shared"
        )
        clients = query.cte(
            "SELECT instance_id, login, mariadb, address AS ip, address AS name, host AS fitting\n"
            f"  FROM {witnesses} WHERE NOT is_name\n"
            " UNION SELECT instance_id, login, mariadb, '203.0.113.254', address, host\n"
            f"  FROM {witnesses} WHERE is_name\n"
            f" UNION SELECT instance_id, login, w.mariadb, w.address, n.address, n.host || ', ' || w.host\n"
            f"  FROM {witnesses} w JOIN {witnesses} n USING (instance_id, login)\n"
            " WHERE NOT w.is_name AND n.is_name AND (n.address <> 'localhost' OR w.address LIKE '127.%%')"
        )
        fits = query.cte(
            "SELECT c.instance_id, c.login, c.mariadb, c.ip, c.name, c.fitting, p.id, p.anonymous, p.host, p.kind,\n"
            f"       {HOST_ORDER.format(host='p.host', mariadb='c.mariadb')} AS place\n"
            f"  FROM {clients} c JOIN {peers} p USING (instance_id, login)\n"
            f" WHERE {FITS.format(host='p.host', ip='c.ip', name='c.name', mariadb='c.mariadb')}"
        )
        # The client logs in as the account that matches best. No client can log in as a role.
        chosen = query.cte(
            "SELECT * FROM (SELECT DISTINCT ON (instance_id, login, ip, name) *\n"
            f"  FROM {fits} WHERE kind IS DISTINCT FROM 'public'\n"
            ' ORDER BY instance_id, login, ip, name, place, anonymous, host COLLATE "C" DESC) best\n'
            " WHERE kind = 'user' AND NOT anonymous"
        )
        serving = query.cte(
            "SELECT c.instance_id, c.mariadb, c.id AS account_id, c.ip, c.name AS client, c.fitting,\n"
            "       f.id AS server_id, f.anonymous, f.host, f.place\n"
            f"  FROM {chosen} c JOIN {fits} f USING (instance_id, login, ip, name)\n"
            " UNION ALL SELECT p.instance_id, p.mariadb, p.id, '', '', NULL, p.id, p.anonymous, p.host, NULL\n"
            f"  FROM {peers} p JOIN {families} f USING (instance_id, login) WHERE NOT f.shared AND p.kind = 'user'"
        )
        # Roles that an account can have active.
        switches = query.cte(
            "SELECT s.account_id, s.mariadb, m.member_id AS via_id, m.role_id, m.inherit AS login\n"
            f"  FROM (SELECT DISTINCT account_id, mariadb, server_id, anonymous FROM {serving}) s\n"
            f"  {query.roles('s.server_id', self.since)}\n"
            " WHERE s.server_id = s.account_id OR (s.mariadb AND NOT s.anonymous)"
        )
        within = query.cte(
            f"SELECT role_id, role_id FROM {switches}\n"
            f" UNION SELECT node_id, node_id FROM {wide} w CROSS JOIN LATERAL\n"
            "  (SELECT FROM accounts_account x WHERE x.id = w.node_id AND x.kind IS DISTINCT FROM 'user' OFFSET 0) a\n"
            f" UNION SELECT a.id, a.id FROM {held} h CROSS JOIN LATERAL (SELECT * FROM accounts_account x\n"
            f"  WHERE x.instance_id = h.instance_id AND x.name = 'PUBLIC' AND x.kind = 'public' AND {existing('x')}"
            " OFFSET 0) a\n WHERE h.mariadb AND h.name = ''\n"
            f" UNION SELECT w.role_id, m.role_id FROM {{self}} w {query.roles('w.node_id', self.since)}",
            "(role_id, node_id)",
        )
        patterns = self._patterns()
        selects = [
            self._of_clients(serving, switches, patterns),
            self._of_mysql_roles(switches, within, patterns),
            *self._of_mariadb_roles(switches, within, patterns),
        ]
        return query.cte("\n UNION ALL ".join(selects))

    def _patterns(self) -> str:
        """Return the CTE of the patterns that the database fits: account_id, pattern."""
        query = self.query
        if not self.database:
            return ""
        return query.cte(
            f"SELECT DISTINCT g.account_id, {UNQUOTED} AS pattern\n"
            "  FROM accounts_grant g JOIN accounts_account x ON x.id = g.account_id\n"
            "  JOIN instances_instance i ON i.id = x.instance_id\n"
            f" WHERE {query.holding('g')} AND NOT g.denied AND {query.within('x.instance_id')}\n"
            f"   AND i.engine = 'mysql' AND {fitting(query, self.database)}"
        )

    def _restricted(self, holder: str) -> str:
        """Return SQL: the privilege of `h` is revoked from the account for the database."""
        if not self.database:
            return "false"
        return (
            f"EXISTS (SELECT FROM accounts_grant d WHERE d.account_id = {holder} AND d.kind = 'database' AND d.denied"
            f" AND d.privilege = h.privilege AND d.database = {self.query.parameter(self.database)}"
            f" AND {self.query.holding('d')})"
        )

    def _of_clients(self, serving: str, switches: str, patterns: str) -> str:
        """Return the query of what sessions have without an active role: on MariaDB, all have it."""
        database = table = "true"
        if patterns:
            winners = self.query.cte(
                "SELECT account_id, ip, client, server_id, pattern FROM (\n"
                "SELECT s.account_id, s.ip, s.client, s.server_id, p.pattern,\n"
                "       rank() OVER (PARTITION BY s.account_id, s.ip, s.client ORDER BY s.place,\n"
                f"       {_weight('p.pattern', 's.mariadb')} DESC, s.anonymous) AS n\n"
                f"  FROM {serving} s JOIN {patterns} p ON p.account_id = s.server_id) ranked WHERE n = 1"
            )
            database = (
                "(s.account_id, s.ip, s.client, s.server_id, h.pattern) IN"
                f" (SELECT account_id, ip, client, server_id, pattern FROM {winners})"
            )
        if len(self.question.path) > 1 or not self.question.is_exact:
            own = self.query.cte(
                f"SELECT DISTINCT g.account_id, g.kind = 'routine' AS routine, {_TABLE} AS object\n"
                "  FROM accounts_grant g\n"
                f" WHERE g.account_id IN (SELECT server_id FROM {serving} WHERE ip <> '' AND NOT anonymous)\n"
                f"   AND g.kind IN ('table', 'column', 'routine') AND {self.query.holding('g')}{self._near()}"
            )
            rows = self.query.cte(
                "SELECT account_id, ip, client, server_id, routine, object FROM (\n"
                "SELECT s.account_id, s.ip, s.client, s.server_id, k.routine, k.object,\n"
                "       rank() OVER (PARTITION BY s.account_id, s.ip, s.client, k.routine, k.object"
                f" ORDER BY {HOST_WEIGHT.format(text='s.host')} DESC) AS n\n"
                f"  FROM {serving} s JOIN {own} k ON k.account_id = s.server_id WHERE s.ip <> '' AND NOT s.anonymous\n"
                ") ranked WHERE n = 1"
            )
            table = (
                "(s.ip = '' OR (s.account_id, s.ip, s.client, s.server_id, h.kind = 'routine', h.object) IN"
                f" (SELECT account_id, ip, client, server_id, routine, object FROM {rows}))"
            )
        # What an account has revoked for the database, it has by no grant on it.
        free = f"(s.mariadb OR NOT {self._restricted('s.account_id')})"
        return (
            "SELECT t.account_id, t.instance_id, CASE WHEN t.mariadb OR t.account_id NOT IN (SELECT account_id FROM"
            f" {switches} WHERE login) THEN t.account_id ELSE {NO_ROLE} END AS session_id,\n"
            "       t.account_id AS entry_id, t.holder_id, t.grant_id, t.because, t.scope,\n"
            "       CASE WHEN t.n < c.n THEN t.fitting END AS clients, t.account_id AS via_id\n"
            "  FROM (SELECT s.account_id, s.instance_id, s.mariadb, h.holder_id, h.grant_id, h.because, h.scope,\n"
            "       count(*) AS n, string_agg(DISTINCT s.fitting, '; ') AS fitting\n"
            f"  FROM {serving} s JOIN {self.held} h ON h.holder_id = s.server_id\n"
            f" WHERE CASE WHEN h.kind IN ('system', 'proxy') THEN s.server_id = s.account_id AND {free}\n"
            f"            WHEN h.kind = 'database' THEN {free} AND {database}\n"
            f"            ELSE NOT s.anonymous AND {table} END\n"
            " GROUP BY 1, 2, 3, 4, 5, 6, 7) t\n"
            f"  JOIN (SELECT account_id, count(DISTINCT (ip, client)) AS n FROM {serving} GROUP BY account_id) c"
            " USING (account_id)"
        )

    def _near(self) -> str:
        """Return SQL: the grant is on the table, with its columns, or on the routine, of the question."""
        path = self.question.path
        if not self.question.is_exact:
            return ""
        table, routine = (self.query.parameter(".".join(path[:length])) for length in (2, 3))
        return f" AND (g.scope IN ({table}, {routine}) OR starts_with(g.scope, {table} || '.'))"

    def _of_mysql_roles(self, switches: str, within: str, patterns: str) -> str:
        """Return the query of what sessions on MySQL have while roles are active."""
        # Roles give anonymous accounts nothing.
        active = self.query.cte(
            "SELECT w.account_id, a.instance_id, CASE WHEN k.at_login THEN w.account_id ELSE w.role_id END AS"
            " session_id,\n"
            "       CASE WHEN a.name <> '' THEN w.role_id END AS role_id\n"
            f"  FROM {switches} w CROSS JOIN LATERAL"
            " (SELECT * FROM accounts_account x WHERE x.id = w.account_id OFFSET 0) a\n"
            "  JOIN (VALUES (false), (true)) k(at_login) ON w.login OR NOT k.at_login WHERE NOT w.mariadb"
        )
        having = self.query.cte(
            f"SELECT account_id, instance_id, session_id, account_id AS node_id FROM {active}\n"
            f" UNION SELECT account_id, instance_id, session_id, w.node_id FROM {active}\n"
            f"  JOIN {within} w USING (role_id)\n"
            f" UNION SELECT w.role_id, a.instance_id, w.role_id, w.node_id FROM {within} w\n"
            "  CROSS JOIN LATERAL (SELECT * FROM accounts_account x WHERE x.id = w.role_id\n"
            "  AND x.kind IS DISTINCT FROM 'user' OFFSET 0) a\n"
            "  JOIN instances_instance i ON i.id = a.instance_id AND i.product <> 'MariaDB'"
        )
        database = "true"
        if patterns:
            name = self.query.parameter(self.database)
            winners = self.query.cte(
                "SELECT DISTINCT ON (h.account_id, h.session_id) h.account_id, h.session_id, p.pattern\n"
                f"  FROM {having} h JOIN {patterns} p ON p.account_id = h.node_id\n"
                f" ORDER BY h.account_id, h.session_id, p.pattern = {name} AND p.pattern !~ '[\\\\%%_]' DESC,"
                ' p.pattern COLLATE "C"'
            )
            database = (
                "(s.account_id, s.session_id, h.pattern) IN"
                f" (SELECT account_id, session_id, pattern FROM {winners})"
                f" AND NOT EXISTS (SELECT FROM {having} o WHERE o.account_id = s.account_id"
                f" AND o.session_id = s.session_id AND {self._restricted('o.node_id')})"
            )
        return (
            "SELECT s.account_id, s.instance_id, s.session_id,\n"
            "       CASE WHEN s.node_id = s.account_id THEN s.session_id ELSE s.node_id END, h.holder_id, h.grant_id,\n"
            "       h.because, h.scope, NULL, s.account_id\n"
            f"  FROM {having} s JOIN {self.held} h ON h.holder_id = s.node_id\n"
            f" WHERE CASE WHEN h.kind IN ('system', 'proxy') THEN NOT {self._restricted('h.holder_id')}\n"
            f"            WHEN h.kind = 'database' THEN {database} ELSE true END"
        )

    def _of_mariadb_roles(self, switches: str, within: str, patterns: str) -> list[str]:
        """Return the queries of what the active role and PUBLIC have on MariaDB."""
        query, held = self.query, self.held
        database = "true"
        nothing = ""
        if patterns:
            weight = _weight("p.pattern", "true")
            winners = query.cte(
                "SELECT role_id, pattern FROM (SELECT w.role_id, p.pattern,\n"
                f"       rank() OVER (PARTITION BY w.role_id ORDER BY {weight} DESC) AS n\n"
                f"  FROM {within} w JOIN {patterns} p ON p.account_id = w.node_id) ranked WHERE n = 1"
            )
            database = f"(w.role_id, h.pattern) IN (SELECT role_id, pattern FROM {winners})"
            # To a role without a fitting pattern, the server gives those of the anonymous account for all hosts.
            best = query.cte(
                "SELECT account_id, pattern FROM (SELECT p.account_id, p.pattern,\n"
                f"       rank() OVER (PARTITION BY p.account_id ORDER BY {weight} DESC) AS n\n"
                f"  FROM {patterns} p) ranked WHERE n = 1"
            )
            nothing = (
                f"SELECT DISTINCT w.role_id, w.role_id AS entry_id, h.* FROM {within} w\n"
                "  JOIN accounts_account r ON r.id = w.role_id\n"
                f"  JOIN {held} h ON h.instance_id = r.instance_id AND h.mariadb AND h.kind = 'database'"
                " AND h.name = '' AND h.host = '%%'\n"
                f" WHERE (h.holder_id, h.pattern) IN (SELECT account_id, pattern FROM {best})\n"
                f"   AND w.role_id NOT IN (SELECT role_id FROM {winners})"
            )
        sides = (
            f"SELECT w.role_id, h.holder_id AS entry_id, h.* FROM {within} w JOIN {held} h ON h.holder_id = w.node_id\n"
        )
        sides += f" WHERE h.mariadb AND (h.kind <> 'database' OR {database})"
        of_roles = query.cte(f"{sides}\n UNION ALL {nothing}" if patterns else sides)
        return [
            "SELECT w.account_id, r.instance_id, CASE WHEN w.login AND w.via_id = w.account_id THEN w.account_id"
            " ELSE w.role_id END, r.entry_id, r.holder_id, r.grant_id, r.because, r.scope, NULL, w.via_id\n"
            f"  FROM {switches} w JOIN {of_roles} r ON r.role_id = w.role_id WHERE w.mariadb",
            "SELECT r.role_id, r.instance_id, r.role_id, r.entry_id, r.holder_id, r.grant_id, r.because, r.scope,\n"
            f"       NULL, r.role_id FROM {of_roles} r\n"
            "  CROSS JOIN LATERAL (SELECT FROM accounts_account x WHERE x.id = r.role_id"
            " AND x.kind IS DISTINCT FROM 'user' OFFSET 0) a",
            # An account that switches to a role of another account with its name has the grants on *.* of that one.
            "SELECT w.account_id, h.instance_id, w.role_id, w.role_id, h.holder_id, h.grant_id, h.because, h.scope,\n"
            f"       NULL, w.via_id FROM {switches} w JOIN {held} h ON h.holder_id = w.via_id AND h.kind = 'system'\n"
            " WHERE w.via_id <> w.account_id",
        ]


def _weight(pattern: str, mariadb: str) -> str:
    return PATTERN_WEIGHT.format(pattern=pattern, mariadb=mariadb)
