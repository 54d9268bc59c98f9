"""Why an account is what it is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Account, Coverage
from accounts.tests.stored import MAY_1, account, join
from classification.explain import Line, explain
from classification.models import ClassificationRule
from classification.tests.conftest import grant


def why(expression: str, of: Account, **options: object) -> list[Line]:
    return explain(ClassificationRule(expression=expression), of, **options)


def test_each_part_says_what_it_found_and_by_which_way(people):
    lines = why('can_login and (superuser or has("CREATEROLE") or member_of("d*")) and not name("carl")', people["bob"])
    assert [(line.depth, line.text, line.verdict) for line in lines] == [
        (0, 'can_login and (superuser or has("CREATEROLE") or member_of("d*")) and not name("carl")', True),
        (1, "can_login", True),
        (1, 'superuser or has("CREATEROLE") or member_of("d*")', True),
        (2, "superuser", False),
        (2, 'has("CREATEROLE")', True),
        (2, 'member_of("d*")', True),
        (1, 'not name("carl")', True),
        (2, 'name("carl")', False),
    ]
    assert lines[4].because == ["CREATEROLE, through dba, after switching to a role, since 2026-05-01 00:00"]
    assert lines[5].because == ["through dba"]


def test_a_longer_way_owner_rights_and_everybody_are_told(people, instances):
    pg = instances[0]
    public = account(pg, "PUBLIC", kind="public")
    stand_in = account(pg, "pg_database_owner", kind="role")
    team = account(pg, "team", kind="role")
    join(people["carl"], team)
    join(team, people["dba"], admin_option=True)
    grant(public, "CONNECT", kind="database", database="shop", scope="shop")
    grant(people["dba"], "OWNER", kind="database", database="shop", scope="shop")
    grant(stand_in, "CREATE", kind="schema", database="shop", scope="shop.public")
    told = {
        line.text: line.because
        for line in why(
            'has("CONNECT", on="shop") and has("CREATE", on="shop.public") and member_of("dba", admin=True)'
            ' and has("CREATE", direct=True) and attribute("CREATEROLE")',
            people["carl"],
        )
    }
    assert told['has("CONNECT", on="shop")'] == ["CONNECT on database shop, through PUBLIC, since 2026-05-01 00:00"]
    assert told['has("CREATE", on="shop.public")'] == [
        "CREATE on schema shop.public, through team → dba → pg_database_owner, since 2026-05-01 00:00"
    ]
    assert told['member_of("dba", admin=True)'] == ["through team → dba"]
    assert told['has("CREATE", direct=True)'] == told['attribute("CREATEROLE")'] == []
    (own,) = why('attribute("CREATEROLE")', people["dba"])
    assert own.because == ["CREATEROLE, since 2026-05-01 00:00"]


def test_what_is_unknown_says_why(people, instances):
    lines = why('has("FILE") or unused_days > 90 or password_expired', people["carl"])
    assert [line.verdict for line in lines] == [None, False, None, None]
    assert lines[2].because == ["no login is recorded, or the engine does not show logins"]
    assert lines[3].because == ["the engine does not show it, or visits could not read it"]
    Coverage.objects.update(beyond=["table"], gaps=[{"scope": "memberships", "database": "", "message": "no SELECT"}])
    (unknown,) = why('has("SELECT")', people["carl"])
    assert (unknown.verdict, unknown.because) == (None, ["no SELECT", "read depth A leaves out: table"])
    Coverage.objects.all().delete()
    (unvisited,) = why('member_of("dba")', people["carl"])
    assert (unvisited.verdict, unvisited.because) == (None, ["no visit had read the instance by then"])


def test_the_past_is_explained_as_it_was(people):
    grant(people["carl"], "CREATEROLE", since=MAY_1 + timedelta(days=1), until=MAY_1 + timedelta(days=3))
    then = why('has("CREATEROLE")', people["carl"], at=MAY_1 + timedelta(days=2))
    assert (then[0].verdict, then[0].because) == (True, ["CREATEROLE, since 2026-05-02 00:00"])
    assert [line.verdict for line in why('has("CREATEROLE")', people["carl"])] == [False]


@pytest.mark.parametrize("fields", [{"engine": "mysql"}, {}])
def test_a_rule_that_is_not_about_the_account_explains_nothing(people, fields):
    if not fields:
        Account.objects.update(gone_at=timezone.now())
    people["ada"].refresh_from_db()
    assert explain(ClassificationRule(expression="superuser", **fields), people["ada"]) == []


def test_since_is_uninterrupted_possession(people):
    """F7.10"""
    later = MAY_1 + timedelta(days=30)
    grant(people["dba"], "CREATEDB", since=later, held_since=MAY_1)
    people["bob"].memberships.update(since=later, held_since=MAY_1)
    (line,) = why('has("CREATEDB")', people["bob"])
    assert line.because == ["CREATEDB, through dba, after switching to a role, since 2026-05-01 00:00"]


def test_rights_on_built_in_objects_are_unknown(people):
    """F7.7: the rights that PostgreSQL ships with are not recorded; those that are, are found."""
    Coverage.objects.update(covered=["memberships", "attribute", "database", "schema", "table", "column", "routine"])
    grant(people["bob"], "SELECT", kind="table", database="shop", scope="shop.pg_catalog.pg_authid")
    (bobs,), (carls,) = (why('has("SELECT", on="shop.pg_catalog.pg_authid")', people[name]) for name in ("bob", "carl"))
    assert (bobs.verdict, carls.verdict) == (True, None)
    assert carls.because == ["on built-in objects, the rights that the engine ships with are not recorded"]
    (orders,) = why('has("SELECT", on="shop.public.orders")', people["carl"])
    (webs,) = why('has("SELECT", on="shop.pg_catalog.pg_authid")', people["web"])
    assert (orders.verdict, webs.verdict) == (False, False)
