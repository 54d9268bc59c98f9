"""A person who is limited to a tag: no page, no file and no answer of the API names what they do not see.

Of everything there are two, of a visible instance and of a hidden one; all names of the hidden one hold one word. Pages
and endpoints come from the admin site, the URLs and the router; so what comes later is covered.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, AccountChange, AccountFilter, Coverage, Grant, Membership, RoleReach
from aggregation.models import DatabaseAggregate, InstanceAggregate
from aggregation.periods import Period, last_closed
from alerts.models import Alert, AlertRule, Channel, Delivery
from capacity.models import (
    Database,
    DatabaseFilter,
    DatabaseSize,
    InstanceSize,
    TableSize,
    Tablespace,
    TablespaceSize,
)
from classification.models import Assignment, Classification, ClassificationCount, ClassificationRule, RuleResult
from console import xlsx
from console.list_filters import ParameterFilter
from console.visibility import CONDITIONS, ShownRows, ShownRowsOfAPI, path_to_instance, shown_to
from drift.models import AcceptedDeviation, Baseline
from duties.models import AcceptedConflict, DutyPair
from instances.models import Credential, Instance
from instances.tests.api import client_of
from instances.tests.pages import entered, without_random_words
from owners.models import EndDate, OwnerRule, Ownership, Person
from planning.models import SizeLimit, Volume
from planning.services import compute
from sync import services as sync
from sync.models import SyncRecord, SyncSession, VisitHealth
from tagging import services as tagging
from tagging.models import InstanceTag, Tag, TagLimit, TagOperation
from taifish import roles, schedules
from taifish.api import router
from taifish.tests.test_matrix import PAGES

SEEN, HIDDEN = "aardvark", "zebra"

#: Models of ours that do not lead to an instance, or of which all see all, and why.
OF_ALL = {
    "taifish.Role": "which group is which role",
    "taifish.ApiToken": "a person's own",
    "taifish.SavedView": "a person's own, or shared with all: names and filters, no rows",
    "taifish.InstalledSchedule": "shown nowhere",
    "taifish.Identity": "superusers' alone",
    "taifish.SecondFactorGroup": "superusers' alone",
    "tagging.TagLimit": "superusers' alone",
    "alerts.Channel": "of the fleet; addresses are not shown",
    "classification.Classification": "of the fleet; its counts are narrowed",
    "classification.ClassificationRule": "of the fleet; its results are narrowed",
    "classification.RuleVersion": "of the fleet",
    "classification.ClassificationCount": "of the fleet, and not told to limited people",
    "aggregation.ChangedDay": "shown nowhere",
    "owners.Person": "of the fleet; accounts are narrowed",
    "duties.DutyPair": "of the fleet; its conflicts are narrowed",
    "reviews.SigningKey": "one for all; only its public part is shown",
    "planning.VolumeRead": "on the Health page, which is of the fleet",
}


def everything_of(word: str, shared: dict[str, Any]) -> Instance:
    """An instance and all that can hang on one. Nothing answers at its address."""
    now, today = timezone.now(), timezone.localdate()
    credential = Credential.objects.create(name=f"{word}-login", username=f"{word}-collector", note=word)
    instance = Instance.objects.create(
        name=f"{word}-db",
        engine="postgresql",
        host=f"{word}.invalid" if word == HIDDEN else "127.0.0.1",
        port=1,
        connect_timeout=1,
        credential=credential,
        note=f"{word} note",
        version=f"18 {word}",
        product="PostgreSQL",
    )
    tag = Tag.objects.create(slug=f"{word}-tag", label=f"{word} label", category=word)
    InstanceTag.objects.create(instance=instance, tag=tag)
    pairs = {"added": [{"tags": [tag.pk], "instances": [instance.pk]}]}
    TagOperation.objects.create(action="assign", finished_at=now, outcomes=pairs)
    for kind in ("accounts", "capacity"):
        own = SyncSession.objects.create(kind=kind, trigger="manual", status="failed", finished_at=now)
        for session in (own, shared["session"]) if kind == "accounts" else (own,):
            SyncRecord.objects.create(
                session=session,
                instance=instance,
                kind=kind,
                status="failed",
                error_code="suspicious_shrink",
                message=f"{word} went wrong",
                advice=f"ask {word}",
                held_count=9,
                gaps=[{"scope": "table", "database": word, "message": word, "hint": word}],
                finished_at=now,
            )
        VisitHealth.objects.create(instance=instance, kind=kind, failures=5, message=word, failed_at=now, paused_at=now)
    Coverage.objects.create(
        instance=instance,
        level="A",
        covered=["database"],
        beyond=["column"],
        gaps=[{"scope": "table", "database": "", "code": "denied", "message": f"no {word}", "hint": ""}],
        since=now,
        read_at=now,
    )
    seen = {"instance": instance, "first_seen_at": now}
    role = Account.objects.create(name=f"{word}-role", kind="role", **seen)
    account = Account.objects.create(name=f"{word}-user", kind="user", can_login=True, is_superuser=True, **seen)
    holds = {"admin_option": False, "inherit": True, "set_option": True, "since": now, "held_since": now}
    Membership.objects.create(member=account, role=role, **holds)
    RoleReach.objects.create(
        member=account, role=role, depth=1, via=account, inherits=True, can_set=True, is_admin=False
    )
    for privilege in ("SELECT", f"{word.upper()}_READ"):
        Grant.objects.create(
            account=role,
            kind="table",
            scope=f"{word}.public.orders",
            database=word,
            privilege=privilege,
            grantable=False,
            denied=False,
            since=now,
            held_since=now,
        )
    AccountChange.objects.create(
        account=account, at=now, events=["appeared"], details={"attributes": {"auth_method": [None, word]}}
    )
    AccountFilter.objects.create(pattern=f"{word}*x", instance=instance, note=word)
    database = Database.objects.create(name=f"{word}_shop", size=2048, size_day=today, last_seen_at=now, **seen)
    DatabaseFilter.objects.create(pattern=f"{word}*x", instance=instance, note=word)
    TableSize.objects.create(database=database, day=today, schema=word, name=f"{word}_orders", size=9, is_complete=True)
    tablespace = Tablespace.objects.create(name=f"{word}_ts", database=database, last_seen_at=now, **seen)
    TablespaceSize.objects.create(tablespace=tablespace, day=today, size=9, collected_at=now)
    # Enough days for a forecast.
    for day in (today - timedelta(days=ago) for ago in range(20)):
        DatabaseSize.objects.create(database=database, day=day, size=2048, collected_at=now)
        InstanceSize.objects.create(
            instance=instance,
            day=day,
            size=3072,
            shared_size=1024,
            shared={word: 1024},
            n_databases=1,
            is_complete=True,
            collected_at=now,
        )
    Instance.objects.filter(pk=instance.pk).update(created_at=now - timedelta(days=40))
    for period in Period:
        span = last_closed(period, today)
        figures = dict.fromkeys(["avg_size", "min_size", "max_size", "first_size", "last_size", "change"], 2048) | {
            "period": period.value,
            "start": span.first,
            "end": span.last,
            "days_collected": 1,
            "days_expected": 2,
            "computed_at": now,
        }
        DatabaseAggregate.objects.create(database=database, **figures)
        InstanceAggregate.objects.create(instance=instance, days_complete=1, **figures)
    for target in ({"instance": instance}, {"database": database}, {"tablespace": tablespace}, {"tag": tag}):
        SizeLimit.objects.create(**target, size=1 << 10, note=f"{word} disk")
    Volume.objects.create(name=f"{word}:/data", size=1 << 40, note=word).instances.add(instance)
    baseline = Baseline.objects.create(name=f"{word} baseline", tag=tag, reference=instance, note=word)
    for accepted_for in (baseline, shared["baseline"]):
        AcceptedDeviation.objects.create(
            baseline=accepted_for, instance=instance, key=word, account=word, deviation=word, reason=f"{word} may"
        )
    manual = {
        "account": account,
        "instance": instance,
        "classification": shared["classification"],
        "since": now,
    }
    Assignment.objects.create(reason=f"{word} said so", **manual)
    Ownership.objects.create(account=account, owner=shared["person"], note=f"{word} note", ticket=f"{word}-1")
    OwnerRule.objects.create(match="pattern", pattern=f"{word}-{{mail_name}}", tag=tag)
    AcceptedConflict.objects.create(
        pair=shared["pair"], account=account, first=[account.pk], second=[account.pk], reason=f"{word} may"
    )
    EndDate.objects.create(account=account, of="membership", role=role, ends_on=today, reason=word, approver=word)
    Assignment.objects.create(rule=shared["rule"], rule_version=1, **manual)
    RuleResult.objects.create(rule=shared["rule"], instance=instance, version=1, at=now, message=f"{word} failed")
    mine = AlertRule.objects.create(name=f"{word} paused", kind="paused", tag=tag, active=True)
    for found_by in (mine, shared["alert_rule"]):
        Alert.objects.create(
            rule=found_by, instance=instance, key=word, text=f"{word} is paused", first_seen_at=now, last_seen_at=now
        )
    digest = {"subject": f"{word} is paused", "opened": [], "resolved": []}
    Delivery.objects.create(channel=shared["channel"], digest=digest, status="failed")
    return instance


@pytest.fixture
def fleet(db: None) -> dict[str, Any]:
    """The instances by the words of their names, and what both share."""
    roles.install()
    schedules.install()
    now = timezone.now()
    classification = Classification.objects.create(code="risky", name="Risky")
    ClassificationCount.objects.create(classification=classification, day=timezone.localdate(), accounts=2, unknown=0)
    channel = Channel(name="on call", kind="feishu")
    channel.url = "https://open.example.org/hook/1"
    channel.save()
    shared: dict[str, Any] = {
        "classification": classification,
        "rule": ClassificationRule.objects.create(
            classification=classification, code="supers", name="Supers", expression="superuser"
        ),
        "session": SyncSession.objects.create(kind="accounts", trigger="manual", status="running"),
        "alert_rule": AlertRule.objects.create(name="All paused", kind="paused", active=True),
        "channel": channel,
        "person": Person.objects.create(name="Alice", external_id="E1", mail="user@example.com"),
        "baseline": Baseline.objects.create(name="All alike"),
        "pair": DutyPair.objects.create(
            name="Risky and powerful",
            reason="four eyes",
            first_classification=classification,
            second_privilege="all-powerful",
        ),
    }
    made = {word: everything_of(word, shared) for word in (SEEN, HIDDEN)}
    team = Tag.objects.create(slug="team", label="Team")
    InstanceTag.objects.create(instance=made[SEEN], tag=team)
    shared["baseline"].instances.set(made.values())
    # Full, and with the hidden instance in them.
    SizeLimit.objects.create(size=1)
    volume = Volume.objects.create(name=f"{HIDDEN} san", size=1)
    volume.instances.set([made[SEEN], made[HIDDEN]])
    compute()
    both = {"added": [{"tags": [team.pk], "instances": [instance.pk for instance in made.values()]}]}
    mixed = TagOperation.objects.create(action="assign", finished_at=now, outcomes=both)
    return made | shared | {"team": team, "mixed": mixed}


def with_all_roles(name: str) -> User:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.set(Group.objects.filter(role__isnull=False))
    return user


@pytest.fixture
def limited(fleet: dict[str, Any]) -> User:
    user = with_all_roles("limited")
    group = Group.objects.create(name="Team")
    user.groups.add(group)
    TagLimit.objects.create(group=group, tag=fleet["team"])
    return user


def forget_hidden(fleet: dict[str, Any]) -> None:
    """As if there had never been any but the visible instance."""
    fleet["mixed"].delete()
    sessions = SyncSession.objects.filter(records__instance=fleet[HIDDEN]).exclude(pk=fleet["session"].pk)
    SyncSession.objects.filter(pk__in=list(sessions.values_list("pk", flat=True))).delete()
    for operation in TagOperation.objects.all():
        if fleet[HIDDEN].pk in [instance for instance, _tag in operation.pairs("added")]:
            operation.delete()
    AlertRule.objects.filter(name__contains=HIDDEN).delete()
    Delivery.objects.all().delete()
    # The limits of tags and of the fleet are of totals that hidden instances have a part in.
    SizeLimit.objects.filter(instance=None, database=None, tablespace=None).delete()
    Volume.objects.filter(name__contains=HIDDEN).delete()
    fleet[HIDDEN].delete()
    Tag.objects.filter(slug__contains=HIDDEN).delete()
    Credential.objects.filter(name__contains=HIDDEN).delete()


def body(answer: Any) -> str:
    if answer.headers.get("Content-Type") == xlsx.CONTENT_TYPE:
        with ZipFile(BytesIO(answer.content)) as book:
            return "".join(book.read(name).decode() for name in book.namelist())
    if not answer.streaming:
        return answer.content.decode()
    whole = answer.getvalue()
    # To be read again.
    answer.streaming_content = [whole]
    return whole.decode()


def check(answer: Any, what: str, echoed: str = "") -> None:
    """That an answer is one, and names nothing hidden."""
    assert answer.status_code < 500, what
    told = body(answer).replace(echoed, "") if echoed else body(answer)
    told = without_random_words(told)
    where = told.lower().find(HIDDEN)
    assert where < 0, f"{what}: …{told[max(where - 200, 0) : where + 100]}…"
    location = answer.headers.get("Location", "")
    assert HIDDEN not in location, what


def is_hidden(row: Model) -> bool:
    return not shown_to(type(row)._default_manager.filter(pk=row.pk), User.objects.get(username="limited")).exists()


# The pages


def pages_of_models() -> Iterator[tuple[str, str, Model | None]]:
    """Each page of each model in the admin, and of each of its rows: (method, URL, row)."""
    for model, pages in admin.site._registry.items():
        # As many of rows that have nothing to do with instances as make a difference.
        reaches = model in CONDITIONS or path_to_instance(model)
        rows = list(model._default_manager.order_by("pk")[: None if reaches else 3])
        for pattern in pages.urls:
            needed = set(pattern.pattern.regex.groupindex)
            name = pattern.name and f"admin:{pattern.name}"
            if not name or needed - {"object_id", "button"}:
                continue
            names = {button.name: button.on_list for button in buttons_of(pages)}
            for button, on_list in names.items() if "button" in needed else [(None, None)]:
                if button and on_list != ("object_id" not in needed):
                    continue
                method = "post" if button else "get"
                known = {"button": button} if button else {}
                if "object_id" not in needed:
                    yield method, reverse(name, kwargs=known), None
                for row in rows if "object_id" in needed else ():
                    yield method, reverse(name, kwargs=known | {"object_id": row.pk}), row


def buttons_of(pages: Any) -> list[Any]:
    request = type("Request", (), {"user": User.objects.get(username="limited")})
    return list(pages.get_buttons(request)) if hasattr(pages, "get_buttons") else []


def snapshot() -> dict[str, list[Any]]:
    """Every row of ours."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for config in apps.get_app_configs()
        if config.label in OUR_APPS
        for model in config.get_models()
    }


