"""The pages of people and of the owners of accounts, and what they add to the pages of accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from accounts.models import Account
from console.buttons import Button, ButtonAdmin, answer_of, ask
from console.columns import Column, list_url, text_of
from console.display import badge, mono
from console.list_filters import OptionsFilter, ParameterFilter
from console.templatetags.names import visible
from console.visibility import shown_to
from engines.statements import printable
from instances.admin import NOTES, Addition, Part
from instances.list_filters import EngineFilter
from tagging.admin import TagFilter

from .end_dates import dated
from .feed_page import OWNERS, PEOPLE, import_button
from .filters import EndDateFilters, OwnershipFilters, PersonFilters
from .matching import matching
from .models import EndDate, OwnerRule, Ownership, Person, named_end, set_owner, with_owner, without_owner
from .people import person_named

if TYPE_CHECKING:
    from accounts.admin import AccountAdmin

#: Accounts on a page of a person.
ROWS_PER_PAGE = 200
TEXT = forms.TextInput(attrs={"class": "tf-input"})


def shown(person: Person) -> SafeString:
    return visible(person.name)


def owned_accounts(person: Person) -> str:
    return list_url("accounts_account", ownership__owner__id__exact=person.pk)


@admin.register(Person)
class PersonAdmin(ButtonAdmin):
    object_template = "owners/person.html"
    filter_set = PersonFilters
    list_display = [
        Column("name", show=visible),
        "mail",
        Column("external_id", show=visible),
        Column("active", tone={True: "completed", False: "gone"}.get),
        Column("n_accounts", _("accounts"), link=owned_accounts),
    ]
    list_filter = ["active"]
    search_fields = ["name", "mail", "external_id"]
    search_help_text = _("Name, mail or external id")
    autocomplete_fields = ["user"]
    fields = ["name", "mail", "external_id", "active", "user"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Person]:
        return super().get_queryset(request).with_counts(request.user)

    def get_buttons(self, request: HttpRequest) -> list[Button]:
        return [import_button(self, PEOPLE)]

    def get_readonly_fields(self, request: HttpRequest, obj: Person | None = None) -> list[str]:
        """Who decides in reviews is set by those who may see the users."""
        return [] if request.user.has_perm("auth.view_user") else ["user"]

    def page_context(self, request: HttpRequest, row: Person | None) -> dict[str, Any]:
        if row is None:
            return {}
        context: dict[str, Any] = {"facts": self.facts(request, row, ["mail", "external_id", "active", "user"])}
        if request.user.has_perms(["owners.view_ownership", "accounts.view_account"]):
            owned = shown_to(row.ownerships.all(), request.user).select_related("account__instance")
            owned = owned.order_by("account__instance__name", "account__name", "account__host", "account__pk")
            context["page"] = Paginator(owned, ROWS_PER_PAGE).get_page(request.GET.get("page"))
        return context


class OwnedFilter(ParameterFilter):
    title = _("has an owner")
    parameter_name = "owned"
    options = [("yes", _("Yes")), ("no", _("No"))]


class OwnerLeftFilter(ParameterFilter):
    title = _("owner has left")
    parameter_name = "owner_left"
    options = [("yes", _("Yes")), ("no", _("No"))]


@admin.register(Ownership)
class OwnershipAdmin(ButtonAdmin):
    list_before_template = "owners/without_owner.html"
    object_template = "owners/ownership.html"
    filter_set = OwnershipFilters
    formfield_overrides = NOTES
    list_display = [
        Column("account", ordering="account__name"),
        Column("account__instance", ordering="account__instance__name"),
        Column("owner", show=shown, ordering="owner__name"),
        "kind",
        Column("ticket", show=visible),
        Column("note", show=visible),
    ]
    list_on_phones = ("instance", "owner")
    list_filter = [OwnedFilter, OwnerLeftFilter, "owner", "kind", EngineFilter, TagFilter, "account__instance"]
    list_fullwidth = True
    list_select_related = ["account__instance", "owner"]
    show_full_result_count = False
    search_fields = ["account__name", "account__instance__name", "owner__name", "owner__mail", "ticket", "note"]
    search_help_text = _("Name of the account, instance or owner, ticket or note")
    autocomplete_fields = ["account", "owner"]
    fields = ["account", "owner", "kind", "note", "ticket"]

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().list_context(request)
        if not request.user.has_perm("accounts.view_account"):
            return context
        open_ones = without_owner(shown_to(Account.objects.present().visible(), request.user))
        return context | {"n_without": open_ones.count(), "without_url": list_url("accounts_account", owned="no")}

    def get_buttons(self, request: HttpRequest) -> list[Button]:
        return [import_button(self, OWNERS)]

    def get_readonly_fields(self, request: HttpRequest, obj: Ownership | None = None) -> list[str]:
        return ["account"] if obj else []

    def page_context(self, request: HttpRequest, row: Ownership | None) -> dict[str, Any]:
        if row is None:
            return {}
        return {"facts": self.facts(request, row, ["account", "account__instance", "owner", "kind", "ticket", "note"])}

    def response_post_save_add(self, request: HttpRequest, obj: Ownership) -> HttpResponse:
        return _to_account(request, obj) or super().response_post_save_add(request, obj)

    def response_post_save_change(self, request: HttpRequest, obj: Ownership) -> HttpResponse:
        return _to_account(request, obj) or super().response_post_save_change(request, obj)


def _to_account(request: HttpRequest, saved: Ownership | EndDate) -> HttpResponse | None:
    """The page that shows what was saved."""
    if not request.user.has_perm("accounts.view_account"):
        return None
    return HttpResponseRedirect(reverse("admin:accounts_account_change", args=[saved.account_id]))


@display(description=_("owner"), ordering="owner_name")
def owner(account: Account) -> SafeString | str:
    """The owner, and below it what the account is used by."""
    lines = [account.owner_name and visible(account.owner_name)]
    if account.owner_active is False:
        lines.append(badge("gone", gettext("has left")))
    lines.append(text_of(account.used_by, Ownership._meta.get_field("kind")))
    return format_html_join("", "<div>{}</div>", ((line,) for line in lines if line)) or "–"


owner.in_files = [Column("owner_name", _("owner")), Column("used_by", _("used by"))]


class NoOwnerFilter(OptionsFilter):
    """For the list of accounts; the list of owners counts those without one by the same query."""

    title = _("has an owner")
    parameter_name = "owned"
    options = [("yes", _("Yes")), ("no", _("No")), ("left", _("One who has left"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        match self.value():
            case "yes":
                return queryset.filter(ownership__owner__isnull=False)
            case "no":
                return without_owner(queryset)
            case "left":
                return queryset.filter(ownership__owner__active=False)
        return queryset


class OwnerForm(forms.Form):
    """What to set of many accounts: only what is filled in."""

    owner = forms.CharField(
        label=_("Owner"), required=False, max_length=254, widget=TEXT, help_text=_("External id or mail of a person.")
    )
    kind = forms.ChoiceField(
        label=_("Used by"),
        required=False,
        choices=[("", _("as it is")), *Ownership.Kind.choices],
        widget=forms.Select(attrs={"class": "tf-input"}),
    )
    note = forms.CharField(label=_("Note"), required=False, widget=TEXT)
    ticket = forms.CharField(label=_("Ticket"), required=False, max_length=200, widget=TEXT)

    def clean_owner(self) -> Person | None:
        name = self.cleaned_data["owner"]
        try:
            return person_named(name) if name else None
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not (self.errors or any(cleaned.values())):
            raise forms.ValidationError(gettext("Fill in what to set."))
        return cleaned


@admin.action(description=_("Set owner …"))
def set_owners(pages: AccountAdmin, request: HttpRequest, queryset: QuerySet[Account]) -> HttpResponse | None:
    """Set what is filled in of the owners of the chosen accounts."""
    if not request.user.has_perm("owners.add_ownership"):
        raise PermissionDenied
    form = OwnerForm(answer_of(request))
    if not form.is_valid():
        text = gettext("Fields that stay empty are not changed.")
        return ask(pages, request, form, queryset.count(), gettext("Set owner"), text)
    count = set_owner(queryset, **{name: value for name, value in form.cleaned_data.items() if value})
    text = ngettext("Set for %d account.", "Set for %d accounts.", count)
    messages.success(request, text % count)
    return None


def owner_part(request: HttpRequest, account: Account) -> Part:
    """Who answers for the account, and the way to change it."""
    found = Ownership.objects.filter(account=account).select_related("owner").first()
    if found and request.user.has_perm("owners.change_ownership"):
        url = f"{reverse('admin:owners_ownership_change', args=[found.pk])}?edit=1"
    elif not found and request.user.has_perm("owners.add_ownership"):
        url = f"{reverse('admin:owners_ownership_add')}?account={account.pk}"
    else:
        url = ""
    context = {"ownership": found, "url": url, "may_open": request.user.has_perm("owners.view_person")}
    return Part(SafeString(render_to_string("owners/of_account.html", context, request)))


#: Accounts of each outcome on the page of a matching.
MATCHES = 200


def match_owners(pages: OwnerRuleAdmin, request: HttpRequest) -> HttpResponse | None:
    """Show what the rules find, and store it when that is confirmed."""
    if not request.user.has_perms(["owners.add_ownership", "owners.view_person", "accounts.view_account"]):
        raise PermissionDenied
    found = matching(request.user)
    if "confirmed" in request.POST:
        found.save()
        text = gettext("Owners set: %(found)d. Still open, because several people match: %(open)d.")
        messages.success(request, text % {"found": len(found.found), "open": len(found.ambiguous)})
        return None
    context = {
        **admin.site.each_context(request),
        "title": gettext("Match owners"),
        "opts": pages.opts,
        "found": found.found[:MATCHES],
        "n_found": len(found.found),
        "ambiguous": found.ambiguous[:MATCHES],
        "n_ambiguous": len(found.ambiguous),
        "next": pages.back(request, None).url,
    }
    return TemplateResponse(request, "owners/matches.html", context)


@admin.register(OwnerRule)
class OwnerRuleAdmin(ButtonAdmin):
    list_display = ["order", "match", Column("pattern", show=mono), "engine", "tag", "kind", "active"]
    list_display_links = ["order", "match"]
    list_filter = ["active", "engine", "kind"]
    search_fields = ["pattern"]
    list_select_related = ["tag"]
    autocomplete_fields = ["tag"]
    fields = ["order", "match", "pattern", ("engine", "tag"), "kind", "active"]

    def get_buttons(self, request: HttpRequest) -> list[Button]:
        return [
            Button(
                "match",
                _("Match owners …"),
                "owners.change_ownership",
                lambda request, _row: match_owners(self, request),
                icon="person_search",
                on_list=True,
                main=True,
            )
        ]


#: Grants of an account that the form of an end date offers.
OFFERED = 500


class EndDateForm(forms.ModelForm):
    """Chooses among what the account is and directly has."""

    what = forms.ChoiceField(label=_("End of"), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            # What ends is not changed.
            del self.fields["what"]
        else:
            self.fields["what"].choices = offered_ends(self._account())

    def _account(self) -> Account | None:
        pk = str((self.data if self.is_bound else self.initial).get("account", ""))
        return shown_to(Account.objects.present(), self.user).filter(pk=pk).first() if pk.isdecimal() else None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        kind, _colon, pk = cleaned.get("what", "").partition(":")
        if kind:
            for name, value in named_end(kind, int(pk or 0)).items():
                setattr(self.instance, name, value)
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        excluded = super()._get_validation_exclusions()
        # `clean` sets what has no field here: there is one end date of each thing.
        return excluded & {"id", "created_by"} if self.instance.of else excluded


def offered_ends(account: Account | None) -> list[tuple[str, Any]]:
    """Values and labels of what may end: the account, its memberships and its direct grants."""
    if account is None:
        return [("account", _("the account"))]
    roles = account.memberships.filter(until=None).select_related("role").order_by("role__name")
    grants = account.grants.filter(until=None)[:OFFERED]
    return [
        ("account", _("the account")),
        *((f"membership:{row.pk}", gettext("role %s") % printable(str(row.role))) for row in roles),
        *((f"grant:{row.pk}", printable(str(row))) for row in grants),
    ]


@admin.register(EndDate)
class EndDateAdmin(ButtonAdmin):
    object_template = "owners/end_date.html"
    form = EndDateForm
    formfield_overrides = NOTES
    list_display = [
        "ends_on",
        Column("account", ordering="account__name"),
        Column("account__instance", ordering="account__instance__name"),
        Column("what", _("of"), show=printable, ordering=None),
        Column("reason", show=visible),
        Column("ticket", show=visible),
        Column("approver", show=visible),
    ]
    list_filter = ["of", "ends_on", EngineFilter, TagFilter]
    filter_set = EndDateFilters
    list_select_related = ["account__instance", "role"]
    search_fields = ["account__name", "account__instance__name", "reason", "ticket", "approver"]
    autocomplete_fields = ["account"]

    def get_fields(self, request: HttpRequest, obj: EndDate | None = None) -> list[str]:
        return [*([] if obj else ["account", "what"]), "ends_on", "reason", "ticket", "approver"]

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> type[EndDateForm]:
        form = super().get_form(request, *args, **kwargs)
        form.user = request.user
        return form

    def save_model(self, request: HttpRequest, obj: EndDate, form: forms.ModelForm, change: bool) -> None:
        if not change:
            obj.created_by = request.user
        super().save_model(request, obj, form, change)

    def page_context(self, request: HttpRequest, row: EndDate | None) -> dict[str, Any]:
        if row is None:
            return {}
        names = ["account", "account__instance", "ends_on", "reason", "ticket", "approver", "created_by", "created_at"]
        [found] = dated(EndDate.objects.filter(pk=row.pk))
        return {"facts": self.facts(request, row, names), "found": found}

    def response_post_save_add(self, request: HttpRequest, obj: EndDate) -> HttpResponse:
        return _to_account(request, obj) or super().response_post_save_add(request, obj)


def end_dates_part(request: HttpRequest, account: Account) -> Part:
    """The end dates of an account, and the way to set one."""
    url = ""
    if request.user.has_perm("owners.add_enddate") and account.gone_at is None:
        url = f"{reverse('admin:owners_enddate_add')}?account={account.pk}"
    rows = EndDate.objects.filter(account=account)
    # Most accounts have none, and the statement of `dated` takes a fifth of the page's time to make.
    context = {"rows": dated(rows) if rows.exists() else [], "url": url}
    return Part(SafeString(render_to_string("owners/end_dates_of_account.html", context, request)))


OF_ACCOUNTS = [
    Addition(
        "owners.view_ownership",
        annotate=with_owner,
        columns=[owner],
        filters=[NoOwnerFilter, "ownership__owner", "ownership__kind"],
        part=owner_part,
    ),
    Addition("owners.change_ownership", actions=[set_owners]),
    Addition("owners.view_enddate", part=end_dates_part),
]
