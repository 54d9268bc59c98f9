"""F7.1 on PostgreSQL: who can, effective rights and the words of rules against what the server itself answers.

Random set-ups and histories: at each moment the store says what the server said at that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from random import Random

import psycopg2
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.questions import Effective, Nature, effective, who_can
from access.tests.reference_postgresql import CREATE, IN_SCHEMA, OBJECTS, OWNED, ROLES, allowed
from accounts.models import Account
from classification.queries import compiled
from classification.rules import parse
from instances.models import Instance
from sync import services
from sync.tests.targets import history_of
from taifish.tests.postgres import PostgresServer, identifier
from taifish.tests.servers import POSTGRESQL_MAJORS

#: Kinds of object and privileges that the store is asked about; all of them take 5 s, so that most cases ask ASKED.
QUESTIONS = [(kind, privilege) for kind, (_, _, privileges, _) in OBJECTS.items() for privilege in privileges]
ASKED = 8

roles = st.sampled_from([identifier(role) for role in ROLES])
grantees = st.one_of(roles, st.just("PUBLIC"))


@st.composite
def statements(draw: st.DrawFn) -> str:
    """One change of what somebody may do. Some of them fail, as they would for a person."""
    kind = draw(
        st.sampled_from(
            ["grant", "grant", "grant", "revoke", "join", "join", "leave", "own", "attribute", "login", "predefined"]
        )
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
            return f"ALTER ROLE {role} {draw(st.sampled_from(['SUPERUSER', 'NOSUPERUSER', 'NOINHERIT', 'INHERIT', 'CREATEROLE']))}"
        case "login":
            options = ["NOLOGIN", "LOGIN", "VALID UNTIL '2000-01-01'", "VALID UNTIL 'infinity'"]
            return f"ALTER ROLE {role} {draw(st.sampled_from(options))}"
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


def answered_by_store(
    instance: Instance, at: datetime | None, questions: Iterable[tuple[str, str]]
) -> dict[tuple[str, str, str], tuple[bool, ...]]:
    """As `allowed()`, of these kinds of object and privileges. Three ways to ask must agree: who can, the words of
    rules, and the rights of each account."""
    answers: dict[tuple[str, str, str], tuple[bool, ...]] = {}
    accounts = {one.name: one for one in Account.objects.filter(instance=instance).select_related("instance")}
    rights = {role: effective(accounts[role], at) for role in ROLES}
    natures = {role: rights[role].natures() for role in ROLES}
    here = {"at": at, "instances": Instance.objects.filter(pk=instance.pk)}
    in_schema = {
        row.account.name for row in who_can("USAGE", OBJECTS["schema"][0], kind="schema", **here).rows if row.at_once
    }
    for kind, privilege in questions:
        path, real_kind = OBJECTS[kind][0], "schema" if kind == "public" else kind
        answer = who_can(privilege, path, kind=real_kind, **here)
        assert answer.unknown == {}
        rows = [row for row in answer.rows if row.because not in ("ownership", "admin", "columns")]
        everybody = any(row.account.name == "public" for row in rows)
        matched = has(privilege, path, real_kind, instance, at)
        for role in ROLES:
            mine = [row for row in rows if row.account.name == role]
            told = contains(rights[role], natures[role], real_kind, path, privilege)
            # The row is of the session that lacks least: after SET ROLE, where the login lacks the schema.
            lacks = kind in IN_SCHEMA and not {role, "public"} & in_schema
            switches = lacks and any(row.usable == "switch" for row in mine)
            at_login = everybody or any(row.at_once for row in mine) or (switches and told)
            answers[role, kind, privilege] = (
                at_login,
                everybody or bool(mine),
                None if everybody else any(row.usable in ("login", "switch") for row in mine),
            )
            assert (accounts[role].pk in matched) == (everybody or bool(mine)), (role, kind, privilege)
            assert told == at_login, (role, kind, privilege)
    for role in ROLES:
        ways = rights[role].ways
        if rights[role].grants.filter(account=accounts[role], privilege="SUPERUSER").exists():
            continue
        for other in set(ROLES) - {role}:
            to = ways.get((accounts[other].pk, None), [])
            answers[role, other, "USAGE"] = (any(way.session == accounts[role].pk for way in to),)
            answers[role, other, "SET"] = (any(way.session == way.holder for way in to),)
    return answers


def compare_admins(server: PostgresServer, instance: Instance) -> int:
    """Who can give itself a role that has SELECT on the table, but has it by no path, is who succeeds on the server.
    Return how many there are."""
    path, name, *_ = OBJECTS["table"]
    rows = list(who_can("SELECT", path, kind="table", instances=Instance.objects.filter(pk=instance.pk)).rows)
    if any(row.account.name == "public" for row in rows):
        return 0
    lacking = {*ROLES} - {row.account.name for row in rows if row.because not in ("ownership", "admin", "columns")}
    said = {row.account.name for row in rows if row.because == "admin" and row.at_once} & lacking
    works = set()
    for role in lacking:
        with server.superuser("shop") as cursor:
            cursor.execute(
                "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) OR rolname LIKE 'pg_%%_all_data'", [[*ROLES]]
            )
            for (other,) in cursor.fetchall():
                cursor.execute("BEGIN")
                try:
                    cursor.execute(f"SET LOCAL SESSION AUTHORIZATION {identifier(role)}")
                    cursor.execute(f"GRANT {identifier(other)} TO {identifier(role)}")
                    # Names of tables are found by who may use the schema.
                    cursor.execute("RESET SESSION AUTHORIZATION")
                    cursor.execute("SELECT has_table_privilege(%s, %s, 'SELECT')", [other, name])
                    works |= {role} if cursor.fetchone()[0] else set()
                except psycopg2.Error as error:
                    # Not allowed, or a role would be in itself; of circles through ADMIN OPTION the server says "no
                    # possible grantors".
                    if error.pgcode not in ("42501", "0LP01", "XX000"):
                        raise
                cursor.execute("ROLLBACK")
    # It must first take the role out of the other, which it may.
    circular = {one for one in said - works if _is_within(instance, one)}
    assert said - circular == works
    return len(said)


def _is_within(instance: Instance, role: str) -> bool:
    """Whether another role is in this one, or the role itself may not be granted to its members."""
    return Account.objects.get(instance=instance, name=role).reached_by.exists()


def has(privilege: str, path: str, kind: str, instance: Instance, at: datetime | None) -> set[int]:
    """The ids of accounts that the word of a rule matches."""
    query = compiled(parse(f"has({privilege!r}, on={path!r}, kind={kind!r})"), "postgresql", at)
    with connection.cursor() as cursor:
        sql = f"{query.with_clause()} SELECT a.id, {query.verdict} {query.source}"
        cursor.execute(sql, query.parameters | {"instances": [instance.pk]})
        return {pk for pk, verdict in cursor.fetchall() if verdict}


def contains(rights: Effective, natures: list[Nature], kind: str, path: str, privilege: str) -> bool:
    """Whether the rights that an account's page lists include this one at login: by a grant, or by nature."""
    table = path.rpartition(".")[0] if kind == "column" else ""
    for grant in rights.grants:
        fits = (grant.kind, grant.scope) in ((kind, path), ("table", table)) and grant.privilege == privilege
        if (fits or grant.privilege == "SUPERUSER") and not grant.denied and rights.at_once(grant):
            return True
    return any(nature.at_once and privilege in nature.powers.get(kind, ()) for nature in natures)


