"""The pages of accounts, their changes and the filters."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts import closure
from accounts.models import Account, AccountChange, AccountFilter, Coverage, Grant
from accounts.tests.stored import MAY_1, MAY_3, account, join
from console.templatetags.names import visible
from instances.models import Instance
from instances.tests.pages import staff, superstaff
from sync.models import SyncRecord, SyncSession
from tagging.models import InstanceTag, Tag

LIST = reverse("admin:accounts_account_changelist")
CHANGES = reverse("admin:accounts_accountchange_changelist")
FILTERS = reverse("admin:accounts_accountfilter_changelist")
PREVIEW = reverse("admin:accounts_accountfilter_preview")


def grant(holder: Account, privilege: str, **fields: object) -> Grant:
    values = {"kind": "database", "database": "shop", "scope": "shop", "since": MAY_1} | fields
    values = {"held_since": values["since"]} | values
    return Grant.objects.create(account=holder, privilege=privilege, **{"grantable": False, "denied": False} | values)


def rebuild(instance: Instance) -> None:
    with transaction.atomic():
        closure.rebuild(instance.pk)


def page(of: Account, tab: str = "grants", **query: str) -> str:
    more = "".join(f"&{name}={value}" for name, value in query.items())
    return f"{reverse('admin:accounts_account_change', args=[of.pk])}?tab={tab}{more}"


def names(answer) -> list[str]:
    assert answer.status_code == 200
    return sorted(row.name for row in answer.context["cl"].result_list)


def test_the_list_answers_what_it_is_asked(instances):
    pg, my = instances
    account(pg, "postgres", is_superuser=True, can_login=True, is_system=True, is_filtered=True)
    app = account(pg, "app", can_login=True, is_superuser=False)
    account(pg, "dba", kind="role", can_login=False, is_superuser=True)
    account(my, "web", host="%", is_locked=True)
    old = account(my, "old", host="%", gone_at=MAY_3)
    InstanceTag.objects.create(instance=my, tag=Tag.objects.create(slug="lab", label="Lab"))
    AccountChange.objects.create(account=app, at=timezone.now(), events=["privileges"])
    AccountChange.objects.create(account=old, at=timezone.now() - timedelta(days=20), events=["disappeared"])
    client = staff("accounts.view_account")
    expected = {
        "": ["app", "dba", "web"],
        "gone=all": ["app", "dba", "old", "web"],
        "gone=yes": ["old"],
        "filtered=yes": ["postgres"],
        "filtered=all&gone=all": ["app", "dba", "old", "postgres", "web"],
        "engine=postgresql": ["app", "dba"],
        f"instance__id__exact={my.pk}": ["web"],
        "tag=lab&gone=all": ["old", "web"],
        "kind__exact=role": ["dba"],
        "is_superuser__exact=1": ["dba"],
        "can_login__exact=0": ["dba"],
        "is_locked__exact=1": ["web"],
        "changed=7": ["app"],
        "changed=30&gone=all": ["app", "old"],
        "q=%25": ["web"],
    }
    assert {query: names(client.get(f"{LIST}?{query}")) for query in expected} == expected


def test_the_list_says_what_it_leaves_out(instances):
    account(instances[0], "app")
    client = staff("accounts.view_account")
    assert "Gone and filtered rows are hidden." in client.get(LIST).content.decode()
    assert "Gone rows are hidden." in client.get(f"{LIST}?filtered=all").content.decode()
    assert "Filtered rows are hidden" in client.get(f"{LIST}?gone=yes&q=x").content.decode()
    # What else was asked for stays when more is shown.
    assert "?q=x&amp;gone=all" in client.get(f"{LIST}?q=x").content.decode()


def test_lists_take_a_fixed_number_of_queries(instances, django_assert_num_queries):
    pg, my = instances
    rows = Account.objects.bulk_create(
        Account(instance=pg if n % 2 else my, name=f"a{n:03}", kind="user", first_seen_at=MAY_1) for n in range(150)
    )
    session = SyncSession.objects.create(kind="accounts", trigger="manual")
    record = SyncRecord.objects.create(session=session, instance=pg, kind="accounts")
    AccountChange.objects.bulk_create(
        AccountChange(account=row, record=record, at=MAY_3, events=["appeared"]) for row in rows
    )
    for row in rows[:50]:
        grant(row, "CREATE")
    client = superstaff()
    # Session, user, instances not read lately, tags for the filter, how many, the rows, the saved views.
    with django_assert_num_queries(7):
        shown = client.get(LIST).context["cl"].result_list
        assert (len(shown), sum(row.n_grants for row in shown)) == (50, 25)
    with django_assert_num_queries(6):
        assert len(client.get(CHANGES).context["cl"].result_list) == 50
    # What the first migration leaves is there or not, by which test came before.
    AccountFilter.objects.all().delete()
    AccountFilter.objects.bulk_create(AccountFilter(pattern=f"x{n}", instance=pg) for n in range(40))
    with django_assert_num_queries(6):
        assert len(client.get(FILTERS).context["cl"].result_list) == 40


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("app", '<span class="tf-name">app</span>'),
        ("", "(no name)"),
        ("<script>alert(1)</script>", "&lt;script&gt;"),
        ("two\nlines", ">\\n</span>lines"),
        ("ends ", ">·</span></span>"),
        (" starts", 'SPACE">·</span>starts'),
        ("in the middle", '<span class="tf-name">in the middle</span>'),
        ("right\u202eleft", ">\\u202e</span>left"),
        ("zero\u200bwidth", ">\\u200b</span>width"),
        ("no\xa0break", ">\\xa0</span>break"),
        ("生产", "生产"),
    ],
)
def test_nothing_in_a_name_hides(instances, name, shown):
    """F1.9: names keep their case, and whatever else is in them."""
    assert shown in visible(name)
    row = account(instances[0], name)
    client = superstaff()
    for url in (LIST, page(row)):
        answer = client.get(url).content.decode()
        assert str(visible(name)) in answer, url
        assert "<script>alert" not in answer


@given(st.text(max_size=20), st.text(max_size=20))
def test_names_that_differ_look_different(one, other):
    assert (visible(one) == visible(other)) == (one == other)


def test_the_page_says_what_an_account_may_do_and_how_it_comes_by_it(instances):
    pg, _ = instances
    alice = account(pg, "alice", can_login=True, valid_until=MAY_3)
    analysts, reporting = account(pg, "analysts", kind="role"), account(pg, "reporting", kind="role")
    everyone = account(pg, "public", kind="public")
    join(alice, analysts)
    join(analysts, reporting, set_option=False)
    rebuild(pg)
    grant(alice, "CONNECT", grantable=True)
    grant(reporting, "CREATE")
    grant(everyone, "TEMPORARY")
    grant(alice, "REVOKED-LONG-AGO", until=MAY_3)
    client = superstaff()

    direct = client.get(page(alice)).content.decode()
    assert ("CONNECT" in direct, "CREATE" in direct, "REVOKED" in direct) == (True, False, False)
    assert "may pass it on" in direct
    effective = client.get(page(alice, "effective"))
    held = [(line["grant"].privilege, line["path"], line["use"]) for line in effective.context["lines"]]
    assert sorted(held) == [
        ("CONNECT", [], "at login"),
        ("CREATE", ["analysts", "reporting"], "at login"),
        ("TEMPORARY", ["public"], "at login"),
    ]
    roles = client.get(page(alice, "roles")).context["lines"]
    assert [(line["reach"].role, line["path"]) for line in roles] == [
        (analysts, ["analysts"]),
        (reporting, ["analysts", "reporting"]),
    ]
    assert [row.member for row in client.get(page(analysts, "members")).context["lines"]] == [alice]
    assert "None." in client.get(page(analysts, "left")).content.decode()
    assert [row.privilege for row in client.get(page(alice, "ended")).context["lines"]] == ["REVOKED-LONG-AGO"]
    counts = {tab["name"]: tab["count"] for tab in effective.context["tabs"]}
    none = dict.fromkeys(("members", "left", "changes", "classifications"), 0)
    assert counts == {"grants": 1, "effective": 3, "roles": 2, "ended": 1, **none}


def test_the_page_answers_for_a_moment_in_the_past(instances):
    """Who could do what on 3 May, through which role."""
    pg, _ = instances
    alice, dba = account(pg, "alice"), account(pg, "dba", kind="role")
    join(alice, dba, until=MAY_3)
    grant(dba, "CREATE", until=MAY_3)
    Coverage.objects.create(instance=pg, level="A", covered=["database"], beyond=["table"], since=MAY_1, read_at=MAY_3)
    client = superstaff()
    assert client.get(page(alice, "effective")).context["lines"] == []
    then = client.get(page(alice, "effective", as_of="2026-05-02T12:00"))
    assert [line["path"] for line in then.context["lines"]] == [["dba"]]
    assert "Read depth A leaves out: table" in then.content.decode()
    before = client.get(page(alice, "effective", as_of="2026-04-01T12:00"))
    assert "No visit had read the instance by then." in before.content.decode()
    for wrong in ("soon", "2026-99-99T00:00", "2199-01-01T00:00"):
        answer = client.get(page(alice, "effective", as_of=wrong))
        assert answer.status_code == 200
        assert answer.context["answer"].wrong, wrong


def test_effective_rights_are_searched_and_exported(instances):
    """F7.2: what the tab shows is a file too, with what it stands on; predefined roles are named."""
    pg, _ = instances
    alice, reader = account(pg, "=alice", can_login=True), account(pg, "pg_read_all_data", kind="role", is_system=True)
    join(alice, reader)
    grant(alice, "CREATE")
    grant(alice, "CONNECT", scope="crm", database="crm")
    client = superstaff()
    shown = client.get(page(alice, "effective", q="crm"))
    assert [line["grant"].privilege for line in shown.context["lines"]] == ["CONNECT"]
    text = shown.content.decode()
    assert "SELECT on each table" in text
    file = client.get(shown.context["answer"].file).getvalue().decode()
    header, *lines = [line.split(",") for line in file.lstrip("\ufeff").splitlines()]
    rights = [dict(zip(header, line, strict=False)) for line in lines]
    assert [(row["account"], row["privilege"], row["on"], row["usable"]) for row in rights[:1]] == [
        ("'=alice", "CONNECT", "crm", "at login")
    ]
    assert ("pg_read_all_data", "SELECT", "table") in {
        (row["through"], row["privilege"], row["kind"]) for row in rights
    }
    assert {row["not known"] for row in rights} == {"not visited by then"}
    for wrong in ("", "x", "9" * 30, "-1"):
        assert client.get(reverse("effective"), {"account": wrong}).status_code == 404
    assert client.get(reverse("effective"), {"account": alice.pk, "as_of": "soon"}).status_code == 400


def test_a_long_tab_has_pages(instances, django_assert_num_queries):
    pg, _ = instances
    alice = account(pg, "alice")
    Grant.objects.bulk_create(
        Grant(
            account=alice, kind="table", database="shop", scope=f"shop.t{n:04}", privilege="SELECT",
            grantable=False, denied=False, since=MAY_1, held_since=MAY_1,
        )
        for n in range(450)
    )  # fmt: skip
    client = superstaff()
    # Django looks up content types once a process.
    client.get(page(alice))
    # Session, user, the account and its instance, its former names and namesakes, what heads its classifications, what leads to effective grants (4), a
    # count per tab (8), the rows of the open one (2), since when visits read as much, its owner and its end dates.
    with django_assert_num_queries(23):
        answer = client.get(page(alice, "grants", page="3"))
    assert len(answer.context["lines"]) == 50
    assert "401 to 450 of 450" in answer.content.decode()


def test_all_tabs_are_printed_together(instances, monkeypatch):
    pg, _ = instances
    alice, analysts = account(pg, "alice"), account(pg, "analysts", kind="role")
    join(alice, analysts)
    rebuild(pg)
    grant(alice, "CONNECT")
    grant(alice, "CREATE", scope="other")
    grant(alice, "REVOKED-LONG-AGO", until=MAY_3)
    printed = superstaff("one").get(page(alice, "all"))
    assert [part["name"] for part in printed.context["opened"]] == [tab["name"] for tab in printed.context["tabs"]]
    text = printed.content.decode()
    assert all(word in text for word in ("CONNECT", "CREATE", "analysts", "REVOKED-LONG-AGO"))
    assert "are printed" not in text
    monkeypatch.setattr("accounts.pages.PRINTED", 1)
    assert "The first 1 of 2 are printed." in superstaff("two").get(page(alice, "all")).content.decode()
    roles = staff("accounts.view_account", "accounts.view_rolereach", "accounts.view_membership").get(
        page(alice, "all")
    )
    assert [part["name"] for part in roles.context["opened"]] == ["roles", "members", "left"]
    assert "CONNECT" not in roles.content.decode()


def test_each_tab_asks_for_its_permission(instances):
    pg, _ = instances
    alice = account(pg, "alice")
    grant(alice, "SECRET-GRANT")
    plain = staff("accounts.view_account").get(page(alice))
    assert plain.status_code == 200
    assert (plain.context["tabs"], "SECRET-GRANT" in plain.content.decode()) == ([], False)
    one = staff("accounts.view_account", "accounts.view_rolereach").get(page(alice))
    assert [tab["name"] for tab in one.context["tabs"]] == ["roles"]
    assert "SECRET-GRANT" not in one.content.decode()
    assert staff("accounts.view_grant").get(page(alice)).status_code == 403


def test_accounts_and_changes_are_for_looking_only(instances):
    row = account(instances[0], "app")
    change = AccountChange.objects.create(account=row, at=MAY_3, events=["appeared"])
    client = superstaff()
    for name, pk in (("account", row.pk), ("accountchange", change.pk)):
        assert client.get(reverse(f"admin:accounts_{name}_add")).status_code == 403
        assert client.post(reverse(f"admin:accounts_{name}_change", args=[pk]), {"name": "x"}).status_code == 403
        assert client.post(reverse(f"admin:accounts_{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    assert Account.objects.get().name == "app"


def test_changes_are_told_in_words_with_their_session(instances):
    """F1.7: each grant and revoke is in the change log, with the session."""
    pg, my = instances
    alice = account(pg, "alice")
    session = SyncSession.objects.create(kind="accounts", trigger="manual")
    record = SyncRecord.objects.create(session=session, instance=pg, kind="accounts")
    given = {"kind": "database", "database": "shop", "scope": "shop", "denied": False, "grantable": True}
    change = AccountChange.objects.create(
        account=alice,
        record=record,
        at=timezone.now(),
        events=["privileges", "memberships", "attributes"],
        details={
            "granted": [given | {"privilege": name} for name in ("CONNECT", "CREATE", "TEMPORARY", "USAGE")],
            "revoked": [given | {"privilege": "OWNER", "grantable": False}],
            "joined": [{"role": "dba", "admin_option": True, "inherit": False, "set_option": False}],
            "attributes": {"can_login": [False, True], "valid_until": [None, "2027-01-01T00:00:00+00:00"]},
        },
    )
    AccountChange.objects.create(account=account(my, "root"), at=MAY_1, events=["appeared"], baseline=True)
    client = superstaff()
    shown = client.get(reverse("admin:accounts_accountchange_change", args=[change.pk])).content.decode()
    for text in (
        "CREATE on database shop, may pass it on",
        "OWNER on database shop<",
        "dba (may pass it on)",
        "can log in: no → yes",
        "valid until: – → 2027-01-01",
        reverse("admin:sync_syncsession_change", args=[session.pk]),
    ):
        assert text in shown, text
    listed = client.get(CHANGES)
    assert len(listed.context["cl"].result_list) == 1
    assert "and 5 more" in listed.content.decode()
    assert "Excluded: what the first visit" in listed.content.decode()
    expected = {
        "baseline=yes": 1,
        "baseline=all": 2,
        "event=memberships": 1,
        "event=locked": 0,
        f"account__instance__id__exact={my.pk}&baseline=all": 1,
        f"account__id__exact={alice.pk}": 1,
        "at_from_0=2020-01-01&at_from_1=00:00:00": 1,
        "at_to_0=2020-01-01&at_to_1=00:00:00": 0,
    }
    told = {query: len(client.get(f"{CHANGES}?{query}").context["cl"].result_list) for query in expected}
    assert told == expected


# Filters


def test_a_filter_takes_effect_when_it_is_saved_and_when_it_goes(instances):
    pg, my = instances
    account(pg, "app_one"), account(pg, "web"), account(my, "app_two")
    client = superstaff()
    fields = {"action": "hide", "pattern": "app*", "active": "on"}
    client.post(reverse("admin:accounts_accountfilter_add"), fields)
    assert names(client.get(LIST)) == ["web"]
    stored = AccountFilter.objects.get(pattern="app*")
    url = reverse("admin:accounts_accountfilter_change", args=[stored.pk])
    # Moved to one engine, it lets go of the other's accounts.
    client.post(url, fields | {"engine": "mysql"})
    assert names(client.get(LIST)) == ["app_one", "web"]
    client.post(reverse("admin:accounts_accountfilter_delete", args=[stored.pk]), {"post": "yes"})
    assert names(client.get(LIST)) == ["app_one", "app_two", "web"]
    other = AccountFilter.objects.create(pattern="web")
    client.post(reverse("admin:accounts_accountfilter_change", args=[other.pk]), fields | {"pattern": "w*"})
    assert names(client.get(LIST)) == ["app_one", "app_two"]
    client.post(FILTERS, {"action": "delete_selected", "_selected_action": [other.pk], "post": "yes"})
    assert names(client.get(LIST)) == ["app_one", "app_two", "web"]


def test_a_preview_says_what_saving_would_do_and_does_nothing(instances):
    pg, my = instances
    account(pg, "app_one"), account(pg, "web"), account(my, "app_two"), account(my, "app_old", gone_at=MAY_3)
    client = superstaff()

    def told(**fields: object) -> str:
        return client.get(PREVIEW, {"action": "hide", "pattern": "app*", "active": "on"} | fields).content.decode()

    assert "It matches 2 present accounts." in told()
    assert "it hides 2 more" in told()
    assert "app_old" not in told()
    assert "It matches 1 present account." in told(engine="mysql")
    assert "It matches 1 present account." in told(instance=pg.pk)
    assert "It is not active." in told(active="")
    assert "hides" not in told(active="")
    assert "hides" not in told(action="show")
    assert told(pattern="") == ""
    assert told(engine="db2") == ""
    assert not Account.objects.filter(is_filtered=True).exists()
    # Of one that is stored, what changes against now.
    client.post(reverse("admin:accounts_accountfilter_add"), {"action": "hide", "pattern": "app*", "active": "on"})
    stored = AccountFilter.objects.get(pattern="app*")
    assert "it shows 1 more" in told(id=stored.pk, engine="mysql")
    assert "it shows 2 more" in told(id=stored.pk, active="")
    shown = client.get(reverse("admin:accounts_accountfilter_change", args=[stored.pk])).content.decode()
    assert "It matches 2 present accounts." in shown


def test_a_preview_shows_accounts_to_those_who_may_see_them(instances):
    account(instances[0], "app")
    fields = {"action": "hide", "pattern": "*", "active": "on"}
    assert staff("accounts.view_accountfilter").get(PREVIEW, fields).status_code == 403
    assert staff("accounts.view_account").get(PREVIEW, fields).status_code == 403
    assert staff("accounts.view_account", "accounts.view_accountfilter").get(PREVIEW, fields).status_code == 200


def test_the_page_of_an_instance_counts_its_accounts(instances):
    pg, _ = instances
    for name, fields in (
        ("a", {}),
        ("b", {"is_superuser": True}),
        ("c", {"is_filtered": True}),
        ("d", {"gone_at": MAY_3}),
    ):
        account(pg, name, **fields)
    client = superstaff()
    listed = client.get(reverse("admin:instances_instance_changelist")).context["cl"].result_list
    assert {row.name: row.n_accounts for row in listed} == {"pg": 2, "my": None}
    shown = client.get(reverse("admin:instances_instance_change", args=[pg.pk])).content.decode()
    for label, count in (("Accounts", 2), ("Superusers", 1), ("Filtered", 1), ("Gone", 1)):
        assert f"<b>{count}</b>{label}" in shown
    never = client.get(reverse("admin:instances_instance_change", args=[instances[1].pk])).content.decode()
    assert "<b>–</b>Accounts" in never
    for query, found in (("", 2), ("&filtered=yes", 1), ("&gone=yes", 1), ("&is_superuser__exact=1", 1)):
        url = f"{LIST}?instance__id__exact={pg.pk}{query}"
        assert url.replace("&", "&amp;") in shown
        assert len(names(client.get(url))) == found
