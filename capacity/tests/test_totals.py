"""The sum of sizes by day: a missing day is bridged for a week, and never counted as 0."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from capacity.models import InstanceSize
from capacity.tests.stored import total
from capacity.totals import BRIDGED, totals
from instances.models import Credential, Instance


@pytest.fixture
def fleet(db: None) -> list[Instance]:
    credential = Credential.objects.create(name="c", username="u")
    return [Instance.objects.create(name=f"db{n}", engine="mysql", host="h", credential=credential) for n in range(3)]


def found(fleet: list[Instance], days: int = 10) -> dict[int, tuple[int, int]]:
    """Days ago → size and number of instances."""
    today = timezone.localdate()
    return {(today - one.day).days: (one.size, one.n) for one in totals([row.pk for row in fleet], days)}


def test_a_missing_day_keeps_the_last_size(fleet):
    for ago in (5, 4, 2):
        total(fleet[0], 100 * ago, ago=ago)
    assert found(fleet) == {5: (500, 1), 4: (400, 1), 3: (400, 1), 2: (200, 1), 1: (200, 1), 0: (200, 1)}


def test_an_instance_counts_from_its_first_size(fleet):
    total(fleet[0], 100, ago=3)
    total(fleet[1], 1000, ago=1)
    assert found(fleet) == {3: (100, 1), 2: (100, 1), 1: (1100, 2), 0: (1100, 2)}


def test_an_instance_that_was_not_measured_for_a_week_is_not_in_the_sum(fleet):
    """F2.5: neither as 0 nor as it was."""
    total(fleet[0], 100, ago=BRIDGED + 1)
    total(fleet[1], 1000, ago=BRIDGED)
    sums = found(fleet, days=30)
    assert sums[0] == (1000, 1)
    assert set(sums.values()) == {(1000, 1)}


def test_days_are_left_out_when_one_was_unknown_for_too_long(fleet):
    total(fleet[0], 100, ago=20)
    for ago in (20, 10, 0):
        total(fleet[1], 1000, ago=ago)
    total(fleet[0], 300, ago=0)
    sums = found(fleet, days=30)
    assert sums[20] == (1100, 2)
    assert sums[20 - BRIDGED] == (1100, 2)
    assert 20 - BRIDGED - 1 not in sums
    assert 5 not in sums
    assert sums[0] == (1300, 2)


def test_incomplete_days_do_not_count_and_a_size_before_the_first_day_does(fleet):
    total(fleet[0], 100, ago=1)
    total(fleet[0], 1, is_complete=False)
    assert found(fleet, days=1) == {0: (100, 1)}


def test_nothing_is_known_without_sizes(fleet, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert found(fleet) == {}
    total(fleet[0], 100)
    assert totals([], 10) == []
    InstanceSize.objects.update(day=timezone.localdate() - timedelta(days=100))
    assert found(fleet) == {}
