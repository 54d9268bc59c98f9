"""What holds of accounts, memberships, grants, coverage and the log of changes."""

from work.invariants import Invariant

#: What identifies a possession; a row of it ends before the next one begins.
_POSSESSIONS = {
    "membership": ("accounts_membership", "member_id", ("member_id", "role_id")),
    "grant": ("accounts_grant", "account_id", ("account_id", "kind", "database", "scope", "privilege", "denied")),
}


def _of_possessions(sql: str) -> str:
    """The SQL for each table of possessions, joined with UNION ALL."""
    parts = (
        sql.format(what=what, table=table, owner=owner, key=", ".join(key), same=_same(key))
        for what, (table, owner, key) in _POSSESSIONS.items()
    )
    return " UNION ALL ".join(parts)


def _same(key: tuple[str, ...]) -> str:
    """SQL: `p` and `x` are rows of one possession. Paths may differ: renaming an object does not end a grant."""
    return " AND ".join(f"p.{column} = x.{column}" for column in key if column not in ("scope", "database"))


_INTERVAL = _of_possessions("""
SELECT '{what}' AS what, x.id, x.held_since, x.since, x.until, x.ended, a.first_seen_at, a.gone_at
  FROM {table} x JOIN accounts_account a ON a.id = x.{owner}
 WHERE x.until <= x.since OR x.held_since > x.since OR (x.until IS NULL AND x.ended IS NOT NULL)
    OR x.since < a.first_seen_at OR (a.gone_at IS NOT NULL AND (x.until IS NULL OR x.until > a.gone_at))
""")

_OVERLAP = _of_possessions("""
SELECT '{what}' AS what, id, before AS other, since, before_until AS other_until
  FROM (SELECT id, since, lag(id) OVER possession AS before, lag(since) OVER possession AS before_since,
               lag(until) OVER possession AS before_until
          FROM {table} WINDOW possession AS (PARTITION BY {key} ORDER BY since, until NULLS LAST, id)) x
 WHERE before IS NOT NULL AND (before_until IS NULL OR before_until > since)
""")

#: Its first row begins when the possession does; each later row, where the one before it ended as "changed".
_HELD_SINCE = _of_possessions("""
SELECT '{what}' AS what, x.id, x.held_since, x.since FROM {table} x
 WHERE x.held_since < x.since
   AND NOT EXISTS (SELECT FROM {table} p WHERE {same} AND p.held_since = x.held_since AND p.until = x.since
                      AND p.ended IS NOT DISTINCT FROM 'changed')
""")

#: For each visit that changed an account. A role's NOINHERIT is stored as a denied grant, and logged as an option; a
#: shipped right that was taken away is not logged where an earlier release could not see it. Ends without a reason are
#: of releases that did not record it.
_UNLOGGED = """
WITH begun AS (
    SELECT member_id AS account_id, since AS at, 'memberships' AS event FROM accounts_membership
     WHERE held_since = since
     UNION
    SELECT account_id, since, 'privileges' FROM accounts_grant WHERE held_since = since AND NOT denied),
over AS (
    SELECT member_id AS account_id, until AS at, 'memberships' AS event FROM accounts_membership
     WHERE ended IN ('revoked', 'dropped')
     UNION
    SELECT account_id, until, 'privileges' FROM accounts_grant WHERE ended IN ('revoked', 'dropped') AND NOT denied)
SELECT x.what, x.account_id AS account, x.at, x.event
  FROM (SELECT 'begun' AS what, * FROM begun UNION ALL SELECT 'over', * FROM over) x
 WHERE NOT EXISTS (SELECT FROM accounts_accountchange c
                    WHERE c.account_id = x.account_id AND c.at = x.at AND c.events @> ARRAY[x.event]::varchar[])
"""

_GRANT_ENTRY = """
SELECT c.id AS change, c.account_id AS account, c.at, w.word, e.entry
  FROM accounts_accountchange c
 CROSS JOIN (VALUES ('granted'), ('revoked')) AS w(word)
 CROSS JOIN LATERAL jsonb_array_elements(coalesce(c.details -> w.word, '[]')) AS e(entry)
 WHERE NOT c.baseline
   AND NOT EXISTS (
       SELECT FROM accounts_grant g
        WHERE g.account_id = c.account_id AND CASE w.word WHEN 'granted' THEN g.since ELSE g.until END = c.at
          AND g.kind = e.entry ->> 'kind' AND g.scope = e.entry ->> 'scope' AND g.privilege = e.entry ->> 'privilege'
          AND g.denied = (e.entry ->> 'denied')::boolean
          AND g.database = coalesce(e.entry ->> 'database', g.database))
"""

#: By number: an entry names the role as it was called then.
_MEMBERSHIP_ENTRY = """
SELECT c.id AS change, c.account_id AS account, c.at, w.word, w.logged, w.stored
  FROM accounts_accountchange c
 CROSS JOIN LATERAL (
    SELECT 'joined' AS word, jsonb_array_length(coalesce(c.details -> 'joined', '[]')) AS logged,
           (SELECT count(*) FROM accounts_membership m
             WHERE m.member_id = c.account_id AND m.since = c.at AND m.held_since = m.since) AS stored
     UNION ALL
    SELECT 'left', jsonb_array_length(coalesce(c.details -> 'left', '[]')),
           (SELECT count(*) FROM accounts_membership m
             WHERE m.member_id = c.account_id AND m.until = c.at AND m.ended IS DISTINCT FROM 'changed')) w
 WHERE NOT c.baseline AND w.logged <> w.stored
"""

