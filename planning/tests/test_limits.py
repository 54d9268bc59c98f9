"""Limits of everything that fills, one by one and in bulk: the same rules on pages, in the API, in files and commands."""

from __future__ import annotations

import csv
import json
import sys
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from capacity.models import Database, Tablespace
from instances.models import Credential, Instance
from instances.tests.api import client_of, client_with, superclient
from instances.tests.pages import entered, staff, superstaff, told
from planning import bulk
from planning.models import SizeLimit, Volume
from tagging.models import InstanceTag, Tag, TagLimit

GIB = 1024**3
HEADER = "kind,instance,database,tablespace,tag,limit,note\n"
LIST, ADD = reverse("admin:planning_sizelimit_changelist"), reverse("admin:planning_sizelimit_add")
IMPORT = reverse("admin:planning_sizelimit_do_on_list", args=["import"])
BULK = reverse("sizelimit-bulk")


@pytest.fixture
def fleet(db: None) -> dict[str, Any]:
    """Two instances: the first with a database, two tablespaces and a tag."""
    credential, now = Credential.objects.create(name="c", username="u"), timezone.now()
    orders, crm = (
        Instance.objects.create(name=name, engine=engine, host=name, credential=credential)
        for name, engine in (("orders", "oracle"), ("crm", "mysql"))
    )
    seen = {"instance": orders, "first_seen_at": now, "last_seen_at": now}
    shop = Database.objects.create(name="shop", **seen)
    users = Tablespace.objects.create(name="USERS", database=shop, **seen)
    data = Tablespace.objects.create(name="DATA", **seen)
    prod = Tag.objects.create(slug="prod", label="Production")
    InstanceTag.objects.create(instance=orders, tag=prod)
    return {"orders": orders, "crm": crm, "shop": shop, "users": users, "data": data, "prod": prod}


def stored() -> dict[str, int]:
    return {limit.name: limit.size for limit in SizeLimit.objects.with_targets()}


EVERYTHING = HEADER + (
    "instance,orders,,,,500 GiB,contract\n"
    "database,orders,shop,,,1048576,\n"
    "tablespace,orders,shop,USERS,,2T,\n"
    "tablespace,orders,,DATA,,1.5 GiB,\n"
    "tag,,,,prod,9 TiB,\n"
    "fleet,,,,,1 PiB,\n"
)
STORED = {
    "orders": 500 * GIB,
    "orders / shop": 1 << 20,
    "orders / shop / USERS": 2 << 40,
    "orders / DATA": 3 * GIB // 2,
    "Production": 9 << 40,
    "whole fleet": 1 << 50,
}


# One by one


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("instance", "orders"),
        ("database", "orders / shop"),
        ("tablespace", "orders / shop / USERS"),
        ("tag", "Production"),
        (None, "whole fleet"),
    ],
)
def test_a_limit_of_anything_on_the_page_and_over_the_api(fleet, field, name):
    """F10.1"""
    targets = {"instance": fleet["orders"], "database": fleet["shop"], "tablespace": fleet["users"]}
    chosen = {field: (targets | {"tag": fleet["prod"]})[field].pk} if field else {}
    assert superstaff().post(ADD, {**chosen, "size": "5 GiB"}).status_code == 302
    assert stored() == {name: 5 * GIB}
    SizeLimit.objects.all().delete()
    made = superclient().post(reverse("sizelimit-list"), {**chosen, "size": 7}, format="json")
    assert (made.status_code, made.json()["kind"], made.json()["name"]) == (201, field or "fleet", name)
    assert stored() == {name: 7}
    page = superstaff("other").get(LIST)
    assert name in page.content.decode()


