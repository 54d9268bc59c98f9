"""Completion of paths: what people type continues by one part, from what visits read and they may see."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from access import completion
from access.completion import complete
from access.tests.test_questions import grant, instance
from accounts.tests.stored import MAY_3, account
from capacity.models import Database
from instances.models import Instance
from instances.tests.pages import entered, staff
from tagging.models import InstanceTag, Tag, TagLimit

PATHS = ("shop.public.orders", "shop.public.open", "shop.sales.orders", "shop.sales.f(integer)", "shopping.public.t")


@pytest.fixture(params=[0, 1])
def fleet(db, request, monkeypatch) -> list[Instance]:
    """By the walk over the index (0), and by a search of the instances' own paths (1)."""
    monkeypatch.setattr(completion, "MANY", request.param)
    pg, my = instance("pg", "postgresql"), instance("my", "mysql")
    owner = account(pg, "owner")
    for path in PATHS:
        grant(owner, "OWNER", "routine" if "(" in path else "table", path, database="shop")
    grant(owner, "OWNER", "database", "shop", database="shop")
    grant(owner, "SELECT", "column", "shop.public.orders.total", database="shop")
    grant(owner, "SELECT", "table", 'shop."odd.name"."x ""y"', database="shop")
    grant(owner, "SELECT", "default", "objects of owner", database="shop")
    grant(owner, "SELECT", "table", "shop.public.ended", database="shop", until=MAY_3)
    app = account(my, "app", host="%")
    grant(app, "SELECT", "database", "crm\\_eu", database="crm_eu")
    grant(app, "SELECT", "database", "crm%", database="crm%")
    grant(app, "SELECT", "table", "crm_eu.people", database="crm_eu")
    now = timezone.now()
    Database.objects.create(instance=my, name="billing", first_seen_at=now, last_seen_at=now)
    return [pg, my]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", ["billing", "crm_eu", "shop", "shopping"]),
        ("sho", ["shop", "shopping"]),
        ("shop.", ['shop."odd.name"', "shop.public", "shop.sales"]),
        ("SHOP.Pub", ["shop.public"]),
        ("shop.public.o", ["shop.public.open", "shop.public.orders"]),
        ("shop.public.orders.", ["shop.public.orders.total"]),
        ("shop.sales.f", ["shop.sales.f(integer)"]),
        ("shop.odd", ['shop."odd.name"']),
        ('shop."odd.name".', ['shop."odd.name"."x ""y"']),
        ('"shop".s', ["shop.sales"]),
        ("crm_eu.", ["crm_eu.people"]),
        ("crm", ["crm_eu"]),
        ("bill", ["billing"]),
        ("shop.public.e", []),
        ("%", []),
        ("\\", []),
        ('"', []),
    ],
)
def test_one_part_more(fleet, text, paths):
    assert complete(text) == paths


def test_no_more_than_the_limit(fleet):
    owner = account(fleet[0], "many")
    for number in range(30):
        grant(owner, "SELECT", "table", f"shop.public.t{number:02}", database="shop")
    assert complete("shop.public.t") == [f"shop.public.t{number:02}" for number in range(completion.LIMIT)]


def test_only_what_the_person_may_see_on_the_instances_that_are_chosen(fleet):
    """The endpoint takes the words of the form."""
    _pg, my = fleet
    url = reverse("who-can-paths")
    tag = Tag.objects.create(slug="mine", label="Mine")
    InstanceTag.objects.create(instance=my, tag=tag)
    client = staff("accounts.view_grant", "accounts.view_account")
    assert client.get(url, {"on": "s"}).json() == {"paths": ["shop", "shopping"]}
    # Databases that no grant names are of capacity.
    assert client.get(url, {"on": "b"}).json() == {"paths": []}
    for chosen in ({"instance": "my"}, {"tag": "mine"}, {"engine": "mysql"}, {"instance": "m"}):
        assert client.get(url, {"on": "s", **chosen}).json() == {"paths": []}
    person = User.objects.create_user("limited")
    person.user_permissions.set(Permission.objects.filter(codename__in=("view_grant", "view_account", "view_database")))
    TagLimit.objects.create(user=person, tag=tag)
    limited = entered(person)
    assert limited.get(url, {"on": "s"}).json() == {"paths": []}
    assert limited.get(url, {"on": ""}).json() == {"paths": ["billing", "crm_eu"]}
    assert staff("accounts.view_account").get(url, {"on": "s"}).status_code == 403
