"""Capacity visits on real servers: what they store, and what a failure leaves alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from capacity import services
from capacity.gaps import MissingDays
from capacity.models import Database, DatabaseFilter, DatabaseSize, InstanceSize, TableSize, Tablespace, TablespaceSize
from engines.adapter import Adapter
from engines.errors import AdapterError
from instances.models import Instance
from sync import services as sync
from sync.models import SyncRecord, SyncSession, VisitHealth
from sync.tests.targets import visit_once
from taifish.tests.mariadb import MysqlFamilyServer
from taifish.tests.postgres import PostgresServer


def collect(instance: Instance, **options: Any) -> SyncRecord:
    return visit_once("capacity", instance, **options)


def sizes(instance: Instance) -> dict[str, int]:
    rows = DatabaseSize.objects.filter(database__instance=instance)
    return dict(rows.values_list("database__name", "size"))


def total(instance: Instance) -> InstanceSize:
    return InstanceSize.objects.get(instance=instance)


def states() -> dict[str, list[dict[str, Any]]]:
    return {
        model.__name__: list(model.objects.order_by("pk").values()) for model in (Database, DatabaseSize, InstanceSize)
    }


@pytest.fixture
def default_filters(transactional_db: None) -> None:
    """What the migration installs, and an emptied test database has lost."""
    DatabaseFilter.objects.all().delete()
    import_module("capacity.migrations.0002_default_filters").install(apps, None)


@pytest.fixture
def before_sizes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen on the target between the two phases of the next visit."""

    def arrange(event: Callable[[], object]) -> None:
        read = Adapter.sizes

        def disturbed(self: Adapter) -> Any:
            monkeypatch.setattr(Adapter, "sizes", read)
            event()
            return read(self)

        monkeypatch.setattr(Adapter, "sizes", disturbed)

    return arrange


# What a visit stores


def test_postgresql_is_as_big_as_it_says(add, postgres):
    """F2.7: bytes as pg_database_size() has them, on every major version; the total is their sum and the shared part."""
    postgres.reset()
    instance = add("prod", postgres.collector())
    for name in ("shop", "Odd Näme", "closed"):
        postgres.fresh_database(name)
    postgres.execute("CREATE TABLE t AS SELECT generate_series(1, 20000)", None, "shop")
    postgres.execute("ALTER DATABASE closed ALLOW_CONNECTIONS false")
    postgres.execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    record = collect(instance)
    assert (record.status, record.gaps) == ("completed", []), record.error
    truth = dict(postgres.execute("SELECT datname, pg_database_size(oid) FROM pg_database"))
    assert sizes(instance).keys() == truth.keys() >= {"shop", "Odd Näme", "closed", "template0"}
    assert sizes(instance) == pytest.approx(truth, rel=0.01)
    (shared,) = postgres.execute("SELECT pg_tablespace_size('pg_global')")[0]
    assert total(instance).shared == {"pg_global": pytest.approx(shared, rel=0.01)}
    assert total(instance).size == sum(sizes(instance).values()) + total(instance).shared_size
    assert (total(instance).is_complete, total(instance).n_databases) == (True, len(truth))
    assert {name for name in truth if Database.objects.get(name=name).is_system} == {"template0", "template1"}
    postgres.reset()


def files_of(server: MysqlFamilyServer, folder: str) -> int:
    return sum(path.stat().st_size for path in (Path(server.data) / folder).glob("*.ibd"))


def test_mysql_and_mariadb_are_as_big_as_their_files(add, family_server):
    """F2.7: what the files hold, not InnoDB's estimate, whatever the database is called."""
    instance = add("maria", family_server.collector())
    rows = "SELECT row_number() OVER () AS seq FROM information_schema.COLUMNS a, information_schema.COLUMNS b LIMIT"
    purged = "" if family_server.product == "MySQL" else "SET GLOBAL innodb_max_purge_lag_wait = 0;"
    family_server.execute(
        f"""
        CREATE DATABASE `Shop-1`; CREATE DATABASE `ä/b`; CREATE DATABASE nothing; USE `Shop-1`;
        CREATE TABLE `Shop-1`.t (a INT PRIMARY KEY, b CHAR(250)) CHARSET latin1;
        INSERT INTO `Shop-1`.t SELECT seq, REPEAT('x', 250) FROM ({rows} 30000) AS numbers;
        DELETE FROM `Shop-1`.t WHERE a > 500; {purged} ANALYZE TABLE `Shop-1`.t;
        CREATE TABLE `ä/b`.p (a INT) PARTITION BY HASH (a) PARTITIONS 3;
        CREATE TABLE `ä/b`.m (a INT) ENGINE = MyISAM; INSERT INTO `ä/b`.m {rows} 1000;
        """
    )
    system = Path(family_server.data) / "ibdata1"
    least = system.stat().st_size
    record = collect(instance)
    assert (record.status, record.gaps) == ("completed", []), record.error
    found = sizes(instance)
    assert found["Shop-1"] == pytest.approx(files_of(family_server, "Shop@002d1"), rel=0.01)
    my_isam = sum(path.stat().st_size for path in (Path(family_server.data) / "@0k@002fb").glob("m.MY[DI]"))
    assert found["ä/b"] == pytest.approx(files_of(family_server, "@0k@002fb") + my_isam, rel=0.01)
    assert found["nothing"] == 0
    if purged:
        estimate = family_server.execute(
            "SELECT DATA_LENGTH + INDEX_LENGTH FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'Shop-1'"
        )[0][0]
        assert found["Shop-1"] > 8 * estimate
    row = total(instance)
    assert row.size == sum(found.values()) + sum(row.shared.values())
    # The server's own work may make it grow.
    assert least <= row.shared["innodb_system"] <= system.stat().st_size


