"""Oracle's containers in the store: what a visit to the root could not see stays, and rights end at a container.

On the emulated dictionary of engines/tests/oracle_emulated.py: not on an Oracle server.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from access.questions import effective, who_can
from accounts import services
from accounts.models import Account, Grant
from classification.queries import compiled
from classification.rules import parse
from engines.tests.oracle_emulated import Emulated, ServeOracle
from instances.models import Credential, Instance
from instances.tests.test_commands import run
from sync.models import SyncRecord, SyncSession

Visited = Callable[[Emulated], Any]


def stored(server: Emulated) -> Instance:
    target = server.collector()
    credential = Credential.objects.create(name="ora", username=target.username, password=target.password)
    values = {"host": target.host, "database": target.database, "level": "C"}
    return Instance.objects.create(name="ora", engine="oracle", credential=credential, proof="hashes", **values)


@pytest.fixture
def visited(db: None, serve_oracle: ServeOracle) -> Visited:
    """visited(server) is the outcome of one visit to it, stored."""

    def visiting(server: Emulated) -> Any:
        instance = Instance.objects.first() or stored(server)
        session = SyncSession.objects.create(kind="accounts")
        record = SyncRecord.objects.create(
            session=session, instance=instance, kind="accounts", status="running", started_at=timezone.now()
        )
        facts = services.read(instance, lambda _: None)
        with transaction.atomic():
            outcome = services.write(instance, facts, record)
        # One running record for an instance.
        SyncRecord.objects.filter(pk=record.pk).update(status="completed")
        return outcome

    return visiting


def present() -> set[str]:
    return {str(account) for account in Account.objects.present().filter(is_system=False).exclude(kind="public")}


def test_a_mounted_pdb_keeps_its_accounts_and_an_open_one_loses_those_dropped(
    visited: Visited,
    serve_oracle: ServeOracle,
) -> None:
    """F1.1: what a closed PDB hides is a gap, never a deletion; elsewhere it is seen who is gone."""
    server = serve_oracle("23ai root")
    shop, hr = server.pdbs[2:]
    for pdb in (shop, hr):
        server.user_row("LEAVER", pdb)
        server.user_row("STAYER", pdb)
        server.add("SYS_PRIVS", pdb, GRANTEE="STAYER", PRIVILEGE="CREATE SESSION", ADMIN_OPTION="NO")
        server.add("SYS_PRIVS", pdb, GRANTEE="STAYER", PRIVILEGE="ALTER USER", ADMIN_OPTION="NO")
    visited(server)
    everybody = {f"{name}@{where}" for name in ("LEAVER", "STAYER") for where in ("SHOPPDB", "HRPDB")}
    assert present() == everybody
    hr.mode, hr.restricted = "MOUNTED", None
    server.rows["USERS"] = [row for row in server.rows["USERS"] if row["USERNAME"] != "LEAVER"]
    server.rows["SYS_PRIVS"] = [row for row in server.rows["SYS_PRIVS"] if row["PRIVILEGE"] != "ALTER USER"]
    outcome = visited(server)
    assert [(gap.scope, gap.database) for gap in outcome.gaps] == [("accounts", "HRPDB")]
    assert outcome.summary["disappeared"] == 1
    assert present() == everybody - {"LEAVER@SHOPPDB"}
    held = Grant.objects.filter(until=None, privilege="ALTER USER")
    assert {str(grant.account): grant.unobserved_since is not None for grant in held} == {"STAYER@HRPDB": True}
    hr.mode, hr.restricted = "READ WRITE", "NO"
    outcome = visited(server)
    assert (outcome.gaps, outcome.summary["disappeared"], present()) == (
        [],
        1,
        {"STAYER@SHOPPDB", "STAYER@HRPDB"},
    )
    assert not Grant.objects.filter(until=None, privilege="ALTER USER").exists()


def test_nothing_is_gone_while_the_account_may_not_see_all_containers(
    visited: Visited,
    serve_oracle: ServeOracle,
) -> None:
    server = serve_oracle("23ai root")
    server.user_row("APP", server.pdbs[2])
    visited(server)
    server.allowed = {"CDB$ROOT"}
    outcome = visited(server)
    assert (outcome.summary["disappeared"], present()) == (0, {"APP@SHOPPDB"})


def test_rights_end_at_the_container(
    visited: Visited,
    serve_oracle: ServeOracle,
) -> None:
    """Who may read a table: its owner, by a grant, by ANY, as SYSDBA; in that container only, and PUBLIC's too."""
    server = serve_oracle("23ai root")
    shop, hr = server.pdbs[2:]
    for pdb in (shop, hr):
        for name in ("OWNER1", "READER", "ANYONE", "SCHEMER", "BOSS", "NOBODY"):
            server.user_row(name, pdb)
        server.object("READER", "OWNER1", "T", "TABLE", "SELECT", pdb)
        server.add("SYS_PRIVS", pdb, GRANTEE="ANYONE", PRIVILEGE="SELECT ANY TABLE", ADMIN_OPTION="NO")
        schema = {"SCHEMA": "OWNER1", "PRIVILEGE": "SELECT ANY TABLE", "ADMIN_OPTION": "NO"}
        server.add("SCHEMA_PRIVS", pdb, GRANTEE="SCHEMER", **schema)
        server.rows["V$PWFILE_USERS"].append(server.pwfile("BOSS", "SYSDBA", pdb=pdb, common="NO"))
        server.object("PUBLIC", "OWNER1", f"OPEN_IN_{pdb.name}", "TABLE", "SELECT", pdb)
    visited(server)

    def may(scope: str) -> dict[str, str]:
        rows = who_can("SELECT", scope, kind="table").rows
        return {str(row.account): row.because for row in rows if not row.account.is_system}

    assert may("SHOPPDB.OWNER1.T") == {
        "OWNER1@SHOPPDB": "owner",
        "READER@SHOPPDB": "grant",
        "ANYONE@SHOPPDB": "grant",
        "SCHEMER@SHOPPDB": "grant",
        "BOSS@SHOPPDB": "superuser",
    }
    assert may("SHOPPDB.SYS.USER$") == {"BOSS@SHOPPDB": "superuser"}
    assert may("NO_SUCH.OWNER1.T") == {}
    through = {str(row.account): [str(role) for role in row.path] for row in who_can("SELECT", "HRPDB.X.T").rows}
    assert through["SYS@HRPDB"] == ["DBA@HRPDB"]
    nobody = Account.objects.get(name="NOBODY", host="HRPDB")
    scopes = {grant.scope for grant in effective(nobody).grants if grant.kind == "table"}
    assert scopes == {"HRPDB.OWNER1.OPEN_IN_HRPDB"}


