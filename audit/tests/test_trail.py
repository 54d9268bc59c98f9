"""F8.2: one append-only trail for every door, with old and new values and without secrets."""

from __future__ import annotations

import json

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import ProgrammingError, connection, transaction
from django.test import Client

from audit.models import Event
from audit.origin import Origin, origin_is
from audit.tracking import install
from instances.models import Credential, Instance
from instances.tests.api import client_of
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
