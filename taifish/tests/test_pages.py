"""Every page of the admin in a real browser, on what visits of a real PostgreSQL have found."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import resolve, reverse
from django.utils import timezone

from accounts.models import Account, AccountChange, AccountFilter
from aggregation import services as aggregation
from aggregation.models import DatabaseAggregate
from alerts import services as alerts
from alerts.models import Alert, AlertRule, Channel, Delivery
from capacity.models import Database, DatabaseFilter, DatabaseSize, InstanceSize
from classification.models import Assignment, Classification, ClassificationRule
from classification.services import assign, keep_rule
from drift.models import Baseline
from drift.services import save_state
from duties.models import DutyPair
from instances.models import Credential, Instance
from instances.tests.pages import entered as entered_client
from owners.models import EndDate, OwnerRule, Ownership, Person
from planning import services as planning
from planning.models import SizeLimit, Volume
from sync import services
from sync.models import SyncRecord, SyncSession, VisitHealth
from tagging.models import InstanceTag, Tag, TagLimit
from taifish import roles, schedules
from taifish.tests.browser import leave
from taifish.tests.test_matrix import held_by, request_of, somebody

pytestmark = pytest.mark.page

#: Pages that are looked at most.
MAIN = ("home", "session", "account", "instance", "database", "trends", "list-instances_instance")

ROLES = """
CREATE ROLE dba CREATEROLE;
CREATE ROLE reporting;
CREATE ROLE analysts IN ROLE reporting;
CREATE ROLE alice LOGIN PASSWORD 'x' VALID UNTIL '2027-01-01' IN ROLE analysts, dba;
CREATE ROLE bob LOGIN PASSWORD 'x' IN ROLE analysts;
CREATE ROLE "ends with blank " LOGIN;
CREATE ROLE "two
lines" LOGIN;
CREATE ROLE "<b>bold</b>" LOGIN;
CREATE ROLE "生产账户" LOGIN;
GRANT CREATE ON DATABASE postgres TO reporting;
GRANT pg_read_all_data TO reporting;
"""


def grown_since(instance: Instance, days: int) -> None:
    """Give its databases sizes for so many days before today, a little less each day back, with some days missing."""
    Instance.objects.filter(pk=instance.pk).update(created_at=timezone.now() - timedelta(days=days))
    Database.objects.filter(instance=instance).update(first_seen_at=timezone.now() - timedelta(days=days))
    latest = InstanceSize.objects.get(instance=instance)
    back = [number for number in range(1, days) if number % 40 not in (0, 1, 2)]
    DatabaseSize.objects.bulk_create(
        DatabaseSize(
            database=row.database,
            day=latest.day - timedelta(days=number),
            size=row.size - number * 20_000,
            collected_at=row.collected_at,
        )
        for row in DatabaseSize.objects.filter(database__instance=instance).select_related("database")
        for number in back
    )
    InstanceSize.objects.bulk_create(
        InstanceSize(
            instance=instance,
            day=latest.day - timedelta(days=number),
            size=latest.size - number * 20_000 * latest.n_databases,
            shared_size=latest.shared_size,
            shared=latest.shared,
            n_databases=latest.n_databases,
            is_complete=number != 5,
            collected_at=latest.collected_at,
        )
        for number in back
    )


@pytest.fixture
def visited(postgres18, transactional_db) -> Iterator[Instance]:
    """An instance that was visited twice, with a change in between, in the company of some that are not so well."""
    # What the first migration leaves, and a test before this one may have taken away.
    AccountFilter.objects.get_or_create(pattern="*", system_only=True)
    DatabaseFilter.objects.get_or_create(pattern="*", system_only=True)
    postgres18.reset()
    target = postgres18.collector("page_collector")
    for statement in ROLES.split(";\n"):
        if statement.strip():
            postgres18.execute(statement)
    user = User.objects.create_superuser("admin", password="Tr0ub4dor&3")
    credential = Credential.objects.create(
        name="collector", username=target.username, password=target.password, hosts="*"
    )
    instance = Instance.objects.create(
        name="orders-prod", engine="postgresql", host=target.host, port=target.port, credential=credential
    )
    for number in range(12):
        Instance.objects.create(
            name=f"shop-{number:02}", engine="mysql", host=f"shop{number}.example.org", credential=credential
        )
    Tag.objects.all().delete()
    prod = Tag.objects.create(slug="prod", label="Production", colour="#dc2626")
    InstanceTag.objects.create(instance=instance, tag=prod, added_by=user)
    TagLimit.objects.create(group=Group.objects.create(name="production people"), tag=prod)
    services.run_here(
        services.start("accounts", Instance.objects.filter(pk=instance.pk), trigger="schedule", enqueue=False)
    )
    postgres18.execute('GRANT reporting TO bob; DROP ROLE "<b>bold</b>"; ALTER ROLE alice NOLOGIN')
    services.run_here(
        services.start("accounts", Instance.objects.filter(pk=instance.pk), trigger="manual", enqueue=False)
    )
    services.run_here(
        services.start("capacity", Instance.objects.filter(pk=instance.pk), trigger="manual", enqueue=False)
    )
    grown_since(instance, days=120)
    SizeLimit.objects.create(instance=instance, size=40 * 1024**2, note="its disk")
    SizeLimit.objects.create(tag=prod, size=30 * 1024**2)
    baseline = Baseline.objects.create(name="production", tag=prod, reference=instance)
    save_state(baseline)
    Account.objects.filter(name="alice").update(connection_limit=3)
    Volume.objects.create(name="shop", size=80 * 1024**2).instances.add(instance)
    planning.compute()
    today = timezone.localdate()
    services.run_here(aggregation.backfill("all", today - timedelta(days=120), today, trigger="command", enqueue=False))
    failing = Instance.objects.get(name="shop-01")
    session = SyncSession.objects.create(
        kind="accounts", trigger="schedule", status="partial", finished_at=timezone.now()
    )
    for status, name, fields in (
        ("completed", "shop-00", {"summary": {"accounts": 12, "appeared": 1, "server": "MariaDB 10.11"}}),
        (
            "failed",
            "shop-01",
            {
                "error_code": "auth_failed",
                "message": "Access denied for user 'taifish'",
                "advice": "Look at the password.",
            },
        ),
        (
            "failed",
            "shop-02",
            {
                "error_code": "suspicious_shrink",
                "parameters": {"what": "accounts", "present": 12, "ending": 12},
                "held_count": 12,
            },
        ),
        (
            "partial",
            "shop-03",
            {
                "gaps": [
                    {
                        "scope": "routine",
                        "database": "",
                        "code": "denied",
                        "message": "SELECT on mysql.procs_priv is missing",
                        "hint": "Grant it.",
                    }
                ]
            },
        ),
        ("skipped", "shop-04", {"error_code": "paused"}),
    ):
        SyncRecord.objects.create(
            session=session,
            instance=Instance.objects.get(name=name),
            kind="accounts",
            status=status,
            attempt=1,
            started_at=timezone.now() - timedelta(seconds=40),
            finished_at=timezone.now(),
            **fields,
        )
    VisitHealth.objects.create(
        instance=failing,
        kind="accounts",
        failures=5,
        paused_at=timezone.now(),
        failed_at=timezone.now(),
        error_code="auth_failed",
        message="Access denied",
    )
    ClassificationRule.objects.all().delete()
    Classification.objects.all().delete()
    privileged = Classification.objects.create(code="privileged", name="Privileged", risk="critical", colour="#dc2626")
    expression = 'superuser or member_of("dba") or unused_days > 90 and not has("CREATE", on="postgres")'
    keep_rule(ClassificationRule(classification=privileged, code="admins", name="Admins", expression=expression), user)
    # What follows the visits, and is otherwise the workers' to do.
    for session in SyncSession.objects.filter(kind="classification", status="running"):
        services.run_here(session)
    assign(Account.objects.get(name="bob"), privileged, "on call this week", user)
    alice = Person.objects.create(name="Alice Li", mail="alice@example.com", external_id="E1")
    Ownership.objects.create(account=Account.objects.get(name="alice"), owner=alice, kind="person", ticket="T-1")
    OwnerRule.objects.create(match="pattern", pattern="adm_{mail_name}")
    DutyPair.objects.create(
        name="Create and administer",
        reason="Nobody creates what nobody else looks at.",
        first_classification=privileged,
        second_privilege="CREATE",
        second_on="postgres",
    )
    for days, who in ((-1, "alice"), (5, "bob")):
        EndDate.objects.create(
            account=Account.objects.get(name=who),
            of="account",
            ends_on=timezone.localdate() + timedelta(days=days),
            reason="the project ends",
            approver="Bob",
        )
    channel = Channel(name="on call", kind="feishu")
    channel.url = "https://open.example.org/hook/1"
    channel.save()
    rule = AlertRule.objects.create(name="Paused ones", kind="paused", active=True)
    rule.channels.add(channel)
    alerts.evaluate()
    schedules.install()
    yield instance
    postgres18.reset()


@pytest.fixture
def entered(browser_page, live_server, visited):
    """The browser's page, with the admin logged in."""
    browser_page.goto(f"{live_server.url}{reverse('admin:login')}")
    browser_page.fill("[name=username]", "admin")
    browser_page.fill("[name=password]", "Tr0ub4dor&3")
    browser_page.click("button[type=submit]")
    browser_page.wait_for_url(f"**{reverse('admin:index')}")
    return browser_page


