"""Pages that show an object before its form, and what is shown where there is none."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, Coverage
from alerts.models import Alert, AlertRule
from classification.models import Assignment, Classification, ClassificationRule, RuleResult
from instances.models import Credential, Instance
from instances.tests.api import user_with
from instances.tests.pages import entered, staff, superstaff
from sync.models import SyncRecord, VisitHealth
from tagging.models import Tag, TagLimit
from taifish.tests.fleet import small_fleet

HOSTILE = "app<b>\u202e"


@pytest.fixture
def instance(db: None) -> Instance:
    """An instance with a risky superuser and an open alert."""
    instance = small_fleet()
    Account.objects.filter(name="app").update(name=HOSTILE, is_superuser=True)
    account = Account.objects.get()
    risky = Classification.objects.create(code="boss", name="Boss", risk="critical", priority=1)
    rule = ClassificationRule.objects.create(classification=risky, code="r", name="r", expression="superuser")
    Assignment.objects.create(
        account=account, instance=instance, classification=risky, rule=rule, since=timezone.now() - timedelta(hours=1)
    )
    RuleResult.objects.create(rule=rule, instance=instance, version=1, at=timezone.now(), examined=2, matched=1)
    now = timezone.now()
    alert_rule = AlertRule.objects.create(name="paused", kind="paused")
    Alert.objects.create(
        rule=alert_rule, instance=instance, key="k", text=f"{HOSTILE} is paused", first_seen_at=now, last_seen_at=now
    )
    return instance


def url(row, view: str = "change") -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{view}", args=[row.pk])


def html(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, address
    return answer.content.decode()


def words(page: str) -> str:
    """The text of the page, without tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def shown() -> list:
    return [Instance.objects.get(name="orders"), Credential.objects.get(), Classification.objects.get(code="boss")]


def test_a_page_shows_the_object_and_the_form_stands_behind_edit(instance):
    client = superstaff()
    for row in shown():
        page = html(client, url(row))
        assert 'name="_save"' not in page
        assert 'href="?edit=1"' in page
        form = html(client, url(row) + "?edit=1")
        assert 'name="_save"' in form
        assert 'name="note"' in form


def test_who_may_only_look_has_no_edit_and_no_form(instance):
    for row in shown():
        model = f"{row._meta.app_label}.view_{row._meta.model_name}"
        for address in (url(row), url(row) + "?edit=1"):
            page = html(staff(model), address)
            assert 'href="?edit=1"' not in page
            assert 'name="_save"' not in page
            assert "_form" not in page
        assert html(staff(), url(row), 403)


def test_saving_leads_to_the_object_and_a_form_with_errors_stays_a_form(instance):
    client, credential = superstaff(), Credential.objects.get()
    address = url(credential)
    fields = {"name": "renamed", "username": "u", "kind": "password", "hosts": "*", "password": "p", "note": "n"}
    assert client.post(f"{address}?edit=1", fields).url == address
    assert client.post(address, fields | {"_continue": 1}).url == f"{address}?edit=1"
    kept = f"{address}?_changelist_filters=q%3Dx"
    assert client.post(kept, fields | {"_continue": 1}).url == f"{kept}&edit=1"
    refused = client.post(f"{address}?edit=1", fields | {"name": ""})
    assert refused.status_code == 200
    assert 'name="_save"' in refused.content.decode()
    assert "This field is required." in refused.content.decode()
    assert "edit=1&amp;_changelist_filters=q%3Dx" in html(client, kept)


def test_the_form_in_a_popup_is_a_form(instance):
    assert 'name="_save"' in html(superstaff(), url(Credential.objects.get()) + "?_popup=1")


def test_who_may_delete_but_not_edit_reaches_the_deletion(instance):
    credential = Credential.objects.get()
    page = html(staff("instances.view_credential", "instances.delete_credential"), url(credential))
    assert url(credential, "delete") in page
    assert "edit=1" not in page


def test_the_page_of_an_instance_begins_with_its_state(instance, django_assert_num_queries):
    """F1.1: is it reachable, when was it read, what is at risk, what is open, what changed."""
    client = superstaff()
    client.get(url(instance))
    with django_assert_num_queries(29):
        page = client.get(url(instance)).content.decode()
    head = words(page[page.index("tf-head") : page.index("Last visits")])
    for text in (
        "connection unknown at the last visit",
        "Accounts paused 5 failures in a row Last success: –",
        "Capacity paused 5 failures in a row Last success: –",
        "orders is unknown",
        "Lab",
        "Boss critical 1 account",
        "1 Accounts at high risk",
        "1 Accounts",
        "1 Superusers",
        "3.00 KiB Size",
        "Full",
        "1 Open alerts",
        "Latest changes",
        "classified",
    ):
        assert text in head, (text, head)
    assert "app<b>" not in page
    assert "\u202e" not in page


