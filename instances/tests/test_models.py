"""What may be stored about an instance, and what becomes of one that is retired."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from engines.registry import ENGINES
from instances.models import Credential, Instance
from instances.services import purge_retired


def instance(**fields: object) -> Instance:
    values = {"name": "prod", "engine": "postgresql", "host": "db1", "credential": Credential(pk=1, name="c")} | fields
    return Instance(**values)


def clean(**fields: object) -> Instance:
    row = instance(**fields)
    row.full_clean(exclude=["credential"], validate_unique=False)
    return row


@pytest.mark.parametrize(
    ("host", "stored"),
    [
        ("db1", "db1"),
        ("  db1.example.org ", "db1.example.org"),
        ("db1.example.org.", "db1.example.org."),
        ("db_master-1", "db_master-1"),
        ("数据库.例子", "数据库.例子"),
        ("xn--fsqu00a.example", "xn--fsqu00a.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("/var/run/postgresql", "/var/run/postgresql"),
        ("/tmp/with space/mysqld.sock", "/tmp/with space/mysqld.sock"),
    ],
)
def test_hosts_that_can_be_reached(host, stored):
    assert clean(host=host).host == stored


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "db1:5432",
        "192.0.2.7:3306",
        "[2001:db8::7]:5432",
        "[db1",
        "postgresql://db1/shop",
        "user@db1",
        "db1,db2",
        "db 1",
        "-db1",
        "db1-",
        "db1..example",
        "host=db1 sslmode=disable",
        "db1\nhost=db2",
        "run/postgresql",
        "/run/pg\x00",
        "/run/p\ng",
        "a" * 64 + ".example",
    ],
)
def test_hosts_that_cannot(host):
    with pytest.raises(ValidationError) as caught:
        clean(host=host)
    assert "host" in caught.value.message_dict


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"engine": "db2"}, "engine"),
        ({"name": " \t"}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"budget": 4}, "budget"),
        ({"budget": 3601}, "budget"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"level": "D"}, "level"),
        ({"tls_mode": "maybe"}, "tls_mode"),
        ({"host": "/run/pg", "tls_mode": "verify-ca"}, "tls_mode"),
    ],
)
def test_fields_that_are_refused(fields, wrong):
    with pytest.raises(ValidationError) as caught:
        clean(**fields)
    assert list(caught.value.message_dict) == [wrong]


@pytest.mark.parametrize("name", ["prod", "生产库 №1", "Ünïcode 🐟", "prod/eu-1.a", 'say "hi"'])
def test_names_are_what_people_call_them(db, name):
    credential = Credential.objects.create(name=name, username="u")
    row = instance(name=f" {name} ", credential=credential)
    row.full_clean()
    row.save()
    assert Instance.objects.get(name=name).target().username == "u"
    with pytest.raises(ValidationError, match="already exists"):
        instance(name=name, credential=credential).full_clean()


def test_an_empty_port_is_the_engines_own(db):
    credential = Credential.objects.create(name="c", username="u", password="p")
    for engine, facts in ENGINES.items():
        target = instance(engine=engine, credential=credential).target()
        assert (target.port, target.password, target.engine) == (facts.port, "p", engine)
        assert instance(engine=engine, credential=credential, port=1234).target().port == 1234


def test_retired_restored_and_purged(db, settings):
    """An instance retired by mistake is taken back with its history; one retired for long is forgotten."""
    settings.TAIFISH_KEEP_RETIRED_DAYS = 7
    credential = Credential.objects.create(name="c", username="u")
    kept, back, gone = (
        Instance.objects.create(name=name, engine="mysql", host=name, credential=credential)
        for name in ("kept", "back", "gone")
    )
    for row in (back, gone):
        row.retire()
    since = back.retired_at
    back.retire()
    assert back.retired_at == since
    assert list(Instance.objects.active()) == [kept]
    assert list(Instance.objects.retired()) == [back, gone]
    assert purge_retired() == 0
    back.restore()
    old = timezone.now() - timedelta(days=7, seconds=1)
    Instance.objects.filter(pk=gone.pk).update(retired_at=old)
    assert purge_retired() == 1
    assert set(Instance.objects.all()) == {kept, back}
    assert Credential.objects.get() == credential