def test_a_limit_is_of_one_thing_and_the_fleet_has_one(fleet):
    both = {"instance": fleet["orders"].pk, "tag": fleet["prod"].pk, "size": "5"}
    page = superstaff().post(ADD, both)
    text = "Choose one instance, one database, one tablespace or one tag, or none for the whole fleet."
    assert page.context["adminform"].form.errors == {"tag": [text]}
    client, url = superclient(), reverse("sizelimit-list")
    refused = client.post(url, both, format="json")
    assert (refused.status_code, refused.json()) == (400, {"tag": [text]})
    with pytest.raises(IntegrityError), transaction.atomic():
        SizeLimit.objects.create(instance=fleet["orders"], tablespace=fleet["users"], size=5)
    assert client.post(url, {"size": 5}, format="json").status_code == 201
    twice = client.post(url, {"size": 6}, format="json")
    assert (twice.status_code, "already a limit of the whole fleet" in twice.text) == (400, True)
    assert (
        "already a limit of the whole fleet" in entered(User.objects.get(username="root")).post(ADD, {"size": "6"}).text
    )
    assert client.patch(f"{url}{SizeLimit.objects.get().pk}/", {"size": 7}, format="json").status_code == 200
    old = client.post(reverse("instance-limits-list"), {"size": 8}, format="json")
    assert (old.status_code, old.json()) == (400, {"instance": ["This field is required."]})


def test_limits_are_filtered_by_kind_and_by_the_instance_that_they_lie_in(fleet, django_assert_num_queries):
    bulk.read_csv(EVERYTHING, None).save(None)
    client, url = superclient(), reverse("sizelimit-list")

    def names(**query: object) -> set[str]:
        return {row["name"] for row in client.get(url, query).json()["results"]}

    assert names(kind="fleet") == {"whole fleet"}
    assert names(kind="tablespace") == {"orders / shop / USERS", "orders / DATA"}
    of_orders = STORED.keys() - {"Production", "whole fleet"}
    for query in ({"instance": fleet["orders"].pk}, {"instance_name": "orders"}, {"tag": "prod"}, {"engine": "oracle"}):
        assert names(**query) == of_orders
    assert names(instance_name="crm") == set()
    assert client.get(url, {"kind": "disk"}).status_code == 400
    with django_assert_num_queries(2):
        client.get(url)
    browser = superstaff()
    with django_assert_num_queries(7):
        assert browser.get(LIST).context["cl"].result_count == 6
    assert browser.get(LIST, {"kind": "tag"}).context["cl"].result_count == 1
    assert browser.get(LIST, {"q": "USERS"}).context["cl"].result_count == 1


# Files


def test_a_file_sets_limits_of_everything_and_is_read_back(fleet, django_assert_num_queries):
    """F10.1: an import takes a fixed number of queries, and an export changes nothing when it is imported."""
    with django_assert_num_queries(5):
        plan = bulk.read_csv(EVERYTHING, None)
    assert plan.counts == {"new": 6, "changed": 0, "unchanged": 0}
    plan.save(None)
    assert stored() == STORED
    exported = superstaff().post(reverse("admin:planning_sizelimit_do_on_list", args=["export"])).getvalue().decode()
    assert len(list(csv.reader(StringIO(exported)))) == 7
    assert bulk.read_csv(exported, None).counts == {"new": 0, "changed": 0, "unchanged": 6}
    # Of rows without a note, the stored one stays.
    bulk.read_csv("kind,instance,limit\ninstance,orders,501 GiB\n", None).save(None)
    limit = SizeLimit.objects.get(instance=fleet["orders"])
    assert (limit.size, limit.note) == (501 * GIB, "contract")


def test_a_name_like_a_formula_comes_back_as_it_was(fleet):
    for name in ("=shop", "'=shop", "@x"):
        now = timezone.now()
        row = Database.objects.create(name=name, instance=fleet["crm"], first_seen_at=now, last_seen_at=now)
        SizeLimit.objects.create(database=row, size=len(name))
    exported = superstaff().post(reverse("admin:planning_sizelimit_do_on_list", args=["export"])).getvalue().decode()
    assert bulk.read_csv(exported, None).counts == {"new": 0, "changed": 0, "unchanged": 3}
    assert "\n=" not in exported.replace(",", "\n")


