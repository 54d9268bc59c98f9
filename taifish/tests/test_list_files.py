"""Lists of the admin as files: CSV and XLSX of what a list shows."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.models import Account
from audit.models import Event
from console import files
from instances.models import Instance
from instances.tests.pages import entered, staff, superstaff, told
from tagging.models import InstanceTag, Tag, TagLimit
from taifish.tests.fleet import small_fleet

HOSTILE = "=app<b>\u202e"


@pytest.fixture
def instance(db: None) -> Instance:
    return small_fleet()


def address(model: str, form: str = "csv") -> str:
    return reverse(f"admin:{model}_file", args=[form])


def file_of(client, model: str, **query: str) -> tuple[dict[str, list[str]], list[dict[str, str]]]:
    """The head of a CSV file, by name, and its rows."""
    answer = client.get(address(model), query)
    assert answer.status_code == 200, answer.content
    lines = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    end = lines.index([])
    head: dict[str, list[str]] = {}
    for name, value in lines[:end]:
        head.setdefault(name, []).append(value)
    return head, [dict(zip(lines[end + 1], row, strict=True)) for row in lines[end + 2 :]]


def test_every_list_has_both_files(instance):
    """F8.2: and each is an event of the trail."""
    client = superstaff()
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        listed = client.get(reverse(f"admin:{name}_changelist"))
        assert f'href="{address(name)}"' in listed.text, name
        before = Event.objects.filter(kind="export").count()
        head, rows = file_of(client, name)
        if model is not Event:
            assert head["rows"] == [str(listed.context["cl"].result_count)] == [str(len(rows))], name
        assert client.get(address(name, "xlsx")).content.startswith(b"PK"), name
        assert Event.objects.filter(kind="export").count() == before + 2, name


def test_the_head_has_the_question_and_what_is_not_known(instance):
    """F7.2: a file of facts names the instances of which it has only what was last read."""
    head, rows = file_of(
        superstaff(), "accounts_account", instance__id__exact=instance.pk, q="ap", is_superuser__exact=""
    )
    assert head["list"] == ["Accounts"]
    assert head["search"] == ["ap"]
    assert head["instance"] == ["orders"]
    assert head["existence"] == ["Present"]
    assert head["asked by"] == ["root"]
    assert head["time zone"] == ["UTC"]
    assert parse_datetime(head["as of"][0]).tzinfo
    assert head["not known"][0].startswith("orders: ")
    assert [row["Name"] for row in rows] == ["app"]


def test_values_are_those_of_machines_and_names_are_disarmed(instance):
    """F7.3: what could not be read is unknown in files too."""
    Account.objects.update(name=HOSTILE, kind=None)
    (row,) = file_of(superstaff(), "accounts_account")[1]
    assert row["Name"] == "'=app<b>\\u202e"
    assert row["Kind"] == "unknown"
    assert row["Can log in"] == "true"
    assert parse_datetime(row["First seen"]).tzinfo
    assert parse_datetime(row["Last seen"]).tzinfo
    (row,) = file_of(superstaff("second"), "capacity_database")[1]
    assert row["Size"] == "2048"
    assert row["Measured"] == timezone.localdate().isoformat()
    rows = file_of(superstaff("third"), "instances_instance")[1]
    assert [(row["Name"], row["Host"], row["Port"]) for row in rows] == [
        ("never-visited", "127.0.0.1", "1"),
        ("orders", "127.0.0.1", "1"),
    ]
    assert [row["Last account visit"] for row in rows] == ["never visited", "failed"]
    assert not any("Sync" in heading for heading in rows[0])


def test_files_have_the_filters_and_the_order_of_the_list(instance):
    for number in range(3):
        Account.objects.create(instance=instance, name=f"b{number}", kind="role", first_seen_at=timezone.now())
    client = superstaff()
    query = {"kind__exact": "role", "o": "-1"}
    shown = [
        row.name for row in client.get(reverse("admin:accounts_account_changelist"), query).context["cl"].result_list
    ]
    head, rows = file_of(client, "accounts_account", **query, p="7")
    assert [row["Name"] for row in rows] == shown
    assert len(shown) == 3
    assert head["kind"] == ["role"]


def test_a_file_takes_the_permission_of_the_list_and_keeps_its_limits(instance):
    assert staff("instances.view_instance").get(address("accounts_account")).status_code == 403
    other = Instance.objects.get(name="never-visited")
    Account.objects.create(instance=other, name="hidden", first_seen_at=timezone.now())
    user = User.objects.create_user("limited")
    TagLimit.objects.create(user=user, tag=Tag.objects.get(slug="lab"))
    client = staff("accounts.view_account")
    assert [row["Name"] for row in file_of(client, "accounts_account")[1]] == ["hidden", "app"]
    limited = entered(user)
    user.user_permissions.add(Permission.objects.get(codename="view_account"))
    head, rows = file_of(limited, "accounts_account", instance__id__exact=other.pk)
    assert rows == []
    assert "never-visited" not in str(head)
    assert [row["Name"] for row in file_of(limited, "accounts_account")[1]] == ["app"]
    assert InstanceTag.objects.count() == 1


def test_a_wrong_filter_or_form_is_refused(instance):
    client = superstaff()
    assert client.get(address("accounts_account"), {"instance__id__exact": "x"}).status_code == 400
    assert client.get(address("accounts_account"), {"nothing": "x"}).status_code == 400
    assert client.get(address("accounts_account", "exe")).status_code == 404


def test_a_sheet_that_excel_cannot_hold_is_refused_with_a_sentence(instance, monkeypatch):
    monkeypatch.setattr(files, "ROWS", 2)
    client = superstaff()
    answer = client.get(address("instances_instance", "xlsx"), {"q": "e"}, follow=True)
    assert "A sheet of Excel holds 1 rows, and the list has 2." in told(answer)
    assert answer.redirect_chain == [(reverse("admin:instances_instance_changelist") + "?q=e", 302)]


def test_a_workbook_has_the_question_on_a_sheet_of_its_own(instance):
    answer = superstaff().get(address("accounts_account", "xlsx"))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as book:
        assert 'name="About"' in book.read("xl/workbook.xml").decode()
        rows = book.read("xl/worksheets/sheet1.xml").decode()
        assert "app" in rows
        assert "Accounts" in book.read("xl/worksheets/sheet2.xml").decode()


def test_rows_cost_no_statements(instance):
    client = superstaff()
    file_of(client, "accounts_account")

    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            file_of(client, "accounts_account")
        return len(captured)

    few = statements()
    more = [Account(instance=instance, name=f"a{number}", first_seen_at=timezone.now()) for number in range(500)]
    Account.objects.bulk_create(more)
    assert statements() == few


_MANY = """
INSERT INTO accounts_account (instance_id, name, host, kind, native_id, is_system, is_filtered, last_known, first_seen_at)
SELECT %s, 'a' || n, '%%', 'user', '', false, false, '{}', now() FROM generate_series(1, 200000) n
"""


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


# In the production form, test_production_faults asks the same.
@pytest.mark.exhaustive
def test_a_file_of_200_000_accounts_takes_little_memory(instance):
    with connection.cursor() as cursor:
        cursor.execute(_MANY, [instance.pk])
        cursor.execute("ANALYZE accounts_account")
    client = superstaff()
    file_of(client, "accounts_account", q="app")
    before = peak()
    answer = client.get(address("accounts_account"))
    assert sum(piece.count(b"\n") for piece in answer.streaming_content) > 200_000
    assert peak() - before < 50 * 2**20
