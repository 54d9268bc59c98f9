"""F7.12: the rights matrix against what PostgreSQL itself answers, and on stored facts."""

from __future__ import annotations

import csv
import html
import io
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.compare import Part
from access.matrix import Object, Right, matrix
from access.questions import effective
from access.tests.reference_postgresql import CREATE, OBJECTS, ROLES, allowed
from access.tests.test_questions import grant, instance
from access.tests.test_truth_postgresql import run, statements
from accounts.freshness import last_read
from accounts.models import Account
from accounts.tests.stored import MAY_1, MAY_3, account, join
from instances.models import Instance
from instances.tests.api import client_with
from instances.tests.pages import staff
from sync import services
from sync.tests.targets import history_of
from taifish.tests.postgres import PostgresServer, identifier

SCHEMA = 'shop."s p"'
#: Object of the reference → kind and path in the matrix of its schema.
IN_SCHEMA = {kind: (kind, OBJECTS[kind][0]) for kind in ("table", "sequence", "routine")}


def cells(on: str = "", **options: object) -> dict[tuple[str, str], dict[str, Right]]:
    """(account, object) → privilege → right."""
    found = matrix(on, instances=Instance.objects.all(), **options)
    return {
        (str(cell.account), str(cell.object)): {right.privilege: right for right in cell.rights}
        for cell in found.cells()
    }


def compare(server: dict[tuple[str, str, str], tuple[bool, ...]], instance: Instance) -> int:
    """Hold each cell to the server, and return how many rights there were."""
    held, every = {}, {}
    for cell in matrix(SCHEMA, instances=Instance.objects.filter(pk=instance.pk)).cells():
        for right in cell.rights:
            if right.columns:
                continue
            into = every if cell.object.every else held
            into[cell.account.name, cell.object.kind, cell.object.path, right.privilege] = right.usable
    n = 0
    for (role, kind, privilege), may in server.items():
        if kind not in IN_SCHEMA:
            continue
        at_login, by_switch, can_use = may
        here = {
            table.get(key)
            for who in (role, "public")
            for table, key in (
                (held, (who, *IN_SCHEMA[kind], privilege)),
                (every, (who, kind, "", privilege)),
                (every, (who, "", "", "SUPERUSER")),
            )
        } - {None}
        assert bool(here) == by_switch, (role, kind, privilege, here, may)
        # What PUBLIC holds is said once, for PUBLIC: whether others can use it is not.
        if (("public", *IN_SCHEMA[kind], privilege)) not in held:
            assert bool(here & {"login", "switch"}) == can_use, (role, kind, privilege, here, may)
            if "login" in here:
                assert at_login, (role, kind, privilege)
        n += by_switch
    return n


def compare_effective(instance: Instance) -> None:
    """What comparisons stand on is what the tab Effective shows."""
    for one in Account.objects.filter(instance=instance, name__in=ROLES).select_related("instance"):
        side = Part({instance.pk: "it"}, [last_read(instance)], None, frozenset({one.pk}))
        mine = {
            (kind, path, privilege): right
            for (_name, _host, path, kind, every), _side, rights in side.entries()
            for privilege, right in rights.items()
            if kind and not every
        }
        rights = effective(one)
        shown: dict[tuple[str, str, str], bool] = {}
        for held in rights.grants.exclude(denied=True).exclude(kind="default"):
            of_column = held.kind == "column"
            path = held.scope.rpartition(".")[0] if of_column else held.scope
            key = ("table" if of_column else held.kind, path, held.privilege)
            shown[key] = shown.get(key, False) or rights.at_once(held)
        assert mine.keys() == shown.keys(), one
        assert [key for key, right in mine.items() if right.usable == "login" and not shown[key]] == []


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(statements(), min_size=10, max_size=40))
def test_the_matrix_is_what_the_server_allows(transactional_db, postgres: PostgresServer, script):
    """F7.12: each cell, and each empty one, after a random set-up."""
    one_setup(postgres, script)


def one_setup(postgres: PostgresServer, script: list[str]) -> None:
    postgres.reset()
    postgres.fresh_database("shop")
    postgres.execute("; ".join(f"CREATE ROLE {identifier(role)} LOGIN" for role in ROLES))
    postgres.execute(CREATE, None, "shop")
    target = postgres.collector(level="C")
    with history_of(target) as instance:
        run(postgres, script)
        postgres.execute(f"GRANT CONNECT ON DATABASE shop TO {target.username}")
        session = services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False)
        assert services.run_here(session).records.get().status == "completed"
        with postgres.superuser("shop") as cursor:
            compare(allowed(cursor), instance)
        compare_effective(instance)
    postgres.reset()