def test_the_same_day_keeps_one_row_the_newest(add, server):
    """F2.6: collected again, a day has one row; a database that is gone by then no longer counts."""
    instance = add("prod", server.collector())
    server.fresh_database("shop")
    server.fresh_database("doomed")
    collect(instance)
    before = sizes(instance)
    server.execute("CREATE TABLE t AS SELECT generate_series(1, 50000)", None, "shop")
    server.execute("DROP DATABASE doomed")
    record = collect(instance)
    after = sizes(instance)
    assert after["shop"] > before["shop"]
    assert before.keys() - after.keys() == {"doomed"}
    assert total(instance).size == sum(after.values()) + total(instance).shared_size
    assert record.summary["disappeared"] == 1
    gone = Database.objects.get(name="doomed")
    assert gone.gone_at == record.started_at


def test_the_day_belongs_to_the_visit(add, server, settings):
    """F2.6: a visit that began before midnight, local time, belongs to that day however long it takes."""
    settings.TIME_ZONE = "Asia/Shanghai"
    instance = add("prod", server.collector())
    facts = services.read(instance, lambda phase: None)
    # 16:00 UTC is midnight in Shanghai.
    for began, day in (
        (datetime(2026, 3, 28, 15, 59, 59, tzinfo=UTC), date(2026, 3, 28)),
        (datetime(2026, 3, 28, 16, 0, 0, tzinfo=UTC), date(2026, 3, 29)),
    ):
        with timezone.override("Asia/Shanghai"):
            outcome = services.write(instance, facts, SyncRecord(instance=instance, started_at=began))
        assert outcome.summary["day"] == day.isoformat()
        assert set(DatabaseSize.objects.filter(collected_at=began).values_list("day", flat=True)) == {day}
        assert InstanceSize.objects.get(day=day).collected_at == began
    assert set(Database.objects.values_list("size_day", flat=True)) == {date(2026, 3, 29)}


def test_late_facts_do_not_replace_newer_ones(add, server):
    """F2.6: the newest good row of a day stays, whichever visit is stored last."""
    instance = add("prod", server.collector())
    facts = services.read(instance, lambda phase: None)
    noon = datetime(2026, 3, 28, 12, tzinfo=UTC)
    for began in (noon, noon - timedelta(hours=1)):
        services.write(instance, facts, SyncRecord(instance=instance, started_at=began))
    assert set(DatabaseSize.objects.values_list("collected_at", flat=True)) == {noon}


def test_a_visit_writes_each_row_once(add, server):
    """F2.6: a database and its size of the day, at the first visit and at later ones."""
    instance = add("prod", server.collector())
    facts = services.read(instance, lambda phase: None)
    began = timezone.now()
    measured, listed = len(facts.sizes.sizes), len(facts.databases.databases)
    for now, inserted, updated in (
        (began, [listed, measured], [0, 0]),
        (began + timedelta(seconds=1), [0, 0], [listed, measured]),
        (began + timedelta(days=1), [0, measured], [listed, 0]),
    ):
        with transaction.atomic(), connection.cursor() as cursor:
            count = (
                "SELECT n_tup_ins, n_tup_upd FROM pg_stat_xact_user_tables"
                " WHERE relname IN ('capacity_database', 'capacity_databasesize') ORDER BY relname"
            )
            cursor.execute(count)
            before = cursor.fetchall()
            services.write(instance, facts, SyncRecord(instance=instance, started_at=now))
            cursor.execute(count)
            written = [(i - j, u - v) for (i, u), (j, v) in zip(cursor.fetchall(), before, strict=True)]
            assert written == list(zip(inserted, updated, strict=True))


def spaces(instance: Instance) -> dict[str, Tablespace]:
    """The tablespaces, those of the instance's databases with "database/" before the name."""
    rows = Tablespace.objects.filter(instance=instance).select_related("database")
    return {f"{row.database}/{row.name}" if row.database else row.name: row for row in rows}


@pytest.fixture
def fast(postgres: PostgresServer) -> Iterator[Path]:
    """The folder of a tablespace `fast` that holds the table `t` of the database `shop`."""
    postgres.reset()
    folder = Path(postgres.cluster.data).parent / "fast"
    folder.mkdir(mode=0o700)
    shutil.chown(folder, Path(postgres.cluster.data).owner())
    postgres.execute(f"CREATE TABLESPACE fast LOCATION '{folder}'")
    postgres.fresh_database("shop")
    postgres.execute("CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 20000)", None, "shop")
    yield folder
    postgres.reset()
    shutil.rmtree(folder)


