"""Search: page, API and command find the same rows, within what a user may see."""

from __future__ import annotations

import io
import json

import pytest
from django.contrib import admin
from django.core.management import call_command
from django.db.models import Value
from django.db.models.functions import Concat
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from alerts.models import AlertRule
from capacity.models import Database
from classification.models import Classification, ClassificationRule
from instances.models import Credential, Instance
from instances.tests.api import client_of, user_with
from instances.tests.pages import entered, staff, superstaff
from sync.models import SyncRecord, SyncSession
from tagging.models import InstanceTag, Tag, TagLimit
from taifish.search import KINDS, SHOWN, search
from taifish.tests.test_matrix import PAGES, somebody
from taifish.tests.test_pages import enter, faults

SEARCH = reverse("search")


@pytest.fixture
def fleet(db: None) -> dict[str, Instance]:
    credential = Credential.objects.create(name="c", username="u")
    fleet = {
        name: Instance.objects.create(name=name, engine="mysql", host="h", credential=credential)
        for name in ("shop-db", "bank-db")
    }
    now = timezone.now()
    AlertRule.objects.all().delete()
    for name, instance in fleet.items():
        for account in ("shopper", "window shopper", "root"):
            Account.objects.create(instance=instance, name=account, host="localhost", kind="user", first_seen_at=now)
        Database.objects.create(instance=instance, name=f"shop_{name}", first_seen_at=now, last_seen_at=now)
    tag = Tag.objects.create(slug="shops", label="Shops")
    InstanceTag.objects.create(tag=tag, instance=fleet["shop-db"])
    classification = Classification.objects.create(code="shop-staff", name="Staff")
    rule = {"classification": classification, "name": "Shop rule", "expression": "can_login"}
    ClassificationRule.objects.create(code="now", **rule)
    ClassificationRule.objects.create(code="before", retired_at=now, **rule)
    AlertRule.objects.create(name="Shop growth", kind="growth", threshold=10)
    return fleet


def counts(text: str, user=None) -> dict[str, int]:
    return {found.kind.name: found.count for found in search(text, user)}


def names(text: str, kind: str) -> list[str]:
    return [str(row) for found in search(text) if found.kind.name == kind for row in found.rows]


EVERYTHING = {
    "instances": 1,
    "accounts": 4,
    "databases": 2,
    "tags": 1,
    "classifications": 1,
    "classification-rules": 1,
    "alert-rules": 1,
}


def test_a_word_is_found_in_every_kind(fleet):
    assert counts("SHOP") == EVERYTHING
    assert counts("nothing-like-it") == {}
    assert counts("\"\" ''  ") == {}


def test_words_must_all_be_contained_and_a_quoted_one_keeps_its_blanks(fleet):
    assert counts("shop wind") == {"accounts": 2}
    assert counts('"window shop"') == {"accounts": 2}
    assert counts('"shop window"') == {}
    assert counts("100%") == counts("shop_per") == {}


def test_an_account_is_found_as_people_write_it(fleet):
    assert counts("root@localhost") == {"accounts": 2}
    assert counts("oot@local") == {"accounts": 2}
    assert counts("roo@localhost") == {}


def test_names_that_begin_with_the_word_come_first(fleet):
    """Whether the index found them or a scan."""
    assert names("shop", "accounts") == ["shopper@localhost"] * 2 + ["window shopper@localhost"] * 2
    now, instance = timezone.now(), fleet["bank-db"]
    more = [Account(instance=instance, name=f"shopper{n:02}", kind="user", first_seen_at=now) for n in range(SHOWN)]
    Account.objects.bulk_create(more)
    assert names("Shop", "accounts")[:3] == ["shopper@localhost", "shopper@localhost", "shopper00"]
    assert len(names("shop", "accounts")) == SHOWN
    assert counts("shop")["accounts"] == 4 + SHOWN


def test_a_session_is_found_by_its_number(fleet):
    session = SyncSession.objects.create(kind="accounts", trigger="manual", status="failed")
    for text in (f"#{session.pk}", f" {session.pk} "):
        assert counts(text)["sessions"] == 1
    assert "sessions" not in counts(f"#{session.pk + 1}")
    page = superstaff().get(SEARCH, {"q": f"#{session.pk}"}).text
    assert reverse("admin:sync_syncsession_change", args=[session.pk]) in page
    assert "failed" in page


