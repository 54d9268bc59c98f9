"""What accounts hold and since when, by whom and seen by which visits, as people and programs see it."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta
from io import StringIO

import pytest
from django.test import Client
from django.urls import reverse

from accounts.access import who_can
from accounts.models import Account
from accounts.tests.stored import MAY_1, MAY_3, account
from accounts.tests.test_questions import ask, grant, instance, join
from instances.tests.api import client_with

MAY_2 = MAY_1 + timedelta(days=1)
MAY_5 = MAY_1 + timedelta(days=4)
WHO_CAN = reverse("who-can")


def page_of(client: Client, account: Account, tab: str, **query: str) -> str:
    url = reverse("admin:accounts_account_change", args=[account.pk])
    return client.get(url, {"tab": tab} | query).content.decode()


def csv_rows(client: Client, url: str, **query: object) -> list[dict[str, str]]:
    text = client.get(url, query | {"csv": 1}).content.decode("utf-8-sig")
    return list(csv.DictReader(StringIO(text)))


def api_rows(url: str, *permissions: str, **query: object) -> list[dict[str, object]]:
    return client_with(*permissions).get(url, query).json()["results"]


@pytest.fixture
def reader(db: None) -> Account:
    """bob holds SELECT on orders through readers. Both possessions began on 1 May; options changed on 3 May."""
    pg = instance("pg", "postgresql")
    bob, readers = account(pg, "bob"), account(pg, "readers", kind="role", can_login=False)
    on_orders = {"database": "shop", "object_id": "16384/16390"}
    grant(readers, "SELECT", "table", "shop.public.orders", until=MAY_3, ended="changed", **on_orders)
    grant(readers, "SELECT", "table", "shop.public.orders", grantable=True, since=MAY_3, held_since=MAY_1, **on_orders)
    join(bob, readers, until=MAY_3, ended="changed")
    join(bob, readers, admin_option=True, since=MAY_3, held_since=MAY_1)
    return bob


def test_since_is_uninterrupted_possession(reader: Account, admin_client: Client) -> None:
    """F7.10: a change of options interrupts no possession, on any page, in the API, the CSV file and the command."""
    row = next(row for row in who_can("SELECT", "shop.public.orders").rows if row.account == reader)
    assert row.since == MAY_1
    page = admin_client.get(WHO_CAN, {"privilege": "SELECT", "scope": "shop.public.orders"}).content.decode()
    assert "2026-05-01 00:00" in page
    assert "<td>2026-05-03 00:00</td>" not in page
    assert {
        row["since"] for row in csv_rows(admin_client, WHO_CAN, privilege="SELECT", scope="shop.public.orders")
    } == {"2026-05-01T00:00:00+00:00"}
    code, text = ask("SELECT", "--on", "shop.public.orders")
    assert (code, text.count("since 2026-05-01 00:00"), text.count("2026-05-03")) == (0, 2, 0)
    found = api_rows("/api/access/", "accounts.view_grant", privilege="SELECT", scope="shop.public.orders")
    assert {datetime.fromisoformat(row["since"]) for row in found} == {MAY_1}
    readers = Account.objects.get(name="readers")
    grants = api_rows(f"/api/accounts/{readers.pk}/grants/", "accounts.view_grant", current="true")
    assert [datetime.fromisoformat(row["since"]) for row in grants] == [MAY_1]
    for account_, tab in ((readers, "grants"), (readers, "members")):
        text = page_of(admin_client, account_, tab)
        assert "<td>2026-05-01 00:00</td>" in text
        assert "<td>2026-05-03 00:00</td>" not in text
