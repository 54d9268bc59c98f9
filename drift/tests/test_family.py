"""F9.8 on MySQL and MariaDB: equal servers are alike, random changes are all that deviates, and what is offered aligns."""

from __future__ import annotations

import random

import pytest

from drift.tests.test_compare import align, read, rows
from taifish.tests.mariadb import ALL, new_server

SETUP = """
CREATE ROLE readers, writers, idle;
CREATE USER app@'%' IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 5;
CREATE USER web@'10.%' IDENTIFIED BY 'x';
CREATE USER "we'ird n`ame"@'%' IDENTIFIED BY 'x';
CREATE DATABASE shop;
CREATE TABLE shop.orders (id int, total int);
GRANT SELECT ON shop.* TO readers;
GRANT INSERT, DELETE ON shop.orders TO writers;
GRANT writers TO app@'%' WITH ADMIN OPTION;
GRANT readers TO app@'%';
GRANT UPDATE (id), SELECT (total) ON shop.orders TO web@'10.%';
GRANT RELOAD, PROCESS ON *.* TO app@'%';
GRANT SELECT ON shop.orders TO "we'ird n`ame"@'%'
"""

#: Statement → what deviates then, with {at} for the host of roles, and whether SQL is offered that undoes it.
CHANGES = [
    ("GRANT DELETE ON shop.orders TO app@'%'", ("extra", "app@%", "DELETE on table shop.orders"), True),
    ("REVOKE SELECT ON shop.* FROM readers", ("missing", "readers{at}", "SELECT on database shop"), True),
    ("GRANT CREATE ON shop.* TO writers", ("extra", "writers{at}", "CREATE on database shop"), True),
    ("REVOKE UPDATE (id) ON shop.orders FROM web@'10.%'", ("missing", "web@10.%", "UPDATE on column shop.orders.id"), True),
    ("GRANT INSERT (id) ON shop.orders TO web@'10.%'", ("extra", "web@10.%", "INSERT on column shop.orders.id"), True),
    ("GRANT PROCESS ON *.* TO web@'10.%'", ("extra", "web@10.%", "PROCESS"), True),
    ("REVOKE RELOAD ON *.* FROM app@'%'", ("missing", "app@%", "RELOAD"), True),
    (
        """REVOKE SELECT ON shop.orders FROM "we'ird n`ame"@'%'""",
        ("missing", "we'ird n`ame@%", "SELECT on table shop.orders"),
        True,
    ),
    ("REVOKE readers FROM app@'%'", ("missing", "app@%", "member of readers{at}"), True),
    ("GRANT idle TO app@'%'", ("extra", "app@%", "member of idle{at}"), True),
    ("GRANT readers TO writers", ("extra", "writers{at}", "member of readers{at}"), True),
    ("GRANT readers TO app@'%' WITH ADMIN OPTION", ("different", "app@%", "member of readers{at}"), True),
    ("ALTER USER app@'%' WITH MAX_USER_CONNECTIONS 6", ("different", "app@%", "connection limit"), False),
    ("ALTER USER web@'10.%' ACCOUNT LOCK", ("different", "web@10.%", "locked"), False),
    ("CREATE USER added@'%' IDENTIFIED BY 'x'", ("extra", "added@%", "account exists"), False),
]  # fmt: skip


@pytest.fixture(params=ALL)
def pair(request, mysql_family_server, add):
    """Two servers of one version with the same accounts and grants, and an instance of each."""
    servers = [mysql_family_server(request.param), new_server(request.param)]
    servers[1].start()
    try:
        made = []
        for number, server in enumerate(servers):
            server.reset()
            for statement in SETUP.split(";\n"):
                server.execute(statement)
            made.append(add(f"one{number}", server.collector(level="C"), level="C"))
        yield servers, made
    finally:
        servers[1].remove()
        servers[0].reset()


def test_drift_is_what_was_changed(pair):
    """Equal servers are alike; n changes are n deviations, as missing where the other side asks. The SQL to align undoes
    what it is offered for."""
    (_one, changed), (one, two) = pair
    at = "@%" if changed.name.startswith("mysql") else ""
    read(one, two)
    assert rows(one, two) == rows(two, one) == set()
    seed = random.randrange(10**6)
    chosen = random.Random(seed).sample(CHANGES, 8)
    # Two of them change the same membership.
    chosen = list({deviation[1:]: change for change in chosen for deviation in [change[1]]}.values())
    for statement, _deviation, _offered in chosen:
        changed.execute(statement)
    expected = {(what, account.format(at=at), item.format(at=at)) for _, (what, account, item), _ in chosen}
    read(two)
    assert rows(two, one) == expected, seed
    turned = {"missing": "extra", "extra": "missing", "different": "different"}
    assert rows(one, two) == {(turned[what], *rest) for what, *rest in expected}, seed
    align(changed, two, one)
    read(two)
    left = {tuple(text.format(at=at) for text in deviation) for _, deviation, is_offered in chosen if not is_offered}
    assert rows(two, one) == left, seed


def test_new_accounts_have_no_password(pair):
    """Roles are created as roles, users locked and without a password, which is left to people."""
    (golden, changed), (one, two) = pair
    golden.execute("CREATE ROLE team")
    golden.execute("CREATE USER bob@'%' IDENTIFIED BY 'secret'")
    golden.execute("GRANT SELECT ON shop.orders TO bob@'%', team")
    read(one, two)
    align(changed, two, one)
    read(two)
    assert rows(two, one) == {("different", "bob@%", "locked")}
    assert changed.execute("SELECT count(*) FROM mysql.user WHERE User = 'bob' AND authentication_string <> ''") == [
        (0,)
    ]
