"""The doors of "who can": one vocabulary, the page, its files. F7.2, F7.4, F7.6, F7.8."""

from __future__ import annotations

import csv
import re
from datetime import timedelta
from io import BytesIO, StringIO
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from access import pages
from access.tests.test_questions import grant, instance
from accounts.models import Account
from accounts.tests.stored import account, join
from engines.paths import dotted
from instances.models import Credential, Instance
from instances.tests.api import client_with
from instances.tests.pages import staff
from sync.models import VisitHealth
from tagging.models import InstanceTag, Tag

ORDERS = "shop.public.orders"


@pytest.fixture
def shop(db: None) -> dict[str, Account]:
    """ada may insert by her own grant, and through writers; bob after SET ROLE to writers; root is a superuser."""
    pg = instance("pg", "postgresql")
    made = {name: account(pg, name) for name in ("ada", "bob", "root")}
    made |= {name: account(pg, name, kind="role", can_login=False) for name in ("all_writers", "writers")}
    join(made["writers"], made["all_writers"])
    join(made["ada"], made["writers"])
    join(made["bob"], made["writers"], inherit=False)
    for name in ("all_writers", "ada"):
        grant(made[name], "INSERT", "table", ORDERS, database="shop")
    grant(made["root"], "SUPERUSER", "attribute")
    everyone = account(pg, "public", kind="public")
    grant(everyone, "CONNECT", "database", "shop", database="shop")
    grant(everyone, "USAGE", "schema", "shop.public", database="shop")
    return made


@pytest.fixture
def client() -> Client:
    return staff("accounts.view_grant", "accounts.view_account")


def asked(client: Client, **query: object) -> str:
    return client.get(reverse("who-can"), query).content.decode()