def urls(instance: Instance) -> dict[str, str]:
    """Every page, by the name of its picture."""
    alice = Account.objects.get(name="alice")
    pages = {
        "home": reverse("admin:index"),
        "instance": reverse("admin:instances_instance_change", args=[instance.pk]),
        "account": reverse("admin:accounts_account_change", args=[alice.pk]),
        "session": reverse(
            "admin:sync_syncsession_change", args=[SyncSession.objects.filter(status="partial").earliest("pk").pk]
        ),
        "record": reverse("admin:sync_syncrecord_change", args=[SyncRecord.objects.get(held_count=12).pk]),
        "health": reverse("admin:sync_visithealth_change", args=[VisitHealth.objects.get(failures=5).pk]),
        "change": reverse("admin:accounts_accountchange_change", args=[AccountChange.objects.first().pk]),
        "filter": reverse("admin:accounts_accountfilter_change", args=[AccountFilter.objects.get().pk]),
        "database": reverse("admin:capacity_database_change", args=[Database.objects.get(name="postgres").pk]),
        "database-filter": reverse("admin:capacity_databasefilter_change", args=[DatabaseFilter.objects.get().pk]),
        "capacity-gaps": reverse("capacity-gaps"),
        "trends": f"{reverse('trends')}?period=weekly",
        "forecasts": reverse("forecasts"),
        "limit": reverse("admin:planning_sizelimit_change", args=[SizeLimit.objects.get(tag=None).pk]),
        "volume": reverse("admin:planning_volume_change", args=[Volume.objects.get().pk]),
        "baseline": reverse("admin:drift_baseline_change", args=[Baseline.objects.get().pk]) + f"?sql={instance.pk}",
        "baseline-edit": reverse("admin:drift_baseline_change", args=[Baseline.objects.get().pk]) + "?edit=1",
        "duty-pair": reverse("admin:duties_dutypair_change", args=[DutyPair.objects.get().pk]),
        "duty-pair-edit": reverse("admin:duties_dutypair_change", args=[DutyPair.objects.get().pk]) + "?edit=1",
        "filling-up": f"{reverse('filling-up')}?days=365",
        "filling-up-one": f"{reverse('filling-up')}?of=tag-{Tag.objects.get().pk}",
        "planning-report": reverse("planning-report"),
        "aggregate": reverse(
            "admin:aggregation_databaseaggregate_change", args=[DatabaseAggregate.objects.order_by("pk")[0].pk]
        ),
        "alert": reverse("admin:alerts_alert_change", args=[Alert.objects.get().pk]),
        "alert-rule": reverse("admin:alerts_alertrule_change", args=[AlertRule.objects.get(active=True).pk]),
        "alert-channel": reverse("admin:alerts_channel_change", args=[Channel.objects.get().pk]),
        "alert-delivery": reverse("admin:alerts_delivery_change", args=[Delivery.objects.get().pk]),
        "system-health": reverse("health"),
        "who-can": f"{reverse('who-can')}?privilege=CREATE&on=postgres&engine=postgresql",
        "who-can-scope": f"{reverse('who-can')}?privilege=any-write&scope=postgres.public.orders",
        "who-can-wrong": f"{reverse('who-can')}?privilege=SELECT&on=postgres.public.ordres",
        "rights-matrix": f"{reverse('rights-matrix')}?instance=orders-prod&on=postgres",
        "compare": f"{reverse('compare')}?instance=orders-prod&account=alice&other_account=bob",
        "where-is": f"{reverse('where-is')}?name=a*",
        "my-items": reverse("my-items"),
        "group": reverse("admin:auth_group_change", args=[Group.objects.get(name="production people").pk]),
        "user": reverse("admin:auth_user_change", args=[User.objects.get(username="admin").pk]),
        "login-sessions": reverse("login-sessions"),
        "time-zone": reverse("time-zone"),
        "second-factor": reverse("mfa_index"),
        "tag": reverse("admin:tagging_tag_change", args=[Tag.objects.get().pk]),
        "credential": reverse("admin:instances_credential_change", args=[instance.credential_id]),
        "instance-import": reverse("admin:instances_instance_import"),
        "classification": reverse("admin:classification_classification_change", args=[Classification.objects.get().pk]),
        "rule": reverse("admin:classification_classificationrule_change", args=[ClassificationRule.objects.get().pk]),
        "assignment": reverse("admin:classification_assignment_change", args=[Assignment.objects.get(rule=None).pk]),
        "account-why": reverse("admin:accounts_account_change", args=[alice.pk])
        + f"?tab=classifications&why={Assignment.objects.get(account=alice, until=None).pk}",
        "person": reverse("admin:owners_person_change", args=[Person.objects.get().pk]),
        "leavers": f"{reverse('leavers')}?people=E1%0Abob",
        "end-dates": reverse("end-dates"),
        "end-date": reverse("admin:owners_enddate_change", args=[EndDate.objects.first().pk]),
        "add-end-date": f"{reverse('admin:owners_enddate_add')}?account={alice.pk}",
        "owner": reverse("admin:owners_ownership_change", args=[Ownership.objects.get().pk]),
        "search": reverse("search") + "?q=a",
        "search-nothing": reverse("search") + "?q=no+such+name",
        "all-accounts": reverse("admin:accounts_account_changelist") + "?gone=all&filtered=all",
    }
    for tab in ("effective", "roles", "members", "ended", "left", "changes", "classifications"):
        pages[f"account-{tab}"] = f"{pages['account']}?tab={tab}"
    for name in ("instance", "credential", "classification"):
        pages[f"{name}-edit"] = f"{pages[name]}?edit=1"
    pages["timeline"] = reverse("admin:instances_instance_timeline", args=[instance.pk])
    for name in (
        "instances_instance",
        "instances_credential",
        "tagging_tag",
        "accounts_account",
        "accounts_accountchange",
        "accounts_accountfilter",
        "capacity_database",
        "capacity_databasefilter",
        "aggregation_instanceaggregate",
        "aggregation_databaseaggregate",
        "planning_sizelimit",
        "planning_volume",
        "drift_baseline",
        "drift_accepteddeviation",
        "duties_dutypair",
        "duties_acceptedconflict",
        "classification_classification",
        "classification_classificationrule",
        "classification_assignment",
        "owners_person",
        "owners_ownership",
        "owners_enddate",
        "owners_ownerrule",
        "reviews_campaign",
        "reviews_item",
        "alerts_alert",
        "alerts_alertrule",
        "alerts_channel",
        "alerts_delivery",
        "sync_syncsession",
        "sync_syncrecord",
        "sync_visithealth",
        "django_celery_beat_periodictask",
        "auth_user",
        "auth_group",
        "tagging_tagoperation",
        "taifish_apitoken",
        "axes_accessattempt",
        "audit_event",
    ):
        pages[f"list-{name}"] = reverse(f"admin:{name}_changelist")
    for name in (
        "instances_instance",
        "instances_credential",
        "tagging_tag",
        "planning_sizelimit",
        "planning_volume",
        "drift_baseline",
        "duties_dutypair",
        "accounts_accountfilter",
        "classification_classification",
        "classification_classificationrule",
        "classification_assignment",
        "owners_person",
        "owners_ownership",
        "owners_enddate",
        "owners_ownerrule",
        "reviews_campaign",
        "alerts_alertrule",
        "alerts_channel",
        "django_celery_beat_periodictask",
        "django_celery_beat_crontabschedule",
        "auth_user",
        "taifish_apitoken",
    ):
        pages[f"add-{name}"] = reverse(f"admin:{name}_add")
    return pages


