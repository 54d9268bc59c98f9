"""Who can, on MariaDB, against trying it: every user logs in and does it, at every step of a history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pymysql
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accounts.access import who_can
from instances.models import Credential, Instance
from sync import services
from taifish.tests.mariadb import MariadbServer

USERS = ("u0", "u1", "u'2")
ROLES = ("r0", "r 1", "r2")
DATABASES = ("shop", "shop_x", "shopYx")
TRIED = {"SELECT": "SELECT 1 FROM `{}`.t", "DELETE": "DELETE FROM `{}`.t"}
PASSWORD = "not a secret"
DENIED = (1044, 1142)

privileges = st.sampled_from(["SELECT", "DELETE", "SELECT, DELETE", "INSERT", "ALL PRIVILEGES"])
patterns = ["shop", "shop%", "sho_", "shop_x", r"shop\_x", "%", "shop%x"]
things = st.one_of(
    st.just("*.*"),
    st.sampled_from([f"`{pattern}`.*" for pattern in patterns]),
    st.sampled_from([f"`{database}`.t" for database in DATABASES]),
)
users = st.sampled_from(["'" + user.replace("'", "''") + "'@'%'" for user in USERS])
roles = st.sampled_from([f"`{role}`" for role in ROLES])
grantees = st.one_of(users, roles)


@st.composite
def statements(draw: st.DrawFn) -> str:
    """One change of what somebody may do. Some are refused, as they would be to a person."""
    match draw(st.sampled_from(["grant", "grant", "grant", "revoke", "join", "join", "leave", "default", "public"])):
        case "grant":
            option = draw(st.sampled_from(["", " WITH GRANT OPTION"]))
            return f"GRANT {draw(privileges)} ON {draw(things)} TO {draw(grantees)}{option}"
        case "revoke":
            return f"REVOKE {draw(privileges)} ON {draw(things)} FROM {draw(grantees)}"
        case "join":
            return f"GRANT {draw(roles)} TO {draw(grantees)}"
        case "leave":
            return f"REVOKE {draw(roles)} FROM {draw(grantees)}"
        case "default":
            return f"SET DEFAULT ROLE {draw(st.one_of(roles, st.just('NONE')))} FOR {draw(users)}"
    return f"GRANT SELECT ON `{draw(st.sampled_from(DATABASES))}`.t TO PUBLIC"


def run(server: MariadbServer, script: list[str]) -> None:
    for statement in script:
        try:
            server.execute(statement)
        except pymysql.MySQLError as error:
            # No such grant, no such membership, a role within itself, a default role that is not held.
            if error.args[0] not in (1141, 1147, 1959, 1960, 1961, 1962):
                raise


def really(server: MariadbServer) -> set[tuple[str, str, str]]:
    """(user, privilege, database) of all that works when tried."""
    may = set()
    for user in USERS:
        connection = pymysql.connect(host="127.0.0.1", port=server.port, user=user, password=PASSWORD)
        with connection.cursor() as cursor:
            for privilege, sql in TRIED.items():
                for database in DATABASES:
                    try:
                        cursor.execute(sql.format(database))
                    except pymysql.MySQLError as error:
                        if error.args[0] not in DENIED:
                            raise
                    else:
                        may.add((user, privilege, database))
        connection.close()
    return may


def told(at: datetime | None) -> set[tuple[str, str, str]]:
    may = set()
    for privilege in TRIED:
        for database in DATABASES:
            answer = who_can(privilege, f"{database}.t", kind="table", at=at)
            assert answer.unknown == {}
            names = {row.account.name for row in answer.rows if row.at_once}
            may |= {(user, privilege, database) for user in USERS if user in names or "PUBLIC" in names}
    return may


def one_history(server: MariadbServer, scripts: list[list[str]]) -> None:
    server.reset()
    for database in DATABASES:
        server.execute(f"CREATE DATABASE `{database}`; CREATE TABLE `{database}`.t (a int)")
    for user in USERS:
        server.execute("CREATE USER %s@'%%' IDENTIFIED BY %s", [user, PASSWORD])
    for role in ROLES:
        server.execute(f"CREATE ROLE `{role}`")
    target = server.collector(level="C")
    credential = Credential.objects.create(name="history", username=target.username, password=target.password)
    instance = Instance.objects.create(
        name="history",
        engine="mysql",
        host=target.host,
        port=target.port,
        credential=credential,
        level="C",
        proof="hashes",
    )
    try:
        steps: list[tuple[datetime, Any]] = []
        for script in scripts:
            run(server, script)
            session = services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False)
            record = services.run_here(session).records.get()
            assert record.status == "completed", (record.error, record.gaps)
            steps.append((record.started_at, really(server)))
            assert told(None) == steps[-1][1]
        for moment, may in steps:
            assert told(moment) == may
    finally:
        instance.delete()
        credential.delete()


@pytest.fixture
def clean(mariadb: MariadbServer) -> Iterator[MariadbServer]:
    yield mariadb
    mariadb.reset()


histories = st.lists(st.lists(statements(), min_size=1, max_size=12), min_size=1, max_size=3)
relaxed = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
}


@settings(max_examples=8, **relaxed)
@given(histories)
@example([["GRANT DELETE ON `sho_`.* TO 'u0'@'%'", "GRANT SELECT ON `shop%`.* TO 'u0'@'%'"]])
def test_who_is_said_to_can(transactional_db, clean, scripts):
    """F1.7, F1.9: patterns, nested roles, default roles and PUBLIC: what is told is what works, then and now."""
    one_history(clean, scripts)


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
@settings(max_examples=300, **relaxed)
@given(histories)
def test_who_is_said_to_can_at_length(transactional_db, clean, scripts):
    """F1.7, F1.9: the same, 300 histories."""
    one_history(clean, scripts)
