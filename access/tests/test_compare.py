"""F7.13: differences between accounts, instances, moments, and one account on many instances."""

from __future__ import annotations

import csv
import json
import re
from datetime import timedelta
from io import StringIO
from itertools import product

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from hypothesis import given, settings
from hypothesis import strategies as st

from access.compare import EXISTS, Asked, compare
from access.matrix import matrix
from access.patterns import overlap
from access.questions import who_can
from access.tests.test_questions import grant, instance
from accounts.models import Account
from accounts.tests.stored import MAY_1, MAY_3, account, join
from instances.models import Instance
from instances.tests.api import client_with
from instances.tests.pages import staff
from tagging.models import InstanceTag, Tag

URL = reverse("compare")


@pytest.fixture
def two(db: None) -> dict[str, Account]:
    """On one: ada and bob in writers, which bob must switch to; ada got DELETE on 3 May. On two: ada only."""
    one, other = instance("one", "postgresql", beyond=["column"]), instance("two", "postgresql", beyond=["column"])
    made = {name: account(one, name) for name in ("ada", "bob")}
    made["writers"] = account(one, "writers", kind="role", can_login=False)
    made["ada2"] = account(other, "ada", is_locked=True)
    made["public"] = account(one, "public", kind="public")
    join(made["ada"], made["writers"])
    join(made["bob"], made["writers"], inherit=False)
    for connected in ("public", "ada2"):
        grant(made[connected], "CONNECT", "database", "shop", database="shop")
    grant(made["writers"], "INSERT", "table", "shop.public.orders", database="shop")
    grant(made["ada"], "UPDATE", "table", "shop.public.orders", database="shop", grantable=True)
    grant(made["ada2"], "UPDATE", "table", "shop.public.orders", database="shop")
    grant(made["ada"], "DELETE", "table", "shop.public.orders", database="shop", since=MAY_3)
    tag = Tag.objects.create(slug="prod", label="Production")
    for tagged in (one, other, instance("three", "postgresql")):
        InstanceTag.objects.create(instance=tagged, tag=tag)
    return made


def found(**asked: object) -> dict[tuple[str, str, str], dict[str, tuple[str, bool]]]:
    """(account, path, privilege) → side → (usable, grantable)."""
    return {
        (one.account, one.object.path, one.privilege): {
            name: (right.usable, right.grantable) for name, right in one.sides.items()
        }
        for one in compare(Asked(**asked)).differences()
    }


def test_two_accounts(two):
    """Only one has it, or the way or the option differ; what PUBLIC has, both have."""
    orders = "shop.public.orders"
    grant(two["writers"], "USAGE", "schema", "shop.public", database="shop")
    assert found(instance="one", account="ada", other_account="bob") == {
        ("", "shop.public", "USAGE"): {"one: ada": ("login", False), "one: bob": ("switch", False)},
        ("", orders, "DELETE"): {"one: ada": ("login", False)},
        ("", orders, "INSERT"): {"one: ada": ("login", False), "one: bob": ("switch", False)},
        ("", orders, "UPDATE"): {"one: ada": ("login", True)},
    }


def test_one_account_at_two_moments(two):
    """What it got since."""
    then = MAY_1 + timedelta(days=1)
    differences = found(instance="one", account="ada", at=then, other_at=MAY_3 + timedelta(days=1))
    assert {key: [*sides] for key, sides in differences.items()} == {
        ("", "shop.public.orders", "DELETE"): ["one: ada, 2026-05-04 00:00"]
    }
    before = found(instance="one", account="ada", at=MAY_1 - timedelta(days=1), other_at=then)
    assert ("", "", EXISTS) in before


def test_two_instances(two):
    """All accounts by name: those that are missing, that cannot log in, and rights with other options."""
    differences = found(instance="one", other_instance="two")
    orders = "shop.public.orders"
    assert differences["bob", "", EXISTS] == {"one": ("login", False)}
    assert differences["ada", "", EXISTS] == {"one": ("login", False), "two": ("blocked", False)}
    assert differences["ada", orders, "UPDATE"] == {"one": ("blocked", True), "two": ("blocked", False)}
    assert differences["ada", orders, "INSERT"].keys() == {"one"}
    assert differences["public", "shop", "CONNECT"].keys() == {"one"}
    comparison = compare(Asked(instance="one", other_instance="two"))
    assert (comparison.unknown, comparison.without_columns) == ({}, True)
    # Of a column, one may have what three has.
    comparison = compare(Asked(instance="one", other_instance="three"))
    assert (comparison.unknown, comparison.without_columns) == ({"one": "read depth B leaves out: column"}, False)


def test_which_grants_count_on_mysql_depends_on_the_database(db):
    """F7.9: where patterns overlap that one session may have, or a privilege is revoked for a database, a comparison
    without a database is unknown. The matrix of one database is not."""
    for name, scopes in (
        ("apart", {"a": ["app%", "shop"], "b": ["app_x"]}),
        ("own", {"a": ["app%", "ap_"], "b": []}),
        ("anonymous", {"a": ["shop"], "": ["%p"]}),
        ("twice", {"a": ["shop"], "a@": ["shop"]}),
        ("revoked", {"a": ["!shop"]}),
    ):
        made = instance(name, "mysql")
        for who, patterns in scopes.items():
            one = account(made, who.removesuffix("@"), host="%" if "@" in who else "10.%")
            for scope in patterns:
                text = scope.removeprefix("!")
                grant(one, "SELECT", "database", text, database=text, denied="!" in scope)
    tag = Tag.objects.create(slug="my", label="My")
    for one in Instance.objects.all():
        InstanceTag.objects.create(instance=one, tag=tag)
    unknown = compare(Asked(account="a", tag="my")).unknown
    assert {*unknown} == {"own", "anonymous", "twice", "revoked"}
    assert "depends on the database" in unknown["own"]
    assert matrix("shop", instances=Instance.objects.all()).unknown == {}
    assert {str(one) for one in matrix("", instances=Instance.objects.all()).unknown} == {*unknown}
    assert {str(one) for one in who_can("SELECT", "*.t").unknown} == {*unknown}


