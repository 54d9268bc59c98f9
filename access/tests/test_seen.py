"""F7.6: an object that no visit has seen is an error with suggestions; one outside what was read is unknown."""

from __future__ import annotations

import pytest
from django.utils import timezone

from access.asking import Asked, ask
from access.matrix import matrix
from access.seen import privileges
from access.tests.test_questions import grant, instance
from accounts.models import Coverage
from accounts.tests.stored import account
from capacity.models import Database
from instances.models import Instance
from sync.tests.targets import visit_once


def accounts(*question: str, **more: object) -> set[str]:
    return {row.account.name for row in ask(Asked(*question, **more)).answer.rows}


def refused(*question: str, **more: object) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        ask(Asked(*question, **more))
    return str(error.value)


@pytest.fixture
def shop(add, server) -> Instance:
    server.execute("CREATE ROLE app LOGIN; CREATE ROLE other LOGIN")
    server.fresh_database("shop")
    server.execute(
        """
        CREATE TABLE orders (id int, total int); CREATE TABLE "Orders" (id int); CREATE VIEW open AS TABLE orders;
        CREATE SCHEMA empty; GRANT SELECT ON orders TO app; GRANT UPDATE (total) ON orders TO other
        """,
        database="shop",
    )
    made = add("pg", server.collector(level="C"), level="C")
    assert visit_once("accounts", made).status == "completed"
    return made


def test_what_postgresql_lists(shop: Instance) -> None:
    """Every object has an owner there, whether or not somebody else has a grant on it."""
    assert "app" in accounts("SELECT", "shop.public.orders")
    for path in (
        "shop.public.open",
        "shop.empty",
        "shop",
        "pg_default",
        "shop.pg_catalog.pg_class",
        "shop.public.Orders",
    ):
        assert "app" not in accounts("SELECT", path)
    assert refused("SELECT", "shop.public.ordres") == (
        "No visit has seen shop.public.ordres. Did you mean shop.public.orders?"
    )
    assert refused("SELECT", "shp.publik.open") == "No visit has seen shp.publik.open. Did you mean shop.public.open?"
    assert refused("SELECT", "shop.public.ordres", "sequence").startswith("No visit has seen shop.public.ordres.")
    # A parameter without a grant is nowhere listed, and has no other name.
    assert "app" not in accounts("SUPERUSER", "work_mem", "parameter")


def test_columns_are_asked_about(shop: Instance) -> None:
    """F7.4: a column's path is good if its table is there."""
    assert {"app", "other"} & accounts("UPDATE", "shop.public.orders.total") == {"other"}
    assert "app" in accounts("SELECT", "shop.public.orders.id")
    (warning,) = ask(Asked("SELECT", "shop.public.orders.id")).warnings
    assert warning.startswith("No grant names shop.public.orders.id itself, and visits have not listed such objects")
    assert "Did you mean shop.public.orders.total?" in refused("SELECT", "shop.public.ordres.total")


def test_names_without_quotes_are_read_as_the_engine_does(shop: Instance) -> None:
    answered = ask(Asked("SELECT", "SHOP.Public.OPEN"))
    assert answered.on == "shop.public.open"
    assert answered.warnings == ["Read as shop.public.open: the engine does so with names without quotes."]
    # As visits spell it, before as the engine would read it.
    assert ask(Asked("SELECT", "shop.public.Orders")).on == "shop.public.Orders"
    assert refused("SELECT", 'shop.public."OPEN"').startswith("No visit has seen")


def test_outside_what_was_read_is_unknown(shop: Instance, server) -> None:
    """The depth leaves it out, a database was closed, the read is stale: no error, and no empty answer."""
    coverage = Coverage.objects.get(until=None)
    Coverage.objects.update(beyond=["table"], level="A")
    (reason,) = ask(Asked("SELECT", "shop.public.new", "table")).answer.unknown.values()
    assert reason == "read depth A leaves out: table"
    Coverage.objects.update(beyond=[], level="C")
    gap = {"scope": "table", "database": "crm", "code": "denied", "message": "no CONNECT on crm", "hint": ""}
    Coverage.objects.update(gaps=[gap])
    (reason,) = ask(Asked("SELECT", "crm.public.new", "table")).answer.unknown.values()
    assert reason == "no CONNECT on crm"
    assert refused("SELECT", "shop.public.new", "table").startswith("No visit has seen")
    Coverage.objects.update(gaps=[], read_at=coverage.read_at - timezone.timedelta(days=9))
    assert ask(Asked("SELECT", "shop.public.new", "table")).answer.unknown


def test_an_instance_without_the_object_has_no_rows(shop: Instance) -> None:
    """A superuser elsewhere can do nothing with an object that is not there."""
    elsewhere = instance("elsewhere", "postgresql")
    grant(account(elsewhere, "boss"), "SUPERUSER", "attribute")
    answered = ask(Asked("SELECT", "shop.public.orders", "table"))
    assert "boss" not in {row.account.name for row in answered.answer.rows}
    assert (answered.absent, answered.answer.unknown) == ([elsewhere], {})
    assert elsewhere.pk in answered.answer.reads
    Coverage.objects.filter(instance=elsewhere).update(beyond=["table"], level="A")
    answered = ask(Asked("SELECT", "shop.public.orders", "table"))
    assert "boss" in {row.account.name for row in answered.answer.rows}
    assert (answered.absent, [*answered.answer.unknown]) == ([], [elsewhere])