@pytest.mark.parametrize(
    ("code", "state"),
    [("auth_failed", "cannot connect"), ("denied", "connected"), ("timeout", "connection unknown")],
)
def test_whether_visits_connect_is_what_the_last_one_says(instance, code, state):
    VisitHealth.objects.filter(kind="capacity").update(error_code=code, failed_at=timezone.now() + timedelta(1))
    page = words(html(superstaff(), url(instance)))
    assert f"{state} at the last visit" in page


def test_a_success_after_a_failure_counts(instance):
    VisitHealth.objects.filter(kind="capacity").update(error_code="unreachable")
    later = timezone.now() + timedelta(minutes=1)
    VisitHealth.objects.filter(kind="accounts").update(succeeded_at=later, failures=0, error_code="", paused_at=None)
    assert "connected at the last visit" in words(html(superstaff(), url(instance)))


def test_what_was_never_read_is_not_zero(instance):
    other = Instance.objects.get(name="never-visited")
    page = words(html(superstaff(), url(other)))
    for text in (
        "never visited",
        "– Accounts",
        "– Superusers",
        "– Size",
        "– Accounts at high risk",
        "Not classified yet.",
    ):
        assert text in page, text


def test_unknown_answers_of_rules_make_the_count_a_lower_bound(instance):
    RuleResult.objects.update(unknown=1)
    page = words(html(superstaff(), url(instance)))
    assert "1 or more Accounts at high risk" in page
    assert "1 answer unknown" in page
    RuleResult.objects.update(unknown=0, message="wrong")
    assert "1 or more Accounts at high risk" in words(html(superstaff("again"), url(instance)))
    # A rule that is off answers nothing.
    ClassificationRule.objects.filter(code="r").update(active=False)
    assert "1 Accounts at high risk" in words(html(superstaff("third"), url(instance)))


def test_each_part_of_the_page_needs_its_permission(instance):
    page = words(html(staff("instances.view_instance"), url(instance)))
    for text in ("Superusers", "Open alerts", "Risks", "Size", "paused", "Sync accounts", "classified"):
        assert text not in page, text
    assert "No changes in 30 days that you may see." in page


def test_an_account_shows_its_risk_and_whether_it_is_a_superuser(instance):
    """F3.1"""
    account = Account.objects.get()
    client = superstaff()
    top = words(html(client, url(account)).partition("tf-facts")[0])
    assert "orders is unknown" in top
    assert "superuser Boss critical" in top
    Account.objects.update(is_superuser=False)
    assert "not a superuser" in words(html(client, url(account)))
    Account.objects.update(is_superuser=None)
    now = timezone.now()
    Coverage.objects.create(
        instance=instance, level="A", covered=[], beyond=[], unread=["is_superuser"], since=now, read_at=now
    )
    assert "superuser: unknown" in words(html(client, url(account)))
    plain = words(html(staff("accounts.view_account"), url(account)))
    assert "Boss" not in plain


def test_a_credential_lists_the_instances_that_the_user_may_see(instance):
    page = words(html(superstaff(), url(Credential.objects.get())))
    assert "Instances 2" in page
    group = Group.objects.create(name="lab")
    TagLimit.objects.create(group=group, tag=Tag.objects.get(slug="lab"))
    user = user_with("instances.view_credential", "instances.view_instance")
    user.groups.add(group)
    page = words(html(entered(user), url(Credential.objects.get())))
    assert "orders" in page
    assert "never-visited" not in page
    hidden = Instance.objects.get(name="never-visited")
    assert html(entered(User.objects.get(pk=user.pk)), url(hidden), 404)


def test_a_missing_object_is_a_page_with_a_search_box(instance):
    """A bad id and a wrong address are, too."""
    client = superstaff()
    for address in (
        reverse("admin:instances_instance_change", args=[99999]),
        reverse("admin:instances_instance_change", args=["no-id"]),
        reverse("admin:instances_instance_history", args=[99999]),
        reverse("admin:accounts_account_change", args=[99999]),
        reverse("admin:planning_sizelimit_change", args=[99999]),
        "/admin/no/such/page/",
    ):
        page = html(client, address, 404)
        assert "There is no such page or object" in page
        assert 'role="search"' in page
        assert 'name="q"' in page


def test_a_missing_object_says_nothing_to_who_is_not_logged_in(instance):
    address = reverse("admin:instances_instance_change", args=[99999])
    assert Client().get(address).status_code == 302
    outside = Client().get("/nowhere/")
    assert (outside.status_code, 'role="search"' in outside.content.decode()) == (404, False)
    missing = superstaff().get("/api/nothing/")
    assert (missing.status_code, missing["Content-Type"]) == (404, "application/json")


def test_a_visit_below_a_second_is_given_in_milliseconds(instance):
    now = timezone.now()
    SyncRecord.objects.update(started_at=now - timedelta(milliseconds=340), finished_at=now)
    assert "340 ms" in words(html(superstaff(), url(instance)))
