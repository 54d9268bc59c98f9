"""Account visits on real servers: what they store, and what a failure leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Account, AccountChange, Coverage, Grant, Membership, RoleReach
from engines.adapter import Adapter
from engines.facts import Gap, Inventory
from instances.models import Instance
from sync import registry, services
from sync.models import SyncRecord
from sync.tests.targets import visit_once
from sync.visits import visit
from taifish.tests import mariadb as maria
from taifish.tests.postgres import identifier

TABLES = (Account, Membership, Grant, RoleReach, AccountChange, Coverage)


def sync(instance: Instance, **options: Any) -> SyncRecord:
    return visit_once("accounts", instance, **options)


def rows() -> dict[str, list[dict[str, Any]]]:
    """All that is stored about accounts."""
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in TABLES}


def names(instance: Instance) -> set[str]:
    return set(Account.objects.filter(instance=instance).present().values_list("name", flat=True))


def held(name: str) -> set[str]:
    return {str(grant) for grant in Grant.objects.filter(account__name=name, until=None)}


def last_seen(*names: str) -> set[datetime]:
    """Of these accounts, or of all."""
    accounts = Account.objects.filter(name__in=names) if names else Account.objects.all()
    return set(accounts.with_last_seen().values_list("last_seen_at", flat=True))


def last_change(name: str) -> AccountChange:
    return AccountChange.objects.filter(account__name=name).first()


@pytest.fixture
def before_permissions(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen on the target between the two phases of the next visit."""

    def arrange(event: Callable[[], object]) -> None:
        permissions = Adapter.permissions

        def disturbed(self: Adapter) -> Any:
            monkeypatch.setattr(Adapter, "permissions", permissions)
            event()
            return permissions(self)

        monkeypatch.setattr(Adapter, "permissions", disturbed)

    return arrange


@pytest.fixture
def default_filters(transactional_db: None) -> None:
    """What the migration installs, and an emptied test database has lost."""
    import_module("accounts.migrations.0002_default_filters").install(apps, None)


# What a visit stores


def test_the_graph_of_each_version(add, postgres):
    """F1.9: roles in roles, options and instance-wide grants are what the server says, on every major version."""
    postgres.reset()
    instance = add("prod", postgres.collector())
    postgres.execute(
        """
        CREATE ROLE readers; CREATE ROLE writers IN ROLE readers; CREATE ROLE "Ada" LOGIN IN ROLE writers;
        CREATE ROLE boss SUPERUSER LOGIN CONNECTION LIMIT 3 VALID UNTIL '2031-05-06 07:08:09+00';
        GRANT pg_monitor TO readers;
        GRANT CREATE ON DATABASE postgres TO writers WITH GRANT OPTION;
        """
    )
    record = sync(instance)
    assert record.status == "completed", record.error
    ada, boss = Account.objects.get(name="Ada"), Account.objects.get(name="boss")
    assert (ada.kind, ada.can_login, ada.is_superuser, ada.gone_at) == ("user", True, False, None)
    assert (boss.is_superuser, boss.connection_limit, boss.valid_until.isoformat()) == (
        True, 3, "2031-05-06T07:08:09+00:00",
    )  # fmt: skip
    assert Account.objects.get(name="readers").kind == "role"
    assert {tuple(path) for path in ada.role_paths().values()} >= {
        ("writers",), ("writers", "readers"), ("writers", "readers", "pg_monitor"),
    }  # fmt: skip
    assert "CREATE on database postgres, may pass it on" in held("writers")
    assert "CONNECT on database postgres" in held("public")
    assert {str(grant) for grant in boss.grants.all()} >= {"SUPERUSER"} or boss.is_superuser
    postgres.reset()


