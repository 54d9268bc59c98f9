"""Decide, delegate, close, acknowledge and seal. All pages, endpoints and commands go through here."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Count, DateField, ExpressionWrapper, F, Max, Min, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext

from audit import services as audit
from console.visibility import shown_to
from owners.models import Ownership
from work.days import local_day

from .freezing import ANSWERS_FOR, CampaignError, freeze, query_text, scope_text
from .models import Campaign, CampaignInstance, Decision, Delegation, Item, ItemQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import User

__all__ = ["CampaignError", "freeze", "query_text", "scope_text"]

Verdict = Decision.Verdict

#: Rows of decisions that are written at once.
BATCH = 1000


def seen_by(items: QuerySet[Item], user: User | None) -> QuerySet[Item]:
    """The items that a user sees: their own, or all with the permission to view campaigns. None: everything."""
    if user is None or user.has_perm("reviews.view_campaign"):
        return items
    # Endpoints ask before they refuse who is not logged in.
    return items.filter(reviewer=user.pk) if user.pk else items.none()


def owned_by(user: User) -> Q:
    """Condition of items about accounts of the user: at the freeze, or by now."""
    now = Ownership.objects.filter(owner__user=user).exclude(kind__in=ANSWERS_FOR)
    return Q(reviewed=user) | Q(account__in=now.values("account"))


@transaction.atomic
def decide(
    items: Iterable[int], verdict: str, user: User, *, reason: str = "", seconds: int | None = None
) -> list[Decision]:
    """Decide about items that the user reviews, all of them or none. Raises CampaignError."""
    reason = reason.strip()
    if verdict not in Verdict.values:
        raise CampaignError(gettext("Decide: keep, revoke or change."))
    ids = sorted({*items})
    rows = list(_locked(shown_to(Item.objects.all(), user).filter(pk__in=ids)))
    if not ids or len(rows) != len(ids) or any(row.reviewer_id != user.pk for row in rows):
        raise CampaignError(gettext("Some of the items are not yours to decide."))
    _check_not_own(ids, user)
    _check_running({row.campaign for row in rows})
    critical = any(row.risk == "critical" for row in rows)
    if not reason and (verdict != Verdict.KEEP or critical):
        raise CampaignError(gettext("Give a reason: to revoke, to change, and to keep what is critical."))
    bulk = uuid.uuid4() if len(rows) > 1 else None
    made = Decision.objects.bulk_create(
        [
            Decision(
                item=row,
                verdict=verdict,
                reason=reason,
                by=user,
                by_name=user.get_username(),
                at=timezone.now(),
                bulk=bulk,
                bulk_size=len(rows),
                seconds=seconds,
            )
            for row in rows
        ],
        batch_size=BATCH,
    )
    Item.objects.filter(pk__in=ids).update(verdict=verdict)
    for campaign in {row.campaign for row in rows}:
        of_it = [row.pk for row in rows if row.campaign_id == campaign.pk]
        facts = {"verdict": verdict, "reason": reason, "n_items": len(of_it), "items": of_it[:BATCH]}
        audit.record("decision", campaign, user=user, **facts | ({"bulk": str(bulk)} if bulk else {}))
    return made


def _locked(items: ItemQuerySet) -> QuerySet[Item]:
    return items.select_related("campaign").select_for_update(of=("self",)).order_by("pk")


def _check_not_own(items: Iterable[int], user: User) -> None:
    if Item.objects.filter(owned_by(user), pk__in=items).exists():
        raise CampaignError(gettext("Nobody reviews their own account. Delegate these items to another reviewer."))


def _check_running(campaigns: Iterable[Campaign]) -> None:
    # Closing waits for decisions that are being written, and they see it.
    states = Campaign.objects.select_for_update(no_key=True).filter(pk__in=[one.pk for one in campaigns])
    if any(not one.is_running for one in states.order_by("pk")):
        raise CampaignError(gettext("The campaign is not running."))


@transaction.atomic
def delegate(items: Iterable[int], to: User, by: User, *, reason: str) -> list[Delegation]:
    """Give items to another reviewer: one's own, or any with the permission to change campaigns. Raises
    CampaignError."""
    reason, ids = reason.strip(), sorted({*items})
    if not reason:
        raise CampaignError(gettext("Give a reason."))
    rows = list(_locked(shown_to(Item.objects.all(), by).filter(pk__in=ids)))
    is_own = all(row.reviewer_id == by.pk for row in rows)
    if not ids or len(rows) != len(ids) or not (is_own or by.has_perm("reviews.change_campaign")):
        raise CampaignError(gettext("Some of the items are not yours to delegate."))
    if not to.is_active or not to.has_perm("reviews.decide_item"):
        raise CampaignError(gettext("%s cannot decide about review items.") % to.get_username())
    if shown_to(Item.objects.filter(pk__in=ids), to).count() != len(ids):
        raise CampaignError(gettext("%s does not see all of the instances.") % to.get_username())
    if Item.objects.filter(owned_by(to), pk__in=ids).exists():
        raise CampaignError(gettext("Nobody reviews their own account. Delegate these items to another reviewer."))
    _check_running({row.campaign for row in rows})
    names = dict(
        get_user_model().objects.filter(pk__in={row.reviewer_id for row in rows}).values_list("pk", "username")
    )
    counted: dict[tuple[int, int | None], int] = {}
    for row in rows:
        counted[row.campaign_id, row.reviewer_id] = counted.get((row.campaign_id, row.reviewer_id), 0) + 1
    Item.objects.filter(pk__in=ids).update(reviewer=to)
    made = [
        Delegation(
            campaign_id=campaign,
            from_name=names.get(reviewer, ""),
            to=to,
            to_name=to.get_username(),
            by_name=by.get_username(),
            reason=reason,
            n_items=n,
            at=timezone.now(),
        )
        for (campaign, reviewer), n in counted.items()
    ]
    for one in made:
        one.save()
        facts = {"delegated": one.n_items, "from": one.from_name, "to": one.to_name, "reason": reason}
        audit.record("decision", one.campaign, user=by, **facts)
    return made


def _move(campaign: Campaign, before: str, after: str, **fields: Any) -> Campaign:
    """Take the campaign from one state to the next. Raises CampaignError if it is in another one."""
    found = Campaign.objects.select_for_update().get(pk=campaign.pk)
    if found.state != before:
        raise CampaignError(gettext("The campaign is %s.") % found.get_state_display())
    for name, value in {"state": after, **fields}.items():
        setattr(found, name, value)
    found.save()
    return found


@transaction.atomic
def close(campaign: Campaign, user: User | None = None) -> Campaign:
    """End the decisions. Raises CampaignError while items are undecided and the campaign is not past its due day."""
    undecided = campaign.items.undecided().count()
    if undecided and not campaign.is_overdue:
        raise CampaignError(gettext("%d items have no decision yet, and the campaign is not overdue.") % undecided)
    return _move(campaign, Campaign.State.RUNNING, Campaign.State.CLOSED, closed_at=timezone.now())


@transaction.atomic
def acknowledge(campaign: Campaign, user: User, text: str) -> Campaign:
    """Store the acknowledgement of the management. Raises CampaignError."""
    if not text.strip():
        raise CampaignError(gettext("Write what is acknowledged."))
    return _move(
        campaign,
        Campaign.State.CLOSED,
        Campaign.State.ACKNOWLEDGED,
        acknowledged_by=user,
        acknowledged_name=user.get_username(),
        acknowledged_at=timezone.now(),
        acknowledged_text=text.strip(),
    )


@transaction.atomic
def seal(campaign: Campaign, user: User | None = None) -> Campaign:
    """Refuse every later change. Raises CampaignError."""
    return _move(campaign, Campaign.State.ACKNOWLEDGED, Campaign.State.SEALED, sealed_at=timezone.now())


def progress(campaign: Campaign, user: User | None = None) -> list[dict[str, Any]]:
    """What each reviewer has decided and not, those with the most left first; without a reviewer above all. Takes two
    queries."""
    items = shown_to(campaign.items.order_by(), user)
    rows = list(
        items.values("reviewer").annotate(
            n=Count("pk"),
            undecided=Count("pk", filter=Q(verdict="")),
            **{verdict: Count("pk", filter=Q(verdict=verdict)) for verdict in Verdict.values},
        )
    )
    users = get_user_model().objects.in_bulk([row["reviewer"] for row in rows if row["reviewer"]])
    for row in rows:
        row["user"] = users.get(row["reviewer"])
        row["percent"] = 100 * (row["n"] - row["undecided"]) // row["n"]
    return sorted(rows, key=lambda row: (row["user"] is not None, -row["undecided"], str(row["user"])))


def differences(campaign: Campaign, user: User | None = None) -> dict[str, Any] | None:
    """The items that the previous campaign did not have, and its items that are gone; None without one."""
    if campaign.previous is None:
        return None
    now, then = (shown_to(one.items.order_by(), user) for one in (campaign, campaign.previous))
    return {
        "added": campaign.items.filter(pk__in=now.new_since_previous().values("pk")),
        "removed": campaign.previous.items.filter(
            pk__in=then.exclude(same_as__in=campaign.items.order_by().values("same_as")).values("pk")
        ),
    }


def overdue_reviewers(user: User | None = None, today: date | None = None) -> list[dict[str, Any]]:
    """Each reviewer with undecided items of a campaign past its due day: campaign, reviewer, n and due_on. Takes one
    query."""
    return _by_reviewer(shown_to(Item.objects.overdue(today or local_day()), user))


def reviewers_due(days: int) -> list[dict[str, Any]]:
    """The same for campaigns that are due within these days, today included."""
    today = local_day()
    near = Q(campaign__due_on__gte=today, campaign__due_on__lte=today + timedelta(days=days))
    return _by_reviewer(Item.objects.undecided().filter(near, campaign__state=Campaign.State.RUNNING))


def _by_reviewer(items: QuerySet[Item]) -> list[dict[str, Any]]:
    return list(
        items.order_by()
        .values("campaign", "campaign__name", "campaign__due_on", "reviewer", "reviewer__username")
        .annotate(n=Count("pk"), first=Min("pk"), last=Max("pk"))
        .order_by("campaign__due_on", "campaign", "reviewer__username")
    )


def escalated(user: User | None = None, today: date | None = None) -> list[dict[str, Any]]:
    """Each campaign with undecided items that is to be escalated by now: campaign, escalate_to, n items and
    n_reviewers. Takes one query."""
    today = today or local_day()
    last_day = ExpressionWrapper(F("campaign__due_on") + F("campaign__escalate_after"), output_field=DateField())
    items = shown_to(Item.objects.overdue(today).filter(campaign__escalate_to__isnull=False), user)
    return list(
        items.alias(last_day=last_day)
        .filter(last_day__lt=today)
        .order_by()
        .values("campaign", "campaign__name", "campaign__due_on", "campaign__escalate_to__username")
        .annotate(n=Count("pk"), n_reviewers=Count("reviewer", distinct=True))
        .order_by("campaign__due_on", "campaign")
    )


def unknown(campaign: Campaign, user: User | None = None) -> QuerySet[CampaignInstance]:
    """The instances of which some part of the population may be missing or outdated."""
    known = Q(stale="", unknown="", unread=[])
    return shown_to(campaign.instances.exclude(known), user)


def exported(campaign: Campaign, user: User | None = None) -> None:
    audit.record("export", campaign, user=user, pack=campaign.name)
