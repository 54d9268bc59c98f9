"""Reaching an instance: who answered, or why nobody did."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.db import connection

from engines.errors import AdapterError
from engines.facts import ServerInfo
from instances.models import Credential, Instance
from instances.services import check_connection, named, remember_server, target_of


@pytest.fixture
def instance(db) -> Instance:
    credential = Credential.objects.create(name="c", username="u", password="p")
    return Instance.objects.create(name="prod", engine="postgresql", host="db1", credential=credential)


def test_who_answered_is_remembered(instance, postgres18):
    target = postgres18.collector("services_check")
    instance.host, instance.port = target.host, target.port
    instance.credential.username, instance.credential.password = target.username, target.password
    check = check_connection(instance)
    assert (check.ok, check.product, check.code, check.message) == (True, "PostgreSQL", "", "")
    assert 0 < check.seconds < 10
    instance.refresh_from_db()
    assert (instance.product, instance.version) == (check.product, check.version)


def test_an_unknown_host_is_told_not_raised(instance):
    instance.host, instance.connect_timeout = "no-such-host.invalid", 2
    check = check_connection(instance)
    assert (check.ok, check.code) == (False, "unreachable")
    assert "no-such-host.invalid" in check.message
    assert check.hint
    instance.refresh_from_db()
    assert instance.product == ""


def test_an_engine_that_nobody_serves_is_told(instance):
    instance.engine = "db2"
    check = check_connection(instance)
    assert (check.ok, check.code) == (False, "unsupported")
    assert "postgresql" in check.hint


def test_a_password_that_no_key_opens_is_told(instance, settings):
    settings.TAIFISH_CREDENTIAL_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(AdapterError) as caught:
        target_of(instance)
    assert (caught.value.code, caught.value.transient) == ("bad_target", False)
    assert check_connection(instance).code == "bad_target"


def row_version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT xmin::text FROM instances_instance")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_a_server_that_stayed_the_same_is_not_written_again(instance):
    remember_server(instance, ServerInfo("PostgreSQL", "18.4", "psycopg2"))
    Instance.objects.update(note="a person's")
    before = row_version()
    remember_server(instance, ServerInfo("PostgreSQL", "18.4", "psycopg2"))
    assert row_version() == before
    remember_server(instance, ServerInfo("PostgreSQL", "18.5", "psycopg2"))
    assert row_version() != before
    row = Instance.objects.get()
    assert (row.product, row.version, row.note) == ("PostgreSQL", "18.5", "a person's")


def test_names_are_taken_at_their_word(instance):
    retired = Instance.objects.create(name="old", engine="mysql", host="db2", credential=instance.credential)
    retired.retire()
    assert list(named(["prod", "prod"])) == [instance]
    with pytest.raises(ValueError, match="'Prod' is unknown, 'old' is retired"):
        named(["prod", "Prod", "old"])
