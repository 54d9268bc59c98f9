"""A digest that stands for facts: none that change may leave it as it was."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from accounts import services
from accounts.coverage import digest_of
from accounts.models import Account, AccountChange, Coverage, Grant
from accounts.rows import AccountFacts
from engines import derived
from engines.adapter import Adapter
from engines.derived import Derived
from engines.facts import Gap
from engines.registry import adapter_for
from engines.target import Target
from sync.tests.targets import visit_once
from taifish.tests.mariadb import ALL

#: One of each kind of fact, each way it may change. Run in the database shop.
POSTGRESQL = """
CREATE ROLE app LOGIN
CREATE ROLE team
ALTER ROLE app CONNECTION LIMIT 3
ALTER ROLE app VALID UNTIL '2101-01-01'
ALTER ROLE app VALID UNTIL '2101-01-02'
ALTER ROLE app VALID UNTIL '2001-01-01'
ALTER ROLE app VALID UNTIL 'infinity'
ALTER ROLE app SUPERUSER
ALTER ROLE app NOSUPERUSER CREATEDB
ALTER ROLE app CREATEROLE
ALTER ROLE app REPLICATION
ALTER ROLE app BYPASSRLS
ALTER ROLE app NOLOGIN
GRANT team TO app
GRANT team TO app WITH ADMIN OPTION
GRANT CREATE ON DATABASE shop TO app
GRANT CREATE ON DATABASE shop TO app WITH GRANT OPTION
REVOKE TEMPORARY ON DATABASE shop FROM PUBLIC
ALTER DATABASE shop OWNER TO team
GRANT CREATE ON TABLESPACE pg_default TO app
CREATE SCHEMA s
GRANT USAGE ON SCHEMA s TO app
CREATE TABLE s.t (a int, b int)
GRANT SELECT ON s.t TO app
GRANT SELECT ON s.t TO PUBLIC
GRANT UPDATE (a) ON s.t TO app
GRANT UPDATE (a) ON s.t TO app WITH GRANT OPTION
ALTER TABLE s.t RENAME COLUMN a TO c
ALTER TABLE s.t RENAME TO u
ALTER TABLE s.u OWNER TO app
CREATE SEQUENCE s.q
GRANT USAGE ON SEQUENCE s.q TO app
CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'
REVOKE EXECUTE ON FUNCTION s.f(int) FROM PUBLIC
CREATE TYPE s.e AS ENUM ('x')
REVOKE USAGE ON TYPE s.e FROM PUBLIC
GRANT USAGE ON LANGUAGE plpgsql TO app
CREATE FOREIGN DATA WRAPPER w
GRANT USAGE ON FOREIGN DATA WRAPPER w TO app
CREATE SERVER far FOREIGN DATA WRAPPER w
SELECT lo_create(4711)
GRANT SELECT ON LARGE OBJECT 4711 TO app
ALTER DEFAULT PRIVILEGES FOR ROLE team GRANT SELECT ON TABLES TO app
ALTER DEFAULT PRIVILEGES FOR ROLE team IN SCHEMA s GRANT SELECT ON TABLES TO app
GRANT SELECT ON pg_catalog.pg_authid TO app
REVOKE SELECT ON pg_catalog.pg_proc FROM PUBLIC; GRANT SELECT ON pg_catalog.pg_proc TO taifish_collector
ALTER ROLE team RENAME TO crew
REVOKE crew FROM app
REVOKE CONNECT ON DATABASE shop FROM PUBLIC
GRANT CONNECT ON DATABASE shop TO taifish_collector
ALTER DATABASE shop OWNER TO app
CREATE ROLE other
"""
POSTGRESQL_16 = """
GRANT crew TO other
GRANT crew TO other WITH INHERIT FALSE
GRANT crew TO other WITH SET FALSE
GRANT SET ON PARAMETER log_min_duration_statement TO app
"""
#: On MariaDB and MySQL. What differs stands in between.
FAMILY = r"""
CREATE USER app@'%' IDENTIFIED BY 'x'
CREATE USER app@'10.%' IDENTIFIED BY 'x'
CREATE ROLE team
ALTER USER app@'%' ACCOUNT LOCK
ALTER USER app@'%' ACCOUNT UNLOCK
ALTER USER app@'%' PASSWORD EXPIRE
ALTER USER app@'%' IDENTIFIED BY 'y'
ALTER USER app@'%' PASSWORD EXPIRE INTERVAL 30 DAY
ALTER USER app@'%' PASSWORD EXPIRE INTERVAL 31 DAY
ALTER USER app@'%' PASSWORD EXPIRE NEVER
SET GLOBAL default_password_lifetime = 90
ALTER USER app@'%' WITH MAX_USER_CONNECTIONS 3
GRANT RELOAD ON *.* TO app@'%'
GRANT RELOAD ON *.* TO app@'%' WITH GRANT OPTION
GRANT team TO app@'%'
GRANT team TO app@'%' WITH ADMIN OPTION
GRANT SELECT ON shop.* TO app@'%'
GRANT SELECT ON shop.* TO app@'%' WITH GRANT OPTION
GRANT SELECT ON `sho_`.* TO app@'%'
GRANT SELECT ON `sho\_`.* TO app@'%'
REVOKE SELECT ON `sho_`.* FROM app@'%'
GRANT SELECT ON shop.t TO app@'%'
GRANT SELECT ON shop.t TO team
GRANT UPDATE (a) ON shop.t TO team
GRANT INSERT ON shop.t TO team WITH GRANT OPTION
GRANT EXECUTE ON PROCEDURE shop.p TO app@'%'
GRANT EXECUTE ON FUNCTION shop.p TO app@'%'
GRANT PROXY ON team TO app@'%'
UPDATE mysql.proxies_priv SET With_grant = 1 WHERE User = 'app'
INSERT INTO mysql.db (Host, Db, User, Select_priv) VALUES ('%', 'shop', '', 'Y')
RENAME USER app@'10.%' TO bob@'10.%'
"""
MARIADB = """
SET DEFAULT ROLE team FOR app@'%'
ALTER USER app@'%' IDENTIFIED VIA unix_socket
ALTER USER app@'%' IDENTIFIED VIA unix_socket OR mysql_native_password
UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.version_id', 100400, '$.access', 32768) WHERE User = 'app'
UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.version_id', 101100) WHERE User = 'app'
"""
MYSQL = """
SET DEFAULT ROLE team TO app@'%'
ALTER USER app@'%' IDENTIFIED WITH auth_socket
GRANT CREATE ROLE ON *.* TO bob@'10.%'
GRANT BACKUP_ADMIN ON *.* TO bob@'10.%'
GRANT BACKUP_ADMIN ON *.* TO bob@'10.%' WITH GRANT OPTION
GRANT bob@'10.%' TO app@'%'
SET GLOBAL activate_all_roles_on_login = ON
SET GLOBAL mandatory_roles = 'team'
GRANT SELECT ON `sho_`.* TO bob@'10.%'
SET GLOBAL partial_revokes = ON
GRANT SELECT, INSERT ON *.* TO bob@'10.%'
REVOKE INSERT ON shop.* FROM bob@'10.%'
REVOKE SELECT ON shop.* FROM bob@'10.%'
SET GLOBAL mandatory_roles = ''
"""
AT_LAST = """
DROP USER bob@'10.%'
REVOKE team FROM app@'%'
"""
#: Product → settings that the steps change, as they were.
SETTINGS = {
    "MariaDB": {"default_password_lifetime": "0"},
    "MySQL": {
        "default_password_lifetime": "0",
        "activate_all_roles_on_login": "OFF",
        "mandatory_roles": "''",
        "partial_revokes": "OFF",
    },
}


def looked(target: Target) -> tuple[str, Any]:
    """The digest of a visit, and the facts that it must stand for."""
    with adapter_for(target) as adapter:
        inventory, permissions = adapter.inventory(), adapter.permissions()
    facts = AccountFacts(adapter.server, inventory, permissions, adapter.statements, target.level)
    gaps = [*inventory.gaps, *permissions.gaps]
    told = (
        set(inventory.accounts), inventory.unread, set(permissions.memberships), set(permissions.grants),
        permissions.covered, {(gap.scope, gap.database, gap.code) for gap in gaps},
    )  # fmt: skip
    return digest_of(facts, gaps), told


def walk(target: Target, execute: Any, steps: Sequence[str]) -> None:
    """Each step changes the facts, and the digest with them; without a step, neither."""
    digest, told = looked(target)
    met = {digest: told}
    for step in steps:
        execute(step)
        before = told
        digest, told = looked(target)
        assert told != before, f"{step}: changes no fact, so it proves nothing"
        # A digest that came back stands for the same facts.
        assert met.setdefault(digest, told) == told, step
        assert looked(target)[0] == digest, f"{step}: two visits in a row differ"


def lines(*texts: str) -> list[str]:
    return [line for text in texts for line in text.strip().splitlines()]


def test_every_change_on_postgresql_is_noticed(postgres):
    postgres.reset()
    target = postgres.collector(level="C")
    postgres.fresh_database("shop")
    (version,) = postgres.execute("SELECT current_setting('server_version_num')::int")[0]
    steps = lines(POSTGRESQL, POSTGRESQL_16 if version >= 160_000 else "")
    walk(target, lambda sql: postgres.execute(sql, None, "shop"), steps)
    postgres.reset()


def test_every_change_on_mariadb_and_mysql_is_noticed(family_server):
    target = family_server.collector(level="C")
    family_server.execute("CREATE DATABASE shop; CREATE TABLE shop.t (a int, b int)")
    family_server.execute("CREATE PROCEDURE shop.p() SELECT 1; CREATE FUNCTION shop.p() RETURNS int RETURN 1")
    steps = lines(FAMILY, MYSQL if family_server.product == "MySQL" else MARIADB, AT_LAST)
    if family_server.version >= (11,):
        # There, no bit of `access` means something else in a row of 10.11.
        steps = [step for step in steps if "101100" not in step]
    try:
        walk(target, family_server.execute, steps)
    finally:
        family_server.reset()
        for name, value in SETTINGS[family_server.product].items():
            family_server.execute(f"SET GLOBAL {name} = {value}")


def test_the_read_depth_the_server_and_gaps_are_in_it(server):
    target = server.collector(level="B")
    server.fresh_database("shop")
    with adapter_for(target) as adapter:
        inventory, permissions = adapter.inventory(), adapter.permissions()
    facts = AccountFacts(adapter.server, inventory, permissions, 9, "B")
    gap = Gap("table", "denied", "said so", "shop")
    others = [
        (replace(facts, level="C"), []),
        (replace(facts, server=replace(adapter.server, version="99")), []),
        (replace(facts, permissions=replace(permissions, covered=frozenset({"memberships"}))), []),
        (facts, [gap]),
        (facts, [replace(gap, database="")]),
        (facts, [replace(gap, code="row_limit")]),
        (facts, [replace(gap, fields=("is_locked",))]),
    ]
    assert len({digest_of(facts, []), *(digest_of(*other) for other in others)}) == 1 + len(others)
    assert digest_of(facts, [gap]) == digest_of(replace(facts, statements=7), [replace(gap, message="otherwise")])


@pytest.fixture(params=["postgresql", *ALL])
def any_server(request, server, mysql_family_server):
    """PostgreSQL, each MariaDB and MySQL in turn."""
    if request.param == "postgresql":
        yield server
    else:
        found = mysql_family_server(request.param)
        found.reset()
        yield found
        found.reset()


def test_a_visit_without_news_makes_no_facts(add, any_server, monkeypatch):
    """F1.8"""
    target = any_server.collector(level="C")
    instance = add("prod", target, level="C")
    first = visit_once("accounts", instance)
    assert first.status == "completed", (first.error, first.gaps)

    def refuse(facts: Derived[Any]) -> list[Any]:
        raise AssertionError("somebody looked")

    monkeypatch.setattr(Derived, "_items", property(refuse))
    second = visit_once("accounts", instance)
    assert second.status == "completed", second.error
    assert second.summary["accounts"] == first.summary["accounts"] > 1
    assert set(Account.objects.with_last_seen().values_list("last_seen_at", flat=True)) == {second.started_at}


def test_an_adapter_that_makes_facts_at_once_is_served_alike(add, any_server, monkeypatch):
    """Its facts are compared themselves, in any order."""
    target = any_server.collector()
    instance = add("prod", target)
    inventory, permissions = Adapter.inventory, Adapter.permissions
    turn = {"step": 1}

    def listed(self: Adapter) -> Any:
        found = inventory(self)
        return replace(found, accounts=list(found.accounts)[:: turn["step"]])

    def held(self: Adapter) -> Any:
        found = permissions(self)
        return replace(
            found,
            memberships=list(found.memberships)[:: turn["step"]],
            grants=list(found.grants)[:: turn["step"]],
        )

    monkeypatch.setattr(Adapter, "inventory", listed)
    monkeypatch.setattr(Adapter, "permissions", held)
    assert visit_once("accounts", instance).status == "completed"
    turn["step"] = -1
    monkeypatch.setattr(services, "AccountIndex", None)
    record = visit_once("accounts", instance)
    assert record.status == "completed", record.error
    assert record.summary["accounts"] == Account.objects.count()


def test_a_role_that_expires_between_two_visits_is_told(add, server):
    """F1.7: no row of the catalogue changes, but the time does."""
    instance = add("prod", server.collector())
    server.execute("CREATE ROLE app LOGIN")
    # On a busy machine, the first visit may come too late.
    for seconds in (3, 15, 60):
        (until,) = server.execute(f"SELECT now() + interval '{seconds} seconds'")[0]
        server.execute(f"ALTER ROLE app VALID UNTIL '{until.isoformat()}'")
        visit_once("accounts", instance)
        if not Account.objects.get(name="app").is_locked:
            break
    assert Account.objects.get(name="app").is_locked is False
    time.sleep(seconds + 0.1)
    visit_once("accounts", instance)
    assert Account.objects.get(name="app").is_locked is True
    assert AccountChange.objects.filter(account__name="app").first().events == ["locked", "expired"]


def test_a_password_that_expires_between_two_visits_is_told(add, family_server):
    """F1.7: no row of the grant tables changes, but the time does."""
    instance = add("maria", family_server.collector())
    family_server.execute("CREATE USER app IDENTIFIED BY 'x' PASSWORD EXPIRE INTERVAL 1 DAY")
    changed = (
        "UPDATE mysql.user SET password_last_changed = NOW() - INTERVAL 1 DAY + INTERVAL {0} SECOND WHERE User = 'app'"
        if family_server.product == "MySQL"
        else "UPDATE mysql.global_priv SET Priv = JSON_SET(Priv, '$.password_last_changed', UNIX_TIMESTAMP() - 86400 + {0})"
        " WHERE User = 'app'"
    )
    # On a busy machine, the first visit may come too late.
    for seconds in (3, 15, 60):
        family_server.execute(changed.format(seconds))
        visit_once("accounts", instance)
        if not Account.objects.get(name="app").password_expired:
            break
    assert Account.objects.get(name="app").password_expired is False
    time.sleep(seconds + 0.1)
    visit_once("accounts", instance)
    assert Account.objects.get(name="app").password_expired is True
    change = AccountChange.objects.filter(account__name="app").first()
    assert change.details == {"attributes": {"password_expired": [False, True]}}


def test_another_version_compares_everything_once_more(add, server, monkeypatch):
    """A mistake in how facts are made of rows is made good by raising VERSION, though the rows are the same."""
    instance = add("prod", server.collector())
    server.execute("CREATE ROLE app LOGIN")
    visit_once("accounts", instance)
    Grant.objects.filter(account__name="app", privilege="LOGIN").delete()
    visit_once("accounts", instance)
    assert not Grant.objects.filter(account__name="app").exists()
    monkeypatch.setattr(derived, "VERSION", derived.VERSION + 1)
    visit_once("accounts", instance)
    assert Grant.objects.filter(account__name="app").exists()


def test_a_digest_of_the_release_before_is_not_recognised(add, server):
    """The first visit after an upgrade stores everything, as if it had changed; the next one has nothing to do."""
    instance = add("prod", server.collector())
    server.execute("CREATE ROLE app LOGIN")
    visit_once("accounts", instance)
    Coverage.objects.update(digest="0" * 128)
    Grant.objects.filter(account__name="app", privilege="LOGIN").delete()
    visit_once("accounts", instance)
    assert Grant.objects.filter(account__name="app").exists()
    assert Coverage.objects.get().digest not in ("", "0" * 128)
