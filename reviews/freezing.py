"""The population of a campaign: what accounts have, copied once from one snapshot of the store.

All of it is read in one REPEATABLE READ transaction, so visits that write meanwhile change nothing of it. What visits
could not read is copied too. Accounts that filters hide are part of it; those that the engine maintains and that cannot
log in are only counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext

from access.question import ALL_POWERFUL, Question
from access.questions import Answer, who_can
from access.wording import Holder, Holders, usable
from accounts.freshness import Known, LastRead, known_of, last_reads
from classification.models import Classification
from engines.registry import ENGINES
from engines.statements import printable
from instances.models import Instance
from owners.models import Ownership

from .models import Campaign, CampaignInstance, Item

#: Owners of such accounts answer for them; that of any other account is the person who uses it.
ANSWERS_FOR = (Ownership.Kind.APPLICATION, Ownership.Kind.SHARED, Ownership.Kind.THIRD_PARTY)

BATCH = 1000


class CampaignError(ValueError):
    """What is asked of a campaign is not possible; the text says what to do."""


def freeze(campaign: Campaign) -> Campaign:
    """Copy the population of a draft, and start the campaign. Raises CampaignError, and ValueError for a question that
    cannot be asked."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # Within a transaction, as in tests, the level can no longer be set.
        if not connection.savepoint_ids:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SET LOCAL statement_timeout = 0; SET LOCAL work_mem = '256MB'")
        campaign = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if not campaign.is_draft:
            raise CampaignError(gettext("The campaign has been started already."))
        if not campaign.reviewers.filter(user__is_active=True).exists() and campaign.by != Campaign.By.OWNER:
            raise CampaignError(gettext("Name at least one reviewer."))
        campaign.state, campaign.frozen_at = Campaign.State.RUNNING, timezone.now()
        campaign.version = settings.SPECTACULAR_SETTINGS["VERSION"]
        campaign.scope_text, campaign.query_text = scope_text(campaign), query_text(campaign)
        campaign.save()
        answer = _answer(campaign)
        _copy_instances(campaign, answer)
        _copy_items(cursor, campaign, answer)
    return campaign


def scope_text(campaign: Campaign) -> str:
    """The scope in words."""
    words = [
        ("instances with a tag of", campaign.tags.values_list("slug", flat=True)),
        ("engines", [ENGINES[engine].label for engine in campaign.engines if engine in ENGINES]),
        ("accounts with a classification of", campaign.classifications.values_list("code", flat=True)),
    ]
    return "; ".join(f"{what}: {', '.join(map(str, names))}" for what, names in words if names) or "the whole fleet"


def query_text(campaign: Campaign) -> str:
    """What was asked of the store, in words."""
    if campaign.privilege:
        return f"who can {campaign.privilege} on {campaign.on or 'the instance'}, by any path"
    return f"accounts; their memberships, direct grants and classifications; who can {ALL_POWERFUL}, by any path"


def _instances(campaign: Campaign) -> Any:
    found = Instance.objects.all()
    tags = list(campaign.tags.values_list("pk", flat=True))
    if tags:
        found = found.filter(pk__in=Instance.objects.filter(tags__in=tags).order_by().values("pk"))
    return found.filter(engine__in=campaign.engines) if campaign.engines else found


def _answer(campaign: Campaign) -> Answer:
    found = _instances(campaign)
    if not found.exists():
        raise CampaignError(gettext("No instance is in the scope."))
    return who_can(campaign.privilege or ALL_POWERFUL, campaign.on, instances=found)


def _copy_instances(campaign: Campaign, answer: Answer) -> None:
    """List every instance in scope, with what its last read lacks."""
    unknown = {instance.pk: reason for instance, reason in answer.unknown.items()}
    reads = last_reads(_instances(campaign))
    known = known_of([read.instance.pk for read in reads])
    made = (_instance(campaign, read, answer, unknown, known) for read in reads)
    CampaignInstance.objects.bulk_create(made, batch_size=BATCH)


