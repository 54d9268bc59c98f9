"""F9.8 on Oracle: on the emulated dictionary of engines/tests/oracle_emulated.py, not on an Oracle server."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts import services
from drift.tests.test_compare import rows
from engines.tests.oracle_emulated import Emulated, ServeOracle
from instances.models import Credential, Instance
from sync.models import SyncRecord, SyncSession

SETUP = (
    "CREATE ROLE READERS",
    "CREATE USER APP IDENTIFIED BY x",
    "CREATE USER BOB IDENTIFIED BY x",
    "GRANT CREATE SESSION TO APP",
    "GRANT READERS TO APP",
)


def visited(name: str, server: Emulated) -> Instance:
    """The instance after a visit that is stored; the server is the one that was served last."""
    instance = Instance.objects.filter(name=name).first()
    if instance is None:
        target = server.collector()
        credential = Credential.objects.create(name=name, username=target.username, password=target.password)
        values = {"host": target.host, "database": target.database, "level": "C"}
        instance = Instance.objects.create(name=name, engine="oracle", credential=credential, proof="hashes", **values)
    session = SyncSession.objects.create(kind="accounts")
    record = SyncRecord.objects.create(
        session=session, instance=instance, kind="accounts", status="running", started_at=timezone.now()
    )
    facts = services.read(instance, lambda _: None)
    with transaction.atomic():
        services.write(instance, facts, record)
    SyncRecord.objects.filter(pk=record.pk).update(status="completed")
    return instance


def test_drift_is_what_was_changed(db: None, serve_oracle: ServeOracle) -> None:
    """Equal dictionaries are alike; each change is one deviation."""
    made = []
    for name in ("one", "two"):
        server = serve_oracle()
        server.execute(*SETUP)
        made.append(visited(name, server))
    one, two = made
    assert rows(two, one) == rows(one, two) == set()
    server.execute("GRANT CREATE TABLE TO APP", "GRANT READERS TO BOB", "CREATE ROLE ADDED")
    visited("two", server)
    expected = {
        ("extra", "APP@SHOPPDB", "CREATE TABLE"),
        ("extra", "BOB@SHOPPDB", "member of READERS@SHOPPDB"),
        ("extra", "ADDED@SHOPPDB", "account exists"),
    }
    assert rows(two, one) == expected
    assert {row[0] for row in rows(one, two)} == {"missing"}
