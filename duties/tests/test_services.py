"""Who holds both sides of a pair of duties."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.models import Account
from accounts.tests.stored import account
from classification.models import Assignment, Classification
from duties.models import DutyPair
from duties.services import conflicts_of
from owners.models import Ownership, Person
from owners.tests.test_owners import limited_to


@pytest.fixture
def pair(db: None) -> DutyPair:
    first, second = (Classification.objects.create(code=f"side-{n}", name=f"Side {n}") for n in (1, 2))
    return DutyPair.objects.create(
        name="Pay", reason="four eyes", first_classification=first, second_classification=second
    )


def assign(of: Account, classification: Classification) -> None:
    Assignment.objects.create(
        account=of, instance=of.instance, classification=classification, reason="by hand", since=timezone.now()
    )


def test_one_owner_with_the_sides_on_two_instances_is_a_conflict(pair, instances):
    one, other = instances[:2]
    alice = Person.objects.create(name="Alice Li")
    first, second, loose = account(one, "a"), account(other, "b"), account(one, "loose")
    for owned in (first, second):
        Ownership.objects.create(account=owned, owner=alice)
    assign(first, pair.first_classification)
    assign(second, pair.second_classification)
    assign(loose, pair.first_classification)
    found = conflicts_of(pair)
    assert [(row.owner, row.first, row.second) for row in found.conflicts] == [("Alice Li", [first], [second])]
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


@pytest.mark.parametrize("values", [{}, {"first_on": "shop"}, {"first_privilege": "SELECT", "first_on": '"'}])
def test_a_side_without_a_valid_question_is_refused(values, db):
    with pytest.raises(ValidationError) as refused:
        DutyPair(name="x", reason="y", second_privilege="all-powerful", **values).full_clean()
    assert any(name.startswith("first_") for name in refused.value.message_dict)