def _instance(
    campaign: Campaign,
    read: LastRead,
    answer: Answer,
    unknown: Mapping[int, str],
    known: Mapping[int, Known],
) -> CampaignInstance:
    reason = unknown.get(read.instance.pk, "")
    if campaign.privilege and read.instance.pk not in answer.reads:
        reason = gettext("The engine has no such object.")
    return CampaignInstance(
        campaign=campaign,
        instance=read.instance,
        name=read.instance.name,
        engine=read.instance.engine,
        session=read.session,
        read_at=read.read_at,
        level=read.level,
        known_from=known[read.instance.pk].since if read.instance.pk in known else None,
        stale=read.reason,
        unread=[*read.gap_messages, *(gettext("field of accounts: %s") % field for field in read.unread)],
        beyond=read.beyond,
        # The reason begins with why the read is stale.
        unknown="" if reason == read.reason else reason,
    )


_LEFT_OUT = "(a.is_system AND a.kind IS DISTINCT FROM 'public' AND (a.can_login IS FALSE OR a.is_locked IS TRUE))"
_LABEL = "{0}.name || CASE WHEN {0}.host <> '' THEN '@' || {0}.host ELSE '' END"
_BLOCKED = (
    "CASE WHEN p.can_login IS FALSE THEN 'cannot log in' WHEN p.is_locked IS TRUE THEN 'locked'"
    " WHEN p.valid_until <= now() THEN 'expired'"
    " WHEN p.can_login IS NULL AND p.kind = 'user' THEN 'unknown whether it can log in' ELSE 'at login' END"
)

#: The accounts in scope, each with its owner and its reviewer: one for all of its items.
_POPULATION = f"""
CREATE TEMPORARY TABLE reviews_population ON COMMIT DROP AS
SELECT a.*, c.id AS place_id, {_LABEL.format("a")} AS label, coalesce(w.name, '') AS owner_name, z.reviewed_id, r.risk,
       coalesce(CASE WHEN %(by)s = 'owner' AND o.kind = ANY(%(answers_for)s) AND u.is_active THEN u.id END, (
           SELECT d.user_id
             FROM unnest(%(users)s::bigint[], %(tags)s::bigint[]) WITH ORDINALITY d(user_id, tag_id, n)
            WHERE d.user_id IS DISTINCT FROM z.reviewed_id
              AND (d.tag_id IS NULL OR EXISTS (
                   SELECT FROM tagging_instancetag t WHERE t.instance_id = a.instance_id AND t.tag_id = d.tag_id))
            ORDER BY d.tag_id IS NULL, (d.n + a.id) %% cardinality(%(users)s::bigint[]), d.n
            LIMIT 1)) AS reviewer_id
  FROM accounts_account a
  JOIN reviews_campaigninstance c ON c.campaign_id = %(campaign)s AND c.instance_id = a.instance_id
  LEFT JOIN owners_ownership o ON o.account_id = a.id
  LEFT JOIN owners_person w ON w.id = o.owner_id
  LEFT JOIN auth_user u ON u.id = w.user_id
 CROSS JOIN LATERAL (SELECT CASE WHEN NOT o.kind = ANY(%(answers_for)s) THEN w.user_id END AS reviewed_id) z
  LEFT JOIN LATERAL (
       SELECT k.risk FROM classification_assignment s JOIN classification_classification k ON k.id = s.classification_id
        WHERE s.account_id = a.id AND s.until IS NULL ORDER BY array_position(%(risks)s::text[], k.risk::text) LIMIT 1
       ) r ON true
 WHERE a.gone_at IS NULL AND a.instance_id = ANY(%(active)s::bigint[]) AND NOT {_LEFT_OUT}
   AND (cardinality(%(classes)s::bigint[]) = 0 OR a.id IN (
        SELECT s.account_id FROM classification_assignment s
         WHERE s.until IS NULL AND s.classification_id = ANY(%(classes)s::bigint[])));
ALTER TABLE reviews_population ADD PRIMARY KEY (id);
ANALYZE reviews_population;
UPDATE reviews_campaigninstance c SET n_left_out = n.n
  FROM (SELECT a.instance_id, count(*) AS n FROM accounts_account a WHERE a.gone_at IS NULL AND {_LEFT_OUT}
         GROUP BY a.instance_id) n
 WHERE c.campaign_id = %(campaign)s AND c.instance_id = n.instance_id;
"""

