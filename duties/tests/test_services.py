"""Who holds both sides of a pair of duties."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from access.tests.test_questions import grant, instance
from accounts.models import Account, Coverage
from accounts.tests.stored import account, join
from classification.models import Assignment, Classification, ClassificationRule, RuleResult
from duties.models import AcceptedConflict, DutyPair
from duties.services import Found, accept, conflicts_of
from owners.models import Ownership, Person
from owners.tests.test_owners import limited_to


@pytest.fixture
def pair(db: None) -> DutyPair:
    first, second = (Classification.objects.create(code=f"side-{n}", name=f"Side {n}") for n in (1, 2))
    return DutyPair.objects.create(
        name="Pay", reason="four eyes", first_classification=first, second_classification=second
    )


@pytest.fixture
def rights(db: None) -> DutyPair:
    """Who enters payments must not approve them."""
    return DutyPair.objects.create(
        name="Payments",
        reason="four eyes",
        first_privilege="INSERT",
        first_on="shop.public.payments",
        second_privilege="update",
        second_on="bank.approvals",
    )


def assign(of: Account, classification: Classification) -> None:
    Assignment.objects.create(
        account=of, instance=of.instance, classification=classification, reason="by hand", since=timezone.now()
    )


def owned(by: Person, *accounts: Account) -> None:
    Ownership.objects.bulk_create(Ownership(account=one, owner=by) for one in accounts)


def payments() -> dict[str, Account]:
    """On an instance of PostgreSQL, clerks enter payments, and alice is a clerk; on one of MySQL, `approver` approves
    them."""
    one, other = instance("pg", "postgresql"), instance("my", "mysql")
    made = {"alice": account(one, "alice"), "clerks": account(one, "clerks", kind="role", can_login=False)}
    join(made["alice"], made["clerks"])
    grant(made["clerks"], "INSERT", "table", "shop.public.payments", database="shop")
    made["approver"] = account(other, "approver", host="%")
    grant(made["approver"], "UPDATE", "table", "bank.approvals", database="bank")
    return made


def brief(found: Found) -> list[tuple[str, list[str], list[str]]]:
    return [
        (one.label, [str(held) for held in one.first], [str(held) for held in one.second]) for one in found.conflicts
    ]


def test_one_owner_with_the_sides_on_two_instances_is_a_conflict(pair, instances):
    one, other = instances[:2]
    alice = Person.objects.create(name="Alice Li")
    first, second, loose = account(one, "a"), account(other, "b"), account(one, "loose")
    owned(alice, first, second)
    assign(first, pair.first_classification)
    assign(second, pair.second_classification)
    assign(loose, pair.first_classification)
    found = conflicts_of(pair)
    assert [(row.owner, row.first, row.second) for row in found.conflicts] == [(alice, [first], [second])]
    assert found.without_owner == 1
    # No visit has read them: no answer about others.
    assert {one, other} <= found.unknown.keys()
    # A limited user learns nothing of the hidden side.
    assert conflicts_of(pair, limited_to(one)).conflicts == []


def test_an_account_without_owner_is_a_conflict_alone(pair, instances):
    both = account(instances[0], "both")
    assign(both, pair.first_classification)
    assign(both, pair.second_classification)
    (row,) = conflicts_of(pair).conflicts
    assert (row.owner, row.first, row.second) == (None, [both], [both])
    assert conflicts_of(pair).without_owner == 0


def test_rights_on_two_engines_by_a_role(rights):
    """Each side says by which path and how it can be used; the role itself, which cannot log in, holds nothing."""
    made = payments()
    owned(Person.objects.create(name="Alice Li"), made["alice"], made["approver"])
    found = conflicts_of(rights)
    assert brief(found) == [("Alice Li", ["alice"], ["approver@%"])]
    assert (found.unknown, found.without_owner) == ({}, 0)
    first, second = found.paths(found.conflicts)
    words = first[made["alice"].pk]
    assert words.startswith("clerks → INSERT on table shop.public.payments (blocked: no CONNECT on shop")
    assert second == {made["approver"].pk: "UPDATE on table bank.approvals (at login)"}


def test_without_an_owner_accounts_are_only_counted(rights):
    payments()
    found = conflicts_of(rights)
    assert (found.conflicts, found.without_owner) == ([], 2)


def test_a_locked_account_still_holds_its_side(rights):
    """It takes one statement to unlock it. The path says that it is locked."""
    made = payments()
    owned(Person.objects.create(name="Alice Li"), made["alice"], made["approver"])
    Account.objects.filter(name="alice").update(can_login=False)
    Account.objects.filter(name="approver").update(is_locked=True)
    found = conflicts_of(rights)
    assert brief(found) == [("Alice Li", ["alice"], ["approver@%"])]
    first, second = found.paths(found.conflicts)
    assert "cannot log in" in first[made["alice"].pk]
    assert second[made["approver"].pk].endswith("(blocked: locked)")


def test_accounts_that_the_engine_locks_hold_nothing(pair, instances):
    """Those that a filter hides do."""
    system = account(instances[0], "mysql.session", is_system=True, is_locked=True)
    root = account(instances[0], "root", is_system=True, can_login=True)
    gone = account(instances[0], "gone", gone_at=timezone.now())
    hidden = account(instances[0], "hidden", is_filtered=True)
    for one in (system, root, gone, hidden):
        assign(one, pair.first_classification)
        assign(one, pair.second_classification)
    assert [row.label for row in conflicts_of(pair).conflicts] == ["hidden", "root"]


def test_what_is_not_known_is_no_answer(rights, pair):
    """An instance that was not read, or not deep enough, has its reason; so has a rule that is not decided."""
    made = payments()
    Coverage.objects.filter(instance__name="my").update(covered=["memberships"], beyond=["table"], level="A")
    stale = instance("stale", "postgresql", read_at=timezone.now() - timedelta(days=30))
    reasons = {str(one): reason for one, reason in conflicts_of(rights).unknown.items()}
    assert reasons.keys() == {"my", "stale"}
    assert "read depth A leaves out: table" in reasons["my"]
    assert "last read" in reasons["stale"]
    rule = ClassificationRule.objects.create(
        classification=pair.first_classification, code="clerks", name="Clerks", expression="superuser"
    )
    RuleResult.objects.create(
        rule=rule, instance=made["alice"].instance, version=1, at=timezone.now(), unknown=1, examined=1
    )
    found = conflicts_of(pair)
    assert found.unknown[made["alice"].instance] == "the rule clerks is not decided for all accounts"
    assert stale in found.unknown


def test_what_public_holds_is_not_known_by_person(rights):
    made = payments()
    public = account(made["alice"].instance, "PUBLIC", kind="public", can_login=False)
    grant(public, "INSERT", "table", "shop.public.payments", database="shop")
    found = conflicts_of(rights)
    assert found.unknown == {public.instance: "everyone there holds a side through PUBLIC"}


def test_a_side_that_no_visit_has_seen_has_no_answer(rights):
    payments()
    rights.second_privilege = "UPDAT"
    found = conflicts_of(rights)
    assert found.is_unknown
    assert "UPDAT" in found.error


def test_accepted_until_a_day_and_for_these_accounts(rights, django_user_model):
    """With another account, or after its day, a conflict is open again."""
    made = payments()
    alice = Person.objects.create(name="Alice Li")
    owned(alice, made["alice"], made["approver"])
    user = django_user_model.objects.create_superuser("root")
    key = f"owner-{alice.pk}"
    assert accept(rights, [key], user, reason="small branch", ticket="T-1", ends_on=timezone.localdate()) == 1
    found = conflicts_of(rights)
    assert (found.conflicts, [one.label for one in found.accepted]) == ([], ["Alice Li"])
    row = AcceptedConflict.objects.get()
    assert (row.owner, row.account, row.accepted_by, row.reason) == (alice, None, user, "small branch")
    AcceptedConflict.objects.update(ends_on=timezone.localdate() - timedelta(days=1))
    assert len(conflicts_of(rights).conflicts) == 1
    accept(rights, [key], user, reason="small branch")
    assert conflicts_of(rights).conflicts == []
    another = account(made["approver"].instance, "approver2", host="%")
    grant(another, "UPDATE", "table", "bank.approvals", database="bank")
    owned(alice, another)
    assert len(conflicts_of(rights).conflicts) == 1


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        ([], {"reason": "r"}, "Choose conflicts."),
        (["owner-0"], {"reason": "r"}, "1 of the conflicts are no longer there"),
        (["both"], {"reason": " "}, "This field cannot be blank"),
        (["both"], {"reason": "r", "ends_on": timezone.localdate() - timedelta(days=1)}, "This day has passed."),
    ],
)
def test_an_acceptance_needs_a_reason_and_a_conflict(pair, instances, keys, values, message):
    both = account(instances[0], "both")
    assign(both, pair.first_classification)
    assign(both, pair.second_classification)
    with pytest.raises(ValidationError, match=message):
        accept(pair, [f"account-{both.pk}" if key == "both" else key for key in keys], None, **values)
    assert not AcceptedConflict.objects.exists()


@pytest.mark.parametrize("values", [{}, {"first_on": "shop"}, {"first_privilege": "SELECT", "first_on": '"'}])
def test_a_side_without_a_valid_question_is_refused(values, db):
    with pytest.raises(ValidationError) as refused:
        DutyPair(name="x", reason="y", second_privilege="all-powerful", **values).full_clean()
    assert any(name.startswith("first_") for name in refused.value.message_dict)


def test_a_side_has_one_of_both_and_not_the_other_side(pair):
    pair.first_privilege = "SELECT"
    with pytest.raises(ValidationError, match="not both"):
        pair.full_clean()
    pair.first_privilege = ""
    pair.second_classification = pair.first_classification
    with pytest.raises(ValidationError, match="Both sides are the same"):
        pair.full_clean()


def test_no_more_queries_for_more_accounts(rights, django_assert_max_num_queries, django_assert_num_queries):
    made = payments()
    owned(Person.objects.create(name="Alice Li"), made["alice"], made["approver"])

    def ask() -> int:
        found = conflicts_of(rights)
        return len(found.paths(found.conflicts)[0])

    with django_assert_max_num_queries(60) as before:
        assert ask() == 1
    for number in range(5):
        more = account(made["alice"].instance, f"a{number}")
        join(more, made["clerks"])
        other = account(made["approver"].instance, f"b{number}", host="%")
        grant(other, "UPDATE", "table", "bank.approvals", database="bank")
        owned(Person.objects.create(name=f"Person {number}"), more, other)
    with django_assert_num_queries(len(before.captured_queries)):
        assert ask() == 6
