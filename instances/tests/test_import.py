"""Instances as CSV: the commands, and the pages of the admin."""

from __future__ import annotations

import io
import json
import tempfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from console.csv import FORMULA
from instances.models import Credential, Instance
from instances.tests.pages import staff, superstaff, told
from tagging.models import Tag

from ..resources import InstanceResource, read_csv

IMPORT = reverse("admin:instances_instance_import")
EXPORT = reverse("admin:instances_instance_export")
HEADER = "name,engine,host,port,credential,tags\n"


@pytest.fixture(autouse=True)
def credential(db: None) -> Credential:
    Tag.objects.create(slug="prod", label="Production")
    Tag.objects.create(slug="lab", label="Laboratory")
    return Credential.objects.create(name="collector", username="taifish", password="Tr0ub4dor&3-secret", hosts="*")


@pytest.fixture
def run(tmp_path):
    """Import a file of these bytes or this text. Returns the JSON told, and the exit code."""

    def run(content: str | bytes, **options: object) -> tuple[dict[str, object], int]:
        file = tmp_path / "instances.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        out = io.StringIO()
        try:
            call_command("import_instances", file, json=True, stdout=out, **options)
        except CommandError as error:
            return (json.loads(out.getvalue()) if out.getvalue() else {"error": str(error)}), error.returncode
        return json.loads(out.getvalue()), 0

    return run


def test_rows_are_added_changed_and_left_as_they_are(run):
    rows = HEADER + "prod,postgresql,db1,,collector,prod;Laboratory\nlab,mysql,2001:db8::1,3307,collector,\n"
    assert run(rows) == ({"dry_run": False, "counts": {"new": 2, "update": 0, "skip": 0}, "problems": []}, 0)
    prod, lab = Instance.objects.get(name="prod"), Instance.objects.get(name="lab")
    assert {tag.slug for tag in prod.tags.all()} == {"prod", "lab"}
    assert (lab.host, lab.port, lab.tags.count()) == ("2001:db8::1", 3307, 0)
    assert (prod.credential.name, prod.port, prod.budget, prod.tls_mode) == ("collector", None, 600, "prefer")
    again, _ = run(rows.replace("3307", "3308"))
    assert again["counts"] == {"new": 0, "update": 1, "skip": 1}
    assert Instance.objects.get(name="lab").port == 3308


def test_a_column_left_out_changes_nothing_and_an_empty_cell_means_the_default(run):
    run("name,engine,host,credential,port,note,budget,tags\nprod,postgresql,db1,collector,5433,keep,30,prod\n")
    run("name,engine,host,credential,port\nprod,postgresql,db1,collector,\n")
    prod = Instance.objects.get()
    assert (prod.port, prod.note, prod.budget, prod.tags.count()) == (None, "keep", 30, 1)
    run("name,engine,host,credential,budget,tags\nprod,postgresql,db1,collector,,\n")
    prod = Instance.objects.get()
    assert (prod.note, prod.budget, prod.tags.count()) == ("keep", 600, 0)


def test_a_dry_run_tells_the_same_and_does_nothing(run):
    told, code = run(HEADER + "prod,postgresql,db1,,collector,prod\n", dry_run=True)
    assert (told["dry_run"], told["counts"]["new"], code) == (True, 1, 0)
    assert not Instance.objects.exists()


