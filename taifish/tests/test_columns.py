"""How lists and read-only pages format fields, by the type of the model's field."""

from __future__ import annotations

import pytest
from django.contrib.admin import site
from django.db.models import BigIntegerField, TextField
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, AccountChange
from aggregation.models import DatabaseAggregate
from capacity.models import Database
from console.columns import Column
from console.fields import BytesField, NameField
from instances.models import Instance
from instances.tests.pages import staff, superstaff
from planning.models import SizeLimit
from sync.models import SyncRecord, VisitHealth
from taifish.tests.fleet import small_fleet

HOSTILE = "app<b>\u202e"


@pytest.fixture
def instance(db: None) -> Instance:
    instance = small_fleet()
    Account.objects.filter(name="app").update(name=HOSTILE)
    return instance


def change(row) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def listed(model) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def html(client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, url
    return answer.content.decode()


@pytest.mark.parametrize("model", [SyncRecord, VisitHealth])
def test_a_foreign_key_on_a_read_only_page_links_only_for_those_who_may_view_the_row(instance, model):
    row = model.objects.first()
    view = f"sync.view_{model._meta.model_name}"
    shown = html(staff(view), change(row))
    assert "orders" in shown
    assert change(instance) not in shown
    assert change(instance) in html(staff(view, "instances.view_instance"), change(row))


def test_a_foreign_key_in_a_list_links_only_for_those_who_may_view_the_row(instance):
    linked = f'<a class="tf-link" href="{change(instance)}">orders</a>'
    assert linked not in html(staff("capacity.view_database"), listed(Database))
    assert linked in html(staff("capacity.view_database", "instances.view_instance"), listed(Database))


def test_the_first_column_links_to_the_row_itself(instance):
    record = SyncRecord.objects.first()
    shown = html(superstaff(), listed(SyncRecord))
    assert change(record) in shown
    assert f'href="{change(instance)}">orders' not in shown


def test_names_from_servers_are_shown_safely_in_fields_and_foreign_keys(instance):
    client = superstaff()
    row = AccountChange.objects.first()
    for url in (listed(Account), listed(AccountChange), change(row)):
        shown = html(client, url)
        assert "app&lt;b&gt;" in shown, url
        assert 'title="U+202E RIGHT-TO-LEFT OVERRIDE"' in shown, url
        assert HOSTILE not in shown, url


def test_sizes_are_bytes_for_people_in_lists_and_on_pages(instance):
    client = superstaff()
    for url in (listed(Database), change(DatabaseAggregate.objects.get())):
        assert "2.00 KiB" in html(client, url), url
    limit = change(SizeLimit.objects.get())
    assert "1.00 GiB" in html(staff("planning.view_sizelimit", "instances.view_instance"), limit)
    # A form takes what can be entered, not what is shown.
    assert f'value="{1 << 30}"' in html(client, limit)


def test_the_type_of_a_field_is_no_matter_of_migrations():
    assert NameField(blank=True).deconstruct()[1:] == TextField(blank=True).deconstruct()[1:]
    assert BytesField(null=True).deconstruct()[1:] == BigIntegerField(null=True).deconstruct()[1:]


def test_heading_and_order_follow_from_the_field_unless_a_column_says_otherwise(rf, admin_user):
    request = rf.get("/")
    request.user = admin_user
    columns = [c for c in site.get_model_admin(Account).get_list_display(request) if isinstance(c, Column)]
    heads = {column.path: (str(column.short_description), column.admin_order_field) for column in columns}
    assert heads["is_superuser"] == ("superuser", "is_superuser")
    assert heads["n_grants"] == ("grants", "n_grants")
    growth = next(
        column
        for column in site.get_model_admin(Database).get_list_display(request)
        if getattr(column, "path", "") == "growth_label"
    )
    assert growth.admin_order_field is None


@pytest.mark.parametrize(
    ("value", "unread", "text"),
    [(True, (), "yes"), (False, (), "no"), (None, (), "–"), (None, ("can_login",), "unknown")],
)
def test_a_field_that_was_not_read_is_unknown_and_one_that_is_not_there_a_dash(value, unread, text):
    account = Account(can_login=value, first_seen_at=timezone.now())
    account.unread = unread
    assert Column("can_login")(account) == text


def test_a_tone_makes_a_badge_and_a_link_an_address():
    record = SyncRecord(status="failed")
    status = Column("status", tone=str, link=lambda row: f"/?status={row.status}&x")
    assert status(record) == (
        '<a class="tf-link" href="/?status=failed&amp;x"><span class="tf-badge tf-failed">failed</span></a>'
    )
    assert Column("status", tone=lambda status: None)(record) == "failed"
