"""SQL for items about access by any path: one statement for each path, and nothing that takes away more."""

from __future__ import annotations

import pytest

from accounts.tests.visits import Visits, grant, owner, role
from engines.facts import MembershipFact
from reviews import services
from reviews.remedies import remedies
from reviews.tests.campaigns import campaign, reviewer

pytestmark = pytest.mark.django_db

TABLE = ("SELECT", "table", "shop.a.t", "5/51")
EVIL = "eve'; DROP ROLE x; --\n"


@pytest.fixture
def visits(instances) -> Visits:
    made = Visits(instances[0])
    made.visit(
        [
            role("alice", 1, can_login=True),
            role("team", 2),
            role("bob", 3, can_login=True),
            role("root", 4, can_login=True, is_superuser=True),
            role("olga", 5, can_login=True),
            role(EVIL, 6, can_login=True),
            role("wide", 7, can_login=True),
            role('o"brien', 8, can_login=True),
            role("public", kind="public"),
        ],
        [
            grant("alice", *TABLE),
            grant("team", *TABLE),
            grant(EVIL, *TABLE),
            grant('o"brien', *TABLE),
            grant("root", "SUPERUSER", "attribute"),
            owner("table", "shop.a.t", "5/51", "olga"),
        ],
        [MembershipFact(("alice", ""), ("team", "")), MembershipFact(("bob", ""), ("team", ""))],
    )
    return made


def offered(privilege: str = "SELECT", on: str = "shop.a.t") -> dict[str, tuple[list[str], str]]:
    made = services.freeze(campaign(reviewer("carol"), privilege=privilege, on=on))
    items = list(made.items.filter(what="access"))
    found = remedies(items)
    return {
        item.account_label: (found[item.pk].statements, " ".join(found[item.pk].by_hand))
        for item in items
        if item.pk in found
    }


def test_each_path_has_its_statement(visits):
    """F9.5: the direct grant and the membership, and what ending a membership takes away."""
    found = offered()
    statements, by_hand = found["alice"]
    assert sorted(one.rpartition("\n")[2] for one in statements) == [
        'REVOKE "team" FROM "alice";',
        'REVOKE SELECT ON TABLE "a"."t" FROM "alice";',
    ]
    assert "everything that the role gives" in by_hand
    assert found["bob"][0] == ['REVOKE "team" FROM "bob";']


def test_nothing_that_takes_away_more_or_does_something_else(visits):
    """F7.11: a superuser, an owner and a hostile name get a sentence."""
    found = offered()
    assert found["root"] == ([], found["root"][1])
    assert "take away more" in found["root"][1]
    assert found["olga"][0] == []
    assert "Change the owner" in found["olga"][1]
    assert found[EVIL][0] == []
    assert "control characters" in found[EVIL][1]
    assert any('FROM "o""brien";' in line for line in found['o"brien'][0])


def test_who_is_all_powerful_loses_the_attribute_only(visits):
    assert offered("all-powerful", "")["root"] == (['ALTER ROLE "root" NOSUPERUSER;'], "")


def test_a_right_of_public_is_said_in_words(visits):
    visits.visit([role("alice", 1, can_login=True), role("public", kind="public")], [grant("public", *TABLE)])
    found = offered()
    assert all(not statements or "PUBLIC" in "".join(statements) for statements, _by_hand in found.values())
    assert "alice" not in found or "PUBLIC" in found["alice"][1]


def test_what_is_gone_by_now_has_no_sql(visits):
    made = services.freeze(campaign(reviewer("carol"), privilege="SELECT", on="shop.a.t"))
    visits.visit([role("alice", 1, can_login=True), role("team", 2)], [])
    assert remedies(made.items.filter(account_label__in=["alice", "bob"])) == {}


def test_the_queries_do_not_grow_with_the_items(visits, django_assert_num_queries):
    made = services.freeze(campaign(reviewer("carol"), privilege="SELECT", on="shop.a.t"))
    items = list(made.items.filter(what="access"))
    assert len(items) > 4
    with django_assert_num_queries(9):
        remedies(items[:2])
    with django_assert_num_queries(9):
        remedies(items)
