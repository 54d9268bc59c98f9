"""The pages of accounts, their changes and the filters, and what accounts add to the pages of instances."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from console.buttons import InspectOnlyAdmin
from console.columns import Column, list_url
from console.display import ago, badge, day, moment
from console.list_filters import FilteredFilter, GoneFilter, by_type
from console.templatetags.names import visible
from instances.admin import Addition, Figure, Part
from instances.hiding_pages import FilterAdmin, HideableAdmin
from instances.list_filters import EngineFilter
from instances.models import Instance
from sync.pages import of_visits
from tagging.admin import TagFilter

from .filters import BY_NAME, AccountChangeFilters, AccountFilters
from .freshness import last_read
from .list_filters import (
    BaselineFilter,
    ChangedFilter,
    EventFilter,
    GrantorFilter,
    NewSuperusersFilter,
    StaleFilter,
    UnreadFilter,
)
from .models import Account, AccountChange, AccountFilter, AccountQuerySet
from .pages import NamesUnknownInstances, account_page
from .wording import details, events

SESSION = Column("record__session_id", show="#{}".format, ordering=None)
#: How many lines of a change its list shows.
DETAILS = 3


#: What apps above add to the pages of accounts: `annotate`, `columns`, `filters` and `actions` of the list, and the
#: `part` of a page, in their `AppConfig.add_pages`.
ADDITIONS: list[Addition] = []


@admin.register(Account)
class AccountAdmin(NamesUnknownInstances, HideableAdmin):
    list_before_template = "accounts/list_before.html"
    object_template = "accounts/account.html"
    list_display = [
        "name",
        Column("host", empty="–"),
        "instance",
        Column("kind", empty=_("unknown")),
        Column("is_superuser", tone={True: "superuser"}.get),
        "can_login",
        Column("is_locked", tone={True: "locked"}.get),
        "valid",
        Column("n_grants", _("grants")),
        Column("n_roles", _("roles")),
        Column("first_seen_at", show=day),
        "last_seen",
    ]
    list_on_phones = ("instance", "risk")
    filter_set = AccountFilters
    list_filter = [
        "instance",
        EngineFilter,
        TagFilter,
        GoneFilter,
        FilteredFilter,
        "kind",
        "is_superuser",
        "can_login",
        "is_locked",
        "is_system",
        UnreadFilter,
        ChangedFilter,
        GrantorFilter,
    ]
    list_fullwidth = True
    ordering = BY_NAME
    list_select_related = ["instance"]
    show_full_result_count = False
    search_fields = Account.SEARCHED
    search_help_text = _("Name or host")
    fields = ["name"]

    def additions(self, request: HttpRequest) -> list[Addition]:
        return [addition for addition in ADDITIONS if request.user.has_perm(addition.permission)]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        rows = super().get_queryset(request).with_counts().with_last_seen()
        for addition in self.additions(request):
            rows = addition.annotate(rows)
        return rows

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        added = [column for addition in self.additions(request) for column in addition.columns]
        name, host, instance, *others = super().get_list_display(request)
        return [name, host, instance, *added, *others]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        added = [by_type(self.model, item) for addition in self.additions(request) for item in addition.filters]
        return [*super().get_list_filter(request), *added]

    def get_actions(self, request: HttpRequest) -> dict[str, tuple[Any, str, str]]:
        added = [action for addition in self.additions(request) for action in addition.actions]
        own = super().get_actions(request)
        return {name: (run, name, label) for run, name, label in map(self.get_action, added)} | own

    def get_search_results(
        self, request: HttpRequest, queryset: AccountQuerySet, search_term: str
    ) -> tuple[QuerySet[Account], bool]:
        return queryset.containing(search_term), False

    @display(description=_("valid until"), ordering="valid_until")
    def valid(self, account: Account) -> SafeString:
        expired = account.valid_until and account.valid_until < timezone.now()
        text = gettext("unknown") if account.is_unread("valid_until") else moment(account.valid_until)
        return format_html('<span class="tf-nowrap{}">{}</span>', " tf-bad" if expired else "", text)

    valid.in_files = [Column("valid_until")]

    @display(description=_("last seen"), ordering="last_seen_at")
    def last_seen(self, account: Account) -> SafeString:
        if account.gone_at:
            return format_html("{} {}", badge("gone", gettext("gone")), ago(account.gone_at))
        return ago(account.last_seen_at)

    last_seen.in_files = [Column("last_seen_at", _("last seen")), "gone_at"]

    def page_context(self, request: HttpRequest, row: Account) -> dict[str, Any]:
        parts = [addition.part(request, row).section for addition in self.additions(request) if addition.part]
        title = str(row) or gettext("(no name)")
        return account_page(request, row) | {"account": row, "title": title, "parts": parts}


@admin.register(AccountChange)
class AccountChangeAdmin(NamesUnknownInstances, InspectOnlyAdmin):
    instance_filter = "account__instance__id__exact"
    list_display = [
        "at",
        Column("account", ordering="account__name"),
        Column("account__instance", ordering="account__instance__name"),
        "what",
        "some_details",
        SESSION,
    ]
    list_on_phones = ("account", "instance", "what")
    filter_set = AccountChangeFilters
    list_filter = ["account__instance", EventFilter, NewSuperusersFilter, "at", "account", BaselineFilter]
    list_fullwidth = True
    list_select_related = ["account__instance", "record"]
    list_before_template = "accounts/first_visits.html"
    show_full_result_count = False
    search_fields = ["account__name", "account__instance__name"]
    search_help_text = _("Name of the account or instance")
    fields = ["at", "account", Column("account__instance"), "what", "all_details", SESSION]

    @display(description=_("events"))
    def what(self, change: AccountChange) -> SafeString:
        first = badge("baseline", gettext("first visit")) if change.baseline else ""
        words = format_html_join("", "{}", ((badge(event, label),) for event, label in events(change)))
        if hasattr(change, "was") and change.is_over:
            words += badge("gone", gettext("gone") if change.account.gone_at else gettext("no longer superuser"))
        return format_html('<span class="tf-badges">{}{}</span>', words, first)

    @display(description=_("details"))
    def some_details(self, change: AccountChange) -> SafeString:
        lines = details(change)
        more = len(lines) - DETAILS
        shown = _as_html(lines[:DETAILS])
        return (
            format_html('{}<div class="tf-quiet">{}</div>', shown, gettext("and %d more") % more) if more > 0 else shown
        )

    @display(description=_("details"))
    def details_as_text(self, change: AccountChange) -> str:
        return "; ".join(f"{label} {text}" for _word, label, text in details(change))

    some_details.in_files = ["details_as_text"]

    @display(description=_("details"))
    def all_details(self, change: AccountChange) -> SafeString:
        return _as_html(details(change))


def _as_html(lines: list[tuple[str, str, str]]) -> SafeString:
    return format_html_join(
        "",
        '<div><span class="tf-badge tf-{}">{}</span> {}</div>',
        ((word, label, visible(text)) for word, label, text in lines),
    )


admin.site.register(AccountFilter, FilterAdmin)


def with_account_count(instances: QuerySet[Instance]) -> QuerySet[Instance]:
    """Each instance with n_accounts: present ones that no filter hides, as its list of accounts shows them. None before
    the first visit."""
    rows = Account.objects.present().visible().filter(instance=OuterRef("pk")).order_by().values("instance")
    counted = Coalesce(Subquery(rows.annotate(n=Count("*")).values("n")), 0)
    visited = Exists(Account.objects.filter(instance=OuterRef("pk")))
    return instances.annotate(n_accounts=Case(When(visited, then=counted)))


def accounts_of(instance: Instance, **query: str) -> str:
    return list_url("accounts_account", instance__id__exact=instance.pk, **query)


def accounts_part(request: HttpRequest, instance: Instance) -> Part:
    """When accounts were last read, and how many there are."""
    visible_now = Q(gone_at=None, is_filtered=False)
    counts = (
        Account.objects.filter(instance=instance)
        .with_last_seen()
        .aggregate(
            shown=Count("pk", filter=visible_now),
            superusers=Count("pk", filter=visible_now & Q(is_superuser=True)),
            maybe=Count("pk", filter=visible_now & Q(is_superuser=None, unread__contains=["is_superuser"])),
            filtered=Count("pk", filter=Q(gone_at=None, is_filtered=True)),
            gone=Count("pk", filter=Q(gone_at__isnull=False, is_filtered=False)),
        )
    )
    if not any(counts.values()):
        # Every server has accounts: no visit has read any yet.
        counts = dict.fromkeys(counts, "–") | {"maybe": 0}
    superusers = gettext("%d or more") % counts["superusers"] if counts["maybe"] else counts["superusers"]
    figures = [
        Figure(_("Accounts"), counts["shown"], accounts_of(instance)),
        Figure(_("Superusers"), superusers, accounts_of(instance, is_superuser__exact="1")),
    ]
    links = [
        (_("Filtered"), counts["filtered"], accounts_of(instance, filtered="yes")),
        (_("Gone"), counts["gone"], accounts_of(instance, gone="yes")),
        (_("Changes"), None, list_url("accounts_accountchange", account__instance__id__exact=instance.pk)),
    ]
    read = last_read(instance)
    return Part(
        SafeString(render_to_string("accounts/accounts_of_instance.html", {"figures": links}, request)),
        SafeString(render_to_string("accounts/read.html", {"read": read}, request)),
        figures,
    )


OF_INSTANCES = [
    Addition(
        "accounts.view_account",
        annotate=with_account_count,
        columns=[Column("n_accounts", _("accounts"), link=accounts_of)],
        filters=[StaleFilter],
        part=accounts_part,
    ),
    *of_visits("accounts", _("last account visit"), _("Sync accounts now"), _("Sync all accounts")),
]