def faults(page) -> list[str]:
    """What axe-core finds seriously wrong for people who cannot see, or cannot see well. The select boxes that search
    are a library's own, and left out."""
    found = (
        Axe().run(page, {"exclude": [[".select2-container"]]}, {"resultTypes": ["violations"]}).response["violations"]
    )
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


#: Widths, color schemes and languages in which pages are looked at.
LOOKS = [*itertools.product([1440, 390], ["light", "dark"], [code for code, _ in settings.LANGUAGES])]


def show(page, live_server, width: int, scheme: str, language: str) -> None:
    page.context.add_cookies([{"name": settings.LANGUAGE_COOKIE_NAME, "value": language, "url": live_server.url}])
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 950})


def test_every_page_opens_without_errors(entered, live_server, visited, picture):
    """And everybody can read it: each page in one of its looks by turns, and in all of them in `make looks`."""
    for (name, url), look in zip(urls(visited).items(), itertools.cycle(LOOKS), strict=False):
        show(entered, live_server, *look)
        answer = entered.goto(live_server.url + url)
        assert answer.status == 200, url
        assert entered.locator("h1").count() == 1, url
        # The page itself is never wider than the window: what is wide scrolls in its place.
        assert entered.evaluate("document.documentElement.scrollWidth") <= look[0], (url, look)
        assert faults(entered) == [], (url, look)
        picture("-".join(map(str, (name, *look))))


