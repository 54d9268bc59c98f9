"""Owners by rules about the names of accounts."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.urls import reverse

from accounts.tests.stored import account
from instances.tests.api import client_with
from instances.tests.pages import entered, staff
from owners.matching import matching
from owners.models import OwnerRule, Ownership, Person
from owners.tests.test_owners import limited_to
from tagging.models import InstanceTag, Tag

MAY = (
    "accounts.view_account",
    "owners.view_ownerrule",
    "owners.view_person",
    "owners.view_ownership",
    "owners.add_ownership",
    "owners.change_ownership",
)


def owners() -> dict[str, str]:
    rows = Ownership.objects.exclude(owner=None).select_related("account", "owner")
    return {row.account.name: row.owner.name for row in rows}


@pytest.fixture
def people(db) -> None:
    Person.objects.create(name="Alice", mail="alice@example.com", external_id="E1")
    Person.objects.create(name="Bob", mail="bob@example.com", external_id="E2")
    Person.objects.create(name="Other Bob", mail="bob@example.org", external_id="E3")
    Person.objects.create(name="Nameless")


def test_each_kind_of_rule_finds_its_accounts(instances, people, django_assert_num_queries):
    """F9.1"""
    pg, _my = instances
    for name in ("e1", "bob@example.org", "alice", "adm_E2", "bob", "nobody", ""):
        account(pg, name)
    account(pg, "E3", is_system=True)
    for order, (match, pattern) in enumerate(
        [("external_id", ""), ("mail", ""), ("mail_name", ""), ("pattern", "adm_{external_id}")]
    ):
        OwnerRule.objects.create(match=match, pattern=pattern, order=order, kind="person")
    # Rules, people, accounts; and tags where rules have some.
    with django_assert_num_queries(3):
        result = matching()
    assert [(one.account.name, [person.name for person in one.people]) for one in result.ambiguous] == [
        ("bob", ["Bob", "Other Bob"])
    ]
    result.save()
    assert owners() == {"e1": "Alice", "bob@example.org": "Other Bob", "alice": "Alice", "adm_E2": "Bob"}
    assert set(Ownership.objects.values_list("kind", flat=True)) == {"person"}
    assert matching().found == []


def test_an_owner_is_never_changed_and_kind_and_note_stay(instances, people):
    """F9.1"""
    pg, my = instances
    bob = Person.objects.get(name="Bob")
    Ownership.objects.create(account=account(pg, "alice"), owner=bob)
    Ownership.objects.create(account=account(my, "alice"), kind="shared", note="n")
    OwnerRule.objects.create(match="mail_name", kind="person")
    result = matching()
    # Set by somebody else in the meantime.
    late = account(pg, "e1")
    OwnerRule.objects.create(match="external_id")
    late_result = matching()
    Ownership.objects.create(account=late, owner=bob)
    late_result.save()
    result.save()
    found = {(row.account.instance.name, row.account.name): row for row in Ownership.objects.all()}
    assert {key: row.owner.name for key, row in found.items()} == {
        ("pg", "alice"): "Bob",
        ("my", "alice"): "Alice",
        ("pg", "e1"): "Bob",
    }
    assert (found["my", "alice"].kind, found["my", "alice"].note) == ("shared", "n")


def test_rules_may_be_for_an_engine_or_a_tag(instances, people):
    pg, my = instances
    account(pg, "alice"), account(my, "alice", host="%")
    rule = OwnerRule.objects.create(match="mail_name", engine="mysql")
    assert [one.account.instance for one in matching().found] == [my]
    rule.engine, rule.tag = "", Tag.objects.create(slug="lab", label="Lab")
    rule.save()
    assert matching().found == []
    InstanceTag.objects.create(instance=pg, tag=rule.tag)
    assert [one.account.instance for one in matching().found] == [pg]
    OwnerRule.objects.update(active=False)
    assert matching().found == []


@pytest.mark.parametrize("pattern", ["", "adm", "{mail}{mail_name}", "{name}"])
def test_a_pattern_has_one_placeholder(db, pattern):
    with pytest.raises(ValidationError):
        OwnerRule(match="pattern", pattern=pattern).full_clean()


def test_the_page_shows_matches_before_it_stores_them(instances, people):
    """F9.1"""
    pg, my = instances
    account(pg, "alice"), account(pg, "bob"), account(my, "E1")
    OwnerRule.objects.create(match="mail_name")
    OwnerRule.objects.create(match="external_id")
    button = reverse("admin:owners_ownerrule_do_on_list", args=["match"])
    client = entered(limited_to(pg, permissions=MAY))
    html = client.post(button).content.decode()
    for text in ("1 account would get an owner", "Several people match", "bob@example.org"):
        assert text in html
    assert owners() == {}
    told = client.post(button, {"confirmed": "1"}, follow=True).content.decode()
    assert "Owners set: 1. Still open, because several people match: 1." in told
    assert owners() == {"alice": "Alice"}
    assert staff(*MAY[:4]).post(button).status_code == 403


def run(*options: str) -> tuple[int, list[str]]:
    out = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("match_owners", *options, stdout=out)
    return left.value.code, out.getvalue().splitlines()


def test_the_command_and_the_api(instances, people):
    """F9.1"""
    pg, _my = instances
    account(pg, "alice"), account(pg, "bob")
    OwnerRule.objects.create(match="mail_name")
    code, lines = run("--dry-run")
    assert (code, [line.split()[:3] for line in lines[1:]]) == (
        3,
        [["ambiguous", "pg", "bob"], ["matched", "pg", "alice"]],
    )
    assert "E2, E3" in lines[1]
    assert owners() == {}
    client = client_with(*MAY)
    answer = client.post("/api/owner-rules/match/", {"dry_run": True}, format="json").data
    assert [row["people"] for row in answer["ambiguous"]] == [["E2", "E3"]]
    assert owners() == {}
    client.post("/api/owner-rules/match/", {}, format="json")
    assert owners() == {"alice": "Alice"}
    assert client_with(*MAY[:5]).post("/api/owner-rules/match/", {}, format="json").status_code == 403
