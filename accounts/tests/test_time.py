"""What accounts hold and since when, by whom and seen by which visits, as people and programs see it."""

from __future__ import annotations

import csv
import json
import re
from datetime import datetime, timedelta
from html import unescape
from io import StringIO

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from access.questions import who_can
from access.tests.test_questions import ask, grant, instance, join
from access.tests.test_who_can_page import sheets
from access.where_page import where
from accounts.models import Account, AccountChange, Grant
from accounts.tests.stored import MAY_1, MAY_3, account
from accounts.tests.test_admin import rebuild
from instances.models import Instance
from instances.tests.api import client_with
from sync.models import SyncRecord, SyncSession

MAY_2 = MAY_1 + timedelta(days=1)
MAY_5 = MAY_1 + timedelta(days=4)
WHO_CAN = reverse("who-can")


def page_of(client: Client, account: Account, tab: str, **query: str) -> str:
    url = reverse("admin:accounts_account_change", args=[account.pk])
    return client.get(url, {"tab": tab} | query).content.decode()


def csv_rows(client: Client, url: str, **query: object) -> list[dict[str, str]]:
    text = client.get(url, query | {"csv": 1}).getvalue().decode("utf-8-sig")
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
    assert (code, text.count("2026-05-01 00:00"), text.count("2026-05-03")) == (0, 2, 0)
    found = api_rows("/api/access/", "accounts.view_grant", privilege="SELECT", scope="shop.public.orders")
    assert {datetime.fromisoformat(row["since"]) for row in found} == {MAY_1}
    readers = Account.objects.get(name="readers")
    grants = api_rows(f"/api/accounts/{readers.pk}/grants/", "accounts.view_grant", current="true")
    assert [datetime.fromisoformat(row["since"]) for row in grants] == [MAY_1]
    for account_, tab in ((readers, "grants"), (readers, "members")):
        text = page_of(admin_client, account_, tab)
        assert "<td>2026-05-01 00:00<" in text
        assert "<td>2026-05-03 00:00<" not in text


def visit(of: Instance, at: datetime, status: str = "completed") -> int:
    """Store the record of a visit that began then; return its session."""
    session = SyncSession.objects.create(kind="accounts", trigger="manual", status="completed", finished_at=at)
    SyncRecord.objects.create(session=session, instance=of, kind="accounts", status=status, started_at=at)
    return session.pk


@pytest.fixture
def seen(reader: Account) -> dict[datetime, int]:
    """The sessions of four visits and of one that failed. The last saw the grant, and not the membership."""
    found = {at: visit(reader.instance, at) for at in (MAY_1, MAY_2, MAY_3, MAY_5)}
    visit(reader.instance, MAY_5 - timedelta(days=1), "failed")
    reader.instance.coverage.update(read_at=MAY_5)
    reader.memberships.filter(until=None).update(unobserved_since=MAY_3, grantors=["postgres", HOSTILE])
    Grant.objects.filter(until=None).update(grantors=[])
    return found


HOSTILE = "eve\u202e"


