"""What holds of rules, assignments and results."""

from work.invariants import Invariant

_OVERLAP = """
SELECT id AS assignment, before AS other, since, before_until AS other_until
  FROM (SELECT id, since, lag(id) OVER w AS before, lag(until) OVER w AS before_until
          FROM classification_assignment
        WINDOW w AS (PARTITION BY account_id, rule_id, CASE WHEN rule_id IS NULL THEN classification_id END
                         ORDER BY since, until NULLS LAST, id)) x
 WHERE before IS NOT NULL AND (before_until IS NULL OR before_until > since)
"""

#: Both are written by one run; a rule that failed keeps its assignments.
_RESULT = """
SELECT x.rule_id AS rule, x.instance_id AS instance, x.examined, x.matched, x.unknown, x.gained, x.kept, n.held
  FROM classification_ruleresult x
 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE s.unconfirmed_since IS NULL) AS held FROM classification_assignment s
                      WHERE s.rule_id = x.rule_id AND s.instance_id = x.instance_id AND s.until IS NULL) n
 WHERE CASE WHEN x.message <> '' THEN (x.examined, x.matched, x.unknown, x.gained, x.lost, x.kept) <> (0, 0, 0, 0, 0, 0)
            ELSE x.matched <> x.gained + x.kept OR x.matched + x.unknown > x.examined OR n.held <> x.matched END
"""

INVARIANTS = (
    Invariant(
        "assignment",
        "An assignment ends after it begins, and is on the instance of its account.",
        """
SELECT s.id AS assignment, s.since, s.until, s.instance_id AS instance, a.instance_id AS account_instance
  FROM classification_assignment s JOIN accounts_account a ON a.id = s.account_id
 WHERE s.until < s.since OR s.instance_id <> a.instance_id
""",
    ),
    Invariant("assignment_overlap", "The assignments of a rule, or by hand, to one account do not overlap.", _OVERLAP),
    Invariant(
        "rule_version",
        "An assignment by a rule names a version that is kept.",
        """
SELECT s.id AS assignment, s.rule_id AS rule, s.rule_version AS version
  FROM classification_assignment s
 WHERE s.rule_id IS NOT NULL
   AND NOT EXISTS (SELECT FROM classification_ruleversion v WHERE v.rule_id = s.rule_id AND v.number = s.rule_version)
""",
    ),
    Invariant("rule_result", "The result of a rule adds up, and counts the assignments that it left.", _RESULT),
)
