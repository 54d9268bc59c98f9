"""What holds of receipts of tagging."""

from work.invariants import Invariant

#: A pair is its tag and its instance, in whichever block.
_RECEIPT = """
WITH pair AS (
    SELECT o.id, o.action, x.key AS outcome, t.tag, i.instance
      FROM tagging_tagoperation o
     CROSS JOIN LATERAL jsonb_each(o.outcomes) x
     CROSS JOIN LATERAL jsonb_array_elements(x.value) b
     CROSS JOIN LATERAL jsonb_array_elements_text(b -> 'tags') t(tag)
     CROSS JOIN LATERAL jsonb_array_elements_text(b -> 'instances') i(instance))
SELECT o.id AS operation, o.action, p.twice, p.failed, jsonb_array_length(o.reasons) AS reasons
  FROM tagging_tagoperation o
  LEFT JOIN (SELECT id, count(*) - count(DISTINCT (tag, instance)) AS twice,
                    count(*) FILTER (WHERE outcome = 'failed') AS failed,
                    bool_or(outcome IN ('removed', 'not_there')) AS removes,
                    bool_or(outcome IN ('added', 'already_there', 'inactive')) AS adds
               FROM pair GROUP BY id) p ON p.id = o.id
 WHERE p.twice > 0 OR coalesce(p.failed, 0) <> jsonb_array_length(o.reasons)
    OR CASE o.action WHEN 'assign' THEN p.removes ELSE p.adds END OR o.finished_at < o.created_at
"""

INVARIANTS = (Invariant("receipt", "A receipt names each pair once, and a reason for each that failed.", _RECEIPT),)
