"""Role closure, against the obvious slow computation."""

from __future__ import annotations

from itertools import product

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import closure
from accounts.models import Account, Membership, RoleReach
from instances.models import Credential, Instance

NOW = timezone.now()

Edge = tuple[int, int, bool, bool, bool]


@pytest.fixture
def instance(db):
    credential = Credential.objects.create(name="c", username="c")
    return Instance.objects.create(name="i", engine="postgresql", host="h", credential=credential)


def build(instance: Instance, size: int, edges: list[Edge]) -> list[int]:
    Account.objects.filter(instance=instance).delete()
    accounts = Account.objects.bulk_create(
        Account(instance=instance, name=f"a{n}", kind="role", first_seen_at=NOW) for n in range(size)
    )
    ids = [account.pk for account in accounts]
    once = {(member, role): rest for member, role, *rest in edges if member != role}
    Membership.objects.bulk_create(
        Membership(
            member_id=ids[m],
            role_id=ids[r],
            admin_option=admin,
            inherit=inherit,
            set_option=set_option,
            since=NOW,
            held_since=NOW,
        )
        for (m, r), (admin, inherit, set_option) in once.items()
    )
    return ids


def rebuild(instance: Instance) -> None:
    with transaction.atomic():
        closure.rebuild(instance.pk)


def reachable(pairs: set[tuple[int, int]]) -> set[tuple[int, int]]:
    reached = set(pairs)
    while more := {(a, d) for (a, b), (c, d) in product(reached, pairs) if b == c} - reached:
        reached |= more
    return {(a, b) for a, b in reached if a != b}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.booleans(), st.booleans(), st.booleans()), max_size=24)
)
def test_closure_equals_the_naive_one(instance, edges):
    """F1.9: nested roles, also in a cycle; each option along a path of its own."""
    build(instance, 8, edges)
    rows = list(Membership.objects.values_list("member_id", "role_id", "admin_option", "inherit", "set_option"))
    any_path = reachable({row[:2] for row in rows})
    inherited = reachable({row[:2] for row in rows if row[3]})
    settable = reachable({row[:2] for row in rows if row[4]})
    admins = {row[:2] for row in rows if row[2]}
    rebuild(instance)
    for reach in RoleReach.objects.all():
        pair = (reach.member_id, reach.role_id)
        assert reach.inherits == (pair in inherited)
        assert reach.can_set == (pair in settable)
        assert reach.is_admin == any(
            role == pair[1] and (holder == pair[0] or (pair[0], holder) in any_path) for holder, role in admins
        )
        if reach.depth > 1:
            step = RoleReach.objects.get(member=reach.member_id, role=reach.via_id)
            assert step.depth == reach.depth - 1
        else:
            assert reach.via_id == reach.member_id
        assert (reach.via_id, reach.role_id) in {row[:2] for row in rows}
    assert set(RoleReach.objects.values_list("member_id", "role_id")) == any_path


def test_stacked_diamonds_take_a_statement_a_level_and_no_more(instance):
    """A recursive query that carries its paths would walk 2^30 of them."""
    edges: list[Edge] = []
    for level in range(30):
        top, left, right, bottom = 3 * level, 3 * level + 1, 3 * level + 2, 3 * level + 3
        edges += [(a, b, False, True, True) for a, b in [(top, left), (top, right), (left, bottom), (right, bottom)]]
    ids = build(instance, 91, edges)
    with CaptureQueriesContext(connection) as queries:
        rebuild(instance)
    assert len(queries) < 75
    assert RoleReach.objects.get(member=ids[0], role=ids[90]).depth == 60


def test_rebuilding_touches_no_row_that_stays(instance):
    ids = build(instance, 4, [(0, 1, False, True, True), (1, 2, False, True, True)])
    rebuild(instance)

    def versions():
        with connection.cursor() as cursor:
            cursor.execute("SELECT member_id, role_id, xmin::text, ctid::text FROM accounts_rolereach")
            return {row[:2]: row[2:] for row in cursor.fetchall()}

    before = versions()
    Membership.objects.create(
        member_id=ids[3], role_id=ids[2], admin_option=False, inherit=True, set_option=True, since=NOW, held_since=NOW
    )
    rebuild(instance)
    after = versions()
    assert {pair: after[pair] for pair in before} == before
    assert len(after) == len(before) + 1
    Membership.objects.filter(member_id=ids[1]).update(until=NOW)
    rebuild(instance)
    assert set(versions()) == {(ids[0], ids[1]), (ids[3], ids[2])}


def test_another_instances_closure_is_left_alone(instance):
    ids = build(instance, 2, [(0, 1, False, True, True)])
    rebuild(instance)
    other = Instance.objects.create(name="o", engine="postgresql", host="h", credential=instance.credential)
    rebuild(other)
    assert RoleReach.objects.filter(member_id=ids[0]).exists()
