"""What holds of sessions, their records and the health of visits."""

from work.invariants import Invariant

_UNCLOSED = """
SELECT s.id AS session, s.kind, max(r.finished_at) AS last_finished
  FROM sync_syncsession s LEFT JOIN sync_syncrecord r ON r.session_id = s.id
 WHERE s.status = 'running'
 GROUP BY s.id
HAVING NOT coalesce(bool_or(r.status IN ('pending', 'running')), false)
   AND greatest(s.created_at, max(r.finished_at)) < now() - interval '10 minutes'
"""

#: Records of purged instances are gone: a session may have been failed or partial because of one.
_STATUS = """
SELECT s.id AS session, s.status, r.statuses AS records
  FROM sync_syncsession s
  JOIN (SELECT session_id, array_agg(DISTINCT status::text ORDER BY status::text) AS statuses
          FROM sync_syncrecord GROUP BY session_id) r ON r.session_id = s.id
 WHERE (s.status = 'completed' AND r.statuses && '{failed,partial,cancelled}')
    OR (s.status = 'failed' AND r.statuses && '{completed,partial}')
"""

#: A record whose worker died gets a second attempt even if its session allows only one.
_RECORD = """
SELECT id AS record, session_id AS session, status, attempt, max_attempts, lease_until, started_at, finished_at, phase
  FROM sync_syncrecord
 WHERE (status IN ('pending', 'running')) <> (finished_at IS NULL)
    OR (status = 'running') <> (lease_until IS NOT NULL)
    OR (status = 'running' AND (worker = '' OR started_at IS NULL OR attempt = 0))
    OR (status <> 'running' AND phase <> '')
    OR (status IN ('completed', 'partial') AND started_at IS NULL)
    OR (status = 'failed' AND error_code = '')
    OR attempt > greatest(max_attempts, 2)
"""

_UNCOUNTED = """
SELECT DISTINCT r.instance_id AS instance, r.kind
  FROM sync_syncrecord r
  LEFT JOIN sync_visithealth h ON h.instance_id = r.instance_id AND h.kind = r.kind
 WHERE (r.status IN ('completed', 'partial') AND h.succeeded_at IS NULL)
    OR (r.status = 'failed' AND h.failed_at IS NULL)
"""

INVARIANTS = (
    Invariant(
        "session_closed",
        "A session is closed exactly when it has an end, and then none of its records is open.",
        """
SELECT s.id AS session, s.kind, s.status, s.finished_at,
       (SELECT count(*) FROM sync_syncrecord r WHERE r.session_id = s.id AND r.status IN ('pending', 'running')) AS open
  FROM sync_syncsession s
 WHERE (s.status = 'running') <> (s.finished_at IS NULL)
    OR (s.status <> 'running' AND EXISTS (SELECT FROM sync_syncrecord r
                                           WHERE r.session_id = s.id AND r.status IN ('pending', 'running')))
""",
    ),
    Invariant("session_ends", "A session without an open record is closed within 10 minutes.", _UNCLOSED),
    Invariant("session_status", "The status of a closed session agrees with those of its records.", _STATUS),
    Invariant(
        "session_cancelled",
        "Only sessions that a user cancelled end as cancelled, or have cancelled records.",
        """
SELECT s.id AS session, s.status FROM sync_syncsession s
 WHERE s.cancel_requested_at IS NULL
   AND (s.status = 'cancelled' OR EXISTS (SELECT FROM sync_syncrecord r
                                           WHERE r.session_id = s.id AND r.status = 'cancelled'))
""",
    ),
    Invariant(
        "record_kind",
        "A record has the kind of its session.",
        """
SELECT r.id AS record, r.kind, s.id AS session, s.kind AS session_kind
  FROM sync_syncrecord r JOIN sync_syncsession s ON s.id = r.session_id WHERE r.kind <> s.kind
""",
    ),
    Invariant("record_state", "Lease, worker, phase, attempts and times of a record agree with its status.", _RECORD),
    Invariant(
        "one_running_visit",
        "At most one record per instance and kind is running.",
        """
SELECT instance_id AS instance, kind, array_agg(id ORDER BY id) AS records
  FROM sync_syncrecord WHERE status = 'running' GROUP BY 1, 2 HAVING count(*) > 1
""",
    ),
    Invariant("visit_counted", "Each success and each failure is in the health of visits.", _UNCOUNTED),
    Invariant(
        "pause",
        "A paused visit has failed.",
        """
SELECT instance_id AS instance, kind, paused_at, failures FROM sync_visithealth
 WHERE paused_at IS NOT NULL AND (failures = 0 OR failed_at IS NULL)
""",
    ),
)