_ACCOUNT_CHANGE = """
SELECT a.id AS account, a.instance_id AS instance, a.first_seen_at, a.gone_at
  FROM accounts_account a
 WHERE NOT EXISTS (SELECT FROM accounts_accountchange c WHERE c.account_id = a.id AND c.at = a.first_seen_at
                      AND c.events && ARRAY['appeared', 'recreated']::varchar[])
    OR (a.gone_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM accounts_accountchange c WHERE c.account_id = a.id AND c.at = a.gone_at
                           AND c.events @> ARRAY['disappeared']::varchar[]))
    OR a.gone_at <= a.first_seen_at
"""

#: One more step leads nowhere else. Not by a recursive query: its rows cannot be estimated, and joins of it take
#: minutes.
_CLOSURE = """
WITH edge AS (
    SELECT member_id, role_id, inherit, set_option, admin_option FROM accounts_membership
     WHERE until IS NULL AND member_id <> role_id),
step AS (
    SELECT member_id, role_id, inherit AS inherits, set_option AS can_set, admin_option AS is_admin FROM edge
     UNION ALL
    SELECT r.member_id, e.role_id, r.inherits AND e.inherit, r.can_set AND e.set_option, e.admin_option
      FROM accounts_rolereach r JOIN edge e ON e.member_id = r.role_id WHERE r.member_id <> e.role_id),
expected AS (
    SELECT member_id, role_id, bool_or(inherits) AS inherits, bool_or(can_set) AS can_set, bool_or(is_admin) AS is_admin
      FROM step GROUP BY 1, 2)
SELECT coalesce(e.member_id, x.member_id) AS member, coalesce(e.role_id, x.role_id) AS role,
       CASE WHEN x.id IS NULL THEN 'missing' WHEN e.role_id IS NULL THEN 'unfounded' ELSE 'differs' END AS problem
  FROM expected e FULL JOIN accounts_rolereach x ON x.member_id = e.member_id AND x.role_id = e.role_id
 WHERE (e.role_id, e.inherits, e.can_set, e.is_admin) IS DISTINCT FROM (x.role_id, x.inherits, x.can_set, x.is_admin)
"""

_STEP = """
SELECT x.member_id AS member, x.role_id AS role, x.depth, x.via_id AS via FROM accounts_rolereach x
 WHERE NOT EXISTS (SELECT FROM accounts_membership m
                    WHERE m.member_id = x.via_id AND m.role_id = x.role_id AND m.until IS NULL)
    OR CASE WHEN x.depth = 1 THEN x.via_id <> x.member_id
            ELSE NOT EXISTS (SELECT FROM accounts_rolereach b
                              WHERE b.member_id = x.member_id AND b.role_id = x.via_id AND b.depth = x.depth - 1) END
"""

_COVERAGE = """
SELECT id AS coverage, instance_id AS instance, since, read_at, until
  FROM (SELECT *, lag(until) OVER w AS before_until, row_number() OVER w AS n
          FROM accounts_coverage WINDOW w AS (PARTITION BY instance_id ORDER BY since, until NULLS LAST, id)) c
 WHERE until <= since OR read_at < since OR read_at >= until OR (n > 1 AND before_until IS DISTINCT FROM since)
"""

_UNCOVERED = """
SELECT DISTINCT a.instance_id AS instance FROM accounts_account a
 WHERE NOT EXISTS (SELECT FROM accounts_coverage c WHERE c.instance_id = a.instance_id AND c.until IS NULL)
"""

_NOT_STORED = """
SELECT r.id AS record, r.instance_id AS instance, r.started_at, c.read_at
  FROM sync_syncrecord r LEFT JOIN accounts_coverage c ON c.instance_id = r.instance_id AND c.until IS NULL
 WHERE r.kind = 'accounts' AND r.status IN ('completed', 'partial')
   AND (c.read_at IS NULL OR c.read_at < r.started_at)
"""

INVARIANTS = (
    Invariant(
        "interval",
        "An interval ends after it begins, within the life of its account; only one that has ended has a reason.",
        _INTERVAL,
    ),
    Invariant("overlap", "The intervals of one possession do not overlap.", _OVERLAP),
    Invariant("held_since", "A possession is uninterrupted since held_since.", _HELD_SINCE),
    Invariant(
        "membership_within_instance",
        "Member and role are accounts of one instance.",
        """
SELECT m.id AS membership, a.instance_id AS instance, r.instance_id AS role_instance
  FROM accounts_membership m JOIN accounts_account a ON a.id = m.member_id JOIN accounts_account r ON r.id = m.role_id
 WHERE a.instance_id <> r.instance_id
""",
    ),
    Invariant(
        "role_of_membership",
        "A role that is gone has no members.",
        """
SELECT m.id AS membership, r.id AS role, r.gone_at, m.until
  FROM accounts_membership m JOIN accounts_account r ON r.id = m.role_id
 WHERE r.gone_at IS NOT NULL AND (m.until IS NULL OR m.until > r.gone_at)
""",
    ),
    Invariant("closure", "The roles reached are those that the open memberships lead to.", _CLOSURE),
    Invariant("closure_steps", "Each role reached has a last step, and its depth counts the steps.", _STEP),
    Invariant("change_logged", "Each grant and membership that begins or ends is in the log of changes.", _UNLOGGED),
    Invariant("grant_of_change", "Each grant in the log of changes has its interval.", _GRANT_ENTRY),
    Invariant(
        "membership_of_change", "The log has as many memberships as began and ended at that visit.", _MEMBERSHIP_ENTRY
    ),
    Invariant(
        "account_logged", "The log says when an account was first seen and when it was found gone.", _ACCOUNT_CHANGE
    ),
    Invariant("coverage", "The intervals of coverage of an instance follow each other without a gap.", _COVERAGE),
    Invariant("coverage_open", "An instance with accounts has a coverage that is open.", _UNCOVERED),
    Invariant("read_stored", "The last successful visit is what the coverage was read by.", _NOT_STORED),
)
