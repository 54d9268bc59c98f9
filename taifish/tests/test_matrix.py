"""Every page and every endpoint, asked for in every role: who is let in is what the table of roles says.

What there is comes from the admin site, the buttons, the URLs and the router; so an app that comes later is covered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.test import Client, RequestFactory
from django.urls import URLPattern, get_resolver, reverse
from django.utils.translation import override
from rest_framework.test import APIClient

from api.permissions import ViewAndModelPermissions
from instances.models import Instance
from instances.tests.api import client_of
from instances.tests.pages import entered
from taifish import roles
from taifish.api import router
from taifish.roles import permissions_of
from taifish.sidebar import SECTIONS, navigation
from taifish.tests.fleet import small_fleet

WHO = ["anonymous", "nobody", *roles.ROLES, "superuser"]
#: Pages that are no model's: route name → how it is asked for, and what it takes. None: it is open to all; []: to
#: whoever has logged in.
PAGES: dict[str, tuple[str, list[str] | None]] = {
    "who-can": ("get", ["accounts.view_grant", "accounts.view_account"]),
    "effective": ("get", ["accounts.view_grant", "accounts.view_account"]),
    "who-can-paths": ("get", ["accounts.view_grant", "accounts.view_account"]),
    "rights-matrix": ("get", ["accounts.view_grant", "accounts.view_account"]),
    "compare": ("get", ["accounts.view_grant", "accounts.view_account"]),
    "where-is": ("get", ["accounts.view_account"]),
    "my-items": ("get", ["reviews.decide_item"]),
    "unread-alerts": ("get", ["alerts.view_alert"]),
    "capacity-gaps": ("get", ["capacity.view_instancesize"]),
    "trends": ("get", ["aggregation.view_instanceaggregate"]),
    "backfill": ("post", ["aggregation.view_instanceaggregate", "sync.run_visits"]),
    "forecasts": ("get", ["planning.view_sizelimit"]),
    "filling-up": ("get", ["planning.view_sizelimit"]),
    "planning-report": ("get", ["planning.view_sizelimit"]),
    "leavers": (
        "get",
        ["accounts.view_account", "accounts.view_grant", "owners.view_person", "owners.view_ownership"],
    ),
    "end-dates": ("get", ["owners.view_enddate"]),
    "health": ("get", ["sync.view_syncsession"]),
    "search": ("get", []),
    "time-zone": ("get", []),
    "metrics": ("get", ["sync.view_syncsession"]),
    # They ask for the permission of the list that is named.
    "saved-views": ("get", []),
    "list-columns": ("post", []),
    "schema": ("get", []),
    "docs": ("get", []),
    "oidc-login": ("post", None),
    "oidc-callback": ("get", None),
}
LET_IN, KEPT_OUT = "let in", "kept out"


@dataclass(frozen=True)
class Case:
    """One thing that somebody may or may not ask for."""

    method: str
    url: str
    #: Who may, as the tables say.
    allowed: bool
    what: str


def held_by(who: str) -> set[str]:
    """What the table says that this role holds."""
    existing = {f"{app}.{name}" for app, name in Permission.objects.values_list("content_type__app_label", "codename")}
    if who == "superuser":
        return existing
    return permissions_of(who, existing) if who in roles.ROLES else set()


class Holder(AnonymousUser):
    """Somebody who holds what a table says, whatever is stored."""

    is_active = is_staff = is_authenticated = True

    def __init__(self, held: set[str]) -> None:
        self.held = held

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return perm in self.held

    def has_perms(self, perm_list: list[str], obj: object = None) -> bool:
        return self.held.issuperset(perm_list)

    def has_module_perms(self, module: str) -> bool:
        return any(perm.startswith(f"{module}.") for perm in self.held)


def request_of(held: set[str]) -> object:
    request = RequestFactory().get("/")
    request.user = Holder(held)
    return request


def pages_of_models(held: set[str]) -> Iterator[Case]:
    """List, form for a new row, page and deletion of a row, and every button, of each model in the admin.

    What a row's page says of its deletion is asked of a row that is not there, and so is what its buttons do: whoever
    may is told so, and nothing happens.
    """
    request = request_of(held)
    for model, pages in admin.site._registry.items():
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.order_by("pk").first()
        pk = row.pk if row else 0
        may = {
            "view": pages.has_view_permission(request) or pages.has_change_permission(request),
            "add": pages.has_add_permission(request),
            "delete": pages.has_delete_permission(request),
        }
        yield Case("get", reverse(f"admin:{name}_changelist"), may["view"], f"list of {name}")
        yield Case("get", reverse(f"admin:{name}_add"), may["add"], f"new {name}")
        yield Case("get", reverse(f"admin:{name}_change", args=[pk]), may["view"], f"page of {name}")
        yield Case("get", reverse(f"admin:{name}_delete", args=[0]), may["delete"], f"deletion of {name}")
        for button in pages.get_buttons(request) if hasattr(pages, "get_buttons") else ():
            allowed = may["view"] and button.permission in held
            where = ("_do_on_list", [button.name]) if button.on_list else ("_do", [0, button.name])
            yield Case("post", reverse(f"admin:{name}{where[0]}", args=where[1]), allowed, f"{button.name} of {name}")


def pages_of_ours(who: str, held: set[str]) -> Iterator[Case]:
    for name, (method, needed) in PAGES.items():
        allowed = needed is None or (who != "anonymous" and held.issuperset(needed))
        yield Case(method, reverse(name), allowed, f"page {name}")


def endpoints(held: set[str]) -> Iterator[Case]:
    """Each method of each route, of a row that is not there where it takes one."""
    methods = ViewAndModelPermissions()
    for route in router.urls:
        viewset = getattr(route.callback, "cls", None)
        if viewset is None or not hasattr(viewset, "queryset") or "format" in route.pattern.regex.groupindex:
            continue
        url = reverse(route.name, kwargs=dict.fromkeys(route.pattern.regex.groupindex, 0))
        model = viewset.queryset.model
        for method, action in route.callback.actions.items():
            if method == "head":
                continue
            own = getattr(viewset, "needs", {}).get(action)
            needed = (
                [*methods.get_required_permissions("GET", model), own]
                if own
                else methods.get_required_permissions(method.upper(), model)
            )
            yield Case(method, url, held.issuperset(needed), f"{method} {route.name}")


def outcome(answer: object) -> str:
    at_the_door = answer.status_code in (401, 403) or answer.headers.get("Location", "").startswith("/admin/login/")
    return KEPT_OUT if at_the_door else LET_IN


def somebody(who: str) -> User | None:
    """A person in that role; None is anonymous."""
    if who == "anonymous":
        return None
    if who == "superuser":
        return User.objects.create_superuser(who)
    user = User.objects.create_user(who, is_staff=True)
    if who in roles.ROLES:
        user.groups.add(Group.objects.get(role__key=who))
    return user


@pytest.fixture
def installed(db: None) -> Instance:
    roles.install()
    return small_fleet()


@pytest.mark.parametrize("who", WHO)
def test_every_page_and_endpoint(installed, who):
    """And the sidebar leads where one may go, and nowhere else."""
    user = somebody(who)
    browser = entered(user) if user else Client()
    program = client_of(user) if user else APIClient()
    held = held_by(who)
    wrong, broken, opened = [], [], set()
    cases = [(case, browser, {}) for case in chain(pages_of_models(held), pages_of_ours(who, held))]
    cases += [(case, program, {"format": "json"}) for case in endpoints(held)]
    for case, client, how in cases:
        answer = getattr(client, case.method)(case.url, **how if case.method != "get" else {})
        if (outcome(answer) == LET_IN) != case.allowed:
            wrong.append(f"{case.what}: {answer.status_code}, should be {LET_IN if case.allowed else KEPT_OUT}")
        if answer.status_code >= 500 or answer.status_code == 405:
            broken.append(f"{case.what}: {answer.status_code}")
        if answer.status_code == 200:
            opened.add(case.url)
    assert (wrong, broken) == ([], [])
    assert len(cases) > 150
    if user:
        home = browser.get(reverse("admin:index"))
        shown = {item["link"] for section in home.context["sidebar_navigation"] for item in section["items"]}
        assert shown == (opened | {reverse("admin:index")}) & {
            reverse(page) for _, pages in SECTIONS for *_, page in pages
        }
        assert all(f'href="{link}"' in home.text for link in shown)


def test_every_page_of_ours_is_in_the_table():
    named = {pattern.name for pattern in get_resolver().url_patterns if isinstance(pattern, URLPattern)}
    assert named - {None} == PAGES.keys()


def test_a_section_of_which_nothing_may_be_opened_is_not_in_the_sidebar(db):
    roles.install()
    titles = [str(section["title"]) for section in navigation(request_of(held_by("keeper")))]
    assert titles == ["", "Fleet", "System"]
    assert len(navigation(request_of(held_by("superuser")))) == len(SECTIONS)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_seven_entries_are_in_sight_and_no_two_have_one_name(language):
    with override(language):
        names = [str(title) for title, _ in SECTIONS if title]
        names += [str(name) for _, pages in SECTIONS for name, *_ in pages]
    assert len(SECTIONS) <= 7
    assert sorted(names) == sorted(set(names))


def test_only_the_section_of_the_page_is_open(installed):
    client = entered(somebody("superuser"))
    for url, section in ((reverse("admin:index"), None), (reverse("trends"), "Capacity")):
        text = client.get(url).text
        opened = re.findall(r'<details class="tf-nav" open>\s*<summary>(.*?)<', text)
        assert opened == ([section] if section else []), url


# What must hold whatever the tables say


def asked(who: str, method: str, url: str) -> str:
    user = somebody(who)
    client = entered(user) if url.startswith("/admin/") else client_of(user)
    return outcome(getattr(client, method)(url))


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("get", "/admin/accounts/account/", {"viewer", "operator", "manager", "auditor"}),
        ("get", "/admin/instances/credential/", {"viewer", "operator", "manager", "auditor", "keeper"}),
        ("get", "/admin/instances/credential/add/", {"keeper"}),
        ("get", "/admin/instances/instance/import/", {"manager"}),
        ("get", "/admin/auth/user/", set()),
        ("get", "/admin/audit/event/", {"auditor"}),
        ("get", "/api/audit/", {"auditor"}),
        ("get", "/admin/auth/group/", set()),
        ("post", "/admin/instances/instance/do/sync-accounts/", {"operator", "manager"}),
        ("post", "/admin/instances/instance/0/do/test/", {"operator", "manager"}),
        ("post", "/admin/instances/instance/0/do/retire/", {"manager"}),
        ("post", "/admin/sync/syncrecord/0/do/confirm/", {"manager"}),
        ("get", "/admin/django_celery_beat/periodictask/add/", {"manager"}),
        ("get", "/api/accounts/", {"viewer", "operator", "manager", "auditor"}),
        ("post", "/api/credentials/", {"keeper"}),
        ("patch", "/api/credentials/0/", {"keeper"}),
        ("post", "/api/sync-sessions/", {"operator", "manager"}),
        ("post", "/api/tags/bulk/assign/", {"operator", "manager"}),
        ("post", "/api/tags/", {"manager"}),
        ("post", "/api/sync-records/0/confirm-shrink/", {"manager"}),
        ("delete", "/api/instances/0/", {"manager"}),
        ("post", "/api/databases/0/tables/", {"operator", "manager"}),
    ],
)
def test_what_matters_most(db, method, url, allowed):
    roles.install()
    assert {who for who in ["nobody", *roles.ROLES] if asked(who, method, url) == LET_IN} == allowed


@pytest.mark.parametrize("edge", ["api", "admin"])
def test_where_a_password_is_sent_is_said_by_keepers_alone(installed, edge):
    """A manager edits instances; a new one, or a new address, takes the credential keeper's role as well."""
    manager = somebody("manager")
    both = User.objects.create_user("both", is_staff=True)
    both.groups.set(Group.objects.filter(role__key__in=["manager", "keeper"]))
    instance = Instance.objects.get(name="never-visited")
    url = f"/api/instances/{instance.pk}/"

    def move(user: User, host: str) -> None:
        if edge == "api":
            client_of(user).patch(url, {"host": host, "note": host}, format="json")
        else:
            page = entered(user).get(f"/admin/instances/instance/{instance.pk}/change/?edit=1")
            fields = {
                name: "" if value is None else value for name, value in page.context["adminform"].form.initial.items()
            }
            formsets = {
                f"{inline.formset.prefix}-{name}": 0
                for inline in page.context["inline_admin_formsets"]
                for name in ("TOTAL_FORMS", "INITIAL_FORMS")
            }
            entered(user).post(page.request["PATH_INFO"], {**fields, **formsets, "host": host, "note": host})
        instance.refresh_from_db()

    move(manager, "elsewhere")
    assert (instance.host, instance.note) == ("127.0.0.1", "elsewhere" if edge == "admin" else "")
    move(both, "moved")
    assert (instance.host, instance.note) == ("moved", "moved")
    # With keeping alone, nothing of an instance is edited.
    move_by_keeper = client_of(somebody("keeper")).patch(url, {"host": "again"}, format="json")
    assert move_by_keeper.status_code == 403


def test_every_permission_that_is_asked_for_is_in_some_role(db):
    """An app that brings a button or an endpoint says in taifish/roles.py who may use it."""
    existing = held_by("superuser")
    in_roles = set().union(*(permissions_of(key, existing) for key in roles.ROLES))
    request = request_of(existing)
    asked_for = {
        button.permission
        for pages in admin.site._registry.values()
        for button in (pages.get_buttons(request) if hasattr(pages, "get_buttons") else ())
    }
    asked_for |= {needed for _, viewset, _ in router.registry for needed in getattr(viewset, "needs", {}).values()}
    for model, pages in admin.site._registry.items():
        if model._meta.app_label not in ("auth", "axes"):
            verbs = {verb: getattr(pages, f"has_{verb}_permission")(request) for verb in ("add", "change", "delete")}
            asked_for |= {
                f"{model._meta.app_label}.{verb}_{model._meta.model_name}" for verb, may in verbs.items() if may
            }
    assert asked_for - in_roles == set()
