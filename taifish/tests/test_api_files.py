"""Lists of the API as files."""

from __future__ import annotations

import csv
import io

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from audit.models import Event
from console import files
from instances.models import Instance
from instances.tests.api import client_with, superclient
from taifish.api import router
from taifish.tests.fleet import small_fleet


@pytest.fixture
def instance(db: None) -> Instance:
    return small_fleet()


def file_of(client, url: str, **query: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    answer = client.get(url, query)
    assert answer.status_code == 200, answer.content
    lines = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    end = lines.index([])
    return dict(lines[:end]), [dict(zip(lines[end + 1], row, strict=True)) for row in lines[end + 2 :]]


def test_every_list_can_be_exported(instance):
    """F8.2: and each file is an event of the trail."""
    client, account = superclient(), Account.objects.get()
    exports = [
        url for url in router.urls if url.name and url.name.endswith("-export") and "format" not in str(url.pattern)
    ]
    assert len(exports) > 25
    parents = {"account_id": account.pk, "session_id": 0, "tag_id": 0}
    for route in exports:
        groups = route.pattern.regex.groupindex
        url = reverse(route.name, kwargs={name: parents[name] for name in groups})
        answer = client.get(url)
        if groups and answer.status_code == 404:
            continue
        before = Event.objects.filter(kind="export", door="api").count()
        head, rows = file_of(client, url)
        assert route.name == "audit-export" or head["rows"] == str(len(rows)), url
        assert client.get(url, {"format": "xlsx"}).content.startswith(b"PK"), url
        assert Event.objects.filter(kind="export").count() == before + 2, url


def test_a_file_has_the_fields_of_the_list_and_the_question(instance):
    """F7.2: and what is not known."""
    client = superclient()
    (listed,) = client.get("/api/accounts/", {"kind": "user"}).data["results"]
    head, (row,) = file_of(client, "/api/accounts/export/", kind="user", format="csv")
    assert list(row) == list(listed)
    assert row["name"] == "app"
    assert row["can_login"] == "true"
    assert head["kind"] == "user"
    assert head["not known"].startswith("orders: ") or head["not known"].startswith("never-visited: ")
    assert head["rows"] == "1"


def test_what_an_export_refuses(instance, monkeypatch):
    client = superclient()
    for query in ({"format": "exe"}, {"page": "2"}, {"nothing": "1"}, {"kind": "what"}):
        answer = client.get("/api/accounts/export/", query)
        assert answer.status_code == 400, query
        assert answer.headers["Content-Type"] == "application/json"
    assert client_with("instances.view_instance").get("/api/accounts/export/").status_code == 403
    assert client.get("/api/accounts/0/grants/export/").status_code == 404
    monkeypatch.setattr(files, "ROWS", 2)
    Account.objects.create(instance=instance, name="b", first_seen_at=timezone.now())
    answer = client.get("/api/accounts/export/", {"format": "xlsx"})
    assert "A sheet of Excel holds 1 rows, and the list has 2." in str(answer.data["format"])