@pytest.fixture
def shop(db: None) -> dict[str, Account]:
    """ada is in writers, bob may switch to it; eve holds a column; root is a superuser, gus reads all data, out is
    locked out of the schema."""
    pg = instance("pg", "postgresql", beyond=[])
    made = {name: account(pg, name) for name in ("ada", "bob", "eve", "root", "gus", "out")}
    made |= {"writers": account(pg, "writers", kind="role", can_login=False)}
    made |= {"public": account(pg, "public", kind="public")}
    made |= {"reader": account(pg, "pg_read_all_data", kind="role", can_login=False, is_system=True)}
    join(made["ada"], made["writers"])
    join(made["bob"], made["writers"], inherit=False)
    join(made["gus"], made["reader"])
    grant(made["public"], "CONNECT", "database", "shop", database="shop")
    for name in ("writers", "eve"):
        grant(made[name], "USAGE", "schema", "shop.public", database="shop")
    grant(made["root"], "OWNER", "table", "shop.public.orders", database="shop")
    grant(made["root"], "SUPERUSER", "attribute")
    grant(made["writers"], "INSERT", "table", "shop.public.orders", database="shop", grantable=True)
    grant(made["writers"], "SELECT", "table", 'shop.public."odd.name"', database="shop", since=MAY_3)
    grant(made["out"], "SELECT", "table", "shop.public.orders", database="shop")
    grant(made["eve"], "SELECT", "column", "shop.public.orders.note", database="shop")
    return made


def test_cells_say_how_each_right_can_be_used(shop):
    """F7.12, F7.4, F7.5: at login, after SET ROLE, on columns only, blocked; rights on all objects are not repeated."""
    found = cells("shop.public")
    orders = "shop.public.orders"
    assert found["ada", orders] == {"INSERT": Right("INSERT", "login", True)}
    assert found["bob", orders] == {"INSERT": Right("INSERT", "switch", True)}
    assert found["writers", orders] == {"INSERT": Right("INSERT", "blocked", True)}
    assert found["eve", orders] == {"SELECT": Right("SELECT", "columns", columns=True)}
    assert found["out", orders] == {"SELECT": Right("SELECT", "blocked")}
    assert found["root", "all objects"] == {"SUPERUSER": Right("SUPERUSER", "login")}
    assert found["gus", "all objects of the kind table"] == {"SELECT": Right("SELECT", "login")}
    assert {account for account, object in found if object == 'shop.public."odd.name"'} == {"ada", "bob", "writers"}
    then = cells("shop.public", at=MAY_1 + timedelta(days=1))
    assert ("ada", 'shop.public."odd.name"') not in then
    assert then["ada", orders] == found["ada", orders]


def test_one_part_of_the_matrix(shop):
    """A page is the same cells, of its accounts and objects only."""
    whole = matrix("shop", instances=Instance.objects.all())
    axes = whole.axes((0, 0), (3, 2))
    assert [Account.objects.get(pk=pk).name for pk in axes.accounts] == ["ada", "bob", "eve"]
    assert (axes.n_accounts, axes.n_objects) == (8, 7)
    last = whole.axes((99, 99), (3, 4))
    assert [str(object) for object in last.objects] == ["shop.public", 'shop.public."odd.name"', "shop.public.orders"]
    part = whole.of(axes.accounts)
    mine = list(part.cells([Object(False, "table", "shop.public.orders")]))
    assert [cell.account.name for cell in mine] == ["ada", "bob", "eve"]
    assert whole.listed()[2:4] == list(whole.cells())[2:4]
    assert len(whole.listed()) == len(list(whole.cells()))
    assert mine == [
        cell for cell in whole.cells() if cell.account.pk in axes.accounts and cell.object.path == "shop.public.orders"
    ]


URL = reverse("rights-matrix")


def test_the_page_shows_letters_and_words(shop):
    """F7.12: letters for eyes, words for those who hear the page, and the instances that are not known."""
    client = staff("accounts.view_grant", "accounts.view_account")
    instance("old", "postgresql", read_at=MAY_3)
    page = client.get(URL, {"on": "shop.public", "instance": ["pg", "old"]}).content.decode()
    assert '<td title="INSERT: after SET ROLE, may pass it on">' in page
    assert '<span class="tf-mark tf-mark-columns">r</span>' in page
    assert "all objects of the kind table" in page
    assert "1 instance is unknown" in page
    for query, text in (
        ({"on": "shop"}, "Choose an instance or a tag."),
        ({"instance": "pgg"}, "Did you mean pg?"),
        ({"instance": "pg", "on": "shop.publik"}, "No visit has seen shop.publik."),
        ({"instance": "pg", "scope": "shop"}, "Unknown parameter: scope."),
        ({"instance": "pg", "account": "nemo"}, "No account on these instances has the name “nemo”."),
        ({"instance": "pg", "as_of": "soon"}, "neither a day"),
    ):
        assert text in html.unescape(client.get(URL, query).content.decode()), query
        assert client.get(URL, query | {"csv": "1"}).status_code == 400