def test_the_command_visits_and_names_the_gap(transactional_db: None, serve_oracle: ServeOracle) -> None:
    server = serve_oracle("23ai root")
    server.user_row("APP", server.pdbs[2])
    stored(server)
    code, told = run("sync_accounts", "ora")
    assert code == 0, told
    server.pdbs[3].mode, server.pdbs[3].restricted = "MOUNTED", None
    code, told = run("sync_accounts", "ora")
    assert (code, "container HRPDB is mounted, not open" in told) == (3, True), told
    assert present() == {"APP@SHOPPDB"}


def test_a_login_is_stored_and_is_no_change(visited: Visited, serve_oracle: ServeOracle) -> None:
    """F5: unused_days counts from the last login that Oracle recorded; without one it is unknown."""
    server = serve_oracle()
    server.user_row("ALICE", LAST_LOGIN=timezone.now() - timedelta(days=100))
    server.user_row("NEVER")
    visited(server)
    rule = parse("unused_days > 90")

    def verdicts(at: datetime | None = None) -> dict[str, bool | None]:
        query = compiled(rule, "oracle", at)
        with connection.cursor() as cursor:
            cursor.execute(
                f"{query.with_clause()} SELECT a.name, {query.verdict} {query.source}",
                query.parameters | {"instances": [Instance.objects.get().pk]},
            )
            return dict(cursor.fetchall())

    assert (verdicts()["ALICE"], verdicts()["NEVER"]) == (True, None)
    (row,) = (row for row in server.rows["USERS"] if row["USERNAME"] == "ALICE")
    row["LAST_LOGIN"] = now = timezone.now()
    first_visit = SyncRecord.objects.get().started_at
    assert visited(server).summary["changed"] == 0
    assert Account.objects.get(name="ALICE").last_login_at == now
    assert verdicts()["ALICE"] is False
    # The login before the last one is no longer known.
    assert verdicts(first_visit)["ALICE"] is None
