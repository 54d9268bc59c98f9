"""Databases keep their row by the id of the server: what a rename, a swap and a new database of a known name store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from capacity import services
from capacity.identity import Stored, match
from capacity.models import Database, DatabaseSize, InstanceSize, TableSize, Tablespace
from capacity.tests.stored import database, tablespace
from engines.facts import DatabaseFact
from instances.models import Instance
from planning import bulk
from planning.models import SizeLimit
from sync import services as sync
from sync.models import SyncRecord
from sync.pages import summary
from sync.registry import same_server
from sync.tests.targets import visit_once
from taifish.tests.postgres import PostgresServer

OTHERS = ("keep", "stay")


def collect(instance: Instance) -> SyncRecord:
    return visit_once("capacity", instance)


def changes(record: SyncRecord) -> dict[str, int]:
    """What happened to databases in a visit, by count; raises AssertionError if it failed."""
    assert record.status in ("completed", "partial"), record.error
    names = ("appeared", "reappeared", "renamed", "recreated", "disappeared")
    return {name: record.summary[name] for name in names if record.summary[name]}


def row(instance: Instance, name: str) -> Database:
    """The present database of that name."""
    return Database.objects.present().get(instance=instance, name=name)


def days(of: Database) -> set[date]:
    return set(of.sizes.values_list("day", flat=True))


def yesterday() -> None:
    """Move all stored sizes to the day before."""
    then = timezone.localdate() - timedelta(days=1)
    DatabaseSize.objects.update(day=then)
    InstanceSize.objects.update(day=then)
    Database.objects.exclude(size_day=None).update(size_day=then)


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """Each PostgreSQL in turn, with databases that stay."""
    postgres.reset()
    for name in OTHERS:
        postgres.fresh_database(name)
    yield postgres
    postgres.reset()


def both_days() -> set[date]:
    return {timezone.localdate(), timezone.localdate() - timedelta(days=1)}


def test_a_renamed_database_keeps_its_row_and_sizes(add, server):
    """F7.10, F2.4: "renamed from shop to store" in the record and the command; its limit and its sizes follow."""
    instance = add("prod", server.collector())
    server.fresh_database("shop")
    collect(instance)
    before = row(instance, "shop")
    limit = SizeLimit.objects.create(database=before, size=1 << 40)
    yesterday()
    server.execute("ALTER DATABASE shop RENAME TO store")
    record = collect(instance)
    assert changes(record) == {"renamed": 1}
    assert record.summary["renames"] == [["shop", "store"]]
    assert "renamed from shop to store" in summary(record)
    with translation.override("zh-hans"):
        assert "shop" in summary(record)
        assert "store" in summary(record)
    after = row(instance, "store")
    assert (after.pk, after.first_seen_at, after.native_id) == (before.pk, before.first_seen_at, before.native_id)
    assert days(after) == both_days()
    assert not Database.objects.filter(name="shop").exists()
    assert SizeLimit.objects.get(pk=limit.pk).name == "prod / store"
    server.execute("ALTER DATABASE store RENAME TO shop")
    out = StringIO()
    with pytest.raises(SystemExit, match="0"):
        call_command("collect_capacity", "prod", stdout=out)
    assert "1 renamed;" in out.getvalue()
    assert "; renamed from store to shop\n" in out.getvalue()


def test_two_databases_that_swap_names_keep_their_sizes(add, server):
    """F7.10: neither is recreated, and each grows from its own size."""
    instance = add("prod", server.collector())
    for name in ("a", "b"):
        server.fresh_database(name)
    collect(instance)
    first, second = row(instance, "a"), row(instance, "b")
    yesterday()
    server.execute("ALTER DATABASE a RENAME TO c")
    server.execute("ALTER DATABASE b RENAME TO a")
    server.execute("ALTER DATABASE c RENAME TO b")
    server.execute("CREATE TABLE t AS SELECT generate_series(1, 100000)", None, "b")
    record = collect(instance)
    assert changes(record) == {"renamed": 2}
    assert record.summary["renames"] == [["a", "b"], ["b", "a"]]
    assert (row(instance, "a").pk, row(instance, "b").pk) == (second.pk, first.pk)
    assert row(instance, "b").size > first.size + 3_000_000
    assert row(instance, "a").size == pytest.approx(second.size, rel=0.01)
    assert days(first) == days(second) == both_days()


def test_a_database_dropped_and_created_again_is_another(add, server):
    """F7.10, F2.6: the earlier one is gone and keeps its sizes, but for those of the day; the total has one of them."""
    instance = add("prod", server.collector())
    server.fresh_database("shop")
    server.execute("CREATE TABLE t AS SELECT generate_series(1, 100000)", None, "shop")
    collect(instance)
    before = row(instance, "shop")
    yesterday()
    collect(instance)
    server.fresh_database("shop")
    record = collect(instance)
    assert changes(record) == {"recreated": 1, "disappeared": 1}
    after = row(instance, "shop")
    assert (after.pk != before.pk, after.native_id != before.native_id) == (True, True)
    assert after.first_seen_at == record.started_at
    before.refresh_from_db()
    assert before.gone_at == record.started_at
    assert days(before) == {timezone.localdate() - timedelta(days=1)}
    assert days(after) == {timezone.localdate()}
    total = InstanceSize.objects.get(instance=instance, day=timezone.localdate())
    parts = DatabaseSize.objects.filter(database__instance=instance, day=timezone.localdate())
    assert total.size - total.shared_size == sum(parts.values_list("size", flat=True))
    assert (total.n_databases, total.is_complete) == (Database.objects.present().count(), True)
    assert changes(collect(instance)) == {}


def test_one_found_missing_before_it_is_created_again_is_another(add, server):
    """F7.10: a visit saw it gone; its name has another id now."""
    instance = add("prod", server.collector())
    server.fresh_database("shop")
    collect(instance)
    before = row(instance, "shop")
    server.execute("DROP DATABASE shop")
    assert changes(collect(instance)) == {"disappeared": 1}
    server.fresh_database("shop")
    assert changes(collect(instance)) == {"recreated": 1}
    assert row(instance, "shop").pk != before.pk


def test_another_takes_the_name_of_a_dropped_database(add, server):
    """F7.10: a is dropped, b becomes a, and b is created: one is gone, one renamed, one new."""
    instance = add("prod", server.collector())
    for name in ("a", "b"):
        server.fresh_database(name)
    collect(instance)
    first, second = row(instance, "a"), row(instance, "b")
    yesterday()
    server.execute("DROP DATABASE a")
    server.execute("ALTER DATABASE b RENAME TO a")
    server.fresh_database("b")
    record = collect(instance)
    assert changes(record) == {"renamed": 1, "appeared": 1, "disappeared": 1}
    assert record.summary["renames"] == [["b", "a"]]
    assert row(instance, "a").pk == second.pk
    assert row(instance, "b").pk not in (first.pk, second.pk)
    first.refresh_from_db()
    assert first.gone_at == record.started_at
    assert days(second) == both_days()
    assert days(row(instance, "b")) == {timezone.localdate()}


def test_a_renamed_database_whose_size_is_refused(add, server):
    """F7.14, F2.5: it is renamed, keeps what was known, and has a gap; the size read earlier that day still counts."""
    target = server.collector()
    instance = add("prod", target)
    server.fresh_database("shop")
    collect(instance)
    before = row(instance, "shop")
    server.execute(f"REVOKE pg_read_all_stats FROM {target.username}")
    server.execute("ALTER DATABASE shop RENAME TO store")
    server.execute("REVOKE CONNECT ON DATABASE store FROM PUBLIC")
    record = collect(instance)
    assert changes(record) == {"renamed": 1}
    assert ("sizes", "store") in {(gap["scope"], gap["database"]) for gap in record.gaps}
    after = row(instance, "store")
    assert (after.pk, after.size, after.size_day) == (before.pk, before.size, timezone.localdate())
    total = InstanceSize.objects.get(instance=instance)
    assert (total.n_databases, total.is_complete) == (Database.objects.present().count(), True)
    yesterday()
    collect(instance)
    assert days(after) == {timezone.localdate() - timedelta(days=1)}


def test_a_renamed_database_has_one_row_a_day(add, server):
    """F2.6: renamed after a visit of the same day, the newest size replaces the earlier one."""
    instance = add("prod", server.collector())
    server.fresh_database("shop")
    collect(instance)
    server.execute("ALTER DATABASE shop RENAME TO store")
    server.execute("CREATE TABLE t AS SELECT generate_series(1, 100000)", None, "store")
    record = collect(instance)
    (size,) = DatabaseSize.objects.filter(database=row(instance, "store"))
    assert (size.day, size.collected_at) == (timezone.localdate(), record.started_at)
    total = InstanceSize.objects.get(instance=instance)
    assert total.n_databases == Database.objects.count() == DatabaseSize.objects.count()


def test_tables_follow_a_rename_and_begin_anew_with_another_database(add, server, settings):
    """F7.10: a renamed database is not read again the same week; one of a known name is."""
    settings.TAIFISH_TABLE_SIZES_TOP = 5
    instance = add("prod", server.collector())
    for name in ("shop", "lab"):
        server.fresh_database(name)
        server.execute("CREATE TABLE t (a int)", None, name)
    collect(instance)
    shop, lab = row(instance, "shop"), row(instance, "lab")
    TableSize.objects.update(day=timezone.localdate() - timedelta(days=2))
    server.execute("ALTER DATABASE shop RENAME TO store")
    server.fresh_database("lab")
    server.execute("CREATE TABLE t (a int)", None, "lab")
    collect(instance)
    read = set(TableSize.objects.filter(day=timezone.localdate()).values_list("database", flat=True))
    assert read == {row(instance, "lab").pk}
    for known in (shop, lab):
        assert {day for (day,) in known.table_sizes.values_list("day")} == {timezone.localdate() - timedelta(days=2)}


def test_all_databases_recreated_at_once_wait_for_a_person(add, server):
    """F2.3, as for accounts: probably it is another server; confirmed, all are others."""
    instance = add("prod", server.collector())
    collect(instance)
    Database.objects.filter(is_system=False).update(native_id="1000000001")
    record = collect(instance)
    own = Database.objects.filter(is_system=False).count()
    assert (record.error_code, record.held_count) == ("suspicious_shrink", own)
    again = sync.run_here(sync.confirm_shrink(record, None)).records.get()
    assert changes(again) == {"recreated": own, "disappeared": own}


def test_another_server_with_the_same_ids_renames_nothing(add, server):
    """F7.10: only one name keeps its id, which another server may have by chance."""
    instance = add("prod", server.collector())
    collect(instance)
    before = row(instance, "keep")
    Database.objects.filter(name="stay").update(native_id="1000000001")
    Database.objects.filter(name="keep").update(name="elsewhere")
    assert changes(collect(instance)) == {"appeared": 1, "recreated": 1, "disappeared": 2}
    before.refresh_from_db()
    assert (before.name, before.gone_at is not None) == ("elsewhere", True)


def test_databases_of_mysql_go_by_name(add, family_server):
    """F7.10: MySQL has no ids. A dropped database that is there again reappeared, with its sizes."""
    instance = add("my", family_server.collector())
    family_server.execute("CREATE DATABASE shop; CREATE DATABASE lab")
    collect(instance)
    before = row(instance, "shop")
    assert before.native_id == ""
    family_server.execute("DROP DATABASE shop; CREATE DATABASE other")
    assert changes(collect(instance)) == {"appeared": 1, "disappeared": 1}
    family_server.execute("CREATE DATABASE shop")
    assert changes(collect(instance)) == {"reappeared": 1}
    assert row(instance, "shop").pk == before.pk
    family_server.execute("DROP DATABASE shop; CREATE DATABASE shop")
    assert changes(collect(instance)) == {}


def test_a_renamed_container_of_oracle_keeps_its_row(add, serve_oracle):
    """F7.10: a PDB has a GUID, which proves the rename without others beside it; its tablespaces follow."""
    server = serve_oracle("23ai root")
    instance = add("ora", server.collector())
    collect(instance)
    shop, hr = row(instance, "SHOPPDB"), row(instance, "HRPDB")
    spaces = set(Tablespace.objects.filter(database=shop).values_list("pk", "name"))
    yesterday()
    pdbs = {pdb.name: pdb for pdb in server.pdbs}
    for old, new in (("SHOPPDB", "STOREPDB"), ("HRPDB", "PEOPLEPDB")):
        pdbs[old].name = new
        server.allowed |= {new}
    record = collect(instance)
    assert changes(record) == {"renamed": 2}
    assert record.summary["renames"] == [["HRPDB", "PEOPLEPDB"], ["SHOPPDB", "STOREPDB"]]
    assert (row(instance, "STOREPDB").pk, row(instance, "PEOPLEPDB").pk) == (shop.pk, hr.pk)
    assert days(shop) == both_days()
    present = Tablespace.objects.present().filter(database=shop)
    assert set(present.values_list("pk", "name")) == spaces


# Made facts


def stored(pk: int, name: str, native_id: str, gone: int | None = None) -> Stored:
    """A row; `gone` so many days ago."""
    return Stored(pk, name, native_id, False, None if gone is None else timezone.now() - timedelta(days=gone))


KEPT = [stored(1, "keep", "1"), stored(2, "stay", "2")]
FACTS = [DatabaseFact("keep", "1"), DatabaseFact("stay", "2")]
ORACLE = "0A" * 16


@pytest.mark.parametrize(
    ("rows", "facts", "found", "ended", "recreated"),
    [
        # The same id back after it was gone: the last row of it, under any name.
        ([stored(3, "shop", "3", 1), stored(4, "shop", "3", 9)], [("shop", "3")], {"shop": 3}, [], 0),
        ([stored(3, "shop", "3", 1)], [("store", "3")], {"store": 3}, [], 0),
        # A present row of an id comes before one that is gone.
        ([stored(3, "store", "3"), stored(4, "shop", "3", 1)], [("shop", "3")], {"shop": 3}, [], 0),
        # Rows and facts without an id go by name.
        ([stored(3, "shop", "")], [("shop", "3")], {"shop": 3}, [], 0),
        ([stored(3, "shop", "3")], [("shop", "")], {"shop": 3}, [], 0),
        # Three that change places.
        (
            [stored(3, "a", "3"), stored(4, "b", "4")],
            [("b", "3"), ("c", "4"), ("a", "5")],
            {"b": 3, "c": 4},
            [],
            0,
        ),
        ([stored(3, "a", "3"), stored(4, "b", "4")], [("a", "4"), ("b", "5")], {"a": 4}, [3], 0),
        ([stored(3, "a", "3")], [("a", "4")], {}, [3], 1),
        ([stored(3, "a", "3", 5)], [("a", "4")], {}, [], 1),
    ],
)
def test_rows_are_matched_by_id(rows, facts, found, ended, recreated):
    """F7.10"""
    matched = match([*KEPT, *rows], [*FACTS, *(DatabaseFact(*fact) for fact in facts)], listed=True)
    assert {name: row.pk for name, row in matched.found.items()} == {"keep": 1, "stay": 2} | found
    assert [row.pk for row in matched.ended] == ended
    assert matched.recreated == recreated


def test_an_incomplete_list_ends_only_what_lost_its_name():
    """F7.14"""
    rows = [*KEPT, stored(3, "a", "3"), stored(4, "b", "4")]
    matched = match(rows, [*FACTS, DatabaseFact("a", "9")], listed=False)
    assert [row.pk for row in matched.ended] == [3]


def test_an_id_of_zeros_proves_no_rename():
    """F7.10: only one that is a GUID does without others beside it."""
    for native_id, name in ((ORACLE, "store"), ("0" * 32, None)):
        matched = match([stored(3, "shop", native_id)], [DatabaseFact("store", native_id)], listed=True)
        assert list(matched.found) == ([name] if name else [])


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}, True),
        ({"a": "1", "b": "2", "c": "3", "d": "4"}, {"a": "1", "b": "2", "c": "4", "d": "3"}, True),
        ({"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}, {"a": "1", "b": "2", "c": "4", "d": "5", "e": "3"}, False),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "9"}, False),
        ({"a": "", "b": ""}, {"a": "", "b": ""}, False),
    ],
)
def test_ids_are_believed_where_enough_names_kept_theirs(before, now, same):
    """F7.10"""
    assert same_server(before, now) is same


# Names that two databases had


@pytest.fixture
def two(instance: Instance) -> tuple[Database, Database]:
    """A database that is gone, and the present one of its name."""
    now = timezone.now()
    old = database(instance, "shop", 5000, native_id="7", gone_at=now - timedelta(days=3))
    return old, database(instance, "shop", 1000, native_id="8")


@pytest.fixture
def instance(add) -> Instance:
    return add("orders")


def test_a_name_means_the_present_database(two, instance):
    """F7.10: limits of a file, and their export, which reads back."""
    old, new = two
    SizeLimit.objects.create(database=old, size=5)
    past, now = (
        tablespace(instance, "USERS", 1, database=of, gone_at=of.gone_at, first_seen_at=of.first_seen_at) for of in two
    )
    text = "kind,instance,database,tablespace,limit\ndatabase,orders,shop,,1 GiB\ntablespace,orders,shop,USERS,1 GiB\n"
    plan = bulk.read_csv(text, None)
    assert plan.problems == []
    assert {limit.target for limit in plan.save(None)} == {new, now}
    lines = [[str(cell) for cell in row] for row in bulk.exported(SizeLimit.objects.all())]
    assert [line[:4] for line in lines] == [
        ["database", "orders", "shop", ""],
        ["tablespace", "orders", "shop", "USERS"],
    ]
    again = "\n".join(",".join(line) for line in [bulk.COLUMNS, *lines])
    assert bulk.read_csv(again, None).counts == {"new": 0, "changed": 0, "unchanged": 2}
    assert past.pk != now.pk


def test_the_command_asks_for_tables_of_the_present_database(two, monkeypatch):
    """F7.10"""
    asked = []
    monkeypatch.setattr(services, "largest_tables", lambda database, limit: asked.append(database) or [])
    call_command("table_sizes", "orders", "shop", stdout=StringIO())
    assert asked == [two[1]]
    two[1].delete()
    call_command("table_sizes", "orders", "shop", stdout=StringIO())
    assert asked[1:] == [two[0]]
    with pytest.raises(CommandError, match="No visit has found"):
        call_command("table_sizes", "orders", "lab")


def test_names_are_unique_among_present_databases_only(two, instance):
    """F7.10: the table holds it, with as many earlier ones as there were."""
    database(instance, "shop", gone_at=timezone.now())
    assert list(instance.databases.named("shop"))[:2] == [two[1], Database.objects.exclude(gone_at=None).latest("pk")]
    with pytest.raises(Exception, match="database_once"):
        database(instance, "shop")


def test_many_renames_take_the_same_statements(add, server):
    """The number of statements does not depend on what happened to databases."""
    instance = add("prod", server.collector())
    facts = services.read(instance, lambda phase: None)

    def cost(databases: list[DatabaseFact]) -> tuple[int, Any]:
        found = type(facts.databases)([*facts.databases.databases, *databases])
        made = type(facts)(facts.server, found, facts.sizes, 0)
        with CaptureQueriesContext(connection) as queries:
            outcome = services.write(instance, made, SyncRecord(instance=instance, started_at=timezone.now()))
        return len(queries), outcome.summary

    cost([DatabaseFact("d0", "9000000")])
    few, _ = cost([DatabaseFact("e0", "9000000")])
    cost([DatabaseFact(f"d{n}", str(9000000 + n)) for n in range(500)])
    last, found = cost([DatabaseFact(f"e{n}", str(9000000 + (n + 7) % 500)) for n in range(500)])
    assert (last, found["renamed"], len(found["renames"])) == (few, 500, 500)
    text = summary(SyncRecord(summary=found))
    assert (text.count("renamed from"), "490 more renamed" in text) == (10, True)


def test_the_page_of_a_database_links_others_of_its_name(two, client, admin_user):
    """F7.10: the page of the present one links the earlier one, and back."""
    client.force_login(admin_user)
    pages = [reverse("admin:capacity_database_change", args=[one.pk]) for one in two]
    for page, other in (pages, pages[::-1]):
        assert f'href="{other}"' in client.get(page).content.decode()