#: The classes of the elements that can be scrolled sideways.
SCROLLING = """
[...document.querySelectorAll("main *, #content *")].filter(
    (part) => getComputedStyle(part).overflowX === "auto" && part.scrollWidth > part.clientWidth + 1
).map((part) => part.className)
"""
FIRST_NAME = "getComputedStyle(document.querySelector('.tf-boxes td'), '::before').content"


@pytest.mark.page
def test_on_a_phone_nothing_scrolls_sideways(entered, live_server, visited, picture):
    """Home, lists, who can, an account and a session: also what scrolls in its place elsewhere fits; cells have names."""
    show(entered, live_server, 390, "light", "en")
    scrolling = {}
    for name, url in urls(visited).items():
        if name in ("home", "who-can", "session", "account") or name.startswith(("account-", "list-")):
            entered.goto(live_server.url + url)
            if found := entered.evaluate(SCROLLING):
                scrolling[name] = found
            if name in ("who-can", "session"):
                assert entered.evaluate(FIRST_NAME) == '"Instance"', name
            picture(f"{name}-phone")
    assert scrolling == {}


@pytest.mark.page
def test_a_path_is_completed_while_it_is_typed(entered, live_server, visited):
    """Part by part, from what visits read; the answer follows."""
    entered.goto(f"{live_server.url}{reverse('who-can')}")
    entered.fill("[name=privilege]", "CREATE")
    entered.select_option("[name=engine]", "postgresql")
    field = entered.locator("[name=on]")
    field.press_sequentially("POST")
    entered.wait_for_selector("#paths option[value='postgres']", state="attached")
    field.fill("postgres.pub")
    entered.wait_for_selector("#paths option[value='postgres.public']", state="attached")
    field.fill("postgres.public")
    entered.get_by_role("button", name="Ask").click()
    assert "page_collector" not in entered.inner_text("table")
    assert "As of" in entered.inner_text("section > h2")


