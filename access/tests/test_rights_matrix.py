"""F7.12: the rights matrix against what PostgreSQL itself answers, and on stored facts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.matrix import Object, Right, matrix
from access.tests.reference_postgresql import CREATE, OBJECTS, ROLES, allowed
from access.tests.test_questions import grant, instance
from access.tests.test_truth_postgresql import run, statements
from accounts.models import Account
from accounts.tests.stored import MAY_1, MAY_3, account, join
from instances.models import Instance
from sync import services
from sync.tests.targets import history_of
from taifish.tests.postgres import PostgresServer, identifier

SCHEMA = 'shop."s p"'
#: Object of the reference → kind and path in the matrix of its schema.
IN_SCHEMA = {kind: (kind, OBJECTS[kind][0]) for kind in ("table", "sequence", "routine")}


def cells(on: str = "", **options: object) -> dict[tuple[str, str], dict[str, Right]]:
    """(account, object) → privilege → right."""
    found = matrix(on, instances=Instance.objects.all(), **options)
    return {
        (str(cell.account), str(cell.object)): {right.privilege: right for right in cell.rights}
        for cell in found.cells()
    }


def compare(server: dict[tuple[str, str, str], tuple[bool, ...]], instance: Instance) -> int:
    """Hold each cell to the server, and return how many rights there were."""
    held, every = {}, {}
    for cell in matrix(SCHEMA, instances=Instance.objects.filter(pk=instance.pk)).cells():
        for right in cell.rights:
            if right.columns:
                continue
            into = every if cell.object.every else held
            into[cell.account.name, cell.object.kind, cell.object.path, right.privilege] = right.usable
    n = 0
    for (role, kind, privilege), may in server.items():
        if kind not in IN_SCHEMA:
            continue
        at_login, by_switch, can_use = may
        here = {
            table.get(key)
            for who in (role, "public")
            for table, key in (
                (held, (who, *IN_SCHEMA[kind], privilege)),
                (every, (who, kind, "", privilege)),
                (every, (who, "", "", "SUPERUSER")),
            )
        } - {None}
        assert bool(here) == by_switch, (role, kind, privilege, here, may)
        # What PUBLIC holds is said once, for PUBLIC: whether others can use it is not.
        if (("public", *IN_SCHEMA[kind], privilege)) not in held:
            assert bool(here & {"login", "switch"}) == can_use, (role, kind, privilege, here, may)
            if "login" in here:
                assert at_login, (role, kind, privilege)
        n += by_switch
    return n


@pytest.mark.timeout(300)
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(statements(), min_size=10, max_size=40))
def test_the_matrix_is_what_the_server_allows(transactional_db, postgres: PostgresServer, script):
    """F7.12: each cell, and each empty one, after a random set-up."""
    one_setup(postgres, script)


def one_setup(postgres: PostgresServer, script: list[str]) -> None:
    postgres.reset()
    postgres.fresh_database("shop")
    postgres.execute("; ".join(f"CREATE ROLE {identifier(role)} LOGIN" for role in ROLES))
    postgres.execute(CREATE, None, "shop")
    target = postgres.collector(level="C")
    with history_of(target) as instance:
        run(postgres, script)
        postgres.execute(f"GRANT CONNECT ON DATABASE shop TO {target.username}")
        session = services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False)
        assert services.run_here(session).records.get().status == "completed"
        with postgres.superuser("shop") as cursor:
            compare(allowed(cursor), instance)
    postgres.reset()


@pytest.fixture
def shop(db: None) -> dict[str, Account]:
    """ada is in writers, bob may switch to it; eve holds a column; root is a superuser, gus reads all data, out is
    locked out of the schema."""
    pg = instance("pg", "postgresql", beyond=[])
    made = {name: account(pg, name) for name in ("ada", "bob", "eve", "root", "gus", "out")}
    made |= {"writers": account(pg, "writers", kind="role", can_login=False)}
    made |= {"public": account(pg, "public", kind="public")}
    made |= {"reader": account(pg, "pg_read_all_data", kind="role", can_login=False, is_system=True)}
    join(made["ada"], made["writers"])
    join(made["bob"], made["writers"], inherit=False)
    join(made["gus"], made["reader"])
    grant(made["public"], "CONNECT", "database", "shop", database="shop")
    for name in ("writers", "eve"):
        grant(made[name], "USAGE", "schema", "shop.public", database="shop")
    grant(made["root"], "OWNER", "table", "shop.public.orders", database="shop")
    grant(made["root"], "SUPERUSER", "attribute")
    grant(made["writers"], "INSERT", "table", "shop.public.orders", database="shop", grantable=True)
    grant(made["writers"], "SELECT", "table", 'shop.public."odd.name"', database="shop", since=MAY_3)
    grant(made["out"], "SELECT", "table", "shop.public.orders", database="shop")
    grant(made["eve"], "SELECT", "column", "shop.public.orders.note", database="shop")
    return made


def test_cells_say_how_each_right_can_be_used(shop):
    """F7.12, F7.4, F7.5: at login, after SET ROLE, on columns only, blocked; rights on all objects are not repeated."""
    found = cells("shop.public")
    orders = "shop.public.orders"
    assert found["ada", orders] == {"INSERT": Right("INSERT", "login", True)}
    assert found["bob", orders] == {"INSERT": Right("INSERT", "switch", True)}
    assert found["writers", orders] == {"INSERT": Right("INSERT", "blocked", True)}
    assert found["eve", orders] == {"SELECT": Right("SELECT", "columns", columns=True)}
    assert found["out", orders] == {"SELECT": Right("SELECT", "blocked")}
    assert found["root", "all objects"] == {"SUPERUSER": Right("SUPERUSER", "login")}
    assert found["gus", "all objects of the kind table"] == {"SELECT": Right("SELECT", "login")}
    assert {account for account, object in found if object == 'shop.public."odd.name"'} == {"ada", "bob", "writers"}
    then = cells("shop.public", at=MAY_1 + timedelta(days=1))
    assert ("ada", 'shop.public."odd.name"') not in then
    assert then["ada", orders] == found["ada", orders]


def test_one_part_of_the_matrix(shop):
    """A page is the same cells, of its accounts and objects only."""
    whole = matrix("shop", instances=Instance.objects.all())
    axes = whole.axes((0, 0), (3, 2))
    assert [Account.objects.get(pk=pk).name for pk in axes.accounts] == ["ada", "bob", "eve"]
    assert (axes.n_accounts, axes.n_objects) == (8, 7)
    last = whole.axes((99, 99), (3, 4))
    assert [str(object) for object in last.objects] == ["shop.public", 'shop.public."odd.name"', "shop.public.orders"]
    part = whole.of(axes.accounts)
    mine = [cell for cell in part.cells([Object(False, "table", "shop.public.orders")])]
    assert [cell.account.name for cell in mine] == ["ada", "bob", "eve"]
    assert mine == [
        cell for cell in whole.cells() if cell.account.pk in axes.accounts and cell.object.path == "shop.public.orders"
    ]
