"""Owners of accounts: pages, lists, bulk actions and what limited users see."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from accounts.models import Account
from accounts.tests.stored import MAY_3, account
from audit.models import Event
from instances.tests.api import user_with
from instances.tests.pages import entered, staff, superstaff
from owners.models import Ownership, Person
from tagging.models import InstanceTag, Tag, TagLimit

ACCOUNTS = reverse("admin:accounts_account_changelist")
OWNERS = reverse("admin:owners_ownership_changelist")
PEOPLE = reverse("admin:owners_person_changelist")
MAY_SEE = ("accounts.view_account", "owners.view_ownership", "owners.view_person")
MAY_SET = (*MAY_SEE, "owners.add_ownership", "owners.change_ownership")


@pytest.fixture
def alice(db: None) -> Person:
    return Person.objects.create(name="Alice Li", mail="Alice@Example.com", external_id="E1")


def limited_to(*shown, permissions=MAY_SEE) -> User:
    user = user_with(*permissions)
    tag = Tag.objects.create(slug="own", label="Own")
    for instance in shown:
        InstanceTag.objects.create(instance=instance, tag=tag)
    TagLimit.objects.create(user=user, tag=tag)
    return user


def names(answer) -> list[str]:
    assert answer.status_code == 200
    return sorted(row.name for row in answer.context["cl"].result_list)


def page_of(row: Account) -> str:
    return reverse("admin:accounts_account_change", args=[row.pk])


def test_the_list_of_accounts_shows_owners_and_filters_by_them(instances, alice):
    """F9.1"""
    pg, my = instances
    bob = Person.objects.create(name="Bob", active=False)
    Ownership.objects.create(account=account(pg, "app"), owner=alice, kind="application")
    Ownership.objects.create(account=account(my, "web"), owner=bob)
    Ownership.objects.create(account=account(my, "kiosk"), kind="shared")
    account(pg, "free")
    account(pg, "postgres", is_system=True)
    account(pg, "PUBLIC", kind="public")
    client = staff(*MAY_SEE)
    html = client.get(ACCOUNTS).content.decode()
    assert "Alice Li" in html
    assert "an application" in html
    assert "has left" in html
    expected = {
        "owned=yes": ["app", "web"],
        "owned=no": ["free", "kiosk"],
        "owned=left": ["web"],
        f"ownership__owner__id__exact={alice.pk}": ["app"],
        "ownership__kind__exact=shared": ["kiosk"],
    }
    assert {query: names(client.get(f"{ACCOUNTS}?{query}")) for query in expected} == expected
    # Without the permission nothing of it shows.
    assert "Alice Li" not in staff("accounts.view_account").get(ACCOUNTS).content.decode()


def test_the_figure_of_accounts_without_owner_counts_the_rows_of_its_list(instances, alice):
    """F9.1"""
    pg, my = instances
    Ownership.objects.create(account=account(pg, "app"), owner=alice)
    account(pg, "free")
    account(my, "hidden", is_filtered=True)
    account(my, "old", gone_at=MAY_3)
    account(my, "PUBLIC", kind="public")
    client = entered(limited_to(pg))
    account(my, "elsewhere")
    for who, found in ((client, ["free"]), (staff(*MAY_SEE), ["elsewhere", "free"])):
        context = who.get(OWNERS).context
        assert context["n_without"] == len(found)
        assert names(who.get(context["without_url"])) == found
    assert "1 account has no owner." in client.get(OWNERS).content.decode()


def test_lists_take_a_fixed_number_of_queries(instances, alice, django_assert_num_queries):
    for number in range(30):
        Ownership.objects.create(account=account(instances[number % 2], f"a{number}"), owner=alice, kind="shared")
        Person.objects.create(name=f"p{number}")
    client = superstaff()
    # Session, user, how many, the rows, the saved views; of accounts the instances not read lately and tags besides.
    with django_assert_num_queries(7):
        assert len(client.get(ACCOUNTS).context["cl"].result_list) == 30
    with django_assert_num_queries(7):
        assert len(client.get(OWNERS).context["cl"].result_list) == 30
    with django_assert_num_queries(6):
        assert len(client.get(PEOPLE).context["cl"].result_list) == 31


def test_the_page_of_an_account_shows_its_owner_and_the_way_to_change_it(instances, alice):
    """F9.1"""
    row = account(instances[0], "app")
    client = staff(*MAY_SET)
    html = client.get(page_of(row)).content.decode()
    assert "No owner is known." in html
    add = f"{reverse('admin:owners_ownership_add')}?account={row.pk}"
    assert add in html
    posted = {"account": row.pk, "owner": alice.pk, "kind": "application", "note": "<b>n</b>", "ticket": "T-1"}
    assert client.post(add, posted).url == page_of(row)
    html = client.get(page_of(row)).content.decode()
    for text in ("Alice Li", "an application", "&lt;b&gt;n&lt;/b&gt;", "T-1", "?edit=1"):
        assert text in html
    assert "edit=1" not in staff(*MAY_SEE).get(page_of(row)).content.decode()
    event = Event.objects.get(model="owners.ownership", instance_id=row.instance_id)
    assert (event.kind, event.instance_id) == (Event.Kind.INSERT, row.instance_id)


def test_many_accounts_get_an_owner_and_keep_what_is_not_filled_in(instances, alice):
    """F9.1"""
    pg, my = instances
    one, two, other = account(pg, "one"), account(my, "two"), account(my, "other")
    Ownership.objects.create(account=one, kind="shared", note="kept")
    client = staff(*MAY_SET)
    chosen = {"action": "set_owners", "_selected_action": [one.pk, two.pk]}
    page = client.post(ACCOUNTS, chosen).content.decode()
    assert "2 rows are selected." in page
    wrong = client.post(ACCOUNTS, chosen | {"confirmed": "1", "owner": "E11"}).content.decode()
    assert "No person has the external id or mail “E11”. Did you mean E1?" in wrong
    assert "Fill in what to set." in client.post(ACCOUNTS, chosen | {"confirmed": "1"}).content.decode()
    assert Ownership.objects.count() == 1
    done = client.post(ACCOUNTS, chosen | {"confirmed": "1", "owner": "alice@example.com", "ticket": "T"}, follow=True)
    assert "Set for 2 accounts." in done.content.decode()
    found = {row.account_id: (row.owner, row.kind, row.note, row.ticket) for row in Ownership.objects.all()}
    assert found == {one.pk: (alice, "shared", "kept", "T"), two.pk: (alice, "", "", "T")}
    assert not Ownership.objects.filter(account=other).exists()
    assert staff(*MAY_SEE, "owners.change_ownership").post(ACCOUNTS, chosen).status_code == 403
    assert staff(*MAY_SEE).post(ACCOUNTS, chosen).status_code == 403


def test_a_limited_user_sees_people_with_the_accounts_within_the_limit(instances, alice):
    pg, my = instances
    Ownership.objects.create(account=account(pg, "shown"), owner=alice)
    Ownership.objects.create(account=account(my, "zebra"), owner=alice)
    client = entered(limited_to(pg, permissions=(*MAY_SEE, "owners.change_person", "owners.delete_person")))
    assert [row.n_accounts for row in client.get(PEOPLE).context["cl"].result_list] == [1]
    page = reverse("admin:owners_person_change", args=[alice.pk])
    html = client.get(page).content.decode()
    assert "shown" in html
    assert "zebra" not in html
    # It would name all of the accounts.
    assert client.get(reverse("admin:owners_person_delete", args=[alice.pk])).status_code == 403
    assert "zebra" in superstaff().get(page).content.decode()


def test_who_decides_in_reviews_is_set_by_those_who_see_users(alice):
    boss = User.objects.create_user("boss")
    page = f"{reverse('admin:owners_person_change', args=[alice.pk])}?edit=1"
    posted = {"name": "Alice", "mail": "a@example.com", "external_id": "E1", "active": "on", "user": boss.pk}
    for client, user in ((staff(*MAY_SEE, "owners.change_person"), None), (superstaff(), boss)):
        assert client.post(page, posted).status_code == 302
        alice.refresh_from_db()
        assert (alice.name, alice.user) == ("Alice", user)
