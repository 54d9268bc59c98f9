"""Accounts that are just there, for tests of what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from accounts.models import Account
from instances.models import Instance

MAY_1 = datetime(2026, 5, 1, tzinfo=UTC)
MAY_3 = MAY_1 + timedelta(days=2)


def account(instance: Instance, name: str, **fields: object) -> Account:
    values = {"kind": "user", "first_seen_at": MAY_1} | fields
    return Account.objects.create(instance=instance, name=name, **values)
