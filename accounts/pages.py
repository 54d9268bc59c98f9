"""The page of one account: facts and tabs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.core.paginator import Page, Paginator
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.visibility import shown_to
from instances.models import Instance
from instances.timeline import Event

from .freshness import days_held, known_of, last_read, unknown_instances
from .models import UNREADABLE, Account, AccountChange, Ended, Grant, Membership, RoleReach
from .wording import details, events

ROWS_PER_PAGE = 200
#: The tab with the others one below the other, and rows of each there.
ALL, PRINTED = "all", 1000

#: Lines of a change shown in a timeline.
LINES_IN_TIMELINE = 3

#: Attribute and label of the facts at the top of the page, where the engine has them.
FACTS = [
    ("host", _("Host")),
    ("kind", _("Kind")),
    ("is_superuser", _("Superuser")),
    ("can_login", _("Can log in")),
    ("is_locked", _("Locked")),
    ("valid_until", _("Valid until")),
    ("password_expired", _("Password expired")),
    ("password_changed_at", _("Password changed")),
    ("auth_method", _("Authentication")),
    ("connection_limit", _("Connection limit")),
    ("last_login_at", _("Last login")),
    ("is_system", _("Maintained by the engine")),
    ("is_filtered", _("Filtered")),
    ("native_id", _("Native id")),
    ("first_seen_at", _("First seen")),
    ("last_seen_at", _("Last seen")),
    ("gone_at", _("Gone")),
]


def facts(account: Account) -> list[tuple[Any, Any]]:
    """Return labels and values of an account's known facts, and of those that the last visit could not read."""
    values = {name: getattr(account, name) for name, _label in FACTS} | {"kind": account.get_kind_display()}
    values |= {name: gettext("unknown") for name in UNREADABLE if account.is_unread(name)}
    return [(label, values[name]) for name, label in FACTS if values[name] not in (None, "")]


def former_names(account: Account) -> list[tuple[str, datetime, bool]]:
    """Return each name that the account had before, when a visit saw another, and whether it is certain. Oldest
    first."""
    renamed = account.changes.filter(details__has_key="renamed").order_by("at", "pk")
    return [
        (names[0], at, "probably_renamed" not in words)
        for names, at, words in renamed.values_list("details__renamed", "at", "events")
    ]


def namesakes(account: Account) -> QuerySet[Account]:
    """Return the accounts that have or had the same name on the instance at another time, newest first."""
    same = Account.objects.filter(instance=account.instance_id, name=account.name, host=account.host)
    return same.exclude(pk=account.pk).order_by(F("gone_at").desc(nulls_first=True), "-pk")


def direct_grants(account: Account) -> QuerySet[Grant]:
    return account.grants.filter(until=None)


def reached(account: Account) -> QuerySet[RoleReach]:
    return account.reaches.select_related("role")


def members(account: Account) -> QuerySet[Membership]:
    rows = account.members.filter(until=None).select_related("member")
    return rows.order_by("member__name", "member__host")


def ended_grants(account: Account) -> QuerySet[Grant]:
    """Without those that continue with other options, grantors or under another name."""
    return (
        account.grants.exclude(until=None)
        .exclude(ended=Ended.CHANGED)
        .order_by("-until", "kind", "scope", "privilege", "pk")
    )


def ended_memberships(account: Account) -> QuerySet[Membership]:
    ended = account.memberships.exclude(until=None).exclude(ended=Ended.CHANGED)
    return ended.select_related("role").order_by("-until", "role__name")


def changes(account: Account) -> QuerySet[AccountChange]:
    return account.changes.select_related("record")


def _roles(request: HttpRequest, account: Account, page: Page) -> Iterable[dict[str, Any]]:
    paths = account.role_paths()
    direct = {row.role_id: row for row in _held(request, account, account.memberships.filter(until=None))}
    for reach in page:
        yield {
            "reach": reach,
            "path": paths[reach.role_id],
            "use": _use(reach),
            "membership": direct.get(reach.role_id),
        }


def _held(request: HttpRequest, account: Account, page: Page) -> Iterable[Any]:
    """Grants or memberships, each with `days`: how long it has been held, as far as visits saw it."""
    known = known_of([account.instance_id]).get(account.instance_id)
    for row in page:
        row.days = known and days_held(row.held_since, known.since, row.unobserved_since or known.until)
        yield row


def _use(reach: RoleReach) -> str:
    """Return when the account can use the role's privileges."""
    if reach.inherits:
        return gettext("at once")
    return gettext("after switching to the role") if reach.can_set else gettext("not at all")


def _changes(request: HttpRequest, account: Account, page: Page) -> Iterable[dict[str, Any]]:
    for change in page:
        yield {"change": change, "events": events(change), "details": details(change)}


