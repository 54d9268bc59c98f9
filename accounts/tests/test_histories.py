"""Random histories of real servers: what the store holds and what its change log says, against the script that was run.

A history is a list of visits, each with the actions before it. A reference reads the server as a superuser and keeps
its own book (`reference_history.py`); after each visit the store has to agree with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from accounts.tests import reference_history_mysql as mysql
from accounts.tests import reference_history_postgresql as postgresql
from accounts.tests.reference_history import Book, Truth
from accounts.tests.stored_history import Store
from sync.tests.targets import history_of, visit_once
from taifish.tests.mariadb import MariadbServer, MysqlServer
from taifish.tests.postgres import PostgresServer

Script = postgresql.Script | mysql.Script
#: The actions before each visit, with the numbers that say what they act on.
Steps = Sequence[Sequence[tuple[str, Sequence[int]]]]


def one_history(script: Script, read: Callable[[], Truth], steps: Steps, **terms: Any) -> None:
    """Run a script, and visit the server after each step."""
    script.server.reset()
    script.set_up()
    book = Book()
    with history_of(script.server.collector(level="C")) as instance:
        store = Store(instance, **terms)
        try:
            for actions in ((), *steps):
                for action, numbers in actions:
                    script.act(action, numbers)
                script.log.append(f"-- visit {book.visits + 1}")
                news = book.visit(read())
                store.visited(visit_once("accounts", instance), book, news)
            store.compare_past()
        except Exception:
            note(";\n".join(script.log))
            raise


def on_postgresql(server: PostgresServer, steps: Steps) -> None:
    one_history(
        postgresql.Script(server),
        lambda: postgresql.read(server),
        steps,
        attributes=("kind", "can_login", "is_superuser", "is_locked", "valid_until", "connection_limit"),
        identify=lambda account: int(account.native_id or 0),
        object_id=lambda key: "" if key[1] in ("attribute", "parameter") else key[2],
    )


def on_mysql(server: MariadbServer | MysqlServer, steps: Steps) -> None:
    one_history(
        mysql.Script(server),
        mysql.Reader(server).read,
        steps,
        attributes=(
            *("kind", "can_login", "is_superuser", "is_locked", "password_expired", "password_changed_at"),
            *("valid_until", "auth_method", "connection_limit"),
        ),
        is_ours=lambda account: account.name in (*mysql.USERS, *mysql.ROLES),
    )


@pytest.fixture
def clean_postgres(postgres: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres
    postgres.reset()


@pytest.fixture
def clean_mysql_family(mysql_family: MariadbServer | MysqlServer) -> Iterator[MariadbServer | MysqlServer]:
    yield mysql_family
    mysql_family.reset()


def histories(actions: Sequence[str], visits: int) -> st.SearchStrategy[Steps]:
    """Histories of at most so many visits after the first, and at least half as many."""
    number = st.integers(0, 1000)
    action = st.tuples(st.sampled_from(actions), st.tuples(number, number, number, number))
    return st.lists(st.lists(action, min_size=1, max_size=4), min_size=visits // 2, max_size=visits)


unhurried = {
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
}
#: Making a failure smaller takes minutes: that is for the exhaustive ones.
few = {"max_examples": 5, "phases": (Phase.explicit, Phase.reuse, Phase.generate)} | unhurried


@settings(**few)
@given(histories(postgresql.ACTIONS, 8))
def test_postgresql(transactional_db, clean_postgres, steps):
    """F7.10, F7.14: what is stored and logged differs from the script nowhere, on each major version."""
    on_postgresql(clean_postgres, steps)


def test_a_shipped_right_that_is_back_was_not_dropped(transactional_db, clean_postgres):
    """F6.5: PUBLIC loses what PostgreSQL ships it with, and gets it again: no object is gone."""
    taken, back = ("built_in", (800, 292, 404, 560)), ("built_in", (415, 189, 803, 178))
    on_postgresql(clean_postgres, [[taken], [], [back]])


@settings(**few)
@given(histories(mysql.ACTIONS, 8))
def test_mysql(transactional_db, clean_mysql_family, steps):
    """F7.10: what is stored and logged differs from the script nowhere, on MySQL and each MariaDB."""
    on_mysql(clean_mysql_family, steps)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@settings(max_examples=100, **unhurried)
@given(histories(postgresql.ACTIONS, 12))
def test_postgresql_at_length(transactional_db, clean_postgres, steps):
    """F7.10, F7.14: the same, 100 histories on each major version."""
    on_postgresql(clean_postgres, steps)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@settings(max_examples=100, **unhurried)
@given(histories(mysql.ACTIONS, 12))
def test_mysql_at_length(transactional_db, clean_mysql_family, steps):
    """F7.10: the same, 100 histories on MySQL and each MariaDB."""
    on_mysql(clean_mysql_family, steps)