OUR_APPS = [
    "instances",
    "sync",
    "tagging",
    "accounts",
    "capacity",
    "aggregation",
    "planning",
    "classification",
    "owners",
    "drift",
    "duties",
    "reviews",
    "alerts",
]


def test_no_page_of_a_model_names_what_is_hidden(fleet, limited):
    browser = entered(limited)
    hidden = []
    n = 0
    for method, url, row in list(pages_of_models()):
        if row is not None and row.pk is not None and not type(row)._default_manager.filter(pk=row.pk).exists():
            continue
        n += 1
        if row is not None and is_hidden(row):
            hidden.append((method, url, row))
        else:
            check(getattr(browser, method)(url), url)
    before = snapshot()
    for method, url, row in hidden:
        # As of a row that was never there.
        answer = getattr(browser, method)(url)
        nowhere = getattr(browser, method)(url.replace(f"/{row.pk}/", "/987654/"))
        assert answer.status_code == nowhere.status_code != 200, url
        assert answer.headers.get("Location") == nowhere.headers.get("Location"), url
        check(answer, url)
    assert snapshot() == before
    # Such a row is not named by the message that it is not there, either.
    check(browser.get(reverse("admin:index")), "home")
    assert n > 200
    assert len(hidden) > 60


def lists(user: User) -> Iterator[tuple[type[Model], Any, str, dict[str, str]]]:
    """Each list that the person may open: model, its pages, URL, and the query that leaves nothing out."""
    request = type("Request", (), {"user": user, "GET": {}})
    for model, pages in admin.site._registry.items():
        if pages.has_view_permission(request):
            own = [item for item in pages.get_list_filter(request) if hasattr(item, "parameter_name")]
            whole = {item.parameter_name: "all" for item in own if getattr(item, "all_option", "") is None}
            whole.pop("period", None)
            url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            yield model, pages, url, whole