@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        ("bad,db2,db1,,collector,", "engine", "not a valid choice"),
        ("bad,postgresql,db1,,nobody,", "credential", "There is no credential named “nobody”."),
        ("bad,postgresql,db1,,,", "credential", "null"),
        ("bad,postgresql,db1,abc,collector,", "port", "“abc” is not a whole number"),
        ("bad,postgresql,db1,5432.5,collector,", "port", "not a whole number"),
        ("bad,postgresql,db1,-1,collector,", "port", "not a whole number"),
        ("bad,postgresql,db1,99999999999999999999,collector,", "port", "not a whole number"),
        ("bad,postgresql,db1,0,collector,", "port", "greater than or equal to 1"),
        ("bad,postgresql,db1,70000,collector,", "port", "65535"),
        ("bad,postgresql,db1:5432,,collector,", "host", "The port has a separate field"),
        ("bad,postgresql,,,collector,", "host", "Enter a host name"),
        (",postgresql,db1,,collector,", "name", "Enter a name"),
        ("good,postgresql,db2,,collector,", "name", "more than once"),
        ("bad,postgresql,db1,,collector,prod;nope", "tags", "There is no such tag: nope."),
        ("gone,postgresql,db1,,collector,", "name", "retired"),
        (f"{'x' * 101},postgresql,db1,,collector,", "name", "at most 100"),
    ],
)
def test_one_wrong_row_and_nothing_is_imported(run, credential, row, field, message):
    Instance.objects.create(name="gone", engine="postgresql", host="x", credential=credential).retire()
    told, code = run(f"{HEADER}good,postgresql,db1,,collector,prod\n{row}\n")
    assert code == 1
    assert told["counts"] == {"new": 0, "update": 0, "skip": 0}
    problem = next(problem for problem in told["problems"] if problem["row"] == 2)
    assert problem["field"] == field, told["problems"]
    assert message in problem["message"]
    assert problem["name"] == row.partition(",")[0]
    assert not Instance.objects.active().exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "The file is empty."),
        ("\ufeff\r\n", "The file is empty."),
        (HEADER, "no rows"),
        ("name,engine,host\nprod,postgresql,db1\n", "Missing columns: credential."),
        ("name,engine,host,credential,password\na,b,c,d,e\n", "Unknown columns: password. Valid are: name, engine"),
        ("name;engine;host;credential\na;b;c;d\n", "Unknown columns: name;engine;host;credential"),
        ("name,name,engine,host,credential\na,a,b,c,d\n", "Duplicate columns: name"),
        (HEADER + "prod,postgresql,db1\n", "Line 2 has 3 cells, and the header 6."),
        ('name,engine,host,credential\n"prod,postgresql,db1,collector\n', "The file is not CSV"),
        (b"name,engine,host,credential\n\xff\xfe,postgresql,db1,collector\n", "is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(run, content, told):
    answer, code = run(content)
    assert code == 2
    assert told in answer["error"]
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_instances", "/no/such/file.csv")


def test_what_spreadsheets_make_of_a_file(run):
    """A byte order mark, CRLF, blank lines, capitals and blanks in the header, names in any script."""
    told, code = run(
        '\ufeffName, Engine ,HOST,credential\r\n生产-1,postgresql, db1 ,collector\r\n,,,\r\n"a,b",mysql,[2001:db8::2],collector\r\n'
    )
    assert (code, told["counts"]["new"]) == (0, 2), told
    assert set(Instance.objects.values_list("name", "host")) == {("生产-1", "db1"), ("a,b", "2001:db8::2")}


def test_an_export_can_be_read_back_and_holds_no_secret_and_no_formula(run, credential, tmp_path):
    note = '=HYPERLINK("http://evil.example.org","x")'
    prod = Instance.objects.create(
        name="生产", engine="postgresql", host="db1", port=5433, credential=credential, note=note, version="18.4"
    )
    prod.tags.set(Tag.objects.filter(slug__in=["prod", "lab"]))
    Instance.objects.create(name="gone", engine="mysql", host="db2", credential=credential).retire()
    file = tmp_path / "out.csv"
    call_command("export_instances", file)
    content = file.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    text = content.decode("utf-8-sig")
    assert "'=HYPERLINK" in text
    assert "gone" not in text
    assert "collector" in text
    for secret in ("Tr0ub4dor", credential.token, "password", "token"):
        assert secret not in text
    told, _ = run(content)
    assert told["counts"] == {"new": 0, "update": 0, "skip": 1}, told
    Instance.objects.all().delete()
    run(content)
    prod = Instance.objects.get()
    # What visits find out is not a file's to say.
    assert (prod.name, prod.port, prod.note, prod.version) == ("生产", 5433, note, "")
    assert {tag.slug for tag in prod.tags.all()} == {"prod", "lab"}
    out = io.StringIO()
    call_command("export_instances", stdout=out)
    assert out.getvalue().startswith("\ufeffname,engine,host")


# The pages


def upload(client, text: str):
    file = SimpleUploadedFile("instances.csv", text.encode(), content_type="text/csv")
    return client.post(IMPORT, {"import_file": file, "format": "0", "resource": ""})


def confirm(client, answer):
    fields = {
        name: answer.context["confirm_form"].initial[name]
        for name in ("import_file_name", "original_file_name", "format")
    }
    return client.post(reverse("admin:instances_instance_process_import"), fields | {"resource": ""}, follow=True)


@pytest.mark.parametrize("name", ["other.csv", "../other.csv", "taifish-import-../other", ""])
def test_no_other_file_is_imported_or_deleted(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    other = tmp_path / "other.csv"
    other.write_text(HEADER + "evil,postgresql,db1,,collector,evil\n")
    client = superstaff()
    fields = {"import_file_name": name, "original_file_name": "a.csv", "format": "0", "resource": ""}
    answer = client.post(reverse("admin:instances_instance_process_import"), fields)
    assert answer.status_code in (200, 400)
    assert not Instance.objects.exists()
    assert other.exists()


def test_a_preview_comes_before_the_import():
    client = superstaff()
    answer = upload(client, HEADER + "prod,postgresql,db1,,collector,prod\n")
    assert "Confirm import" in answer.content.decode()
    assert not Instance.objects.exists()
    assert "1 new" in told(confirm(client, answer))
    tag = Instance.objects.get().instance_tags.get()
    assert tag.added_by.username == "root"


def test_what_went_wrong_since_the_preview_is_told_and_undoes_all(credential):
    client = superstaff()
    Credential.objects.create(name="other", username="x")
    answer = upload(client, HEADER + "a,postgresql,db1,,other,\nb,postgresql,db2,,collector,\n")
    Credential.objects.filter(name="collector").update(name="renamed")
    done = confirm(client, answer)
    assert done.status_code == 409
    assert "There is no credential named “collector”." in done.content.decode()
    assert not Instance.objects.exists()


def test_wrong_rows_and_files_are_told_on_the_page():
    client = superstaff()
    page = upload(client, HEADER + "prod,postgresql,db1,abc,nobody,nope\n").content.decode()
    for text in ("“abc” is not a whole number", "There is no credential named “nobody”.", "Some rows failed"):
        assert text in page, text
    assert "Confirm import" not in page
    assert "Missing columns: engine, host, credential." in upload(client, "name\nx\n").content.decode()
    assert "The file has a header and no rows." in upload(client, HEADER).content.decode()
    file = SimpleUploadedFile("x.csv", b"name\n\xff\n")
    answer = client.post(IMPORT, {"import_file": file, "format": "0", "resource": ""})
    assert "The file is not UTF-8" in answer.content.decode()


def test_importing_takes_permissions_of_its_own(credential):
    """Who may not decide where a stored password is sent may not import it either."""
    text = HEADER + "prod,postgresql,db1,,collector,\n"
    viewer = staff("instances.view_instance", "instances.change_instance")
    assert "/import/" not in viewer.get(reverse("admin:instances_instance_changelist")).content.decode()
    assert viewer.get(IMPORT).status_code == upload(viewer, text).status_code == 403
    assert viewer.post(reverse("admin:instances_instance_process_import"), {}).status_code == 403
    manager = ("instances.view_instance", "instances.add_instance", "instances.change_instance")
    assert "may not decide where a stored password is sent" in upload(staff(*manager), text).content.decode()
    Instance.objects.create(name="prod", engine="postgresql", host="db1", credential=credential)
    client = staff(*manager)
    assert "sent (host)" in upload(client, text.replace("db1", "evil")).content.decode()
    with_note = "name,engine,host,credential,note\nprod,postgresql,db1,collector,hello\n"
    confirm(client, upload(client, with_note))
    assert Instance.objects.get().note == "hello"
    tagged = upload(client, text.replace("collector,", "collector,prod"))
    assert "You may not change the tags of instances." in tagged.content.decode()
    confirm(staff(*manager, "instances.use_credential"), upload(staff(*manager, "instances.use_credential"), text))


def test_the_export_of_a_list_is_what_the_list_shows(credential):
    for name, engine in (("a", "mysql"), ("b", "postgresql")):
        Instance.objects.create(name=name, engine=engine, host=name, credential=credential)
    answer = staff("instances.view_instance").get(EXPORT, {"engine__exact": "mysql"})
    assert answer.content.startswith(b"\xef\xbb\xbfname,engine")
    assert [line.split(",")[0] for line in answer.content.decode("utf-8-sig").splitlines()] == ["name", "a"]
    assert staff("instances.change_instance").get(EXPORT).status_code == 403


class AnyText(TestCase):
    @settings(deadline=None, max_examples=60)
    @example("＝1+1")
    @example("\u3000=1+1")
    @example("x\n=1+1")
    @given(st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\t"), max_size=30))
    def test_any_note_survives_the_way_out_and_back(self, note):
        """And no cell of it begins like a formula."""
        note = note.strip()
        # One that already looks like our own disarming is read as such.
        if note.startswith("'") and FORMULA.match(note):
            return
        credential, _ = Credential.objects.get_or_create(name="any", defaults={"username": "u"})
        Instance.objects.all().delete()
        instance = Instance.objects.create(name="x", engine="mysql", host="h", credential=credential, note=note)
        text = InstanceResource().export(Instance.objects.all()).export("csv")
        dataset = read_csv(text)
        assert not any(cell.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) for cell in dataset[0])
        Instance.objects.update(note="changed")
        InstanceResource().import_data(dataset, raise_errors=True)
        instance.refresh_from_db()
        assert instance.note == note
