"""The pages of accounts, their changes and the filters, and what accounts add to the pages of instances."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import (
    BooleanRadioFilter,
    ChoicesDropdownFilter,
    RangeDateTimeFilter,
)
from unfold.decorators import display

from console.buttons import InspectOnlyAdmin
from console.display import ago, badge, moment
from console.list_filters import FilteredFilter, GoneFilter, ShownSelectFilter
from console.templatetags.names import visible
from instances.admin import Addition
from instances.hiding_pages import FilterAdmin, HideableAdmin
from instances.list_filters import EngineFilter
from instances.models import Instance
from sync.pages import of_visits
from tagging.admin import TagFilter

from .freshness import last_read
from .list_filters import BaselineFilter, ChangedFilter, EventFilter, NewSuperusersFilter, StaleFilter, UnreadFilter
from .models import Account, AccountChange, AccountFilter
from .pages import NamesUnknownInstances, account_page, details, events

#: How many lines of a change its list shows.
DETAILS = 3


def yes_no(account: Account, field: str) -> str:
    if account.is_unread(field):
        return gettext("unknown")
    value = getattr(account, field)
    return "–" if value is None else gettext("yes") if value else gettext("no")


@admin.register(Account)
class AccountAdmin(NamesUnknownInstances, HideableAdmin):
    list_before_template = "accounts/list_before.html"
    change_form_template = "accounts/account.html"
    list_display = [
        "shown_name",
        "shown_host",
        "instance",
        "shown_kind",
        "superuser",
        "login",
        "locked",
        "valid",
        "n_grants",
        "n_roles",
        "first_seen",
        "last_seen",
    ]
    list_filter = [
        ("instance", ShownSelectFilter),
        EngineFilter,
        TagFilter,
        GoneFilter,
        FilteredFilter,
        ("kind", ChoicesDropdownFilter),
        ("is_superuser", BooleanRadioFilter),
        ("can_login", BooleanRadioFilter),
        ("is_locked", BooleanRadioFilter),
        ("is_system", BooleanRadioFilter),
        UnreadFilter,
        ChangedFilter,
    ]
    list_filter_submit = True
    list_fullwidth = True
    list_select_related = ["instance"]
    show_full_result_count = False
    search_fields = ["name", "host"]
    search_help_text = _("Name or host")
    fields = ["name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        return super().get_queryset(request).with_counts().with_last_seen()

    @display(description=_("name"), ordering="name")
    def shown_name(self, account: Account) -> SafeString:
        return visible(account.name)

    @display(description=_("host"), ordering="host")
    def shown_host(self, account: Account) -> SafeString:
        return visible(account.host) if account.host else SafeString("–")

    @display(description=_("kind"), ordering="kind")
    def shown_kind(self, account: Account) -> str:
        return account.get_kind_display() or gettext("unknown")

    @display(description=_("valid until"), ordering="valid_until")
    def valid(self, account: Account) -> SafeString:
        expired = account.valid_until and account.valid_until < timezone.now()
        text = gettext("unknown") if account.is_unread("valid_until") else moment(account.valid_until)
        return format_html('<span class="tf-nowrap{}">{}</span>', " tf-bad" if expired else "", text)

    @display(description=_("grants"), ordering="n_grants")
    def n_grants(self, account: Account) -> int:
        return account.n_grants

    @display(description=_("roles"), ordering="n_roles")
    def n_roles(self, account: Account) -> int:
        return account.n_roles

    @display(description=_("superuser"), ordering="is_superuser")
    def superuser(self, account: Account) -> str:
        return badge("superuser", gettext("yes")) if account.is_superuser else yes_no(account, "is_superuser")

    @display(description=_("can log in"), ordering="can_login")
    def login(self, account: Account) -> str:
        return yes_no(account, "can_login")

    @display(description=_("locked"), ordering="is_locked")
    def locked(self, account: Account) -> str:
        return badge("locked", gettext("yes")) if account.is_locked else yes_no(account, "is_locked")

    @display(description=_("first seen"), ordering="first_seen_at")
    def first_seen(self, account: Account) -> SafeString:
        return format_html('<span class="tf-nowrap">{}</span>', moment(account.first_seen_at)[:10])

    @display(description=_("last seen"), ordering="last_seen_at")
    def last_seen(self, account: Account) -> SafeString:
        if account.gone_at:
            return format_html("{} {}", badge("gone", gettext("gone")), ago(account.gone_at))
        return ago(account.last_seen_at)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        account = kwargs["obj"]
        context |= account_page(request, account) | {"account": account, "title": str(account) or gettext("(no name)")}
        return super().render_change_form(request, context, *args, **kwargs)


@admin.register(AccountChange)
class AccountChangeAdmin(NamesUnknownInstances, InspectOnlyAdmin):
    instance_filter = "account__instance__id__exact"
    list_display = ["seen", "account_name", "instance", "what", "some_details", "session"]
    list_filter = [
        ("account__instance", ShownSelectFilter),
        EventFilter,
        NewSuperusersFilter,
        ("at", RangeDateTimeFilter),
        ("account", ShownSelectFilter),
        BaselineFilter,
    ]
    list_filter_submit = True
    list_fullwidth = True
    list_select_related = ["account__instance", "record"]
    list_before_template = "accounts/first_visits.html"
    show_full_result_count = False
    search_fields = ["account__name", "account__instance__name"]
    search_help_text = _("Name of the account or instance")
    fields = ["seen", "account_link", "instance", "what", "all_details", "session"]

    @display(description=_("seen"), ordering="at")
    def seen(self, change: AccountChange) -> SafeString:
        return format_html('<span class="tf-nowrap">{}</span>', moment(change.at))

    @display(description=_("account"), ordering="account__name")
    def account_name(self, change: AccountChange) -> SafeString:
        return visible(str(change.account))

    @display(description=_("account"))
    def account_link(self, change: AccountChange) -> SafeString:
        url = reverse("admin:accounts_account_change", args=[change.account_id])
        return format_html('<a class="tf-link" href="{}">{}</a>', url, visible(str(change.account)))

    @display(description=_("instance"), ordering="account__instance__name")
    def instance(self, change: AccountChange) -> Instance:
        return change.account.instance

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
    def all_details(self, change: AccountChange) -> SafeString:
        return _as_html(details(change))

    @display(description=_("session"))
    def session(self, change: AccountChange) -> SafeString:
        if not change.record:
            return SafeString("–")
        url = reverse("admin:sync_syncsession_change", args=[change.record.session_id])
        return format_html('<a class="tf-link" href="{}">#{}</a>', url, change.record.session_id)


def _as_html(lines: list[tuple[str, str, str]]) -> SafeString:
    return format_html_join(
        "",
        '<div><span class="tf-badge tf-{}">{}</span> {}</div>',
        ((word, label, visible(text)) for word, label, text in lines),
    )


admin.site.register(AccountFilter, FilterAdmin)


def with_account_count(instances: QuerySet[Instance]) -> QuerySet[Instance]:
    """Each instance with n_accounts: present ones that no filter hides, as its list of accounts shows them. None before
    the first visit: nobody knows."""
    rows = Account.objects.present().visible().filter(instance=OuterRef("pk")).order_by().values("instance")
    counted = Coalesce(Subquery(rows.annotate(n=Count("*")).values("n")), 0)
    visited = Exists(Account.objects.filter(instance=OuterRef("pk")))
    return instances.annotate(n_accounts=Case(When(visited, then=counted)))


def accounts_of(instance: Instance, **query: str) -> str:
    more = "".join(f"&{name}={value}" for name, value in query.items())
    return f"{reverse('admin:accounts_account_changelist')}?instance__id__exact={instance.pk}{more}"


@display(description=_("accounts"), ordering="n_accounts")
def account_count(instance: Instance) -> str:
    if instance.n_accounts is None:
        return "–"
    return format_html('<a class="tf-link" href="{}">{}</a>', accounts_of(instance), instance.n_accounts)


def accounts_section(request: HttpRequest, instance: Instance) -> SafeString:
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
        # Every server has accounts: none was ever read, and nobody knows how many there are.
        counts = dict.fromkeys(counts, "–") | {"maybe": 0}
    superusers = gettext("%d or more") % counts["superusers"] if counts["maybe"] else counts["superusers"]
    figures = [
        (_("Accounts"), counts["shown"], accounts_of(instance)),
        (_("Superusers"), superusers, accounts_of(instance, is_superuser__exact="1")),
        (_("Filtered"), counts["filtered"], accounts_of(instance, filtered="yes")),
        (_("Gone"), counts["gone"], accounts_of(instance, gone="yes")),
        (
            _("Changes"),
            None,
            f"{reverse('admin:accounts_accountchange_changelist')}?account__instance__id__exact={instance.pk}",
        ),
    ]
    context = {"figures": figures, "read": last_read(instance), "tab": ""}
    return render_to_string("accounts/accounts_of_instance.html", context, request)


OF_INSTANCES = [
    Addition(
        "accounts.view_account",
        annotate=with_account_count,
        columns=[account_count],
        filters=[StaleFilter],
        section=accounts_section,
    ),
    *of_visits("accounts", _("last account visit"), _("Sync accounts now"), _("Sync all accounts")),
]
