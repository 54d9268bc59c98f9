"""What holds of end dates."""

from work.invariants import Invariant

INVARIANTS = (
    Invariant(
        "end_date_within_instance",
        "The role of an end date is of the instance of its account.",
        """
SELECT e.id AS end_date, a.instance_id AS instance, r.instance_id AS instance_of_role
  FROM owners_enddate e JOIN accounts_account a ON a.id = e.account_id JOIN accounts_account r ON r.id = e.role_id
 WHERE a.instance_id <> r.instance_id
""",
    ),
)
