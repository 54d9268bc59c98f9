"""What holds of alerts and deliveries."""

from work.invariants import Invariant

INVARIANTS = (
    Invariant(
        "alert",
        "An alert is last seen after it was first seen, and over after that.",
        """
SELECT id AS alert, first_seen_at, last_seen_at, resolved_at FROM alerts_alert
 WHERE last_seen_at < first_seen_at OR resolved_at < last_seen_at
""",
    ),
    Invariant(
        "delivery",
        "A delivery that was sent has a time, one that failed an error.",
        """
SELECT id AS delivery, status, sent_at, attempts FROM alerts_delivery
 WHERE (status = 'sent') <> (sent_at IS NOT NULL) OR (status = 'failed' AND error = '')
""",
    ),
)