@pytest.mark.looks
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("width", "scheme", "language"), LOOKS)
def test_every_page_fits_and_is_readable(entered, live_server, visited, picture, width, scheme, language):
    show(entered, live_server, width, scheme, language)
    wrong = []
    for name, url in urls(visited).items():
        entered.goto(live_server.url + url)
        found = faults(entered)
        if (wide := entered.evaluate("document.documentElement.scrollWidth")) > width:
            found.append(f"{wide} px wide")
        wrong += [f"{name}: {fault}" for fault in found]
        picture(f"{name}-{width}-{scheme}-{language}")
    assert "\n".join(wrong) == ""


def enter(page, live_server, user: User) -> None:
    """The browser with this person logged in."""
    session = entered_client(user).cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])


def opens(request, url: str) -> bool:
    """Whether the page behind an address is for whoever makes this request: what the tables of test_matrix say."""
    page = resolve(urlsplit(url).path).func
    pages = getattr(getattr(page, "__wrapped__", None), "__self__", None)
    if not isinstance(pages, ModelAdmin):
        return not hasattr(page, "may_open") or page.may_open(request)
    asks = {"add_view": "add", "delete_view": "delete", "import_action": "import", "export_action": "export"}
    return getattr(pages, f"has_{asks.get(page.__name__, 'view')}_permission")(request)


