"""The population of a campaign: what is copied, from which moment, and who refuses to change it."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, connections, transaction

from accounts.models import Account, Grant
from accounts.tests.stored import MAY_1, account
from accounts.tests.visits import Visits, grant, role
from classification.models import Assignment, Classification
from engines.facts import MembershipFact
from reviews import freezing, services
from reviews.models import Campaign, CampaignInstance, Item
from reviews.tests.campaigns import campaign, owned, reviewer
from tagging.models import InstanceTag, Tag

pytestmark = pytest.mark.django_db


@pytest.fixture
def visited(instances) -> Visits:
    visits = Visits(instances[0])
    visits.visit(
        [role("alice", 1, can_login=True), role("team", 2)],
        [grant("alice", "SELECT", "table", "shop.a.t", "5/51")],
        [MembershipFact(("alice", ""), ("team", ""))],
    )
    return visits


def rows(made: Campaign, **conditions: object) -> set[tuple[str, str, str]]:
    return {(item.account_label, item.what, item.right) for item in made.items.filter(**conditions)}


def test_a_campaign_copies_accounts_with_what_they_have_and_what_was_not_read(visited, instances):
    """F9.3: accounts, memberships, grants with chains and since; instances that no visit has read are listed."""
    privileged = Classification.objects.get_or_create(code="own", name="Own", risk="high")[0]
    alice = Account.objects.get(name="alice")
    by = reviewer("carol")
    Assignment.objects.create(
        account=alice, instance=alice.instance, classification=privileged, reason="x", since=MAY_1, assigned_by=by
    )
    made = freezing.freeze(campaign(by))
    assert rows(made, account_label="alice") == {
        ("alice", "account", ""),
        ("alice", "membership", "in role team"),
        ("alice", "grant", "SELECT on table shop.a.t"),
        ("alice", "classification", privileged.name),
    }
    item = made.items.get(what="grant", account_label="alice")
    assert (item.chain[0][0]["text"], item.held_since, item.extent) == (
        "SELECT on table shop.a.t",
        MAY_1,
        "whole object",
    )
    assert (item.usable, item.reviewer, item.risk) == ("at login", by, privileged.risk)
    never = made.instances.get(name="my")
    assert "not visited" in never.stale
    assert never.is_unknown
    assert made.instances.get(name="pg").level == "C"
    assert (made.state, made.query_text[:8], made.scope_text) == ("running", "accounts", "the whole fleet")


def test_the_scope_is_tags_engines_classifications_or_a_question(visited, instances):
    by, tag = reviewer("carol"), Tag.objects.create(slug="prod", label="Production")
    InstanceTag.objects.create(instance=instances[1], tag=tag)
    tagged = campaign(by, name="tagged")
    tagged.tags.add(tag)
    assert [one.name for one in freezing.freeze(tagged).instances.all()] == ["my"]
    asked = freezing.freeze(campaign(by, name="asked", engines=["postgresql"], privilege="SELECT", on="shop.a.t"))
    assert ("alice", "access", "SELECT on object shop.a.t") in rows(asked)
    assert {what for _label, what, _right in rows(asked)} == {"access"}
    none = campaign(by, name="none")
    none.classifications.add(Classification.objects.get_or_create(code="own", name="Own", risk="high")[0])
    assert freezing.freeze(none).items.count() == 0


def test_an_account_is_never_given_to_its_owner_unless_the_owner_answers_for_others(visited):
    """F9.4: the reviewer is not the reviewed."""
    carol, dave = reviewer("carol"), reviewer("dave")
    owned(Account.objects.get(name="alice"), carol)
    owned(Account.objects.get(name="team"), carol, "application")
    made = freezing.freeze(campaign(carol, dave, by="owner"))
    assert {item.reviewer for item in made.items.filter(account_label="alice")} == {dave}
    assert {item.reviewed_id for item in made.items.filter(account_label="alice")} == {carol.pk}
    assert {item.reviewer for item in made.items.filter(account_label="team")} == {carol}
    alone = freezing.freeze(campaign(carol, name="alone"))
    assert {item.reviewer for item in alone.items.filter(account_label="alice")} == {None}


def test_reviewers_of_a_tag_get_the_items_of_its_instances(visited, instances):
    carol, dave = reviewer("carol"), reviewer("dave")
    tag = Tag.objects.create(slug="prod", label="Production")
    InstanceTag.objects.create(instance=instances[0], tag=tag)
    account(instances[1], "bob")
    made = campaign(dave, by="tag")
    made.reviewers.create(user=carol, tag=tag)
    made = freezing.freeze(made)
    assert {item.reviewer for item in made.items.filter(place__name="pg")} == {carol}
    assert {item.reviewer for item in made.items.filter(place__name="my")} == {dave}


def test_a_campaign_is_started_once_and_has_a_reviewer(visited):
    with pytest.raises(services.CampaignError, match="reviewer"):
        freezing.freeze(campaign(name="nobody"))
    made = freezing.freeze(campaign(reviewer("carol")))
    with pytest.raises(services.CampaignError, match="already"):
        freezing.freeze(made)


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.items.update(account_label="x"),
        lambda made: made.items.all().delete(),
        lambda made: made.instances.update(stale=""),
        lambda made: made.delete(),
    ],
)
def test_the_store_refuses_to_change_a_population(visited, change):
    """F9.6: also where SQL comes past the pages."""
    made = freezing.freeze(campaign(reviewer("carol")))
    with pytest.raises(DatabaseError, match=r"frozen|Only drafts"), transaction.atomic():
        change(made)


@pytest.mark.parametrize("table", ["campaign", "campaigninstance", "item", "decision", "observation", "delegation"])
@pytest.mark.parametrize("before", ["", "SET LOCAL session_replication_role = replica; "])
def test_the_store_refuses_to_empty_the_tables_of_frozen_campaigns(visited, table, before):
    """F9.6: TRUNCATE fires no trigger for rows, and CASCADE starts from any table."""
    freezing.freeze(campaign(reviewer("carol")))
    with pytest.raises(DatabaseError, match=r"TRUNCATE of reviews_\w+ is refused"), transaction.atomic():
        connection.cursor().execute(f"SET CONSTRAINTS ALL IMMEDIATE; {before}TRUNCATE reviews_{table} CASCADE")


def test_tables_with_drafts_only_can_be_emptied(visited):
    campaign(reviewer("carol"))
    connection.cursor().execute("SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE reviews_campaign CASCADE")
    assert not Campaign.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_flush_keeps_frozen_campaigns(visited):
    """F9.6: nothing else is deleted either."""
    made = freezing.freeze(campaign(reviewer("carol")))
    with pytest.raises(CommandError, match="flush"):
        call_command("flush", interactive=False, verbosity=0)
    assert made.items.exists()


def test_drafts_can_be_deleted(visited):
    campaign(reviewer("carol")).delete()
    assert not Campaign.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_population_is_that_of_one_moment_while_visits_write(instances, monkeypatch):
    """F9.3: what a visit commits during the freeze is no part of it, as a whole."""
    visits = Visits(instances[0])
    visits.visit([role("alice", 1)], [grant("alice", "SELECT", "table", "shop.a.t", "5/51")])
    copy = freezing._copy_instances

    def visit_meanwhile(made: Campaign, answer: object) -> None:
        from threading import Thread

        def write() -> None:
            visits.visit([role("bob", 3)], [grant("bob", "SELECT", "table", "shop.a.t", "5/51")])
            connections.close_all()

        thread = Thread(target=write)
        thread.start()
        thread.join()
        copy(made, answer)

    monkeypatch.setattr(freezing, "_copy_instances", visit_meanwhile)
    before = set(Grant.objects.filter(until=None).values_list("account__name", "privilege"))
    made = freezing.freeze(campaign(reviewer("carol")))
    assert Account.objects.filter(name="bob", gone_at=None).exists()
    assert {(item.account_label, item.privilege) for item in made.items.filter(what="grant")} == before
    assert not made.items.filter(account_label="bob").exists()
    assert made.items.filter(account_label="alice", what="account").exists()


def test_a_hostile_name_is_copied_as_it_is(visited):
    name = "'; DROP TABLE x; --\n<b>%s"
    visited.visit([role(name, 9)], [grant(name, "SELECT", "table", 'shop.a."%s"', "5/52")])
    made = freezing.freeze(campaign(reviewer("carol")))
    assert made.items.filter(account_label=name).count() == 2
    assert CampaignInstance.objects.count() == 2
    assert Item.objects.filter(object='shop.a."%s"').exists()
    assert connection.vendor == "postgresql"