def test_each_link_names_the_sessions_that_saw_it(
    reader: Account, seen: dict[datetime, int], admin_client: Client, django_assert_num_queries
) -> None:
    """F7.10, F7.2: each grant and membership of a path names the visits that saw it first and last."""
    with django_assert_num_queries(7):
        answer = who_can("SELECT", "shop.public.orders")
        rows = list(answer.rows)
    row = next(row for row in rows if row.account == reader)
    membership, on_orders = row.links
    assert (membership.text, membership.first_session, membership.last_session) == (
        "bob in readers",
        seen[MAY_1],
        seen[MAY_3],
    )
    assert (membership.last_seen_at, membership.grantors) == (MAY_3, ["postgres", HOSTILE])
    assert (on_orders.first_session, on_orders.last_session, on_orders.last_seen_at, on_orders.grantors) == (
        seen[MAY_1],
        seen[MAY_5],
        MAY_5,
        [],
    )
    # Rows that ended were last seen by the visit before: the failed one saw nothing.
    then = next(row for row in who_can("SELECT", "shop.public.orders", at=MAY_2).rows if row.account == reader)
    assert [(link.first_session, link.last_session, link.last_seen_at) for link in then.links] == [
        (seen[MAY_1], seen[MAY_2], MAY_2)
    ] * 2

    query = {"privilege": "SELECT", "scope": "shop.public.orders"}
    page = admin_client.get(WHO_CAN, query).content.decode()
    assert "2 links" in page
    assert 'title="U+202E' in page
    for at in (MAY_1, MAY_3, MAY_5):
        assert reverse("admin:sync_syncsession_change", args=[seen[at]]) in page
    line = next(row for row in csv_rows(admin_client, WHO_CAN, **query) if row["account"] == "bob")
    assert line["evidence"] == (
        f"bob in readers; since 2026-05-01 00:00 UTC (session {seen[MAY_1]}); last seen 2026-05-03 00:00 UTC (session "
        f"{seen[MAY_3]}); granted by postgres, eve\\u202e | SELECT on table shop.public.orders, may pass it on; since "
        f"2026-05-01 00:00 UTC (session {seen[MAY_1]}); last seen 2026-05-05 00:00 UTC (session {seen[MAY_5]})"
    )
    expected = [
        ("membership", "2026-05-01T00:00:00Z", seen[MAY_1], "2026-05-03T00:00:00Z", seen[MAY_3]),
        ("grant", "2026-05-01T00:00:00Z", seen[MAY_1], "2026-05-05T00:00:00Z", seen[MAY_5]),
    ]

    def links(row: dict[str, list[dict[str, object]]]) -> list[tuple[object, ...]]:
        names = ("kind", "since", "first_session", "last_seen_at", "last_session")
        return [tuple(link[name] for name in names) for link in row["links"]]

    (row,) = [row for row in api_rows("/api/access/", "accounts.view_grant", **query) if row["account"] == reader.pk]
    assert links(row) == expected
    (row,) = api_rows(f"/api/accounts/{reader.pk}/effective/", "accounts.view_grant")
    assert links(row) == expected
    _code, text = ask("SELECT", "--on", "shop.public.orders", "--json")
    (row,) = [row for row in json.loads(text)["accounts"] if row["account"] == "bob"]
    assert links(row) == expected
    page = page_of(admin_client, reader, "effective")
    for at in (MAY_1, MAY_3, MAY_5):
        assert reverse("admin:sync_syncsession_change", args=[seen[at]]) in page


def test_effective_rights_are_grouped_by_object_and_filtered(reader: Account, admin_client: Client) -> None:
    """F11.3: an object is shown once for all of its privileges; by kind, and by what the object or privilege contains."""
    for privilege in ("INSERT", "UPDATE"):
        grant(reader, privilege, "table", "shop.public.orders", database="shop", since=MAY_1)
    grant(reader, "CREATE", "schema", "shop.public", database="shop", since=MAY_1)
    tab = {"tab": "effective"}
    url = reverse("admin:accounts_account_change", args=[reader.pk])

    def rows(**query: str) -> list[tuple[str, bool]]:
        page = admin_client.get(url, tab | query).content.decode()
        found = re.findall(r'<tr( class="tf-again")?>\s*<td><span>(\w+)</span></td>', page)
        return [(kind, bool(again)) for again, kind in found]

    assert rows() == [("schema", False), ("table", False), ("table", True), ("table", True)]
    assert rows(kind="schema") == [("schema", False)]
    assert rows(kind="table", q="upd") == [("table", False)]
    text = admin_client.get(reverse("effective"), {"account": reader.pk, "kind": "schema"}).getvalue().decode()
    assert ("CREATE" in text, "UPDATE" in text) == (True, False)
    book = admin_client.get(reverse("effective"), {"account": reader.pk, "kind": "schema", "xlsx": 1})
    header, row = sheets(book.content)["Rights"]
    assert header == text.splitlines()[0].lstrip("\ufeff").split(",")
    assert row[2:5] == ["CREATE on schema shop.public", "schema", "shop.public"]


