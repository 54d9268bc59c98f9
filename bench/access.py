"""Questions over a large fleet: effective privileges and who can, now and in the past, beside hand-written SQL.

A database of one name is on twenty instances, a tenth of MySQL's accounts hold a pattern, a user is in two roles.

The hand-written statements give holders and direct members only; the questions also give ways, sessions and what is
not known.
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

HOLDERS = """
SELECT g.account_id, m.member_id, g.since FROM accounts_grant g
  LEFT JOIN accounts_membership m ON m.role_id = g.account_id AND m.until IS NULL
 WHERE g.privilege = %s AND g.kind = 'table' AND md5(g.scope) = md5(%s) AND g.scope = %s AND g.until IS NULL
"""
HELD = """
SELECT g.* FROM accounts_grant g
 WHERE g.until IS NULL AND (g.account_id = %(pk)s OR g.account_id IN
       (SELECT role_id FROM accounts_membership WHERE member_id = %(pk)s AND until IS NULL))
"""


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

        def by_hand(sql: str, parameters: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                cursor.fetchall()

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
            "who_can_mysql_pattern": lambda: len(who_can("SELECT", "shop3_0.t1").rows),
            "ask_fleet": lambda: len(ask(Asked(privilege, scope)).answer.rows),
            "complete_fleet": lambda: len(complete("shop3")),
            "complete_one": lambda: len(complete("shop", one)),
            "effective": lambda: hold(),
            "effective_then": lambda: hold(then),
        }
        for name, question in questions.items():
            figures[f"{name}_rows"] = question()
            figures[f"{name}_ms"] = 1000 * seconds(question, 5)
        who = 1000 * seconds(lambda: by_hand(HOLDERS, [privilege, scope, scope]), 5)
        held = 1000 * seconds(lambda: by_hand(HELD, {"pk": account.pk}), 5)
        figures |= {"who_can_by_hand_ms": who, "effective_by_hand_ms": held}
        figures["who_can_ratio"] = figures["who_can_fleet_ms"] / who
        figures["effective_ratio"] = figures["effective_ms"] / held
    report("access", figures, {f"{name}_ms": ("<=", 200.0) for name in questions})


if __name__ == "__main__":
    main()