def test_tablespaces_of_postgresql(add, postgres, fast):
    """F10.1: as pg_tablespace_size() has them; one that is dropped is gone and keeps its sizes."""
    target = postgres.collector()
    instance = add("prod", target)
    assert collect(instance).status == "completed"
    truth = dict(postgres.execute("SELECT spcname, pg_tablespace_size(oid) FROM pg_tablespace"))
    found = spaces(instance)
    assert {name: row.size for name, row in found.items()} == pytest.approx(truth, rel=0.01)
    assert found.keys() == {"pg_default", "pg_global", "fast"}
    assert {(row.database, row.used, row.limit) for row in found.values()} == {(None, None, None)}
    assert TablespaceSize.objects.get(tablespace=found["fast"]).size == found["fast"].size > 500_000
    postgres.execute("DROP TABLE t", None, "shop")
    postgres.execute("DROP TABLESPACE fast")
    assert collect(instance).status == "completed"
    assert set(Tablespace.objects.present().values_list("name", flat=True)) == {"pg_default", "pg_global"}
    assert spaces(instance)["fast"].size == found["fast"].size


def test_a_tablespace_that_refuses_us_is_a_gap(add, postgres, fast):
    """F2.5: no row that day, never zero, not gone, and the GRANT that mends it; CREATE on it is enough."""
    target = postgres.collector()
    instance = add("prod", target)
    collect(instance)
    known = spaces(instance)["fast"]
    yesterday = timezone.localdate() - timedelta(days=1)
    TablespaceSize.objects.update(day=yesterday)
    postgres.execute(f"REVOKE pg_read_all_stats FROM {target.username}")
    record = collect(instance)
    assert record.status == "partial"
    gaps = {(gap["scope"], gap["message"], gap["hint"]) for gap in record.gaps}
    grant = f'GRANT pg_read_all_stats TO "{target.username}";'
    assert ("tablespaces", "the size of the tablespace fast may not be read", grant) in gaps
    row = spaces(instance)["fast"]
    assert (row.size, row.gone_at, row.sizes.get().day) == (known.size, None, yesterday)
    postgres.execute(f"GRANT CREATE ON TABLESPACE fast TO {target.username}")
    collect(instance)
    assert spaces(instance)["fast"].sizes.first().day == timezone.localdate()


def test_a_tablespace_without_its_folder_is_a_gap(add, postgres, fast):
    """F2.5: the server shows no size for a volume that is not mounted."""
    instance = add("prod", postgres.collector())
    kept = fast.with_name("kept")
    fast.rename(kept)
    try:
        record = collect(instance)
    finally:
        kept.rename(fast)
    assert ("tablespaces", "server_error", "") in {(gap["scope"], gap["code"], gap["database"]) for gap in record.gaps}
    row = spaces(instance)["fast"]
    assert (row.size, row.gone_at, row.sizes.count()) == (None, None, 0)


def test_tablespaces_of_oracle(add, serve_oracle):
    """F10.1: by container, with what is used and how far the files may grow; of a container that is closed they stay,
    and of one that is dropped they are gone."""
    server = serve_oracle("23ai root")
    instance = add("ora", server.collector())
    assert collect(instance).status == "completed"
    found = spaces(instance)
    assert len(found) == 9
    users = found["SHOPPDB/USERS"]
    assert (users.size, users.used, users.limit, users.kind) == (100 << 20, 10 << 20, 1 << 30, "permanent")
    assert found["CDB$ROOT/TEMP"].kind == "temporary"
    assert TablespaceSize.objects.get(tablespace=users).limit == 1 << 30
    shop, hr = server.pdbs[2:]
    hr.mode, hr.restricted = "MOUNTED", None
    server.rows["TABLESPACES"] = [
        row for row in server.rows["TABLESPACES"] if (row["CON_ID"], row["TABLESPACE_NAME"]) != (shop.number, "USERS")
    ]
    assert collect(instance).status == "partial"
    gone = {name for name, row in spaces(instance).items() if row.gone_at}
    assert gone == {"SHOPPDB/USERS"}
    server.pdbs.remove(hr)
    server.allowed.discard(hr.name)
    server.allowed |= {pdb.name for pdb in server.pdbs}
    collect(instance)
    assert {name for name, row in spaces(instance).items() if row.gone_at} == {
        "SHOPPDB/USERS",
        "HRPDB/SYSTEM",
        "HRPDB/USERS",
        "HRPDB/TEMP",
    }


