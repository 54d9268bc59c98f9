"""F8.2: one append-only trail for every door, with old and new values and without secrets."""

from __future__ import annotations

import csv
import getpass
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from celery import signals
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import ProgrammingError, connection, transaction
from django.test import Client
from django.utils import timezone

from audit import origin
from audit.models import Event
from audit.origin import Origin, origin_is
from audit.tracking import install
from instances.models import Credential, Instance
from instances.tasks import purge
from instances.tests.api import client_of, user_with
from instances.tests.pages import entered
from tagging.models import InstanceTag, Tag, TagLimit
from taifish import trail
from taifish.models import ApiToken
from taifish.tests.store import empty_trail
from taifish.tracked import TRACKED


@pytest.fixture
def instance(db: None) -> Instance:
    credential = Credential(name="login", username="collector")
    credential.password = "hunter2-secret"
    credential.save()
    return Instance.objects.create(name="orders", engine="postgresql", host="db1", credential=credential)


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root", password="root-password-1")


def last(**conditions: object) -> Event:
    return Event.objects.filter(**conditions).first()


def since(start: int) -> list[Event]:
    return list(Event.objects.filter(pk__gt=start).order_by("pk"))


def newest() -> int:
    event = Event.objects.first()
    return event.pk if event else 0


@pytest.mark.parametrize("tracked", TRACKED, ids=lambda tracked: tracked.model)
def test_each_column_of_a_tracked_model_is_followed_or_named_as_left_out(tracked):
    """F8.2: a new column is not forgotten."""
    columns = {field.column for field in apps.get_model(tracked.model)._meta.concrete_fields}
    named = [*tracked.columns, *tracked.left_out, *tracked.secrets]
    assert set(named) == columns
    assert len(named) == len(columns)


def test_all_triggers_are_there_as_declared(db):
    assert install(TRACKED) == []
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER audit_track ON instances_instance")
    assert install(TRACKED) == ["instances.Instance"]


def test_a_change_has_old_and_new_values_of_what_changed(instance):
    """F8.2: INSERT, UPDATE, DELETE; only what changed; also by bulk update and raw SQL."""
    start = newest()
    instance.port = 5433
    instance.note = "it's 100 % moved"
    instance.save()
    instance.save()
    Instance.objects.filter(pk=instance.pk).update(host="db2", version="18")
    Instance.objects.filter(pk=instance.pk).update(version="18.1", seen_certificate="ab")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE instances_instance SET level = 'C' WHERE id = %s", [instance.pk])
    pk = instance.pk
    instance.delete()
    events = since(start)
    assert [(event.kind, event.before, event.after) for event in events[:-1]] == [
        ("update", {"port": None, "note": ""}, {"port": 5433, "note": "it's 100 % moved"}),
        ("update", {"host": "db1"}, {"host": "db2"}),
        ("update", {"level": "B"}, {"level": "C"}),
    ]
    assert events[-1].kind == "delete"
    assert events[-1].before["host"] == "db2"
    assert events[-1].after is None
    assert {(event.model, event.object_id, event.object, event.instance_id) for event in events} == {
        ("instances.instance", str(pk), "orders", pk)
    }


def test_a_change_of_a_password_is_recorded_as_such_only(instance, root):
    """F8.2: no secret is in the trail, nor its cipher."""
    credential = instance.credential
    assert last(model="instances.credential").after == {
        "name": "login",
        "username": "collector",
        "kind": "password",
        "reference": "",
        "hosts": "",
        "note": "",
        "password": "set",
    }
    cipher = credential.token
    credential.password = "other-secret"
    credential.save()
    event = last(model="instances.credential")
    assert (event.before, event.after) == ({"password": "set"}, {"password": "changed"})
    root.set_password("another-password-2")
    root.save()
    assert last(model="auth.user").after == {"password": "changed"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(e::text, ' ') FROM audit_event e")
        text = cursor.fetchone()[0]
    for secret in ("hunter2-secret", "other-secret", cipher, credential.token, "another-password-2", root.password):
        assert secret not in text


def test_members_of_groups_and_their_permissions(root):
    group = Group.objects.create(name="people")
    root.groups.add(group)
    group.permissions.add(apps.get_model("auth.Permission").objects.get(codename="view_instance"))
    assert last(model="auth.user_groups").object == "root: people"
    assert last(model="auth.group_permissions").object == "people: view_instance"
    root.delete()
    assert last(model="auth.user_groups").kind == "delete"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_event SET user_name = 'x'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
        "TRUNCATE audit_event CASCADE",
        "SET LOCAL session_replication_role = replica; DELETE FROM audit_event",
        "SET LOCAL session_replication_role = replica; UPDATE audit_event SET after = NULL",
    ],
)
def test_the_trail_is_append_only(instance, sql):
    """F8.2: the store refuses to change events, also for its own superuser."""
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    assert last(model="instances.instance").object == "orders"


