"""`manage.py test_connection` and `manage.py rotate_credential_keys`."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from instances.models import Credential, Instance
from taifish.tests.postgres import free_port

SECRET = "s3cr3t-of-the-collector"


def run(command: str, *arguments: str) -> tuple[int, str]:
    """The exit code and what was printed; a wrong call prints its complaint."""
    out = StringIO()
    try:
        call_command(command, *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def dead(db) -> Instance:
    credential = Credential.objects.create(name="nobody", username="nobody", password=SECRET)
    return Instance.objects.create(
        name="dead", engine="postgresql", host="127.0.0.1", port=free_port(), credential=credential
    )


@pytest.fixture
def alive(db, postgres18) -> Instance:
    target = postgres18.collector(f"test_connection_{Instance.objects.count()}")
    credential = Credential.objects.create(name="pg", username=target.username, password=target.password)
    yield Instance.objects.create(
        name="alive", engine="postgresql", host=target.host, port=target.port, credential=credential
    )
    postgres18.reset()


def test_a_server_that_answers(alive):
    code, told = run("test_connection", "alive")
    assert (code, told.startswith("alive: PostgreSQL 18")) == (0, True), told


def test_one_that_does_not_is_told_with_the_reason(alive, dead):
    code, told = run("test_connection", "--all")
    good, bad = told.splitlines()
    assert (code, good.startswith("alive: PostgreSQL 18"), bad.startswith("dead: unreachable: ")) == (3, True, True)
    code, told = run("test_connection", "dead", "alive", "--json")
    good, bad = json.loads(told)
    assert (code, good["instance"], good["ok"], bad["instance"], bad["ok"]) == (3, "alive", True, "dead", False)
    assert (bad["code"], bool(bad["hint"]), good["version"].startswith("18")) == ("unreachable", True, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Name one or more instances, or use --all."),
        (["dead", "--all"], "Name one or more instances, or use --all."),
        (["dead", "daed"], "Invalid instances: 'daed' is unknown. Did you mean dead?"),
    ],
)
def test_a_wrong_call(dead, arguments, complaint):
    assert run("test_connection", *arguments) == (2, complaint)


def test_rotation_takes_every_password_to_the_first_key(db, settings):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.TAIFISH_CREDENTIAL_KEYS = [old]
    for number in range(3):
        Credential.objects.create(name=f"c{number}", username="u", password=f"{SECRET}{number}")
    Credential.objects.create(name="trusted", username="peer")
    settings.TAIFISH_CREDENTIAL_KEYS = [new, old]
    assert run("rotate_credential_keys") == (0, "3 passwords are now encrypted with the first key\n")
    settings.TAIFISH_CREDENTIAL_KEYS = [new]
    passwords = [credential.password for credential in Credential.objects.all()]
    assert passwords == [f"{SECRET}0", f"{SECRET}1", f"{SECRET}2", ""]


def test_rotation_is_all_or_none(db, settings):
    keys = [Fernet.generate_key().decode() for _ in range(3)]
    for number, key in enumerate(keys[:2]):
        settings.TAIFISH_CREDENTIAL_KEYS = [key]
        Credential.objects.create(name=f"c{number}", username="u", password=SECRET)
    before = list(Credential.objects.values_list("token", flat=True))
    settings.TAIFISH_CREDENTIAL_KEYS = [keys[2], keys[0]]
    code, told = run("rotate_credential_keys")
    assert (code, told.startswith("Credential 'c1': "), told.endswith("Nothing was changed.")) == (1, True, True)
    assert SECRET not in told
    assert list(Credential.objects.values_list("token", flat=True)) == before