def test_the_graph_of_mysql(add, family_server):
    """F1.9: users of MariaDB and MySQL, nested roles, schema patterns and grant options."""
    instance = add("maria", family_server.collector())
    family_server.execute(
        r"""
        CREATE ROLE readers; CREATE ROLE writers; GRANT readers TO writers;
        CREATE USER ada@'10.%' IDENTIFIED BY 'x'; GRANT writers TO ada@'10.%' WITH ADMIN OPTION;
        GRANT SELECT ON `shop\_eu`.* TO readers; GRANT INSERT ON `lab%`.* TO writers WITH GRANT OPTION;
        GRANT RELOAD ON *.* TO ada@'10.%'; ALTER USER ada@'10.%' ACCOUNT LOCK;
        """
    )
    record = sync(instance)
    assert record.status == "completed", (record.error, record.gaps)
    ada = Account.objects.get(name="ada")
    assert (ada.host, ada.kind, ada.is_locked) == ("10.%", "user", True)
    paths = [[role.removesuffix("@%") for role in path] for path in ada.role_paths().values()]
    assert sorted(paths) == [["writers"], ["writers", "readers"]]
    assert "RELOAD" in {str(grant).removesuffix(", may pass it on") for grant in ada.grants.all()}
    writers = Grant.objects.get(account__name="writers", kind="database")
    assert (writers.privilege, writers.grantable, "lab%" in writers.scope) == ("INSERT", True, True)


def test_the_change_log_tells_a_script_as_it_was_run(add, server):
    """F1.7: each appearing, granting, locking, revoking, disappearing and reappearing is told, with its session."""
    instance = add("prod", server.collector())
    first = sync(instance)
    assert {change.baseline for change in first.account_changes.all()} == {True}

    steps: list[tuple[str, list[str], str]] = [
        ("CREATE ROLE app LOGIN", ["appeared"], "app"),
        ("GRANT CREATE ON DATABASE postgres TO app", ["privileges"], "app"),
        ("CREATE ROLE team; GRANT team TO app WITH ADMIN OPTION", ["memberships"], "app"),
        ("ALTER ROLE app VALID UNTIL '2001-01-01'", ["locked", "expired", "end_date"], "app"),
        ("ALTER ROLE app VALID UNTIL 'infinity'", ["unlocked", "end_date"], "app"),
        ("ALTER ROLE app SUPERUSER", ["attributes"], "app"),
        ("REVOKE CREATE ON DATABASE postgres FROM app", ["privileges"], "app"),
        ("REVOKE team FROM app; ALTER ROLE app NOSUPERUSER", ["attributes", "memberships"], "app"),
        ("DROP ROLE app", ["disappeared"], "app"),
        ("CREATE ROLE app LOGIN", ["recreated"], "app"),
        ("DROP ROLE app; CREATE ROLE app LOGIN", ["recreated"], "app"),
    ]
    for sql, events, name in steps:
        server.execute(sql)
        record = sync(instance)
        assert record.status == "completed", record.error
        change = last_change(name)
        assert change.record == record, sql
        told = set(change.events) - ({"privileges"} if name == "app" and "attributes" in events else set())
        assert told >= set(events), (sql, change.events)
        assert not change.baseline
        if sql.startswith("GRANT CREATE"):
            assert [row["privilege"] for row in change.details["granted"]] == ["CREATE"]
        if sql.startswith("REVOKE CREATE"):
            assert [row["privilege"] for row in change.details["revoked"]] == ["CREATE"]
    # Who could create in the database, and when, is one row with both ends.
    grant = Grant.objects.get(account__name="app", privilege="CREATE")
    assert grant.since < grant.until
    membership = Membership.objects.get(member__name="app")
    assert membership.admin_option
    assert membership.since < membership.until


def test_follow_ups_are_told_once_the_session_is_closed(add, server, monkeypatch):
    """F1.13: what registers itself after the accounts is called with the session, when its rows are there to see."""
    seen = []
    monkeypatch.setitem(registry.KINDS, "accounts", replace(registry.KINDS["accounts"], follow_ups=[]))
    registry.after("accounts", lambda pk: seen.append((pk, Account.objects.count() > 0)))
    record = sync(add("prod", server.collector()))
    assert seen == [(record.session_id, True)]


