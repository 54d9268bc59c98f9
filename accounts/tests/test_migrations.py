"""An upgrade keeps what was known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import Account, Coverage, Grant
from accounts.tests.stored import MAY_1, MAY_3, account
from engines.paths import segments


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


PATHS = [
    # engine, kind, path as it was, path as it is read now
    ("postgresql", "schema", "shop.(a)", 'shop."(a)"'),
    ("postgresql", "table", 'shop."d.o".a(b', 'shop."d.o"."a(b"'),
    ("postgresql", "routine", "shop.public.f(integer, text)", "shop.public.f(integer, text)"),
    ("postgresql", "routine", 'shop.a(b.f)(s."t(y", integer)', 'shop."a(b"."f)"(s."t(y", integer)'),
    ("postgresql", "routine", 'shop.public."f (x)"()', 'shop.public."f (x)"()'),
    ("mysql", "database", "odd shop", '"odd shop"'),
    ("mysql", "database", 'a"b', '"a""b"'),
    ("mysql", "database", r"team\_%", r"team\_%"),
    ("mysql", "table", 'shop."odd t"', 'shop."odd t"'),
    ("mysql", "table", "shop.t(1)", 'shop."t(1)"'),
]


def test_paths_are_what_the_next_visit_reads(before, instances):
    """Fault 6: only those change that could not be read back, and no visit reports them as lost and granted."""
    people = {instance.engine: account(instance, "holder") for instance in instances}
    for number, (engine, kind, old, _) in enumerate(PATHS):
        for until in (None, MAY_3):
            Grant.objects.create(
                account=people[engine], kind=kind, database="", scope=old, privilege=f"P{number}", grantable=False,
                denied=False, since=MAY_1, held_since=MAY_1, until=until,
            )  # fmt: skip
    call_command("migrate", "accounts", "0009", verbosity=0)
    call_command("migrate", "accounts", verbosity=0)
    for number, (_, _, old, new) in enumerate(PATHS):
        assert set(Grant.objects.filter(privilege=f"P{number}").values_list("scope", flat=True)) == {new}, old
        assert ".".join(segments(new)) == new
