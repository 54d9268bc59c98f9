"""Deploy mistakes are told by `manage.py check`, each with what to do."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Group
from django.core.checks import run_checks

from instances.models import Credential, Instance
from reviews.tests.tsa import Authority
from taifish import checks
from taifish.models import SecondFactorGroup


def told(**options: object) -> dict[str, str]:
    """id → hint of our own messages."""
    return {message.id: message.hint for message in run_checks(**options) if message.id.startswith("taifish.")}


def test_a_key_that_is_none(settings):
    settings.TAIFISH_CREDENTIAL_KEYS = [Fernet.generate_key().decode(), "hunter2"]
    [message] = [message for message in run_checks() if message.id == "taifish.E001"]
    assert message.msg == "Key 2 of TAIFISH_CREDENTIAL_KEYS is not a Fernet key."
    assert "Fernet.generate_key()" in message.hint
    assert "hunter2" not in f"{message.msg}{message.hint}"
    settings.TAIFISH_CREDENTIAL_KEYS = [f" {Fernet.generate_key().decode()} "]
    assert "taifish.E001" not in told()


@pytest.mark.django_db
def test_a_store_that_is_too_old(monkeypatch):
    assert "taifish.E002" not in told(databases=["default"])
    monkeypatch.setattr(checks, "OLDEST_STORE", 99_00_00)
    assert "PostgreSQL 14" in told(databases=["default"])["taifish.E002"]
    # An ordinary check opens no connection.
    assert "taifish.E002" not in told()


def test_what_is_right_for_one_machine_only(settings):
    deploy = told(include_deployment_checks=True)
    assert "DATABASE_URL" in deploy["taifish.W001"]
    assert "CELERY_BROKER_URL" in deploy["taifish.W002"]
    assert not {"taifish.W001", "taifish.W002"} & told().keys()
    settings.TAIFISH_EMBEDDED = False
    settings.CELERY_BROKER_URL = "redis://broker"
    assert not {"taifish.W001", "taifish.W002"} & told(include_deployment_checks=True).keys()


def test_time_stamps_without_a_root(settings, tmp_path):
    assert "taifish.E003" not in told()
    settings.TAIFISH_TIMESTAMP_URL = "https://tsa.example"
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    for wrong in ("", str(tmp_path / "none"), str(file)):
        settings.TAIFISH_TIMESTAMP_CA = wrong
        assert "TAIFISH_TIMESTAMP_CA" in told()["taifish.E003"]
    authority = Authority(tmp_path)
    authority.stop()
    settings.TAIFISH_TIMESTAMP_CA = str(authority.ca)
    assert "taifish.E003" not in told()


def test_mail_and_trail_without_tls(settings):
    plain = {"taifish.W009", "taifish.W010"}
    settings.TAIFISH_AUDIT_FORWARD = "syslog:tcp://localhost:601"
    assert not plain & told(include_deployment_checks=True).keys()
    settings.EMAIL_HOST, settings.TAIFISH_AUDIT_FORWARD = "mail.example", "syslog:udp://log.example:514"
    assert plain <= told(include_deployment_checks=True).keys()
    assert not plain & told().keys()
    settings.EMAIL_USE_TLS, settings.TAIFISH_AUDIT_FORWARD = True, "syslog:tls://log.example:6514"
    assert not plain & told(include_deployment_checks=True).keys()


def test_what_lets_others_in(settings):
    """Basic authentication, a store whose identity is not checked, and a broker without a password."""
    weak = {"taifish.W004", "taifish.W005", "taifish.W006"}
    assert not weak & told(include_deployment_checks=True).keys()
    settings.TAIFISH_API_BASIC = True
    settings.CELERY_BROKER_URL = "redis://broker:6379/0"
    for options in ({}, {"sslmode": "require"}):
        settings.DATABASES = {"default": {"HOST": "store.example", "OPTIONS": options}}
        assert weak <= told(include_deployment_checks=True).keys()
    assert not weak & told().keys()
    settings.CELERY_BROKER_URL = "redis://:word@broker:6379/0"
    settings.DATABASES = {"default": {"HOST": "store.example", "OPTIONS": {"sslmode": "verify-full"}}}
    assert weak & told(include_deployment_checks=True).keys() == {"taifish.W004"}


@pytest.mark.django_db
def test_instances_without_a_proved_server_are_counted():
    credential = Credential.objects.create(name="c", username="u")
    one = {"engine": "postgresql", "host": "db.example", "credential": credential}
    Instance.objects.create(name="proved", tls_mode="verify-full", **one)
    assert "taifish.W007" not in told(include_deployment_checks=True, databases=["default"])
    Instance.objects.create(name="not proved", proof="as_before", **one)
    assert "taifish.W007" in told(include_deployment_checks=True, databases=["default"])
    # Without --database no connection is opened.
    assert "taifish.W007" not in told(include_deployment_checks=True)


@pytest.mark.django_db
def test_a_password_alone_is_told(settings):
    asked = {"include_deployment_checks": True, "databases": ["default"]}
    assert "taifish.W008" in told(**asked)
    assert "taifish.W008" not in told(include_deployment_checks=True)
    SecondFactorGroup.objects.create(group=Group.objects.create(name="DBA"))
    assert "taifish.W008" not in told(**asked)
    SecondFactorGroup.objects.all().delete()
    settings.TAIFISH_OIDC = object()
    assert "taifish.W008" not in told(**asked)


def test_a_missing_driver(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: object())
    assert "taifish.I001" not in told(include_deployment_checks=True)
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert "libmariadb-dev" in told(include_deployment_checks=True)["taifish.I001"]
    # Nothing that everybody should hear at every start.
    assert "taifish.I001" not in told()


def test_nothing_else_is_wrong():
    assert run_checks() == []
