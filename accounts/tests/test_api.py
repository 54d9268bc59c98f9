"""/api/accounts/ and what hangs on it, /api/account-changes/ and /api/account-filters/."""

from __future__ import annotations

from django.db import transaction

from accounts import closure
from accounts.models import AccountChange, AccountFilter, Grant, Membership
from accounts.tests.stored import MAY_1, MAY_3, account
from instances.tests.api import client_with, superclient
from tagging.models import InstanceTag, Tag


def names(answer) -> list[str]:
    assert answer.status_code == 200, answer.json()
    return [row["name"] for row in answer.json()["results"]]


def test_filters_answer_what_they_are_asked(instances):
    pg, my = instances
    account(pg, "postgres", is_superuser=True, can_login=True, is_system=True, is_filtered=True)
    account(pg, "app", can_login=True, is_superuser=False)
    account(pg, "dba", kind="role", can_login=False)
    account(my, "app", host="%", is_locked=True)
    account(my, "old", host="%", gone_at=MAY_3)
    InstanceTag.objects.create(instance=my, tag=Tag.objects.create(slug="lab", label="Lab"))
    client = client_with("accounts.view_account")
    expected = {
        "": ["app", "old", "app", "dba", "postgres"],
        "?engine=postgresql": ["app", "dba", "postgres"],
        f"?instance={my.pk}": ["app", "old"],
        "?instance_name=my": ["app", "old"],
        "?tag=lab": ["app", "old"],
        "?name=app&host=%25": ["app"],
        "?kind=role": ["dba"],
        "?superuser=true": ["postgres"],
        # Nobody said that `dba` is none: unknown is not false.
        "?superuser=false": ["app"],
        "?can_login=false": ["dba"],
        "?locked=1": ["app"],
        "?gone=true": ["old"],
        "?gone=false&engine=mysql": ["app"],
        "?filtered=true": ["postgres"],
        "?system=false&instance_name=pg": ["app", "dba"],
        "?search=ap": ["app", "app"],
        "?ordering=-name": ["postgres", "old", "dba", "app", "app"],
    }
    assert {query: names(client.get(f"/api/accounts/{query}")) for query in expected} == expected


def test_an_account_with_its_grants(instances):
    mine = account(instances[1], "shop's “app”", host="10.%")
    grant = {"account": mine, "kind": "database", "scope": "shop", "database": "shop"}
    Grant.objects.create(**grant, privilege="SELECT", grantable=True, denied=False, since=MAY_1, held_since=MAY_1)
    Grant.objects.create(
        **grant, privilege="INSERT", grantable=False, denied=False, since=MAY_1, held_since=MAY_1, until=MAY_3
    )
    Grant.objects.create(**grant, privilege="DROP", grantable=False, denied=True, since=MAY_3, held_since=MAY_3)
    client = client_with("accounts.view_account", "accounts.view_grant")
    told = client.get(f"/api/accounts/{mine.pk}/").json()
    assert (told["label"], told["engine"], told["instance_name"]) == ("shop's “app”@10.%", "mysql", "my")
    assert (told["n_grants"], told["n_roles"]) == (2, 0)
    grants = f"/api/accounts/{mine.pk}/grants/"
    texts = {row["text"] for row in client.get(f"{grants}?current=true").json()["results"]}
    assert texts == {"SELECT on database shop, may pass it on", "no DROP on database shop"}
    [past] = client.get(f"{grants}?current=false").json()["results"]
    assert (past["privilege"], past["since"], past["until"]) == (
        "INSERT",
        "2026-05-01T00:00:00Z",
        "2026-05-03T00:00:00Z",
    )
    for query, count in {
        "kind=database&scope=shop": 3,
        "kind=table": 0,
        "scope=Shop": 0,
        "privilege=select": 1,
        "denied=true": 1,
        "grantable=true": 1,
        "page_size=2": 3,
    }.items():
        assert client.get(f"{grants}?{query}").json()["count"] == count, query
    assert "is not one of" in str(client.get(f"{grants}?kind=tabel").json()["kind"])
    assert client.get(f"/api/accounts/{mine.pk + 1}/grants/").status_code == 404


def test_roles_come_with_the_path_to_them(instances):
    """F1.9: nested roles are understood."""
    pg = instances[0]
    people = {name: account(pg, name) for name in ("ann", "team", "dba", "root")}
    options = {"admin_option": False, "set_option": True, "since": MAY_1, "held_since": MAY_1}
    for member, role, inherit in (("ann", "team", True), ("team", "dba", True), ("dba", "root", False)):
        Membership.objects.create(member=people[member], role=people[role], inherit=inherit, **options)
    with transaction.atomic():
        closure.rebuild(pg.pk)
    client = client_with("accounts.view_rolereach")
    roles = f"/api/accounts/{people['ann'].pk}/roles/"
    told = [(row["role_name"], row["path"], row["inherits"]) for row in client.get(roles).json()["results"]]
    assert told == [
        ("team", ["team"], True),
        ("dba", ["team", "dba"], True),
        ("root", ["team", "dba", "root"], False),
    ]
    [row] = client.get(f"{roles}?inherits=false").json()["results"]
    assert (row["role"], row["depth"], row["path"]) == (people["root"].pk, 3, ["team", "dba", "root"])
    assert client.get(f"{roles}?page=2&page_size=2").json()["results"] == [row]
    assert client.get(f"{roles}?steps=1").json()["count"] == 1


