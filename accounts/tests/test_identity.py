"""What a visit makes of renamed, swapped and recreated accounts and objects: one possession, or two."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Account, AccountChange, Membership, RoleReach
from accounts.tests.stored import MAY_1
from accounts.tests.visits import (
    STAFF,
    Visits,
    ended,
    grant,
    held,
    log,
    n_changes,
    owner,
    present,
    role,
    unread,
)
from engines.facts import AccountFact, Gap, MembershipFact
from instances.models import Credential, Instance
from sync.registry import ImplausibleShrink

DAY = timedelta(days=1)
SHOP = [
    owner("database", "shop", "5"),
    owner("schema", "shop.a", "5/50"),
    owner("table", "shop.a.t", "5/51"),
    owner("table", "shop.a.u", "5/52"),
]


@pytest.fixture
def pg(instances) -> Visits:
    return Visits(instances[0])


@pytest.fixture
def my(instances) -> Visits:
    return Visits(instances[1], [AccountFact("root", "localhost"), AccountFact("collector", "%")])


# Accounts


def test_a_renamed_account_is_the_same_and_keeps_what_it_holds(pg):
    """F7.10: also where its grants could not be read this time."""
    grants = [*SHOP, grant("app", "SELECT", "table", "shop.a.t", "5/51")]
    pg.visit([role("app", 1), role("team", 2)], grants, [MembershipFact(("app", ""), ("team", ""))])
    app = Account.objects.get(name="app").pk
    pg.visit(
        [role("ledger", 1), role("crew", 2)], SHOP[:1], [MembershipFact(("ledger", ""), ("crew", ""))], unread("shop")
    )
    assert (Account.objects.get(name="ledger").pk, present()) == (app, {("ledger", "1"), ("crew", "2")})
    assert held("ledger") == {("SELECT", "shop.a.t", MAY_1)}
    assert log("ledger") == [(["renamed"], {"renamed": ["app", "ledger"]})]
    assert Membership.objects.get().until is None
    assert RoleReach.objects.get().member_id == app


def test_two_names_that_are_swapped_are_two_renames(pg):
    """F7.10"""
    pg.visit([role("blue", 1), role("green", 2)], [grant("blue", "LOGIN", "attribute")])
    pg.visit([role("green", 1), role("blue", 2)], [grant("green", "LOGIN", "attribute")])
    assert present() == {("green", "1"), ("blue", "2")}
    assert held("green") == {("LOGIN", "", MAY_1)}
    assert [log("green"), log("blue")] == [
        [(["renamed"], {"renamed": ["blue", "green"]})],
        [(["renamed"], {"renamed": ["green", "blue"]})],
    ]
    assert n_changes() == 2


def test_an_account_takes_the_name_of_one_that_is_gone(pg):
    """F7.10"""
    pg.visit([role("old", 1), role("new", 2)])
    pg.visit([role("old", 2)])
    assert present() == {("old", "2")}
    assert sorted(events for events, _ in log("old")) == [["disappeared"], ["renamed"]]


def test_an_account_that_was_dropped_and_created_again_keeps_nothing(pg):
    """F7.10, F7.14: nor what lies in a database that cannot be read: dropping a role proves that it is over."""
    grants = [*SHOP, grant("app", "SELECT", "table", "shop.a.t", "5/51"), grant("app", "LOGIN", "attribute")]
    pg.visit([role("app", 1), role("team", 2)], grants, [MembershipFact(("app", ""), ("team", ""))])
    outcome = pg.visit(
        [role("app", 9), role("team", 2)], [SHOP[0], grant("app", "LOGIN", "attribute")], (), unread("shop")
    )
    assert (outcome.summary["appeared"], outcome.summary["disappeared"]) == (1, 1)
    assert (present(), held("app")) == ({("app", "9"), ("team", "2")}, {("LOGIN", "", MAY_1 + DAY)})
    assert ended("SELECT") == [("app", "shop.a.t", "dropped", 1)]
    assert set(Membership.objects.values_list("ended", flat=True)) == {"dropped"}
    assert not RoleReach.objects.exists()
    old, new = Account.objects.filter(name="app").order_by("pk")
    assert (old.gone_at, new.gone_at, new.first_seen_at) == (MAY_1 + DAY, None, MAY_1 + DAY)
    events = dict(AccountChange.objects.filter(baseline=False).values_list("account", "events"))
    assert events == {old.pk: ["disappeared", "memberships", "privileges"], new.pk: ["recreated", "privileges"]}


def test_a_name_that_was_known_once_is_recreated_under_another_id(pg):
    """F7.10: but the same id is the same account, and a name that was passed on was nobody else's."""
    pg.visit([role("app", 1)])
    pg.visit()
    pg.visit([role("app", 2)])
    assert [events for events, _ in log("app")] == [["disappeared"], ["recreated"]]
    pg.visit()
    pg.visit([role("app", 2)])
    assert [events for events, _ in log("app")][2:] == [["disappeared"], ["reappeared"]]
    pg.visit([role("ledger", 2), role("app", 3)])
    assert log("ledger")[-1][0] == ["renamed"]
    # The first account of that name is gone.
    assert log("app")[-1][0] == ["recreated"]
    pg.visit([role("books", 2), role("ledger", 4), role("app", 3)])
    assert log("ledger") == [(["appeared"], {})]