def test_mysql_lists_databases_and_no_tables(add, family_server) -> None:
    family_server.execute(
        r"""
        CREATE DATABASE shop_eu; CREATE TABLE shop_eu.orders (a int); CREATE TABLE shop_eu.open (a int);
        CREATE DATABASE bare; CREATE USER app@'%'; GRANT SELECT ON shop_eu.orders TO app@'%';
        CREATE USER early@'%'; GRANT SELECT ON `plan\_ned`.* TO early@'%'; GRANT SELECT, CREATE ON other.t TO early@'%'
        """
    )
    made = add("my", family_server.collector(), level="B")
    assert visit_once("accounts", made).status == "completed"
    # Accounts alone do not show which databases there are.
    assert ask(Asked("SELECT", "bare.t")).warnings[0].startswith("No grant names bare.t itself")
    assert visit_once("capacity", made).status == "completed"
    assert "app" not in accounts("SELECT", "bare")
    assert "app" not in accounts("SELECT", "bare.t")
    assert "early" in accounts("SELECT", "plan_ned.t")
    assert "early" in accounts("SELECT", "other.t")
    assert refused("SELECT", "shop_us.orders") == ("No visit has seen shop_us.orders. Did you mean shop_eu.orders?")
    answered = ask(Asked("SELECT", "shop_eu.ordrs"))
    assert answered.warnings == [
        "No grant names shop_eu.ordrs itself, and visits have not listed such objects on all instances. The answer "
        "holds if the object exists. Did you mean shop_eu.orders?"
    ]
    assert ask(Asked("SELECT", "shop_eu.orders")).warnings == []


def test_oracle_lists_schemas(db) -> None:
    ora = instance("ora", "oracle")
    account(ora, "HR", host="PDB1")
    grant(account(ora, "APP", host="PDB1"), "SELECT", "table", "PDB1.HR.EMP", database="PDB1")
    assert accounts("SELECT", "PDB1.HR.EMP") == {"APP", "HR"}
    assert accounts("SELECT", "pdb1.hr.emp") == {"APP", "HR"}
    assert accounts("SELECT", "PDB1.HR.DEPT") == {"HR"}
    assert refused("SELECT", "PDB1.HRR.EMP") == "No visit has seen PDB1.HRR.EMP. Did you mean PDB1.HR.EMP?"


def test_oracle_lists_containers_by_their_accounts(db) -> None:
    """The matrix of a whole container; one that no visit has seen is an error."""
    account(instance("ora", "oracle"), "HR", host="PDB1")
    assert [cell.object.path for cell in matrix("PDB1", instances=Instance.objects.all()).cells()] == ["PDB1.HR"]
    with pytest.raises(ValueError, match="No visit has seen PDB2"):
        matrix("PDB2", instances=Instance.objects.all())


def test_instances_tags_and_engines_that_are_not_there(shop: Instance) -> None:
    for more, told in (
        ({"instance": ["pgg"]}, "There is no instance “pgg”. Did you mean pg?"),
        ({"tag": "nope"}, "There is no tag “nope”."),
        ({"engine": "postgresq"}, "There is no engine “postgresq”. Did you mean postgresql?"),
        ({"kind": "tabel"}, "There is no kind “tabel”. Did you mean table?"),
        ({"engine": "mysql"}, "No instance has all of that: instance, tag, engine."),
    ):
        assert refused("SELECT", "shop.public.orders", **more) == told
    assert accounts("SELECT", "shop.public.orders", instance=["pg"]) == accounts(
        "SELECT", "shop.public.orders", instance=[str(shop.pk)]
    )
    instance("my", "mysql")
    assert refused("SELECT", "a.b.c.d", instance=["my"]) == (
        "MySQL / MariaDB cannot have the path “a.b.c.d” for the kind: object."
    )


def test_privileges_that_were_seen(db) -> None:
    pg, my = instance("pg", "postgresql"), instance("my", "mysql")
    grant(account(pg, "a"), "SELECT", "table", "shop.public.t")
    grant(account(my, "b"), "FILE", "system")
    assert privileges([pg.pk, my.pk]) == ["FILE", "SELECT"]
    assert privileges([pg.pk]) == ["SELECT"]


def test_databases_are_found_beside_grants(db) -> None:
    my = instance("my", "mysql")
    now = timezone.now()
    Database.objects.create(instance=my, name="billing", first_seen_at=now, last_seen_at=now)
    grant(account(my, "root"), "SELECT", "system")
    assert accounts("SELECT", "billing.invoices") == {"root"}
    assert refused("SELECT", "biling.invoices").startswith("No visit has seen biling.invoices.")
