"""F7.6: a rule about something that no visit has seen is saved with a warning."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Account, Coverage
from accounts.tests.stored import account
from capacity.models import Database
from classification.models import Classification, ClassificationRule
from classification.tests.conftest import grant
from classification.unseen import unseen
from instances.models import Instance
from instances.tests.pages import superstaff


@pytest.fixture
def known(people: dict[str, Account], instances: list[Instance]) -> None:
    pg, my = instances
    account(pg, "writers", kind="role", can_login=False)
    grant(people["ada"], "SELECT", kind="table", database="shop", scope="shop.public.orders")
    Database.objects.create(instance=my, name="billing", first_seen_at=timezone.now(), last_seen_at=timezone.now())


def warnings(expression: str, engine: str = "") -> list[str]:
    return unseen(ClassificationRule(expression=expression, engine=engine))


@pytest.mark.parametrize(
    ("expression", "engine", "told"),
    [
        ('has("SELEKT")', "", ["No visit has seen a privilege “SELEKT”. Did you mean SELECT?"]),
        ('gained("DRP*", within_hours=2)', "", ["No visit has seen a privilege “DRP*”."]),
        ('has("SELECT", on="shop.public.orders")', "postgresql", []),
        ('has("SELECT", on="shop.public.*")', "", []),
        ('has("SELECT", on="shop.*.ordres")', "", ["No visit has seen a grant on “shop.*.ordres”."]),
        (
            'has("SELECT", on="shop.public.ordres")',
            "postgresql",
            ["No visit has seen a grant on “shop.public.ordres”. Did you mean shop.public.orders?"],
        ),
        # On MySQL, a table may have no grant of its own.
        ('has("FILE", on="billing.invoices")', "mysql", []),
        ('has("FILE", on="biling.invoices")', "mysql", ["No visit has seen a grant on “biling.invoices”."]),
        (
            'has("FILE", on="billing.a.b.c")',
            "mysql",
            [
                "MySQL / MariaDB cannot have the path “billing.a.b.c” for the kind: object. The rule matches nothing "
                "there."
            ],
        ),
        ('member_of("writer")', "", ["No visit has seen a role “writer”. Did you mean writers?"]),
        ('member_of("writ*") and not has("SELECT") or superuser', "", []),
        ('has("SELEKT") or has("SELEKT")', "", ["No visit has seen a privilege “SELEKT”. Did you mean SELECT?"]),
        ('has("*") and has("S?LECT")', "", []),
    ],
)
def test_what_no_visit_has_seen_is_named(known: None, expression: str, engine: str, told: list[str]) -> None:
    assert warnings(expression, engine) == told


def test_a_path_that_one_of_the_engines_cannot_have(known: None) -> None:
    """The rule is for all engines, and a table of MySQL has a path of two parts."""
    (told,) = warnings('has("SELECT", on="shop.public.orders", kind="table")')
    assert told.startswith("MySQL / MariaDB cannot have the path “shop.public.orders” for the kind: table.")


def test_nothing_is_said_before_the_first_visit(known: None) -> None:
    Coverage.objects.all().delete()
    assert warnings('has("SELEKT", on="no.such.table")') == []


def test_each_door_says_it(known: None) -> None:
    """On the page while a person types and when the rule is saved, and in the answer of the API."""
    client, person = superstaff(), User.objects.get(username="root")
    text = "No visit has seen a privilege “SELEKT”."
    preview = reverse("admin:classification_classificationrule_preview")
    assert text in client.post(preview, {"expression": 'has("SELEKT")'}).content.decode()
    chosen = Classification.objects.create(code="odd", name="Odd")
    form = {"classification": chosen.pk, "code": "odd-1", "name": "odd", "expression": 'has("SELEKT")', "active": "on"}
    saved = client.post(reverse("admin:classification_classificationrule_add"), form)
    assert saved.status_code == 302
    assert any(text in str(message) for message in get_messages(saved.wsgi_request))
    api = APIClient()
    api.force_login(person)
    body = {"classification": chosen.pk, "code": "odd-2", "name": "odd", "expression": 'has("SELEKT")'}
    answer = api.post("/api/classification-rules/", body, format="json")
    assert (answer.status_code, answer.json()["warnings"][0][: len(text)]) == (201, text)
    assert api.get(f"/api/classification-rules/{answer.json()['id']}/").json()["warnings"] is None
