"""What the API answers about the store of the dump. The API is what releases promise each other to keep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.test import APIClient

Rows = list[dict[str, Any]]

#: Endpoint → the fields that depend on when somebody asks, or on nothing that is kept.
LISTS: dict[str, tuple[str, ...]] = {
    "instances": (),
    "credentials": (),
    "tags": (),
    "tag-operations": (),
    "sync-sessions": (),
    "sync-records": ("gaps", "hint"),
    "visit-health": (),
    "accounts": (),
    "account-changes": (),
    "account-filters": (),
    "databases": ("growth",),
    "database-sizes": (),
    "instance-sizes": (),
    "database-filters": (),
    "instance-aggregates": (),
    "database-aggregates": (),
    "instance-limits": (),
    "classifications": (),
    "classification-rules": (),
    "assignments": (),
    "alert-rules": (),
    "alert-channels": (),
    "alerts": (),
    "alert-deliveries": (),
    "tokens": (),
}

#: Privilege, object, kind.
QUESTIONS = (
    ("SUPERUSER", "", ""),
    ("CREATEROLE", "", ""),
    ("CONNECT", "shop", ""),
    ("SELECT", "shop.sales.orders", "table"),
    ("DELETE", "shop.sales.orders", "table"),
    ("CREATE", "shop.sales", "schema"),
    ("SELECT", "billing.invoices", "table"),
    ("INSERT", "billing.invoices", "table"),
    ("SELECT", "", "system"),
    ("SELECT ANY TABLE", "", "system"),
)


def answers(client: APIClient, moments: Iterable[str]) -> dict[str, Rows]:
    """Question → rows: every list, what each account of people holds and reaches, and who can, at each moment."""
    told = {name: _rows(client, name, {}, leave_out) for name, leave_out in LISTS.items()}
    for account in told["accounts"]:
        if not account["is_system"]:
            for kind in ("grants", "roles"):
                name = f"accounts/{account['id']}/{kind}"
                told[name] = _rows(client, name)
            name = f"accounts/{account['id']}/effective"
            told[name] = _rows(client, name, {"as_of": max(moments)})
    for moment in moments:
        for privilege, scope, kind in QUESTIONS:
            asked = {"privilege": privilege, "scope": scope, "kind": kind, "as_of": moment}
            asked = {key: value for key, value in asked.items() if value}
            told[" ".join(["access", *asked.values()])] = _rows(client, "access", asked)
    return told


def _rows(client: APIClient, name: str, question: dict[str, str] | None = None, leave_out: Iterable[str] = ()) -> Rows:
    answer = client.get(f"/api/{name}/", {"page_size": "1000", **(question or {})})
    if answer.status_code != 200:
        raise AssertionError(f"GET /api/{name}/ answered {answer.status_code}: {answer.content[:500]!r}")
    rows = answer.json()["results"]
    if answer.json()["count"] != len(rows):
        raise AssertionError(f"GET /api/{name}/ has more than one page: make the fleet of the dump smaller")
    return [{key: value for key, value in row.items() if key not in leave_out} for row in rows]
