"""Effective privileges and "who can", as people ask them: API and command, on stored facts and on real servers."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO

import pymysql
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from access.questions import effective, who_can
from accounts.models import Account, Coverage, Grant
from accounts.tests.stored import MAY_1, MAY_3, account, join
from engines.paths import dotted
from instances.models import Credential, Instance
from instances.tests.api import client_with
from sync import services


def ask(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("who_can", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    raise AssertionError("who_can did not set its exit code")


def instance(name: str, engine: str, **coverage: object) -> Instance:
    credential, _ = Credential.objects.get_or_create(name="c", username="u")
    made = Instance.objects.create(name=name, engine=engine, host=name, credential=credential)
    covered = ["memberships", "system", "attribute", "database", "table", "routine", "column"]
    values = {"level": "B", "covered": covered, "beyond": [], "since": MAY_1, "read_at": timezone.now()} | coverage
    Coverage.objects.create(instance=made, **values)
    return made


def grant(account: Account, privilege: str, kind: str, scope: str = "", **fields: object) -> Grant:
    values = {"grantable": False, "denied": False, "since": MAY_1} | fields
    values = {"held_since": values["since"]} | values
    return Grant.objects.create(account=account, privilege=privilege, kind=kind, scope=scope, **values)


@pytest.fixture
def shop(db: None) -> dict[str, Account]:
    """ada is in writers until 3 May, writers in readers; bob may switch to writers only; root is a superuser."""
    pg = instance("pg", "postgresql")
    made = {name: account(pg, name) for name in ("ada", "bob", "root")}
    made |= {name: account(pg, name, kind="role", can_login=False) for name in ("readers", "writers")}
    join(made["writers"], made["readers"])
    join(made["ada"], made["writers"], until=MAY_3)
    join(made["bob"], made["writers"], inherit=False)
    grant(made["readers"], "SELECT", "table", "shop.public.orders", database="shop")
    grant(made["writers"], "INSERT", "table", "shop.public.orders", database="shop", unobserved_since=MAY_3)
    grant(made["root"], "SUPERUSER", "attribute")
    return made


def test_who_could_then_and_who_can_now(shop):
    """F1.7: the answer names the way, and is that of the moment asked about."""
    may = {str(row.account): [str(role) for role in row.path] for row in who_can("insert", "shop.public.orders").rows}
    assert may == {"writers": [], "bob": ["writers"], "root": []}
    then = who_can("insert", "shop.public.orders", at=MAY_1 + timedelta(days=1))
    rows = {str(row.account): row for row in then.rows}
    assert rows.keys() == {"ada", "bob", "root", "writers"}
    assert (rows["ada"].at_once, rows["bob"].at_once) == (True, False)
    assert (rows["root"].because, rows["ada"].because) == ("superuser", "grant")
    assert rows["ada"].since == MAY_1
    before = who_can("insert", "shop.public.orders", at=MAY_1 - timedelta(days=1))
    assert list(before.rows) == []
    assert list(before.unknown.values()) == ["not visited by then"]


def test_the_command_says_the_way_and_what_is_hearsay(shop):
    code, told = ask("INSERT", "--on", "shop.public.orders")
    lacking = "no CONNECT on shop; no USAGE on shop.public"
    since, hearsay = "2026-05-01 00:00", "2026-05-03 00:00"
    assert code == 0
    assert [re.split(r" {2,}", line) for line in told.splitlines()] == [
        ["INSTANCE", "ACCOUNT", "THROUGH", "RIGHT", "USABLE", "SINCE", "NOT OBSERVED SINCE"],
        ["pg", "bob", "writers", "INSERT on table shop.public.orders", f"blocked: {lacking}", since, hearsay],
        ["pg", "root", "SUPERUSER", "at login", since],
        ["pg", "writers", "INSERT on table shop.public.orders", f"blocked: cannot log in; {lacking}", since, hearsay],
    ]
    assert (
        len(
            {
                line.index(word)
                for line, word in zip(told.splitlines(), ["USABLE", "blocked", "at login", "blocked"], strict=True)
            }
        )
        == 1
    )
    code, told = ask("INSERT", "--on", "shop.public.orders", "--as-of", "2026-05-02", "--json")
    assert [row["account"] for row in json.loads(told)["accounts"]] == ["ada", "bob", "root", "writers"]


def test_no_name_reaches_the_terminal_as_it_is(shop):
    """Names on servers are hostile: the command escapes what would move the cursor or turn the text around."""
    hostile = account(shop["ada"].instance, "eve\x1b[2J\u202e")
    grant(hostile, "INSERT", "table", "shop.public.orders", database="shop")
    code, told = ask("INSERT", "--on", "shop.public.orders")
    assert (code, "eve\\x1b[2J\\u202e" in told) == (0, True)
    assert {"\x1b", "\u202e"}.isdisjoint(told)
    grant(hostile, "UPDATE", "table", 'shop."public\x1b".orders', database="shop")
    code, told = ask("UPDATE", "--on", "shop.publi.orders")
    assert (code, "\x1b" in told, "Did you mean" in told) == (2, False, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["INSRT", "--on", "shop.public.orders"], "Did you mean INSERT?"),
        (["INSERT", "--on", "shop..orders"], "is invalid at character 6"),
        (["INSERT", "--on", "a.b.c.d.e.f"], "No engine has objects with a path of 6 parts"),
        (["INSERT", "--on", "shop", "--kind", "table"], "No engine has objects of the kind 'table' with a path of 1"),
        (["INSERT", "--as-of", "yesterday"], "neither a day"),
        (["INSERT", "--as-of", "2990-01-01 00:00"], "in the future"),
        (["INSERT", "--instance", "nobody"], "There is no instance “nobody”"),
    ],
)
def test_a_wrong_question_is_told_what_to_do(shop, arguments, told):
    code, said = ask(*arguments)
    assert code == 2
    assert told in said


def test_what_is_not_known_is_said(db):
    """A failed read is never an empty answer: an instance that was not read is named, and the exit code tells."""
    deep = instance("deep", "postgresql")
    instance("shallow", "postgresql", level="A", beyond=["column", "table"])
    gap = {"scope": "table", "database": "shop", "code": "denied", "message": "no CONNECT on shop", "hint": ""}
    instance("gappy", "postgresql", gaps=[gap])
    Instance.objects.create(name="new", engine="mysql", host="new", credential=Credential.objects.get())
    Instance.objects.create(
        name="old", engine="mysql", host="old", credential=Credential.objects.get(), retired_at=timezone.now()
    )
    grant(account(deep, "app"), "SELECT", "table", "shop.public.orders", database="shop")
    code, told = ask("SELECT", "--on", "shop.public.orders", "--kind", "table")
    assert code == 3
    assert told.splitlines()[2:] == [
        "gappy: not known: no CONNECT on shop",
        "shallow: not known: read depth A leaves out: table",
    ]
    # A database that the gap is not about.
    assert "gappy" not in ask("SELECT", "--on", "crm.public.orders", "--kind", "table")[1]
    assert "new: not known: not visited by then" in ask("SELECT", "--on", "shop")[1]


def test_what_was_not_read_does_not_block(db):
    """F7.2, F7.5: a right seems to be without USAGE on the schema where visits could not read schemas: unknown."""
    gap = {"scope": "schema", "database": "shop", "code": "denied", "message": "no schemas of shop", "hint": ""}
    for name, gaps in (("read", []), ("gappy", [gap])):
        app = account(instance(name, "postgresql", gaps=gaps), "app", can_login=True)
        grant(app, "SELECT", "table", "shop.public.orders", database="shop")
        grant(app, "CONNECT", "database", "shop", database="shop")
    answer = who_can("SELECT", "shop.public.orders", kind="table")
    assert {row.account.instance.name: (row.usable, row.blocked) for row in answer.rows} == {
        "gappy": ("login", ()),
        "read": ("blocked", ("no USAGE on shop.public",)),
    }
    assert {one.name: reason for one, reason in answer.unknown.items()} == {"gappy": "no schemas of shop"}


def test_mysql_patterns_and_partial_revokes(db):
    """F1.9: of an account's patterns the most specific one counts; a partial revoke takes back what *.* gave."""
    my = instance("my", "mysql")
    wide, both, revoked, escaped = (account(my, name, host="%") for name in ("wide", "both", "revoked", "escaped"))
    grant(wide, "SELECT", "database", "shop%", database="shop%")
    grant(both, "SELECT", "database", "sh%", database="sh%")
    grant(both, "INSERT", "database", "shop%", database="shop%")
    grant(revoked, "SELECT", "system")
    grant(revoked, "SELECT", "database", "shop\\_eu", database="shop_eu", denied=True)
    grant(escaped, "SELECT", "database", "shop\\_eu", database="shop_eu")

    def may(privilege: str, scope: str) -> set[str]:
        return {row.account.name for row in who_can(privilege, scope).rows}

    assert may("SELECT", "shop_eu") == {"wide", "escaped"}
    # Only SELECT was taken back from it there.
    grant(revoked, "INSERT", "system")
    assert may("INSERT", "shop_eu.orders") == {"both", "revoked"}
    assert may("SELECT", "shopXeu.orders") == {"wide", "revoked"}
    assert may("SELECT", "sh") == {"both", "revoked"}
    assert may("SELECT", "crm") == {"revoked"}