def presses(request, url: str) -> bool:
    """Whether a button that posts to this address is for whoever makes this request."""
    page = resolve(urlsplit(url).path)
    buttons = page.func.__wrapped__.__self__.get_buttons(request)
    button = next(button for button in buttons if button.name == page.kwargs["button"])
    return request.user.has_perm(button.permission)


def walked(role: str, names: Iterable[str], page, live_server, instance: Instance, keep=None) -> None:
    """Open these pages as somebody in a role; what is shut answers 403, and what is open offers nothing that is."""
    roles.install()
    request = request_of(held_by(role))
    enter(page, live_server, somebody(role))
    for name in names:
        url = urls(instance)[name]
        if not opens(request, url):
            assert page.request.get(live_server.url + url).status == 403, (role, url)
            continue
        assert page.goto(live_server.url + url).status == 200, (role, url)
        assert page.locator("h1").count() == 1, (role, url)
        links = page.eval_on_selector_all("a[href^='/admin/']", "all => all.map(one => one.getAttribute('href'))")
        assert [link for link in links if not opens(request, link)] == [], (role, url)
        buttons = page.eval_on_selector_all("[formaction]", "all => all.map(one => one.getAttribute('formaction'))")
        assert [button for button in buttons if not presses(request, button)] == [], (role, url)
        if keep:
            assert faults(page) == [], (role, url)
            keep(f"{role}-{name}")


def test_main_pages_as_each_role(browser_page, live_server, visited):
    for role in roles.ROLES:
        walked(role, [*MAIN, "credential", "add-instances_credential"], browser_page, live_server, visited)


# Which pages are open to whom, test_matrix asks without a browser.
@pytest.mark.looks
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", roles.ROLES)
def test_every_page_as_each_role(role, browser_page, live_server, visited, picture):
    walked(role, urls(visited), browser_page, live_server, visited, picture)


def test_saving_a_group_keeps_its_permissions(entered, live_server):
    roles.install()
    group = Group.objects.get(role__key="viewer")
    held = set(group.permissions.all())
    entered.goto(live_server.url + reverse("admin:auth_group_change", args=[group.pk]))
    assert entered.locator(".select2-selection__choice").count() == len(held) > 20
    entered.fill("[name=name]", "Readers")
    entered.get_by_role("button", name="Save", exact=True).click()
    entered.wait_for_url(f"**{reverse('admin:auth_group_changelist')}")
    group.refresh_from_db()
    assert (group.name, set(group.permissions.all())) == ("Readers", held)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_a_new_token_and_of_a_locked_login(scheme, browser_page, live_server, transactional_db, picture):
    browser_page.emulate_media(color_scheme=scheme)
    roles.install()
    enter(browser_page, live_server, somebody("viewer"))
    browser_page.goto(live_server.url + reverse("admin:taifish_apitoken_add"))
    browser_page.fill("[name=name]", "nightly report")
    browser_page.get_by_role("button", name="Save", exact=True).click()
    browser_page.get_by_text("taifish_").first.wait_for()
    assert faults(browser_page) == []
    picture(f"{scheme}-token")
    leave(browser_page)
    # What a person sees, and not as an answer of the server, which the browser tells as an error: 429 is meant.
    tried = Client(REMOTE_ADDR="127.0.0.1")
    for _ in range(settings.AXES_FAILURE_LIMIT):
        answer = tried.post(reverse("admin:login"), {"username": "viewer", "password": "wrong"})
    assert answer.status_code == 429
    browser_page.route("**/admin/login/", lambda route: route.fulfill(body=answer.text, content_type="text/html"))
    browser_page.goto(live_server.url + reverse("admin:login"))
    browser_page.get_by_text("Too many wrong passwords").wait_for()
    assert faults(browser_page) == []
    picture(f"{scheme}-locked")
    browser_page.emulate_media(color_scheme="light")