def test_an_event_cannot_be_changed_by_the_model_or_dated_back(instance):
    event = Event.objects.first()
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
        event.delete()
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
        Event.objects.update(object="x")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_event (id, at, kind, door) VALUES (1, '2001-01-01', 'login', 'admin') RETURNING id, at > now() - interval '1 hour', door"
        )
        number, is_now, door = cursor.fetchone()
    assert number > event.pk
    assert is_now
    assert door != "admin"


@pytest.mark.django_db(transaction=True)
def test_truncating_a_table_is_an_event_and_flush_keeps_the_trail(root):
    start = newest()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE tagging_tag CASCADE")
    events = since(start)
    assert {"tagging.tag", "tagging.instancetag"} <= {event.model for event in events if event.kind == "truncate"}


@pytest.mark.django_db(transaction=True)
def test_each_door(tmp_path):
    """F8.2: admin, API, worker and SQL: who, from where, in which request."""
    root = User.objects.create_superuser("root", password="root-password-1")
    web = Client(headers={"user-agent": "x"}, REMOTE_ADDR="203.0.113.9")
    answer = web.post("/admin/login/", {"username": "root", "password": "root-password-1"})
    login = last(kind="login")
    assert (login.door, login.user_id, login.user_name, login.address) == ("admin", root.pk, "root", "203.0.113.9")
    assert login.request == answer.headers["X-Request-ID"]
    added = web.post("/admin/tagging/tag/add/", {"slug": "blue", "label": "Blue", "colour": "#000000", "active": "on"})
    event = last(model="tagging.tag")
    assert (event.door, event.user_name, event.address, event.request, event.object) == (
        "admin",
        "root",
        "203.0.113.9",
        added.headers["X-Request-ID"],
        "Blue",
    )
    api = client_of(root)
    answer = api.patch(f"/api/tags/{event.object_id}/", {"label": "Navy"}, format="json")
    assert answer.status_code == 200, answer.content
    event = last(model="tagging.tag")
    assert (event.door, event.user_name, event.before, event.after) == (
        "api",
        "root",
        {"label": "Blue"},
        {"label": "Navy"},
    )
    with origin_is(lambda: Origin(door="worker", command="some.task")):
        User.objects.filter(pk=root.pk).update(first_name="R", last_login=None)
    event = last(model="auth.user")
    assert (event.door, event.command, event.after) == ("worker", "some.task", {"first_name": "R"})
    with connection.cursor() as cursor:
        cursor.execute("/* by hand */ UPDATE auth_user SET first_name = 'S'")
    event = last(model="auth.user")
    assert (event.door, event.user_name, event.address) == ("database", connection.settings_dict["USER"], None)
    assert web.post("/admin/logout/").status_code in (200, 302)
    assert (last(kind="logout").user_name, last(kind="logout").door) == ("root", "admin")
    web.post("/admin/login/", {"username": "r" * 200, "password": "not this one"})
    event = last(kind="failed_login")
    assert (event.object, event.user_name, event.address) == ("r" * 80, "", "203.0.113.9")
    assert "not this one" not in json.dumps([event.before, event.after, event.object])


@pytest.fixture
def nothing_yet(db: None) -> None:
    """Whatever other tests have left in the trail is no matter here."""
    empty_trail()


@pytest.fixture
def hostile(nothing_yet: None, instance: Instance, root: User) -> Event:
    """An event with a name that would end a line, hide, and run as a formula."""
    Instance.objects.filter(pk=instance.pk).update(note="a\r\nb\u202ec\x1b[2J\x7f", name="=HYPERLINK(1)")
    return last(model="instances.instance")