WRONG = HEADER + (
    "disk,orders,,,,5,\n"
    "instance,order,,,,5,\n"
    "instance,orders,shop,,,5,\n"
    "database,orders,,,,5,\n"
    "tag,,,,prod,much,\n"
    "fleet,,,,,0,\n"
    f"instance,crm,,,,5,{'x' * 201}\n"
    "tablespace,orders,,USERS,,5,\n"
    "instance,crm,,,,5,\n"
    "instance,crm,,,,6,\n"
)
PROBLEMS = {
    2: ("kind", "“disk” is not a kind. Valid are: instance, database, tablespace, tag, fleet."),
    3: ("instance", "There is none with the name “order”. Check the spelling."),
    4: ("database", "Leave it empty in a limit of the kind “instance”."),
    5: ("database", "Empty. A limit of the kind “database” needs it."),
    6: ("limit", "“much” is not a size. Enter a size such as 500 GiB, or a number of bytes."),
    7: ("limit", "“0” is not a size. Enter a size such as 500 GiB, or a number of bytes."),
    8: ("note", "Longer than 200 characters."),
    9: ("tablespace", "There is none with the name “orders / USERS”. Check the spelling."),
    11: ("instance", "The same target as in 10. Leave one of them out."),
}


def test_every_wrong_row_of_a_file_is_named_and_nothing_is_set(fleet, tmp_path):
    file = tmp_path / "limits.csv"
    file.write_text(WRONG, "utf-8")
    out = StringIO()
    with pytest.raises(CommandError, match="No limit was set") as failed:
        call_command("size_limits", "set", str(file), json=True, stdout=out)
    assert failed.value.returncode == 1
    document = json.loads(out.getvalue())
    assert {p["number"]: (p["field"], p["message"]) for p in document["problems"]} == PROBLEMS
    assert document["counts"] == {"new": 0, "changed": 0, "unchanged": 0}
    page = superstaff().post(IMPORT, {"csv": WRONG, "confirmed": "1"})
    assert all(message in page.text for _field, message in PROBLEMS.values())
    assert "Nothing is imported" in page.text
    assert not SizeLimit.objects.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The file is empty."),
        (b"kind,limit\n", "a header and no rows"),
        (b"kind,size\nfleet,5\n", "Unknown columns: size. Valid are: kind, instance, database, tablespace, tag, limit, note."),
        (b"kind,instance\nfleet,\n", "Missing columns: limit."),
        (b"kind,limit\nfleet\n", "Line 2 has 1 cells, and the header 2."),
        (b"kind,limit\nfl\0eet,5\n", "The file is not CSV"),
        (b'kind,limit\n"fleet,5\n', "The file is not CSV"),
        (b"kind,limit\nfl\xffeet,5\n", "not UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(fleet, tmp_path, content, message):
    file = tmp_path / "limits.csv"
    file.write_bytes(content)
    with pytest.raises(CommandError) as failed:
        call_command("size_limits", "set", str(file))
    assert (failed.value.returncode, message in str(failed.value)) == (2, True), failed.value
    if content:
        page = superstaff().post(IMPORT, {"file": SimpleUploadedFile("limits.csv", content)})
        assert message in page.text
    with pytest.raises(CommandError, match="No such file"):
        call_command("size_limits", "set", str(tmp_path / "none.csv"))


def test_the_page_shows_what_a_file_would_change_and_then_imports_it(fleet):
    SizeLimit.objects.create(instance=fleet["orders"], size=GIB, note="contract")
    browser = superstaff()
    assert "Import size limits" in browser.post(IMPORT).text
    page = browser.post(IMPORT, {"file": SimpleUploadedFile("limits.csv", EVERYTHING.encode())})
    assert "5 new, 1 changed, 0 as they are" in page.text
    assert "1.00 GiB" in page.text
    assert "500 GiB" in page.text
    assert SizeLimit.objects.count() == 1
    # The preview posts the file back.
    answer = browser.post(IMPORT, {"csv": page.context["csv"], "confirmed": "1"}, follow=True)
    assert "Limits: 5 new, 1 changed, 0 as they were." in told(answer)
    assert stored() == STORED
    assert set(SizeLimit.objects.values_list("set_by__username", flat=True)) == {"root"}
    assert LogEntry.objects.count() == 6
    large = browser.post(IMPORT, {"file": SimpleUploadedFile("limits.csv", b"x" * 2_000_000)})
    assert "The file is too large" in large.text
    assert staff("planning.view_sizelimit").post(IMPORT).status_code == 403


def test_the_command_lists_limits_and_sets_them(fleet, tmp_path):
    file, out = tmp_path / "limits.csv", StringIO()
    file.write_text("\ufeff" + EVERYTHING, "utf-8")
    call_command("size_limits", "set", str(file), dry_run=True, stdout=out)
    assert "line 2: orders: – → 500 GiB" in out.getvalue()
    assert "Would be: 6 new, 0 changed, 0 as they were" in out.getvalue()
    assert not SizeLimit.objects.exists()
    call_command("size_limits", "set", str(file), stdout=StringIO())
    assert stored() == STORED
    out = StringIO()
    call_command("size_limits", "list", stdout=out)
    assert bulk.read_csv(out.getvalue(), None).counts == {"new": 0, "changed": 0, "unchanged": 6}
    out = StringIO()
    call_command("size_limits", "list", kind="tag", json=True, stdout=out)
    assert [(row["tag"], row["limit"]) for row in json.loads(out.getvalue())] == [("prod", 9 << 40)]


@pytest.mark.django_db(transaction=True)
def test_the_command_reads_its_standard_input(fleet, monkeypatch):
    monkeypatch.setattr(sys, "stdin", type("Input", (), {"buffer": __import__("io").BytesIO(EVERYTHING.encode())}))
    out = StringIO()
    call_command("size_limits", "set", stdout=out)
    assert "6 new" in out.getvalue()


# The API


def test_many_limits_over_the_api_all_or_none(fleet, django_assert_num_queries):
    """F10.1"""
    client = superclient()
    rows = [
        {"instance": fleet["orders"].pk, "size": 5, "note": "n"},
        {"instance": fleet["crm"].pk, "size": 6},
        {"database": fleet["shop"].pk, "size": 7},
        {"tablespace": fleet["users"].pk, "size": 8},
        {"tag": fleet["prod"].pk, "size": 9},
        {"size": 10},
    ]
    dry = client.post(BULK, {"limits": rows, "dry_run": True}, format="json")
    assert dry.json() == {"dry_run": True, "new": 6, "changed": 0, "unchanged": 0}
    assert not SizeLimit.objects.exists()
    with django_assert_num_queries(8):
        done = client.post(BULK, {"limits": rows}, format="json")
    assert (done.status_code, done.json()["new"]) == (200, 6)
    rows[0] = {"instance": fleet["orders"].pk, "size": 50}
    assert client.post(BULK, {"limits": rows}, format="json").json() == {
        "dry_run": False, "new": 0, "changed": 1, "unchanged": 5,
    }  # fmt: skip
    assert SizeLimit.objects.get(instance=fleet["orders"]).note == "n"
    wrong = [*rows, {"instance": 10**9, "size": 1}, {"instance": fleet["crm"].pk, "tag": fleet["prod"].pk, "size": 1}]
    wrong += [{"size": 11}]
    refused = client.post(BULK, {"limits": wrong}, format="json")
    assert refused.status_code == 400
    assert refused.json()["limits"] == [
        {}, {}, {}, {}, {}, {},
        {"instance": ["There is none with the id 1000000000."]},
        {"tag": ["Choose one instance, one database, one tablespace or one tag, or none for the whole fleet."]},
        {"non_field_errors": ["The same target as in 5. Leave one of them out."]},
    ]  # fmt: skip
    for row in ({"size": 0}, {"size": 1, "sise": 2}, {"note": "x"}, {"size": 2**63}, {"size": 1, "note": "x" * 201}, 5):
        assert client.post(BULK, {"limits": [row]}, format="json").status_code == 400, row
    for asked in ({"limits": []}, {}, {"limits": rows, "dryrun": True}):
        assert client.post(BULK, asked, format="json").status_code == 400, asked
    assert SizeLimit.objects.get(tag=None, instance=None, database=None, tablespace=None).size == 10
    assert client_with("planning.view_sizelimit").post(BULK, {"limits": rows}, format="json").status_code == 403


def test_new_limits_take_the_permission_to_add(fleet):
    changer = client_with("planning.view_sizelimit", "planning.change_sizelimit")
    SizeLimit.objects.create(instance=fleet["crm"], size=1)
    rows = [{"instance": fleet["crm"].pk, "size": 2}]
    assert changer.post(BULK, {"limits": rows}, format="json").status_code == 200
    refused = changer.post(BULK, {"limits": [*rows, {"instance": fleet["orders"].pk, "size": 2}]}, format="json")
    assert refused.json() == {"limits": [{}, {"instance": ["You may not add limits."]}]}


# Actions


def test_one_limit_for_the_chosen_instances_and_databases(fleet):
    """F10.1"""
    SizeLimit.objects.create(instance=fleet["crm"], size=1, note="disk")
    browser = superstaff()
    for model, rows, name in (
        ("instances_instance", [fleet["orders"], fleet["crm"]], "orders"),
        ("capacity_database", [fleet["shop"]], "orders / shop"),
    ):
        url = reverse(f"admin:{model}_changelist")
        chosen = {"action": "set_limits", "_selected_action": [row.pk for row in rows]}
        page = browser.post(url, chosen)
        assert "Set a size limit" in page.text
        wrong = browser.post(url, chosen | {"confirmed": "1", "size": "much"})
        assert "is not a size" in wrong.text
        done = browser.post(url, chosen | {"confirmed": "1", "size": "3 GiB", "note": ""}, follow=True)
        assert "as they were" in told(done)
        assert stored()[name] == 3 * GIB
    crm = SizeLimit.objects.get(instance=fleet["crm"])
    assert (crm.size, crm.note) == (3 * GIB, "disk")
    assert LogEntry.objects.filter(content_type__model="sizelimit").count() == 3
    viewer = staff("instances.view_instance", "planning.view_sizelimit")
    refused = viewer.post(reverse("admin:instances_instance_changelist"), chosen | {"confirmed": "1", "size": "1"})
    assert refused.status_code == 403


def test_the_chosen_instances_lie_on_one_volume(fleet):
    """F10.1: shared by several instances."""
    browser, url = superstaff(), reverse("admin:instances_instance_changelist")
    both = {"action": "lie_on", "_selected_action": [fleet["orders"].pk, fleet["crm"].pk]}
    assert "a new one:" in browser.post(url, both).text
    new = {"confirmed": "1", "name": "san1", "size": "2 TiB"}
    done = browser.post(url, both | new, follow=True)
    assert "2 instances lie on san1 now." in told(done)
    volume = Volume.objects.get()
    assert (volume.size, volume.instances.count()) == (2 << 40, 2)
    other = Volume.objects.create(name="san2", size=1)
    measured = Volume.objects.create(name="db1:/data", mount="db1:/data", size=1)
    measured.instances.add(fleet["crm"])
    crm = {"action": "lie_on", "_selected_action": [fleet["crm"].pk], "confirmed": "1"}
    browser.post(url, crm | {"volume": other.pk})
    assert set(fleet["crm"].volumes.all()) == {other, measured}
    assert list(volume.instances.all()) == [fleet["orders"]]
    for wrong, message in (
        ({}, "Choose a volume, or enter"),
        ({"volume": other.pk, "name": "x"}, "Either choose a volume or enter"),
        ({"volume": measured.pk}, "Select a valid choice"),
        (new, "already exists"),
        ({"name": "x", "size": "much"}, "is not a size"),
    ):
        assert message in browser.post(url, crm | wrong).text, wrong
    assert set(fleet["crm"].volumes.all()) == {other, measured}


# Volumes


def test_volumes_over_the_api_and_on_their_pages(fleet, django_assert_num_queries):
    client, url = superclient(), reverse("volume-list")
    ids = [fleet["orders"].pk, fleet["crm"].pk]
    made = client.post(url, {"name": "san1", "size": 2 << 40, "instances": ids}, format="json")
    assert (made.status_code, sorted(made.json()["instances"])) == (201, sorted(ids))
    one = f"{url}{made.json()['id']}/"
    assert client.patch(one, {"instances": [ids[0]]}, format="json").json()["instances"] == [ids[0]]
    assert client.patch(one, {"note": "x"}, format="json").json()["instances"] == [ids[0]]
    for wrong in ({"instances": [10**9]}, {"size": 0}, {"available": 5, "instance": 1}):
        assert client.patch(one, wrong, format="json").status_code == (200 if "available" in wrong else 400), wrong
    assert client.get(url, {"tag": "prod"}).json()["count"] == 1
    assert client.get(url, {"instance_name": "crm"}).json()["count"] == 0
    assert client.post(url, {"name": "san1", "size": 5}, format="json").status_code == 400
    measured = Volume.objects.create(
        name="db1:/data", mount="db1:/data", size=9 << 40, available=5, read_at=timezone.now()
    )
    refused = client.patch(f"{url}{measured.pk}/", {"size": 5}, format="json")
    assert refused.json() == {"size": ["This is read from Prometheus. Leave it out."]}
    assert client.patch(f"{url}{measured.pk}/", {"note": "x", "name": "data"}, format="json").status_code == 200
    with django_assert_num_queries(3):
        client.get(url)
    browser, pages = superstaff(), reverse("admin:planning_volume_changelist")
    with django_assert_num_queries(6):
        assert "9.00 TiB" in browser.get(pages).text
    assert browser.get(pages, {"measured": "true"}).context["cl"].result_count == 1
    page = reverse("admin:planning_volume_change", args=[measured.pk])
    assert 'name="size"' not in browser.get(page).text
    assert browser.post(page, {"name": "data1", "note": "", "size": "5"}).status_code == 302
    measured.refresh_from_db()
    assert (measured.name, measured.size) == ("data1", 9 << 40)
    typed = reverse("admin:planning_volume_change", args=[made.json()["id"]])
    assert browser.post(typed, {"name": "san1", "size": "3 TiB", "instances": ids}).status_code == 302
    assert Volume.objects.get(name="san1").size == 3 << 40
    assert browser.post(reverse("admin:planning_volume_add"), {"name": "san3", "size": "1 GiB"}).status_code == 302


# Limited users


@pytest.fixture
def limited(fleet) -> User:
    """May do everything, and sees orders alone."""
    user = User.objects.create_user("limited", is_staff=True)
    from django.contrib.auth.models import Permission

    user.user_permissions.set(Permission.objects.all())
    TagLimit.objects.create(user=user, tag=fleet["prod"])
    return user


def test_limited_users_set_no_limit_beyond_what_they_see(fleet, limited):
    """F10.1"""
    browser, client = entered(limited), client_of(limited)
    form = browser.get(ADD).context["adminform"].form
    assert "tag" not in form.fields
    refused = browser.post(ADD, {"size": "1 GiB"})
    assert "Choose one instance, one database or one tablespace." in refused.text
    both = browser.post(ADD, {"size": "1 GiB", "instance": fleet["orders"].pk, "database": fleet["shop"].pk})
    assert "Choose one instance, one database, one tablespace" in both.text
    limit = SizeLimit.objects.create(instance=fleet["orders"], size=1)
    url = reverse("sizelimit-list")
    for method, path, body in (
        ("post", url, {"size": 5}),
        ("post", url, {"tag": fleet["prod"].pk, "size": 5}),
        ("patch", f"{url}{limit.pk}/", {"instance": None}),
        ("patch", f"{url}{limit.pk}/", {"instance": None, "tag": fleet["prod"].pk}),
    ):
        assert getattr(client, method)(path, body, format="json").status_code == 400, body
    text = EVERYTHING + "instance,crm,,,,5,\n"
    plan = bulk.read_csv(text, limited)
    hidden = "You see some instances only, and may not limit a tag or the whole fleet."
    assert {(problem.number, problem.message) for problem in plan.problems} == {
        (6, hidden), (7, hidden), (8, "There is none with the name “crm”. Check the spelling."),
    }  # fmt: skip
    assert stored() == {"orders": 1}
    assert browser.get(reverse("admin:planning_volume_add")).status_code == 403
    chosen = {"action": "lie_on", "_selected_action": [fleet["orders"].pk]}
    assert browser.post(reverse("admin:instances_instance_changelist"), chosen).status_code == 403


def test_nothing_is_left_half_done(fleet, monkeypatch):
    """A store that fails at the second statement leaves the first undone."""
    SizeLimit.objects.create(instance=fleet["crm"], size=1)
    plan = bulk.read_csv(EVERYTHING + "instance,crm,,,,5,\n", None)
    SizeLimit.objects.create(tag=fleet["prod"], size=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        plan.save(None)
    assert stored() == {"crm": 1, "Production": 1}