def test_where_the_bytes_of_mysql_are_counted(add, mysql):
    """A table in a shared tablespace is in no size of its database: the database says where. mysql.ibd holds the schema
    mysql."""
    mysql.reset()
    instance = add("my", mysql.collector())
    mysql.execute(
        """
        CREATE DATABASE shop; CREATE TABLESPACE ts1 ADD DATAFILE 'ts1.ibd';
        CREATE TABLE shop.a (a INT) TABLESPACE ts1; CREATE TABLE shop.b (a INT, FULLTEXT (c), c TEXT) TABLESPACE ts1;
        CREATE TABLE shop.c (a INT); SET GLOBAL innodb_file_per_table = 0; CREATE TABLE shop.d (a INT);
        SET GLOBAL innodb_file_per_table = 1; CREATE DATABASE lab; CREATE TABLE lab.t (a INT);
        """
    )
    try:
        record = collect(instance)
        assert (record.status, record.gaps) == ("completed", []), record.error
        databases = {row.name: row for row in Database.objects.all()}
        assert databases["shop"].elsewhere == {"ts1": 2, "innodb_system": 1}
        assert databases["lab"].elsewhere == {}
        ((in_mysql,),) = mysql.execute(
            "SELECT COUNT(*) FROM information_schema.INNODB_TABLES WHERE NAME LIKE 'mysql/%' AND SPACE_TYPE = 'General'"
        )
        # The two logs are tables of the engine CSV.
        assert databases["mysql"].elsewhere == {"mysql": in_mysql, "": 2}
        assert databases["mysql"].size == 0
        files = {name: (Path(mysql.data) / f"{name}.ibd").stat().st_size for name in ("mysql", "ts1")}
        shared = total(instance).shared
        assert {name: shared[name] for name in files} == files
        assert {name: row.size for name, row in spaces(instance).items()} == files
        mysql.execute("DROP TABLE shop.a, shop.b; DROP TABLESPACE ts1")
        collect(instance)
        assert spaces(instance)["ts1"].gone_at is not None
        assert Database.objects.get(name="shop").elsewhere == {"innodb_system": 1}
    finally:
        mysql.reset()


def test_where_the_bytes_of_mariadb_are_counted(add, mariadb):
    mariadb.reset()
    instance = add("maria", mariadb.collector())
    try:
        mariadb.execute(
            """
            CREATE DATABASE shop; SET GLOBAL innodb_file_per_table = 0; CREATE TABLE shop.d (a INT);
            SET GLOBAL innodb_file_per_table = 1; CREATE TABLE shop.c (a INT);
            """
        )
        record = collect(instance)
        assert (record.status, record.gaps) == ("completed", []), record.error
        assert Database.objects.get(name="shop").elsewhere == {"innodb_system": 1}
        assert not Tablespace.objects.exists()
    finally:
        mariadb.reset()


def test_csv_tables_are_a_gap(add, family_server, monkeypatch):
    """F2.5: the server says 0, whatever they hold; its own logs count where they are written."""
    instance = add("my", family_server.collector())
    family_server.execute(
        "CREATE DATABASE shop; CREATE TABLE shop.c (a INT NOT NULL) ENGINE = CSV; INSERT INTO shop.c VALUES (1), (2)"
    )
    record = collect(instance)
    assert [(gap["scope"], gap["database"], gap["message"]) for gap in record.gaps] == [
        ("sizes", "", "the server gives no size of CSV tables: shop.c")
    ]
    assert total(instance).is_complete is False
    assert Database.objects.get(name="shop").elsewhere == {"": 1}
    assert services.largest_tables(Database.objects.get(name="shop")) == []
    family_server.execute("DROP TABLE shop.c; SET GLOBAL log_output = 'TABLE'; SET GLOBAL slow_query_log = 1")
    try:
        record = collect(instance)
    finally:
        family_server.execute("SET GLOBAL log_output = 'FILE'; SET GLOBAL slow_query_log = 0")
    assert [gap["message"] for gap in record.gaps] == [
        "the server gives no size of CSV tables: mysql.general_log, mysql.slow_log"
    ]


# What cannot be read


def test_a_revoked_connect_is_a_gap_and_never_zero(add, server):
    """F2.5: the database that refuses us is named with the GRANT that mends it, and the others are stored."""
    target = server.collector()
    instance = add("prod", target)
    server.fresh_database("shop")
    whole = collect(instance)
    known = sizes(instance)
    server.execute(f"REVOKE pg_read_all_stats FROM {target.username}")
    server.execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    DatabaseSize.objects.update(day=date(2026, 3, 28))
    InstanceSize.objects.update(day=date(2026, 3, 28))
    record = collect(instance)
    assert record.status == "partial"
    assert {(gap["scope"], gap["database"], gap["hint"]) for gap in record.gaps} == {
        ("sizes", "shop", f'GRANT pg_read_all_stats TO "{target.username}";'),
        ("shared", "", f'GRANT pg_read_all_stats TO "{target.username}";'),
    }
    today = DatabaseSize.objects.filter(day=timezone.localdate())
    assert set(today.values_list("database__name", flat=True)) == known.keys() - {"shop"}
    row = InstanceSize.objects.get(day=timezone.localdate())
    assert (row.is_complete, row.n_databases) == (False, len(known) - 1)
    # What was known of it stays, with the day it is from.
    shop = Database.objects.get(name="shop")
    assert (shop.size, shop.gone_at, shop.last_seen_at > whole.started_at) == (known["shop"], None, True)


def test_what_was_read_earlier_that_day_still_counts(add, server):
    """F2.6, F2.5: the newest good row is the earlier one, and the total holds it."""
    target = server.collector()
    instance = add("prod", target)
    server.fresh_database("shop")
    collect(instance)
    known = sizes(instance)
    server.execute(f"REVOKE pg_read_all_stats FROM {target.username}")
    server.execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    assert collect(instance).status == "partial"
    assert sizes(instance)["shop"] == known["shop"]
    row = total(instance)
    assert row.size == sum(sizes(instance).values()) + row.shared_size
    assert row.shared_size > 0
    assert row.is_complete


