"""Where an account exists, and the SQL that takes its power away: run here on real servers, by the test."""

from __future__ import annotations

import csv
import re
from io import StringIO

from django.urls import reverse

from access.revoking import take_away
from access.where_page import where
from accounts.models import Account, Grant, Membership
from accounts.tests.stored import MAY_1, MAY_3, account
from engines.tests.clients import paste
from instances.tests.pages import staff, superstaff
from sync.tests.targets import visit_once
from taifish.tests.postgres import identifier

URL = reverse("where-is")


def names(pattern: str, at=None) -> list[str]:
    return [f"{row.instance}: {row}" for row in where(pattern, at)]


def test_names_are_patterns_on_all_engines(instances):
    pg, my = instances
    account(pg, "alice")
    account(my, "Alice", host="%")
    account(my, "al_ice", host="10.0.0.%")
    account(pg, "a.c", gone_at=MAY_3)
    assert names("alice") == ["my: Alice@%", "pg: alice"]
    assert names("al*") == ["my: Alice@%", "my: al_ice@10.0.0.%", "pg: alice"]
    assert names("al_ice") == ["my: al_ice@10.0.0.%"]
    assert names("al?ice") == ["my: al_ice@10.0.0.%"]
    assert names("a.c") == []
    assert names("a.c", MAY_1) == ["pg: a.c"]
    assert names("abc", MAY_1) == []
    my.retire()
    assert names("alice") == ["pg: alice"]


def test_the_page_answers_and_explains(instances, django_assert_num_queries):
    pg, my = instances
    role = account(pg, "dba", kind="role")
    alice = account(pg, "alice", is_superuser=True, can_login=True)
    account(my, "=alice", host="%")
    Membership.objects.create(
        member=alice, role=role, admin_option=False, inherit=True, set_option=True, since=MAY_1, held_since=MAY_1
    )
    for privilege in ("CREATE", "CONNECT"):
        Grant.objects.create(
            account=alice, kind="database", database="shop", scope="shop", privilege=privilege, grantable=False,
            denied=False, since=MAY_1, held_since=MAY_1,
        )  # fmt: skip
    client = superstaff()
    assert "Find the instances where an account exists" in client.get(URL).content.decode()
    with django_assert_num_queries(8):
        page = client.get(URL, {"name": "*alice"})
    text = page.content.decode()
    for words in (
        "2 accounts, as of",
        "ALTER ROLE &quot;alice&quot; NOLOGIN;",
        "REVOKE &quot;dba&quot; FROM",
        "ON DATABASE",
    ):
        assert words in text, words
    rows = list(csv.reader(StringIO(client.get(URL, {"name": "*alice", "csv": 1}).getvalue().decode("utf-8-sig"))))
    assert [row[2] for row in rows[1:]] == ["'=alice@%", "alice"]
    assert rows[2][-1] == 'ALTER ROLE "alice" NOLOGIN;'
    assert "is neither a day" in client.get(URL, {"name": "a", "as_of": "soon"}).content.decode()
    seen = staff("accounts.view_account").get(URL, {"name": "alice"}).content.decode()
    assert "REVOKE" not in seen
    assert staff("instances.view_instance").get(URL).status_code == 403


def test_the_sql_of_each_grantor_but_the_owner(instances):
    """F7.11: what others granted is revoked as them; a denied grant is a shipped right that is taken away already."""
    pg, _my = instances
    alice, owner = account(pg, "alice", can_login=True), account(pg, "owner")
    place = {"database": "shop", "grantable": False, "denied": False, "since": MAY_1, "held_since": MAY_1}
    t, f = "shop.public.t", "shop.pg_catalog.f()"
    Grant.objects.create(account=owner, kind="table", scope=t, privilege="OWNER", **place)
    by = {"grantors": ["carol", "owner"]}
    Grant.objects.create(account=alice, kind="table", scope=t, privilege="SELECT", **place | by)
    Grant.objects.create(account=alice, kind="column", scope=f"{t}.a", privilege="UPDATE", **place | by)
    Grant.objects.create(account=alice, kind="routine", scope=f, privilege="EXECUTE", **place | {"denied": True})
    revokes = [
        'REVOKE UPDATE ("a") ON TABLE "public"."t" FROM "alice";',
        'REVOKE SELECT ON TABLE "public"."t" FROM "alice";',
    ]
    assert take_away([alice])[alice.pk]["statements"][2:-1] == [
        *revokes, 'SET ROLE "carol";', *revokes, "RESET ROLE;"
    ]  # fmt: skip


