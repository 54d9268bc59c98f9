"""The rules that Taifish ships."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command

from accounts.models import Account
from accounts.tests.stored import account
from classification import library, services
from classification.models import Assignment, Classification, ClassificationRule
from classification.tests.conftest import grant, membership
from instances.adapters import ENGINES


@pytest.fixture
def installed(people) -> list[str]:
    return library.install()


def held(code: str) -> list[str]:
    return sorted(str(row.account) for row in Assignment.objects.current().filter(rule__code=code))


def test_every_shipped_rule_is_one_and_belongs_to_something(installed):
    assert len(installed) == len(library.RULES) == len({rule.code for rule in library.RULES})
    assert {rule.classification for rule in library.RULES} <= {kind.code for kind in library.CLASSIFICATIONS}
    for kind in Classification.objects.all():
        kind.full_clean()
    for rule in ClassificationRule.objects.all():
        if rule.engine in ("", *ENGINES):
            rule.full_clean()
        else:
            # Until an adapter serves it.
            assert (rule.engine, rule.active) == ("oracle", False)
            rule.engine = ""
            rule.full_clean()


def test_what_people_edit_or_delete_stays_so(installed):
    """Never overwritten, never put back."""
    edited, deleted = ClassificationRule.objects.get(code="pg-01"), ClassificationRule.objects.get(code="pg-02")
    edited.expression, edited.active = "superuser", False
    services.keep_rule(edited)
    services.retire_rule(deleted)
    Classification.objects.filter(code="open-door").update(name="Ours", colour="#000000")
    out = StringIO()
    call_command("install_rules", stdout=out)
    assert out.getvalue() == "all rules are there already\n"
    edited.refresh_from_db()
    assert (edited.expression, edited.active, edited.version) == ("superuser", False, 2)
    assert ClassificationRule.objects.present().filter(code="pg-02").count() == 0
    assert Classification.objects.get(code="open-door").name == "Ours"
    ClassificationRule.objects.filter(code="pg-03").delete()
    call_command("install_rules", stdout=out)
    assert "created: pg-03" in out.getvalue()


def test_they_find_what_they_are_for(installed, people, instances, applied):
    pg, my = instances
    ClassificationRule.objects.exclude(engine="oracle").update(active=True)
    public = account(pg, "PUBLIC", kind="public", can_login=False)
    grant(public, "CREATE", kind="schema", database="shop", scope="shop.public")
    reader = account(pg, "reader", can_login=True, is_superuser=False, is_locked=False)
    membership(reader, account(pg, "pg_read_all_data", kind="role", is_system=True))
    membership(people["dba"], people["ada"])
    root = account(my, "root", host="%", can_login=True, is_superuser=True, is_locked=False)
    grant(root, "SUPER", kind="system", grantable=True)
    grant(root, "INSERT", kind="system")
    account(my, "", host="localhost", can_login=True, is_superuser=False)
    services.assign(people["ada"], Classification.objects.get(code="approved-admin"), "she is", None)
    told = applied()
    assert [row["gaps"] for row in told.values()] == [[], []]
    found = {code: held(code) for code in ("all-01", "pg-01", "pg-02", "pg-04", "pg-07", "pg-10", "my-01", "my-02")}
    assert found == {
        "all-01": ["bob", "root@%"],
        "pg-01": ["ada"],
        "pg-02": ["bob", "dba"],
        "pg-04": ["bob", "dba"],
        "pg-07": ["reader"],
        "pg-10": ["PUBLIC"],
        "my-01": ["root@%"],
        "my-02": ["@localhost"],
    }
    assert held("my-05") == held("my-11") == held("my-12") == held("my-08") == ["root@%"]
    assert held("my-06") == ["web@%"]
    assert held("all-02") == []
    assert Account.objects.get(name="root").assignments.filter(classification__code="open-door").exists()