def command(*arguments: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    try:
        call_command("who_can", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        return error.returncode, "", str(error)
    except SystemExit as stop:
        return stop.code, out.getvalue(), err.getvalue()
    raise AssertionError("who_can did not set its exit code")


def names_in(out: str) -> set[str]:
    """The accounts in the columns that the command printed."""
    _header, *lines = [line for line in out.splitlines() if "not known" not in line]
    return {re.split(r" {2,}", line)[1] for line in lines}


def sheets(answer: bytes) -> dict[str, list[list[str]]]:
    """The texts of a workbook, by sheet, and that no cell has a formula or a link."""
    name = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    found = {}
    with ZipFile(BytesIO(answer)) as book:
        titles = [one.get("name") for one in ElementTree.fromstring(book.read("xl/workbook.xml")).iter(f"{name}sheet")]
        for number, title in enumerate(titles, 1):
            sheet = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{number}.xml"))
            assert not [*sheet.iter(f"{name}f"), *sheet.iter(f"{name}hyperlink")]
            found[title] = [
                ["".join(cell.itertext()) for cell in row.iter(f"{name}c")] for row in sheet.iter(f"{name}row")
            ]
    return found


def test_the_words_are_the_same_at_every_door(shop, client):
    """F7.6: a misspelled parameter never leads to the answer to another question."""
    tag = Tag.objects.create(slug="mine", label="Mine")
    InstanceTag.objects.create(instance=shop["ada"].instance, tag=tag)
    grant(account(instance("other", "postgresql"), "eve"), "INSERT", "table", ORDERS, database="shop")
    api = client_with("accounts.view_grant")
    for words in ({"instance": "pg"}, {"tag": "mine"}, {"engine": "postgresql", "instance": "pg"}):
        query = {"privilege": "INSERT", "on": ORDERS, "kind": "table", "as_of": "2026-05-02T00:00:00+00:00", **words}
        names = {row["account_label"] for row in api.get("/api/access/", query).json()["results"]}
        assert names == {"ada", "all_writers", "bob", "root", "writers"}
        assert {holder.account.name for holder in client.get(reverse("who-can"), query).context["page"]} == names
        options = [f"--{name.replace('_', '-')}={text}" for name, text in query.items() if name != "privilege"]
        code, out, _err = command("INSERT", *options)
        assert (code, names_in(out)) == (0, names)


def test_an_unknown_parameter_is_refused(shop, client):
    """The page said nothing and answered who may insert anywhere."""
    page = asked(client, privilege="INSERT", object=ORDERS)
    assert "Unknown parameter: object. Valid are: as_of, csv, engine, instance, kind, on, page, privilege" in page
    assert "tf-table" not in page
    for lacking in ({"on": ORDERS}, {"scope": ORDERS}, {"privilege": "", "on": ORDERS}):
        assert 'role="alert"' in asked(client, **lacking)
    # A program does not take the page for the file.
    for file in ("csv", "xlsx"):
        answer = client.get(reverse("who-can"), {"privilege": "INSERT", "object": ORDERS, file: "1"})
        assert answer.status_code == 400


def test_the_earlier_name_is_accepted_with_a_warning(shop, client):
    warning = "“scope” is now called “on”. The next release refuses “scope”."
    page = asked(client, privilege="INSERT", scope=ORDERS)
    assert warning in page
    assert "5 accounts on 1 instance" in page
    assert warning not in asked(client, privilege="INSERT", on=ORDERS)
    api = client_with("accounts.view_grant")
    answer = api.get("/api/access/", {"privilege": "INSERT", "scope": ORDERS}).json()
    assert (answer["warnings"], answer["on"], answer["count"]) == ([warning], ORDERS, 6)
    assert api.get("/api/access/", {"privilege": "INSERT", "on": ORDERS}).json()["warnings"] == []
    code, _out, err = command("INSERT", "--scope", ORDERS)
    assert (code, warning in err) == (0, True)
    assert command("INSERT", "--on", ORDERS, "--scope", ORDERS)[0] == 2
    assert "Give “on” only" in asked(client, privilege="INSERT", on=ORDERS, scope=ORDERS)


def test_a_wrong_question_says_what_to_do(shop, client):
    for query, told in (
        ({"privilege": "INSRT"}, "Did you mean INSERT?"),
        ({"privilege": "INSERT", "as_of": "soon"}, "neither a day"),
        ({"privilege": "INSERT", "on": "shop..orders"}, "is invalid at character 6"),
        ({"privilege": "INSERT", "on": "shop.public.ordres"}, f"Did you mean {ORDERS}?"),
        ({"privilege": "INSERT", "instance": "pgg"}, "Did you mean pg?"),
        ({"privilege": "INSERT", "kind": "tabel"}, "tabel"),
    ):
        page = asked(client, **query)
        assert 'role="alert"' in page, query
        assert told in page, query
        assert "tf-table" not in page, query


def test_rows_are_grouped_by_account(shop, client):
    """The chain that can be used soonest first, then the shortest; the others are folded below it."""
    answer = client.get(reverse("who-can"), {"privilege": "INSERT", "on": ORDERS})
    found = {holder.account.name: holder for holder in answer.context["page"]}
    assert [*found] == ["ada", "all_writers", "bob", "root", "writers"]
    assert [len(chain.row.path) for chain in found["ada"].chains] == [0, 2]
    assert (found["ada"].first.usable, found["bob"].first.usable) == ("at login", "after SET ROLE")
    page = answer.content.decode()
    assert page.count("1 more chain<") == 1
    assert re.search(r"As of \S+ \S+ UTC: 5 accounts on 1 instance\.", page)


def test_how_a_right_can_be_used(shop, client):
    """F7.5: after SET ROLE, or not at all and why. F7.4: only on some columns."""
    pg = shop["ada"].instance
    locked = account(pg, "locked", is_locked=True)
    clerk = account(pg, "clerk")
    grant(locked, "UPDATE", "table", ORDERS, database="shop")
    for column in ("total", "odd name"):
        grant(clerk, "UPDATE", "column", dotted("shop", "public", "orders", column), database="shop")
    grant(account(pg, "boss"), "OWNER", "table", ORDERS, database="shop")
    words = {
        "locked": ("blocked", ["locked"], [], "blocked: locked"),
        "clerk": ("login", [], ["odd name", "total"], "at login"),
        "boss": ("grant", [], [], "after a GRANT to itself"),
        "root": ("login", [], [], "at login"),
    }
    rows = (
        client_with("accounts.view_grant").get("/api/access/", {"privilege": "UPDATE", "on": ORDERS}).json()["results"]
    )
    assert {row["account_label"]: (row["usable"], row["blocked"], sorted(row["columns"])) for row in rows} == {
        name: told[:3] for name, told in words.items()
    }
    page = asked(client, privilege="UPDATE", on=ORDERS)
    assert "blocked: locked" in page
    assert re.search(r"only columns <span class=\"tf-name\">odd name</span>,\s+<span class=\"tf-name\">total", page)
    lines = command("UPDATE", "--on", ORDERS)[1]
    for told in ("ONLY COLUMNS", "  odd name, total  ", "  blocked: locked", "  after a GRANT to itself"):
        assert told in lines
    text = (
        client.get(reverse("who-can"), {"privilege": "UPDATE", "on": ORDERS, "csv": "1"}).getvalue().decode("utf-8-sig")
    )
    told = {row["account"]: (row["usable"], row["only columns"]) for row in csv.DictReader(StringIO(text))}
    assert told["clerk"] == ("at login", "odd name, total")
    assert {name: usable for name, (usable, _columns) in told.items()} == {name: of[3] for name, of in words.items()}


def test_two_questions_work_on_every_engine(shop, client):
    """F7.8: any writing, and everything, at every door."""
    my = instance("my", "mysql")
    grant(account(my, "dba", host="%"), "SUPER", "system")
    grant(account(my, "app", host="%"), "DELETE", "database", "shop", database="shop")
    api = client_with("accounts.view_grant")
    for query, names in (
        ({"privilege": "all-powerful"}, {"root", "dba@%"}),
        ({"privilege": "any-write", "on": ORDERS, "kind": "table"}, {"ada", "all_writers", "bob", "root", "writers"}),
        ({"privilege": "any-write", "on": "shop", "kind": "database", "engine": "mysql"}, {"app@%"}),
    ):
        assert {row["account_label"] for row in api.get("/api/access/", query).json()["results"]} == names, query
        page = client.get(reverse("who-can"), query)
        assert {str(holder.account) for holder in page.context["page"]} == names
        options = [f"--{name}={text}" for name, text in query.items() if name != "privilege"]
        out = command(query["privilege"], *options)[1]
        assert names_in(out) == names
    text = client.get(reverse("who-can"), {"privilege": "all-powerful", "csv": "1"}).getvalue().decode("utf-8-sig")
    assert "Who may: everything: superuser" in text


def test_an_answer_without_rows_is_one(shop, client):
    """Its page of rows was an internal error."""
    instance("bare", "postgresql")
    query = {"privilege": "SUPERUSER", "instance": "bare"}
    answer = client_with("accounts.view_grant").get("/api/access/", query)
    assert (answer.status_code, answer.json()["results"], answer.json()["count"]) == (200, [], 0)
    assert "No known account." in asked(client, **query)
    assert command("SUPERUSER", "--instance", "bare")[:2] == (0, "No known account.\n")


def test_pages_are_of_accounts(shop, client, monkeypatch):
    monkeypatch.setattr(pages, "ACCOUNTS_PER_PAGE", 2)
    first, last = (
        client.get(reverse("who-can"), {"privilege": "INSERT", "on": ORDERS, "page": page}).context["page"]
        for page in (1, 3)
    )
    assert [holder.account.name for holder in first] == ["ada", "all_writers"]
    assert [holder.account.name for holder in last] == ["writers"]


def test_the_form_suggests_and_works_without_scripts(shop, client):
    Tag.objects.create(slug="mine", label="Mine <b>")
    page = asked(client)
    for told in (
        '<option value="INSERT">',
        '<option value="any-write">any writing',
        '<option value="all-powerful">everything',
        '<option value="pg">',
        '<option value="mine">Mine &lt;b&gt;</option>',
        '<option value="mysql">MySQL / MariaDB</option>',
        f'data-complete="{reverse("who-can-paths")}"',
        "shows the path",
    ):
        assert told in page
    assert f'value="{ORDERS}"' in asked(client, privilege="INSERT", scope=ORDERS)


def test_what_is_unknown_stands_above_the_rows(shop, client):
    """F7.2: stale, paused and retired instances are named, with the reason."""
    credential = Credential.objects.get()
    paused = instance("quiet", "postgresql")
    VisitHealth.objects.create(instance=paused, kind="accounts", paused_at=timezone.now() - timedelta(hours=1))
    Instance.objects.create(
        name="gone", engine="postgresql", host="gone", credential=credential, retired_at=timezone.now()
    )
    page = asked(client, privilege="INSERT", on=ORDERS)
    for told in ("visits are paused since", "retired ", "2 instances are not known"):
        assert told in page
    assert page.index("visits are paused since") < page.index("<table")


def test_the_files_say_what_was_asked_and_what_the_answer_stands_on(shop, client):
    """F7.2: question, moment, time zone, who asked, and the coverage of every instance, with rows or without."""
    instance("bare", "postgresql", level="A", beyond=["table"])
    gap = {"scope": "table", "database": "shop", "code": "denied", "message": "=no CONNECT on shop", "hint": ""}
    gappy = instance("gappy", "postgresql", gaps=[gap])
    VisitHealth.objects.create(
        instance=gappy, kind="accounts", failures=3, failed_at=timezone.now(), error_code="unreachable"
    )
    instance("empty", "postgresql")
    hostile = account(shop["ada"].instance, "=cmd|x")
    grant(hostile, "INSERT", "table", ORDERS, database="shop")
    grant(account(shop["ada"].instance, "\x01_x0041_\n'"), "INSERT", "table", ORDERS, database="shop")
    query = {"privilege": "insert", "on": ORDERS, "kind": "table", "as_of": "2026-05-02"}
    url = f"{reverse('who-can')}?{urlencode(query)}"
    text = client.get(f"{url}&csv=1").getvalue().decode("utf-8-sig")
    rows = list(csv.DictReader(StringIO(text)))
    accounts = [row["account"] for row in rows if row["instance"] == "pg"]
    assert accounts == ["\\x01_x0041_\\n'", "'=cmd|x", "ada", "ada", "all_writers", "bob", "root", "writers"]
    user = client.get(url).wsgi_request.user.get_username()
    for row in rows:
        assert row["question"] == f"Who may: INSERT, on table {ORDERS}?"
        assert (row["as of"], row["time zone"], row["asked by"]) == ("2026-05-02T23:59:59+00:00", "UTC", user)
        assert row["asked at"]
        assert row["read depth"] in ("A", "B")
    by_instance = {row["instance"]: row for row in rows}
    assert by_instance["bare"]["left out by the depth"] == "table"
    assert by_instance["bare"]["not known"] == "read depth A leaves out: table"
    assert by_instance["gappy"]["could not be read"] == "'=no CONNECT on shop"
    assert {name: row["object is absent"] for name, row in by_instance.items()} == {
        "bare": "",
        "empty": "yes",
        "gappy": "",
        "pg": "",
    }
    answer = client.get(f"{url}&xlsx=1")
    assert answer.headers["Content-Disposition"].endswith('.xlsx"')
    book = sheets(answer.content)
    assert [*book] == ["Question", "Accounts", "Coverage"]
    facts = dict(row for row in book["Question"] if len(row) == 2)
    assert facts["question"] == f"Who may: INSERT, on table {ORDERS}?"
    assert (facts["time zone"], facts["asked by"], facts["on"]) == ("UTC", user, ORDERS)
    assert [row[1] for row in book["Accounts"]] == ["account", "\\x01_x005F_x0041_\\n'", "=cmd|x", *accounts[2:]]
    assert [row[0] for row in book["Coverage"]] == ["instance", "bare", "empty", "gappy", "pg"]
    assert "=no CONNECT on shop" in book["Coverage"][3]


def test_a_long_text_and_many_rows_fit_into_a_workbook(monkeypatch):
    from console import xlsx

    monkeypatch.setattr(xlsx, "ROWS", 3)
    rows = [["a" * 40_000, 1], ["=1+1", None], ["http://example.org", True]]
    book = sheets(xlsx.xlsx_file("x", {"Rows": (["text", "number"], iter(rows)), "None": (["empty"], [])}).content)
    assert [len(of) for of in book.values()] == [3, 2, 1]
    assert [*book] == ["Rows", "Rows 1", "None"]
    assert len(book["Rows"][1][0]) == xlsx.CHARACTERS
    assert book["Rows"][1][0].endswith("…")
    assert book["Rows"][2] == ["=1+1"]
    assert book["Rows 1"] == [["text", "number"], ["http://example.org", "True"]]


def test_the_page_takes_a_fixed_number_of_queries(shop, client, django_assert_max_num_queries):
    for number in range(30):
        other = instance(f"pg{number}", "postgresql")
        grant(account(other, "app"), "INSERT", "table", ORDERS, database="shop")
    with django_assert_max_num_queries(25):
        client.get(reverse("who-can"), {"privilege": "INSERT", "on": ORDERS})
