"""F9.8: what an instance has otherwise than its reference, on real servers."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.utils import timezone

from access.tests.test_questions import grant, instance
from accounts.models import Account, Coverage
from accounts.tests.stored import account
from drift.align import aligning
from drift.compare import compare, drift_of, state_of
from drift.models import AcceptedDeviation, Baseline
from drift.states import parsed, written
from instances.models import Instance
from sync.models import VisitHealth
from sync.tests.targets import visit_once
from tagging.models import InstanceTag, Tag
from taifish.tests.postgres import PostgresServer

#: Run by the superuser; {n} is the database.
CLUSTER = """
CREATE ROLE readers NOLOGIN;
CREATE ROLE writers NOLOGIN IN ROLE readers;
CREATE ROLE app LOGIN CONNECTION LIMIT 5;
CREATE ROLE quiet LOGIN NOINHERIT;
CREATE ROLE boss LOGIN CREATEROLE CREATEDB VALID UNTIL '2030-01-01';
CREATE ROLE root2 SUPERUSER;
CREATE ROLE "we""ird na.me" LOGIN;
CREATE ROLE "生产" LOGIN;
GRANT writers TO app;
GRANT readers TO boss WITH ADMIN OPTION;
GRANT readers TO quiet;
GRANT pg_monitor TO app;
CREATE DATABASE shop OWNER app;
REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
GRANT CONNECT ON DATABASE shop TO readers WITH GRANT OPTION;
"""
SHOP = """
CREATE SCHEMA sales AUTHORIZATION app;
CREATE TABLE sales.orders (id int, total int);
CREATE TABLE public.lines (id serial, note text);
CREATE VIEW sales.v AS SELECT * FROM sales.orders;
CREATE FUNCTION sales.f(int, text) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE TYPE sales.mood AS ENUM ('ok');
CREATE DOMAIN sales.positive AS int;
ALTER TABLE sales.orders OWNER TO app;
GRANT ALL ON SCHEMA sales TO writers;
GRANT USAGE ON SCHEMA sales TO readers, PUBLIC;
GRANT ALL ON public.lines TO writers;
GRANT SELECT, INSERT ON sales.orders TO readers WITH GRANT OPTION;
GRANT SELECT (id), UPDATE (total) ON sales.orders TO quiet;
GRANT USAGE ON SEQUENCE public.lines_id_seq TO app;
REVOKE EXECUTE ON FUNCTION sales.f FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sales.f TO "we""ird na.me";
GRANT USAGE ON TYPE sales.mood TO "生产";
ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA sales GRANT SELECT ON TABLES TO readers;
ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT ALL ON TABLES TO writers;
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER s FOREIGN DATA WRAPPER w;
GRANT USAGE ON FOREIGN SERVER s TO app;
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(double precision) FROM PUBLIC;
GRANT USAGE ON LANGUAGE plpgsql TO app;
REVOKE ALL ON SCHEMA information_schema FROM PUBLIC;
"""


def run(server, sql: str, database: str = "postgres") -> None:
    for statement in filter(str.strip, sql.split(";")):
        server.execute(statement, database=database)


@pytest.fixture
def pair(postgres_server, add, request):
    """Two servers with the same accounts and grants, and an instance of each."""
    servers = [postgres_server(major) for major in request.param]
    if servers[0] is servers[1]:
        servers[1] = PostgresServer(request.param[1])
        servers[1].start()
    made = []
    for number, server in enumerate(servers):
        server.reset()
        run(server, CLUSTER)
        run(server, SHOP, "shop")
        made.append(add(f"pg{number}", server.collector(level="C"), level="C"))
        server.execute("GRANT CONNECT ON DATABASE shop TO taifish_collector")
    yield servers, made
    for server in servers:
        server.reset()
    if request.param[0] == request.param[1]:
        servers[1].remove()


def read(*instances: Instance) -> None:
    for one in instances:
        assert visit_once("accounts", one).status == "completed"


def rows(one: Instance, reference: Instance, **more: object) -> set[tuple[str, str, str]]:
    """What deviates: what, account, item."""
    (found,) = compare(Instance.objects.filter(pk=one.pk), reference, **more).compared
    assert (found.unknown, found.parts) == ("", [])
    return {(row.what, row.label, row.text) for row in found.deviations}


@pytest.mark.parametrize("pair", [(13, 17), (12, 15), (16, 18)], indirect=True, ids=str)
def test_versions_with_equal_grants_are_alike(pair):
    """F9.8: what a version has by its nature is no deviation, in both directions, and neither is a role or privilege
    that the other does not know."""
    (old, new), (one, two) = pair
    if new.major >= 17 > old.major:
        new.execute("GRANT pg_maintain TO app")
        new.execute("GRANT MAINTAIN ON sales.orders TO readers", database="shop")
    if new.major >= 15 > old.major:
        new.execute("GRANT SET ON PARAMETER work_mem TO app")
    read(one, two)
    assert rows(one, two) == rows(two, one) == set()
    state = parsed(written(state_of(one)))
    (found,) = compare(Instance.objects.filter(pk=two.pk), None, state).compared
    assert (found.deviations, found.unknown, found.parts) == ([], "", [])


@pytest.mark.parametrize("pair", [(13, 17)], indirect=True, ids=str)
def test_what_versions_share_deviates(pair):
    """Options that the old version cannot express, and shipped rights that were given or taken on purpose."""
    (old, new), (one, two) = pair
    new.execute("REVOKE readers FROM quiet")
    new.execute("GRANT readers TO quiet WITH SET FALSE")
    new.execute("GRANT pg_monitor TO boss")
    old.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC", database="shop")
    new.execute("ALTER SCHEMA public OWNER TO app", database="shop")
    read(one, two)
    found = rows(two, one)
    assert ("different", "quiet", "member of readers") in found
    assert ("extra", "boss", "member of pg_monitor") in found
    assert ("extra", "public", "USAGE on schema shop.public") in found
    assert ("extra", "app", "OWNER on schema shop.public") in found
    assert {account for _what, account, _item in found} == {"quiet", "boss", "public", "app"}


#: Statement in which database → the deviations that it makes.
CHANGES = [
    ("postgres", "CREATE ROLE added LOGIN", {("extra", "added", "account exists")}),
    ("postgres", "ALTER ROLE app CONNECTION LIMIT 6", {("different", "app", "connection limit")}),
    ("postgres", "ALTER ROLE quiet CREATEDB", {("extra", "quiet", "CREATEDB")}),
    ("postgres", "ALTER ROLE boss NOCREATEROLE", {("missing", "boss", "CREATEROLE")}),
    ("postgres", 'ALTER ROLE "生产" NOLOGIN', {("different", "生产", "kind")}),
    ("postgres", "GRANT writers TO quiet", {("extra", "quiet", "member of writers")}),
    ("postgres", "REVOKE readers FROM boss", {("missing", "boss", "member of readers")}),
    ("postgres", "GRANT writers TO app WITH ADMIN OPTION", {("different", "app", "member of writers")}),
    ("postgres", "REVOKE pg_monitor FROM app", {("missing", "app", "member of pg_monitor")}),
    ("postgres", "GRANT CONNECT ON DATABASE shop TO PUBLIC", {("extra", "public", "CONNECT on database shop")}),
    (
        "postgres",
        "REVOKE GRANT OPTION FOR CONNECT ON DATABASE shop FROM readers",
        {("different", "readers", "CONNECT on database shop")},
    ),
    ("shop", "GRANT DELETE ON sales.orders TO quiet", {("extra", "quiet", "DELETE on table shop.sales.orders")}),
    (
        "shop",
        "REVOKE TRUNCATE ON public.lines FROM writers",
        {("missing", "writers", "TRUNCATE on table shop.public.lines")},
    ),
    (
        "shop",
        "REVOKE SELECT (id) ON sales.orders FROM quiet",
        {("missing", "quiet", "SELECT on column shop.sales.orders.id")},
    ),
    (
        "shop",
        "REVOKE GRANT OPTION FOR INSERT ON sales.orders FROM readers",
        {("different", "readers", "INSERT on table shop.sales.orders")},
    ),
    ("shop", "GRANT CREATE ON SCHEMA public TO PUBLIC", {("extra", "public", "CREATE on schema shop.public")}),
    (
        "shop",
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_sleep(double precision) TO PUBLIC",
        {("missing", "public", "no EXECUTE on routine shop.pg_catalog.pg_sleep(double precision)")},
    ),
    (
        "shop",
        "ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA sales REVOKE SELECT ON TABLES FROM readers",
        {("missing", "readers", "SELECT on default shop.app.sales.table")},
    ),
]


@pytest.mark.parametrize("pair", [(17, 17)], indirect=True, ids=str)
def test_drift_is_what_was_changed(pair):
    """Random changes on one of two equal servers: drift is exactly these, as missing where the other side asks. The SQL
    to align undoes them, but for attributes of accounts; an extra account is locked."""
    (_one, changed), (one, two) = pair
    expected: set[tuple[str, str, str]] = set()
    seed = random.randrange(10**6)
    for database, statement, deviations in random.Random(seed).sample(CHANGES, 9):
        changed.execute(statement, database=database)
        expected |= deviations
    read(one, two)
    assert rows(two, one) == expected, seed
    turned = {"missing": "extra", "extra": "missing", "different": "different"}
    assert rows(one, two) == {(turned[what], *rest) for what, *rest in expected}
    align(changed, two, one)
    read(two)
    by_hand = {row for row in expected if row[2] in ("account exists", "connection limit", "kind")}
    assert rows(two, one) == by_hand, seed


def align(server, instance_: Instance, reference: Instance) -> list[str]:
    """Run what is offered, as people would. Returns what is left to do by hand."""
    (found,) = compare(Instance.objects.filter(pk=instance_.pk), reference).compared
    remedy = aligning(found, Baseline(reference=reference))
    for statements in remedy.statements:
        _connect, is_inside, lines = statements.rpartition("\\connect -reuse-previous=on \"dbname='shop'\"\n")
        lines = "\n".join(line for line in lines.splitlines() if not line.startswith("-- "))
        if reference.engine == "postgresql":
            server.execute(lines, database="shop" if is_inside else "postgres")
        else:
            for line in lines.splitlines():
                server.execute(line)
    return remedy.by_hand


@pytest.mark.parametrize("pair", [(12, 12), (18, 18)], indirect=True, ids=str)
def test_what_is_offered_aligns(pair):
    """On the oldest and the newest version: roles and users as they are on the reference, options of memberships, and
    what roles other than the owner have granted. Nothing has a password, and an extra user is locked."""
    (old, new), (one, two) = pair
    is_new = new.major >= 16
    run(
        old,
        """CREATE ROLE team NOLOGIN; CREATE ROLE "b""ob" LOGIN; CREATE ROLE still LOGIN NOINHERIT;
        GRANT team TO "b""ob" WITH ADMIN OPTION; GRANT team TO still; GRANT CREATE ON DATABASE shop TO team;
        REVOKE readers FROM quiet"""
        + ("; GRANT readers TO quiet WITH SET FALSE, INHERIT TRUE; GRANT writers TO quiet" if is_new else ""),
    )
    if not is_new:
        old.execute("GRANT readers TO quiet WITH ADMIN OPTION")
    run(new, "CREATE ROLE added LOGIN; GRANT readers TO app GRANTED BY boss; ALTER ROLE boss CREATEROLE")
    new.execute("SET ROLE readers; GRANT CONNECT ON DATABASE shop TO quiet")
    read(one, two)
    before = rows(two, one)
    assert {("missing", "team", "account exists"), ("extra", "quiet", "CONNECT on database shop")} <= before
    assert ("extra", "app", "member of readers") in before
    assert align(new, two, one) == []
    read(two)
    assert rows(two, one) == {("extra", "added", "account exists")}
    with_password = "SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname IN ('b\"ob', 'still')"
    assert new.execute(with_password) == []


def test_mariadb_versions_are_alike(mysql_family_server, add):
    """Accounts and privileges that only one version has are no deviation; what somebody granted there is."""
    made, servers = [], [mysql_family_server(name) for name in ("mariadb-bookworm", "mariadb-sid")]
    for server in servers:
        server.reset()
        for statement in (
            "CREATE ROLE readers",
            "CREATE USER app@'%' IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 5",
            "CREATE DATABASE shop",
            "CREATE TABLE shop.orders (id int)",
            "GRANT SELECT ON shop.* TO readers",
            "GRANT readers TO app@'%' WITH ADMIN OPTION",
            "GRANT INSERT, UPDATE (id) ON shop.orders TO app@'%' WITH GRANT OPTION",
            "GRANT BINLOG ADMIN, RELOAD ON *.* TO app@'%'",
        ):
            server.execute(statement)
        made.append(add(f"maria{len(made)}", server.collector(level="C"), level="C"))
    servers[1].execute("GRANT SHOW CREATE ROUTINE ON *.* TO app@'%'")
    try:
        read(*made)
        assert rows(made[1], made[0]) == set()
        servers[1].execute("GRANT FILE ON *.* TO app@'%'")
        read(made[1])
        assert rows(made[1], made[0]) == {("extra", "app@%", "FILE")}
    finally:
        for server in servers:
            server.reset()


# What is stored


@pytest.fixture
def fleet(db: None) -> dict[str, Instance]:
    """ref and one are alike but for bob; two is like ref, and was read less deeply; app is an account of each."""
    made = {name: instance(name, "postgresql") for name in ("ref", "one", "two")}
    for name, one in made.items():
        app = account(one, "app")
        grant(app, "SELECT", "table", "shop.public.orders", database="shop")
        if name != "two":
            grant(app, "SELECT", "column", "shop.public.orders.id", database="shop")
    account(made["one"], "bob", is_locked=True)
    Coverage.objects.filter(instance=made["two"]).update(beyond=["column"])
    return made


@pytest.fixture
def baseline(fleet) -> Baseline:
    tag = Tag.objects.create(slug="prod", label="Production")
    for one in fleet.values():
        InstanceTag.objects.create(instance=one, tag=tag)
    return Baseline.objects.create(name="prod like ref", tag=tag, reference=fleet["ref"])


def by_name(baseline: Baseline) -> dict[str, object]:
    return {one.instance.name: one for one in drift_of(baseline).compared}


def test_less_deeply_read_parts_are_unknown(baseline):
    """Rule 1: grants on columns that one side did not read are unknown, not missing; on both sides they are not
    compared."""
    found = by_name(baseline)
    assert [(row.what, row.label) for row in found["one"].deviations] == [("extra", "bob")]
    assert (found["two"].deviations, found["two"].parts) == ([], ["read depth B leaves out: column"])
    Coverage.objects.update(beyond=["column"])
    assert by_name(baseline)["two"].parts == []
    Coverage.objects.filter(instance__name="ref").update(beyond=["column", "table"])
    assert "of the reference leaves out: table" in by_name(baseline)["two"].parts[0]


def test_a_gap_is_unknown_in_its_database(baseline, fleet):
    """Other databases are compared; one that is closed on both sides is not unknown."""
    Account.objects.get(instance=fleet["one"], name="app").grants.all().delete()
    grant(Account.objects.get(instance=fleet["ref"], name="app"), "USAGE", "schema", "crm.public", database="crm")
    gap = {"scope": "table", "database": "shop", "code": "denied", "message": "shop: no permission", "hint": ""}
    Coverage.objects.filter(instance=fleet["one"]).update(gaps=[gap], beyond=["column"])
    one = by_name(baseline)["one"]
    assert {(row.what, row.text) for row in one.deviations} == {
        ("missing", "USAGE on schema crm.public"),
        ("extra", "account exists"),
    }
    assert one.parts == ["read depth B leaves out: column", "shop: no permission"]
    Coverage.objects.update(gaps=[gap | {"code": "not_visited"}], beyond=["column"])
    assert by_name(baseline)["one"].parts == []


def test_an_unread_field_is_compared_with_nothing(baseline, fleet):
    Coverage.objects.filter(instance=fleet["one"]).update(
        unread=["is_locked"],
        gaps=[{"scope": "account fields", "database": "", "code": "x", "message": "no locks", "hint": ""}],
    )
    Account.objects.filter(instance=fleet["ref"]).update(is_locked=True)
    found = by_name(baseline)
    assert ("is_locked", "no locks") not in [(row.item, "") for row in found["one"].deviations]
    assert found["one"].parts == ["no locks"]
    assert [(row.item, row.expected, row.found) for row in found["two"].deviations] == [("is_locked", "true", "")]


def test_stale_instances_are_unknown(baseline, fleet):
    """A read that is old, or failed since, is no answer; without a known reference there is none at all."""
    VisitHealth.objects.create(
        instance=fleet["one"], kind="accounts", failures=2, error_code="x", failed_at=timezone.now()
    )
    found = by_name(baseline)
    assert "2 visits failed since" in found["one"].unknown
    assert found["one"].deviations == []
    Coverage.objects.filter(instance=fleet["ref"]).update(read_at=timezone.now() - timedelta(days=30))
    found = by_name(baseline)
    assert found["two"].unknown.startswith("The reference ref is not known: last read")
    fleet["two"].retire()
    assert found.keys() - by_name(baseline).keys() == {"two"}


def test_another_engine_is_unknown(baseline, fleet):
    Instance.objects.filter(pk=fleet["one"].pk).update(engine="mysql")
    assert by_name(baseline)["one"].unknown == "The reference is of another engine: PostgreSQL."


def test_ignored_accounts(baseline):
    baseline.ignored = "nobody\n b?b "
    assert by_name(baseline)["one"].deviations == []
    baseline.ignored = "bo"
    assert len(by_name(baseline)["one"].deviations) == 1


def test_accepted_deviations_stand_apart_and_come_back(baseline, fleet):
    """F9.8: until the last day, on its instance; what is found otherwise is another deviation."""
    (row,) = by_name(baseline)["one"].deviations
    today = timezone.localdate()
    accepted = AcceptedDeviation.objects.create(
        baseline=baseline, instance=fleet["one"], key=row.key, account=row.label, reason="until the move", ends_on=today
    )
    one = by_name(baseline)["one"]
    assert (one.deviations, one.accepted) == ([], [(row, accepted)])
    AcceptedDeviation.objects.update(ends_on=today - timedelta(days=1))
    assert by_name(baseline)["one"].deviations == [row]
    AcceptedDeviation.objects.update(ends_on=None, instance=fleet["two"])
    assert by_name(baseline)["one"].deviations == [row]
    AcceptedDeviation.objects.update(instance=None)
    assert by_name(baseline)["one"].deviations == []
    # What bob gets later is not accepted.
    bob = Account.objects.get(name="bob")
    grant(bob, "SUPERUSER", "attribute")
    assert [found.text for found in by_name(baseline)["one"].deviations] == ["SUPERUSER"]


def test_queries_do_not_grow_with_instances(baseline, django_assert_num_queries):
    baseline = Baseline.objects.select_related("reference").get()
    with django_assert_num_queries(6):
        drift_of(baseline)
    for number in range(5):
        more = instance(f"more{number}", "postgresql")
        account(more, "carl")
        InstanceTag.objects.create(instance=more, tag=baseline.tag)
    with django_assert_num_queries(6):
        assert len(drift_of(baseline).compared) == 7
