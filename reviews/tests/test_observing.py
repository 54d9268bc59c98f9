"""A revoke is closed by a visit that sees the right gone, and opened again by one that sees it there: real servers."""

from __future__ import annotations

import pytest

from reviews import services
from reviews.models import Item, Observation
from reviews.remedies import remedies
from reviews.tests.campaigns import campaign, reviewer
from sync.tests.targets import visit_once


def state(what: str) -> bool | None:
    return Item.objects.with_observed().get(verdict="revoke", what=what).is_gone


def test_a_visit_closes_what_it_sees_revoked_and_opens_what_is_granted_again(server, add):
    """F9.5: a grant, a membership, access by any path and an account on a live PostgreSQL."""
    server.fresh_database("shop")
    server.execute("CREATE TABLE t ()", database="shop")
    server.execute(
        "CREATE ROLE readers; CREATE ROLE alice LOGIN SUPERUSER IN ROLE readers; GRANT SELECT ON t TO alice",
        database="shop",
    )
    instance = add("live", server.collector(level="B"), level="B")
    visit_once("accounts", instance)
    carol = reviewer("carol")
    made = services.freeze(campaign(carol))
    of_alice = made.items.filter(account_label="alice")
    assert {one.what for one in of_alice.exclude(object__in=["public.t", "shop"])} >= {
        "account",
        "membership",
        "access",
    }
    revoked = [
        of_alice.get(what="grant", privilege="SELECT", object="shop.public.t"),
        of_alice.get(what="membership"),
        of_alice.get(what="access"),
        of_alice.get(what="account"),
    ]
    services.decide([one.pk for one in revoked], "revoke", carol, reason="has left")
    visit_once("accounts", instance)
    assert not Observation.objects.exists(), "nothing was revoked yet"
    assert set(Item.objects.open()) == set(revoked)
    sql = "\n".join(line for remedy in remedies(Item.objects.open()).values() for line in remedy.statements)
    assert 'REVOKE "readers" FROM "alice"' in sql
    assert "NOLOGIN" in sql

    server.execute("REVOKE SELECT ON t FROM alice; REVOKE readers FROM alice", database="shop")
    server.execute("ALTER ROLE alice NOSUPERUSER NOLOGIN")
    seen = visit_once("accounts", instance)
    assert [state(what) for what in ("grant", "membership", "access", "account")] == [True] * 4
    assert {one.session for one in Observation.objects.all()} == {seen.session_id}
    assert not Item.objects.open().exists()
    visit_once("accounts", instance)
    assert Observation.objects.count() == 4, "a later visit that sees the same says nothing new"

    server.execute("GRANT SELECT ON t TO alice; ALTER ROLE alice SUPERUSER", database="shop")
    visit_once("accounts", instance)
    assert [state(what) for what in ("grant", "membership", "access", "account")] == [False, True, False, True]
    assert {one.what for one in Item.objects.open()} == {"grant", "access"}


def test_a_visit_that_cannot_read_closes_nothing(server, add):
    """A failed or partial read is no answer: the database of the grant refuses connections."""
    server.fresh_database("shop")
    server.execute("CREATE TABLE t ()", database="shop")
    server.execute("CREATE ROLE alice LOGIN; GRANT SELECT ON t TO alice", database="shop")
    instance = add("live", server.collector(level="B"), level="B")
    visit_once("accounts", instance)
    carol = reviewer("carol")
    made = services.freeze(campaign(carol))
    item = made.items.get(account_label="alice", what="grant", object="shop.public.t")
    services.decide([item.pk], "revoke", carol, reason="not needed")
    server.execute("REVOKE SELECT ON t FROM alice", database="shop")
    server.execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    assert visit_once("accounts", instance).status == "partial"
    assert state("grant") is None
    server.execute("GRANT CONNECT ON DATABASE shop TO PUBLIC")
    visit_once("accounts", instance)
    assert state("grant") is True


pytestmark = pytest.mark.django_db(transaction=True)
