"""Questions over a large fleet: effective privileges and who can, now and in the past, beside hand-written SQL.

A database of one name is on twenty instances, a tenth of MySQL's accounts hold a pattern, a user is in two roles.

Each question is beside one statement that someone would write who knows this question and this fleet. It gives the same
rows, which is checked, with what a session lacks, and the last read of every instance; the questions also put rows into
words, with their chains, and know what depends on clients, owners, PUBLIC and other engines. Rules: see
classification.py; the matrix: see matrix.py.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ground import FLEET, quick, report, seconds, store

INSTANCES = 20 if quick() else 1000
ACCOUNTS, GRANTS = 200, 2000  # an instance

FILL = (
    FLEET
    + r"""
INSERT INTO accounts_coverage (instance_id, level, covered, beyond, gaps, unread, digest, since, read_at)
SELECT id, 'B', '{memberships,attribute,system,database,table,routine,sequence,type,foreign,proxy,column}', '{}', '[]',
       '{}', '', now() - interval '30 days', now() FROM instances_instance;
INSERT INTO accounts_account (instance_id, name, host, kind, native_id, is_system, is_filtered, can_login, auth_method,
       last_known, first_seen_at)
SELECT i.id, CASE WHEN n <= 20 THEN 'role' || n ELSE 'user' || n END,
       CASE WHEN i.engine = 'mysql' THEN '%%' ELSE '' END,
       CASE WHEN n <= 20 THEN 'role' ELSE 'user' END, '', false, false, n > 20, '', '{}', now() - interval '30 days'
  FROM instances_instance i, generate_series(1, %(accounts)s) n;
CREATE TEMPORARY VIEW numbered AS SELECT *, regexp_replace(name, '\D', '', 'g')::int AS n FROM accounts_account;
INSERT INTO accounts_membership (member_id, role_id, admin_option, inherit, set_option, held_since, since, until)
SELECT m.id, r.id, false, true, true, now() - interval '30 days', now() - interval '30 days',
       CASE WHEN m.n %% 5 = 1 THEN now() - interval '5 days' END
  FROM numbered m JOIN numbered r ON r.instance_id = m.instance_id AND r.kind = 'role'
 WHERE m.kind = 'user' AND (m.n + r.n) %% 10 = 0;
INSERT INTO accounts_rolereach (member_id, role_id, depth, via_id, inherits, can_set, is_admin)
SELECT member_id, role_id, 1, member_id, true, true, false FROM accounts_membership WHERE until IS NULL;
INSERT INTO accounts_grant (account_id, kind, database, scope, privilege, grantable, denied, held_since, since, until)
SELECT a.id, 'table', d, CASE WHEN a.host = '%%' THEN d ELSE d || '.public' END || '.t' || (a.n * 7 + g) %% 100,
       (ARRAY['SELECT','INSERT','UPDATE','DELETE'])[1 + g %% 4], false, false,
       now() - interval '30 days', now() - interval '30 days', CASE WHEN g = 1 THEN now() - interval '5 days' END
  FROM numbered a, generate_series(1, %(each)s) g,
       LATERAL (SELECT 'shop' || a.instance_id / 20 || '_' || (a.n + g) %% 5 AS d) x;
INSERT INTO accounts_grant (account_id, kind, database, scope, privilege, grantable, denied, held_since, since)
SELECT a.id, 'database', d, CASE WHEN a.n %% 20 = 0 THEN d ELSE replace(d, '_', '\_') END, 'SELECT', false, false,
       now() - interval '30 days', now() - interval '30 days'
  FROM numbered a, LATERAL (SELECT 'shop' || a.instance_id / 20 || '_' || a.n / 10 %% 5 AS d) x
 WHERE a.host = '%%' AND a.n %% 10 = 0;