def test_sync_now_from_the_page_of_an_instance(entered, live_server, visited, postgres18, picture):
    """F1, F6.3: one click starts a session, its page follows it to the end by itself, and the accounts are there."""
    postgres18.execute("CREATE ROLE newcomer LOGIN")
    entered.goto(live_server.url + reverse("admin:instances_instance_change", args=[visited.pk]))
    entered.click("text=Sync accounts now")
    entered.wait_for_url("**/admin/sync/syncsession/*/change/")
    session = SyncSession.objects.latest("pk")
    assert (session.trigger, session.requested_by.username) == ("manual", "admin")
    live = entered.locator("[data-live]")
    assert "0 of 1 visits have ended" in live.inner_text()
    assert live.get_by_role("button", name="Cancel").is_visible()
    picture("session-running")
    services.run_here(session)
    entered.wait_for_selector("[data-open='0']")
    assert "1 of 1 visits have ended" in live.inner_text()
    assert "1 appeared" in live.inner_text()
    assert live.get_by_role("button", name="Cancel").count() == 0
    entered.goto(f"{live_server.url}{reverse('admin:accounts_account_changelist')}?q=newcomer")
    assert entered.locator("#result_list tbody tr").count() == 1


def test_sync_all_and_cancel(entered, live_server, visited):
    """F1, F6.3, F1.11"""
    entered.goto(live_server.url + reverse("admin:instances_instance_changelist"))
    entered.click("text=Sync all accounts")
    entered.wait_for_url("**/admin/sync/syncsession/*/change/")
    assert "0 of 13 visits have ended" in entered.locator("[data-live]").inner_text()
    entered.get_by_role("button", name="Cancel").click()
    entered.wait_for_selector("[data-open='0']")
    assert SyncSession.objects.latest("pk").status == "cancelled"


def test_confirming_a_shrink_asks_first(entered, live_server, visited, picture):
    """F1.6: a held visit is confirmed on a page that says what is confirmed."""
    entered.goto(live_server.url + urls(visited)["session"])
    entered.get_by_role("button", name="Confirm: 12 are really gone").click()
    assert "12 of 12 accounts would end at once" in entered.locator("#content").inner_text()
    picture("confirm")
    before = SyncSession.objects.count()
    entered.get_by_role("button", name="Confirm that they are really gone").click()
    entered.wait_for_url("**/admin/sync/syncsession/*/change/")
    assert SyncSession.objects.count() == before + 1
    assert SyncRecord.objects.latest("pk").confirmed_count == 12


def test_a_filter_says_what_it_will_hide_while_it_is_typed(entered, live_server, visited, picture):
    """F2.4 for accounts: what a filter does is seen before it is saved."""
    entered.goto(live_server.url + reverse("admin:accounts_accountfilter_add"))
    entered.fill("[name=pattern]", "a*")
    entered.wait_for_selector("text=It matches 2 present accounts.")
    assert "When saved, it hides 2 more." in entered.locator("[data-preview]").inner_text()
    picture("filter-preview")
    entered.fill("[name=pattern]", "no such name")
    entered.wait_for_selector("text=It matches 0 present accounts.")


def test_an_import_is_previewed_and_then_done(entered, live_server, visited, tmp_path, picture):
    file = tmp_path / "instances.csv"
    file.write_text("name,engine,host,credential,tags\nlab-1,postgresql,lab1,collector,prod\nlab-2,db2,lab2,nobody,\n")
    entered.goto(live_server.url + reverse("admin:instances_instance_import"))
    entered.set_input_files("[name=import_file]", file)
    entered.get_by_role("button", name="Submit").click()
    entered.wait_for_selector("text=There is no credential named “nobody”.")
    picture("import-wrong")
    file.write_text("name,engine,host,credential,tags\nlab-1,postgresql,lab1,collector,prod\n")
    entered.set_input_files("[name=import_file]", file)
    entered.get_by_role("button", name="Submit").click()
    picture("import-preview")
    assert not Instance.objects.filter(name="lab-1").exists()
    entered.get_by_role("button", name="Confirm import").click()
    entered.wait_for_selector("text=1 new")
    assert [tag.slug for tag in Instance.objects.get(name="lab-1").tags.all()] == ["prod"]


def test_the_filters_of_a_list_can_be_opened_and_applied(entered, live_server, visited, picture):
    entered.goto(live_server.url + reverse("admin:instances_instance_changelist"))
    entered.locator("#changelist a", has_text="Filters").first.click()
    picture("filters-open")
    entered.select_option("[name=last_accounts]", "failed")
    entered.get_by_role("button", name="Apply Filters").click()
    entered.wait_for_url("**last_accounts=failed**")
    assert entered.locator("#result_list tbody tr").count() == 2


