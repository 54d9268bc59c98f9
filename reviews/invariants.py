"""What holds of campaigns, besides what triggers refuse."""

from work.invariants import Invariant

INVARIANTS = (
    Invariant(
        "campaign",
        "The times of a campaign agree with its state.",
        """
SELECT id AS campaign, state, frozen_at, closed_at, acknowledged_at, sealed_at FROM reviews_campaign
 WHERE (frozen_at IS NULL) <> (state = 'draft')
    OR (closed_at IS NULL) <> (state IN ('draft', 'running'))
    OR (acknowledged_at IS NULL) <> (state IN ('draft', 'running', 'closed'))
    OR (sealed_at IS NULL) <> (state <> 'sealed')
    OR closed_at < frozen_at OR acknowledged_at < closed_at OR sealed_at < acknowledged_at
""",
    ),
    Invariant(
        "decision_in_time",
        "Decisions are made while the campaign runs.",
        """
SELECT d.id AS decision, d.at, c.id AS campaign, c.frozen_at, c.closed_at
  FROM reviews_decision d JOIN reviews_item i ON i.id = d.item_id JOIN reviews_campaign c ON c.id = i.campaign_id
 WHERE c.frozen_at IS NULL OR d.at < c.frozen_at OR d.at > c.closed_at
""",
    ),
    Invariant(
        "verdict",
        "The verdict of an item is that of its last decision.",
        """
SELECT i.id AS item, i.verdict, d.verdict AS decided
  FROM reviews_item i
  LEFT JOIN (SELECT DISTINCT ON (item_id) item_id, verdict FROM reviews_decision ORDER BY item_id, id DESC) d
    ON d.item_id = i.id
 WHERE i.verdict <> coalesce(d.verdict, '')
""",
    ),
    Invariant(
        "item_within_campaign",
        "Each item and its instance belong to the same campaign.",
        """
SELECT i.id AS item, i.campaign_id AS campaign, p.campaign_id AS campaign_of_instance
  FROM reviews_item i JOIN reviews_campaigninstance p ON p.id = i.place_id
 WHERE i.campaign_id <> p.campaign_id
""",
    ),
)
