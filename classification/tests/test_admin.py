"""The pages of classifications, rules and assignments, and what they add to others."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import date, timedelta
from io import StringIO

import pytest
from django.urls import reverse

from accounts.models import Account
from accounts.tests.stored import account
from classification import services
from classification.admin import PREVIEW as PER_PAGE
from classification.models import Assignment, Classification, ClassificationCount, ClassificationRule
from instances.tests.pages import staff, superstaff, told, without_random_words
from sync.models import SyncSession

CLASSES = reverse("admin:classification_classification_changelist")
RULES = reverse("admin:classification_classificationrule_changelist")
PREVIEW = reverse("admin:classification_classificationrule_preview")
ASSIGNMENTS = reverse("admin:classification_assignment_changelist")
VIEW = [f"classification.view_{model}" for model in ("classification", "classificationrule", "assignment")]


def form(rule: ClassificationRule, **fields: object) -> dict[str, object]:
    names = ("code", "name", "engine", "expression", "mapping", "note")
    return {name: getattr(rule, name) for name in names} | {"active": "on"} | fields


@pytest.fixture
def ready(people, rule, applied) -> ClassificationRule:
    first = rule("one", 'superuser or has("CREATEROLE")')
    applied()
    return first


def change(row: object) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])


def test_a_rule_is_saved_in_versions_and_refused_with_its_place(ready):
    """F5.3"""
    client = superstaff()
    answer = client.post(change(ready), form(ready, expression="superuser or\nloked"))
    assert "Line 2, column 1: There is no word loked. Did you mean locked?" in answer.content.decode()
    assert client.post(change(ready), form(ready, expression="locked")).status_code == 302
    ready.refresh_from_db()
    assert (ready.expression, ready.version, ready.versions.first().by.username) == ("locked", 2, "root")
    page = client.get(change(ready)).content.decode()
    for word in ("Words of the rule language", "held_days", "Versions", "3 of 5 accounts matched"):
        assert word in page, word


def test_a_rule_is_checked_and_tried_before_it_is_saved(ready, people):
    """F5.6"""
    client = superstaff()
    asked = {"id": ready.pk, "expression": "superuser or name('carl') or unused_days > 9", "engine": "postgresql"}
    checked = client.post(PREVIEW, asked).content.decode()
    assert "The rule is valid." in checked
    assert "carl" not in checked
    tried = client.post(PREVIEW, asked | {"ask": "effect"}).content.decode()
    for word in ("It matches 2 of 4 accounts.", "1 would gain it", "0 would lose it", "1 keep it", "2 unknown", "carl"):
        assert word in tried, word
    wrong = client.post(PREVIEW, asked | {"expression": "locked or loked"}).content.decode()
    assert "Line 1, column 11" in wrong
    assert '<span class="tf-odd">loked</span>' in wrong
    assert "There is no tag" in client.post(PREVIEW, asked | {"expression": 'instance_tag("x")'}).content.decode()
    assert ready.versions.count() == 1
    assert client.get(PREVIEW).status_code == 405
    assert staff().post(PREVIEW, asked).status_code == 403
    # Who may not see accounts is not shown them here either.
    assert "carl" not in staff(*VIEW).post(PREVIEW, asked | {"ask": "effect"}).content.decode()


def test_a_dry_run_pages_and_exports_all_names(ready, people, instances, django_assert_num_queries):
    """F5.6: each unknown account with the reason; as many queries for many as for few."""
    client = superstaff()
    asked = {"id": ready.pk, "expression": "superuser or unused_days > 9", "engine": "", "ask": "effect"}
    client.post(PREVIEW, asked)
    # Session, user, rule, tags, classifications, whether anything was read, reads, effect; accounts kept and unknown.
    with django_assert_num_queries(10):
        client.post(PREVIEW, asked)
    for number in range(PER_PAGE * 2):
        account(instances[0], f"n{number:03}")
    with django_assert_num_queries(10):
        first = client.post(PREVIEW, asked).content.decode()
    assert ("n000" in first, "n099" in first, "1 to 50 of 104" in first) == (True, False, True)
    assert "no login is recorded, or the engine does not show logins" in first
    last = client.post(PREVIEW, asked | {"outcome": "unknown", "page": 3}).content.decode()
    assert ("n099" in last, "101 to 104 of 104" in last, "ada" in last) == (True, True, True)
    answer = client.post(f"{PREVIEW}?csv=1&id={ready.pk}", {"expression": asked["expression"]})
    rows = list(csv.DictReader(StringIO(b"".join(answer).decode("utf-8-sig"))))
    assert Counter(row["outcome"] for row in rows) == {"unknown": 104, "kept": 1}
    assert {(row["rule"], row["expression"], row["asked by"]) for row in rows} == {("one", asked["expression"], "root")}
    assert {bool(row["not known"]) for row in rows if row["outcome"] == "unknown"} == {True}
    wrong = client.post(f"{PREVIEW}?csv=1", {"expression": "loked"})
    assert (wrong.status_code, "There is no word loked" in wrong.content.decode()) == (400, True)
    assert staff(*VIEW).post(f"{PREVIEW}?csv=1", {"expression": "locked"}).status_code == 403


def test_a_dry_run_is_of_the_instance_and_the_moment_in_the_form(ready, people):
    """As the API and the command."""
    client = superstaff()
    asked = {"expression": "can_login", "ask": "effect"}
    assert "It matches 1 of 1 accounts." in client.post(PREVIEW, asked | {"instance": "my"}).content.decode()
    assert "It matches 0 of 0 accounts." in client.post(PREVIEW, asked | {"as_of": "2026-04-01"}).content.decode()
    for wrong, words in (({"instance": "mi"}, "There is no instance “mi”"), ({"as_of": "soon"}, "neither a day")):
        assert words in client.post(PREVIEW, asked | wrong).content.decode()


def test_the_list_by_number_of_rules_has_each_classification_once(ready, rule):
    """It was sorted by the rules themselves, and repeated a classification for each of them."""
    rule("two", "superuser")
    Classification.objects.create(code="unused", name="Unused")
    client = superstaff()
    columns = client.get(CLASSES).context["cl"].list_display
    rules = next(i for i, column in enumerate(columns) if getattr(column, "path", "") == "n_rules")
    found = client.get(CLASSES, {"o": f"-{rules}"}).context["cl"].result_list
    assert [(row.code, row.n_rules) for row in found] == [(ready.classification.code, 2), ("unused", 0)]


def test_a_deleted_rule_is_retired(ready, applied):
    """F5.2"""
    client = superstaff()
    client.post(RULES, {"action": "delete_selected", "_selected_action": [ready.pk], "post": "yes"})
    ready.refresh_from_db()
    assert (ready.active, bool(ready.retired_at)) == (False, True)
    assert client.get(change(ready)).status_code == 404
    applied()
    assert not Assignment.objects.current().exists()
    second = services.keep_rule(
        ClassificationRule(classification=ready.classification, code="two", name="Two", expression="locked")
    )
    url = reverse("admin:classification_classificationrule_delete", args=[second.pk])
    assert client.post(url, {"post": "yes"}).status_code == 302
    assert ClassificationRule.objects.present().count() == 0


def test_the_page_of_a_classification_lists_its_accounts_and_days(ready, people):
    for days, count in ((2, 1), (1, 5), (0, 3)):
        day = date(2026, 5, 3) - timedelta(days=days)
        ClassificationCount.objects.create(day=day, classification=ready.classification, accounts=count, unknown=days)
    answer = superstaff().get(change(ready.classification))
    assert [str(row.account) for row in answer.context["page"]] == ["ada", "bob", "dba"]
    assert answer.context["chart"]["points"] == "0.00,30.80 50.00,2.00 100.00,16.40"
    assert (answer.context["chart"]["first"].accounts, answer.context["chart"]["last"].accounts) == (1, 3)
    plain = staff("classification.view_classification").get(change(ready.classification)).content.decode()
    assert "ada" not in without_random_words(plain)
    assert "CREATEROLE" not in plain


def test_shipped_classifications_stay(ready):
    Classification.objects.update(is_system=True)
    client = superstaff()
    client.post(CLASSES, {"action": "delete_selected", "_selected_action": [ready.classification_id], "post": "yes"})
    url = reverse("admin:classification_classification_delete", args=[ready.classification_id])
    assert client.post(url, {"post": "yes"}).status_code == 403
    assert Classification.objects.exists()


def test_the_page_of_an_account_says_what_it_is_and_why(ready, people):
    row = Assignment.objects.get(account=people["bob"])
    url = f"{change(people['bob'])}?tab=classifications"
    client = superstaff()
    page = client.get(url).content.decode()
    assert "Why?" in page
    explained = client.get(f"{url}&why={row.pk}").content.decode()
    assert "CREATEROLE, through dba, after switching to a role" in explained
    lesser = Classification.objects.create(code="a", name="Another", priority=1)
    services.assign(people["bob"], lesser, "because", None)
    badges = client.get(url).context["badges"]
    assert ["Another" in badge for badge in badges] == [True]
    ClassificationRule.objects.update(expression="nonsense")
    assert "There is no word nonsense" in client.get(f"{url}&why={row.pk}").content.decode()
    assert client.get(f"{url}&why=x").status_code == 200
    seen = staff("accounts.view_account").get(url)
    assert "classifications" not in {tab["name"] for tab in seen.context["tabs"]}
    assert "Another" not in seen.content.decode()


def test_people_assign_and_withdraw(ready, people):
    """F5.1"""
    client = superstaff()
    add = reverse("admin:classification_assignment_add")
    fields = {"account": people["carl"].pk, "classification": ready.classification_id, "reason": "on call"}
    assert "This field is required" in client.post(add, fields | {"reason": " "}).content.decode()
    assert client.post(add, fields).status_code == 302
    made = Assignment.objects.get(account=people["carl"])
    assert (made.reason, made.assigned_by.username, made.rule) == ("on call", "root", None)
    assert "already" in client.post(add, fields).content.decode()
    by_rule = Assignment.objects.get(account=people["ada"])
    assert "Withdraw" not in client.get(change(by_rule)).content.decode()
    url = reverse("admin:classification_assignment_do", args=[made.pk, "withdraw"])
    assert "no longer classified" in client.post(url).content.decode()
    assert "Withdrawn." in told(client.post(url, {"confirmed": "1"}, follow=True))
    assert staff(*VIEW).post(url, {"confirmed": "1"}).status_code == 403


def test_the_list_of_assignments_answers_what_it_is_asked(ready, people, applied):
    services.assign(people["carl"], ready.classification, "on call", None)
    ended = services.assign(people["web"], ready.classification, "was on call", None)
    services.withdraw(ended)
    client = superstaff()
    expected = {
        "": ["ada", "bob", "carl", "dba"],
        "?current=no": ["web"],
        "?current=all&manual=yes": ["carl", "web"],
        "?manual=no": ["ada", "bob", "dba"],
        f"?rule__id__exact={ready.pk}": ["ada", "bob", "dba"],
        "?classification__risk__exact=low": [],
        "?q=ada": ["ada"],
    }
    for query, names in expected.items():
        rows = client.get(f"{ASSIGNMENTS}{query}").context["cl"].result_list
        assert sorted(row.account.name for row in rows) == names, query


def test_lists_take_a_fixed_number_of_queries(ready, people, instances, rule, applied, django_assert_num_queries):
    for number in range(40):
        account(instances[0], f"s{number}", is_superuser=True)
        rule(f"r{number}", "superuser", name=f"c{number % 7}")
    applied()
    assert Account.objects.count() == 45
    client = superstaff()
    client.get(ASSIGNMENTS)
    # Session, user, two counts, the rows, the saved views.
    with django_assert_num_queries(6):
        client.get(CLASSES)
    # And the classifications of the filter.
    with django_assert_num_queries(7):
        client.get(RULES)
    # And the instances not read lately, and what each account has now.
    with django_assert_num_queries(8):
        client.get(ASSIGNMENTS)


def test_the_list_of_assignments_has_one_row_for_an_account(ready, people, applied):
    other = Classification.objects.create(code="onc", name="On call", risk="low", priority=999)
    services.assign(people["ada"], other, "on call", None)
    client = superstaff()
    shown = client.get(ASSIGNMENTS)
    rows = shown.context["cl"].result_list
    assert sorted(row.account.name for row in rows) == ["ada", "bob", "dba"]
    assert shown.context["cl"].result_count == 3
    page = client.get(f"{ASSIGNMENTS}?q=ada").text
    assert ">On call</span>" in page
    assert f">{ready.classification}</span>" in page
    assert f"tf-risk-{ready.classification.risk}" in page
    assert "tf-risk-low" not in page
    # Filtered by one of its classifications, a row still has all of them.
    page = client.get(f"{ASSIGNMENTS}?classification__id__exact={other.pk}").text
    assert f">{ready.classification}</span>" in page
    past = client.get(f"{ASSIGNMENTS}?current=all&q=ada").context["cl"].result_list
    assert len(past) == 2


def test_runs_are_started_by_those_who_may(ready, instances):
    may = staff(*VIEW, "classification.run_classification", "sync.view_syncsession", "instances.view_instance")
    every = reverse("admin:classification_classification_do_on_list", args=["classify"])
    one = reverse("admin:classification_classificationrule_do", args=[ready.pk, "apply"])
    its = reverse("admin:classification_classification_do", args=[ready.classification_id, "classify"])
    here = reverse("admin:instances_instance_do", args=[instances[0].pk, "classify"])
    for url in (every, one, its, here):
        assert staff(*VIEW, "instances.view_instance").post(url).status_code == 403
    assert may.post(every).status_code == 302
    assert may.post(one).status_code == 302
    assert may.post(its).status_code == 302
    assert may.post(here).status_code == 302
    sessions = SyncSession.objects.order_by("pk")
    assert [(row.params, row.records.count()) for row in sessions] == [
        ({}, 2),
        ({"rules": [ready.pk]}, 2),
        ({"rules": [ready.pk]}, 2),
        ({}, 1),
    ]
    for instance in instances:
        instance.retire()
    assert "no active instance" in told(may.post(every, follow=True))