def test_a_database_that_cannot_be_measured_harms_only_itself(add, server):
    """F2.5: the files of one database are broken, and all others have their size."""
    instance = add("prod", server.collector())
    oid = server.execute(f"SELECT oid FROM pg_database WHERE datname = '{server.fresh_database('shop')}'")[0][0]
    folder = Path(server.cluster.data) / "base" / str(oid)
    (folder / "PG_VERSION").rename(folder.parent / "kept")
    loop = folder / "PG_VERSION"
    loop.symlink_to(loop)
    try:
        record = collect(instance)
    finally:
        loop.unlink()
        (folder.parent / "kept").rename(loop)
    assert record.status == "partial"
    assert [(gap["scope"], gap["database"], gap["code"]) for gap in record.gaps] == [
        ("sizes", "shop", "server_error"),
        ("tablespaces", "", "server_error"),
    ]
    assert "tablespace pg_default" in record.gaps[1]["message"]
    assert set(Tablespace.objects.exclude(size=None).values_list("name", flat=True)) == {"pg_global"}
    assert "shop" not in sizes(instance)
    assert {"postgres", "template1"} <= sizes(instance).keys()


def test_a_database_dropped_in_mid_visit_harms_only_itself(add, server, before_sizes):
    """F1.6, F2.5: no error, no gap, and no size of what is no longer there."""
    instance = add("prod", server.collector())
    server.fresh_database("shop")
    server.fresh_database("doomed")
    collect(instance)
    before_sizes(lambda: server.execute("DROP DATABASE doomed"))
    record = collect(instance)
    assert (record.status, record.gaps) == ("completed", []), record.error
    assert sizes(instance).keys() >= {"shop", "postgres"}
    assert "doomed" not in sizes(instance)
    assert Database.objects.get(name="doomed").gone_at is not None


def test_a_database_dropped_in_mid_visit_of_mysql_is_not_empty(add, family_server, before_sizes):
    """F2.5: without its files it would look like a database without tables."""
    instance = add("maria", family_server.collector())
    family_server.execute("CREATE DATABASE shop; CREATE DATABASE doomed; CREATE TABLE doomed.t (a INT)")
    before_sizes(lambda: family_server.execute("DROP DATABASE doomed; CREATE DATABASE late"))
    record = collect(instance)
    assert (record.status, record.gaps) == ("completed", []), record.error
    assert sizes(instance).keys() - {"sys"} == {"mysql", "shop"}


@pytest.mark.parametrize(
    ("privilege", "gap"),
    [
        ("SHOW DATABASES", ("databases", "databases without a grant for the account are not listed")),
        ("SHOW VIEW", ("sizes", "sizes leave out hidden tables of engines other than InnoDB")),
    ],
)
def test_each_right_taken_from_mysql_is_a_gap(add, family_server, privilege, gap):
    """F2.5, F1.5: what the server then shows is less, and nothing counts as gone or as whole."""
    instance = add("maria", family_server.collector())
    family_server.execute("CREATE DATABASE shop; CREATE DATABASE lab")
    collect(instance)
    family_server.execute(f"REVOKE {privilege} ON *.* FROM taifish_collector")
    record = collect(instance)
    assert record.status == "partial"
    assert [(told["scope"], told["message"]) for told in record.gaps] == [gap]
    assert record.gaps[0]["hint"] == f"GRANT {privilege} ON *.* TO `taifish_collector`@`%`;"
    assert set(Database.objects.present().values_list("name", flat=True)) - {"sys"} == {"lab", "mysql", "shop"}
    assert total(instance).is_complete is False


def test_without_process_nothing_is_known(add, family_server):
    """F2.5: no size at all is a failure that names the GRANT, and writes nothing."""
    instance = add("maria", family_server.collector())
    collect(instance)
    before = states()
    family_server.execute("REVOKE PROCESS ON *.* FROM taifish_collector")
    record = collect(instance)
    assert (record.status, record.error_code) == ("failed", "denied")
    assert "PROCESS" in record.hint
    assert states() == before


def test_many_databases_gone_at_once_wait_for_a_person(add, maria_server):
    """F1.6: probably it is another server now; confirmed, it is stored."""
    instance = add("maria", maria_server.collector())
    maria_server.execute("; ".join(f"CREATE DATABASE d{n}" for n in range(15)))
    collect(instance)
    before = states()
    maria_server.execute("; ".join(f"DROP DATABASE d{n}" for n in range(11)))
    record = collect(instance)
    assert (record.error_code, record.held_count) == ("suspicious_shrink", 11)
    assert "11 of 15 databases" in record.error
    assert states() == before
    again = sync.run_here(sync.confirm_shrink(record, None)).records.get()
    assert (again.status, again.summary["disappeared"]) == ("completed", 11)


def test_renamed_databases_are_not_gone(add, server):
    """Fault 7, F1.6: their ids show where they went; dropped ones still wait for a person."""
    instance = add("prod", server.collector())
    for n in range(11):
        server.execute(f"CREATE DATABASE d{n} STRATEGY wal_log")
    # Beside the database postgres, which every server has, one that stays proves that it is the same server.
    server.execute("CREATE DATABASE stays STRATEGY wal_log")
    collect(instance)
    for n in range(11):
        server.execute(f"ALTER DATABASE d{n} RENAME TO e{n}")
    record = collect(instance)
    counts = [record.summary[name] for name in ("disappeared", "appeared", "renamed")]
    assert (record.status, counts) == ("completed", [0, 0, 11])
    for n in range(11):
        server.execute(f"DROP DATABASE e{n}")
    record = collect(instance)
    assert (record.error_code, record.held_count) == ("suspicious_shrink", 11)


