"""Databases, sizes and gaps over the API, and the commands."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from capacity.models import Database, TableSize
from capacity.tests.stored import database, tables, tablespace, total
from instances.models import Instance
from instances.tests.api import client_with, superclient

GIB = 1024**3


def rows(answer) -> list[dict]:
    assert answer.status_code == 200, answer.json()
    return answer.json()["results"]


def run(command: str, *arguments: str) -> tuple[int, str]:
    """The exit code and what was printed; a wrong call prints its complaint."""
    out = StringIO()
    try:
        call_command(command, *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def instance(add) -> Instance:
    return add("prod")


def test_databases_and_their_days(instance, django_assert_num_queries):
    """F2.7: bytes; F2.4: a filtered one is there and marked."""
    shop = database(instance, "shop", 5 * GIB, days=40)
    database(instance, "lab", GIB, is_filtered=True)
    client = superclient()
    with django_assert_num_queries(2):
        listed = rows(client.get(reverse("database-list"), {"ordering": "-size"}))
    assert [(row["name"], row["size"], row["growth"], row["is_filtered"]) for row in listed] == [
        ("shop", 5 * GIB, 30_000, False),
        ("lab", GIB, None, True),
    ]
    assert [row["name"] for row in rows(client.get(reverse("database-list"), {"filtered": "false"}))] == ["shop"]
    assert [row["name"] for row in rows(client.get(reverse("database-list"), {"min_size": 2 * GIB}))] == ["shop"]
    since = timezone.localdate() - timedelta(days=2)
    days = rows(client.get(reverse("databasesize-list"), {"database": shop.pk, "since": since.isoformat()}))
    assert [(row["day"], row["size"]) for row in days] == [
        ((since + timedelta(days=number)).isoformat(), 5 * GIB - 1000 * (2 - number)) for number in (2, 1, 0)
    ]
    total(instance, 6 * GIB, shared={"pg_global": 7}, shared_size=7)
    (row,) = rows(client.get(reverse("instancesize-list"), {"instance_name": "prod"}))
    assert (row["size"], row["shared"], row["is_complete"]) == (6 * GIB, {"pg_global": 7}, True)


def test_gaps(instance):
    """F2.1"""
    Instance.objects.update(created_at=timezone.now() - timedelta(days=3))
    total(instance, 1, ago=2, is_complete=False)
    client = superclient()
    url = reverse("capacity-gaps-list")
    assert [(row["kind"], row["instance_name"]) for row in rows(client.get(url))] == [
        ("missing", "prod"),
        ("incomplete", "prod"),
        ("missing", "prod"),
    ]
    assert len(rows(client.get(url, {"kind": "incomplete", "instance": instance.pk}))) == 1
    assert rows(client.get(url, {"engine": "oracle"})) == []
    assert client.get(url, {"page_size": 2}).json()["count"] == 3
    assert rows(client.get(url, {"page_size": 2, "page": 2}))[0]["kind"] == "missing"
    assert client.get(url, {"instance": 10**9}).status_code == 400
    assert client.get(url, {"since": "yesterday"}).status_code == 400
    assert client.get(url, {"tag": "nope"}).status_code == 400


def test_tablespaces_and_their_days(instance, django_assert_num_queries):
    """F10.1: bytes; used and limit are null where the engine does not say."""
    pdb = database(instance, "PDB1")
    tablespace(instance, "USERS", 5 * GIB, used=GIB, limit=9 * GIB, database=pdb)
    tablespace(instance, "lost", kind="undo", gone_at=timezone.now())
    client = superclient()
    with django_assert_num_queries(2):
        listed = rows(client.get(reverse("tablespace-list"), {"ordering": "-size"}))
    told = {row["name"]: (row["database_name"], row["kind"], row["size"], row["used"], row["limit"]) for row in listed}
    assert told == {
        "USERS": ("PDB1", "permanent", 5 * GIB, GIB, 9 * GIB),
        "lost": (None, "undo", None, None, None),
    }
    assert [row["name"] for row in rows(client.get(reverse("tablespace-list"), {"gone": "false"}))] == ["USERS"]
    assert len(rows(client.get(reverse("tablespace-list"), {"database": pdb.pk, "kind": "permanent"}))) == 1
    (day,) = rows(client.get(reverse("tablespacesize-list"), {"instance": instance.pk}))
    assert (day["tablespace_name"], day["size"], day["used"], day["limit"]) == ("USERS", 5 * GIB, GIB, 9 * GIB)


def test_which_tables_grow(instance, django_assert_num_queries):
    """Growth of tables: what is missing from a reading is unknown, unless the reading lists every table."""
    shop = database(instance, "shop", GIB)
    url = reverse("database-table-growth", args=[shop.pk])
    client = superclient()
    assert client.get(url).json() == {"earlier_day": None, "day": None, "tables": []}
    tables(shop, 35, orders=10, items=900, log=70)
    tables(shop, 28, orders=100, items=950, log=80)
    tables(shop, 0, orders=700, items=900, events=500)
    with django_assert_num_queries(4):
        answer = client.get(url).json()
    today = timezone.localdate()
    assert (answer["earlier_day"], answer["day"]) == ((today - timedelta(days=28)).isoformat(), today.isoformat())

    def told(answer: dict) -> list[tuple]:
        return [(row["name"], row["earlier"], row["size"], row["growth"], row["state"]) for row in answer["tables"]]

    assert told(answer) == [
        ("orders", 100, 700, 600, "listed"),
        ("items", 950, 900, -50, "listed"),
        ("events", None, 500, None, "not_before"),
        ("log", 80, None, None, "not_now"),
    ]
    TableSize.objects.update(is_complete=True)
    complete = told(client.get(url, {"days": 30, "limit": 3}).json())
    assert complete == [
        ("orders", 10, 700, 690, "listed"),
        ("events", None, 500, 500, "new"),
        ("items", 900, 900, 0, "listed"),
    ]
    assert told(client.get(url, {"days": 30}).json())[-1] == ("log", 70, None, -70, "gone")
    # There is no reading that old: the oldest counts.
    oldest = client.get(url, {"days": 365}).json()["earlier_day"]
    assert oldest == (today - timedelta(days=35)).isoformat()
    assert client.get(url, {"days": 0}).status_code == 400
    assert client_with("capacity.view_database").get(url).status_code == 403
    code, printed = run("table_sizes", "prod", "shop", "--growth", "--json")
    assert (code, told(json.loads(printed))) == (0, told(client.get(url).json()))
    assert "public.log (gone)" in run("table_sizes", "prod", "shop", "--growth")[1]
    TableSize.objects.exclude(day=today).delete()
    assert run("table_sizes", "prod", "shop", "--growth")[0] == 3
    assert run("table_sizes", "prod", "shop", "--growth", "--days", "0")[0] == 2


def test_the_largest_tables(add, server):
    """Asked of the instance, with a permission of its own; what goes wrong is told, not hidden."""
    instance = add("pg", server.collector())
    server.fresh_database("shop")
    server.execute("CREATE TABLE big AS SELECT generate_series(1, 60000) a", None, "shop")
    assert run("collect_capacity", "pg")[0] == 0
    shop = Database.objects.get(instance=instance, name="shop")
    url = reverse("database-tables", args=[shop.pk])
    assert client_with("capacity.view_database").post(url).status_code == 403
    answer = superclient().post(url, {"limit": 1}, format="json").json()
    assert (answer["ok"], [table["name"] for table in answer["tables"]]) == (True, ["big"])
    assert superclient().post(url, {"limit": 0}, format="json").status_code == 400
    code, told = run("table_sizes", "pg", "shop", "--limit", "1", "--json")
    assert (code, json.loads(told)[0]["name"]) == (0, "big")
    assert "public.big" in run("table_sizes", "pg", "shop")[1]
    server.execute("DROP DATABASE shop")
    answer = superclient().post(url).json()
    assert (answer["ok"], answer["code"], answer["tables"]) == (False, "no_such_database", [])
    assert run("table_sizes", "pg", "shop")[0] == 1
    assert run("table_sizes", "pg", "nope") == (2, "No visit has found a database 'nope' on an instance 'pg'.")
    assert run("table_sizes", "pg", "shop", "--limit", "0")[0] == 2


def test_the_command_says_what_it_read(add, server):
    add("pg", server.collector())
    server.fresh_database("shop")
    code, told = run("collect_capacity", "--all")
    assert code == 0, told
    assert told.startswith("pg: completed; 4 of 4 databases measured; ")
    assert f"MiB on {timezone.localdate()}" in told
    code, told = run("collect_capacity", "pg", "--json")
    assert json.loads(told)["records"][0]["summary"]["measured"] == 4
    assert run("collect_capacity")[0] == 2
    assert run("collect_capacity", "nobody")[0] == 2
    server.execute("REVOKE pg_read_all_stats FROM taifish_collector")
    code, told = run("collect_capacity", "pg")
    assert code == 3
    assert "not read: shared: the size of the shared catalogues" in told
    add("dead", host="127.0.0.1", port=1)
    assert run("collect_capacity", "dead")[0] == 1