def test_no_filter_of_a_list_names_what_is_hidden(fleet, limited):
    browser = entered(limited)
    hidden = {Instance: fleet[HIDDEN].pk, Credential: fleet[HIDDEN].credential_id}
    hidden |= {Account: Account.objects.get(name=f"{HIDDEN}-user").pk}
    hidden |= {AlertRule: AlertRule.objects.get(name__contains=HIDDEN).pk}
    request = type("Request", (), {"user": limited})
    n = 0
    for model, pages, url, whole in lists(limited):
        answer = browser.get(url, whole)
        check(answer, url)
        assert answer.status_code == 200, url
        for item in pages.get_list_filter(request):
            field = item[0] if isinstance(item, tuple) else None
            if not isinstance(field, str):
                continue
            at: Any = model
            for part in field.split("__"):
                at = at._meta.get_field(part).related_model
                if at is None:
                    break
            if at in hidden:
                n += 1
                answer = browser.get(url, {f"{field}__id__exact": hidden[at]})
                check(answer, f"{url} of {field}")
                assert answer.status_code == 200, f"{url} of {field}"
    assert n >= 12


def test_lists_and_the_api_give_the_same_rows_for_a_filter(fleet):
    """Fault 13: "over" on the page must be what the API says is not open."""
    now, root = timezone.now(), User.objects.create_superuser("root")
    # Half of what there is has ended, is hidden, or was found first.
    half = {"name__contains": HIDDEN}
    Account.objects.filter(**half).update(gone_at=now, is_filtered=True)
    Database.objects.filter(**half).update(gone_at=now, is_filtered=True)
    Instance.objects.filter(**half).update(retired_at=now, seen_certificate="ab")
    AccountChange.objects.filter(account__gone_at=now).update(baseline=True)
    Assignment.objects.filter(instance__retired_at=now).update(until=now)
    Alert.objects.filter(instance__retired_at=now).update(resolved_at=now)
    VisitHealth.objects.filter(instance__retired_at=now).update(paused_at=None)
    request = type("Request", (), {"user": root, "GET": {}})
    viewsets = {
        getattr(viewset, "filterset_class", None): name
        # The first of several, which lists the rows themselves.
        for route, viewset, name in reversed(router.registry)
        if "(" not in route
    }
    browser, program, compared, split = entered(root), client_of(root), 0, set()
    for _model, pages, url, whole in lists(root):
        for item in pages.get_list_filter(request):
            if not (isinstance(item, type) and issubclass(item, ParameterFilter)):
                continue
            name = item.parameter or item.parameter_name
            if name not in pages.filter_set.base_filters:
                continue
            everything = {row.pk for row in browser.get(url, whole).context["cl"].result_list}
            for value, _label in item(request, {}, pages.model, pages).lookup_choices:
                if value == "all":
                    continue
                answer = browser.get(url, whole | {item.parameter_name: value})
                listed = {row.pk for row in answer.context["cl"].result_list}
                parameters = {name: item.values.get(value, value), "page_size": 1000}
                if name != "period" and "period" in pages.filter_set.base_filters:
                    parameters["period"] = "monthly"
                rows = program.get(reverse(f"{viewsets[pages.filter_set]}-list"), parameters).json()["results"]
                ids = {row["id"] for row in rows}
                if pages.model is Assignment:
                    # The list has one row for each account.
                    of_account = dict(Assignment.objects.values_list("pk", "account"))
                    listed, ids, whole_list = ({of_account[pk] for pk in some} for some in (listed, ids, everything))
                else:
                    whole_list = everything
                assert listed == ids, (url, name, value)
                compared += 1
                if set() < listed < whole_list:
                    split.add((url, item.parameter_name))
    assert compared > 50
    assert len(split) > 15


