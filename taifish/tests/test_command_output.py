"""What commands print: columns, CSV and JSON; progress on a terminal; help; and the doors that pages have too."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, ManagementUtility, call_command, get_commands, load_command_class
from django.core.management.base import OutputWrapper
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from access.tests.test_questions import grant, instance
from accounts.models import Account, AccountChange
from accounts.tests.stored import MAY_3, account, join
from console.command import Progress, write_columns
from instances.models import Instance
from instances.tests.api import client_with, superclient
from planning.models import SizeLimit
from sync import services
from sync.models import SyncRecord, SyncSession, VisitHealth
from tagging.models import InstanceTag, Tag, TagLimit
from taifish import schedules
from taifish.command_line import CommandLine


def run(*words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    out, err = StringIO(), StringIO()
    try:
        call_command(*words, stdout=out, stderr=err)
    except CommandError as error:
        return error.returncode, out.getvalue(), str(error)
    except SystemExit as stop:
        return stop.code or 0, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def columns(text: str) -> list[list[str]]:
    return [re.split(r" {2,}", line) for line in text.splitlines()]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shop(db: None) -> dict[str, Account]:
    """ada is in writers, who may insert; root is a superuser."""
    pg = instance("pg", "postgresql")
    made = {name: account(pg, name) for name in ("ada", "root")}
    made["writers"] = account(pg, "writers", kind="role", can_login=False)
    join(made["ada"], made["writers"])
    grant(made["writers"], "INSERT", "table", "shop.public.orders", database="shop")
    grant(made["root"], "SUPERUSER", "attribute")
    return made


# Output


def test_columns_are_aligned_escaped_and_without_empty_ones():
    out = StringIO()
    write_columns(OutputWrapper(out), ["name", "empty", "size"], [["数据库", "", 1], ["a\x1b[2J", None, 20]])
    assert out.getvalue().splitlines() == ["NAME      SIZE", "数据库    1", "a\\x1b[2J  20"]


def test_progress_is_shown_on_a_terminal_only():
    for stream, shown in ((Terminal(), True), (StringIO(), False)):
        with Progress(OutputWrapper(stream), 10, "visits") as progress:
            progress.step()
        assert ("0 of 10 visits" in stream.getvalue()) == shown
        assert stream.getvalue().endswith("\r\x1b[K") == shown


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["tighten_instances", "--all"], "0 of 2 instances"),
        (["classify"], "0 of 2 instances"),
        (["forecast_sizes"], "2 of 2 forecasts"),
    ],
)
def test_long_work_shows_its_progress(transactional_db, words, what):
    for name in ("one", "two"):
        instance(name, "postgresql")
    Instance.objects.update(host="127.0.0.1", port=1, proof="as_before")
    err = Terminal()
    with contextlib.suppress(SystemExit):
        call_command(*words, stdout=StringIO(), stderr=err)
    assert f"\r\x1b[K{what}" in err.getvalue()


def test_progress_has_rate_and_remaining_time():
    progress = Progress(OutputWrapper(StringIO()), 100, "visits")
    progress.done = 25
    assert progress.line(10) == "25 of 100 visits, 2.5 a second, about 0:30 left"
    progress.done = 0
    assert progress.line(10) == "0 of 100 visits"


def test_help_begins_with_our_commands_and_a_sentence_for_each():
    text = CommandLine(["manage.py", "help"]).main_help_text()
    ours, others = text.split("Of Django and other packages")
    assert re.search(r"^  who_can +List the accounts with a privilege$", ours, re.MULTILINE)
    assert "migrate" in others
    listed = re.findall(r"^  ([a-z_]+)  +\S", ours, re.MULTILINE)
    assert set(listed) | set(re.findall(r"[\w-]+", others)) >= get_commands().keys()
    # The shell's completion takes the plain list.
    plain = ManagementUtility(["manage.py"]).main_help_text(commands_only=True)
    assert CommandLine(["manage.py"]).main_help_text(commands_only=True) == plain


def test_every_command_that_prints_json_prints_csv_too():
    for name, app in get_commands().items():
        if app in {
            "access",
            "accounts",
            "aggregation",
            "alerts",
            "audit",
            "capacity",
            "classification",
            "instances",
            "planning",
            "sync",
            "tagging",
            "taifish",
        }:
            options = load_command_class(app, name).create_parser("manage.py", name).format_help()
            if name not in ("size_limits", "demo"):
                assert ("--json" in options) == ("--csv" in options), name


# Effective, where is, changes, timeline


def test_effective_rights_at_the_command(shop):
    """F11.3: the rights of an account as its page has them, now and at a moment."""
    code, out, _err = run("effective", "ada")
    assert code == 0
    assert columns(out) == [
        ["THROUGH", "RIGHT", "USABLE", "SINCE"],
        ["writers", "INSERT on table shop.public.orders", "at login", "2026-05-01 00:00"],
    ]
    api = client_with("accounts.view_grant").get(f"/api/accounts/{shop['ada'].pk}/effective/").json()
    code, out, _err = run("effective", "ada", "--instance", "pg", "--json")
    assert [right["text"] for right in json.loads(out)["rights"]] == [row["text"] for row in api["results"]]
    assert [row["right"] for row in rows_of(run("effective", "ada", "--csv")[1])] == [
        "INSERT on table shop.public.orders"
    ]
    assert run("effective", "ada", "--as-of", "2026-04-01")[:2] == (
        3,
        run("effective", "ada", "--as-of", "2026-04-01")[1],
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["adaa"], "No visit has seen an account “adaa”. Did you mean ada?"),
        (["ada", "--instance", "gp"], "There is no instance “gp”."),
        (["ada", "--as-of", "2990-01-01"], "in the future"),
        (["ada", "--as-of", "soon"], "neither a day"),
    ],
)
def test_a_wrong_question_about_effective_rights(shop, words, error):
    code, _out, err = run("effective", *words)
    assert (code, error in err) == (2, True), err


def test_an_account_of_several_instances_must_be_named_with_one(shop):
    account(instance("other", "postgresql"), "ada")
    code, _out, err = run("effective", "ada")
    assert (code, err) == (2, "Several accounts are called so: ada on other, ada on pg. Add --instance, or the host.")
    assert run("effective", "ada", "--instance", "pg")[0] == 0


def test_where_an_account_is_at_every_door(shop):
    """F11.3: command and API; an instance that was never read is unknown."""
    Instance.objects.create(name="new", engine="mysql", host="new", credential=shop["ada"].instance.credential)
    code, out, _err = run("where_is", "ad*")
    assert code == 3
    assert columns(out)[0][:3] == ["INSTANCE", "ENGINE", "ACCOUNT"]
    assert columns(out)[1][:3] == ["pg", "postgresql", "ada"]
    assert out.splitlines()[-1] == "new: not known: not visited by then"
    assert [row["account"] for row in rows_of(run("where_is", "ad*", "--csv")[1])] == ["ada", ""]
    api = client_with("accounts.view_account")
    found = api.get("/api/where-is/", {"name": "ad*"}).json()
    assert [row["label"] for row in found["results"]] == ["ada"]
    assert [row["instance_name"] for row in found["unknown"]] == ["new"]
    assert [row["label"] for row in json.loads(run("where_is", "ad*", "--json")[1])["accounts"]] == ["ada"]
    assert api.get("/api/where-is/", {"name": "ada", "as_of": "2990-01-01T00:00:00Z"}).status_code == 400
    assert run("where_is", "ada", "--as-of", "2990-01-01")[0] == 2


def test_where_is_answers_within_the_limit(shop, django_user_model):
    """F9: a user who is limited to tags sees neither accounts nor names of other instances."""
    other = instance("other", "postgresql")
    account(other, "ada")
    tag = Tag.objects.create(slug="mine", label="Mine")
    InstanceTag.objects.create(instance=other, tag=tag)
    api = client_with("accounts.view_account", "instances.view_instance", "sync.view_syncrecord")
    user = django_user_model.objects.latest("pk")
    TagLimit.objects.create(user=user, tag=tag)
    found = api.get("/api/where-is/", {"name": "ada"}).json()
    assert [row["instance_name"] for row in found["results"]] == ["other"]
    assert api.get(f"/api/instances/{shop['ada'].instance_id}/timeline/").status_code == 404
    assert api.get(f"/api/instances/{other.pk}/timeline/").status_code == 200
    # A suggestion names what the user sees.
    assert "Did you mean" not in str(api.get("/api/accounts/", {"instance_name": "pgs"}).json())
    assert "Did you mean other?" in str(api.get("/api/accounts/", {"instance_name": "othr"}).json())


def test_changes_since_a_day(shop):
    AccountChange.objects.create(account=shop["ada"], at=MAY_3, events=["appeared"], baseline=False)
    AccountChange.objects.create(account=shop["root"], at=MAY_3, events=["appeared"], baseline=True)
    code, out, _err = run("changes", "--since", "2026-05-01")
    assert code == 0
    assert columns(out)[1][:3] == ["2026-05-03 00:00", "pg", "ada"]
    assert len(out.splitlines()) == 2
    assert run("changes", "--since", "2026-05-04")[1] == "No change was found.\n"
    assert run("changes", "--since", "2026-05-01", "--until", "2026-05-02")[1] == "No change was found.\n"
    assert run("changes", "--since", "2026-05-01", "--account", "root")[1] == "No change was found.\n"
    assert [
        row["account_label"] for row in rows_of(run("changes", "--since", "2026-05-01", "--account", "ada", "--csv")[1])
    ] == ["ada"]
    document = json.loads(run("changes", "--since", "2026-05-01", "--instance", "pg", "--json")[1])
    assert [row["account_label"] for row in document["changes"]] == ["ada"]
    code, _out, err = run("changes", "--since", "2026-05-01", "--tag", "nope")
    assert (code, err) == (2, "No active instance has the tag 'nope'.")
    instance("stale", "postgresql", read_at=timezone.now() - timedelta(days=30))
    assert run("changes", "--since", "2026-05-01")[0] == 3


def test_the_timeline_of_an_instance_at_every_door(shop):
    pg = shop["ada"].instance
    AccountChange.objects.create(account=shop["ada"], at=timezone.now(), events=["appeared"], baseline=False)
    code, out, _err = run("timeline", "pg")
    assert code == 0
    assert any("ada" in line for line in out.splitlines())
    api = superclient().get(f"/api/instances/{pg.pk}/timeline/", {"days": 7}).json()
    document = json.loads(run("timeline", "pg", "--days", "7", "--json")[1])
    assert len(api["events"]) == len(document["events"]) > 0
    assert len(rows_of(run("timeline", "pg", "--csv")[1])) == len(document["events"])
    assert "Did you mean pg?" in run("timeline", "pgg")[2]


# Schedules, forecasts, sessions


def test_schedules_at_every_door(db):
    """F11.3: a late schedule exits 3."""
    PeriodicTask.objects.all().delete()
    schedules.install()
    PeriodicTask.objects.update(last_run_at=timezone.now())
    code, out, _err = run("schedules")
    assert (code, out.splitlines()[0].split()[0]) == (0, "NAME")
    PeriodicTask.objects.filter(task="sync.reap").update(last_run_at=timezone.now() - timedelta(hours=1))
    code, out, _err = run("schedules", "--json")
    assert (code, [row["task"] for row in json.loads(out) if row["is_late"]]) == (3, ["sync.reap"])
    api = client_with("django_celery_beat.view_periodictask").get("/api/schedules/").json()
    assert [row["task"] for row in api["results"] if row["is_late"]] == ["sync.reap"]


def test_forecasts_at_the_command(shop):
    SizeLimit.objects.create(instance=shop["ada"].instance, size=10**9)
    code, _out, err = run("forecasts")
    assert (code, "instance pg: " in err) == (3, True)
    assert len(json.loads(run("forecasts", "--json")[1])["unknown"]) == 1
    assert run("forecasts", "--engine", "mysql")[0] == 0
    assert run("forecasts", "--engine", "postgres")[0] == 3
    assert "Did you mean" not in run("forecasts", "--tag", "nope")[2]


@pytest.fixture
def session(transactional_db, shop) -> SyncSession:
    return services.start("accounts", Instance.objects.all(), trigger="schedule")


def test_sessions_are_listed_and_cancelled(session):
    assert columns(run("sessions")[1])[1][:3] == [str(session.pk), "accounts", "running"]
    code, out, _err = run("cancel_session", str(session.pk))
    assert (code, out) == (0, f"{session}: 1 pending visits cancelled; it is cancelled now\n")
    assert run("cancel_session", str(session.pk))[0] == 1
    assert run("cancel_session", "999999")[0] == 2
    assert rows_of(run("sessions", "--csv")[1])[0]["status"] == "cancelled"


def test_what_failed_is_retried_here(session, settings):
    """The instance refuses connections: the retry is one visit, which fails too."""
    settings.TAIFISH_RETRY_DELAY = 0.01
    assert run("retry_failed", str(session.pk))[0] == 2
    SyncRecord.objects.filter(session=session).update(status="failed")
    SyncSession.objects.filter(pk=session.pk).update(status="failed")
    code, out, _err = run("retry_failed", str(session.pk))
    assert (code, out.startswith("pg: failed; ")) == (1, True)
    assert SyncSession.objects.latest("pk").retry_of == session


def test_paused_visits_are_resumed(shop):
    health = VisitHealth.objects.create(
        instance=shop["ada"].instance, kind="accounts", failures=5, paused_at=timezone.now()
    )
    assert run("resume_visits", "pg", "--kind", "capacity")[1] == "0 resumed\n"
    assert run("resume_visits", "--all")[:2] == (0, "1 resumed\n")
    health.refresh_from_db()
    assert (health.paused_at, health.failures) == (None, 0)
    assert run("resume_visits")[0] == 2


@pytest.mark.parametrize(
    ("trigger", "is_spread"), [("schedule", True), ("command", False), ("api", False), ("manual", False)]
)
def test_only_unattended_visits_are_spread(shop, settings, trigger, is_spread):
    """Whoever starts visits waits for them."""
    settings.TAIFISH_START_SPREAD = 3600
    for number in range(20):
        instance(f"db{number}", "postgresql")
    session = services.start("accounts", Instance.objects.all(), trigger=trigger)
    assert session.records.exclude(not_before=None).exists() == is_spread


# Names of engines, suggestions


def test_other_names_of_engines_at_every_door(shop):
    instance("my", "mysql")
    api = client_with("accounts.view_grant", "accounts.view_account", "instances.view_instance")
    assert [row["name"] for row in api.get("/api/instances/", {"engine": "mariadb"}).json()["results"]] == ["my"]
    assert [row["name"] for row in api.get("/api/instances/", {"engine": "Postgres"}).json()["results"]] == ["pg"]
    assert api.get("/api/instances/", {"engine": "db2"}).status_code == 400
    assert api.get("/api/access/", {"privilege": "SUPERUSER", "engine": "postgres"}).json()["count"] == 1
    assert run("who_can", "SUPERUSER", "--engine", "postgres")[0] == 0
    made = superclient().post(
        "/api/instances/",
        {"name": "x", "engine": "mariadb", "host": "x", "credential": shop["ada"].instance.credential_id},
        format="json",
    )
    assert (made.status_code, made.json()["engine"]) == (201, "mysql")


def test_misspelt_names_are_suggested_in_commands(shop):
    Tag.objects.get_or_create(slug="production", defaults={"label": "Production"})
    for words, meant in (
        (["sync_accounts", "pgg"], "pg"),
        (["sync_accounts", "--tag", "producton"], "production"),
        (["tag", "add", "producton", "--all"], "production"),
        (["filling_up", "--tag", "producton"], "production"),
        (["who_can", "SUPERUSER", "--tag", "producton"], "production"),
    ):
        code, _out, err = run(*words)
        assert (code, f"Did you mean {meant}?" in err) == (2, True), err


def test_all_errors_of_a_file_at_once_with_their_lines_and_valid_values(shop, tmp_path):
    """The file's own lines, a note with a line break and an empty line included."""
    file = tmp_path / "instances.csv"
    file.write_text(
        "name,engine,host,credential,level,note\n"
        'good,postgres,db1,c,B,"two\nlines"\n'
        "\n"
        "bad,db2,db2,cc,Z,\n"
        "worse,mariadb,,c,A,\n"
    )
    code, out, _err = run("import_instances", str(file))
    assert code == 1
    assert [line.split(": ")[:2] for line in out.splitlines()] == [
        ["line 5 (bad)", "credential"],
        ["line 5 (bad)", "engine"],
        ["line 5 (bad)", "level"],
        ["line 6 (worse)", "host"],
        ["line 6 (worse)", "host"],
    ]
    assert "Valid are: postgresql, mysql, oracle." in out
    assert "Valid are: A, B, C." in out
    assert "There is no credential named “cc”. Did you mean c?" in out
    assert {row["line"] for row in rows_of(run("import_instances", str(file), "--csv")[1])} == {"5", "6"}
    file.write_text("name,engine,host,credential\ngood,postgres,db1,c\nworse,mariadb,db3,c\n")
    assert run("import_instances", str(file))[0] == 0
    assert dict(Instance.objects.filter(name__in=["good", "worse"]).values_list("name", "engine")) == {
        "good": "postgresql",
        "worse": "mysql",
    }


def test_all_lines_with_a_wrong_number_of_cells_at_once(shop, tmp_path):
    file = tmp_path / "instances.csv"
    file.write_text("name,engine,host,credential\na,postgres\nb,postgres,db,c\nc\n")
    code, _out, err = run("import_instances", str(file))
    assert (code, err.splitlines()) == (
        2,
        ["Line 2 has 2 cells, and the header 4.", "Line 4 has 1 cells, and the header 4."],
    )