def test_what_is_gone_filtered_retired_or_inactive_is_marked(fleet):
    Account.objects.filter(instance=fleet["bank-db"], name="shopper").update(gone_at=timezone.now(), kind="role")
    Database.objects.filter(instance=fleet["bank-db"]).update(is_filtered=True)
    Tag.objects.update(active=False)
    fleet["shop-db"].retire()
    found = {found.kind.name: found.as_dict()["rows"] for found in search("shop")}
    assert [row["marks"] for row in found["accounts"][:2]] == [["retired"], ["role", "gone"]]
    assert [row["marks"] for row in found["databases"]] == [["filtered"], ["retired"]]
    assert found["instances"][0]["marks"] == ["retired"]
    assert found["tags"][0]["marks"] == ["inactive"]
    assert [row["name"] for row in found["classification-rules"]] == ["Shop rule"]
    page = superstaff().get(SEARCH, {"q": "shop"}).text
    for mark in ("gone", "filtered", "retired", "inactive", "role"):
        assert f'<span class="tf-badge tf-{mark}">{mark}</span>' in page


def test_show_all_leads_to_a_list_with_the_same_rows(fleet):
    Account.objects.filter(instance=fleet["bank-db"], name="shopper").update(gone_at=timezone.now())
    Account.objects.filter(instance=fleet["bank-db"], name="root").update(is_filtered=True)
    fleet["shop-db"].retire()
    client = superstaff()
    for text in ("shop", "root@local", '"window shop"', "db"):
        groups = client.get(SEARCH, {"q": text}).context["groups"]
        assert groups
        for group in groups:
            assert client.get(group["url"]).context["cl"].result_count == group["count"], (text, group["title"])


def test_each_kind_searches_the_fields_of_its_list():
    by_name = {f"{model._meta.app_label}_{model._meta.model_name}": one for model, one in admin.site._registry.items()}
    for kind in KINDS:
        if kind.fields:
            assert set(kind.fields) == set(by_name[kind.model].search_fields), kind.name


def test_only_kinds_that_a_user_may_view_are_found(fleet):
    assert counts("shop", user_with("tagging.view_tag", "accounts.view_account")) == {"accounts": 4, "tags": 1}
    nobody = staff()
    page = nobody.get(SEARCH, {"q": "shop"})
    assert page.context["groups"] == []
    assert "Nothing found" in page.text
    assert "shopper" not in page.text


def test_a_limit_to_a_tag_holds(fleet):
    user = user_with(*(kind.permission for kind in KINDS))
    TagLimit.objects.create(user=user, tag=Tag.objects.get(slug="shops"))
    visible, hidden = (SyncSession.objects.create(kind="accounts", trigger="manual") for _ in range(2))
    SyncRecord.objects.create(session=visible, instance=fleet["shop-db"], kind="accounts")
    SyncRecord.objects.create(session=hidden, instance=fleet["bank-db"], kind="accounts")
    found = counts("shop", user)
    assert (found["instances"], found["accounts"], found["databases"]) == (1, 2, 1)
    assert counts("bank", user) == {}
    assert "sessions" in counts(f"#{visible.pk}", user)
    assert "sessions" not in counts(f"#{hidden.pk}", user)
    for answer in (
        entered(user).get(SEARCH, {"q": "shop"}),
        client_of(user).get("/api/search/", {"q": "shop"}),
    ):
        assert "shop-db" in answer.text
        assert "bank-db" not in answer.text


def test_page_api_and_command_give_the_same_answer(fleet):
    answer = client_of(user_with(*(kind.permission for kind in KINDS))).get("/api/search/", {"q": "shop"})
    assert answer.status_code == 200
    printed = io.StringIO()
    call_command("search", "shop", "--json", stdout=printed)
    assert json.loads(printed.getvalue()) == answer.json()
    assert {group["kind"]: group["count"] for group in answer.json()["results"]} == EVERYTHING
    (instance,) = answer.json()["results"][0]["rows"]
    shown = {"id": fleet["shop-db"].pk, "name": "shop-db", "instance": None, "instance_name": None, "marks": []}
    assert instance == shown
    account = answer.json()["results"][1]["rows"][0]
    assert (account["name"], account["instance_name"]) == ("shopper@localhost", "shop-db")


def test_a_wrong_question_is_an_error_and_not_an_empty_answer(fleet):
    client = client_of(user_with())
    for query in ({}, {"q": ""}, {"q": "x" * 201}, {"q": "a\0b"}, {"q": "a", "kind": "x"}):
        assert client.get("/api/search/", query).status_code == 400, query
    page = superstaff()
    assert page.get(SEARCH, {"q": "a\0b"}).status_code == 400
    answer = page.get(SEARCH, {"q": "x" * 201})
    assert (answer.status_code, "groups" in answer.context) == (200, False)
    assert 'role="alert"' in answer.text