def test_the_list_and_the_page_of_an_event(hostile, root, django_assert_num_queries):
    """F8.2: list, filters and search, and old and new values beside each other."""
    browser = entered(root)
    page = browser.get("/admin/audit/event/?door__exact=database&kind__exact=update&model=instances.instance&q=HYPER")
    assert [event.pk for event in page.context["cl"].result_list] == [hostile.pk]
    assert browser.get("/admin/audit/event/?model=tagging.tag").context["cl"].result_count == 0
    page = browser.get(f"/admin/audit/event/{hostile.pk}/change/")
    assert "orders" in page.text
    assert "=HYPERLINK(1)" in page.text
    assert "\u202e" not in page.text
    assert "\x1b" not in page.text
    Event.objects.bulk_create([Event(kind="login", object=f"n{number}") for number in range(120)])
    # Session, user, count, rows.
    with django_assert_num_queries(5):
        page = browser.get("/admin/audit/event/")
    assert len(page.context["cl"].result_list) == 50
    assert browser.get("/admin/audit/event/add/").status_code == 403
    assert browser.post(f"/admin/audit/event/{hostile.pk}/change/", {"object": "x"}).status_code == 403
    assert browser.post(f"/admin/audit/event/{hostile.pk}/delete/", {"post": "yes"}).status_code == 403


def test_an_event_names_the_rows_that_its_numbers_mean(instance, root):
    other = Credential.objects.create(name="other", username="u")
    gone = instance.credential_id
    instance.credential = other
    instance.save()
    event = last(model="instances.instance")
    Credential.objects.filter(pk=gone).delete()
    text = entered(root).get(f"/admin/audit/event/{event.pk}/change/").text
    assert f"<td>#{gone}</td>" in text
    assert f"<td>other (#{other.pk})</td>" in text


def test_the_csv_holds_what_is_selected_and_is_an_event_itself(hostile, root):
    """F8.2: exportable; no cell runs as a formula, and no name breaks a line."""
    browser = entered(root)
    answer = browser.post(
        "/admin/audit/event/?kind__exact=update",
        {"action": "as_csv", "_selected_action": [hostile.pk], "select_across": "1"},
    )
    text = b"".join(answer.streaming_content).decode()
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    row = next(row for row in rows if row["id"] == str(hostile.pk))
    assert row["object"] == "'=HYPERLINK(1)"
    assert json.loads(row["before"]) == {"name": "orders", "note": ""}
    assert "\u202e" not in text
    assert "\x1b" not in text
    event = last(kind="export")
    assert (event.user_name, event.door) == ("root", "admin")
    assert event.object.startswith("audit-")
    assert event.after == {"path": "/admin/audit/event/", "query": {"kind__exact": ["update"]}}


def test_the_api(hostile, root, django_assert_num_queries):
    """F8.2: read-only, filtered and in pages."""
    api = client_of(root)
    # Count and rows.
    with django_assert_num_queries(2):
        answer = api.get("/api/audit/?model=Instances.Instance&kind=update&door=database").json()
    assert [row["id"] for row in answer["results"]] == [hostile.pk]
    assert answer["results"][0]["after"]["name"] == "=HYPERLINK(1)"
    assert api.get("/api/audit/?person=nobody-here").json()["count"] == 0
    assert api.get(f"/api/audit/?since={hostile.at.isoformat().replace('+', '%2B')}").json()["count"] >= 1
    for wrong in ("kind=nonsense", "address=nowhere", "instance_id=x", "person=%00", "since=never", "unknown=1"):
        assert api.get(f"/api/audit/?{wrong}").status_code == 400, wrong
    for right in (
        "address=203.0.113.9",
        f"instance_id={10**40}",
        f"object_id={'9' * 400}",
        "ordering=id",
        "search=%25",
    ):
        assert api.get(f"/api/audit/?{right}").status_code == 200, right
    assert api.delete(f"/api/audit/{hostile.pk}/").status_code == 405
    assert api.patch(f"/api/audit/{hostile.pk}/", {}, format="json").status_code == 405