class Rows(Protocol):
    """The rows of a tab: a queryset, or an answer with rows."""

    def count(self) -> int: ...

    def __getitem__(self, part: slice) -> Iterable[Any]: ...


@dataclass(frozen=True)
class Tab:
    """One tab of the page, for users with `permission`. `lines` turns a page of rows into template context, where the
    rows of the open tab are `answer`."""

    name: str
    label: Any
    permission: str
    rows: Callable[[HttpRequest, Account], Rows]
    lines: Callable[[HttpRequest, Account, Page], Iterable[Any]] = lambda request, account, page: page
    template: str = "accounts/tab.html"


def _now(rows: Callable[[Account], QuerySet]) -> Callable[[HttpRequest, Account], QuerySet]:
    return lambda request, account: rows(account)


#: Apps above append theirs in `AppConfig.ready`.
TABS: list[Tab] = [
    Tab("grants", _("Direct grants"), "accounts.view_grant", _now(direct_grants), _held),
    Tab("roles", _("Roles"), "accounts.view_rolereach", _now(reached), _roles),
    Tab("members", _("Members"), "accounts.view_membership", _now(members), _held),
    Tab("ended", _("Ended grants"), "accounts.view_grant", _now(ended_grants)),
    Tab("left", _("Ended memberships"), "accounts.view_membership", _now(ended_memberships)),
    Tab("changes", _("Changes"), "accounts.view_accountchange", _now(changes), _changes),
]

#: Badges beside the name of an account, added by apps above in `AppConfig.ready`: functions of request and account that
#: return HTML or "".
BADGES: list[Callable[[HttpRequest, Account], str]] = []


def account_page(request: HttpRequest, account: Account) -> dict[str, Any]:
    """Context of the page: facts, the tabs that the user may open with their counts, and as `opened` the rows of the
    open tab, or of all of them, for print."""
    tabs = [
        {"name": tab.name, "label": tab.label, "rows": tab.rows(request, account), "shown": tab}
        for tab in TABS
        if request.user.has_perm(tab.permission)
    ]
    for tab in tabs:
        tab["count"] = tab["rows"].count()
    asked = request.GET.get("tab")
    is_all = asked == ALL and bool(tabs)
    chosen = tabs if is_all else [tab for tab in tabs if tab["name"] == asked] or tabs[:1]
    context: dict[str, Any] = {
        "facts": facts(account),
        "superuser_unread": account.is_unread("is_superuser"),
        "former_names": former_names(account),
        "namesakes": namesakes(account),
        "badges": [badge(request, account) for badge in BADGES],
        "read": last_read(account.instance),
        "tabs": tabs,
        "all": ALL,
        "is_all": is_all,
        "tab": ALL if is_all else chosen[0]["name"] if chosen else None,
        "opened": [],
    }
    for tab in chosen:
        page = Paginator(tab["rows"], PRINTED if is_all else ROWS_PER_PAGE).get_page(request.GET.get("page"))
        lines = list(tab["shown"].lines(request, account, page))
        context["opened"].append({**tab, "page": page, "lines": lines, "template": tab["shown"].template})
    return context


class NamesUnknownInstances:
    """For a ModelAdmin of rows from visits: its list names the instances with a stale read.

    `instance_filter` is the parameter of the list that selects one instance; `list_before_template` includes
    accounts/unknown.html.
    """

    instance_filter = "instance__id__exact"

    def unknown(self, request: HttpRequest) -> list[tuple[Instance, str]]:
        instances = Instance.objects.all()
        chosen = request.GET.get(self.instance_filter, "")
        if chosen.isdecimal():
            instances = instances.filter(pk=chosen)
        return list(unknown_instances(shown_to(instances, request.user)).items())

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        return super().list_context(request) | {"unknown": self.unknown(request)}

    def file_notes(self, request: HttpRequest) -> list[list[object]]:
        """The instances of which the file has what was last read, and why."""
        notes = [[gettext("not known"), f"{instance}: {reason}"] for instance, reason in self.unknown(request)]
        return [*super().file_notes(request), *notes]


def change_events(instance: Instance, since: datetime, limit: int) -> Iterable[Event]:
    """Yield changes of the instance's accounts for its timeline, without those of a first visit."""
    rows = AccountChange.objects.filter(account__instance=instance, baseline=False, at__gte=since)
    for row in rows.select_related("account").order_by("-at", "-pk")[:limit]:
        lines = [f"{label} {text}" for _word, label, text in details(row)]
        more = f" … {len(lines) - LINES_IN_TIMELINE} more" if len(lines) > LINES_IN_TIMELINE else ""
        text = ": ".join(filter(None, [str(row.account), "; ".join(lines[:LINES_IN_TIMELINE]) + more]))
        url = reverse("admin:accounts_accountchange_change", args=[row.pk])
        yield Event(row.at, row.events[0], ", ".join(str(label) for _event, label in events(row)), text, url)