def test_a_visit_without_a_record_is_named_by_its_time(reader: Account, seen: dict[datetime, int]) -> None:
    """F7.10: records are deleted after a while; what is known of a visit then is when it began."""
    SyncSession.objects.all().delete()
    row = next(row for row in who_can("SELECT", "shop.public.orders").rows if row.account == reader)
    assert [(link.first_session, link.last_seen_at, link.last_session) for link in row.links] == [
        (None, MAY_3, None),
        (None, MAY_5, None),
    ]


def test_the_number_of_queries_does_not_grow_with_the_answer(
    reader: Account, admin_client: Client, django_assert_num_queries
) -> None:
    """F7.10"""
    readers = Account.objects.get(name="readers")
    for number in range(20):
        join(account(reader.instance, f"member{number}"), readers, since=MAY_1 + timedelta(hours=number))
        scope = f"shop.public.t{number}"
        grant(readers, "SELECT", "table", scope, database="shop", since=MAY_1 + timedelta(hours=number))
    with django_assert_num_queries(7):
        assert len(list(who_can("SELECT", "shop.public.orders").rows)) == 22
    url = reverse("admin:accounts_account_change", args=[reader.pk])
    admin_client.get(url)
    with django_assert_num_queries(26):
        admin_client.get(url, {"tab": "effective"})


def test_grantors_are_shown_and_found(reader: Account, admin_client: Client) -> None:
    """F7.10: by whom something was granted is shown with its hidden characters. Not recorded is not none."""
    readers = Account.objects.get(name="readers")
    grant(readers, "INSERT", "table", "shop.public.orders", database="shop", grantors=["postgres", HOSTILE])
    grant(readers, "DELETE", "table", "shop.public.orders", database="shop", grantors=[])
    grant(readers, "UPDATE", "table", "shop.public.orders", database="shop", grantors=["dora"], until=MAY_3)
    reader.memberships.filter(until=None).update(grantors=["carl"])
    page = page_of(admin_client, readers, "grants")
    assert 'title="U+202E RIGHT-TO-LEFT OVERRIDE"' in page
    assert page.count("not recorded yet") == 1
    for of, tab, name in ((readers, "ended", "dora"), (readers, "members", "carl"), (reader, "roles", "carl")):
        if tab == "roles":
            rebuild(reader.instance)
        assert f'<span class="tf-name">{name}</span>' in page_of(admin_client, of, tab), tab
    client = client_with("accounts.view_grant", "accounts.view_membership", "accounts.view_account")
    grants, memberships = f"/api/accounts/{readers.pk}/grants/", f"/api/accounts/{reader.pk}/memberships/"

    def found(url: str, **query: str) -> list[object]:
        return [row.get("grantors", row.get("name")) for row in client.get(url, query).json()["results"]]

    assert sorted(map(str, found(grants, current="true"))) == ["None", str(["postgres", HOSTILE]), "[]"]
    assert found(grants, grantor=HOSTILE) == [["postgres", HOSTILE]]
    assert found(grants, grantor="post") == []
    assert found(memberships, grantor="carl") == [["carl"]]
    assert found("/api/accounts/", grantor="carl") == ["bob"]
    assert found("/api/accounts/", grantor="dora") == []
    names = admin_client.get(reverse("admin:accounts_account_changelist"), {"grantor": "postgres"})
    assert [row.name for row in names.context["cl"].result_list] == ["readers"]


