"""Secrets at rest: what opens them, what does not, and where they never show."""

from __future__ import annotations

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.forms import model_to_dict

from instances import crypto
from instances.models import Credential, Instance

SECRET = "pä$$w0rd of the collector"
OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture
def keys(settings):
    def keys(*values: str) -> None:
        settings.TAIFISH_CREDENTIAL_KEYS = list(values)

    keys(OLD)
    return keys


def test_a_secret_comes_back_and_its_token_says_nothing(keys):
    token = crypto.encrypt(SECRET)
    assert crypto.decrypt(token) == SECRET
    assert SECRET not in token
    # The same password on two credentials cannot be told from two different ones.
    assert crypto.encrypt(SECRET) != token


@pytest.mark.parametrize("token", ["", "not a token", SECRET, "gAAAAABk", "gAAAAABk\x00é"])
def test_what_is_no_token_is_never_handed_out_as_a_password(keys, token):
    with pytest.raises(crypto.CredentialKeyError, match="TAIFISH_CREDENTIAL_KEYS"):
        crypto.decrypt(token)


def test_a_wrong_key_raises_and_shows_nothing(keys):
    token = crypto.encrypt(SECRET)
    keys(NEW)
    with pytest.raises(crypto.CredentialKeyError) as caught:
        crypto.decrypt(token)
    told = f"{caught.value!r}{caught.value.__cause__!r}"
    assert not [word for word in (token, SECRET, OLD, NEW) if word in told]
    with pytest.raises(crypto.CredentialKeyError):
        crypto.rotate(token)


def test_all_keys_open_and_the_first_one_closes(keys):
    token = crypto.encrypt(SECRET)
    keys(NEW, OLD)
    assert crypto.decrypt(token) == SECRET
    rotated = crypto.rotate(token)
    keys(NEW)
    assert crypto.decrypt(rotated) == SECRET
    keys(OLD)
    with pytest.raises(crypto.CredentialKeyError):
        crypto.decrypt(rotated)


def test_a_key_that_is_none_is_a_mistake_of_the_settings_and_is_not_quoted(keys):
    keys("hunter2")
    with pytest.raises(ImproperlyConfigured, match="not a Fernet key") as caught:
        crypto.encrypt(SECRET)
    assert "hunter2" not in str(caught.value)


def test_the_password_shows_nowhere(keys, db):
    credential = Credential.objects.create(name="c", username="u", password=SECRET)
    instance = Instance.objects.create(name="i", engine="postgresql", host="db1", credential=credential)
    dump = StringIO()
    call_command("dumpdata", "instances", stdout=dump)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM instances_credential")
        row = cursor.fetchone()
    shown = [
        repr(credential),
        str(credential),
        str(vars(credential)),
        str(list(Credential.objects.values())),
        str(model_to_dict(credential)),
        serializers.serialize("json", [credential], ensure_ascii=False),
        dump.getvalue(),
        str(row),
        repr(instance.target()),
        str(instance.target()),
    ]
    assert instance.target().password == SECRET
    assert not [text for text in shown if SECRET in text or "w0rd" in text]
    # Nor is the token for forms to show, or to be posted back.
    assert "token" not in model_to_dict(credential)


def test_an_empty_password_stays_empty(keys, db):
    credential = Credential.objects.create(name="peer", username="u")
    assert (credential.token, credential.password) == ("", "")
    credential.password = SECRET
    credential.password = ""
    assert credential.token == ""


def test_a_credential_under_a_lost_key_refuses_to_open(keys, db):
    Credential.objects.create(name="c", username="u", password=SECRET)
    keys(NEW)
    with pytest.raises(crypto.CredentialKeyError):
        _ = Credential.objects.get().password
    # The way out that the message names.
    credential = Credential.objects.get()
    credential.password = "anew"
    credential.save()
    assert Credential.objects.get().password == "anew"