def compare(
    server: dict[tuple[str, str, str], tuple[bool, ...]],
    instance: Instance,
    at: datetime | None,
    asked: list[tuple[str, str]],
) -> None:
    """Fail where the store says otherwise, of these questions and of what the roles are to each other."""
    store = answered_by_store(instance, at, asked)
    server = {key: answer for key, answer in server.items() if key[1] in ROLES or key[1:] in asked}
    assert server.keys() == store.keys()
    # Whether everybody can use what PUBLIC holds is not said for each account.
    different = {
        key: (server[key], store[key])
        for key in server
        if any(mine is not None and mine != real for mine, real in zip(store[key], server[key], strict=True))
    }
    assert different == {}
    assert len(store) >= len(ROLES) * len(asked)


def one_history(server: PostgresServer, scripts: list[list[str]], questions: int = len(QUESTIONS)) -> None:
    """Set up, visit, change, visit …: at each moment the store says what the server said at that moment, to so many
    questions."""
    random = Random(repr(scripts))
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
            compare(steps[-1][1], instance, None, random.sample(QUESTIONS, questions))
        compare_admins(server, instance)
        for moment, answers in steps:
            compare(answers, instance, moment, random.sample(QUESTIONS, questions))


@pytest.fixture
def clean(postgres: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres
    postgres.reset()


histories = st.lists(st.lists(statements(), min_size=1, max_size=12), min_size=1, max_size=3)
relaxed = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
}


set_ups = st.lists(st.lists(statements(), min_size=5, max_size=40), min_size=1, max_size=1)


