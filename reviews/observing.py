"""What later visits see of rights that were to be revoked: gone, or there again.

An item is closed only by a visit that read where the right stood: rows of accounts end only when their scope was read
completely. A right that the last visit could not read is still there.
"""

from __future__ import annotations

from collections import defaultdict

from django.db import connection
from django.utils import timezone

from access.question import Question
from access.questions import holdings, unknown
from accounts.freshness import last_reads
from instances.models import Instance
from sync.models import SyncRecord, SyncSession

from .models import Item, Observation

# `seen` is true while the right is there, false when visits saw it end after the freeze, and null when they do not say.
_SEEN = """
WITH due AS (
    SELECT i.*, c.frozen_at, p.instance_id, o.gone
      FROM reviews_item i
      JOIN reviews_campaign c ON c.id = i.campaign_id
      JOIN reviews_campaigninstance p ON p.id = i.place_id
      LEFT JOIN LATERAL (SELECT o.gone FROM reviews_observation o WHERE o.item_id = i.id ORDER BY o.id DESC LIMIT 1) o
        ON true
     WHERE i.verdict = 'revoke' AND i.what <> 'access' AND (i.what = 'classification') = %(is_run)s
       AND p.instance_id = ANY(%(instances)s::bigint[])
), seen AS (
    SELECT d.id, d.gone,
           CASE d.what
           WHEN 'account' THEN (
               SELECT a.gone_at IS NULL AND NOT (
                          d.usable NOT IN ('cannot log in', 'locked') AND (a.can_login IS FALSE OR a.is_locked IS TRUE))
                 FROM accounts_account a WHERE a.id = d.account_id)
           WHEN 'membership' THEN (
               SELECT CASE WHEN bool_or(m.until IS NULL) THEN true
                           WHEN bool_or(m.until >= d.frozen_at AND m.ended IN ('revoked', 'dropped')) THEN false END
                 FROM accounts_membership m WHERE m.member_id = d.account_id AND m.role_id = d.object_id)
           WHEN 'grant' THEN (
               SELECT CASE WHEN bool_or(g.until IS NULL) THEN true
                           WHEN bool_or(g.until >= d.frozen_at AND g.ended IN ('revoked', 'dropped')) THEN false END
                 FROM accounts_grant g
                WHERE g.account_id = d.account_id AND g.kind = d.object_kind AND g.privilege = d.privilege
                  AND g.database = d.database AND NOT g.denied
                  AND (g.scope = d.object OR (d.native_id <> '' AND g.object_id = d.native_id)))
           WHEN 'classification' THEN (
               SELECT CASE WHEN bool_or(s.until IS NULL) THEN true
                           WHEN bool_or(s.until >= d.frozen_at AND s.rule_id IS NOT NULL) THEN false END
                 FROM classification_assignment s
                WHERE s.account_id = d.account_id AND s.classification_id = d.object_id)
           END AS seen
      FROM due d
)
INSERT INTO reviews_observation (item_id, gone, session, at)
SELECT id, NOT seen, %(session)s, %(at)s FROM seen
 WHERE seen IS NOT NULL AND seen = coalesce(gone, false)
"""


def after_session(session_id: int) -> None:
    """Note what the visits of a closed session saw of what was to be revoked. A second call changes nothing."""
    session = SyncSession.objects.filter(pk=session_id).first()
    if session is None:
        return
    done = SyncRecord.objects.filter(session=session, status__in=SyncRecord.DONE)
    instances = list(done.order_by().values_list("instance", flat=True))
    if not instances:
        return
    at = timezone.now()
    with connection.cursor() as cursor:
        values = {"instances": instances, "session": session.pk, "at": at, "is_run": session.kind == "classification"}
        cursor.execute(_SEEN, values)
    if session.kind == "accounts":
        _observe_access(instances, session.pk)


def _observe_access(instances: list[int], session: int) -> None:
    """Ask again the questions of items about access by any path. Each question takes a fixed number of queries."""
    items = Item.objects.filter(verdict="revoke", what=Item.What.ACCESS, place__instance__in=instances).with_observed()
    of_question: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items.select_related("place"):
        of_question[item.privilege, item.object].append(item)
    noted = []
    for (privilege, on), found in of_question.items():
        question = Question(privilege, on)
        asked = Instance.objects.filter(pk__in={item.place.instance_id for item in found})
        reads = last_reads(asked)
        rows, needs = holdings(question, [read.instance.pk for read in reads])
        have = {row.account for row in rows}
        not_known = {instance.pk for instance in unknown(question, reads, None, needs)}
        for item in found:
            there = item.account_id in have
            if (there and item.is_gone) or not (there or item.is_gone or item.place.instance_id in not_known):
                noted.append(Observation(item=item, gone=not there, session=session, at=timezone.now()))
    Observation.objects.bulk_create(noted)