def test_ended_says_why_and_leaves_out_what_continues(reader: Account, admin_client: Client) -> None:
    """F7.10: a possession that continues with other options has not ended."""
    readers = Account.objects.get(name="readers")
    assert '>Ended grants <span class="tf-quiet">0</span>' in page_of(admin_client, readers, "ended")
    assert '>Ended memberships <span class="tf-quiet">0</span>' in page_of(admin_client, reader, "left")
    for privilege, ended in (
        ("INSERT", "dropped"),
        ("UPDATE", "revoked"),
        ("DELETE", None),
        ("TRUNCATE", "unrecorded"),
    ):
        grant(readers, privilege, "table", "shop.public.orders", database="shop", until=MAY_3, ended=ended)
    join(reader, account(reader.instance, "writers", kind="role"), until=MAY_3, ended="dropped")
    page = page_of(admin_client, readers, "ended")
    assert '>Ended grants <span class="tf-quiet">4</span>' in page
    for words in (
        "<td>account or object dropped</td>",
        "<td>revoked</td>",
        "<td>–</td>",
        "<td>no longer recorded</td>",
    ):
        assert page.count(words) == 1, words
    page = page_of(admin_client, reader, "left")
    assert '>Ended memberships <span class="tf-quiet">1</span>' in page
    assert "<td>account or object dropped</td>" in page
    client = client_with("accounts.view_grant", "accounts.view_membership")

    def ended_of(url: str, **query: str) -> list[object]:
        return sorted((row["ended"] for row in client.get(url, query).json()["results"]), key=str)

    grants, memberships = f"/api/accounts/{readers.pk}/grants/", f"/api/accounts/{reader.pk}/memberships/"
    assert ended_of(grants, current="false") == [None, "dropped", "revoked", "unrecorded"]
    assert ended_of(grants, ended="revoked") == ["revoked"]
    assert ended_of(memberships) == [None, "dropped"]


ODD = "a\u202eb "

#: Event → details, and the lines that people read.
CHANGES = {
    "renamed": ({"renamed": ["alice", ODD]}, ["renamed alice → “a\\u202eb ”"]),
    "probably_renamed": ({"renamed": ["alice", "alina"]}, ["renamed alice → alina"]),
    "options": (
        {
            "options": [
                {
                    **{"kind": "table", "database": "shop", "scope": "shop.public.t", "privilege": "SELECT"},
                    **{"denied": False, "grantable": True, "option": "grantable", "added": True},
                },
                {"role": ODD, "admin_option": False, "option": "admin_option", "added": False},
                {"role": "staff", "option": "set_option", "added": True},
                {"option": "inherit", "added": False},
            ]
        },
        [
            "option added SELECT on table shop.public.t: may pass it on",
            "option removed role “a\\u202eb ”: may pass it on",
            "option added role staff: may switch",
            "option removed inherits from all its roles",
        ],
    ),
    "grantors": (
        {
            "grantors": [
                {
                    **{"kind": "table", "database": "shop", "scope": "shop.public.t", "privilege": "SELECT"},
                    **{"denied": False, "grantable": True, "added": [ODD, "bob"], "removed": ["carl"]},
                }
            ]
        },
        [
            "granted by SELECT on table shop.public.t, now also by “a\\u202eb ”, bob",
            "granted by SELECT on table shop.public.t, no longer by carl",
        ],
    ),
    "objects": (
        {"renamed_objects": [{"kind": "table", "from": "shop.a.t", "to": "shop.b.t"}]},
        ["renamed table shop.a.t → shop.b.t"],
    ),
    "privileges": (
        {
            "recreated": [{"kind": "schema", "scope": "shop.a"}],
            "revoked": [
                {
                    **{"kind": "table", "database": "shop", "scope": "shop.a.t", "privilege": "SELECT"},
                    **{"denied": False, "grantable": False, "dropped": True},
                }
            ],
        },
        ["dropped and created anew schema shop.a", "dropped SELECT on table shop.a.t"],
    ),
    "expired": ({"attributes": {"password_expired": [False, True]}}, ["changed password expired: no → yes"]),
    "password": (
        {"attributes": {"password_changed_at": ["2026-05-01", "2026-05-03"]}},
        ["changed password changed: 2026-05-01 → 2026-05-03"],
    ),
    "end_date": ({"attributes": {"valid_until": [None, "2026-06-01"]}}, ["changed valid until: – → 2026-06-01"]),
}