def test_tagging_many_from_choice_to_receipt_and_undo(entered, live_server, visited, picture):
    """F4.1, F4.3: tags are chosen, the effect is previewed, and the receipt can be undone."""
    Tag.objects.create(slug="orders", label="Orders", category="department", colour="#0ea5e9")
    entered.goto(live_server.url + reverse("admin:instances_instance_changelist"))
    entered.locator("#action-toggle").check()
    entered.select_option("[name=action]", "add_tags")
    entered.locator("#changelist-form button[type=submit]", has_text="Run").first.click()
    entered.get_by_text("13 instances are selected.").wait_for()
    entered.get_by_label("Production").check()
    entered.get_by_label("Orders").check()
    entered.get_by_role("button", name="Preview").click()
    entered.get_by_text("25 pairs of instance and tag would be added, 1 exist already.").wait_for()
    picture("tags-preview")
    entered.get_by_role("button", name="Add tags").click()
    entered.wait_for_url("**/admin/tagging/tagoperation/*/change/")
    assert "25 added" in entered.locator("#content").inner_text()
    picture("tags-receipt")
    entered.get_by_role("button", name="Undo").click()
    picture("tags-undo")
    entered.get_by_role("button", name="Undo").click()
    entered.get_by_text("25 removed").wait_for()
    assert InstanceTag.objects.count() == 1


def test_the_largest_tables_are_asked_for_from_the_page_of_a_database(entered, live_server, visited, picture):
    """F2: never by default, and nothing of it is stored."""
    entered.goto(live_server.url + urls(visited)["database"])
    assert entered.locator("canvas.chart").count() == 2
    entered.get_by_role("button", name="Largest tables").click()
    entered.get_by_text("pg_catalog.pg_proc").wait_for()
    picture("database-tables")


def test_a_rule_is_written_checked_tried_and_saved(entered, live_server, visited, picture):
    """F5.3, F5.6: what is wrong is said while it is typed, and who would gain and lose it before it is saved."""
    entered.goto(live_server.url + urls(visited)["rule"])
    entered.fill("[name=expression]", "can_login and\n  loked")
    entered.wait_for_selector("text=Line 2, column 3: There is no word loked. Did you mean locked?")
    picture("rule-wrong")
    entered.fill("[name=expression]", 'can_login and has("CREATEDB") or member_of("analysts") or unused_days > 90')
    entered.wait_for_selector("text=The rule is valid.")
    entered.get_by_role("button", name="Preview").click()
    entered.wait_for_selector("text=would gain it")
    told = entered.locator("[data-preview]").inner_text()
    assert "would lose it" in told
    assert "bob" in told
    picture("rule-tried")
    with entered.expect_download() as download:
        entered.get_by_role("button", name="CSV").click()
    assert "gained" in download.value.path().read_text("utf-8-sig")
    entered.locator("summary", has_text="Words of the rule language").click()
    picture("rule-help")
    entered.get_by_role("button", name="Save", exact=True).click()
    entered.wait_for_url("**/classificationrule/")
    assert ClassificationRule.objects.get().version == 2


def test_why_an_account_is_classified_is_on_its_page(entered, live_server, visited, picture):
    """Issue 7: the page of an account tells its classifications and why."""
    alice = Account.objects.get(name="alice")
    entered.goto(f"{live_server.url}{reverse('admin:accounts_account_change', args=[alice.pk])}?tab=classifications")
    assert entered.locator(".tf-card .tf-badges", has_text="Privileged").count() == 1
    entered.get_by_role("link", name="Why?").click()
    entered.wait_for_selector("text=through dba")
    picture("why")


def test_accounts_are_classified_from_the_list_and_by_hand(entered, live_server, visited, picture):
    entered.goto(live_server.url + reverse("admin:classification_classification_changelist"))
    entered.get_by_role("button", name="Classify all accounts now").click()
    entered.wait_for_url("**/admin/sync/syncsession/*/change/")
    session = SyncSession.objects.latest("pk")
    assert (session.kind, session.trigger) == ("classification", "manual")
    services.run_here(session)
    entered.wait_for_selector("[data-open='0']")
    picture("classification-session")
    entered.goto(live_server.url + urls(visited)["assignment"])
    entered.get_by_role("button", name="Withdraw").click()
    entered.get_by_role("button", name="Withdraw").click()
    entered.wait_for_selector("text=Withdrawn.")
    assert not Assignment.objects.current().filter(rule=None).exists()