# All or nothing


@pytest.mark.parametrize("table", ["capacity_databasesize", "capacity_instancesize"])
def test_rows_and_total_are_stored_together_or_not_at_all(add, server, table):
    """F2.2: the store refuses one of the two tables, and nothing of the visit stays."""
    instance = add("prod", server.collector())
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'"
        )
        cursor.execute(f"CREATE TRIGGER refuse BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()")
    try:
        record = collect(instance)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")
    assert (record.status, record.error_code) == ("failed", "internal_error")
    assert states() == {"Database": [], "DatabaseSize": [], "InstanceSize": []}


def test_outcomes_are_counted_apart(add, server, maria_server, default_filters, settings):
    """F2.3: completed, partial, skipped with its reason, and failed; without active databases a visit is skipped."""
    settings.TAIFISH_VISITS_PER_HOST = 4
    add("whole", server.collector())
    poor = server.collector("poor")
    server.execute("REVOKE pg_read_all_stats FROM poor")
    add("poor", poor)
    empty = add("empty", maria_server.collector())
    add("dead", host="127.0.0.1", port=1)
    session = sync.start("capacity", Instance.objects.all(), trigger="manual", enqueue=False, attempts=1)
    sync.run_here(session)
    assert {record.instance.name: record.status for record in session.records.select_related("instance")} == {
        "whole": "completed",
        "poor": "partial",
        "empty": "skipped",
        "dead": "failed",
    }
    counts = SyncSession.objects.with_counts().get(pk=session.pk)
    assert (counts.n_completed, counts.n_partial, counts.n_skipped, counts.n_failed) == (1, 1, 1, 1)
    assert (counts.n_total, counts.status) == (4, "partial")
    skipped = session.records.get(instance=empty)
    assert skipped.error_code == "no_databases"
    assert "Nothing to measure" in skipped.error
    # What the server takes is known all the same: it is no gap, and no failure.
    assert total(empty).size > 0
    assert VisitHealth.objects.get(instance=empty).failures == 0


# Filters


def test_a_filtered_database_is_filtered_and_not_gone(add, server):
    """F2.4: per engine and per instance; it is still measured, and stays in the total."""
    one, other = add("one", server.collector()), add("other", server.collector("other"))
    server.fresh_database("shop")
    server.fresh_database("lab_1")
    DatabaseFilter.objects.all().delete()
    DatabaseFilter.objects.create(pattern="lab_*", engine="postgresql")
    DatabaseFilter.objects.create(pattern="lab_1", instance=other, action="show")
    for instance in (one, other):
        assert collect(instance).status == "completed"
    rows = {row.instance_id: row for row in Database.objects.filter(name="lab_1")}
    assert (rows[one.pk].is_filtered, rows[other.pk].is_filtered) == (True, False)
    assert {row.gone_at for row in rows.values()} == {None}
    assert "lab_1" in sizes(one)
    assert total(one).size == sum(sizes(one).values()) + total(one).shared_size
    visible = Database.objects.present().visible().filter(instance=one)
    assert "lab_1" not in visible.values_list("name", flat=True)


# Fixed costs


def test_two_hundred_databases_take_a_fixed_number_of_statements(add, family_server):
    """On the target, and in the store."""
    instance = add("maria", family_server.collector())

    def cost() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as queries:
            outcome = services.write(instance, services.read(instance, lambda phase: None), SyncRecord())
        return outcome.summary["statements"], len(queries)

    family_server.execute("CREATE DATABASE first")
    few = cost()
    family_server.execute("; ".join(f"CREATE DATABASE d{n}; CREATE TABLE d{n}.t (a INT)" for n in range(200)))
    cost()
    assert Database.objects.present().exclude(name="sys").count() == 202
    assert cost() == few
    assert few <= (20, 12)


@pytest.mark.slow
def test_two_hundred_databases_of_postgresql_too(add, server):
    instance = add("prod", server.collector())
    few = services.read(instance, lambda phase: None).statements
    for number in range(200):
        server.execute(f"CREATE DATABASE d{number} STRATEGY file_copy")
    facts = services.read(instance, lambda phase: None)
    assert (len(facts.sizes.sizes), facts.statements) == (203, few)
    assert few <= 12


# Again, and later


def test_a_stopped_server_is_retried_and_caught_up_the_same_day(add, private_postgres, settings):
    """F2.1: it is tried again, then caught up when it is back, and neither before its turn nor twice; catching up does
    not count against the instance."""
    settings.TAIFISH_RETRY_DELAY = 0
    settings.TAIFISH_PAUSE_AFTER = 2
    instance = add("prod", private_postgres.collector())
    assert services.catch_up() is None
    private_postgres.stop()
    session = sync.start("capacity", Instance.objects.all(), trigger="schedule", enqueue=False, attempts=2)
    record = sync.run_here(session).records.get()
    assert (record.status, record.error_code, record.attempt) == ("failed", "unreachable", 2)
    for _ in range(2):
        late = services.catch_up()
        assert late.trigger == "catch_up"
        assert services.catch_up() is None
        late.records.update(max_attempts=1)
        assert sync.run_here(late).records.get().status == "failed"
    health = VisitHealth.objects.get(instance=instance)
    assert (health.failures, health.paused_at, health.error_code) == (1, None, "unreachable")
    private_postgres.start()
    assert sync.run_here(services.catch_up()).status == "completed"
    assert total(instance).day == timezone.localdate()
    assert services.catch_up() is None


