"""For how long rights are held: exactly, or at least where the first visit that could see them did."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.freshness import known_of
from accounts.models import Account, Coverage
from accounts.tests.visits import Visits, grant, role
from engines.facts import MembershipFact
from reviews import pack, services
from reviews.models import CampaignInstance
from reviews.tests.campaigns import campaign, reviewer

pytestmark = pytest.mark.django_db

TABLE = ("SELECT", "table", "shop.a.t", "5/51")


@pytest.fixture
def visits(instances, monkeypatch) -> Visits:
    made = Visits(instances[0])
    people = [role("alice", 1, can_login=True), role("bob", 2, can_login=True), role("team", 3)]
    joined = [MembershipFact(("alice", ""), ("team", ""))]
    monkeypatch.setattr("accounts.tests.visits.MAY_1", timezone.now() - timedelta(days=10, minutes=5))
    made.visit(people, [grant("alice", *TABLE)], joined)
    for _day in range(5):
        made.visit(people, [grant("alice", *TABLE), grant("bob", *TABLE)], joined)
    return made


def rows(made) -> dict[tuple[str, str], tuple[object, ...]]:
    made.sealed_at = timezone.now()
    return {(row["account"], row["what"]): (row["days_held"], row["days_held_is"]) for row in pack.items(made)}


def test_the_item_and_the_pack_say_how_long_and_whether_it_may_be_longer(visits):
    """F9.2. What no visit has seen for five days is not known to be held."""
    made = services.freeze(campaign(reviewer("carol")))
    found = rows(made)
    assert found["alice", "grant"] == (5, "at least")
    assert found["alice", "membership"] == (5, "at least")
    assert found["bob", "grant"] == (4, "exact")
    held = {item.account_label: item.held for item in made.items.filter(what="grant")}
    assert held == {"alice": "at least 5 days", "bob": "4 days"}


def test_what_appears_because_more_is_read_may_be_older(visits, instances):
    """A partial read is no answer: a visit that reads less than today does not say that a right was not there."""
    Coverage.objects.filter(instance=instances[0]).update(covered=["database", "memberships"])
    people = [role("alice", 1, can_login=True), role("bob", 2, can_login=True), role("team", 3)]
    visits.visit(people, [grant("alice", *TABLE), grant("bob", *TABLE), grant("team", *TABLE)])
    made = services.freeze(campaign(reviewer("carol")))
    assert rows(made)["team", "grant"] == (0, "at least")


def test_what_appears_after_visits_that_could_not_read_may_be_older(visits, instances):
    """It may have been granted between them, also when earlier visits read as much as the last one."""
    people = [role("alice", 1, can_login=True), role("bob", 2, can_login=True)]
    visits.visit(people, [])
    first = Coverage.objects.get(instance=instances[0])
    middle, last = (first.since + timedelta(days=number) for number in (2, 4))
    Coverage.objects.filter(pk=first.pk).update(until=middle)
    for since, until, gaps in ((middle, last, [{"code": "unreadable"}]), (last, None, [])):
        first.pk, first.since, first.until, first.gaps = None, since, until, gaps
        first.save(force_insert=True)
    assert known_of([first.instance_id])[first.instance_id].since == last


def test_an_instance_that_no_visit_has_read_has_no_first_visit(instances):
    made = services.freeze(campaign(reviewer("carol")))
    assert set(CampaignInstance.objects.filter(campaign=made).values_list("known_from", flat=True)) == {None}


def test_the_page_of_the_account_and_of_the_item_say_it(visits, admin_client):
    for name, words in (("alice", "at least 5 days"), ("bob", "4 days")):
        answer = admin_client.get(f"/admin/accounts/account/{Account.objects.get(name=name).pk}/change/?tab=grants")
        assert words in answer.content.decode()
    assert "at least" not in answer.content.decode()
    made = services.freeze(campaign(reviewer("carol")))
    item = made.items.get(account_label="alice", what="membership")
    page = admin_client.get(f"/admin/reviews/item/{item.pk}/change/").content.decode()
    assert "at least 5 days" in page
