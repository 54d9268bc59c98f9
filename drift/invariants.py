"""What holds of baselines."""

from work.invariants import Invariant

INVARIANTS = (
    Invariant(
        "saved_state",
        "A saved state has a time, and items.",
        """
SELECT id AS baseline, state_at FROM drift_baseline
 WHERE (state IS NULL) <> (state_at IS NULL)
    OR (state IS NOT NULL AND jsonb_typeof(state->'items') IS DISTINCT FROM 'array')
""",
    ),
)