def test_changes_can_be_asked_for(instances):
    ann, bob = account(instances[0], "ann"), account(instances[1], "bob", host="%")
    AccountChange.objects.create(account=ann, at=MAY_1, events=["appeared"], baseline=True)
    details = {
        "granted": [{"kind": "database", "scope": "shop", "privilege": "CREATE", "grantable": False, "denied": False}]
    }
    AccountChange.objects.create(account=ann, at=MAY_3, events=["locked", "privileges"], details=details)
    AccountChange.objects.create(account=bob, at=MAY_3, events=["disappeared"])
    client = client_with("accounts.view_accountchange")

    def told(query: str) -> list[tuple[str, list[str]]]:
        answer = client.get(f"/api/account-changes/?{query}")
        assert answer.status_code == 200, answer.json()
        return [(row["account_label"], row["events"]) for row in answer.json()["results"]]

    appeared, locked, gone = ("ann", ["appeared"]), ("ann", ["locked", "privileges"]), ("bob@%", ["disappeared"])
    assert told("page_size=10") == [gone, locked, appeared]
    assert told("event=privileges") == [locked]
    assert told(f"account={ann.pk}&baseline=false") == [locked]
    assert told("instance_name=my") == [gone]
    assert told(f"instance={instances[0].pk}&until=2026-05-03T00:00:00Z") == [appeared]
    assert told("since=2026-05-03T00:00:00Z") == [gone, locked]
    [row] = client.get("/api/account-changes/?event=locked").json()["results"]
    assert row["details"] == details
    assert (row["instance_name"], row["session"]) == ("pg", None)


def test_a_filter_takes_effect_at_once(instances):
    """Filters are editable per engine and instance; a filtered account is shown as filtered, never as gone."""
    pg, my = instances
    for instance in (pg, my):
        account(instance, "app_1")
        account(instance, "monitor")
    client = superclient()

    def filtered() -> list[str]:
        rows = client.get("/api/accounts/?filtered=true").json()["results"]
        assert {row["gone_at"] for row in rows} <= {None}
        return [f"{row['instance_name']} {row['name']}" for row in rows]

    answer = client.post("/api/account-filters/", {"pattern": "app?1", "engine": "mysql"}, format="json")
    assert answer.status_code == 201, answer.json()
    url = f"/api/account-filters/{answer.json()['id']}/"
    assert filtered() == ["my app_1"]
    client.patch(url, {"engine": "postgresql"}, format="json")
    assert filtered() == ["pg app_1"]
    client.patch(url, {"engine": "", "instance": my.pk, "pattern": "*"}, format="json")
    assert filtered() == ["my app_1", "my monitor"]
    answer = client.patch(url, {"action": "hid"}, format="json")
    assert (answer.status_code, list(answer.json())) == (400, ["action"])
    assert client.delete(url).status_code == 204
    assert filtered() == []
    assert not AccountFilter.objects.filter(pattern="*", system_only=False).exists()


def test_lists_take_a_fixed_number_of_queries(instances, django_assert_num_queries):
    group = account(instances[0], "group", kind="role")
    for number in range(30):
        member = account(instances[0], f"user{number}")
        Membership.objects.create(
            member=member, role=group, admin_option=False, inherit=True, set_option=True, since=MAY_1, held_since=MAY_1
        )
        Grant.objects.create(
            account=group,
            kind="database",
            scope=f"db{number}",
            privilege="CREATE",
            grantable=False,
            denied=False,
            since=MAY_1,
            held_since=MAY_1,
        )
        AccountChange.objects.create(account=member, at=MAY_1, events=["appeared"])
    with transaction.atomic():
        closure.rebuild(instances[0].pk)
    client = superclient()
    with django_assert_num_queries(3):
        assert client.get("/api/accounts/").json()["count"] == 31
    with django_assert_num_queries(3):
        assert client.get("/api/account-changes/").json()["count"] == 30
    with django_assert_num_queries(4):
        assert client.get(f"/api/accounts/{group.pk}/grants/").json()["count"] == 30
    with django_assert_num_queries(5):
        assert client.get(f"/api/accounts/{member.pk}/roles/").json()["count"] == 1