# What a failure leaves alone


CATALOGUES = ("pg_roles", "pg_auth_members", "pg_database", "pg_tablespace", "pg_parameter_acl")


@pytest.mark.parametrize("catalogue", CATALOGUES)
@pytest.mark.parametrize("when", ["before", "between"])
def test_a_catalogue_that_may_not_be_read_ends_nothing(add, server, before_permissions, catalogue, when):
    """F1.1, F1.5: the visit fails or names the gap; no account is gone, no right is over, nothing is half-written."""
    instance = add("prod", server.collector())
    server.execute(
        "CREATE ROLE app LOGIN; CREATE ROLE team ADMIN app;"
        "GRANT CREATE ON DATABASE postgres TO app; GRANT SET ON PARAMETER log_min_duration_statement TO app"
    )
    assert sync(instance).status == "completed"
    stored = rows()
    # What a visit that failed must not let in, either.
    server.execute("CREATE ROLE latecomer LOGIN")
    revoke = f"REVOKE SELECT ON pg_catalog.{catalogue} FROM PUBLIC"
    try:
        if when == "before":
            server.execute(revoke)
        else:
            before_permissions(lambda: server.execute(revoke))
        record = sync(instance)
        assert (record.status, record.error_code) == ("failed", "denied"), record.error
        assert catalogue in record.error
        assert record.hint
        assert rows() == stored
    finally:
        server.execute(f"GRANT SELECT ON pg_catalog.{catalogue} TO PUBLIC")
    assert sync(instance).status == "completed"
    assert not Account.objects.exclude(gone_at=None).exists()
    assert not Grant.objects.exclude(until=None).exists()
    assert not Membership.objects.exclude(until=None).exists()
    assert "latecomer" in names(instance)


@pytest.mark.parametrize("table", ["accounts", "db", "roles", "tables_priv", "proxies_priv"])
@pytest.mark.parametrize("when", ["before", "between"])
def test_a_grant_table_that_may_not_be_read_ends_nothing(add, family_server, before_permissions, table, when):
    """F1.1, F1.5: the visit fails or is partial with the gap named; nothing ends."""
    on_mysql = family_server.product == "MySQL"
    own_names = (
        {"accounts": "user", "roles": "role_edges"}
        if on_mysql
        else {"accounts": "global_priv", "roles": "roles_mapping"}
    )
    table = own_names.get(table, table)
    tables = set(family_server.grant_tables) | ({"user"} if not on_mysql else set())
    target = family_server.collector(grants=[f"SELECT ON mysql.{name}" for name in tables])
    instance = add("maria", target)
    family_server.execute(
        """
        CREATE ROLE readers; CREATE USER ada@'%' IDENTIFIED BY 'x'; GRANT readers TO ada@'%';
        GRANT SELECT ON shop.* TO readers; GRANT PROXY ON readers@'%' TO ada@'%';
        """
    )
    record = sync(instance)
    assert record.status == "completed", (record.error, record.gaps)
    stored = rows()
    revoke = f"REVOKE SELECT ON mysql.{table} FROM taifish_collector@'%'"
    if when == "before":
        family_server.execute(revoke)
    else:
        before_permissions(lambda: family_server.execute(revoke))
    record = sync(instance)
    if record.status == "failed":
        assert record.error_code == "denied", record.error
        assert record.hint
        assert rows() == stored
    elif record.status == "partial":
        assert record.gaps
        assert all(gap["message"] and gap["hint"] for gap in record.gaps)
    else:
        # Level A has no use for it, or it had been read.
        assert table in ("tables_priv", own_names["accounts"], "role_edges") or (table, when) == ("db", "between")
    assert not Account.objects.exclude(gone_at=None).exists()
    ended = Grant.objects.exclude(until=None).exclude(account__name="taifish_collector")
    assert not ended.exists()
    assert not Membership.objects.exclude(until=None).exists()