"""
)

#: Sessions that inherit, accounts that can switch to them, and of each account and grant the best one.
WHO = """
WITH held AS MATERIALIZED ({held}), inheriting AS MATERIALIZED (
    SELECT id, account_id AS session_id FROM held UNION
    SELECT h.id, r.member_id FROM held h JOIN accounts_rolereach r ON r.role_id = h.account_id AND r.inherits
), found AS (
    SELECT id, session_id, session_id AS account_id FROM inheriting UNION ALL
    SELECT i.id, i.session_id, r.member_id FROM inheriting i JOIN accounts_rolereach r ON r.role_id = i.session_id
       AND r.can_set
), {needs} best AS (
    SELECT DISTINCT ON (f.account_id, f.id) a.instance_id, a.name, f.account_id, f.id, f.session_id, {lacks} AS lacks
      FROM found f JOIN accounts_account a ON a.id = f.account_id
     ORDER BY f.account_id, f.id, {lacks}, f.session_id <> f.account_id
)
SELECT b.account_id, b.id, b.lacks, b.session_id, i.name, i.engine, c.since, c.read_at, c.level, c.beyond, c.gaps
  FROM instances_instance i LEFT JOIN accounts_coverage c ON c.instance_id = i.id AND c.until IS NULL
  LEFT JOIN best b ON b.instance_id = i.id ORDER BY i.name, b.name
"""
NOW = "SELECT id, account_id FROM accounts_grant g WHERE g.until IS NULL AND NOT g.denied AND"
#: Who has it on a table of PostgreSQL, or as a superuser, or as the owner.
TABLE = f"""{NOW} g.privilege = ANY(ARRAY[%(privilege)s, 'OWNER']) AND g.kind = 'table'
       AND md5(g.scope) = md5(%(scope)s) AND g.scope = %(scope)s
     UNION ALL {NOW} g.kind = 'attribute' AND g.privilege = 'SUPERUSER'"""
NEED = """{0} AS MATERIALIZED (SELECT g.account_id AS id FROM accounts_grant g WHERE g.until IS NULL
       AND g.kind = '{1}' AND g.privilege = '{2}' AND md5(g.scope) = md5(%({1})s)
), {0}_in AS MATERIALIZED (SELECT id FROM {0} UNION
    SELECT r.member_id FROM {0} n JOIN accounts_rolereach r ON r.role_id = n.id AND r.inherits), """
NEEDS = NEED.format("connect", "database", "CONNECT") + NEED.format("usage", "schema", "USAGE")
LACKS = (
    """(f.account_id NOT IN (SELECT id FROM connect_in))::int + (f.session_id NOT IN (SELECT id FROM usage_in))::int"""
)
#: The accounts with the privilege on a MySQL table. Each account of this bench has one pattern.
PATTERN = f"""{NOW} g.privilege = %(privilege)s AND g.kind = 'table' AND md5(g.scope) = md5(%(scope)s)
     UNION ALL {NOW} g.privilege = %(privilege)s AND g.kind = 'database' AND %(database)s LIKE g.scope
       AND (g.database = %(database)s OR g.scope LIKE '%%\\%%%%' OR g.scope LIKE '%%\\_%%')"""
HELD = """
SELECT g.*, a.name, m.since, c.read_at, c.level, c.beyond, c.gaps FROM accounts_grant g
  JOIN accounts_account a ON a.id = g.account_id
  LEFT JOIN accounts_membership m ON m.role_id = g.account_id AND m.member_id = %(pk)s AND m.until IS NULL
  LEFT JOIN accounts_coverage c ON c.instance_id = a.instance_id AND c.until IS NULL
 WHERE g.until IS NULL AND NOT g.denied AND g.account_id = ANY(%(pk)s ||
       ARRAY(SELECT role_id FROM accounts_rolereach WHERE member_id = %(pk)s))