def times(server: PostgresServer, most: int) -> int:
    """How many random cases: a quarter on versions between the oldest and the newest; all of them in `make exhaustive`."""
    return most if server.major in (POSTGRESQL_MAJORS[0], POSTGRESQL_MAJORS[-1]) else most // 4


@pytest.mark.parametrize(
    "script",
    [
        ['ALTER TABLE "s p"."T.1" OWNER TO "ada"', 'ALTER ROLE "b""o" CREATEROLE'],
        [
            'ALTER TABLE "s p"."T.1" OWNER TO "ada"',
            'ALTER ROLE "ada" SUPERUSER',
            'REVOKE ALL ON "s p"."T.1" FROM "ada"',
        ],
        ['ALTER DATABASE shop OWNER TO "ada"', 'ALTER ROLE "ada" NOINHERIT', 'GRANT "ada" TO "e e"'],
        [
            'GRANT CONNECT ON DATABASE shop TO "Étienne"',
            "REVOKE CONNECT ON DATABASE shop FROM PUBLIC",
            'ALTER ROLE "b""o" SUPERUSER',
            'GRANT "b""o" TO "ada"',
        ],
        [
            'GRANT SELECT ON "s p"."T.1" TO PUBLIC',
            'ALTER TABLE "s p"."T.1" OWNER TO "e e"',
            'ALTER ROLE "e e" SUPERUSER',
            'GRANT "e e" TO "Étienne"',
        ],
    ],
    ids=[
        "owner and creator",
        "superuser without grants",
        "owner without INHERIT",
        "CONNECT after SET ROLE",
        "the schema after SET ROLE",
    ],
)
def test_set_ups_that_answers_once_missed(transactional_db, clean, script):
    """F7.1: every question, of set-ups in which an earlier answer was wrong."""
    one_history(clean, [script])


def test_random_set_ups(transactional_db, clean):
    """F7.1, F7.5: who can, effective rights and rules differ from the server nowhere, in 20 random set-ups."""

    @settings(max_examples=times(clean, 20), **relaxed)
    @given(set_ups)
    def differs_nowhere(scripts):
        one_history(clean, scripts, ASKED)

    differs_nowhere()


def test_random_histories(transactional_db, clean):
    """F1.7, F7.1: the same as of every step of 5 random histories."""

    @settings(max_examples=times(clean, 5), **relaxed)
    @given(histories)
    def differs_nowhere(scripts):
        one_history(clean, scripts, ASKED)

    differs_nowhere()


@pytest.mark.exhaustive
@pytest.mark.timeout(3000)
@settings(max_examples=100, **relaxed)
@given(set_ups | histories)
def test_random_set_ups_and_histories_at_length(transactional_db, clean, scripts):
    """F7.1: 100 set-ups and histories on each major version."""
    one_history(clean, scripts)


def test_a_role_that_one_can_grant_oneself(transactional_db, clean):
    """F7.1: by CREATEROLE before version 16, since then by ADMIN OPTION without the rest; each link is evidence."""
    script = [
        'GRANT SELECT ON "s p"."T.1" TO "ada"',
        'GRANT USAGE ON SCHEMA "s p" TO "ada"',
        'ALTER ROLE "e e" CREATEROLE',
    ]
    script.append('GRANT "ada" TO "c.d" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE')
    script.append('GRANT "c.d" TO "Étienne" WITH ADMIN FALSE, INHERIT TRUE, SET TRUE')
    clean.fresh_database("shop")
    clean.execute("; ".join(f"CREATE ROLE {identifier(role)} LOGIN" for role in ROLES))
    clean.execute(CREATE, None, "shop")
    with history_of(clean.collector(level="C")) as instance:
        run(clean, script)
        services.run_here(services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False))
        rows = who_can("SELECT", 'shop."s p"."T.1"', kind="table").rows
        # Predefined roles can be granted, too.
        through = [row for row in rows if row.because == "admin" and row.path[-1].name == "ada"]
        found = {row.account.name: row for row in through}
        assert {row.usable for row in through} == {"grant"}
        told = {name: [one.name for one in row.path] for name, row in found.items()}
        if clean.major < 16:
            assert told == {"e e": ["ada"]}
            assert found["e e"].links[0].words.startswith("CREATEROLE")
        else:
            assert told == {"c.d": ["ada"], "Étienne": ["c.d", "ada"]}
            assert "ada" in found["c.d"].links[0].words
        assert compare_admins(clean, instance) == len(told)