def test_a_stopped_target_fails_and_a_started_one_completes(add, private_postgres):
    """F1.3, F1.4: a failed connection is a failed record like any other, and poisons nothing."""
    instance = add("prod", private_postgres.collector())
    assert sync(instance).status == "completed"
    stored = rows()
    private_postgres.stop()
    record = sync(instance)
    assert (record.status, record.error_code) == ("failed", "unreachable")
    assert record.hint
    assert record.session.status == "failed"
    assert rows() == stored
    private_postgres.start()
    assert sync(instance).status == "completed"


def test_a_server_killed_between_the_phases_leaves_the_store_as_it_was(add, private_postgres, before_permissions):
    """F1.1, F1.2: a connection lost in mid-visit is a failure, and the inventory that was read is not stored."""
    instance = add("prod", private_postgres.collector())
    assert sync(instance).status == "completed"
    stored = rows()
    private_postgres.execute("CREATE ROLE latecomer")
    before_permissions(private_postgres.kill9)
    record = sync(instance)
    assert record.status == "failed"
    assert record.error_code in ("connection_lost", "unreachable"), record.error
    assert rows() == stored


def test_a_shrink_waits_for_a_person(add, server):
    """F1.6: more than half gone, and at least ten, is held; confirmed, it is stored."""
    instance = add("prod", server.collector())
    server.execute(";".join(f"CREATE ROLE r{n} LOGIN" for n in range(12)))
    sync(instance)
    stored = rows()
    server.execute(";".join(f"DROP ROLE r{n}" for n in range(11)))
    record = sync(instance)
    assert (record.status, record.error_code, record.held_count) == ("failed", "suspicious_shrink", 11)
    assert rows() == stored

    session = services.run_here(services.confirm_shrink(record, None))
    assert session.status == "completed"
    assert session.records.get().summary["disappeared"] == 11
    assert names(instance) & {f"r{n}" for n in range(12)} == {"r11"}


def test_a_confirmation_reaches_the_visit_that_waits_already(add, server):
    """F1.6: what a person accepted is not lost on a session that has nothing left to do."""
    instance = add("prod", server.collector())
    server.execute(";".join(f"CREATE ROLE r{n} LOGIN" for n in range(12)))
    sync(instance)
    server.execute(";".join(f"DROP ROLE r{n}" for n in range(11)))
    record = sync(instance)
    waiting = services.start("accounts", Instance.objects.all(), trigger="schedule", enqueue=False)
    skipped = services.confirm_shrink(record, None).records.get()
    assert (skipped.status, skipped.error_code) == ("skipped", "waiting")
    assert services.run_here(waiting).records.get().summary["disappeared"] == 11


def test_another_server_at_the_old_address_is_held(add, server, private_postgres):
    """F1.6: all accounts gone at once is never believed unseen, few as they may be."""
    target = server.collector()
    instance = add("prod", target)
    server.execute("CREATE ROLE app")
    sync(instance)
    # The one name that both servers share is as good as gone.
    Account.objects.filter(name=server.cluster.superuser).update(name="another_superuser")
    private_postgres.execute("CREATE ROLE elsewhere LOGIN PASSWORD %s", [target.password])
    Instance.objects.update(port=private_postgres.cluster.port)
    instance.credential.username = "elsewhere"
    instance.credential.save()
    record = sync(instance)
    assert (record.status, record.error_code) == ("failed", "suspicious_shrink")
    assert {"app", target.username} <= names(instance)
    assert "elsewhere" not in names(instance)


