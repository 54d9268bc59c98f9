from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from api.filters import FilterSet
from instances.filters import OfInstances

from .models import Campaign, Item

STATES: list[tuple[str, Any]] = [
    ("undecided", _("no decision")),
    ("keep", _("keep")),
    ("revoke", _("revoke")),
    ("change", _("change")),
    ("open", _("to be revoked, not seen gone")),
    ("gone", _("revoked and seen gone")),
    ("new", _("new since the previous campaign")),
    ("unassigned", _("without a reviewer")),
]


def in_state(items: QuerySet[Item], _path: str, state: str) -> QuerySet[Item]:
    match state:
        case "undecided":
            return items.filter(verdict="")
        case "open":
            return items.filter(pk__in=Item.objects.open().order_by().values("pk"))
        case "gone":
            return items.filter(pk__in=Item.objects.with_observed().filter(is_gone=True).order_by().values("pk"))
        case "new":
            return items.filter(pk__in=Item.objects.new_since_previous().order_by().values("pk"))
        case "unassigned":
            return items.filter(reviewer=None)
    return items.filter(verdict=state)


class CampaignFilters(FilterSet):
    state = django_filters.ChoiceFilter(choices=Campaign.State.choices)

    class Meta:
        model = Campaign
        fields = ["name", "state"]


class ItemFilters(OfInstances):
    path = "place__instance"
    state = django_filters.ChoiceFilter(choices=STATES, method=in_state)
    what = django_filters.ChoiceFilter(choices=Item.What.choices)

    class Meta:
        model = Item
        fields = ["campaign", "reviewer"]
