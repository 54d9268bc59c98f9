"""The page on which reviewers decide about their items."""

from __future__ import annotations

import time
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core import signing
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from console.permissions import needs
from console.visibility import shown_to

from . import services
from .filters import in_state
from .models import Campaign, Decision, Item
from .remedies import remedies

ROWS = 50
SALT = "reviews.opened"
#: States that the page offers.
SHOWN = [("undecided", _("No decision")), ("decided", _("Decided")), ("open", _("Not seen gone")), ("all", _("All"))]


class DecideForm(forms.Form):
    """What to do with the items that are chosen: a verdict, or another reviewer."""

    do = forms.ChoiceField(choices=[*Decision.Verdict.choices, ("delegate", "")])
    reason = forms.CharField(required=False, max_length=2000)
    to = forms.CharField(required=False, max_length=150)
    items = forms.TypedMultipleChoiceField(coerce=int)

    def __init__(self, data: Any, ids: list[int]) -> None:
        super().__init__(data)
        self.fields["items"].choices = [(pk, pk) for pk in ids]
        self.fields["items"].error_messages["required"] = gettext("Choose at least one item.")
        self.fields["items"].error_messages["invalid_choice"] = gettext("Some of the items are not yours to decide.")


@needs("reviews.decide_item")
def my_items_page(request: HttpRequest) -> HttpResponse:
    """The items of the user by campaign: decide about some of them, or give them to another reviewer."""
    mine = shown_to(Item.objects.of(request.user), request.user)
    error = ""
    if request.method == "POST":
        posted = [int(pk) for pk in request.POST.getlist("items") if pk.isdecimal() and len(pk) < 19]
        form = DecideForm(request.POST, list(mine.filter(pk__in=posted).values_list("pk", flat=True)))
        try:
            if not form.is_valid():
                raise services.CampaignError(" ".join(text for texts in form.errors.values() for text in texts))
            messages.success(request, _do(request, form.cleaned_data))
            return HttpResponseRedirect(request.get_full_path())
        except services.CampaignError as wrong:
            error = str(wrong)
    return TemplateResponse(request, "reviews/my_items.html", _context(request, mine, error))


def _do(request: HttpRequest, asked: dict[str, Any]) -> str:
    """Decide or delegate. Returns what was done."""
    ids, reason = asked["items"], asked["reason"]
    if asked["do"] == "delegate":
        to = User.objects.filter(username=asked["to"], is_active=True).first()
        if to is None:
            raise services.CampaignError(gettext("There is no user “%s”.") % asked["to"])
        services.delegate(ids, to, request.user, reason=reason)
        return ngettext("%d item delegated.", "%d items delegated.", len(ids)) % len(ids)
    services.decide(ids, asked["do"], request.user, reason=reason, seconds=_seconds(request))
    return ngettext("%d decision made.", "%d decisions made.", len(ids)) % len(ids)


def _seconds(request: HttpRequest) -> int | None:
    """How long the page had been open, by its own signed time."""
    try:
        opened = signing.loads(request.POST.get("opened", ""), salt=SALT, max_age=86_400)
    except signing.BadSignature:
        return None
    return max(0, _now() - opened)


def _now() -> int:
    return int(time.time())


def _context(request: HttpRequest, mine: Any, error: str) -> dict[str, Any]:
    undecided = Count("pk", filter=Q(verdict=""))
    counts = dict(mine.order_by().values_list("campaign").annotate(n=undecided))
    campaigns = list(Campaign.objects.filter(pk__in=counts).order_by("due_on", "pk"))
    for one in campaigns:
        one.n = counts[one.pk]
    asked = request.GET.get("campaign", "")
    campaign = next((one for one in campaigns if str(one.pk) == asked), next(iter(campaigns), None))
    state = request.GET.get("state") if request.GET.get("state") in dict(SHOWN) else "undecided"
    rows = mine.filter(campaign=campaign)
    if state == "decided":
        rows = rows.exclude(verdict="")
    elif state != "all":
        rows = in_state(rows, "", state)
    if search := request.GET.get("q", "").strip().replace("\0", ""):
        rows = rows.filter(
            Q(account_label__icontains=search) | Q(object__icontains=search) | Q(place__name__icontains=search)
        )
    rows = rows.with_observed().with_previous().with_last_decision().select_related("place")
    page = Paginator(rows.order_by("place__name", "account_label", "pk"), ROWS).get_page(request.GET.get("page"))
    items = list(page)
    owned = Item.objects.filter(services.owned_by(request.user), pk__in=[one.pk for one in items])
    own = set(owned.values_list("pk", flat=True))
    sql = remedies(one for one in items if one.verdict == "revoke" and not one.is_gone)
    query = request.GET.copy()
    query.pop("page", None)
    return {
        **admin.site.each_context(request),
        "title": gettext("My items"),
        "campaigns": campaigns,
        "campaign": campaign,
        "state": state,
        "states": SHOWN,
        "search": search,
        "page": page,
        "query": query.urlencode(),
        "rows": [{"item": one, "is_own": one.pk in own, "remedy": sql.get(one.pk)} for one in items],
        "chosen": request.POST.getlist("items"),
        "reason": request.POST.get("reason", ""),
        "to": request.POST.get("to", ""),
        "error": error,
        "opened": signing.dumps(_now(), salt=SALT),
    }
