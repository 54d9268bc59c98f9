"""Questions to the store, against what the servers themselves answer, now and as of every step of a history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from access.questions import effective, who_can
from accounts.models import Account
from accounts.tests.reference_postgresql import CREATE, OBJECTS, OWNED, ROLES, allowed
from instances.models import Instance
from sync import services
from sync.tests.targets import history_of
from taifish.tests.postgres import PostgresServer, identifier

roles = st.sampled_from([identifier(role) for role in ROLES])
grantees = st.one_of(roles, st.just("PUBLIC"))


@st.composite
def statements(draw: st.DrawFn) -> str:
    """One change of what somebody may do. Some of them fail, as they would for a person."""
    kind = draw(
        st.sampled_from(["grant", "grant", "revoke", "join", "join", "leave", "own", "attribute", "predefined"])
    )
    role = draw(roles)
    match kind:
        case "grant" | "revoke":
            thing = draw(st.sampled_from(list(OBJECTS)))
            _, sql, privileges, _ = OBJECTS[thing]
            chosen = draw(st.sampled_from([*privileges, "ALL"]))
            if thing == "column":
                chosen += " (a)"
            if kind == "revoke":
                return f"REVOKE {chosen} ON {sql} FROM {draw(grantees)} CASCADE"
            grantee = draw(grantees)
            option = " WITH GRANT OPTION" if grantee != "PUBLIC" and draw(st.booleans()) else ""
            return f"GRANT {chosen} ON {sql} TO {grantee}{option}"
        case "join":
            options = [f"{word} {draw(st.sampled_from(['TRUE', 'FALSE']))}" for word in ("ADMIN", "INHERIT", "SET")]
            return f"GRANT {draw(roles)} TO {role} WITH {', '.join(options)}"
        case "leave":
            return f"REVOKE {draw(roles)} FROM {role}"
        case "own":
            return f"ALTER {draw(st.sampled_from(OWNED))} OWNER TO {role}"
        case "attribute":
            return f"ALTER ROLE {role} {draw(st.sampled_from(['SUPERUSER', 'NOSUPERUSER', 'NOINHERIT', 'INHERIT']))}"
    return f"GRANT {draw(st.sampled_from(['pg_read_all_data', 'pg_write_all_data']))} TO {role}"


def run(server: PostgresServer, script: list[str]) -> None:
    with server.superuser("shop") as cursor:
        for statement in script:
            sql = statement
            if " WITH ADMIN" in sql and server.major < 16:
                sql = sql.partition(" WITH ")[0] + (" WITH ADMIN OPTION" if "ADMIN TRUE" in sql else "")
            try:
                cursor.execute(sql)
            except psycopg2.Error as error:
                # Circular memberships and the like are refused; anything else is a fault of the test.
                if error.pgcode[:2] not in ("0L", "0P", "22", "42", "2B"):
                    raise


def answered_by_store(instance: Instance, at: datetime | None) -> dict[tuple[str, str, str], bool]:
    """As `allowed()`."""
    answers = {}
    for kind, (path, _, privileges, _) in OBJECTS.items():
        real_kind = "schema" if kind == "public" else kind
        for privilege in privileges:
            answer = who_can(privilege, path, kind=real_kind, at=at, instances=Instance.objects.filter(pk=instance.pk))
            assert answer.unknown == {}
            may = {row.account.name for row in answer.rows if row.at_once}
            answers |= {(role, kind, privilege): role in may or "public" in may for role in ROLES}
    for account in Account.objects.filter(instance=instance, name__in=ROLES).select_related("instance"):
        ways = effective(account, at).ways
        superuser = effective(account, at).grants.filter(account=account, privilege="SUPERUSER").exists()
        names = dict(Account.objects.filter(pk__in=ways).values_list("name", "pk"))
        for other in set(ROLES) - {account.name} if not superuser else ():
            way = ways.get(names.get(other))
            answers[account.name, other, "USAGE"] = bool(way and way.at_once)
            answers[account.name, other, "SET"] = bool(way and way.switchable)
    return answers


def compare(server: dict[Any, bool], store: dict[Any, bool]) -> None:
    assert server.keys() == store.keys()
    assert {key: (server[key], store[key]) for key in server if server[key] != store[key]} == {}
    assert len(store) >= len(ROLES) * sum(len(privileges) for _, _, privileges, _ in OBJECTS.values())


def one_history(server: PostgresServer, scripts: list[list[str]]) -> None:
    """Set up, visit, change, visit …: at each moment the store says what the server said at that moment."""
    server.reset()
    server.fresh_database("shop")
    server.execute("; ".join(f"CREATE ROLE {identifier(role)} LOGIN" for role in ROLES))
    server.execute(CREATE, None, "shop")
    target = server.collector(level="C")
    with history_of(target) as instance:
        steps = []
        for script in scripts:
            run(server, script)
            server.execute(f"GRANT CONNECT ON DATABASE shop TO {target.username}")
            session = services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False)
            record = services.run_here(session).records.get()
            assert record.status == "completed", (record.error, record.gaps)
            with server.superuser("shop") as cursor:
                steps.append((record.started_at, allowed(cursor)))
            compare(steps[-1][1], answered_by_store(instance, None))
        for moment, answers in steps:
            compare(answers, answered_by_store(instance, moment))


@pytest.fixture
def clean(postgres: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres
    postgres.reset()


histories = st.lists(st.lists(statements(), min_size=1, max_size=12), min_size=1, max_size=3)
relaxed = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
}


@settings(max_examples=5, **relaxed)
@given(histories)
@example([['ALTER DATABASE shop OWNER TO "ada"', 'ALTER ROLE "ada" NOINHERIT', 'GRANT "ada" TO "e e"']])
def test_the_store_says_what_the_server_says(transactional_db, clean, scripts):
    """F1.7, F1.9: stored and effective privileges, and their history, differ from the server's answers nowhere."""
    one_history(clean, scripts)


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
@settings(max_examples=100, **relaxed)
@given(histories)
def test_the_store_says_what_the_server_says_at_length(transactional_db, clean, scripts):
    """F1.7, F1.9: the same, 100 histories on each major version."""
    one_history(clean, scripts)