def test_people_who_are_limited_see_events_of_their_instances_only(instance, root):
    """F8.2: neither events of hidden instances, nor those of the fleet, which may name them."""
    hidden = Instance.objects.create(name="zebra", engine="mysql", host="h", credential=instance.credential)
    tag = Tag.objects.create(slug="mine", label="Mine")
    InstanceTag.objects.create(instance=instance, tag=tag)
    person = user_with("audit.view_event")
    assert client_of(person).get(f"/api/audit/?instance_id={hidden.pk}").json()["count"] == 1
    TagLimit.objects.create(user=person, tag=tag)
    person = User.objects.get(pk=person.pk)
    rows = client_of(person).get("/api/audit/").json()["results"]
    assert {row["instance_id"] for row in rows} == {instance.pk}
    assert "zebra" not in entered(person).get("/admin/audit/event/").text


def test_use_of_a_token_is_an_event_once_an_hour_and_address(root, monkeypatch):
    token = ApiToken(user=root, name="nightly")
    secret = token.draw()
    token.save()
    monkeypatch.setattr("taifish.tokens.USE_NOTED_EVERY", timedelta(0))

    def used() -> int:
        return Event.objects.filter(kind="token_use").count()

    def get(address: str, bearer: str = secret) -> int:
        client = Client(headers={"authorization": f"Bearer {bearer}"}, REMOTE_ADDR=address)
        return client.get("/api/tags/").status_code

    for address in ("203.0.113.9", "203.0.113.8", "203.0.113.9", "203.0.113.8"):
        assert get(address) == 200
    assert used() == 2
    event = last(kind="token_use")
    assert (event.object, event.user_name, event.address, event.door) == ("nightly", "root", "203.0.113.8", "api")
    monkeypatch.setattr("audit.services.ONE_USE_IN", timedelta(0))
    assert get("203.0.113.9") == 200
    assert used() == 3
    assert get("203.0.113.9", "taifish_wrong") == 401
    assert (last(kind="failed_login").object, last(kind="failed_login").address) == ("API token", "203.0.113.9")
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(e::text, ' ') FROM audit_event e")
        text = cursor.fetchone()[0]
    assert secret not in text
    assert token.digest not in text


def test_a_login_that_is_locked_is_an_event(root, settings):
    settings.AXES_FAILURE_LIMIT = 2
    for _ in range(3):
        Client(REMOTE_ADDR="203.0.113.7").post("/admin/login/", {"username": "root", "password": "wrong-one"})
    assert last(kind="locked_login").object == "root"
    assert last(kind="locked_login").address == "203.0.113.7"


def test_a_decision_in_the_admin_is_an_event_with_its_words(instance, root):
    browser = entered(root)
    browser.post(f"/admin/instances/instance/{instance.pk}/do/retire/", {"confirmed": "1"})
    event = last(kind="decision")
    assert (event.user_name, event.object, event.instance_id) == ("root", "orders", instance.pk)
    assert event.after == {"decision": "Retired."}
    assert last(kind="update").before == {"retired_at": None}


