"""Saved views of lists, and the columns that a user has chosen."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.urls import reverse

from audit.models import Event
from instances.models import Instance
from instances.tests.api import user_with
from instances.tests.pages import entered, told
from taifish.models import SavedView
from taifish.tests.fleet import small_fleet
from taifish.tests.test_list_files import file_of

ACCOUNTS, VIEWS, COLUMNS = (
    reverse(name) for name in ("admin:accounts_account_changelist", "saved-views", "list-columns")
)
HOSTILE = '<b onmouseover="x">roles</b>'


@pytest.fixture
def instance(db: None) -> Instance:
    return small_fleet()


@pytest.fixture
def user(instance) -> User:
    return user_with("accounts.view_account")


def save(client, name: str = "Roles", query: str = "kind__exact=role&gone=all", **more: str):
    return client.post(VIEWS, {"list": "accounts_account", "name": name, "query": query, **more})


def shown(client, **query: str) -> list[str]:
    page = client.get(ACCOUNTS, query or {"q": ""})
    return [getattr(item, "__name__", item) for item in page.context["cl"].list_display]


def test_a_view_is_saved_opened_and_deleted(user):
    client = entered(user)
    answer = save(client, HOSTILE)
    assert answer.url == f"{ACCOUNTS}?kind__exact=role&gone=all"
    page = client.get(answer.url)
    assert "&lt;b onmouseover=&quot;x&quot;&gt;roles&lt;/b&gt;" in page.text
    assert HOSTILE not in page.text
    view = SavedView.objects.get()
    assert f'href="{VIEWS}?id={view.pk}" aria-current="true"' in page.text
    assert client.get(VIEWS, {"id": view.pk}).url == answer.url
    assert "Deleted." in told(client.post(VIEWS, {"delete": view.pk}, follow=True))
    assert not SavedView.objects.exists()


def test_the_default_opens_where_the_address_has_no_filters(user):
    client = entered(user)
    save(client, is_default="on")
    assert client.get(ACCOUNTS).url == f"{ACCOUNTS}?kind__exact=role&gone=all"
    assert client.get(ACCOUNTS, {"q": ""}).status_code == 200
    save(client, "Users", "kind__exact=user", is_default="on")
    assert client.get(ACCOUNTS).url == f"{ACCOUNTS}?kind__exact=user"
    other = entered(user_with("accounts.view_account"))
    assert other.get(ACCOUNTS).status_code == 200


def test_others_see_shared_views_only_and_delete_none(user):
    """F8.2: a shared view is in the audit trail, a private one is not."""
    client, other = entered(user), entered(user_with("accounts.view_account"))
    before = set(Event.objects.values_list("pk", flat=True))
    save(client, "Mine")
    save(client, "Ours", shared="on")
    page = other.get(ACCOUNTS).text
    assert ">Ours</a>" in page
    assert ">Mine</a>" not in page
    mine, ours = SavedView.objects.order_by("name")
    assert other.get(VIEWS, {"id": mine.pk}).status_code == 404
    assert other.get(VIEWS, {"id": ours.pk}).status_code == 302
    assert other.post(VIEWS, {"delete": ours.pk}).status_code == 404
    events = Event.objects.filter(model="taifish.savedview").exclude(pk__in=before)
    assert [event.object for event in events] == ["Ours"]


def test_the_columns_that_a_user_has_chosen(user):
    client = entered(user)
    everything = shown(client)
    answer = client.post(
        COLUMNS, {"list": "accounts_account", "columns": ["kind", "instance", "no_such"], "query": "o=3&q=a"}
    )
    assert answer.url == f"{ACCOUNTS}?q=a"
    assert shown(client) == ["name", "instance", "kind"]
    assert list(file_of(client, "accounts_account")[1][0]) == ["Name", "Instance", "Kind"]
    assert shown(entered(user_with("accounts.view_account"))) == everything
    save(client, "Narrow", "")
    client.post(COLUMNS, {"list": "accounts_account", "columns": []})
    assert shown(client) == ["name"]
    client.post(COLUMNS, {"list": "accounts_account", "all": "1"})
    assert shown(client) == everything
    client.get(VIEWS, {"id": SavedView.objects.get(name="Narrow").pk})
    assert shown(client) == ["name", "instance", "kind"]
    # Without filters, the list is as the user has it otherwise.
    client.get(ACCOUNTS)
    assert shown(client) == everything


def test_views_take_the_permission_of_the_list(user):
    client = entered(user_with("instances.view_instance"))
    save(entered(user), shared="on")
    assert save(client).status_code == 403
    assert client.post(COLUMNS, {"list": "accounts_account"}).status_code == 403
    assert client.get(VIEWS, {"id": SavedView.objects.get().pk}).status_code == 403
    assert save(client, name="x" * 101).status_code == 403
    for wrong in ("", "x" * 101, "a\0b"):
        assert save(entered(user), name=wrong).status_code == 400
    assert entered(user).post(VIEWS, {"list": "no_such", "name": "x"}).status_code == 404
    assert client.get(COLUMNS).status_code == 405


def test_a_user_has_one_default_of_a_list(user):
    SavedView.objects.create(user=user, list_name="x_y", name="a", is_default=True)
    with pytest.raises(IntegrityError):
        SavedView.objects.create(user=user, list_name="x_y", name="b", is_default=True)