#: Which of two patterns that both fit the server goes by, as MariaDB 10.11 and the code of MySQL 8 have it.
@pytest.mark.parametrize(
    ("one", "other", "database", "mariadb", "mysql"),
    [
        ("sho_", "shop%", "shop", "sho_", "shop%"),
        ("abc_", "a_cd", "abcd", "a_cd", "abc_"),
        ("s___", "sh%", "shop", "s___", "sh%"),
        ("a%d", "ab%", "abcd", "a%d", "ab%"),
        ("_%", "s%", "shop", "s%", "s%"),
        ("shop", "sho_", "shop", "shop", "shop"),
        (r"shop\_x", "shop_x", "shop_x", r"shop\_x", r"shop\_x"),
    ],
)
def test_which_pattern_counts_is_the_products_own(db, one, other, database, mariadb, mysql):
    """F1.9: MariaDB counts the names that would fit, MySQL goes by where the first wildcard stands."""
    for product, chosen in (("MariaDB", mariadb), ("MySQL", mysql)):
        my = instance(product, "mysql")
        Instance.objects.filter(pk=my.pk).update(product=product)
        who = account(my, f"u{product}", host="%")
        for pattern, privilege in ((one, "SELECT"), (other, "DELETE")):
            grant(who, privilege, "database", dotted(pattern), database=pattern.replace("\\", ""))
        may = {p for p in ("SELECT", "DELETE") if who in [row.account for row in who_can(p, database).rows]}
        assert may == {"SELECT" if chosen == one else "DELETE"}