def test_postgresql_takes_every_statement(add, server):
    """What is shown is what the server understands: afterwards nothing is left but what is said to be by hand."""
    instance = add("pg", server.collector(level="C"), level="C")
    server.fresh_database("Odd shop")
    server.execute(
        """
        CREATE ROLE team; CREATE ROLE "O'Hara x""y" LOGIN CREATEDB CREATEROLE IN ROLE team;
        GRANT CREATE ON DATABASE "Odd shop" TO "O'Hara x""y" WITH GRANT OPTION;
        GRANT SET ON PARAMETER work_mem TO "O'Hara x""y";
        """
    )
    server.execute(
        """
        CREATE SCHEMA "S 1"; CREATE TABLE "S 1"."t.1" (a int, "B b" int); CREATE SEQUENCE "S 1".s;
        CREATE FUNCTION "S 1".f(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1';
        GRANT USAGE ON SCHEMA "S 1" TO "O'Hara x""y"; GRANT SELECT, INSERT ON "S 1"."t.1" TO "O'Hara x""y";
        GRANT UPDATE ("B b") ON "S 1"."t.1" TO "O'Hara x""y"; GRANT USAGE ON SEQUENCE "S 1".s TO "O'Hara x""y";
        GRANT EXECUTE ON FUNCTION "S 1".f(int, text) TO "O'Hara x""y";
        """,
        None,
        "Odd shop",
    )
    assert visit_once("accounts", instance).status == "completed"
    ohara = Account.objects.get(name="O'Hara x\"y")
    statements = take_away([ohara])[ohara.pk]["statements"]
    assert len(statements) > 8
    assert "ERROR" not in paste(server, "\n".join(statements) + "\n")
    visit_once("accounts", instance)
    ohara.refresh_from_db()
    assert (ohara.can_login, list(ohara.grants.filter(until=None)), ohara.memberships.filter(until=None).count()) == (
        False,
        [],
        0,
    )


def test_mysql_and_mariadb_take_every_statement(add, family_server):
    instance = add("maria", family_server.collector(level="C"), level="C")
    family_server.execute(
        r"""
        CREATE DATABASE `odd shop`; CREATE TABLE `odd shop`.`t.1` (a INT, `b b` INT); CREATE ROLE team;
        CREATE PROCEDURE `odd shop`.p() SELECT 1;
        CREATE USER `o'hara`@`10.%` IDENTIFIED BY 'x'; GRANT team TO `o'hara`@`10.%`;
        GRANT RELOAD ON *.* TO `o'hara`@`10.%`; GRANT SELECT ON `odd shop`.* TO `o'hara`@`10.%`;
        GRANT INSERT ON `lab\_%`.* TO `o'hara`@`10.%`; GRANT DELETE ON `odd shop`.`t.1` TO `o'hara`@`10.%`;
        GRANT UPDATE (`b b`) ON `odd shop`.`t.1` TO `o'hara`@`10.%`;
        GRANT EXECUTE ON PROCEDURE `odd shop`.p TO `o'hara`@`10.%`;
        """
    )
    assert visit_once("accounts", instance).status == "completed"
    ohara = Account.objects.get(name="o'hara")
    statements = take_away([ohara])[ohara.pk]["statements"]
    assert "ERROR" not in paste(family_server, "\n".join(statements) + "\n")
    visit_once("accounts", instance)
    ohara.refresh_from_db()
    assert (ohara.is_locked, list(ohara.grants.filter(until=None)), ohara.memberships.filter(until=None).count()) == (
        True,
        [],
        0,
    )


def test_a_name_with_a_line_break_is_in_no_sql(add, server):
    """Fault 1, F7.11: a table of that name turned the statement of whoever pasted it into an attack."""
    instance = add("pg", server.collector(level="C"), level="C")
    hostile = "x\nALTER ROLE mallory SUPERUSER; --"
    server.fresh_database("shop")
    server.execute(f"CREATE ROLE mallory; CREATE ROLE alice LOGIN; CREATE ROLE {identifier('l' + hostile)} LOGIN")
    server.execute(
        f"""
        CREATE TABLE {identifier(hostile)} (a int); GRANT SELECT ON {identifier(hostile)} TO alice;
        CREATE TABLE owned (a int); ALTER TABLE owned OWNER TO alice; ALTER TABLE owned RENAME TO {identifier("o" + hostile)};
        CREATE TABLE plain (a int); GRANT SELECT ON plain TO alice;
        """,
        database="shop",
    )
    assert visit_once("accounts", instance).status == "completed"
    text = superstaff().get(URL, {"name": "alice"}).content.decode()
    for sql in re.findall("<pre.*?</pre>", text, re.DOTALL):
        assert "mallory" not in sql
    assert "because a name has control characters" in text
    offered = take_away(list(Account.objects.filter(name="alice")))
    (remedy,) = offered.values()
    paste(server, "\n".join(remedy["statements"]) + "\n")
    assert server.execute("SELECT rolname FROM pg_roles WHERE rolsuper") == [(server.cluster.superuser,)]
    rights = "SELECT has_table_privilege('alice', 'plain', 'SELECT')"
    assert server.execute(rights, database="shop") == [(False,)]
    cells = list(csv.reader(StringIO(csv_as_other("*mallory*"))))
    assert cells[1][-1].startswith("No SQL is offered, because the account name contains control characters. Its oid")
    assert "\n" not in cells[1][-1]


def csv_as_other(name: str) -> str:
    return superstaff("other").get(URL, {"name": name, "csv": 1}).getvalue().decode("utf-8-sig")
