"""Fault 2, F8.1: what people see and decide about servers that have not proved themselves."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.urls import reverse

from alerts.findings import alerts_of
from alerts.models import AlertRule
from engines.certificates import spelled
from engines.target import Target
from engines.tests.impostors import Identity, identity
from engines.tests.test_impostor_servers import give, reload, roles, with_methods  # noqa: F401
from instances.models import Credential, Instance
from instances.services import check_connection, examine, tighten
from sync.models import VisitHealth
from sync.tests.targets import visit_once
from taifish.health import checks
from taifish.tests.postgres import PostgresServer

from .api import superclient
from .pages import staff, superstaff, told

LIST = reverse("admin:instances_instance_changelist")


@pytest.fixture
def own(with_methods: PostgresServer, tmp_path: Path) -> Identity:  # noqa: F811
    """The certificate of the server, which now has TLS."""
    shown = identity(tmp_path, "server")
    give(shown, with_methods.cluster.data)
    with_methods.execute("ALTER SYSTEM SET ssl = on")
    reload(with_methods)
    return shown


def stored(name: str, target: Target, **fields: object) -> Instance:
    credential = Credential.objects.create(name=name, username=target.username, password=target.password)
    where = {"engine": target.engine, "host": target.host, "port": target.port}
    return Instance.objects.create(name=name, credential=credential, **where, **fields)


def page(instance: Instance) -> str:
    return reverse("admin:instances_instance_change", args=[instance.pk])


def do(instance: Instance, button: str) -> str:
    return reverse("admin:instances_instance_do", args=[instance.pk, button])


@pytest.mark.django_db(transaction=True)
def test_instances_from_before_go_on_as_before_and_new_ones_are_strict() -> None:
    executor = MigrationExecutor(connection)
    latest = executor.loader.graph.leaf_nodes()
    executor.migrate([("instances", "0003_oracle")])
    try:
        old = executor.loader.project_state([("instances", "0003_oracle")]).apps
        credential = old.get_model("instances", "Credential").objects.create(name="c", username="u")
        for name, fields in {
            "old": {},
            "ca": {"tls_mode": "verify-full"},
            "any ca": {"tls_mode": "verify-ca"},
            "socket": {"host": "/run/mysqld/mysqld.sock"},
        }.items():
            fields = {"engine": "mysql", "host": "db1", "credential_id": credential.pk} | fields
            old.get_model("instances", "Instance").objects.create(name=name, **fields)
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(latest)
    new = Instance.objects.create(name="new", engine="mysql", host="db2", credential_id=credential.pk)
    assert dict(Instance.objects.values_list("name", "proof")) == {
        "old": "as_before", "any ca": "as_before", "ca": "strict", "socket": "strict", "new": "strict",
    }  # fmt: skip
    assert (new.target().proof, new.proved_by) == ("strict", "")
    Instance.objects.all().delete()


def test_a_fingerprint_is_shown_compared_and_accepted(db: None, with_methods: PostgresServer, own: Identity) -> None:  # noqa: F811
    """The first connection sends nothing; a person accepts what it showed; then the password goes in clear."""
    instance = stored("ldap", roles(with_methods)["clear"])
    client = superstaff()
    answer = client.post(do(instance, "test"), follow=True)
    assert "unproven_server" in told(answer)
    assert spelled(own.fingerprint) in told(answer)
    instance.refresh_from_db()
    assert (instance.certificate, instance.seen_certificate) == ("", own.fingerprint)
    assert spelled(own.fingerprint) in answer.content.decode()
    assert "certificate refused" in client.get(LIST).content.decode()

    asked = client.post(do(instance, "accept"))
    assert spelled(own.fingerprint) in asked.content.decode()
    agreed = {f"fingerprint-{instance.pk}": own.fingerprint, "confirmed": "1"}
    assert f'name="fingerprint-{instance.pk}" value="{own.fingerprint}"' in asked.content.decode()
    # What was agreed to, and nothing that came meanwhile.
    Instance.objects.update(seen_certificate="ab" * 32)
    assert "The certificate has changed meanwhile" in told(client.post(do(instance, "accept"), agreed, follow=True))
    Instance.objects.update(seen_certificate=own.fingerprint)
    assert "Accepted: ldap" in told(client.post(do(instance, "accept"), agreed, follow=True))
    instance.refresh_from_db()
    assert (instance.certificate, instance.certificate_compared) == (own.fingerprint, True)
    assert (instance.seen_certificate, instance.proved_by) == ("", "compared fingerprint")
    assert check_connection(instance).ok


@pytest.mark.django_db(transaction=True)
def test_pinned_by_itself_and_changed(with_methods: PostgresServer, own: Identity, tmp_path: Path) -> None:  # noqa: F811
    """A visit pins; another certificate fails by its own name, pauses nothing, raises the alert, and is accepted."""
    instance = stored("prod", roles(with_methods)["scram"])
    assert visit_once("accounts", instance).status == "completed"
    instance.refresh_from_db()
    assert (instance.certificate, instance.certificate_compared) == (own.fingerprint, False)
    assert "pinned at the first connection" in superstaff().get(page(instance)).content.decode()
    assert "Compare its fingerprint" in examine(instance).warnings[0]

    other = identity(tmp_path, "renewed")
    give(other, with_methods.cluster.data)
    reload(with_methods)
    for _ in range(4):
        record = visit_once("accounts", instance)
        assert (record.status, record.error_code) == ("failed", "certificate_changed")
    health = VisitHealth.objects.get(instance=instance, kind="accounts")
    assert (health.failures, health.paused_at, health.is_failing) == (0, None, True)
    rule = AlertRule(kind="failing", threshold=3)
    (alert,) = alerts_of(rule)
    assert "certificate_changed" in alert.text
    instance.refresh_from_db()
    assert (instance.certificate, instance.seen_certificate) == (own.fingerprint, other.fingerprint)

    client, url = superclient(), "/api/instances/accept-certificates/"
    wrong = {"certificates": [{"instance": instance.pk, "fingerprint": own.fingerprint}]}
    assert client.post(url, wrong, format="json").status_code == 409
    right = {"certificates": [{"instance": instance.pk, "fingerprint": spelled(other.fingerprint)}]}
    answer = client.post(url, right, format="json")
    assert (answer.status_code, answer.json()[0]["certificate"]) == (200, other.fingerprint)
    instance.refresh_from_db()
    assert visit_once("accounts", instance).status == "completed"
    health.refresh_from_db()
    assert not health.is_failing

    # Once TLS was used there is no way back to plain text.
    with_methods.execute("ALTER SYSTEM SET ssl = off")
    reload(with_methods)
    assert visit_once("accounts", instance).error_code == "tls_failed"


def test_certificates_are_accepted_in_bulk(db: None) -> None:
    credential = Credential.objects.create(name="c", username="u")
    made = [
        Instance.objects.create(
            name=f"i{n}", engine="mysql", host="h", credential=credential, seen_certificate=f"{n}a" * 32
        )
        for n in range(3)
    ]
    client = superstaff()
    chosen = {"action": "accept_certificates", "_selected_action": [made[0].pk, made[1].pk]}
    asked = client.post(LIST, chosen)
    assert [spelled(one.seen_certificate) in asked.content.decode() for one in made] == [True, True, False]
    agreed = {f"fingerprint-{one.pk}": one.seen_certificate for one in made[:2]}
    answer = client.post(LIST, chosen | agreed | {"confirmed": "1"}, follow=True)
    assert "Accepted: i0, i1" in told(answer)
    assert [row.certificate for row in Instance.objects.order_by("name")] == ["0a" * 32, "1a" * 32, ""]
    assert [row.name for row in Instance.objects.to_compare()] == ["i2"]
    out = StringIO()
    call_command("accept_certificate", "i2", stdout=out)
    assert out.getvalue().strip() == spelled("2a" * 32)
    with pytest.raises(CommandError, match="Not accepted: the fingerprint of"):
        call_command("accept_certificate", "i2", "2b" * 32)
    call_command("accept_certificate", "i2", spelled("2a" * 32), stdout=out)
    assert not Instance.objects.to_compare().exists()


@pytest.mark.django_db
def test_who_may_not_use_credentials_accepts_nothing() -> None:
    credential = Credential.objects.create(name="c", username="u")
    instance = Instance.objects.create(
        name="i", engine="mysql", host="h", credential=credential, proof="as_before", seen_certificate="ab" * 32
    )
    client = staff("instances.view_instance", "instances.change_instance", "instances.connect_instance")
    assert client.post(do(instance, "accept"), {"confirmed": "1"}).status_code == 403
    for action in ("accept_certificates", "tighten"):
        assert client.post(LIST, {"action": action, "_selected_action": [instance.pk]}).status_code == 403
    instance.refresh_from_db()
    assert (instance.certificate, instance.proof) == ("", "as_before")


@pytest.mark.django_db(transaction=True)
def test_each_that_a_strict_connection_reaches_is_tightened(with_methods: PostgresServer) -> None:  # noqa: F811
    targets = roles(with_methods)
    for name, target in targets.items():
        stored(name, target, proof="as_before")
    client = superstaff()
    marks = client.get(LIST).content.decode()
    assert marks.count("as before</span>") == len(targets)
    assert "As before" in examine(Instance.objects.get(name="md5")).warnings[0]
    (health,) = [check for check in checks() if check.name == "Servers not proved"]
    assert (health.ok, health.text) == (False, "4")

    tried = {str(instance): check.code for instance, check in tighten(Instance.objects.all())}
    refused = "unproven_server"
    assert tried == {"clear": refused, "md5": refused, "scram": "", "trust": refused}
    assert dict(Instance.objects.values_list("name", "proof")) == dict.fromkeys(targets, "as_before") | {
        "scram": "strict"
    }
    # Those that are left go on as before.
    assert all(check_connection(instance).ok for instance in Instance.objects.all())

    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("tighten_instances", "md5", "clear", "--json", stdout=out)
    assert (ended.value.code, [row["code"] for row in json.loads(out.getvalue())]) == (1, [refused, refused])
    ids = {"instance_ids": [Instance.objects.get(name="md5").pk]}
    (row,) = superclient().post("/api/instances/tighten/", ids, format="json").json()
    assert (row["instance_name"], row["check"]["ok"]) == ("md5", False)
    chosen = {"action": "tighten", "_selected_action": [*Instance.objects.values_list("pk", flat=True)]}
    assert "md5: unproven_server" in told(client.post(LIST, chosen, follow=True))
    Instance.objects.update(proof="strict")
    assert "None of the selected instances is “as before”" in told(client.post(LIST, chosen, follow=True))
    assert next(check for check in checks() if check.name == "Servers not proved").ok


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"certificate": "AB:" * 31 + "AB"}, ""),
        ({"certificate": "sha256 Fingerprint=" + "AB:" * 31 + "AB"}, ""),
        ({"certificate": "abc"}, "certificate"),
        ({"certificate": "zz" * 32}, "certificate"),
        ({"certificate_compared": True}, "certificate_compared"),
        ({"proof": "none"}, "proof"),
    ],
)
def test_fingerprints_as_people_write_them(fields: dict[str, object], wrong: str) -> None:
    credential = Credential.objects.create(name="c", username="u")
    body = {"name": "i", "engine": "mysql", "host": "h", "credential": credential.pk} | fields
    answer = superclient().post("/api/instances/", body, format="json")
    assert list(answer.json()) == [wrong] if wrong else answer.status_code == 201, answer.json()
    assert list(Instance.objects.values_list("certificate", flat=True)) == ([] if wrong else ["ab" * 32])