def test_an_account_that_has_no_id_is_its_name_and_host(my):
    """F7.10: MySQL has no ids: gone and back is one account."""
    app = AccountFact("app", "%")
    my.visit([app])
    my.visit()
    my.visit([app])
    assert [events for events, _ in log("app")] == [["disappeared"], ["reappeared"]]
    assert Account.objects.filter(name="app").count() == 1


def test_who_is_new_as_superuser(pg):
    """F7.10: not one that was renamed, but one that was created again."""
    boss = role("boss", 1, is_superuser=True)
    pg.visit([boss])
    pg.visit([boss._replace(name="chief")])
    assert not AccountChange.objects.of_new_superusers().exists()
    pg.visit([boss._replace(name="chief", native_id="2")])
    (change,) = AccountChange.objects.of_new_superusers()
    assert (change.account.native_id, change.events) == ("2", ["recreated"])


def test_events_of_accounts_have_their_own_names(pg):
    """F7.10: expired, password changed, end date changed."""
    now = timezone.now()
    app = role("app", 1, is_locked=False, password_expired=False, password_changed_at=MAY_1)
    steps = [
        (app._replace(is_locked=True), ["locked"]),
        (app, ["unlocked"]),
        (app._replace(valid_until=now + 9 * DAY), ["end_date"]),
        (app._replace(valid_until=now - DAY, is_locked=True), ["locked", "expired", "end_date"]),
        (app._replace(valid_until=now - DAY, is_locked=True, connection_limit=3), ["attributes"]),
        (app._replace(connection_limit=3), ["unlocked", "end_date"]),
        (app._replace(connection_limit=3, password_expired=True), ["expired"]),
        (app._replace(connection_limit=3, password_changed_at=MAY_1 + DAY), ["password", "attributes"]),
    ]
    pg.visit([app])
    for number, (fact, events) in enumerate(steps):
        if number == 3:
            # The end date is compared with the time of the visits.
            pg.days = (now - MAY_1).days + 1
        pg.visit([fact])
        assert sorted(log("app")[-1][0]) == sorted(events), number
    assert log("app")[5][1] == {"attributes": {"valid_until": [(now - DAY).isoformat(), None]}}


# RENAME USER


APP = AccountFact("app", "%", password_changed_at=MAY_1, auth_method="caching_sha2_password")
RIGHTS = ("SELECT", "database", "shop")


def test_rename_user_is_probable_where_everything_fits(my):
    """F7.10: MySQL and MariaDB have no ids."""
    reader = AccountFact("reader", "%", kind="role")
    my.visit([APP, reader], [grant("app@%", *RIGHTS)], [MembershipFact(APP.key, reader.key)])
    ledger = APP._replace(name="ledger", host="10.%")
    my.visit([ledger, reader], [grant("ledger@10.%", *RIGHTS)], [MembershipFact(ledger.key, reader.key)])
    assert log("ledger") == [(["probably_renamed"], {"renamed": ["app@%", "ledger@10.%"]})]
    assert (held("ledger"), n_changes()) == ({("SELECT", "shop", MAY_1)}, 1)


@pytest.mark.parametrize(
    "came",
    [
        [(APP._replace(name="ledger", password_changed_at=MAY_1 + DAY), RIGHTS)],
        [(APP._replace(name="ledger", auth_method="auth_socket"), RIGHTS)],
        [(APP._replace(name="ledger"), ("INSERT", "database", "shop"))],
        [(APP._replace(name="ledger"), RIGHTS), (APP._replace(name="books"), RIGHTS)],
        [(APP._replace(name="ledger", password_changed_at=None), RIGHTS)],
    ],
    ids=["password", "method", "grants", "two", "no password"],
)
def test_else_one_is_gone_and_another_is_new(my, came):
    """F7.10"""
    my.visit([APP], [grant("app@%", *RIGHTS)])
    my.visit([fact for fact, _ in came], [grant(f"{fact.name}@%", *right) for fact, right in came])
    assert log("app")[-1][0] == ["disappeared", "privileges"]
    assert log("ledger") == [(["appeared", "privileges"], log("ledger")[0][1])]
    assert Account.objects.get(name="app").gone_at


