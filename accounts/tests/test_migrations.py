"""An upgrade keeps what was known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import Account, Coverage, Grant, Membership
from accounts.tests.stored import MAY_1, MAY_3, account
from engines.paths import segments


@pytest.fixture
def before(transactional_db: None) -> Iterator[None]:
    """Ends as it began, whatever happens in between."""
    yield
    call_command("migrate", verbosity=0)


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

    call_command("migrate", verbosity=0)
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
    call_command("migrate", verbosity=0)
    for number, (_, _, old, new) in enumerate(PATHS):
        assert set(Grant.objects.filter(privilege=f"P{number}").values_list("scope", flat=True)) == {new}, old
        assert ".".join(segments(new)) == new


DAY = timedelta(days=1)
#: Days from and to of the rows of one possession in earlier releases → day of held_since, and why it ended.
HISTORIES = [
    # never changed; ended
    ([(0, None)], [(0, None)]),
    ([(0, 2)], [(0, None)]),
    # an option that came and went
    ([(0, 1), (1, 3), (3, None)], [(0, "changed"), (0, "changed"), (0, None)]),
    # lost for a day, then an option that came
    ([(0, 1), (2, 3), (3, 5)], [(0, None), (2, "changed"), (2, None)]),
    # lost twice
    ([(0, 1), (2, 3), (4, None)], [(0, None), (2, None), (4, None)]),
]


@pytest.mark.parametrize("resumed", [False, True])
def test_when_possession_began_is_computed_from_options_that_changed(before, instances, resumed):
    """F7.10: options ended one row and began another at the same moment. The migration may be interrupted."""
    call_command("migrate", "accounts", "0013", verbosity=0)
    with connection.cursor() as cursor:
        for number, (rows, _) in enumerate(HISTORIES):
            cursor.execute(
                "INSERT INTO accounts_account (instance_id, name, host, native_id, is_system, is_filtered, first_seen_at,"
                " last_known) SELECT %s, name, '', '', false, false, now(), '{}' FROM unnest(%s) AS n(name) RETURNING id",
                [instances[0].pk, [f"app{number}", f"team{number}"]],
            )
            (member,), (role,) = cursor.fetchall()
            for turn, (since, until) in enumerate(rows):
                times = [MAY_1 + since * DAY, None if until is None else MAY_1 + until * DAY]
                cursor.execute(
                    "INSERT INTO accounts_grant (account_id, kind, database, scope, privilege, denied, grantable, since,"
                    " until) SELECT %s, 'table', 'shop', scope, 'SELECT', false, %s, %s, %s"
                    " FROM (VALUES ('shop.a.t'), ('shop.a.other')) AS s(scope) WHERE %s OR scope = 'shop.a.t'",
                    [member, turn % 2 == 1, *times, turn == 0],
                )
                cursor.execute(
                    "INSERT INTO accounts_membership (member_id, role_id, admin_option, inherit, set_option, since, until)"
                    " VALUES (%s, %s, %s, true, true, %s, %s)",
                    [member, role, turn % 2 == 1, *times],
                )
        if resumed:
            # As if the first accounts had been done.
            cursor.execute("UPDATE accounts_grant SET held_since = since WHERE scope = 'shop.a.other'")
    call_command("migrate", verbosity=0)
    for number, (_, expected) in enumerate(HISTORIES):
        for rows in (
            Grant.objects.filter(account__name=f"app{number}", scope="shop.a.t"),
            Membership.objects.filter(member__name=f"app{number}"),
        ):
            found = rows.order_by("since").values_list("held_since", "ended")
            assert [((since - MAY_1).days, why) for since, why in found] == expected
        other = Grant.objects.get(account__name=f"app{number}", scope="shop.a.other")
        assert other.held_since == other.since
