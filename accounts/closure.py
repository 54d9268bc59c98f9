"""Role closure: which account reaches which role, computed by the database.

Breadth first, one statement per level, so that no path is walked twice. A recursive query that carries its path would
list the exponentially many paths through stacked diamonds. Levels are few, and a cycle, which MySQL allows, ends when
nothing new is reached.
"""

from django.db import connection

_FIRST_LEVEL = """
CREATE TEMPORARY TABLE reach ON COMMIT DROP AS
SELECT m.member_id, m.role_id, m.member_id AS via_id, 1 AS depth, m.inherit AS inherits, m.set_option AS can_set
  FROM accounts_membership m JOIN accounts_account a ON a.id = m.member_id
 WHERE a.instance_id = %s AND m.until IS NULL
"""

# Distinct by all but depth and via: a longer path counts only if it allows what shorter ones do not.
_NEXT_LEVEL = """
INSERT INTO reach
SELECT DISTINCT ON (r.member_id, m.role_id, r.inherits AND m.inherit, r.can_set AND m.set_option)
       r.member_id, m.role_id, r.role_id, %(depth)s, r.inherits AND m.inherit, r.can_set AND m.set_option
  FROM reach r JOIN accounts_membership m ON m.member_id = r.role_id AND m.until IS NULL
 WHERE r.depth = %(depth)s - 1
   AND NOT EXISTS (SELECT FROM reach k
                    WHERE k.member_id = r.member_id AND k.role_id = m.role_id
                      AND k.inherits = (r.inherits AND m.inherit) AND k.can_set = (r.can_set AND m.set_option))
 ORDER BY r.member_id, m.role_id, r.inherits AND m.inherit, r.can_set AND m.set_option, r.role_id
"""

_STORE = """
WITH best AS (
    SELECT DISTINCT ON (r.member_id, r.role_id) r.member_id, r.role_id, r.depth, r.via_id
      FROM reach r WHERE r.member_id <> r.role_id
     ORDER BY r.member_id, r.role_id, r.depth, r.via_id
), options AS (
    SELECT member_id, role_id, bool_or(inherits) AS inherits, bool_or(can_set) AS can_set
      FROM reach GROUP BY member_id, role_id
), admins AS MATERIALIZED (
    SELECT m.member_id, m.role_id
      FROM accounts_membership m JOIN accounts_account a ON a.id = m.member_id
     WHERE a.instance_id = %(instance)s AND m.admin_option AND m.until IS NULL
), administered AS (
    SELECT member_id, role_id FROM admins
     UNION
    SELECT r.member_id, d.role_id FROM admins d JOIN reach r ON r.role_id = d.member_id
), target AS (
    SELECT b.member_id, b.role_id, b.depth, b.via_id, o.inherits, o.can_set, d.role_id IS NOT NULL AS is_admin
      FROM best b
      JOIN options o USING (member_id, role_id)
      LEFT JOIN administered d USING (member_id, role_id)
), dropped AS (
    DELETE FROM accounts_rolereach x USING accounts_account a
     WHERE a.id = x.member_id AND a.instance_id = %(instance)s
       AND NOT EXISTS (SELECT FROM target w WHERE w.member_id = x.member_id AND w.role_id = x.role_id)
)
INSERT INTO accounts_rolereach (member_id, role_id, depth, via_id, inherits, can_set, is_admin)
SELECT member_id, role_id, depth, via_id, inherits, can_set, is_admin FROM target
    ON CONFLICT (member_id, role_id) DO UPDATE
   SET depth = excluded.depth, via_id = excluded.via_id, inherits = excluded.inherits,
       can_set = excluded.can_set, is_admin = excluded.is_admin
 WHERE (accounts_rolereach.depth, accounts_rolereach.via_id, accounts_rolereach.inherits,
        accounts_rolereach.can_set, accounts_rolereach.is_admin)
       IS DISTINCT FROM (excluded.depth, excluded.via_id, excluded.inherits, excluded.can_set, excluded.is_admin)
"""


def rebuild(instance_id: int) -> None:
    """Update the instance's `RoleReach` rows from its memberships; unchanged rows are not written.

    Must run inside a transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS pg_temp.reach")
        cursor.execute(_FIRST_LEVEL, [instance_id])
        cursor.execute("CREATE INDEX ON reach (member_id, role_id)")
        depth = 1
        # A query in a loop: one per level of nesting, as explained above.
        while cursor.rowcount != 0 or depth == 1:
            depth += 1
            cursor.execute(_NEXT_LEVEL, {"depth": depth})
        cursor.execute("ANALYZE reach")
        cursor.execute(_STORE, {"instance": instance_id})
