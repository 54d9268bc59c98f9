"""The rules that Taifish ships."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import transaction

from accounts import services as accounts_services
from accounts.models import Account
from accounts.tests.stored import account, join
from accounts.tests.test_oracle import stored
from classification import library, runs, services
from classification.models import Assignment, Classification, ClassificationRule, RuleResult
from classification.tests.conftest import grant
from engines.tests.oracle_emulated import ServeOracle
from sync.models import SyncRecord, SyncSession
from sync.tests.targets import visit_once


@pytest.fixture
def installed(people) -> list[str]:
    return library.install()


def held(code: str) -> list[str]:
    return sorted(str(row.account) for row in Assignment.objects.current().filter(rule__code=code))


def test_every_shipped_rule_is_one_and_belongs_to_something(installed):
    assert len(installed) == len(library.RULES) == len({rule.code for rule in library.RULES})
    assert {rule.classification for rule in library.RULES} <= {kind.code for kind in library.CLASSIFICATIONS}
    for kind in Classification.objects.all():
        kind.full_clean()
    for rule in ClassificationRule.objects.all():
        rule.full_clean()


def test_what_people_edit_or_delete_stays_so(installed):
    """Never overwritten, never put back."""
    edited, deleted = ClassificationRule.objects.get(code="pg-01"), ClassificationRule.objects.get(code="pg-02")
    edited.expression, edited.active = "superuser", False
    services.keep_rule(edited)
    services.retire_rule(deleted)
    Classification.objects.filter(code="open-door").update(name="Ours", colour="#000000")
    out = StringIO()
    call_command("install_rules", stdout=out)
    assert out.getvalue() == "all rules exist already\n"
    edited.refresh_from_db()
    assert (edited.expression, edited.active, edited.version) == ("superuser", False, 2)
    assert ClassificationRule.objects.present().filter(code="pg-02").count() == 0
    assert Classification.objects.get(code="open-door").name == "Ours"
    ClassificationRule.objects.filter(code="pg-03").delete()
    call_command("install_rules", stdout=out)
    assert "created: pg-03" in out.getvalue()


def test_they_find_what_they_are_for(installed, people, instances, applied):
    pg, my = instances
    ClassificationRule.objects.update(active=True)
    public = account(pg, "PUBLIC", kind="public", can_login=False)
    grant(public, "CREATE", kind="schema", database="shop", scope="shop.public")
    reader = account(pg, "reader", can_login=True, is_superuser=False, is_locked=False)
    join(reader, account(pg, "pg_read_all_data", kind="role", is_system=True))
    join(people["dba"], people["ada"])
    root = account(my, "root", host="%", can_login=True, is_superuser=True, is_locked=False)
    grant(root, "SUPER", kind="system", grantable=True)
    grant(root, "INSERT", kind="system")
    account(my, "", host="localhost", can_login=True, is_superuser=False)
    services.assign(people["ada"], Classification.objects.get(code="approved-admin"), "she is", None)
    told = applied()
    assert [row["gaps"] for row in told.values()] == [[], []]
    found = {code: held(code) for code in ("all-01", "pg-01", "pg-02", "pg-04", "pg-07", "pg-10", "my-01", "my-02")}
    assert found == {
        "all-01": ["bob", "root@%"],
        "pg-01": ["ada"],
        "pg-02": ["bob", "dba"],
        "pg-04": ["bob", "dba"],
        "pg-07": ["reader"],
        "pg-10": ["PUBLIC"],
        "my-01": ["root@%"],
        "my-02": ["@localhost"],
    }
    assert held("my-05") == held("my-11") == held("my-12") == held("my-08") == ["root@%"]
    assert held("my-06") == ["web@%"]
    assert held("all-02") == []
    assert Account.objects.get(name="root").assignments.filter(classification__code="open-door").exists()


@pytest.mark.parametrize(
    ("grant_sql", "code"),
    [
        ("GRANT SELECT ON t TO PUBLIC", "pg-18"),
        ("GRANT UPDATE (a) ON t TO PUBLIC", "pg-18"),
        ("GRANT ALL ON DATABASE shop TO PUBLIC", "pg-19"),
        ("GRANT ALL ON SCHEMA public TO PUBLIC", "pg-10"),
    ],
)
def test_what_everybody_was_given_on_postgresql(add, server, grant_sql: str, code: str) -> None:
    """What PUBLIC holds is found, and a server as it was installed has nothing of the kind."""
    library.install()
    server.fresh_database("shop")
    server.execute("CREATE TABLE t (a int); REVOKE CREATE ON SCHEMA public FROM PUBLIC", database="shop")
    server.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database="postgres")
    instance = add("pg", server.collector(level="C"), level="C")

    def found() -> list[str]:
        assert visit_once("accounts", instance).status == "completed"
        with transaction.atomic():
            runs.write(SyncSession(kind="classification"), [instance.pk])
        return held(code)

    assert found() == []
    server.execute(grant_sql, database="shop")
    assert found() == ["public"]


#: Rule → whom it finds on the server below, DBSNMP and OUTLN being open there from the start.
FOUND_ON_ORACLE = {
    "or-01": {"CHIEF", "DEPUTY", "DEPUTIES", "STARTER", "SYS"},
    "or-03": {"GRANTER", "GRANTERS"},
    "or-04": {"OPERATOR"},
    "or-05": {"CHIEF", "DEPUTY", "DEPUTIES", "GRANTER", "GRANTERS", "READER"},
    "or-06": {"PASSER"},
    "or-07": {"PUBLIC"},
    "or-09": {"LOOKER"},
    "or-10": {"BLIND"},
    "or-12": {"DBSNMP", "OUTLN"},
    "or-13": {"SCOTT"},
    "or-15": {"HOARDER"},
    "or-16": {"C##ANYWHERE"},
    "or-17": {"SPY"},
    "or-18": {"PUBLIC"},
}


def test_each_oracle_rule_finds_what_a_visit_stored(db: None, serve_oracle: ServeOracle) -> None:
    """On the emulated dictionary: not on an Oracle server."""
    library.install()
    rules = ClassificationRule.objects.filter(engine="oracle")
    assert {rule.code for rule in rules} == set(FOUND_ON_ORACLE)
    # Every root has a common user for visits, so that is for people to choose.
    assert {rule.code for rule in rules if not rule.active} == {"or-16"}
    rules.update(active=True)
    server = serve_oracle("19c PDB")
    for role in ("DEPUTIES", "GRANTERS"):
        server.execute(f"CREATE ROLE {role}")
    for name in ("CHIEF", "DEPUTY", "GRANTER", "OPERATOR", "READER", "PASSER", "LOOKER", "BLIND", "SCOTT", "HOARDER"):
        server.user_row(name)
    for name in ("STARTER", "C##ANYWHERE", "SPY", "NOBODY"):
        server.user_row(name)
    server.execute(
        "GRANT DBA TO CHIEF",
        "GRANT DBA TO DEPUTIES",
        "GRANT DEPUTIES TO DEPUTY",
        "GRANT GRANT ANY ROLE TO GRANTERS",
        "GRANT GRANTERS TO GRANTER",
        "GRANT ALTER SYSTEM TO OPERATOR",
        "GRANT SELECT ANY TABLE TO READER",
        "GRANT CREATE SESSION TO PASSER WITH ADMIN OPTION",
        "GRANT CREATE SESSION TO PUBLIC",
        "GRANT SELECT_CATALOG_ROLE TO LOOKER",
        "GRANT EXEMPT ACCESS POLICY TO BLIND",
        "GRANT UNLIMITED TABLESPACE TO HOARDER",
        "GRANT CREATE SESSION TO NOBODY",
    )
    server.object("SPY", "SYS", "USER$", "TABLE", "SELECT")
    server.object("PUBLIC", "SCOTT", "EMP", "TABLE", "SELECT")
    server.rows.setdefault("V$PWFILE_USERS", []).append(server.pwfile("STARTER", "SYSOPER", common="NO"))
    instance = stored(server)
    session = SyncSession.objects.create(kind="accounts")
    record = SyncRecord.objects.create(session=session, instance=instance, kind="accounts", status="running")
    facts = accounts_services.read(instance, lambda _: None)
    with transaction.atomic():
        accounts_services.write(instance, facts, record)
        outcome = runs.write(SyncSession(kind="classification"), [instance.pk])[instance.pk]
    assert outcome.gaps == []
    found = {rule.code: {one.removesuffix("@SHOPPDB") for one in held(rule.code)} for rule in rules}
    assert found == FOUND_ON_ORACLE
    unknown = RuleResult.objects.filter(rule__in=rules).exclude(unknown=0)
    assert not unknown.exists()
