"""Accounts that are just there, for tests of what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import transaction

from accounts import closure
from accounts.models import Account, Membership
from instances.models import Instance

MAY_1 = datetime(2026, 5, 1, tzinfo=UTC)
MAY_3 = MAY_1 + timedelta(days=2)


def account(instance: Instance, name: str, **fields: object) -> Account:
    values = {"kind": "user", "first_seen_at": MAY_1} | fields
    return Account.objects.create(instance=instance, name=name, **values)


def join(member: Account, role: Account, **fields: object) -> Membership:
    """Store a membership, and the closure that a visit computes from it."""
    values = {"admin_option": False, "inherit": True, "set_option": True, "since": MAY_1} | fields
    values = {"held_since": values["since"]} | values
    made = Membership.objects.create(member=member, role=role, **values)
    with transaction.atomic():
        closure.rebuild(role.instance_id)
    return made