def test_the_command_escapes_names_and_says_when_nothing_is_found(fleet):
    Account.objects.filter(name="root").update(name="sho\x1b[31mp")
    printed = io.StringIO()
    call_command("search", "31m", stdout=printed)
    assert "\x1b" not in printed.getvalue()
    assert "accounts: 2" in printed.getvalue()
    assert " on bank-db" in printed.getvalue()
    printed = io.StringIO()
    call_command("search", "nothing-like-it", stdout=printed)
    assert printed.getvalue() == "Nothing found.\n"


@pytest.mark.parametrize(
    "text", ["%", "_", "\\", "'", '"', '"\\', "ß", "\u202e", "<b>", "# 1", "#" + "9" * 30, "@", "a@"]
)
def test_any_text_can_be_searched_for(fleet, text):
    Account.objects.filter(name="root").update(name=f"x{text}y")
    assert search(text) is not None
    answer = superstaff().get(SEARCH, {"q": text})
    assert answer.status_code == 200
    assert "<b>" not in answer.text


def test_a_search_takes_a_fixed_number_of_queries(fleet, django_assert_num_queries, monkeypatch):
    now = timezone.now()
    more = [Account(instance=fleet["bank-db"], name=f"z{n:03}", kind="user", first_seen_at=now) for n in range(40)]
    Account.objects.bulk_create(more)
    # One for each kind but sessions.
    with django_assert_num_queries(7):
        search("nothing-like-it")
    # Accounts: which, and their rows.
    with django_assert_num_queries(8):
        (found,) = search("z0")
    assert (found.count, len(found.rows)) == (40, SHOWN)
    monkeypatch.setattr("taifish.search.FEW", 10)
    # Accounts: that they are many, the first by the index, and the count.
    with django_assert_num_queries(9):
        (found,) = search("z0")
    assert (found.count, str(found.rows[0])) == (40, "z000")
    # The rest of the rows, from the middle of names.
    Account.objects.filter(name__gte="z005").update(name=Concat(Value("a "), "name"))
    with django_assert_num_queries(10):
        (found,) = search("z0")
    assert (found.count, len(found.rows)) == (40, SHOWN)
    shown = [str(row) for row in found.rows]
    assert shown[:5] == ["z000", "z001", "z002", "z003", "z004"]
    # Of the others some, in order.
    assert shown[5:] == sorted(shown[5:])
    assert all(name.startswith("a z") for name in shown[5:])


def test_the_field_is_on_every_page(fleet):
    client = superstaff()
    for url in [reverse("admin:index"), SEARCH, *(reverse(name) for name in ("who-can", "health"))]:
        text = client.get(url).text
        assert f'<form action="{SEARCH}" method="get" role="search"' in text, url
        assert "Search apps and models" not in text
    assert "search" in PAGES


@pytest.mark.page
@pytest.mark.parametrize("keys", ["/", "Control+k"])
def test_a_search_by_keyboard_alone(keys, browser_page, live_server, transactional_db, picture):
    Tag.objects.create(slug="shops", label="Shops")
    enter(browser_page, live_server, somebody("superuser"))
    browser_page.goto(live_server.url + reverse("admin:index"))
    browser_page.keyboard.press(keys)
    browser_page.keyboard.type("shop")
    browser_page.keyboard.press("Enter")
    browser_page.wait_for_url("**/admin/search/?q=shop")
    assert "Shops" in browser_page.locator("#content").inner_text()
    assert faults(browser_page) == []
    # In a field, a slash is a slash.
    browser_page.locator(".tf-search-input").fill("a")
    browser_page.keyboard.press("/")
    assert browser_page.locator(".tf-search-input").input_value() == "a/"
    browser_page.set_viewport_size({"width": 390, "height": 800})
    browser_page.goto(live_server.url + reverse("admin:tagging_tag_changelist"))
    browser_page.keyboard.press("Control+k")
    browser_page.wait_for_url("**/admin/search/")
    assert browser_page.locator(".tf-search-input").is_visible()
    browser_page.set_viewport_size({"width": 1500, "height": 950})


@pytest.mark.page
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_home_and_login_are_readable_and_sections_open_by_keyboard(scheme, browser_page, live_server, transactional_db):
    browser_page.emulate_media(color_scheme=scheme)
    browser_page.goto(live_server.url + reverse("admin:login"))
    assert faults(browser_page) == []
    enter(browser_page, live_server, somebody("superuser"))
    browser_page.goto(live_server.url + reverse("admin:index"))
    assert faults(browser_page) == []
    trends = browser_page.locator(f"a[href='{reverse('trends')}']")
    assert not trends.is_visible()
    browser_page.locator("summary", has_text="Capacity").focus()
    browser_page.keyboard.press("Enter")
    assert trends.is_visible()
    assert faults(browser_page) == []
    browser_page.emulate_media(color_scheme="light")