def test_what_is_dropped_in_mid_visit_harms_only_itself(add, server, before_permissions):
    """F1.6: a role and a database that go between the phases take nobody with them."""
    instance = add("prod", server.collector(level="B"), level="B")
    server.execute("CREATE ROLE short_lived; CREATE ROLE app")
    for name in ("doomed", "kept"):
        server.fresh_database(name)
        server.execute(
            f"CREATE TABLE t (); GRANT SELECT ON t TO app; GRANT CONNECT ON DATABASE {name} TO app", None, name
        )
    assert sync(instance).status == "completed"
    assert {"SELECT on table kept.public.t", "SELECT on table doomed.public.t"} <= held("app")

    def drop() -> None:
        server.execute("DROP ROLE IF EXISTS short_lived")
        server.drop_database("doomed")

    before_permissions(drop)
    record = sync(instance)
    assert record.status == "completed", (record.error, record.gaps)
    record = sync(instance)
    assert record.status == "completed", (record.error, record.gaps)
    assert "SELECT on table kept.public.t" in held("app")
    assert not any("doomed" in grant for grant in held("app"))
    assert "short_lived" not in names(instance)
    assert "app" in names(instance)


def test_an_object_grant_outlives_a_database_that_could_not_be_entered(add, server):
    """F1.5: without CONNECT the database is a named gap, and its grants stay as they were."""
    instance = add("prod", server.collector(level="B"), level="B")
    server.fresh_database("shop")
    server.execute("CREATE ROLE app; CREATE TABLE t (); GRANT SELECT ON t TO app", None, "shop")
    assert sync(instance).status == "completed"
    server.execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC; REVOKE ALL ON t FROM app", None, "shop")
    record = sync(instance)
    assert record.status == "partial"
    assert record.session.status == "partial"
    assert {gap["database"] for gap in record.gaps} == {"shop"}
    assert 'GRANT CONNECT ON DATABASE "shop" TO "taifish_collector"' in record.gaps[0]["hint"]
    assert "SELECT on table shop.public.t" in held("app")
    server.execute("GRANT CONNECT ON DATABASE shop TO taifish_collector")
    assert sync(instance).status == "completed"
    assert not held("app")


# Names


HOSTILE = (
    'quo"te', "apo'strophe", "new\nline", "tab\there", "emoji 🐡", "é" * 31 + "x", "back\\slash", "%", "_", "a.b", "a@b",
    "; DROP TABLE x; --", "<script>alert(1)</script>", " blank ", "mysqlapp", "pgfan", "public2", "$$", "\u202eevil",
)  # fmt: skip


def test_hostile_names_arrive_intact_on_postgresql(add, server, default_filters):
    """F1.9: and no wildcard hides them: `pg_bouncer` is an account like any other."""
    instance = add("prod", server.collector())
    server.execute("SET allow_system_table_mods = on; CREATE ROLE bouncer LOGIN; UPDATE pg_authid SET rolname = 'pg_bouncer' WHERE rolname = 'bouncer'")  # fmt: skip
    for name in HOSTILE:
        assert len(name.encode()) <= 63
        server.execute(f"CREATE ROLE {identifier(name)} LOGIN")
        server.execute(f"GRANT CREATE ON DATABASE postgres TO {identifier(name)}")
    record = sync(instance)
    assert record.status == "completed", record.error
    visible = set(Account.objects.present().visible().values_list("name", flat=True))
    assert {*HOSTILE, "pg_bouncer"} <= visible
    assert "pg_monitor" not in visible
    for name in HOSTILE:
        assert held(name) == {"LOGIN", "CREATE on database postgres"}
    again = sync(instance)
    assert (again.status, again.summary["changed"]) == ("completed", 0)
    server.execute("SET allow_system_table_mods = on; UPDATE pg_authid SET rolname = 'bouncer' WHERE rolname = 'pg_bouncer'")  # fmt: skip


