"""Fault 6: every path that a visit stored can be pasted into every question, whatever the names on the server."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from accounts.models import Account, Grant
from classification.queries import compiled
from classification.rules import parse
from instances.models import Instance
from instances.tests.pages import superstaff
from sync.tests.targets import visit_once
from taifish.tests.mariadb import identifier as backticks
from taifish.tests.postgres import identifier

NAMES = ("(a)", "a(b", "c)d", 'q"t', "d.o.t", "two  words", "comma, x", "it's", "back\\slash", "f(integer)", "\nline", "_%", "$$")  # fmt: skip
ROLE = "(holder) o'\"x`"


def assert_everybody_is_found(instance: Instance, holder: Account, kinds: set[str]) -> None:
    """By the command, the API, the page and a rule, for each grant of the account."""
    grants = list(Grant.objects.filter(account=holder, until=None).exclude(scope="").exclude(kind="default"))
    assert {grant.kind for grant in grants} >= kinds
    client = superstaff()
    for grant in grants:
        asked = {"privilege": grant.privilege, "scope": grant.scope, "kind": grant.kind}
        answer = client.get("/api/access/", asked)
        assert answer.status_code == 200, (asked, answer.content)
        assert holder.pk in {row["account"] for row in answer.json()["results"]}, asked
        assert holder.name[:8] in client.get(reverse("who-can"), asked | {"csv": "1"}).getvalue().decode(), asked
        rule = f"has({grant.privilege!r}, on={grant.scope!r}, kind={grant.kind!r}, direct=True)"
        assert holder.pk in matched(rule, [instance.pk]), rule
    assert client.get(reverse("where-is"), {"name": "*"}).status_code == 200


def matched(rule: str, instances: Sequence[int]) -> set[int]:
    query = compiled(parse(rule))
    with connection.cursor() as cursor:
        cursor.execute(
            f"{query.with_clause()} SELECT a.id FROM (SELECT a.id, {query.verdict} AS v {query.source}) a WHERE a.v",
            query.parameters | {"instances": list(instances), "stale": []},
        )
        return {pk for (pk,) in cursor.fetchall()}


def test_postgresql(add, server, capsys):
    """Fault 6, F7.6: "Where is" answered 500, and of some objects no question could be asked."""
    instance = add("pg", server.collector(level="C"), level="C")
    role = identifier(ROLE)
    server.execute(f"CREATE ROLE {role} LOGIN")
    for name in ("(db)", "d.b"):
        server.fresh_database(name)
        server.execute(f"GRANT CREATE ON DATABASE {identifier(name)} TO {role}")
        for inner in map(identifier, NAMES):
            server.execute(
                f"""
                CREATE SCHEMA {inner}; GRANT USAGE ON SCHEMA {inner} TO {role};
                CREATE TABLE {inner}.{inner} ({inner} int); GRANT SELECT ON {inner}.{inner} TO {role};
                GRANT UPDATE ({inner}) ON {inner}.{inner} TO {role};
                CREATE SEQUENCE {inner}.s; GRANT USAGE ON SEQUENCE {inner}.s TO {role};
                CREATE TYPE {inner}."y(" AS ENUM ('a'); GRANT USAGE ON TYPE {inner}."y(" TO {role};
                CREATE FUNCTION {inner}.{inner}({inner}."y(", int) RETURNS int LANGUAGE sql AS 'SELECT 1';
                GRANT EXECUTE ON FUNCTION {inner}.{inner} TO {role};
                """,
                database=name,
            )
    assert visit_once("accounts", instance).status == "completed"
    holder = Account.objects.get(name=ROLE)
    # One database is enough for the slow part.
    Grant.objects.filter(account=holder, database="d.b").exclude(kind="database").delete()
    assert_everybody_is_found(
        instance, holder, {"database", "schema", "table", "column", "sequence", "type", "routine"}
    )
    with pytest.raises(SystemExit) as end:
        call_command("who_can", "SELECT", "--on", '"(db)"."(a)"."(a)"')
    assert end.value.code == 0
    assert ROLE in capsys.readouterr().out
    assert visit_once("accounts", instance).status == "completed"


def test_mariadb(add, maria_server):
    """Fault 6, F7.6: a database's name was stored without quotes."""
    instance = add("maria", maria_server.collector(level="C"), level="C")
    who = f"{backticks(ROLE)}@`%`"
    maria_server.execute(f"CREATE USER {who}")
    for name in NAMES:
        inner = backticks(name)
        pattern = name.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
        maria_server.execute(
            f"""
            CREATE DATABASE {inner}; GRANT INSERT ON {backticks(pattern)}.* TO {who};
            CREATE TABLE {inner}.{inner} ({inner} INT); GRANT SELECT ON {inner}.{inner} TO {who};
            GRANT UPDATE ({inner}) ON {inner}.{inner} TO {who};
            CREATE PROCEDURE {inner}.{inner}() SELECT 1; GRANT EXECUTE ON PROCEDURE {inner}.{inner} TO {who};
            """
        )
    maria_server.execute(f"GRANT DELETE ON `odd (%`.* TO {who}")
    assert visit_once("accounts", instance).status == "completed"
    assert_everybody_is_found(instance, Account.objects.get(name=ROLE), {"database", "table", "column", "routine"})


@pytest.mark.parametrize("text", ["(", "a(b", '"', "a..b", "\0"])
def test_what_cannot_be_asked_is_said(text, db):
    """F8.7: no name causes a 5xx."""
    client = superstaff()
    asked = {"privilege": "SELECT", "scope": text}
    assert client.get("/api/access/", asked).status_code == 400
    # NUL in an address is refused before any page.
    page = 400 if text == "\0" else 200
    assert client.get(reverse("who-can"), asked).status_code == page
    assert client.get(reverse("where-is"), {"name": text}).status_code == page