LABELS = {
    "renamed": "renamed",
    "probably_renamed": "probably renamed",
    "options": "options changed",
    "grantors": "grantors changed",
    "objects": "objects renamed",
    "privileges": "privileges changed",
    "expired": "expired",
    "password": "password changed",
    "end_date": "end date changed",
}


@pytest.mark.parametrize("event", list(CHANGES))
def test_changes_are_told_in_words(reader: Account, admin_client: Client, event: str) -> None:
    """F7.10: each kind of change reads as what it was, on every page and in the API, and lists can be filtered by it."""
    logged, lines = CHANGES[event]
    change = AccountChange.objects.create(account=reader, at=timezone.now(), events=[event], details=logged)
    AccountChange.objects.create(account=reader, at=timezone.now(), events=["appeared"])
    (row,) = api_rows("/api/account-changes/", "accounts.view_accountchange", event=event)
    assert (row["id"], row["lines"]) == (change.pk, lines)

    listed = admin_client.get(reverse("admin:accounts_accountchange_changelist"), {"event": event})
    assert [row.pk for row in listed.context["cl"].result_list] == [change.pk]
    pages = {
        "list": listed.content.decode(),
        "page": admin_client.get(reverse("admin:accounts_accountchange_change", args=[change.pk])).content.decode(),
        "tab": page_of(admin_client, reader, "changes"),
        "timeline": admin_client.get(
            reverse("admin:instances_instance_timeline", args=[reader.instance_id])
        ).content.decode(),
    }
    for place, text in pages.items():
        shown = " ".join(unescape(strip_tags(text)).split())
        assert LABELS[event] in shown, place
        for line in lines[:3]:
            assert " ".join(line.split()) in shown, (place, line)
        assert "\u202e" not in text, place


def test_pages_link_accounts_that_had_the_name(reader: Account, admin_client: Client) -> None:
    """F7.10: a recreated account and its predecessor name each other, and a renamed one its former names."""
    old = account(reader.instance, "bob2", gone_at=MAY_3)
    new = account(reader.instance, "bob2", first_seen_at=MAY_3)
    account(reader.instance, "bob2", host="h", first_seen_at=MAY_3)
    for at, names, event in ((MAY_2, [ODD, "robert"], "renamed"), (MAY_3, ["robert", "bob"], "probably_renamed")):
        AccountChange.objects.create(account=reader, at=at, events=[event], details={"renamed": names})
    for one, other, words in (
        (new, old, "Another account had this name from 2026-05-01 00:00 to 2026-05-03 00:00."),
        (old, new, "Another account has this name since 2026-05-03 00:00."),
    ):
        page = page_of(admin_client, one, "grants")
        assert f'href="{reverse("admin:accounts_account_change", args=[other.pk])}">{words}' in page
        assert page.count("Another account") == 1
    page = page_of(admin_client, reader, "grants")
    shown = " ".join(unescape(strip_tags(page)).split())
    assert "Until 2026-05-02 00:00 its name was a\\u202eb·." in shown
    assert "Until 2026-05-03 00:00 its name was robert. The engine has no ids of accounts: probably" in shown
    assert shown.count("probably the same one") == 1
    assert "Another account" not in page


def test_of_two_accounts_with_one_name_the_present_one_comes_first(instances, admin_client: Client) -> None:
    """F7.10: both are found by name; SQL is offered for the one that is there, and only for it."""
    pg, _my = instances
    new = account(pg, "alice", first_seen_at=MAY_3, can_login=True)
    old = account(pg, "alice", gone_at=MAY_3, can_login=True)
    account(pg, "alina", gone_at=MAY_3)
    assert list(where("ali*")) == [new, old]
    assert list(where("alice", MAY_2)) == [old]
    assert list(where("alice", MAY_3)) == [new]
    url = reverse("where-is")
    text = admin_client.get(url, {"name": "alice"}).content.decode()
    assert text.count("ALTER ROLE") == 1
    assert "gone 2026-05-03 00:00" in text
    lines = [line for line in csv_rows(admin_client, url, name="alice") if line["account"]]
    assert [(line["first seen"][:10], line["gone"][:10], line["SQL that locks it"]) for line in lines] == [
        ("2026-05-03", "", 'ALTER ROLE "alice" NOLOGIN;'),
        ("2026-05-01", "2026-05-03", ""),
    ]
    assert "ALTER ROLE" not in admin_client.get(url, {"name": "alice", "as_of": "2026-05-02 12:00"}).content.decode()
    found = api_rows("/api/accounts/", "accounts.view_account", name="alice")
    assert [row["id"] for row in found] == [new.pk, old.pk]
    listed = admin_client.get(reverse("admin:accounts_account_changelist"), {"q": "alice", "gone": "all"})
    assert [row.pk for row in listed.context["cl"].result_list] == [new.pk, old.pk]