def test_what_people_search_for_is_not_found(fleet, limited):
    browser = entered(limited)
    checked = 0
    for _model, pages, url, whole in lists(limited):
        if pages.search_fields:
            checked += 1
            assert browser.get(url, whole | {"q": HIDDEN}).context["cl"].result_count == 0, url
    assert checked > 8
    sources = {
        (model._meta.app_label, model._meta.model_name, field.name)
        for model, _pages, _url, _whole in lists(limited)
        for field in model._meta.get_fields()
        if field.concrete and field.related_model in admin.site._registry
    }
    for app, model, field in sources:
        query = {"app_label": app, "model_name": model, "field_name": field, "term": HIDDEN}
        answer = browser.get(reverse("admin:autocomplete"), query)
        check(answer, f"autocomplete of {app}.{model}.{field}")
        query.pop("term")
        check(browser.get(reverse("admin:autocomplete"), query), f"autocomplete of {app}.{model}.{field}")
    for word in (HIDDEN, SEEN, "db"):
        answer = browser.get(reverse("admin:search"), {"s": word, "extended": "1"})
        check(answer, f"search for {word}", echoed=word if word == HIDDEN else "")


#: Route name → what is asked of it. A page of ours that is not here makes the next test fail.
ASKED: dict[str, list[str]] = {
    "who-can": [
        "",
        "?privilege=SELECT&on=aardvark.public.orders",
        "?privilege=SELECT&on=aardvark.public.orders&csv=1",
        "?privilege=SELECT&on=aardvark.public.orders&xlsx=1",
        "?privilege=ZEBR&on=aardvark.public.orders",
        "?privilege=SELECT&on=zebr_.public.orders",
        "?privilege=SELECT&instance=zebr",
        "?privilege=SELECT&instance={hidden}",
        "?privilege=SELECT&tag=zebr-tag",
        "?privilege=SELECT&tag={hidden_tag}",
    ],
    "effective": ["", "?account={hidden_account}", "?account={hidden_account}&q=a"],
    "who-can-paths": ["", "?on=z", "?on=zebra.", "?on=a&instance={hidden}", "?on=a&tag={hidden_tag}"],
    "rights-matrix": [
        "",
        "?on=aardvark&instance=aardvark-db",
        "?on=aardvark&instance=aardvark-db&csv=1",
        "?instance=zebr",
        "?instance={hidden}",
        "?on=zebr_&instance=aardvark-db",
        "?tag={hidden_tag}",
        "?tag=zebr-tag&csv=1",
    ],
    "compare": [
        "",
        "?instance=aardvark-db&other_instance=zebr",
        "?instance=aardvark-db&other_instance={hidden}",
        "?instance=aardvark-db&account=zebr",
        "?instance=aardvark-db&account=aardvark-user&other_as_of=2026-01-01&csv=1",
        "?account=aardvark-user&tag={hidden_tag}",
    ],
    "where-is": ["", "?name=*", "?name=*&csv=1"],
    "saved-views": ["", "?id=1"],
    "list-columns": [""],
    "unread-alerts": [""],
    "capacity-gaps": ["", "?days=30", "?days=365&instance={hidden}", "?tag={hidden_tag}"],
    "trends": ["", "?period=daily", "?csv=trend", "?csv=growers", "?period=weekly&tag={hidden_tag}"],
    "forecasts": [""],
    "filling-up": [
        "",
        "?days=365",
        "?csv=full&days=365",
        "?csv=growing",
        "?kind=instance&tag={hidden_tag}",
        "?of=tag-{hidden_tag}",
        "?of=fleet-0",
        "?of=instance-{hidden}",
    ],
    "planning-report": ["", "?csv=1"],
    "leavers": ["", "?people=E1", "?people=E1&csv=1"],
    "end-dates": ["", "?state=due", "?csv=1"],
    "my-items": ["", "?state=all&q=e"],
    "health": [""],
    # Half of the hidden word: the page repeats what was searched for.
    "time-zone": [""],
    "search": ["", "?q=zeb", "?q=aardvark", "?q=e", "?q=1"],
    "metrics": [""],
    "schema": [""],
    "docs": [""],
    "backfill": [""],
    "oidc-login": [""],
    "oidc-callback": [""],
}


def test_no_page_of_ours_names_what_is_hidden(fleet, limited):
    assert ASKED.keys() == PAGES.keys()
    browser = entered(limited)
    ids = {"hidden": fleet[HIDDEN].pk, "hidden_tag": Tag.objects.get(slug=f"{HIDDEN}-tag").pk}
    ids["hidden_account"] = Account.objects.get(name=f"{HIDDEN}-user").pk
    for name, queries in ASKED.items():
        for query in queries:
            check(browser.get(reverse(name) + query.format(**ids)), name + query)
    check(browser.get(reverse("admin:index")), "home")
    check(browser.get("/healthz"), "healthz")
    account = Account.objects.get(name=f"{SEEN}-user")
    for tab in ("grants", "effective", "roles", "members", "ended", "left", "changes", "classifications"):
        url = reverse("admin:accounts_account_change", args=[account.pk])
        check(browser.get(f"{url}?tab={tab}"), f"tab {tab}")
    for model in (AccountFilter, DatabaseFilter):
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_preview")
        asked = {"pattern": "*", "action": "hide", "active": "on"}
        check(browser.get(url, asked), url)
        check(browser.get(url, asked | {"instance": fleet[HIDDEN].pk}), url)
        check(browser.get(url, asked | {"id": model.objects.get(instance=fleet[HIDDEN]).pk}), url)
    preview = {"expression": "superuser", "ask": "1", "id": fleet["rule"].pk}
    answer = browser.post(reverse("admin:classification_classificationrule_preview"), preview)
    check(answer, "preview of a rule")
    assert f"{SEEN}-user" in body(answer)
    for near in ("zebr-tag", "ebra-tag"):
        preview["expression"] = f'instance_tag("{near}")'
        check(browser.post(reverse("admin:classification_classificationrule_preview"), preview), near)


