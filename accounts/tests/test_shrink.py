"""Fault 7, F1.6: renames and drops are no shrink of what is there; an implausible shrink still waits for a person."""

from __future__ import annotations

import pytest

from accounts.models import Account, Grant
from sync.tests.targets import visit_once

TABLES = 150
FILL = f"""
CREATE SCHEMA sales;
DO $$ BEGIN FOR n IN 1..{TABLES} LOOP
    EXECUTE format('CREATE TABLE sales.t%s (a int)', n);
END LOOP; END $$;
GRANT ALL ON ALL TABLES IN SCHEMA sales TO reader, writer;
"""


def sync(instance):
    record = visit_once("accounts", instance)
    return record.status, record.error_code, record.held_count


def granted(prefix: str) -> int:
    """How many tables the role may select from."""
    held = Grant.objects.filter(until=None, account__name="reader", kind="table", privilege="SELECT")
    return held.filter(scope__startswith=prefix).count()


@pytest.fixture
def prod(add, server):
    """An instance whose grants lie nearly all in the schema sales of the database shop."""
    instance = add("prod", server.collector(level="B"), level="B")
    server.execute("CREATE ROLE reader; CREATE ROLE writer")
    server.fresh_database("shop")
    server.execute(FILL, database="shop")
    assert sync(instance) == ("completed", "", None)
    assert granted("shop.sales.t") == TABLES
    return instance


def test_a_renamed_schema_is_no_shrink(prod, server):
    server.execute("ALTER SCHEMA sales RENAME TO archive", database="shop")
    assert sync(prod) == ("completed", "", None)
    assert (granted("shop.sales."), granted("shop.archive.")) == (0, TABLES)


def test_a_renamed_database_is_no_shrink(prod, server):
    server.execute("ALTER DATABASE shop RENAME TO store")
    assert sync(prod) == ("completed", "", None)
    assert (granted("shop."), granted("store.sales.")) == (0, TABLES)


def test_a_dropped_database_takes_its_grants_along(prod, server):
    server.execute("DROP DATABASE shop")
    assert sync(prod) == ("completed", "", None)
    assert granted("") == 0
    assert not Grant.objects.filter(until=None, database="shop").exists()


def test_a_dropped_schema_takes_its_grants_along(prod, server):
    server.execute('CREATE SCHEMA "sales.t1"; CREATE TABLE "sales.t1".kept (a int)', database="shop")
    server.execute('GRANT SELECT ON "sales.t1".kept TO reader', database="shop")
    assert sync(prod) == ("completed", "", None)
    server.execute("SET client_min_messages = error; DROP SCHEMA sales CASCADE", database="shop")
    assert sync(prod) == ("completed", "", None)
    assert (granted("shop.sales."), granted('shop."sales.t1".')) == (0, 1)


def test_rights_taken_away_on_what_is_still_there_wait_for_a_person(prod, server):
    server.execute("REVOKE ALL ON ALL TABLES IN SCHEMA sales FROM reader, writer", database="shop")
    status, code, count = sync(prod)
    assert (status, code) == ("failed", "suspicious_shrink")
    assert count >= 2 * TABLES
    assert granted("shop.sales.") == TABLES


def test_a_rename_does_not_hide_what_is_lost_beside_it(prod, server):
    """What begins for another account stands for nothing that ends."""
    server.execute(
        """
        ALTER SCHEMA sales RENAME TO archive; CREATE ROLE other; GRANT ALL ON ALL TABLES IN SCHEMA archive TO other;
        REVOKE ALL ON ALL TABLES IN SCHEMA archive FROM reader, writer;
        """,
        database="shop",
    )
    assert sync(prod)[1] == "suspicious_shrink"


def test_renamed_accounts_are_not_gone(add, server):
    instance = add("prod", server.collector())
    server.execute(";".join(f"CREATE ROLE r{n} LOGIN" for n in range(12)))
    assert sync(instance)[0] == "completed"
    server.execute(";".join(f"ALTER ROLE r{n} RENAME TO s{n}" for n in range(12)))
    assert sync(instance) == ("completed", "", None)
    server.execute(";".join(f"DROP ROLE s{n}" for n in range(12)))
    assert sync(instance) == ("failed", "suspicious_shrink", 12)


def test_another_server_that_counts_alike_is_held(add, server, private_postgres):
    """Ids that happen to be the same do not make a rename of it."""
    target = server.collector()
    instance = add("prod", target)
    server.execute(";".join(f"CREATE ROLE r{n} LOGIN" for n in range(12)))
    assert sync(instance)[0] == "completed"
    private_postgres.execute("CREATE ROLE elsewhere LOGIN PASSWORD %s", [target.password])
    private_postgres.execute(";".join(f"CREATE ROLE s{n} LOGIN" for n in range(12)))
    ids = dict(private_postgres.execute("SELECT rolname, oid::text FROM pg_roles WHERE rolname LIKE 's_'"))
    for n in range(10):
        Account.objects.filter(name=f"r{n}").update(native_id=ids[f"s{n}"])
    type(instance).objects.update(port=private_postgres.cluster.port)
    instance.credential.username = "elsewhere"
    instance.credential.save()
    assert sync(instance)[1] == "suspicious_shrink"
    assert Account.objects.filter(gone_at=None, name__regex="^r[0-9]").count() == 12