def test_hostile_names_arrive_intact_on_mysql(add, family_server, default_filters):
    """F1.9: `a@b`@`%` is one account, and `mysqlapp` is not the engine's."""
    instance = add("maria", family_server.collector())
    # The server strips blanks from names, and keeps them in the three-byte UTF-8 that has no emoji.
    possible = [name.strip() for name in HOSTILE if max(name) < "\U00010000"]
    if family_server.product == "MySQL":
        possible = [name[:32] for name in possible]
    for name in possible:
        account = f"{maria.identifier(name)}@'%'"
        family_server.execute(f"CREATE USER {account} IDENTIFIED BY 'x'")
        family_server.execute(f"GRANT SELECT ON `sh``op`.* TO {account}")
    record = sync(instance)
    assert record.status == "completed", (record.error, record.gaps)
    visible = set(Account.objects.present().visible().values_list("name", "host"))
    assert {(name, "%") for name in possible} <= visible
    for name in possible:
        assert any("sh`op" in grant for grant in held(name)), name
    again = sync(instance)
    assert (again.status, again.summary["changed"]) == ("completed", 0)


# Numbers


def statements(sql: list[dict[str, str]], verb: str, table: str = "accounts_") -> list[str]:
    return [q["sql"] for q in sql if q["sql"].lstrip().upper().startswith(verb) and table in q["sql"]]


def test_an_account_was_last_seen_by_the_last_visit_that_saw_it(add, server):
    """F1.5: whether that visit stored anything or not; one that is gone stays with the visit before."""
    instance = add("prod", server.collector())
    server.execute("CREATE ROLE app LOGIN; CREATE ROLE other")
    sync(instance)
    idle = sync(instance)
    assert last_seen() == {idle.started_at}
    server.execute("DROP ROLE app")
    without = sync(instance)
    assert (last_seen("app"), last_seen("other")) == ({idle.started_at}, {without.started_at})
    again = sync(instance)
    assert (last_seen("app"), last_seen("other")) == ({idle.started_at}, {again.started_at})
    server.execute("CREATE ROLE app LOGIN")
    back = sync(instance)
    # The role that was dropped is another than the one with its name.
    assert (last_seen("app"), last_seen("other")) == ({idle.started_at, back.started_at}, {back.started_at})


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_5000_accounts_cost_no_more_statements_than_50(add, server, maria_server, engine):
    """F1.8: the statements on the target do not grow; a visit that finds nothing new writes one UPDATE."""
    if engine == "postgresql":
        instance = add("big", server.collector())
        create = """
            DO $$ BEGIN FOR n IN {first}..{last} LOOP
                EXECUTE format('CREATE ROLE u%s LOGIN; GRANT CREATE ON DATABASE postgres TO u%s; GRANT team TO u%s', n, n, n);
            END LOOP; END $$"""  # fmt: skip
        server.execute("CREATE ROLE team")
    else:
        instance = add("big", maria_server.collector())
        create = """
            BEGIN NOT ATOMIC FOR n IN {first}..{last} DO
                EXECUTE IMMEDIATE concat('CREATE USER u', n);
                EXECUTE IMMEDIATE concat('GRANT SELECT ON shop.* TO u', n);
                EXECUTE IMMEDIATE concat('GRANT team TO u', n);
            END FOR; END"""
        maria_server.execute("CREATE ROLE team")
    execute = (server if engine == "postgresql" else maria_server).execute
    execute(create.format(first=1, last=50))
    few = sync(instance)
    assert few.status == "completed", few.error
    execute(create.format(first=51, last=5000))
    many = sync(instance)
    assert many.status == "completed", many.error
    assert many.summary["appeared"] == 4950
    assert many.summary["statements"] == few.summary["statements"]

    before = rows()
    session = services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        visit(session.records.get().pk)
    assert session.records.get().status == "completed"
    written = [
        sql for verb in ("INSERT", "UPDATE", "DELETE", "CREATE") for sql in statements(captured.captured_queries, verb)
    ]
    assert len(written) == 1
    assert written[0].strip().startswith("UPDATE accounts_coverage SET read_at")
    after = rows()
    assert after["Coverage"][0].pop("read_at") > before["Coverage"][0].pop("read_at")
    assert after == before
    assert last_seen() == {session.records.get().started_at}


# Coverage


