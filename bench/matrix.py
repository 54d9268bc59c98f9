"""The rights matrix of 1,000 accounts on 5,000 objects, about 200,000 cells that are not empty: streamed and by page.

Beside the instance are ten others of a tenth of the size. An account is in two of 20 roles, one of fifty is a
superuser.
"""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from typing import Any

from ground import FLEET, quick, report, seconds, store

OBJECTS = 500 if quick() else 5000
ACCOUNTS = 100 if quick() else 1000

FILL = (
    FLEET
    + r"""
UPDATE instances_instance SET engine = 'postgresql';
INSERT INTO accounts_coverage (instance_id, level, covered, beyond, gaps, unread, digest, since, read_at)
SELECT id, 'B', '{memberships,attribute,database,tablespace,parameter,schema,language,large_object,table,sequence}',
       '{column}', '[]', '{}', '', now() - interval '30 days', now() FROM instances_instance;
INSERT INTO accounts_account (instance_id, name, host, kind, native_id, is_system, is_filtered, can_login, auth_method,
       last_known, first_seen_at)
SELECT i.id, CASE WHEN n = 0 THEN 'owner' WHEN n <= 20 THEN 'role' || n ELSE 'user' || n END, '',
       CASE WHEN n BETWEEN 1 AND 20 THEN 'role' ELSE 'user' END, '', false, false, n = 0 OR n > 20, '', '{}',
       now() - interval '30 days'
  FROM instances_instance i,
       LATERAL generate_series(0, CASE i.name WHEN 'db1' THEN %(accounts)s ELSE %(accounts)s / 10 END) n;
INSERT INTO accounts_account (instance_id, name, host, kind, native_id, is_system, is_filtered, auth_method, last_known,
       first_seen_at)
SELECT id, 'public', '', 'public', '', true, false, '', '{}', now() - interval '30 days' FROM instances_instance;
CREATE TEMPORARY VIEW numbered AS
SELECT *, coalesce(nullif(regexp_replace(name, '\D', '', 'g'), ''), '0')::int AS n FROM accounts_account;
INSERT INTO accounts_membership (member_id, role_id, admin_option, inherit, set_option, held_since, since)
SELECT m.id, r.id, false, m.n %% 10 > 0, true, now() - interval '30 days', now() - interval '30 days'
  FROM numbered m JOIN numbered r ON r.instance_id = m.instance_id AND r.kind = 'role'
 WHERE m.kind = 'user' AND m.n > 0 AND (m.n + r.n) %% 10 = 0;
INSERT INTO accounts_rolereach (member_id, role_id, depth, via_id, inherits, can_set, is_admin)
SELECT member_id, role_id, 1, member_id, inherit, true, false FROM accounts_membership;
CREATE TEMPORARY VIEW object AS
SELECT n, 'shop.s' || n %% 5 AS schema, 'shop.s' || n %% 5 || '.t' || n AS scope FROM generate_series(1, %(objects)s) n;
CREATE TEMPORARY TABLE given AS
SELECT a.id, 'table' AS kind, o.scope, p AS privilege FROM numbered a, object o,
       unnest(ARRAY['OWNER', 'SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
 WHERE a.name = 'owner'
 UNION ALL SELECT a.id, 'table', o.scope, p FROM numbered a, object o,
       unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p
 WHERE a.kind = 'role' AND (o.n + a.n) %% 60 = 0
 UNION ALL SELECT a.id, 'table', o.scope, p FROM numbered a, object o, unnest(ARRAY['SELECT', 'DELETE']) p
 WHERE a.kind = 'user' AND a.n > 0 AND (o.n * 7 + a.n) %% 200 = 0
 UNION ALL SELECT a.id, 'schema', o.schema, 'USAGE' FROM numbered a, object o WHERE a.kind = 'role' AND o.n <= 4
 UNION ALL SELECT a.id, 'database', 'shop', 'CONNECT' FROM numbered a WHERE a.kind = 'public'
 UNION ALL SELECT a.id, 'attribute', '', 'SUPERUSER' FROM numbered a WHERE a.kind = 'user' AND a.n %% 50 = 1;
INSERT INTO accounts_grant (account_id, kind, database, scope, privilege, grantable, denied, held_since, since)
SELECT id, kind, CASE kind WHEN 'attribute' THEN '' ELSE 'shop' END, scope, privilege, false, false,
       now() - interval '30 days', now() - interval '30 days' FROM given;
"""
)


def main() -> None:
    figures: dict[str, Any] = {}
    with store():
        from django.db import connection
        from django.utils import timezone

        from access.matrix import matrix
        from accounts.models import Account, Grant
        from instances.models import Instance

        with connection.cursor() as cursor:
            cursor.execute(FILL, {"instances": 11, "accounts": ACCOUNTS, "objects": OBJECTS})
            cursor.execute("ANALYZE")
        figures |= {"accounts": Account.objects.count(), "grants": Grant.objects.count()}
        one = Instance.objects.filter(name="db1")
        then = timezone.now() - timedelta(days=10)

        def count(on: str, at: Any = None) -> int:
            return sum(1 for _ in matrix(on, instances=one, at=at).cells())

        def page(first: tuple[int, int]) -> int:
            whole = matrix("shop", instances=one)
            axes = whole.axes(first, (20, 50))
            return sum(1 for _ in whole.of(axes.accounts).cells(axes.objects))

        figures |= {"cells": count("shop"), "schema_cells": count("shop.s1")}
        figures["matrix_s"] = seconds(lambda: count("shop"), 2)
        figures["matrix_then_s"] = seconds(lambda: count("shop", then))
        figures["schema_s"] = seconds(lambda: count("shop.s1"), 2)
        figures["page_s"] = seconds(lambda: page((0, 0)), 2)
        figures["last_page_s"] = seconds(lambda: page((ACCOUNTS, OBJECTS)), 2)
        tracemalloc.start()
        count("shop")
        figures["peak_mb"] = tracemalloc.get_traced_memory()[1] / 1024**2
    targets = {"matrix_s": ("<=", 5.0), "matrix_then_s": ("<=", 7.5), "page_s": ("<=", 2.0), "peak_mb": ("<=", 50.0)}
    report("matrix", figures, targets)


if __name__ == "__main__":
    main()