def test_days_that_stay_missing_are_gaps(add, server):
    """F2.1: from the day the instance came to yesterday, with what was wrong; incomplete days too, apart."""
    target = server.collector()
    instance = add("prod", target)
    today = timezone.localdate()
    Instance.objects.update(created_at=timezone.now() - timedelta(days=5))
    assert len(MissingDays()) == 5
    collect(instance)
    Database.objects.update(size_day=None)
    InstanceSize.objects.update(day=today - timedelta(days=2), is_complete=False)
    session = SyncSession.objects.create(kind="capacity", trigger="schedule", status="failed")
    SyncSession.objects.filter(pk=session.pk).update(created_at=timezone.now() - timedelta(days=1))
    SyncRecord.objects.create(
        session=session, instance=instance, kind="capacity", status="failed", error_code="timeout", message="too slow"
    )
    told = [((today - gap.day).days, gap.kind, gap.status, gap.code, gap.error) for gap in MissingDays()]
    assert told == [
        (1, "missing", "failed", "timeout", "too slow"),
        (2, "incomplete", "", "", ""),
        (3, "missing", "", "", ""),
        (4, "missing", "", "", ""),
        (5, "missing", "", "", ""),
    ]
    SyncRecord.objects.update(status="skipped", error_code="no_databases", message="")
    assert MissingDays()[0].error.startswith("Nothing to measure")
    with translation.override("zh-hans"):
        assert "过滤规则" in MissingDays()[0].error
    assert MissingDays().per_instance() == {instance.pk: 5}
    assert [gap.day for gap in MissingDays(kind="incomplete")] == [today - timedelta(days=2)]
    assert len(MissingDays(today - timedelta(days=3), today - timedelta(days=1))) == 3
    assert MissingDays()[1].kind == "incomplete"
    assert len(MissingDays()[1:3]) == 2
    assert len(MissingDays(instances=[])) == 0
    Instance.objects.update(retired_at=timezone.now() - timedelta(days=3))
    assert {(today - gap.day).days for gap in MissingDays()} == {4, 5}


def test_old_sizes_are_forgotten_in_batches(add, server, settings):
    """F2.8: what is older than the setting, and only that; a database without any row left goes when it is long gone."""
    instance = add("prod", server.collector())
    collect(instance)
    today = timezone.localdate()
    settings.TAIFISH_KEEP_SIZES_DAYS = 200
    ids = list(Database.objects.values_list("pk", flat=True))
    now = timezone.now()
    DatabaseSize.objects.bulk_create(
        DatabaseSize(database_id=pk, day=today - timedelta(days=age), size=1, collected_at=now)
        for pk in ids
        for age in (199, 200, 201, 900)
    )
    InstanceSize.objects.bulk_create(
        InstanceSize(
            instance=instance,
            day=today - timedelta(days=age),
            size=1,
            shared_size=0,
            n_databases=1,
            is_complete=True,
            collected_at=now,
        )
        for age in (200, 201)
    )
    TableSize.objects.bulk_create(
        TableSize(database_id=ids[0], day=today - timedelta(days=age), schema="s", name="t", size=1, is_complete=True)
        for age in (200, 201)
    )
    tablespaces = list(Tablespace.objects.order_by("name"))
    TablespaceSize.objects.bulk_create(
        TablespaceSize(tablespace=tablespaces[0], day=today - timedelta(days=age), size=1, collected_at=now)
        for age in (200, 201)
    )
    Tablespace.objects.create(
        instance=instance, name="old", first_seen_at=now, last_seen_at=now, gone_at=now - timedelta(days=201)
    )
    long_gone = Database.objects.create(
        instance=instance, name="old", first_seen_at=now, last_seen_at=now, gone_at=now - timedelta(days=201)
    )
    assert services.purge_sizes(batch=1) == 2 * len(ids) + 3
    assert [(today - row.day).days for row in TableSize.objects.all()] == [200]
    assert {(today - row.day).days for row in TablespaceSize.objects.all()} == {0, 200}
    assert list(Tablespace.objects.order_by("name")) == tablespaces
    ages = {(today - day).days for day in DatabaseSize.objects.values_list("day", flat=True)}
    assert ages == {0, 199, 200}
    assert InstanceSize.objects.count() == 2
    assert not Database.objects.filter(pk=long_gone.pk).exists()
    assert services.purge_sizes() == 0


# Tables