_SAME = "md5(concat_ws(chr(31), {}))"
_COLUMNS = (
    "campaign_id, place_id, account_id, account_label, what, privilege, object_kind, database, object, object_id,"
    " native_id, chain, since, held_since, extent, usable, risk, unobserved_since, owner_name, reviewed_id,"
    " reviewer_id, verdict, same_as"
)


def _insert(what: str, values: str, same: str, source: str) -> str:
    """SQL that copies rows of `source` beside the population `p`. `values` are those from privilege to usable, and
    unobserved_since last."""
    return (
        f"INSERT INTO reviews_item ({_COLUMNS})\n"
        f"SELECT %(campaign)s, p.place_id, p.id, p.label, '{what}', v.privilege, v.object_kind, v.database, v.object,\n"
        "       v.object_id, v.native_id, v.chain, v.since, v.held_since, v.extent, v.usable, coalesce(p.risk, ''),\n"
        f"       v.unobserved_since, p.owner_name, p.reviewed_id, p.reviewer_id, '',"
        f" {_SAME.format(f'{chr(39)}{what}{chr(39)}, p.id, {same}')}\n"
        f"  FROM reviews_population p {source}\n"
        f" CROSS JOIN LATERAL (SELECT {values}) v ORDER BY p.place_id, p.label, p.id;"
    )


def _values(**columns: str) -> str:
    empty = dict.fromkeys(("privilege", "object_kind", "database", "object", "native_id", "extent", "usable"), "''")
    defaults = {"object_id": "NULL::bigint", "chain": "'[]'::jsonb", "unobserved_since": "NULL::timestamptz"}
    return ", ".join(f"{sql} AS {name}" for name, sql in {**empty, **defaults, **columns}.items())


def _link(text: str, since: str) -> str:
    return f"jsonb_build_array(jsonb_build_array(jsonb_build_object('text', {text}, 'since', {since})))"


_COPIES = [
    _insert(
        Item.What.ACCOUNT,
        _values(
            privilege="CASE WHEN p.is_superuser THEN 'superuser' ELSE '' END",
            since="p.first_seen_at",
            held_since="p.first_seen_at",
            usable=_BLOCKED,
            unobserved_since="p.unobserved_since",
        ),
        "''",
        "",
    ),
    _insert(
        Item.What.MEMBERSHIP,
        _values(
            object=_LABEL.format("r"),
            object_kind="'role'",
            object_id="r.id",
            chain=_link(f"p.label || ' in ' || {_LABEL.format('r')}", "m.held_since"),
            since="m.since",
            held_since="m.held_since",
            extent="CASE WHEN m.admin_option THEN 'may pass it on' ELSE '' END",
            usable="CASE WHEN m.inherit THEN 'at login' WHEN m.set_option THEN 'after SET ROLE' ELSE 'blocked' END",
            unobserved_since="m.unobserved_since",
        ),
        "r.id",
        "JOIN accounts_membership m ON m.member_id = p.id AND m.until IS NULL"
        " JOIN accounts_account r ON r.id = m.role_id",
    ),
    _insert(
        Item.What.GRANT,
        _values(
            privilege="g.privilege",
            object_kind="g.kind",
            database="g.database",
            object="g.scope",
            native_id="coalesce(g.object_id, '')",
            chain=_link(
                "g.privilege || CASE WHEN g.scope <> '' THEN ' on ' || g.kind || ' ' || g.scope ELSE '' END",
                "g.held_since",
            ),
            since="g.since",
            held_since="g.held_since",
            extent="concat_ws(', ', CASE WHEN g.kind = 'column' THEN 'only this column' ELSE 'whole object' END,"
            " CASE WHEN g.grantable THEN 'may pass it on' END)",
            usable=_BLOCKED,
            unobserved_since="g.unobserved_since",
        ),
        "g.kind, g.database, coalesce(nullif(g.object_id, ''), g.scope), g.privilege",
        "JOIN accounts_grant g ON g.account_id = p.id AND g.until IS NULL AND NOT g.denied",
    ),
    _insert(
        Item.What.CLASSIFICATION,
        _values(
            privilege="k.name",
            object_id="k.id",
            since="s.since",
            held_since="s.since",
            extent="k.risk",
            unobserved_since="s.unconfirmed_since",
        ),
        "k.id",
        "JOIN (SELECT account_id, classification_id, min(since) AS since, max(unconfirmed_since) AS unconfirmed_since"
        " FROM classification_assignment WHERE until IS NULL GROUP BY 1, 2) s ON s.account_id = p.id"
        " JOIN classification_classification k ON k.id = s.classification_id",
    ),
]