def test_effective_over_the_api(shop):
    client = client_with("accounts.view_grant")
    url = f"/api/accounts/{shop['ada'].pk}/effective/"
    assert client.get(url).json()["results"] == []
    told = client.get(url, {"as_of": "2026-05-02T00:00:00Z"}).json()
    assert [(row["privilege"], row["path"], row["at_once"]) for row in told["results"]] == [
        ("INSERT", ["writers"], True),
        ("SELECT", ["writers", "readers"], True),
    ]
    assert told["coverage"]["level"] == "B"
    assert client.get(url, {"as_of": "2026-05-02T00:00:00Z", "privilege": "insert"}).json()["count"] == 1
    bob = client.get(f"/api/accounts/{shop['bob'].pk}/effective/").json()
    assert {row["at_once"] for row in bob["results"]} == {False}
    assert client.get(url, {"as_of": "2990-01-01T00:00:00Z"}).status_code == 400
    assert client.get(url, {"as_of": "soon"}).status_code == 400


def test_access_over_the_api(shop):
    client = client_with("accounts.view_grant")
    told = client.get("/api/access/", {"privilege": "SELECT", "on": "shop.public.orders"}).json()
    assert [(row["account_label"], row["path"]) for row in told["results"]] == [
        ("bob", ["writers", "readers"]),
        ("readers", []),
        ("root", []),
        ("writers", ["readers"]),
    ]
    assert told["unknown"] == []
    assert told["results"][0]["grant"]["text"] == "SELECT on table shop.public.orders"
    assert client.get("/api/access/", {"privilege": "SELECT", "on": "a..b"}).status_code == 400
    assert client.get("/api/access/", {"on": "a"}).status_code == 400
    for wrong in ({"instance": "nobody"}, {"scoop": "a"}, {"kind": "thing"}, {"as_of": "soon"}):
        assert client.get("/api/access/", {"privilege": "SELECT", **wrong}).status_code == 400


def test_questions_take_a_fixed_number_of_queries(shop, django_assert_num_queries):
    pg = shop["ada"].instance
    for number in range(30):
        member = account(pg, f"m{number}")
        join(member, shop["readers"])
        grant(member, "SELECT", "table", "shop.public.orders", database="shop")
    with django_assert_num_queries(7):
        assert len(list(who_can("SELECT", "shop.public.orders").rows)) == 64
    with django_assert_num_queries(2):
        assert effective(shop["bob"]).coverage


def test_the_session_that_saw_it_first_is_named(add, server):
    """Since when, by which session seen."""
    add("prod", server.collector())
    server.execute("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app")
    session = services.run_here(services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False))
    services.run_here(services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False))
    rows = {row.account.name: row for row in who_can("CREATE", "postgres").rows}
    assert rows["app"].session == session.pk
    assert rows["app"].since == session.records.get().started_at


