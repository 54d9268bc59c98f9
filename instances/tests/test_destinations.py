"""Where a stored password is sent: hosts that its credential lists, or those of whoever knows it (F8.4)."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from engines.errors import AdapterError
from instances.destinations import REACH, is_listed
from instances.models import Credential, Instance
from instances.services import check_connection, target_of
from instances.tests.api import client_with, superclient, user_with
from instances.tests.pages import entered
from instances.tests.test_admin import form, page

SECRET = "Tr0ub4dor&3-secret"
MAY = ["instances.view_instance", "instances.add_instance", "instances.change_instance", "instances.use_credential"]
ASKED = "Enter the password of the credential again"


@pytest.fixture
def credential(db) -> Credential:
    return Credential.objects.create(name="collector", username="taifish", password=SECRET)


@pytest.fixture
def instance(credential) -> Instance:
    return Instance.objects.create(name="prod", engine="postgresql", host="db.example.org", credential=credential)


@pytest.mark.parametrize(
    ("host", "hosts", "listed"),
    [
        ("db.example.org", "", True),
        ("db.example.org", "*.example.org", True),
        ("DB.example.org.", "*.Example.org", True),
        ("example.org.evil.net", "*.example.org", False),
        ("db.example.org", "db1.example.org, db?.example.org\ndb.example.org", True),
        ("10.2.3.4", "10.0.0.0/8", True),
        ("11.2.3.4", "10.0.0.0/8", False),
        ("10.evil.net", "10.0.0.0/8", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("/var/run/postgresql", "/var/run/*", True),
        ("/tmp/mine", "/var/run/*", False),
        ("db.example.org", "[x", False),
    ],
)
def test_a_list_names_hosts_by_pattern_and_addresses_by_network(host, hosts, listed):
    assert is_listed(host, hosts) == listed


@pytest.mark.parametrize(
    "change",
    [
        {"host": "evil.example.org"},
        {"port": 5433},
        {"database": "other"},
        {"tls_mode": "disable"},
        {"proof": "as_before"},
        {"engine": "mysql"},
    ],
)
@pytest.mark.parametrize("door", ["page", "api"])
def test_a_move_asks_for_the_password(instance, door, change):
    assert change.keys() <= set(REACH)

    def move(**password: str) -> object:
        if door == "page":
            return entered(user_with(*MAY)).post(page(instance), form(instance, **change, **password))
        client = client_with(*MAY)
        return client.patch(f"/api/instances/{instance.pk}/", change | password, format="json")

    for password in ({}, {"credential_password": "wrong"}):
        answer = move(**password)
        said = ASKED if not password else "This is not the password of the credential."
        assert said in answer.content.decode()
        assert SECRET not in answer.content.decode()
        before = Instance.objects.get(pk=instance.pk)
        assert {name: getattr(before, name) for name in change} != change
    assert move(credential_password=SECRET).status_code in (200, 302)
    instance.refresh_from_db()
    assert {name: getattr(instance, name) for name in change} == change


def test_what_moves_nothing_asks_nothing(instance):
    client = entered(user_with(*MAY))
    same = form(instance, note="new", host=" db.example.org ")
    assert client.post(page(instance), same).status_code == 302
    answer = client_with(*MAY).patch(f"/api/instances/{instance.pk}/", {"note": "newer"}, format="json")
    assert (answer.status_code, "credential_password" in answer.json()) == (200, False)


def test_a_new_instance_asks_too_and_a_list_answers(credential):
    client = client_with(*MAY)
    new = {"name": "new", "engine": "postgresql", "host": "db2.example.org", "credential": credential.pk}
    answer = client.post("/api/instances/", new, format="json")
    assert (answer.status_code, list(answer.json())) == (400, ["credential_password"])
    assert client.post("/api/instances/", new | {"credential_password": SECRET}, format="json").status_code == 201
    Credential.objects.update(hosts="*.example.org")
    assert client.post("/api/instances/", new | {"name": "newer"}, format="json").status_code == 201
    answer = client.post("/api/instances/", new | {"name": "evil", "host": "evil.net"}, format="json")
    assert answer.json() == {"host": ["The credential does not list this host. Add it to its allowed hosts."]}


def test_a_credential_without_a_password_asks_nothing(instance):
    Credential.objects.update(token="")
    answer = client_with(*MAY).patch(f"/api/instances/{instance.pk}/", {"host": "db2"}, format="json")
    assert answer.status_code == 200


def test_a_file_needs_a_list(instance, credential):
    text = "name,engine,host,credential\nprod,postgresql,db2.example.org,collector\n"
    client = entered(user_with(*MAY))
    url = reverse("admin:instances_instance_import")
    upload = {"format": "0", "input_format": "0"}

    def preview() -> str:
        file = SimpleUploadedFile("i.csv", text.encode())
        return client.post(url, upload | {"import_file": file}).content.decode()

    assert "lists no hosts. Enter them there first" in preview()
    Credential.objects.update(hosts="db.example.org")
    assert "The credential does not list this host." in preview()
    Credential.objects.update(hosts="*.example.org")
    assert "Confirm import" in preview()


@pytest.mark.parametrize("door", ["page", "api"])
def test_a_wider_list_asks_for_the_password_and_a_narrower_one_names_what_it_leaves_out(instance, credential, door):
    may = ["instances.view_credential", "instances.change_credential"]
    page = reverse("admin:instances_credential_change", args=[credential.pk])
    whole = {"name": "collector", "username": "taifish", "kind": "password", "note": ""}

    def change(**fields: str) -> str:
        if door == "page":
            return entered(user_with(*may)).post(page, whole | fields).content.decode()
        return client_with(*may).patch(f"/api/credentials/{credential.pk}/", fields, format="json").content.decode()

    assert "Enter the password again: the allowed hosts changed." in change(hosts="*")
    credential.refresh_from_db()
    assert credential.hosts == ""
    assert "The hosts of these instances are not listed: prod." in change(hosts="10.0.0.0/8", password=SECRET)
    change(hosts="*.example.org", password=SECRET)
    credential.refresh_from_db()
    assert (credential.hosts, credential.password) == ("*.example.org", SECRET)
    assert "Enter the password again: the allowed hosts changed." in change(hosts="")


def test_what_is_not_listed_gets_no_password_whatever_the_store_says(instance):
    """An edit in the store, or a credential assigned there, does not have it sent."""
    Credential.objects.update(hosts="10.0.0.0/8")
    instance = Instance.objects.get(pk=instance.pk)
    with pytest.raises(AdapterError, match="does not list this host: its password is not sent there"):
        target_of(instance)
    check = check_connection(instance)
    assert (check.ok, check.code) == (False, "bad_target")
    with pytest.raises(ValidationError, match="does not list this host"):
        instance.full_clean()


def test_the_field_is_shown_to_those_who_may_move(instance):
    shown = entered(user_with(*MAY)).get(f"{page(instance)}?edit=1").content.decode()
    assert 'name="credential_password"' in shown
    shown = entered(user_with("instances.view_instance", "instances.change_instance")).get(f"{page(instance)}?edit=1")
    assert (shown.status_code, "credential_password" in shown.content.decode()) == (200, False)
    described = superclient().get("/api/instances/").json()["results"][0]
    assert "credential_password" not in described