@pytest.fixture
def built_in(reader: Account) -> Account:
    """bob may read pg_authid, and PUBLIC may no longer run pg_sleep; root is a superuser."""
    pg = reader.instance
    public, root = account(pg, "PUBLIC", kind="public"), account(pg, "root", is_superuser=True)
    grant(root, "SUPERUSER", "attribute")
    grant(reader, "SELECT", "table", "shop.pg_catalog.pg_authid", database="shop")
    scope = "shop.pg_catalog.pg_sleep(double precision)"
    grant(public, "EXECUTE", "routine", scope, database="shop", denied=True)
    return public


SHIPPED = "on built-in objects, the rights that the engine ships with are not recorded"


def test_questions_about_built_in_objects_are_unknown(built_in: Account, admin_client: Client) -> None:
    """F7.7: only deviations are recorded, so that the answer is what deviates and "unknown", never superusers alone."""
    sleep = "shop.pg_catalog.pg_sleep(double precision)"
    for privilege, scope, holders in (
        ("SELECT", "shop.pg_catalog.pg_authid", ["bob", "root"]),
        ("EXECUTE", sleep, ["root"]),
        ("SELECT", "shop.information_schema.tables", ["root"]),
        ("USAGE", "shop.pg_catalog", ["root"]),
        ("SELECT", "shop.pg_catalog.pg_authid.rolname", ["bob", "root"]),
    ):
        code, text = ask(privilege, "--on", scope)
        lines = text.splitlines()
        assert code == 3, scope
        assert f"pg: not known: {SHIPPED}" in lines
        rows = [re.split(r" {2,}", line) for line in lines[1:] if "taken away" not in line and "not known" not in line]
        assert [row[:2] for row in rows] == [["pg", name] for name in holders]
    code, text = ask("EXECUTE", "--on", sleep)
    (line,) = (re.split(r" {2,}", line) for line in text.splitlines() if "taken away" in line)
    told = [
        "pg",
        "PUBLIC",
        f"no EXECUTE on routine {sleep}",
        "taken away; the engine ships with it",
        "2026-05-01 00:00",
    ]
    assert line == told
    assert "taken away" not in ask("SELECT", "--on", "shop.pg_catalog.pg_authid")[1]
    assert "not known" not in ask("SELECT", "--on", "shop.public.orders")[1]
    assert "Did you mean EXECUTE" in ask("EXECUT", "--on", sleep)[1]
    answer = client_with("accounts.view_grant").get("/api/access/", {"privilege": "EXECUTE", "on": sleep}).json()
    assert [row["account_label"] for row in answer["results"]] == ["root"]
    assert [row["reason"] for row in answer["unknown"]] == [SHIPPED]
    assert [(row["account"], row["grant"]["denied"]) for row in answer["taken_away"]] == [(built_in.pk, True)]
    page = admin_client.get(WHO_CAN, {"privilege": "EXECUTE", "on": sleep}).content.decode()
    assert SHIPPED in page
    assert "Rights that the engine ships with and that were taken away" in page
    rows = csv_rows(admin_client, WHO_CAN, privilege="EXECUTE", on=sleep)
    assert [(row["account"], row["usable"], row["not known"]) for row in rows] == [
        ("root", "at login", SHIPPED),
        ("PUBLIC", "taken away", SHIPPED),
    ]