"""

#: A table that patterns of databases fit.
PATTERNED = "shop3_0.t1"

#: Question → the largest number of milliseconds.
TARGETS = {"effective": 50, "effective_then": 50, "complete_fleet": 100, "complete_one": 100, "ask_fleet": 100}
TARGETS |= {"who_can_fleet": 100, "who_can_fleet_then": 100, "who_can_one": 100, "who_can_mysql_pattern": 100}


def main() -> None:
    figures: dict[str, Any] = {}
    with store():
        from django.db import connection
        from django.utils import timezone

        from access.asking import Asked, ask
        from access.completion import complete
        from access.questions import effective, who_can
        from accounts.models import Account, Grant
        from instances.models import Instance

        with connection.cursor() as cursor:
            each = GRANTS // ACCOUNTS
            cursor.execute(FILL, {"instances": INSTANCES, "accounts": ACCOUNTS, "each": each})
            cursor.execute("ANALYZE")
        figures |= {"accounts": Account.objects.count(), "grants": Grant.objects.count()}
        then = timezone.now() - timedelta(days=10)
        account = Account.objects.select_related("instance").filter(kind="user", instance__engine="postgresql")[5]
        one = Instance.objects.filter(engine="postgresql")[:1]
        one = Instance.objects.filter(pk__in=[row.pk for row in one])
        grant = Grant.objects.at(timezone.now()).filter(account__instance__in=one, kind="table")[0]
        privilege, scope = grant.privilege, grant.scope

        def by_hand(sql: str, **parameters: Any) -> list[Any]:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall()

        def answer_of(**options: Any) -> int:
            """Rows in words, at most a thousand."""
            return len(who_can(privilege, scope, **options).rows[:1000])

        def hold(at: Any = None) -> int:
            found = effective(account, at)
            return len(found.links(list(found.grants)))

        questions = {
            "who_can_fleet": lambda: answer_of(),
            "who_can_fleet_then": lambda: answer_of(at=then),
            "who_can_one": lambda: answer_of(instances=one),
            "who_can_mysql_pattern": lambda: len(who_can("SELECT", PATTERNED, kind="table").rows[:1000]),
            "ask_fleet": lambda: len(ask(Asked(privilege, scope)).answer.rows),
            "complete_fleet": lambda: len(complete("shop3")),
            "complete_one": lambda: len(complete("shop", one)),
            "effective": lambda: hold(),
            "effective_then": lambda: hold(then),
        }
        database, schema = scope.split(".")[0], ".".join(scope.split(".")[:2])
        where = {"privilege": privilege, "scope": scope, "database": database, "schema": schema}
        of_table = WHO.format(held=TABLE, needs=NEEDS, lacks=LACKS)
        of_pattern = WHO.format(held=PATTERN, needs="", lacks="0::int")
        patterned = {"privilege": "SELECT", "scope": PATTERNED, "database": PATTERNED.split(".")[0]}
        hands = {
            "who_can_fleet": lambda: by_hand(of_table, **where),
            "who_can_mysql_pattern": lambda: by_hand(of_pattern, **patterned),
            "effective": lambda: by_hand(HELD, pk=account.pk),
        }
        for name, answer in (
            ("who_can_fleet", who_can(privilege, scope)),
            ("who_can_mysql_pattern", who_can("SELECT", PATTERNED, kind="table")),
        ):
            ours = {(one.account, one.grant, len(one.lacks)) for one in answer.rows.holdings}
            assert ours == {tuple(row[:3]) for row in hands[name]() if row[0]}, name
        assert {grant.pk for grant in effective(account).grants} == {row[0] for row in hands["effective"]()}
        for name, question in questions.items():
            figures[f"{name}_rows"] = question()
            if name in hands:
                # In turns, because the load of the machine changes.
                times = [(seconds(question), seconds(hands[name])) for _ in range(15)]
                ours_s, hand_s = (min(column) for column in zip(*times, strict=True))
                figures |= {f"{name}_by_hand_ms": 1000 * hand_s, f"{name}_ratio": ours_s / hand_s}
                figures[f"{name}_ms"] = 1000 * ours_s
            else:
                figures[f"{name}_ms"] = 1000 * seconds(question, 9)
    targets = {f"{name}_ms": ("<=", float(bound)) for name, bound in TARGETS.items()}
    report("access", figures, targets | {f"{name}_ratio": ("<=", 5.0) for name in hands})


if __name__ == "__main__":
    main()