def test_what_could_not_be_read_is_told_as_not_observed(add, server):
    """F1.5: an interval out of sight says which visit saw it last; coverage says what was read, and when that changed."""
    instance = add("prod", server.collector(level="B"), level="B")
    server.fresh_database("shop")
    server.execute("CREATE ROLE app; CREATE TABLE t (); GRANT SELECT ON t TO app", None, "shop")
    seen = sync(instance)
    assert seen.status == "completed"
    grant = Grant.objects.get(account__name="app", privilege="SELECT")
    assert grant.unobserved_since is None
    whole = Coverage.objects.get()
    assert (whole.level, whole.gaps, whole.until) == ("B", [], None)
    assert {"table", "memberships", "database"} <= set(whole.covered)
    assert whole.beyond == ["column"]

    server.execute("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    partial = sync(instance)
    sync(instance)
    grant.refresh_from_db()
    assert (grant.until, grant.unobserved_since) == (None, seen.started_at)
    whole.refresh_from_db()
    assert whole.until == partial.started_at
    now = Coverage.objects.get(until=None)
    assert {(gap["scope"], gap["database"]) for gap in now.gaps} >= {("table", "shop"), ("schema", "shop")}

    server.execute("GRANT CONNECT ON DATABASE shop TO taifish_collector")
    sync(instance)
    grant.refresh_from_db()
    assert (grant.until, grant.unobserved_since) == (None, None)
    assert Coverage.objects.count() == 3


def test_a_lower_read_depth_ends_nothing(add, server):
    """F1.5: what the depth leaves out is not observed, and not taken for revoked."""
    instance = add("prod", server.collector(level="B"), level="B")
    server.fresh_database("shop")
    server.execute("CREATE ROLE app; CREATE TABLE t (); GRANT SELECT ON t TO app", None, "shop")
    deep = sync(instance)
    Instance.objects.update(level="A")
    instance.refresh_from_db()
    server.execute("REVOKE ALL ON t FROM app", None, "shop")
    shallow = sync(instance)
    assert (shallow.status, shallow.gaps) == ("completed", [])
    grant = Grant.objects.get(account__name="app", privilege="SELECT")
    assert (grant.until, grant.unobserved_since) == (None, deep.started_at)
    assert "table" in Coverage.objects.get(until=None).beyond
    Instance.objects.update(level="B")
    instance.refresh_from_db()
    again = sync(instance)
    grant.refresh_from_db()
    # It ended between the two.
    assert (grant.until, grant.unobserved_since) == (again.started_at, deep.started_at)


def test_an_incomplete_listing_ends_nothing_of_those_it_leaves_out(add, server, monkeypatch):
    """F1.5: neither an account that the listing lacks nor its grants and memberships are over."""
    instance = add("prod", server.collector())
    server.execute("CREATE ROLE team; CREATE ROLE app LOGIN IN ROLE team; GRANT CREATE ON DATABASE postgres TO app")
    first = sync(instance)
    inventory = Adapter.inventory

    def half(self: Adapter) -> Inventory:
        whole = inventory(self)
        return replace(
            whole,
            accounts=[account for account in whole.accounts if account.name != "app"],
            gaps=[Gap("accounts", "denied", "some accounts were not listed")],
        )

    monkeypatch.setattr(Adapter, "inventory", half)
    assert sync(instance).status == "partial"
    app = Account.objects.get(name="app")
    assert app.gone_at is None
    assert last_seen("app") == {first.started_at}
    assert {row.unobserved_since for row in (*app.grants.all(), *app.memberships.all())} == {first.started_at}
    assert {row.until for row in (*app.grants.all(), *app.memberships.all())} == {None}
    later = sync(instance)
    assert (last_seen("app"), last_seen("team")) == ({first.started_at}, {later.started_at})
    monkeypatch.undo()
    whole = sync(instance)
    assert whole.status == "completed"
    assert last_seen() == {whole.started_at}
    assert {row.unobserved_since for row in (*app.grants.all(), *app.memberships.all())} == {None}