def _copy_items(cursor: Any, campaign: Campaign, answer: Answer) -> None:
    reviewers = campaign.reviewers.filter(user__is_active=True)
    if campaign.by != Campaign.By.TAG:
        reviewers = reviewers.filter(tag=None)
    pairs = list(reviewers.order_by("pk").values_list("user_id", "tag_id"))
    values = {
        "campaign": campaign.pk,
        "by": campaign.by,
        "answers_for": [str(kind) for kind in ANSWERS_FOR],
        "users": [user for user, _tag in pairs],
        "tags": [tag for _user, tag in pairs],
        "risks": [str(risk) for risk in Classification.Risk],
        "active": list(_instances(campaign).active().order_by().values_list("pk", flat=True)),
        "classes": list(campaign.classifications.values_list("pk", flat=True)),
    }
    cursor.execute(_POPULATION, values)
    for sql in [] if campaign.privilege else _COPIES:
        cursor.execute(sql, values)
    cursor.execute(
        "SELECT id, place_id, label, owner_name, reviewed_id, reviewer_id, coalesce(risk, '') FROM reviews_population"
    )
    population = {row[0]: row for row in cursor.fetchall()}
    cursor.execute("DROP TABLE reviews_population")
    rows = _of_answer(campaign, answer, population)
    while batch := list(islice(rows, BATCH)):
        Item.objects.bulk_create(batch)


def _of_answer(campaign: Campaign, answer: Answer, population: Mapping[int, tuple[Any, ...]]) -> Iterator[Item]:
    """Yield one item for each account of the population that has the privilege, with all of its paths."""
    question = Question.parse(campaign.privilege or ALL_POWERFUL, campaign.on)
    holders = Holders(answer.rows)
    for first in range(0, len(holders), BATCH):
        for holder in holders[first : first + BATCH]:
            if row := population.get(holder.account.pk):
                yield _access(campaign, question, holder, row)


def _access(campaign: Campaign, question: Question, holder: Holder, row: tuple[Any, ...]) -> Item:
    pk, place, label, owner_name, reviewed, reviewer, risk = row
    rows = [chain.row for chain in holder.chains]
    since = [one.since for one in rows if one.since]
    columns = sorted({column for one in rows for column in one.columns})
    key = chr(31).join(map(str, (Item.What.ACCESS, pk, question.privilege, question.on)))
    return Item(
        campaign=campaign,
        place_id=place,
        account_id=pk,
        account_label=label,
        what=Item.What.ACCESS,
        privilege=question.privilege,
        object=question.on or "",
        object_kind="object" if question.on else "",
        chain=[_path(one) for one in rows],
        since=max(since, default=None),
        held_since=min(since, default=None),
        extent=f"only columns: {', '.join(columns)}" if columns else "whole object",
        usable=usable(rows[0]),
        risk=risk,
        owner_name=owner_name,
        reviewed_id=reviewed,
        reviewer_id=reviewer,
        same_as=hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(),
    )


def _path(access: Any) -> list[dict[str, str]]:
    links = [{"text": printable(link.text), "since": link.since.isoformat()} for link in access.links]
    return links or [{"text": printable(" → ".join(map(str, (access.account, *access.path)))), "since": ""}]
