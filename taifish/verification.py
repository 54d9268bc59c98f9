"""The invariants of all apps, by app, and those of the store itself."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from accounts.invariants import INVARIANTS as ACCOUNTS
from aggregation.invariants import INVARIANTS as AGGREGATION
from alerts.invariants import INVARIANTS as ALERTS
from capacity.invariants import INVARIANTS as CAPACITY
from classification.invariants import INVARIANTS as CLASSIFICATION
from drift.invariants import INVARIANTS as DRIFT
from owners.invariants import INVARIANTS as OWNERS
from reviews.invariants import INVARIANTS as REVIEWS
from sync.invariants import INVARIANTS as SYNC
from tagging.invariants import INVARIANTS as TAGGING
from work.invariants import Invariant, Result, check

#: An index that is damaged or half built, or a constraint that was never checked, breaks what the tables declare.
STORE = (
    Invariant(
        "valid_indexes",
        "Every index is complete.",
        """
SELECT indexrelid::regclass::text AS index FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
 WHERE c.relnamespace = current_schema()::regnamespace AND NOT (i.indisvalid AND i.indisready)
""",
    ),
    Invariant(
        "valid_constraints",
        "Every constraint is checked.",
        """
SELECT conrelid::regclass::text AS "table", conname AS "constraint" FROM pg_constraint
 WHERE connamespace = current_schema()::regnamespace AND NOT convalidated
""",
    ),
)

#: Tables of apps that are not named hold what constraints of the store can say.
INVARIANTS: dict[str, tuple[Invariant, ...]] = {
    "store": STORE,
    "sync": SYNC,
    "accounts": ACCOUNTS,
    "capacity": CAPACITY,
    "aggregation": AGGREGATION,
    "classification": CLASSIFICATION,
    "tagging": TAGGING,
    "alerts": ALERTS,
    "owners": OWNERS,
    "drift": DRIFT,
    "reviews": REVIEWS,
}


def verify(apps: list[str], limit: int) -> Iterator[tuple[str, Result]]:
    """Check the invariants of these apps, all for none. Yields app and result of each."""
    values = {"zone": settings.TIME_ZONE, "keep_sizes_days": settings.TAIFISH_KEEP_SIZES_DAYS}
    chosen = [(app, invariant) for app, those in INVARIANTS.items() if not apps or app in apps for invariant in those]
    results = check([invariant for _, invariant in chosen], values, limit)
    for (app, _), result in zip(chosen, results, strict=True):
        yield app, result