def test_the_largest_tables_are_stored_once_a_week(add, server, settings):
    """Growth of tables: N of each database; read again after a week, and those first that were read least recently."""
    instance = add("prod", server.collector())
    for name in ("shop", "lab"):
        server.fresh_database(name)
    server.execute("CREATE TABLE b AS SELECT generate_series(1, 200000); CREATE TABLE a AS SELECT 1", None, "shop")
    collect(instance)
    assert not TableSize.objects.exists()
    settings.TAIFISH_TABLE_SIZES_TOP = 1000
    record = collect(instance)
    assert (record.status, record.gaps) == ("completed", [])
    today = timezone.localdate()
    stored = TableSize.objects.filter(database__name="shop", schema="public").order_by("name")
    truth = dict(
        server.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relname IN ('a', 'b')", None, "shop"
        )
    )
    assert [(row.name, row.size, row.day, row.is_complete) for row in stored] == [
        (name, truth[name], today, True) for name in ("a", "b")
    ]
    assert set(TableSize.objects.values_list("database__name", flat=True)) == {"postgres", "shop", "lab"}
    settings.TAIFISH_TABLE_SIZES_TOP = 1
    server.execute("CREATE TABLE c AS SELECT 1", None, "shop")
    TableSize.objects.filter(database__name="shop").update(day=today - timedelta(days=6))
    collect(instance)
    assert set(TableSize.objects.filter(database__name="shop").values_list("day", flat=True)) == {
        today - timedelta(days=6)
    }
    TableSize.objects.filter(database__name="shop").update(day=today - timedelta(days=7))
    collect(instance)
    assert [(row.name, row.is_complete) for row in TableSize.objects.filter(database__name="shop", day=today)] == [
        ("b", False)
    ]


def test_tables_that_cannot_be_read_are_a_gap(add, server, settings):
    """F2.5: the sizes of the databases stay, and the other databases have their tables."""
    settings.TAIFISH_TABLE_SIZES_TOP = 5
    instance = add("prod", server.collector())
    server.fresh_database("shop")
    server.execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    record = collect(instance)
    assert (record.status, [(gap["scope"], gap["database"]) for gap in record.gaps]) == (
        "partial",
        [("tables", "shop")],
    )
    assert total(instance).is_complete
    assert "shop" in sizes(instance)
    assert set(TableSize.objects.values_list("database__name", flat=True)) == {"postgres"}


def test_a_visit_without_time_left_for_tables_keeps_its_sizes(add, server, settings, monkeypatch):
    """F2.5: what is left is a gap, and is read by the next visit."""
    settings.TAIFISH_TABLE_SIZES_TOP = 5
    instance = add("prod", server.collector())
    server.fresh_database("shop")
    read = Adapter.largest_tables

    def late(self: Adapter, databases: Any, limit: int) -> Any:
        for number, row in enumerate(read(self, databases, limit)):
            yield row
            if number == 0:
                self.session._deadline = 0

    monkeypatch.setattr(Adapter, "largest_tables", late)
    record = collect(instance)
    assert record.status == "partial"
    assert [(gap["scope"], gap["code"]) for gap in record.gaps] == [("tables", "budget_exceeded")]
    assert "1 of 2 databases" in record.gaps[0]["message"]
    assert total(instance).is_complete
    assert set(TableSize.objects.values_list("database__name", flat=True)) == {"postgres"}
    monkeypatch.undo()
    settings.TAIFISH_TABLE_SIZES_TOP = 5
    assert collect(instance).status == "completed"
    assert set(TableSize.objects.values_list("database__name", flat=True)) == {"postgres", "shop"}


def test_tables_of_mysql_are_read_in_one_pass(add, family_server, settings):
    """The number of statements does not grow with the databases, but for names that the server encodes."""
    settings.TAIFISH_TABLE_SIZES_TOP = 3
    instance = add("my", family_server.collector())
    for number in range(8):
        family_server.execute(f"CREATE DATABASE d{number}; CREATE TABLE d{number}.t (a INT)")
    record = collect(instance)
    assert (record.status, record.gaps) == ("completed", [])
    rows = TableSize.objects.values_list("database__name", "schema", "name", "is_complete")
    assert sorted(rows) == [(f"d{number}", f"d{number}", "t", True) for number in range(8)]
    encoded = 0 if family_server.product == "MySQL" else 8
    settings.TAIFISH_TABLE_SIZES_TOP = 0
    assert record.summary["statements"] - collect(instance).summary["statements"] - encoded <= 6


def test_the_largest_tables_are_asked_for_by_themselves(add, server, maria_server):
    prod, maria = add("prod", server.collector()), add("maria", maria_server.collector())
    server.fresh_database("shop")
    server.execute("CREATE TABLE big AS SELECT generate_series(1, 30000) a; CREATE INDEX ON big (a)", None, "shop")
    maria_server.execute(
        "CREATE DATABASE shop; CREATE TABLE shop.`tä-` (a INT) PARTITION BY HASH (a) PARTITIONS 4; CREATE TABLE shop.s (a INT)"
    )
    for instance in (prod, maria):
        collect(instance)
    first, *others = services.largest_tables(Database.objects.get(instance=prod, name="shop"), 3)
    assert (first.schema, first.name, len(others)) == ("public", "big", 2)
    assert first.size == first.data_size + first.index_size > 1_000_000
    tables = services.largest_tables(Database.objects.get(instance=maria, name="shop"), 5)
    assert [table.name for table in tables] == ["tä-", "s"]
    assert tables[0].size == 4 * tables[1].size
    maria_server.execute("DROP DATABASE shop")
    with pytest.raises(AdapterError, match="no database shop"):
        services.largest_tables(Database.objects.get(instance=maria, name="shop"), 5)