PATTERN = st.text("ab%_\\", max_size=5).map(lambda text: re.sub(r"\\(?![%_\\])", "", text))


@settings(deadline=None)
@given(PATTERN, PATTERN)
def test_patterns_overlap_if_a_name_fits_both(one, other):
    """F7.9: against all names of at most five characters."""
    like = [
        re.compile("".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in re.findall(r"\\.|.", text)))
        for text in (one, other)
    ]
    names = ("".join(chars) for size in range(6) for chars in product("ab%_\\", repeat=size))
    found = any(like[0].fullmatch(name) and like[1].fullmatch(name) for name in names)
    assert not found or overlap(one, other)
    if len(one) + len(other) < 6:
        assert found == overlap(one, other)


def test_one_account_on_all_instances_of_a_tag(two, django_assert_num_queries):
    """In one statement for all instances; those without the account are named."""
    with django_assert_num_queries(11):
        comparison = compare(Asked(account="ada", tag="prod"))
        differences = {(one.object.path, one.privilege): one for one in comparison.differences()}
    assert comparison.absent == ["three"]
    update = differences["shop.public.orders", "UPDATE"]
    assert {name: right.grantable for name, right in update.sides.items()} == {"one": True, "two": False}
    assert differences["shop.public.orders", "DELETE"].without == ["two"]
    # On one by PUBLIC, on two by itself.
    assert ("shop", "CONNECT") not in differences


def test_two_sides_are_two_statements(two, django_assert_num_queries):
    """F7.13: for any number of accounts and rights."""
    for number in range(20):
        made = account(two["ada"].instance, f"m{number}")
        join(made, two["writers"])
    with django_assert_num_queries(16):
        assert len(found(instance="one", other_instance="two")) > 40


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({}, "Choose an instance or a tag."),
        ({"instance": "one", "account": "ada"}, "Both sides are the same"),
        ({"instance": "one", "account": "ada", "other_account": "bbo"}, "Did you mean bob?"),
        ({"instance": "one", "other_account": "bob"}, "name both"),
        ({"instance": "one", "other_instance": "tow"}, "Did you mean two?"),
        ({"tag": "prod"}, "Name the account"),
        ({"tag": "prod", "account": "ada", "instance": "one"}, "With a tag"),
        ({"tag": "prod", "account": "nemo"}, "has the name “nemo”"),
    ],
)
def test_a_wrong_question_is_refused_everywhere(two, asked, text):
    """F7.6: on the page, in the API and by the command, with what to change."""
    assert (
        text in staff("accounts.view_grant", "accounts.view_account").get(URL, asked | {"as_of": ""}).content.decode()
    )
    answer = client_with("accounts.view_grant").get("/api/compare/", asked)
    assert answer.status_code == 400
    assert text in answer.content.decode()
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    with pytest.raises(CommandError, match=text.replace("?", r"\?").replace(".", r"\.")) as refused:
        call_command("compare_access", *arguments)
    assert refused.value.returncode == 2


def test_page_file_api_and_command_say_the_same(two):
    """F7.13: with the last read of both sides, and unknown if one of them is."""
    instance("old", "postgresql", read_at=MAY_3, beyond=["column"])
    asked = {"instance": "one", "account": "ada", "other_account": "bob"}
    client = staff("accounts.view_grant", "accounts.view_account")
    page = client.get(URL, asked).content.decode()
    assert "1 instance is unknown" not in page
    assert "DELETE" in page
    rows = b"".join(client.get(URL, asked | {"csv": "1"})).decode("utf-8-sig").splitlines()
    answer = client_with("accounts.view_grant").get("/api/compare/", asked).json()
    differences = found(**asked)
    assert answer["count"] == len(differences)
    # One row for each of the two sides.
    assert len(rows) - 1 == 2 * len(differences)
    out = StringIO()
    with pytest.raises(SystemExit) as stop:
        call_command("compare_access", "--instance=one", "--other-instance=old", "--json", stdout=out)
    assert stop.value.code == 3
    document = json.loads(out.getvalue())
    assert [*document["unknown"]] == ["old"]
    assert {row["account"] for row in document["differences"]} == {"ada", "bob", "public", "writers"}
    asked = {"instance": "one", "other_instance": "old"}
    page = client.get(URL, asked).content.decode()
    assert "1 instance is unknown" in page
    # What was not read recently is no answer.
    assert "old (unknown)" in page
    rows = csv.DictReader(StringIO(client.get(URL, asked | {"csv": "1"}).getvalue().decode("utf-8-sig")))
    assert {row["has it"] for row in rows if row["side"] == "old" and row["privilege"]} == {"unknown"}