def test_no_file_holds_what_is_hidden(fleet, limited):
    browser = entered(limited)
    answer = browser.get(reverse("admin:instances_instance_export"), {"state": "all"})
    check(answer, "export")
    assert f"{SEEN}-db" in body(answer)
    everybody = list(Instance.objects.values_list("pk", flat=True))
    for model in (InstanceAggregate, DatabaseAggregate):
        url = reverse(f"admin:aggregation_{model._meta.model_name}_changelist")
        pks = list(model.objects.values_list("pk", flat=True))
        chosen = {"action": "as_csv", "_selected_action": pks, "select_across": "1"}
        answer = browser.post(f"{url}?which=all&period=daily", chosen)
        check(answer, url)
        assert f"{SEEN}-db" in body(answer)
    url = reverse("admin:instances_instance_changelist")
    tags = list(Tag.objects.values_list("pk", flat=True))
    for action in ("retire", "add_tags", "remove_tags"):
        chosen = {"action": action, "_selected_action": everybody, "select_across": "1", "tags": tags}
        check(browser.post(url, chosen), action)
    assert browser.get(reverse("admin:instances_instance_import")).status_code == 403


# The API


def operations() -> Iterator[tuple[str, str, Model | None]]:
    """Each method of each route, of each row that it takes: (method, URL, row)."""
    models = {"tag_id": Tag, "session_id": SyncSession, "account_id": Account}
    for route in router.urls:
        viewset = getattr(route.callback, "cls", None)
        groups = list(route.pattern.regex.groupindex)
        if viewset is None or not hasattr(viewset, "queryset") or "format" in groups:
            continue
        assert len(groups) <= 1
        for method, _action in route.callback.actions.items():
            if not groups:
                yield method, reverse(route.name), None
                continue
            rows = models[groups[0]]._default_manager if groups[0] in models else viewset.queryset
            rows = rows.order_by("pk")
            yield from ((method, reverse(route.name, kwargs={groups[0]: row.pk}), row) for row in rows)


#: What questions have to say.
QUESTIONS = {
    "/api/leavers/": "?people=E1",
    "/api/where-is/": "?name=*",
    "/api/access/": f"?privilege=SELECT&scope={SEEN}.public.orders",
    "/api/matrix/": "?instance={seen}",
    "/api/compare/": "?instance={seen}&other_as_of=2026-01-01T00:00:00Z",
    "/api/sizes-so-far/": "?period=weekly&instance={seen}",
}


def question(url: str) -> str:
    return QUESTIONS.get(url, "").format(seen=Instance.objects.get(name=f"{SEEN}-db").pk)


def test_no_answer_of_the_api_names_what_is_hidden(fleet, limited):
    program = client_of(limited)
    hidden = 0
    for method, url, row in list(operations()):
        if method != "get":
            continue
        accounts = Account.objects.values_list("pk", flat=True) if url.endswith("/explain/") else [None]
        for account in accounts:
            query = question(url) if account is None else f"?account={account}"
            answer = program.get(url + query)
            check(answer, url + query)
            if account and Account.objects.get(pk=account).instance == fleet[HIDDEN]:
                assert answer.status_code == 404, url + query
            if row is not None and is_hidden(row):
                hidden += 1
                # Messages are shown to nobody who is limited.
                assert answer.status_code == (403 if "deliveries" in url else 404), url
            # The state of a whole instance, which may be a hidden one.
            elif "/counts/" in url or "deliveries" in url or url.endswith("/state/"):
                assert answer.status_code == 403, url
            elif not url.endswith("/explain/"):
                assert answer.status_code == 200, url
    assert hidden > 30


def test_verbs_on_hidden_rows_are_of_rows_that_are_not_there(fleet, limited):
    program = client_of(limited)
    before = snapshot()
    n = 0
    for method, url, row in list(operations()):
        if method in ("get", "head") or row is None or not is_hidden(row):
            continue
        n += 1
        answer = getattr(program, method)(url, {}, format="json")
        check(answer, url)
        assert answer.status_code in (403, 404), f"{method} {url}: {answer.status_code}"
    assert n > 30
    assert snapshot() == before