def test_the_file_is_streamed_and_complete(shop):
    """F7.12: one row for each cell and privilege, and one for an instance without rows."""
    instance("empty", "postgresql")
    Account.objects.filter(pk=shop["out"].pk).update(name="=cmd|x")
    client = staff("accounts.view_grant", "accounts.view_account")
    answer = client.get(URL, {"instance": ["pg", "empty"], "csv": "1"})
    assert answer.streaming
    rows = list(csv.DictReader(io.StringIO(b"".join(answer).decode("utf-8-sig"))))
    found = cells()
    mine = [row for row in rows if row["account"]]
    assert len(mine) == sum(map(len, found.values()))
    assert {row["account"] for row in mine} == {"'=cmd|x"} | {name for name, _object in found} - {"=cmd|x"}
    assert [row["instance"] for row in rows if not row["account"]] == ["empty"]
    assert all(row["last read"] for row in rows)


def test_the_api_pages_the_cells(shop):
    """F7.12: the words of page and API are the same."""
    client = client_with("accounts.view_grant")
    asked = {"instance": "pg", "on": "shop.public", "page_size": "3"}
    first = client.get("/api/matrix/", asked).json()
    assert first["count"] == len(cells("shop.public"))
    assert len(first["results"]) == 3
    assert first["results"][0]["account_label"] == "ada"
    assert first["results"][0]["rights"] == [
        {"privilege": "SELECT", "usable": "login", "grantable": False, "columns": False}
    ]
    assert client.get("/api/matrix/", asked | {"account": "BO*"}).json()["count"] == 2
    pages = [client.get("/api/matrix/", asked | {"page": n}).json() for n in (1, "last", 99)]
    whole = [
        row for n in range(1, 9) for row in client.get("/api/matrix/", asked | {"page": n}).json().get("results", ())
    ]
    assert len(whole) == first["count"]
    assert pages[1]["results"] == whole[-len(pages[1]["results"]) :]
    assert (pages[0], pages[2]) == (first | {"as_of": pages[0]["as_of"]}, {"detail": "Invalid page."})
    for wrong in ({"on": "shop"}, {"instance": "nobody"}, {"instance": "pg", "scope": "shop"}, {"tag": "none"}):
        assert client.get("/api/matrix/", wrong).status_code == 400, wrong


def test_a_matrix_takes_a_fixed_number_of_queries(shop, django_assert_num_queries):
    """F7.12: for any number of accounts and objects."""
    for number in range(30):
        member = account(shop["ada"].instance, f"m{number}")
        join(member, shop["writers"])
        grant(member, "SELECT", "table", f"shop.public.t{number}", database="shop")
    # Reads, presence; two settings and the statement, accounts, changes.
    with django_assert_num_queries(7):
        assert len(cells("shop.public")) == 104


def test_the_api_computes_the_matrix_once(shop):
    """F7.12: the rows of a page come with the number of all."""
    client = client_with("accounts.view_grant")
    asked = {"instance": "pg", "on": "shop.public", "page_size": "3", "page": "2"}
    with CaptureQueriesContext(connection) as captured:
        assert client.get("/api/matrix/", asked).json()["previous"]
    assert len([one for one in captured if "string_agg" in one["sql"]]) == 1


def test_mysql_grants_on_databases_are_rights_on_all_objects(db):
    """F7.12: of patterns, those that the server uses; privileges that are not about objects do not count."""
    my = instance("my", "mysql")
    who = account(my, "app", host="%")
    grant(who, "SELECT", "system")
    grant(who, "PROCESS", "system")
    grant(who, "INSERT", "database", r"shop\_eu", database="shop_eu")
    grant(who, "DELETE", "database", "sh%", database="sh%")
    grant(who, "UPDATE", "table", "shop_eu.orders", database="shop_eu")
    found = cells("shop_eu")
    assert {object: list(rights) for (_account, object), rights in found.items()} == {
        "all objects": ["SELECT"],
        r"all objects shop\_eu": ["INSERT"],
        "shop_eu.orders": ["UPDATE"],
    }
    assert matrix("shop_eu", instances=Instance.objects.all()).axes((0, 0), (5, 5)).n_accounts == 1


def test_oracle_any_privileges_and_owners(db):
    """F7.12: ANY privileges are rights on all tables, the owner of a schema may do everything in it."""
    ora = instance("ora", "oracle")
    owner, reader = account(ora, "X", host="HRPDB"), account(ora, "R", host="HRPDB")
    for one in (owner, reader):
        grant(one, "CREATE SESSION", "system")
    grant(reader, "SELECT ANY TABLE", "system")
    grant(reader, "UPDATE", "table", "HRPDB.X.T", database="HRPDB")
    found = {key: {name: right.usable for name, right in rights.items()} for key, rights in cells("HRPDB.X").items()}
    assert found == {
        ("R@HRPDB", "all objects of the kind table"): {"READ": "login", "SELECT": "login"},
        ("R@HRPDB", "HRPDB.X.T"): {"UPDATE": "login"},
        ("X@HRPDB", "all objects HRPDB.X"): {"OWNER": "login"},
    }
