"""Decisions about items: whose they are, why, and that they are never changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, transaction
from django.utils import timezone

from accounts.models import Account
from accounts.tests.stored import account
from audit.models import Event
from reviews import services
from reviews.models import Campaign, Decision, Item
from reviews.services import CampaignError
from reviews.tests.campaigns import campaign, owned, reviewer

pytestmark = pytest.mark.django_db


@pytest.fixture
def carol():
    return reviewer("carol")


@pytest.fixture
def made(instances, carol) -> Campaign:
    for name in ("alice", "bob", "eve"):
        account(instances[0], name, can_login=True)
    return services.freeze(campaign(carol))


def ids(made: Campaign, *names: str) -> list[int]:
    return list(made.items.filter(account_label__in=names).values_list("pk", flat=True))


def test_the_last_decision_counts_and_all_are_kept(made, carol):
    """F9.4."""
    (alice,) = ids(made, "alice")
    services.decide([alice], "keep", carol, seconds=7)
    services.decide([alice], "revoke", carol, reason="has left")
    assert Item.objects.get(pk=alice).verdict == "revoke"
    assert [item.pk for item in Item.objects.open()] == [alice]
    told = [(one.verdict, one.reason, one.by_name, one.seconds) for one in Decision.objects.order_by("pk")]
    assert told == [("keep", "", "carol", 7), ("revoke", "has left", "carol", None)]


def test_a_bulk_decision_leaves_a_trace_and_one_event(made, carol):
    services.decide(ids(made, "alice", "bob"), "keep", carol)
    one, other = Decision.objects.all()
    assert one.bulk == other.bulk is not None
    assert (one.bulk_size, other.bulk_size) == (2, 2)
    event = Event.objects.get(kind="decision")
    assert (event.after["n_items"], event.after["verdict"], event.object) == (2, "keep", "Q4")


@pytest.mark.parametrize("verdict", ["revoke", "change"])
def test_a_reason_is_needed_to_take_something_away(made, carol, verdict):
    with pytest.raises(CampaignError, match="reason"):
        services.decide(ids(made, "alice"), verdict, carol, reason="  ")
    assert not Decision.objects.exists()


def test_nobody_decides_about_items_of_others(made):
    with pytest.raises(CampaignError, match="not yours"):
        services.decide(ids(made, "alice"), "keep", reviewer("mallory"))


def test_nobody_reviews_their_own_account_however_it_came_to_them(made, carol):
    """Decided alone or in bulk, delegated, reassigned, or with an owner who was named later: all is refused."""
    root, dave = reviewer("root"), reviewer("dave")
    root.user_permissions.add(Permission.objects.get(codename="change_campaign"))
    owned(Account.objects.get(name="alice"), carol)
    owned(Account.objects.get(name="bob"), dave)
    for chosen in (["alice"], ["alice", "bob"]):
        with pytest.raises(CampaignError, match="own account"):
            services.decide(ids(made, *chosen), "keep", carol)
    for by in (carol, root):
        with pytest.raises(CampaignError, match="own account"):
            services.delegate(ids(made, "bob"), dave, by, reason="holiday")
    assert not Decision.objects.exists()
    assert {item.reviewer for item in Item.objects.all()} == {carol}


def test_the_store_too_refuses_who_was_known_as_the_owner(instances, carol):
    dave = reviewer("dave")
    owned(account(instances[0], "alice"), carol)
    item = services.freeze(campaign(dave)).items.get(account_label="alice")
    with pytest.raises(DatabaseError, match="own account"), transaction.atomic():
        item.decisions.create(verdict="keep", by=carol, by_name="carol", at=timezone.now())


def test_items_are_delegated_with_a_reason_and_a_trace(made, carol):
    dave = reviewer("dave")
    with pytest.raises(CampaignError, match="reason"):
        services.delegate(ids(made, "alice"), dave, carol, reason="")
    (one,) = services.delegate(ids(made, "alice", "bob"), dave, carol, reason="holiday")
    assert (one.from_name, one.to_name, one.n_items, one.reason) == ("carol", "dave", 2, "holiday")
    services.decide(ids(made, "alice"), "keep", dave)
    with pytest.raises(CampaignError, match="not yours"):
        services.decide(ids(made, "bob"), "keep", carol)


def test_items_are_not_delegated_to_who_cannot_decide(made, carol):
    dave = reviewer("dave")
    dave.user_permissions.clear()
    with pytest.raises(CampaignError, match="cannot decide"):
        services.delegate(ids(made, "alice"), dave, carol, reason="holiday")


@pytest.mark.parametrize("change", [lambda rows: rows.update(verdict="keep"), lambda rows: rows.delete()])
def test_decisions_are_append_only(made, carol, change):
    services.decide(ids(made, "alice"), "revoke", carol, reason="has left")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        change(Decision.objects.all())


def test_a_campaign_is_closed_acknowledged_and_sealed_in_this_order(made, carol):
    """F9.6."""
    with pytest.raises(CampaignError, match="3 items"):
        services.close(made)
    services.decide(ids(made, "alice", "bob", "eve"), "keep", carol)
    with pytest.raises(CampaignError):
        services.acknowledge(made, carol, "seen")
    services.close(made)
    with pytest.raises(CampaignError, match="not running"):
        services.decide(ids(made, "alice"), "keep", carol)
    with pytest.raises(CampaignError, match="Write"):
        services.acknowledge(made, carol, " ")
    services.acknowledge(made, carol, "Seen and accepted.")
    sealed = services.seal(made)
    assert (sealed.state, sealed.acknowledged_name) == ("sealed", "carol")
    for change in (lambda: Campaign.objects.update(note="x"), lambda: Item.objects.update(verdict="revoke")):
        with pytest.raises(DatabaseError, match=r"sealed|frozen"), transaction.atomic():
            change()


def test_reviewers_who_are_late_are_named(made, carol):
    services.decide(ids(made, "alice"), "keep", carol)
    assert services.overdue_reviewers() == []
    Campaign.objects.filter(pk=made.pk).update(due_on=timezone.localdate() - timedelta(days=1))
    (late,) = services.overdue_reviewers()
    assert (late["campaign__name"], late["reviewer__username"], late["n"]) == ("Q4", "carol", 2)
    assert services.close(Campaign.objects.get()).state == "closed"


def test_progress_and_differences(made, carol, instances, django_assert_num_queries):
    """F9.7."""
    services.decide(ids(made, "alice"), "revoke", carol, reason="has left")
    with django_assert_num_queries(2):
        (row,) = services.progress(made)
    assert (row["user"], row["n"], row["undecided"], row["revoke"], row["percent"]) == (carol, 3, 2, 1, 33)
    Account.objects.filter(name="eve").update(gone_at=timezone.now())
    account(instances[0], "new")
    following = services.freeze(campaign(carol, name="Q1", previous=made))
    found = services.differences(following)
    assert [item.account_label for item in found["added"]] == ["new"]
    assert [item.account_label for item in found["removed"]] == ["eve"]
    before = {item.account_label: item.previous_verdict for item in following.items.with_previous()}
    assert before == {"alice": "revoke", "bob": "", "new": None}