def test_nothing_hidden_is_named_in_a_question(fleet, limited):
    """By name, by number, or by tag: it is not there."""
    program = client_of(limited)
    instance, account = fleet[HIDDEN], Account.objects.get(name=f"{HIDDEN}-user")
    tag = Tag.objects.get(slug=f"{HIDDEN}-tag")
    before = snapshot()
    for route, viewset, _name in router.registry:
        filters = getattr(getattr(viewset, "filterset_class", None), "base_filters", {})
        url = f"/api/{route.replace(r'(?P<', '<')}/"
        if "<" in url:
            continue
        for name, value in {"instance": instance.pk, "instance_name": instance.name, "tag": tag.slug}.items():
            if name in filters:
                assert program.get(url, {name: value}).status_code == 400, (url, name)
    for url, query in (
        ("/api/capacity-gaps/", {"instance": instance.pk}),
        ("/api/capacity-gaps/", {"tag": tag.slug}),
        ("/api/aggregate-totals/", {"tag": tag.slug}),
        ("/api/sizes-so-far/", {"period": "weekly", "instance": instance.pk}),
        ("/api/access/", {"privilege": "SELECT", "on": "*", "instance": instance.pk}),
        ("/api/access/", {"privilege": "SELECT", "on": "*", "tag": tag.slug}),
        ("/api/matrix/", {"instance": instance.pk}),
        ("/api/compare/", {"other_as_of": "2026-01-01T00:00:00Z", "instance": instance.pk}),
        ("/api/compare/", {"account": account.name, "tag": tag.slug}),
        ("/api/matrix/", {"on": "*", "tag": tag.slug}),
    ):
        answer = program.get(url, query)
        assert answer.status_code == 400, url
        assert answer.json().keys() == {[*query][-1]}, url
    today = timezone.localdate()
    span = {"period": "all", "first": today - timedelta(days=60), "last": today}
    dry = f"/api/classification-rules/{fleet['rule'].pk}/dry-run/"
    for url, asked in (
        ("/api/sync-sessions/", {"kind": "accounts", "instance_ids": [instance.pk]}),
        ("/api/sync-sessions/", {"kind": "accounts", "instance_ids": [fleet[SEEN].pk, instance.pk]}),
        ("/api/sync-sessions/", {"kind": "accounts", "tag": tag.slug}),
        ("/api/instance-aggregates/backfill/", span | {"instance_ids": [instance.pk]}),
        ("/api/classifications/auto-classify/", {"instance_ids": [instance.pk]}),
        (dry, {"instance_ids": [instance.pk]}),
        ("/api/size-limits/", {"instance": instance.pk, "size": 1}),
        ("/api/size-limits/", {"database": instance.databases.get().pk, "size": 1}),
        ("/api/size-limits/", {"tag": tag.pk, "size": 1}),
        ("/api/size-limits/", {"size": 1}),
        ("/api/size-limits/bulk/", {"limits": [{"instance": instance.pk, "size": 1}]}),
        ("/api/size-limits/bulk/", {"limits": [{"database": instance.databases.get().pk, "size": 1}]}),
        ("/api/size-limits/bulk/", {"limits": [{"tag": fleet["team"].pk, "size": 1}]}),
        ("/api/size-limits/bulk/", {"limits": [{"size": 1}]}),
        (
            "/api/assignments/",
            {"account": account.pk, "classification": fleet["classification"].pk, "reason": "because"},
        ),
        ("/api/tags/bulk/assign/", {"instance_ids": [instance.pk], "tag_ids": [tag.pk]}),
        ("/api/tags/bulk/remove/", {"filter": {"tag": tag.slug}, "tag_ids": [tag.pk]}),
        ("/api/tags/bulk/remove/", {"filter": {"name": instance.name}, "tag_ids": [tag.pk]}),
    ):
        answer = program.post(url, asked, format="json")
        assert answer.status_code == 400, (url, asked, answer.json())
        assert "Valid are" not in answer.text
    assert snapshot() == before
    effect = program.post(dry, {}, format="json").json()
    assert effect["examined"] == Account.objects.filter(instance=fleet[SEEN]).count()


# Totals


def answers(program: Any) -> dict[str, Any]:
    """What every list of the API says, and every question."""
    # The audit trail has what happened, also to what is no longer there. Files say when and for whom they were made.
    left_out = ("/api/tokens/", "/api/audit/")
    urls = {url for method, url, row in operations() if method == "get" and row is None and url not in left_out}
    urls = {url for url in urls if not url.endswith("/export/")}
    urls |= {"/api/aggregate-totals/?by=tag", "/api/aggregate-totals/?by=engine"}
    told = {}
    for url in sorted(urls):
        answer = program.get(url + question(url))
        if answer.status_code == 200:
            told[url] = {key: value for key, value in answer.json().items() if key != "as_of"}
    return told


def test_totals_are_what_the_visible_instance_alone_gives(fleet, limited):
    mine = answers(client_of(limited))
    home = entered(limited).get(reverse("admin:index")).context
    asked = ["figures", "running", "superusers", "latest", "risks", "largest", "growers", "forecasts"]
    mine_at_home = {name: repr([*map(str, home[name])]) for name in asked}
    assert home["figures"][0]["count"] == 1
    everything = answers(client_of(User.objects.create_superuser("root")))
    assert mine != everything
    assert len(mine) > 25
    forget_hidden(fleet)
    alone = answers(client_of(User.objects.get(username="root")))
    assert mine == {url: alone[url] for url in mine}
    home = entered(User.objects.get(username="root")).get(reverse("admin:index")).context
    assert mine_at_home == {name: repr([*map(str, home[name])]) for name in asked}


def test_what_fills_leaves_out_totals_with_hidden_instances(fleet, limited):
    """Of a tag, a volume and the fleet, whose sizes would tell of them."""
    whole = client_of(User.objects.create_superuser("root")).get("/api/filling-up/").json()
    assert {row["kind"] for row in whole["results"]} == {"instance", "database", "tag", "fleet", "volume"}
    program = client_of(limited)
    mine = program.get("/api/filling-up/").json()["results"]
    assert {row["name"] for row in mine} == {f"{SEEN}-db", f"{SEEN}-db / {SEEN}_shop"}
    SizeLimit.objects.exclude(database=None).delete()
    (grows,) = program.get("/api/filling-up/?without_limit=true").json()["results"]
    assert grows["name"] == f"{SEEN}-db / {SEEN}_shop"
    assert entered(limited).get(reverse("planning-report")).status_code == 403


def test_without_a_limit_all_see_all(fleet):
    anybody, superuser = with_all_roles("anybody"), User.objects.create_superuser("root")
    assert answers(client_of(anybody)) == answers(client_of(superuser))
    n = 0
    for model, _pages, url, whole in lists(anybody):
        if model._meta.app_label in OUR_APPS:
            counts = [entered(user).get(url, whole).context["cl"].result_count for user in (anybody, superuser)]
            assert counts[0] == counts[1], url
            n += counts[0]
    assert n > 40


def test_the_limit_is_looked_up_once_a_request(fleet):
    """And for superusers not at all: what pages cost them is in the tests of the lists."""

    def looked_up(browser: Client) -> int:
        with CaptureQueriesContext(connection) as caught:
            browser.get(reverse("admin:instances_instance_changelist"))
        return sum("tagging_taglimit" in query["sql"] for query in caught)

    assert looked_up(entered(with_all_roles("anybody"))) == 1
    assert looked_up(entered(User.objects.create_superuser("root"))) == 0


