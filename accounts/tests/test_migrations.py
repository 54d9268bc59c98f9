"""An upgrade keeps what was known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import Account, Coverage
from accounts.tests.stored import MAY_1, MAY_3, account


@pytest.fixture
def before(transactional_db: None) -> Iterator[None]:
    """Ends as it began, whatever happens in between."""
    yield
    call_command("migrate", "accounts", verbosity=0)


def test_when_accounts_were_last_seen_survives_both_ways(before, instances):
    """F1.5"""
    read, unread = instances
    covered = {"instance": read, "covered": [], "beyond": [], "digest": "x"}
    Coverage.objects.create(**covered, level="A", since=MAY_1, read_at=MAY_1, until=MAY_1 + timedelta(hours=1))
    Coverage.objects.create(**covered, level="B", since=MAY_1 + timedelta(hours=1), read_at=MAY_3)
    day = timedelta(days=1)
    account(read, "seen")
    account(read, "unlisted", unobserved_since=MAY_1 + day)
    account(read, "gone", unobserved_since=MAY_1 + day, gone_at=MAY_3)
    # Of a version that did not know coverage.
    account(unread, "old", unobserved_since=MAY_1 + day)
    accounts, coverage = list(Account.objects.order_by("pk").values()), list(Coverage.objects.order_by("pk").values())

    call_command("migrate", "accounts", "0006", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, last_seen_at FROM accounts_account")
        seen = dict(cursor.fetchall())
    assert seen == {"seen": MAY_3, "unlisted": MAY_1 + day, "gone": MAY_1 + day, "old": MAY_1 + day}

    call_command("migrate", "accounts", verbosity=0)
    assert list(Account.objects.order_by("pk").values()) == accounts
    assert list(Coverage.objects.order_by("pk").values()) == coverage
