"""The pages of campaigns and of their items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminTextInputWidget

from console.buttons import Button, ButtonAdmin, InspectOnlyAdmin
from console.columns import Column, list_url
from console.list_filters import ParameterFilter
from console.templatetags.names import visible
from console.visibility import ShownRows, limit_of, shown_to

from . import keys, pack, services
from .filters import STATES, CampaignFilters, ItemFilters
from .models import Campaign, Decision, Item, Reviewer
from .remedies import remedies
from .stamps import StampError

#: Instances of a campaign on a page of its board.
INSTANCES = 50

TONES = {
    "draft": "pending",
    "running": "running",
    "closed": "partial",
    "acknowledged": "partial",
    "sealed": "completed",
}
VERDICTS = {"keep": "completed", "revoke": "failed", "change": "partial"}


class ReviewerInline(ShownRows, TabularInline):
    model = Reviewer
    fields = ["user", "tag"]
    extra = 1

    def formfield_for_foreignkey(self, *args: Any, **kwargs: Any) -> Any:
        """Screen readers do not read the heading of the column."""
        field = super().formfield_for_foreignkey(*args, **kwargs)
        field.widget.attrs["aria-label"] = field.label
        return field

    def get_field_queryset(self, db: Any, db_field: Any, request: HttpRequest) -> QuerySet | None:
        if db_field.name == "user":
            return User.objects.filter(is_active=True).order_by("username")
        return super().get_field_queryset(db, db_field, request)


class CampaignForm(forms.ModelForm):
    class Meta:
        widgets = {"on": UnfoldAdminTextInputWidget}

    engines = forms.MultipleChoiceField(
        label=_("Engines"), required=False, widget=forms.CheckboxSelectMultiple, help_text=_("Empty: all engines.")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "engines" in self.fields:
            self.fields["engines"].choices = Campaign._meta.get_field("engines").base_field.flatchoices


class AcknowledgeForm(forms.Form):
    text = forms.CharField(
        label=_("Acknowledgement"),
        max_length=4000,
        widget=forms.Textarea(attrs={"class": "tf-input", "rows": 4}),
        help_text=_("What you have seen and accept, exceptions included."),
    )


class StateFilter(ParameterFilter):
    title = _("state")
    parameter_name = "state"
    options = Campaign.State.choices


@admin.register(Campaign)
class CampaignAdmin(ButtonAdmin):
    form = CampaignForm
    filter_set = CampaignFilters
    object_template = "reviews/campaign.html"
    list_display = [
        "name",
        Column("state", _("state"), tone=TONES.get),
        "due_on",
        Column("n_items", _("items"), ordering=None),
        Column("n_decided", _("decided"), ordering=None),
        Column("n_revoked", _("to be revoked"), ordering=None),
        "frozen_at",
    ]
    list_filter = [StateFilter]
    search_fields = ["name", "note"]
    autocomplete_fields = ["tags", "classifications"]
    fields = ["name", "due_on", "tags", "engines", "classifications", "privilege", "on", "by"]
    fields += ["escalate_to", "escalate_after", "previous", "note"]
    inlines = [ReviewerInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        found = super().get_queryset(request)
        # The page of a campaign counts its items once, by reviewer.
        if request.resolver_match and request.resolver_match.url_name == "reviews_campaign_change":
            return found
        return found.with_counts(shown_to(Item.objects.all(), request.user))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return limit_of(request.user) is None and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        """Drafts only: what is under review does not change."""
        may = limit_of(request.user) is None and super().has_change_permission(request, obj)
        return may and (obj is None or obj.is_draft)

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        may = limit_of(request.user) is None and super().has_delete_permission(request, obj)
        return may and (obj is None or obj.is_draft)

    def get_field_queryset(self, db: Any, db_field: Any, request: HttpRequest) -> QuerySet | None:
        if db_field.name == "escalate_to":
            return User.objects.filter(is_active=True).order_by("username")
        return super().get_field_queryset(db, db_field, request)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Drafts are deleted on their own pages."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def save_model(self, request: HttpRequest, obj: Campaign, form: forms.ModelForm, change: bool) -> None:
        if not change:
            obj.created_by = request.user
        super().save_model(request, obj, form, change)

    def get_buttons(self, request: HttpRequest) -> list[Button]:
        State = Campaign.State

        def button(name: str, label: Any, permission: str, run: Callable[..., Any], state: str, **more: Any) -> Button:
            def guarded(request: HttpRequest, row: Campaign) -> HttpResponse | None:
                # A campaign is about instances that somebody who is limited to some would not see.
                if limit_of(request.user) is not None:
                    raise PermissionDenied
                try:
                    return run(request, row)
                except (ValueError, StampError) as error:
                    messages.error(request, str(error))
                    return None

            return Button(name, label, permission, guarded, shown=lambda row: row is None or row.state == state, **more)

        return [
            button(
                "start",
                _("Start"),
                "reviews.change_campaign",
                self._start,
                State.DRAFT,
                main=True,
                confirm=lambda row: [
                    gettext("The population is copied as it is known now, and cannot be changed afterwards."),
                    gettext("Scope: %s.") % services.scope_text(row),
                ],
            ),
            button(
                "close",
                _("Close"),
                "reviews.change_campaign",
                lambda request, row: self._done(request, services.close(row), gettext("Closed.")),
                State.RUNNING,
                icon="lock",
                confirm=lambda row: [gettext("No more decisions can be made afterwards.")],
            ),
            button(
                "acknowledge",
                _("Acknowledge"),
                "reviews.acknowledge_campaign",
                self._acknowledge,
                State.CLOSED,
                icon="verified",
                main=True,
            ),
            button(
                "seal",
                _("Seal"),
                "reviews.acknowledge_campaign",
                lambda request, row: self._done(request, services.seal(row), gettext("Sealed.")),
                State.ACKNOWLEDGED,
                icon="inventory_2",
                main=True,
                confirm=lambda row: [gettext("Nothing of the campaign can be changed afterwards.")],
            ),
            button(
                "pack",
                _("Evidence pack"),
                "reviews.view_campaign",
                self._pack,
                State.SEALED,
                icon="download",
                main=True,
            ),
        ]

    def _start(self, request: HttpRequest, row: Campaign) -> None:
        made = services.freeze(row)
        self._done(request, made, gettext("Started with %d items.") % made.items.count())

    def _done(self, request: HttpRequest, row: Campaign, text: str) -> None:
        self.log_change(request, row, text)
        messages.success(request, text)

    def _acknowledge(self, request: HttpRequest, row: Campaign) -> HttpResponse | None:
        form = AcknowledgeForm(request.POST if "text" in request.POST else None)
        if form.is_valid():
            self._done(
                request, services.acknowledge(row, request.user, form.cleaned_data["text"]), gettext("Acknowledged.")
            )
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Acknowledge"),
            "subtitle": row,
            "opts": self.opts,
            "form": form,
            "next": self.back(request, row).url,
        }
        return TemplateResponse(request, "reviews/acknowledge.html", context)

    def _pack(self, request: HttpRequest, row: Campaign) -> HttpResponse:
        pieces = pack.pack(row)
        services.exported(row, request.user)
        return StreamingHttpResponse(
            pieces,
            content_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{pack.name_of(row)}"'},
        )

    def page_context(self, request: HttpRequest, row: Campaign | None) -> dict[str, Any]:
        if row is None:
            return {}
        names = ["state", "due_on", "by", *([] if row.is_draft else ["frozen_at", "closed_at"])]
        facts = self.facts(request, row, names)
        if row.escalate_to_id:
            # The user may be deleted by now.
            person = User.objects.filter(pk=row.escalate_to_id).first() or "–"
            days = ngettext("%d day after the due day", "%d days after the due day", row.escalate_after)
            facts.append((gettext("Escalate to"), f"{person}, {days % row.escalate_after}"))
        if row.acknowledged_at:
            facts += self.facts(
                request, row, ["acknowledged_name", "acknowledged_at", "acknowledged_text", "sealed_at"]
            )
        facts += [(gettext("Time stamp"), str(stamp)) for stamp in row.stamps.defer("token")]
        facts += self.facts(request, row, ["previous", "note"])
        if row.is_draft:
            return {"facts": facts, "scope": services.scope_text(row), "query_text": services.query_text(row)}
        of = {"campaign__id__exact": row.pk}
        progress = services.progress(row, request.user)
        for line in progress:
            line["url"] = (
                list_url("reviews_item", **of, reviewer__id__exact=line["user"].pk)
                if line["user"]
                else list_url("reviews_item", **of, state="unassigned")
            )
        unknown = services.unknown(row, request.user)
        instances = shown_to(row.instances.all(), request.user).order_by("name", "pk")
        found = services.differences(row, request.user)
        return {
            "facts": facts,
            "scope": row.scope_text,
            "query_text": row.query_text,
            "progress": progress,
            "n_items": sum(line["n"] for line in progress),
            "n_undecided": sum(line["undecided"] for line in progress),
            "n_open": shown_to(row.items.all(), request.user).open().count(),
            "urls": {state: list_url("reviews_item", **of, state=state) for state, _label in STATES},
            "unknown_places": list(unknown[:INSTANCES]),
            "n_unknown": unknown.count(),
            "page": Paginator(instances, INSTANCES).get_page(request.GET.get("page")),
            "differences": found and {name: rows.count() for name, rows in found.items()},
            "removed": found and found["removed"].select_related("place")[:INSTANCES],
            "delegations": row.delegations.all()[:INSTANCES],
            "key": keys.stored().public if row.state == Campaign.State.SEALED else "",
        }


class ItemStateFilter(ParameterFilter):
    title = _("decision")
    parameter_name = "state"
    options = STATES


class EngineOfPlaceFilter(ParameterFilter):
    title = _("engine")
    parameter_name = "engine"


@admin.register(Item)
class ItemAdmin(InspectOnlyAdmin):
    """What was frozen, with its decisions. Reviewers decide on the page “My items”."""

    filter_set = ItemFilters
    object_template = "reviews/item.html"
    list_display = [
        Column("account_label", _("account"), show=visible),
        Column("place__name", _("instance")),
        "what",
        Column("right", _("right"), show=visible, ordering="object"),
        Column("risk", _("risk")),
        Column("held_since", _("held since")),
        Column("reviewer", _("reviewer"), ordering=None),
        Column("verdict", _("decision"), show=dict(Decision.Verdict.choices).get, tone=VERDICTS.get),
    ]
    list_filter = ["campaign", ItemStateFilter, "what", EngineOfPlaceFilter, "reviewer"]
    search_fields = ["account_label", "object", "place__name"]
    list_fullwidth = True
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Item]:
        found = services.seen_by(super().get_queryset(request), request.user)
        return found.select_related("place", "reviewer", "campaign")

    def page_context(self, request: HttpRequest, row: Item | None) -> dict[str, Any]:
        if row is None:
            return {}
        item = Item.objects.with_observed().with_previous().select_related("place", "campaign").get(pk=row.pk)
        names = ["campaign", "place", "what", "owner_name", "reviewer", "risk", "extent", "usable", "held_since"]
        return {
            "item": item,
            "facts": [*self.facts(request, row, names), (gettext("Held at the freeze"), row.held or "–")],
            "decisions": item.decisions.all(),
            "observations": item.observations.all(),
            "remedy": remedies([item]).get(item.pk) if item.verdict == "revoke" and not item.is_gone else None,
        }