def test_lists_count_what_is_seen(fleet, limited):
    """Of a tag, a credential and a rule that a hidden instance has too."""
    common = Tag.objects.create(slug="common", label="Common")
    for word in (SEEN, HIDDEN):
        InstanceTag.objects.create(instance=fleet[word], tag=common)
    Instance.objects.filter(pk=fleet[HIDDEN].pk).update(credential=fleet[SEEN].credential)
    browser = entered(limited)
    for row, count in (
        (common, "n_instances"),
        (fleet[SEEN].credential, "n_instances"),
        (fleet["alert_rule"], "n_open"),
    ):
        listed = browser.get(reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_changelist")).context["cl"]
        assert getattr(listed.queryset.get(pk=row.pk), count) == 1, row


def test_a_form_takes_no_hidden_row(fleet, limited):
    SizeLimit.objects.all().delete()
    browser, url = entered(limited), reverse("admin:planning_sizelimit_add")
    for word, made in ((HIDDEN, 0), (SEEN, 1)):
        check(browser.post(url, {"instance": fleet[word].pk, "size": "1 GiB", "note": ""}), url)
        assert SizeLimit.objects.count() == made
    # The preview of a filter says that there is no such instance, and not that it matches nothing there.
    url = reverse("admin:accounts_accountfilter_preview")
    asked = {"pattern": "*", "action": "hide", "active": "on"}
    assert body(browser.get(url, asked | {"instance": fleet[SEEN].pk})) != ""
    assert body(browser.get(url, asked | {"instance": fleet[HIDDEN].pk})) == ""


# Runs and verbs


def test_a_run_of_all_is_a_run_of_what_is_seen(fleet, limited):
    program, browser = client_of(limited), entered(limited)
    today = timezone.localdate()
    span = {"period": "all", "first": today - timedelta(days=60), "last": today}
    last = SyncSession.objects.latest("pk").pk
    for url, asked in (
        ("/api/sync-sessions/", {"kind": "accounts", "all": True}),
        ("/api/sync-sessions/", {"kind": "capacity", "tag": "team"}),
        ("/api/instance-aggregates/backfill/", span),
        ("/api/classifications/auto-classify/", {}),
    ):
        answer = program.post(url, asked, format="json")
        assert answer.status_code == 202, answer.json()
        assert answer.json()["counts"]["total"] == 1
    for url in (
        reverse("admin:instances_instance_do_on_list", args=["sync-accounts"]),
        reverse("admin:classification_classification_do_on_list", args=["classify"]),
        reverse("admin:classification_classification_do", args=[fleet["classification"].pk, "classify"]),
        reverse("admin:classification_classificationrule_do", args=[fleet["rule"].pk, "apply"]),
    ):
        assert "/admin/sync/syncsession/" in browser.post(url)["Location"]
    browser.post(reverse("backfill"), span)
    program.post(f"/api/sync-sessions/{fleet['session'].pk}/retry-failed/")
    started = SyncRecord.objects.filter(session__gt=last)
    assert SyncSession.objects.filter(pk__gt=last).count() == 10
    assert set(started.values_list("instance", flat=True)) == {fleet[SEEN].pk}


def test_start_itself_leaves_out_what_the_person_does_not_see(fleet, limited):
    session = sync.start("accounts", Instance.objects.all(), trigger="manual", user=limited, enqueue=False)
    assert list(session.records.values_list("instance", flat=True)) == [fleet[SEEN].pk]
    session = sync.start("capacity", Instance.objects.all(), trigger="schedule", enqueue=False)
    assert session.records.count() == 2


def test_a_session_that_visits_hidden_instances_too_is_not_cancelled(fleet, limited):
    url = f"/api/sync-sessions/{fleet['session'].pk}/"
    assert client_of(limited).get(url).json()["counts"]["failed"] == 1
    assert client_of(limited).post(f"{url}cancel/").status_code == 409
    entered(limited).post(reverse("admin:sync_syncsession_do", args=[fleet["session"].pk, "cancel"]))
    fleet["session"].refresh_from_db()
    assert (fleet["session"].cancel_requested_at, fleet["session"].status) == (None, "running")
    assert client_of(with_all_roles("anybody")).post(f"{url}cancel/").status_code == 200


@pytest.mark.parametrize("action", ["retire", "sync_accounts", "resume_instances", "add_tags"])
def test_a_bulk_action_does_not_reach_hidden_instances(fleet, limited, action):
    hidden = fleet[HIDDEN]
    tag = Tag.objects.create(slug="any", label="Any")
    before = snapshot()
    chosen = {
        "action": action,
        "_selected_action": [hidden.pk],
        "select_across": "0",
        "confirmed": "1",
        "tags": [tag.pk],
    }
    entered(limited).post(reverse("admin:instances_instance_changelist"), chosen)
    after = snapshot()
    # A receipt that says nothing, of nothing, may be left.
    assert [row for row in after["tagging.TagOperation"] if row["outcomes"]] == before["tagging.TagOperation"]
    for label in before.keys() - {"tagging.TagOperation", "sync.SyncSession"}:
        assert after[label] == before[label]


def test_what_concerns_the_whole_fleet_is_looked_at_and_not_changed(fleet, limited):
    program, before = client_of(limited), snapshot()
    for url in (
        f"/api/classifications/{fleet['classification'].pk}/",
        f"/api/classification-rules/{fleet['rule'].pk}/",
        f"/api/duty-pairs/{fleet['pair'].pk}/",
        f"/api/alert-rules/{fleet['alert_rule'].pk}/",
        f"/api/alert-channels/{fleet['channel'].pk}/",
        f"/api/tags/{fleet['team'].pk}/",
        f"/api/credentials/{fleet[SEEN].credential_id}/",
        f"/api/account-filters/{AccountFilter.objects.get(instance=fleet[SEEN]).pk}/",
        f"/api/volumes/{Volume.objects.exclude(name__contains=HIDDEN).get().pk}/",
    ):
        assert program.get(url).status_code == 200, url
        assert program.patch(url, {"note": "changed"}, format="json").status_code == 403, url
        assert program.delete(url).status_code == 403, url
    for path in (
        "instances",
        "credentials",
        "tags",
        "account-filters",
        "database-filters",
        "classifications",
        "volumes",
        "duty-pairs",
    ):
        assert program.post(f"/api/{path}/", {}, format="json").status_code == 403, path
    browser = entered(limited)
    assert browser.post(reverse("admin:alerts_alertrule_do_on_list", args=["look"])).status_code == 403
    assert browser.get(reverse("health")).status_code == 403
    assert browser.get(reverse("metrics")).status_code == 403
    assert browser.get(reverse("admin:django_celery_beat_periodictask_changelist")).status_code == 200
    assert browser.get(reverse("admin:django_celery_beat_periodictask_add")).status_code == 403
    assert snapshot() == before
    assert reverse("health") not in body(browser.get(reverse("admin:index")))


# Limits and tags


def test_a_limit_is_not_lifted_by_tagging(fleet, limited):
    """Neither one's own nor anybody's: tags that limit people are left alone by those who are limited."""
    seen, team = fleet[SEEN], fleet["team"]
    other = Tag.objects.create(slug="other-team", label="Other team")
    TagLimit.objects.create(user=User.objects.create_user("somebody"), tag=other)
    free = Tag.objects.create(slug="free", label="Free")
    program, browser = client_of(limited), entered(limited)
    for verb, tag in (("remove", team), ("assign", other), ("assign", team)):
        body = {"instance_ids": [seen.pk], "tag_ids": [tag.pk]}
        refused = program.post(f"/api/tags/bulk/{verb}/", body, format="json")
        reason = f"Unknown tag, or a tag that limits what users see: {tag.pk}."
        assert (refused.status_code, refused.json()) == (400, {"tag_ids": [reason]})
        chosen = {"action": "add_tags" if verb == "assign" else "remove_tags", "_selected_action": [seen.pk]}
        answer = browser.post(
            reverse("admin:instances_instance_changelist"), chosen | {"confirmed": "1", "tags": [tag.pk]}
        )
        assert answer.status_code == 200
        assert tag not in answer.context["offered"]
    assert set(seen.tags.values_list("slug", flat=True)) == {f"{SEEN}-tag", "team"}
    asked = {"instance_ids": [seen.pk], "tag_ids": [free.pk]}
    receipt = program.post("/api/tags/bulk/assign/", asked, format="json")
    assert receipt.json()["totals"] == {"added": 1}
    assert program.post(f"/api/tag-operations/{receipt.json()['id']}/undo/").json()["totals"] == {"removed": 1}
    # An operation of somebody else that gave the tag is not undone, either.
    given = tagging.assign([seen.pk], [other.pk])
    assert program.post(f"/api/tag-operations/{given.pk}/undo/").status_code == 403
    undo = reverse("admin:tagging_tagoperation_do", args=[given.pk, "undo-assign"])
    assert browser.post(undo, {"confirmed": "1"}).status_code == 403
    # On the page of an instance its tags are only shown.
    page = browser.get(reverse("admin:instances_instance_change", args=[seen.pk]) + "?edit=1")
    assert [inline.has_add_permission for inline in page.context["inline_admin_formsets"]] == [False]


def test_an_operation_on_hidden_instances_too_is_not_shown(fleet, limited):
    mine = client_of(limited).get("/api/tag-operations/").json()["results"]
    assert [operation["outcomes"]["added"][0]["instances"] for operation in mine] == [[fleet[SEEN].pk]]


def test_limits_add_up_and_any_limit_limits(fleet):
    user = with_all_roles("one")
    names = lambda: set(shown_to(Instance.objects.all(), User.objects.get(pk=user.pk)).values_list("name", flat=True))  # noqa: E731
    assert names() == {f"{SEEN}-db", f"{HIDDEN}-db"}
    unused = Tag.objects.create(slug="unused", label="Unused")
    TagLimit.objects.create(user=user, tag=unused)
    assert names() == set()
    # One role of several that is limited limits; more limits show more.
    group = Group.objects.get(name="Viewer")
    TagLimit.objects.create(group=group, tag=fleet["team"])
    assert names() == {f"{SEEN}-db"}
    TagLimit.objects.create(group=group, tag=Tag.objects.get(slug=f"{HIDDEN}-tag"))
    assert names() == {f"{SEEN}-db", f"{HIDDEN}-db"}
    # A tag that is switched off limits like any other.
    Tag.objects.update(active=False)
    TagLimit.objects.exclude(tag=fleet["team"]).delete()
    assert names() == {f"{SEEN}-db"}
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    assert len(names()) == 2


def test_a_tag_that_limits_is_not_deleted(fleet, limited):
    """That would show everything to the people it limits."""
    superuser = User.objects.create_superuser("root")
    assert client_of(superuser).delete(f"/api/tags/{fleet['team'].pk}/").status_code == 409
    entered(superuser).post(reverse("admin:tagging_tag_delete", args=[fleet["team"].pk]), {"post": "yes"})
    assert Tag.objects.filter(pk=fleet["team"].pk).exists()


def test_superusers_alone_edit_limits(fleet):
    group = Group.objects.get(name="Viewer")
    root = entered(User.objects.create_superuser("root"))
    page = reverse("admin:auth_group_change", args=[group.pk])
    fields = {"name": "Viewer", "tag_limits-TOTAL_FORMS": 1, "tag_limits-INITIAL_FORMS": 0}
    fields |= {"tag_limits-0-tag": fleet["team"].pk, "tag_limits-0-group": group.pk}
    assert root.post(page, fields).status_code == 302
    assert TagLimit.objects.get().group == group
    user = User.objects.get(username="root")
    assert root.get(reverse("admin:auth_user_change", args=[user.pk])).status_code == 200
    person = User.objects.create_user("person", is_staff=True)
    person.user_permissions.set(
        apps.get_model("auth.Permission").objects.filter(content_type__app_label__in=["auth", "tagging"])
    )
    answer = entered(person).get(page)
    assert answer.status_code == 200
    assert answer.context["inline_admin_formsets"] == []


def test_a_limit_is_a_groups_or_a_persons(fleet):
    limit = TagLimit(tag=fleet["team"])
    with pytest.raises(ValidationError):
        limit.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        limit.save()


# That nothing is forgotten


def test_every_model_says_how_it_is_narrowed():
    """A model that comes later leads to an instance by its keys, or says in CONDITIONS which rows are shown, or here
    why all see all of it."""
    for config in apps.get_app_configs():
        if config.label in [*OUR_APPS, "taifish"]:
            for model in config.get_models():
                label = model._meta.label
                narrowed = path_to_instance(model) is not None or model in CONDITIONS
                if label not in OF_ALL:
                    assert narrowed, label
    assert path_to_instance(AccountChange) == ("account__instance", False)
    assert path_to_instance(Grant) == ("account__instance", False)
    assert path_to_instance(AccountFilter) == ("instance", True)
    assert path_to_instance(Instance) == ("pk", False)


def test_every_admin_page_and_viewset_narrows():
    for model, pages in admin.site._registry.items():
        if model._meta.app_label in [*OUR_APPS, "taifish"]:
            assert isinstance(pages, ShownRows), model
        for inline in getattr(pages, "inlines", ()):
            if path_to_instance(inline.model) or inline.model in CONDITIONS:
                assert issubclass(inline, ShownRows), inline
    for _route, viewset, name in router.registry:
        assert issubclass(viewset, ShownRowsOfAPI), name