@pytest.fixture
def manage(transactional_db: None, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run manage.py on the store of the test."""
    store = connection.settings_dict
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TAIFISH_", "DATABASE", "PG"))},
        "DATABASE_URL": f"postgresql://{store['USER']}@{quote(store['HOST'], safe='')}:{store['PORT'] or 5432}/{store['NAME']}",
        "TAIFISH_DATA_DIR": str(tmp_path),
        "TAIFISH_SECRET_KEY": "s" * 60,
        "TAIFISH_CREDENTIAL_KEYS": settings.TAIFISH_CREDENTIAL_KEYS[0],
    }

    def run(*words: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=settings.BASE_DIR,
            env=environment | more,
            input=stdin,
            capture_output=True,
            text=True,
        )

    return run


def test_commands_and_the_shell(manage):
    """F8.2: what a command or the shell changes has its door, its name, and the user of the machine."""
    credential = Credential.objects.create(name="c", username="u")
    instance = Instance.objects.create(name="one", engine="mysql", host="h", credential=credential)
    start = newest()
    done = manage("shell", "-v", "0", "-c", "from instances.models import *; Instance.objects.update(host='shell')")
    assert done.returncode == 0, done.stderr
    change, shell = since(start)
    assert (change.door, change.command, change.after) == ("shell", "shell", {"host": "shell"})
    assert change.user_name == getpass.getuser()
    assert (shell.kind, shell.object) == ("command", "shell")
    Tag.objects.create(slug="gold", label="Gold")
    assert manage("tag", "add", "gold", "--instances", "one").returncode == 0
    event = last(model="tagging.instancetag")
    assert (event.door, event.command, event.object, event.instance_id) == ("command", "tag", "one: Gold", instance.pk)
    refused = manage("shell", "-v", "0", "-c", "from audit.models import Event; Event.objects.all().delete()")
    assert "append-only" in refused.stderr
    assert Event.objects.filter(pk=change.pk).exists()
    assert manage("resume_visits", "one").returncode == 0
    event = last(kind="command")
    assert (event.object, event.after) == ("resume_visits", {"words": ["one"]})
    csv_text = manage("audit_trail", "--csv", "--door", "shell").stdout
    assert next(csv.DictReader(io.StringIO(csv_text)))["object"] == "one"
    lines = manage("audit_trail", "--json", "--model", "tagging.InstanceTag").stdout.splitlines()
    assert json.loads(lines[-1])["object"] == "one: Gold"
    event = last(kind="export")
    assert (event.object, event.after) == ("audit_trail", {"words": ["--json", "--model", "tagging.InstanceTag"]})
    assert "one (instance" not in manage("audit_trail", "--until", "2001-01-01").stdout
    assert manage("audit_trail", "--since", "never").returncode == 2


def test_pruning_is_the_one_way_to_remove_and_leaves_an_event(manage, monkeypatch):
    """F8.2: retention is one audited command."""
    credential = Credential.objects.create(name="c", username="u")
    with connection.cursor() as cursor:
        # Time cannot be entered, so the test takes the trigger away that sets it, as its owner may.
        cursor.execute("ALTER TABLE audit_event DISABLE TRIGGER audit_stamp")
        cursor.execute(
            "INSERT INTO audit_event (id, at, kind, door) SELECT -n, now() - n * interval '1 day', 'login', 'admin' FROM generate_series(1, 99) n"
        )
        cursor.execute("ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_stamp")
    refused = manage("prune_audit", "--older-than", "30", stdin="n\n")
    assert refused.returncode == 1
    assert Event.objects.filter(pk__lt=0).count() == 99
    waiting = manage("prune_audit", "--older-than", "30", "--yes", TAIFISH_AUDIT_FORWARD="stdout")
    assert "not forwarded yet" not in waiting.stderr or waiting.returncode == 1
    done = manage("prune_audit", "--older-than", "30", "--yes")
    assert done.returncode == 0, done.stderr
    left = Event.objects.filter(pk__lt=0).count()
    assert left in (29, 30)
    event = Event.objects.filter(kind="prune").order_by("pk").first()
    assert event.after["removed"] == 99 - left
    assert (event.door, event.user_name) == ("command", getpass.getuser())
    # The event of another transaction is no permission.
    with pytest.raises(ProgrammingError, match="append-only"):
        Event.objects.filter(pk__lt=0).delete()
    with pytest.raises(ProgrammingError, match="append-only"):
        Event.objects.filter(kind="prune").delete()
    assert manage("prune_audit", "--older-than", "0").returncode == 2
    assert credential.pk


def test_the_roles_of_the_docs_cannot_switch_the_trail_off(db, instance):
    """F8.2: with migrations run by an owner, the product's role can write to the trail and not stop it."""
    text = (Path(settings.BASE_DIR) / "docs" / "operators.md").read_text()
    script = text.split("\n## Audit trail\n")[1].split("```sql\n")[1].split("```")[0]
    with connection.cursor() as cursor:
        # The owner of a table is not changed with checks pending.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(script)
        for kind in ("TABLE", "SEQUENCE"):
            cursor.execute(
                f"SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind = '{'r' if kind == 'TABLE' else 'S'}'"
            )
            rights = "SELECT, INSERT, UPDATE, DELETE" if kind == "TABLE" else "USAGE, SELECT"
            for (name,) in cursor.fetchall():
                cursor.execute(f"ALTER TABLE {name} OWNER TO taifish_owner" if kind == "TABLE" else "SELECT 1")
                cursor.execute(f"GRANT {rights} ON {kind} {name} TO taifish_app")
        cursor.execute("SET LOCAL ROLE taifish_app")
        instance.note = "by the product"
        instance.save()
        assert last(model="instances.instance").after == {"note": "by the product"}
        for sql in (
            "DROP TRIGGER audit_refuse ON audit_event",
            "ALTER TABLE audit_event DISABLE TRIGGER ALL",
            "ALTER TABLE instances_instance DISABLE TRIGGER audit_track",
            "DROP FUNCTION audit_track() CASCADE",
            "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
            "SET LOCAL session_replication_role = replica",
            "DROP TABLE audit_event",
        ):
            with pytest.raises(ProgrammingError, match=r"must be owner|permission denied"), transaction.atomic():
                cursor.execute(sql)
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            cursor.execute("DELETE FROM audit_event")
        cursor.execute("RESET ROLE")


def test_no_secret_gets_into_the_trail_by_any_form_or_call(db, root):
    """F8.2: known secrets are entered everywhere, and then looked for in the table and its CSV."""
    mark = "Sup3r-secret-mark"
    browser, api = entered(root), client_of(root)
    start = newest()
    browser.post(
        "/admin/instances/credential/add/",
        {"name": "one", "username": "u", "kind": "password", "password": f"{mark}1", "note": ""},
    )
    api.post("/api/credentials/", {"name": "two", "username": "u", "password": f"{mark}2"}, format="json")
    api.post(
        "/api/alert-channels/",
        {"name": "hook", "kind": "webhook", "url": f"https://203.0.113.5/{mark}3", "secret": f"{mark}4"},
        format="json",
    )
    browser.post(
        "/admin/auth/user/add/",
        {"username": "new", "usable_password": "true", "password1": f"{mark}5", "password2": f"{mark}5"},
    )
    browser.post(f"/admin/auth/user/{root.pk}/password/", {"password1": f"{mark}6", "password2": f"{mark}6"})
    token = api.post("/api/tokens/", {"name": "nightly"}, format="json").json()["token"]
    Client().post("/admin/login/", {"username": "root", "password": f"{mark}7"})
    made = {(event.model, event.kind) for event in since(start)}
    assert {
        ("instances.credential", "insert"),
        ("alerts.channel", "insert"),
        ("auth.user", "insert"),
        ("auth.user", "update"),
        ("taifish.apitoken", "insert"),
        ("", "failed_login"),
    } <= made
    assert Credential.objects.count() == 2
    assert last(model="alerts.channel").after | {"url": "set", "secret": "set"} == last(model="alerts.channel").after
    root.refresh_from_db()
    hidden = [mark, token, root.password, *Credential.objects.values_list("token", flat=True)]
    hidden += ApiToken.objects.values_list("digest", flat=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(e::text, ' ') FROM audit_event e")
        table = cursor.fetchone()[0]
    answer = entered(root).post(
        "/admin/audit/event/", {"action": "as_csv", "_selected_action": ["1"], "select_across": "1"}
    )
    file = b"".join(answer.streaming_content).decode()
    assert "nightly" in file
    for secret in hidden:
        assert secret
        assert secret not in table
        assert secret not in file


def test_a_task_and_a_service_are_workers(instance, settings):
    """F8.2: what a task changes has the task's name; outside tasks, the service's."""
    instance.retire()
    Instance.objects.update(retired_at=timezone.now() - timedelta(days=settings.TAIFISH_KEEP_RETIRED_DAYS + 1))
    purge.apply()
    event = last(kind="delete", model="instances.instance")
    assert (event.door, event.command, event.object) == ("worker", "instances.purge", "orders")
    assert origin.current() is None
    try:
        trail.start_service(signal=signals.celeryd_init)
        assert origin.current() == Origin(door="worker", command="worker")
        trail.start_service(signal=signals.beat_init)
        assert origin.current() == Origin(door="worker", command="beat")
    finally:
        origin._process.clear()