def test_of_two_that_are_gone_none_was_renamed(my):
    """F7.10"""
    twin = APP._replace(name="twin")
    my.visit([APP, twin], [grant("app@%", *RIGHTS), grant("twin@%", *RIGHTS)])
    my.visit([APP._replace(name="ledger")], [grant("ledger@%", *RIGHTS)])
    assert log("ledger")[0][0] == ["appeared", "privileges"]


# Containers of Oracle


@pytest.fixture
def ora(db) -> Visits:
    credential = Credential.objects.create(name="ora", username="u")
    instance = Instance.objects.create(name="ora", engine="oracle", host="ora", credential=credential)
    staff = [AccountFact(f"C##{n}", "CDB$ROOT", native_id=f"0/{n}") for n in (1, 2)]
    return Visits(instance, staff)


def test_a_renamed_container_takes_its_accounts_and_rights_along(ora):
    """F7.10: objects with an id and grants without one."""

    def held_in(pdb: str):
        app = f"APP@{pdb}"
        return [
            grant(app, "SELECT", "table", f"{pdb}.HR.T", "G/7"),
            grant(app, "SELECT ANY TABLE", "schema", f"{pdb}.HR"),
            grant(app, "CREATE SESSION", "system"),
        ]

    ora.visit([AccountFact("APP", "SHOP", native_id="G/1")], held_in("SHOP"))
    ora.visit([AccountFact("APP", "STORE", native_id="G/1")], held_in("STORE"))
    assert held("APP") == {
        ("SELECT", "STORE.HR.T", MAY_1),
        ("SELECT ANY TABLE", "STORE.HR", MAY_1),
        ("CREATE SESSION", "", MAY_1),
    }
    details = {
        "renamed": ["APP@SHOP", "APP@STORE"],
        "renamed_objects": [{"kind": "database", "from": "SHOP", "to": "STORE"}],
    }
    assert log("APP") == [(["renamed", "objects"], details)]


def test_a_container_that_was_renamed_and_closed_loses_nobody(ora):
    """F7.14: its accounts are listed under neither name."""
    ora.visit([AccountFact("APP", "SHOP", native_id="G/1")], [grant("APP@SHOP", "CREATE SESSION", "system")])
    ora.visit(gaps=[Gap("accounts", "not_open", "is mounted", "STORE")])
    assert (present() - {("C##1", "0/1"), ("C##2", "0/2")}, n_changes()) == ({("APP", "G/1")}, 0)
    assert held("APP") == {("CREATE SESSION", "", MAY_1)}


@pytest.mark.parametrize(("before", "after"), [("G/7", ""), ("", "G/7")])
def test_an_id_that_is_not_read_any_longer_is_no_news(ora, before, after):
    """F7.10: the collector may get the view of objects later, or lose it."""
    app = AccountFact("APP", "SHOP", native_id="G/1")
    ora.visit([app], [grant("APP@SHOP", "SELECT", "table", "SHOP.HR.T", before)])
    ora.visit([app], [grant("APP@SHOP", "SELECT", "table", "SHOP.HR.T", after)])
    assert (held("APP"), n_changes()) == ({("SELECT", "SHOP.HR.T", MAY_1)}, 0)


# The guard


def many(n: int, first_id: int, prefix: str = "r"):
    return [role(f"{prefix}{number}", first_id + number) for number in range(n)]


def test_renames_are_no_shrink(pg):
    """F7.10"""
    pg.visit(many(12, 100))
    pg.visit(many(12, 100, "s"))
    assert Account.objects.present().count() == 14


@pytest.mark.parametrize("n", [2, 12])
def test_a_restored_copy_is_held(pg, n):
    """F7.10: every account has another id, but that of the engine's first one."""
    pg.visit(many(n, 100))
    pg.staff = [STAFF[0], STAFF[1]._replace(native_id="16005")]
    with pytest.raises(ImplausibleShrink):
        pg.visit(many(n, 200))
    pg.visit(many(n, 200), confirmed_count=99)
    assert {events[0] for events, _ in log("r1")} == {"disappeared", "recreated"}


def test_a_server_with_the_same_numbers_is_held(pg):
    """F7.10: what looks like renames is another server."""
    pg.visit(many(12, 100))
    pg.staff = [STAFF[0]]
    with pytest.raises(ImplausibleShrink):
        pg.visit(many(12, 100, "s"))


def test_one_account_that_was_created_again_is_not_held(pg):
    """F7.10"""
    pg.visit([role("app", 1)])
    pg.visit([role("app", 2)])
    assert present() == {("app", "2")}