def test_mariadb_and_mysql_answer_the_same_when_tried(add, family_server):
    """F1.9: patterns, roles and defaults: who is said to read or delete is who really can."""
    for database in ("shop", "shop_eu"):
        family_server.execute(f"CREATE DATABASE {database}; CREATE TABLE {database}.t (a int)")
    users = [f"u{n}" for n in range(7)]
    family_server.execute("".join(f"CREATE USER {user}@'%' IDENTIFIED BY 'pw';" for user in users))
    word = "TO" if family_server.product == "MySQL" else "FOR"
    family_server.execute(
        rf"""
        CREATE ROLE readers; CREATE ROLE cleaners; GRANT readers TO cleaners;
        GRANT SELECT ON `shop%`.* TO readers; GRANT DELETE ON shop.t TO cleaners;
        GRANT SELECT ON `shop%`.* TO u0@'%';
        GRANT SELECT ON `shop%`.* TO u1@'%'; GRANT DELETE ON `shop\_eu`.* TO u1@'%';
        GRANT cleaners TO u2@'%'; SET DEFAULT ROLE cleaners {word} u2@'%';
        GRANT cleaners TO u3@'%';
        GRANT SELECT ON *.* TO u4@'%'; GRANT DELETE ON `shop_eu`.* TO u4@'%';
        GRANT DELETE ON shop_eu.t TO u5@'%';
        """
    )
    add("maria", family_server.collector(), level="C")
    session = services.run_here(services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False))
    assert session.status == "completed"
    really, told = set(), set()
    for user in users:
        connection = pymysql.connect(host="127.0.0.1", port=family_server.port, user=user, password="pw")
        with connection.cursor() as cursor:
            for database in ("shop", "shop_eu"):
                for privilege, sql in (("SELECT", "SELECT 1 FROM {}.t"), ("DELETE", "DELETE FROM {}.t")):
                    try:
                        cursor.execute(sql.format(database))
                    except pymysql.MySQLError as error:
                        assert error.args[0] in (1142, 1044), error  # noqa: PT017 - the denial is the answer
                    else:
                        really.add((user, privilege, database))
        connection.close()
    for database in ("shop", "shop_eu"):
        for privilege in ("SELECT", "DELETE"):
            rows = who_can(privilege, f"{database}.t", kind="table").rows
            told |= {(row.account.name, privilege, database) for row in rows if row.at_once and row.account.host}
    assert {row for row in told if row[0] in users} == really
    assert ("u3", "SELECT", "shop") not in really
    switched = who_can("SELECT", "shop.t", kind="table").rows
    assert [row.at_once for row in switched if row.account.name == "u3"] == [False]


def test_of_an_instance_never_visited_nothing_is_known_whatever_the_privilege(db):
    """F1.5: no answer is not "there is no such privilege"."""
    my = instance("my", "mysql")
    with pytest.raises(ValueError, match="No visit has ever seen"):
        who_can("SELCT", "shop.orders")
    # A privilege that the engine defines is right, also if no account has it.
    answer = who_can("SELECT", "shop.orders")
    assert (list(answer.rows), answer.unknown) == ([], {})
    Coverage.objects.all().delete()
    answer = who_can("SELCT", "shop.orders")
    assert (list(answer.rows), answer.unknown) == ([], {my: "not visited by then"})


def test_an_account_of_unknown_kind_on_mysql_is_listed(db):
    """F7.3: without access to hashes, a locked account with an expired password may be a user or a role."""
    my = instance("my", "mysql")
    maybe, team = account(my, "maybe", host="%", kind=None), account(my, "team", host="%", kind="role")
    grant(maybe, "DELETE", "database", "shop", database="shop")
    grant(team, "SELECT", "database", "shop", database="shop")
    join(maybe, team)
    for privilege, names in (("DELETE", {"maybe"}), ("SELECT", {"maybe", "team"})):
        assert {row.account.name for row in who_can(privilege, "shop.t", kind="table").rows} == names


def test_parameters_that_everyone_may_set_are_not_denied(db):
    """F7.6: which parameters PostgreSQL lets everyone set is not read, so the answer about one is unknown."""
    pg = instance("pg", "postgresql")
    ada = account(pg, "ada")
    assert [*who_can("SET", "work_mem", kind="parameter").unknown] == [pg]
    grant(ada, "SET", "parameter", "log_statement")
    grant(ada, "ALTER SYSTEM", "parameter", "log_statement")
    answer = who_can("SET", "log_statement", kind="parameter")
    assert [row.account.name for row in answer.rows] == ["ada"]
    assert ["everyone may set" in reason for reason in answer.unknown.values()] == [True]
    assert who_can("ALTER SYSTEM", "log_statement", kind="parameter").unknown == {}
