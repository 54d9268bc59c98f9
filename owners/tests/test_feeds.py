"""People and owners from files and through the API."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse

from accounts.tests.stored import MAY_3, account
from instances.tests.api import client_of, client_with, superclient
from instances.tests.pages import entered, staff, superstaff, told
from owners.models import Ownership, Person
from owners.tests.test_owners import limited_to

PERSON = ("owners.view_person", "owners.add_person", "owners.change_person")
OWNER = ("owners.view_ownership", "owners.add_ownership", "owners.change_ownership")


def run(tmp_path: Path, name: str, text: str, *options: str) -> tuple[int, str]:
    """The exit code of a command that reads this file, and what it prints."""
    file = tmp_path / "feed.csv"
    file.write_text(text)
    out = StringIO()
    try:
        call_command(name, str(file), *options, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


def test_people_are_added_and_changed_by_their_external_id(db, tmp_path):
    """F9.1"""
    Person.objects.create(name="Bob", mail="bob@example.com", external_id="E2")
    text = "external_id,name,mail,active\nE1,Alice,alice@example.com,yes\nE2,Bob,,no\n"
    assert run(tmp_path, "import_people", text, "--dry-run") == (0, "Would be: 1 new, 1 changed, 0 as they were\n")
    assert Person.objects.count() == 1
    assert run(tmp_path, "import_people", text)[1] == "1 new, 1 changed, 0 as they were\n"
    found = list(Person.objects.values_list("external_id", "name", "mail", "active"))
    assert found == [("E1", "Alice", "alice@example.com", True), ("E2", "Bob", "", False)]
    assert run(tmp_path, "import_people", text)[1] == "0 new, 0 changed, 2 as they were\n"
    # Columns that the file does not have stay.
    assert run(tmp_path, "import_people", "external_id,active\nE1,no\n")[1] == "0 new, 1 changed, 0 as they were\n"
    assert Person.objects.get(external_id="E1").name == "Alice"


def test_a_file_with_wrong_people_stores_nothing_and_names_every_error(db, tmp_path):
    text = "external_id,name,mail,active\nE1,Alice,alice,perhaps\n,Bob,,\nE3,,,\nE1,Al,,\nE5,Eve,,yes\n"
    code, out = run(tmp_path, "import_people", text)
    assert code == 1
    lines = out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["line 2", "active"],
        ["line 2", "mail"],
        ["line 3", "external_id"],
        ["line 4", "name"],
        ["line 5", "external_id"],
    ]
    assert "Valid are: yes, true, 1, no, false, 0." in lines[0]
    assert not Person.objects.exists()
    assert run(tmp_path, "import_people", "external_id,nam\nE1,x\n")[0] == 2


def test_owners_are_set_by_the_names_of_instance_and_account(instances, tmp_path, django_assert_num_queries):
    """F9.1"""
    pg, my = instances
    alice = Person.objects.create(name="Alice", mail="alice@example.com", external_id="E1")
    app, web = account(pg, "app"), account(my, "web", host="%")
    account(pg, "old", gone_at=MAY_3)
    Ownership.objects.create(account=app, note="kept")
    text = "instance,account,owner,kind,ticket\npg,app,E1,application,T-1\nmy,web@%,Alice@example.com,,\n"
    assert run(tmp_path, "import_owners", text, "--dry-run")[1] == "Would be: 1 new, 1 changed, 0 as they were\n"
    # Instances, accounts, people by id and by mail, owners; then the rows in a savepoint each way.
    with django_assert_num_queries(9):
        assert run(tmp_path, "import_owners", text) == (0, "1 new, 1 changed, 0 as they were\n")
    found = {row.account_id: (row.owner, row.kind, row.note, row.ticket) for row in Ownership.objects.all()}
    assert found == {app.pk: (alice, "application", "kept", "T-1"), web.pk: (alice, "", "", "")}
    wrong = (
        "instance,account,owner,kind\npq,app,,\npg,ap,,\npg,old,,\nmy,web@%,E9,robot\npg,app,,\npg,app,,\nmy,web@%,,\n"
    )
    code, out = run(tmp_path, "import_owners", wrong)
    assert code == 1
    for line in (
        "line 2: instance: There is no instance with the name “pq”. Did you mean pg?",
        "line 3: account: The instance has no account “ap” that a visit has seen. Did you mean app?",
        "line 4: account: The instance has no account “old” that a visit has seen.",
        "line 5: kind: “robot” is not valid. Valid are: person, application, shared, third_party, break_glass.",
        "line 5: owner: No person has the external id or mail “E9”. Did you mean E1?",
        "line 7: account: The same as in 6. Leave one of them out.",
    ):
        assert line in out
    assert Ownership.objects.get(account=app).owner == alice


def test_a_mail_of_several_people_is_refused(instances, tmp_path):
    account(instances[0], "app")
    for name in ("a", "b"):
        Person.objects.create(name=name, mail="team@example.com")
    code, out = run(tmp_path, "import_owners", "instance,account,owner\npg,app,team@example.com\n")
    assert (code, "Several people have the mail “team@example.com”." in out) == (1, True)


def test_the_api_takes_the_same_feeds(instances):
    """F9.1"""
    pg, my = instances
    app = account(pg, "app")
    account(my, "zebra")
    client = client_with(*PERSON, *OWNER)
    people = {"people": [{"external_id": "E1", "name": "Alice"}], "dry_run": True}
    assert client.post("/api/people/bulk/", people, format="json").data == {
        "dry_run": True,
        "new": 1,
        "changed": 0,
        "unchanged": 0,
    }
    assert not Person.objects.exists()
    assert client.post("/api/people/bulk/", people | {"dry_run": False}, format="json").data["new"] == 1
    rows = [{"instance": "pg", "account": "app", "owner": "E1"}, {"instance": "pg", "account": "ap", "kind": "x"}]
    answer = client.post("/api/account-owners/bulk/", {"owners": rows}, format="json")
    assert answer.status_code == 400
    assert [sorted(row) for row in answer.data["owners"]] == [[], ["account", "kind"]]
    assert client.post("/api/account-owners/bulk/", {"owners": rows[:1]}, format="json").data["new"] == 1
    assert Ownership.objects.get(account=app).owner.external_id == "E1"
    # Of an instance that the user does not see nothing is said.
    limited = client_of(limited_to(pg, permissions=OWNER))
    rows = [{"instance": "my", "account": "zebr", "owner": "E1"}]
    answer = limited.post("/api/account-owners/bulk/", {"owners": rows}, format="json")
    assert answer.data["owners"][0] == {"instance": ["There is no instance with the name “my”."]}
    # To add needs the permission to add.
    only_change = client_with("owners.view_ownership", "owners.change_ownership")
    rows = [{"instance": "my", "account": "zebra", "owner": "E1"}]
    assert only_change.post("/api/account-owners/bulk/", {"owners": rows}, format="json").status_code == 403


def test_the_api_lists_people_and_owners(instances, django_assert_num_queries):
    pg, my = instances
    alice = Person.objects.create(name="Alice", external_id="E1")
    Person.objects.create(name="Bob", active=False)
    for row in (account(pg, "app"), account(my, "web")):
        Ownership.objects.create(account=row, owner=alice, kind="application")
    Ownership.objects.create(account=account(my, "kiosk"), kind="shared")
    client = superclient()
    with django_assert_num_queries(2):
        people = client.get("/api/people/").data["results"]
    assert [(row["name"], row["active"], row["n_accounts"]) for row in people] == [
        ("Alice", True, 2),
        ("Bob", False, 0),
    ]
    with django_assert_num_queries(2):
        owners = client.get("/api/account-owners/").data["results"]
    assert len(owners) == 3
    for query, count in (
        ("owned=false", 1),
        ("kind=application", 2),
        (f"owner={alice.pk}&instance_name=pg", 1),
        ("owner_left=true", 0),
    ):
        assert client.get(f"/api/account-owners/?{query}").data["count"] == count
    made = client.post("/api/people/", {"name": "Eve", "external_id": "E1"}, format="json")
    assert made.status_code == 400
    assert client.delete(f"/api/people/{alice.pk}/").status_code == 405


@pytest.mark.parametrize("permissions", [PERSON[:1], OWNER[:1]])
def test_a_feed_needs_permission(db, permissions):
    client = client_with(*permissions)
    assert client.post("/api/people/bulk/", {"people": []}, format="json").status_code == 403
    assert client.post("/api/account-owners/bulk/", {"owners": []}, format="json").status_code == 403


def send(client, model: str, text: str | bytes, **more: str):
    """The page after a file was sent to it."""
    url = reverse(f"admin:owners_{model}_do_on_list", args=["import"])
    data = text.encode() if isinstance(text, str) else text
    return client.post(url, {"file": SimpleUploadedFile("f.csv", data), "chosen": "1", **more}, follow=True)


def test_files_are_imported_on_the_page(instances):
    """F9.1: previewed first; all wrong rows at once with their lines, and nothing is stored of a file that has one."""
    pg, _my = instances
    account(pg, "app")
    client = superstaff()
    text = "external_id,name,active\nE1,Alice<b>,yes\nE2,Bob,yes\n"
    preview = send(client, "person", text).content.decode()
    for words in ("2 new, 0 changed, 0 as they are", "Nothing is stored yet.", "Alice&lt;b&gt;"):
        assert words in preview
    assert not Person.objects.exists()
    wrong = send(client, "person", text + ",Eve,yes\nE4,,perhaps\n", confirmed="1").content.decode()
    for words in ("Nothing is imported.", ">4</td><td>external_id", ">5</td><td>name", ">5</td><td>active"):
        assert words in wrong
    assert not Person.objects.exists()
    assert told(send(client, "person", text, confirmed="1")) == "Imported: 2 new, 0 changed, 0 as they were."
    assert "The file changes nothing." in send(client, "person", text).content.decode()
    owners = "instance,account,owner\npg,app,E1\n"
    assert "pg: app: Alice" in send(client, "ownership", owners).content.decode()
    assert told(send(client, "ownership", owners, confirmed="1")) == "Imported: 1 new, 0 changed, 0 as they were."
    assert Ownership.objects.get().owner.external_id == "E1"
    for bad, why in (
        (b"\xff", "The file is not UTF-8"),
        ("a,b\n1,2\n", "column"),
        (b"x" * (16 * 1024**2 + 1), "at most 16.0 MiB"),
    ):
        assert why in send(client, "person", bad).content.decode()
    page = client.post(reverse("admin:owners_person_do_on_list", args=["import"]), {"chosen": "1"})
    assert "Choose a file." in page.content.decode()


def test_the_page_keeps_permissions_and_limits(instances):
    """To add needs the permission to add; of an instance that the user does not see nothing is said."""
    pg, my = instances
    account(my, "zebra")
    assert send(staff(*PERSON[:1]), "person", "external_id,name\nE1,x\n").status_code == 403
    only_change = staff("owners.view_person", "owners.change_person")
    answer = send(only_change, "person", "external_id,name\nE1,x\n", confirmed="1").content.decode()
    assert "The file has rows that are new, and you may not add any." in answer
    assert not Person.objects.exists()
    limited = entered(limited_to(pg, permissions=OWNER))
    answer = send(limited, "ownership", "instance,account,owner\nmy,zebr,\n").content.decode()
    assert "There is no instance with the name “my”." in answer
    assert "zebra" not in answer
