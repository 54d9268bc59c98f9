"""Who can, on MariaDB and MySQL, against trying it: at every step of random histories, from several addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from random import Random
from typing import Any

import pytest

from access.questions import who_can
from access.tests import reference_mysql as reference
from instances.models import Instance
from sync import services
from sync.tests.targets import history_of
from taifish.tests.mariadb import MARIADBS, MYSQLS, MariadbServer, MysqlServer, new_server

#: What one server gets in `make test`, and at length.
FEW, MANY = range(20), range(100)


@pytest.fixture(scope="module", params=[*MARIADBS, *MYSQLS])
def server(request: pytest.FixtureRequest) -> Iterator[MariadbServer | MysqlServer]:
    """A server that names no addresses, so that clients differ by them."""
    server = new_server(request.param)
    server.options["skip_name_resolve"] = "1"
    try:
        server.start()
        reference.prepare(server.execute)
        yield server
    finally:
        server.remove()


def truth(port: int) -> dict[tuple[str, ...], str]:
    """(account, privilege, kind, object) of all that works from some address → "login", or "switch" if not at login."""
    found: dict[tuple[str, ...], str] = {}
    for fact in reference.trial(port):
        what = (fact.account, fact.privilege, fact.kind, fact.object)
        found[what] = "login" if "login" in (fact.state, found.get(what)) else "switch"
    return found


def answered(at: datetime | None, accounts: Iterable[str], mariadb: bool) -> dict[tuple[str, ...], str]:
    """As `truth()`, from the store. `accounts` are those that PUBLIC stands for."""
    found: dict[tuple[str, ...], str] = {}
    for privilege, kind, path in reference.TRIED:
        asked = "RELOAD" if mariadb and privilege == "FLUSH_USER_RESOURCES" else privilege
        try:
            answer = who_can(asked, path, kind=kind, at=at)
        except ValueError as error:
            assert "No visit has ever seen" in str(error)
            continue
        for row in answer.rows:
            others = row.account.kind == "user" and row.account.name not in (*reference.LOGINS, "")
            if row.usable in ("login", "switch") and row.because == "grant" and not others:
                for account in accounts if row.account.kind == "public" else [f"{row.account.name}@{row.account.host}"]:
                    what = (account, privilege, kind, path)
                    found[what] = "login" if "login" in (row.usable, found.get(what)) else "switch"
    return found


@contextmanager
def clean(server: MariadbServer | MysqlServer) -> Iterator[None]:
    before = server.snapshot()
    mariadb = server.product == "MariaDB"
    try:
        yield
    finally:
        if not mariadb:
            server.execute("SET GLOBAL mandatory_roles = ''")
        server.restore(before)
        for statement in reference.reset_variables(mariadb):
            server.execute(statement)


def one_history(server: MariadbServer | MysqlServer, seed: int) -> None:
    mariadb, random = server.product == "MariaDB", Random(seed)
    partial_revokes = not mariadb and seed % 3 == 1
    with clean(server):
        for statement in reference.reset_variables(mariadb, partial_revokes):
            server.execute(statement)
        target = server.collector(level="C")
        # No anonymous account comes first.
        server.execute(f"RENAME USER {target.username}@'%' TO {target.username}@'127.0.0.1'")
        with history_of(target):
            steps: list[tuple[datetime, Any, Any]] = []
            script = reference.setup(random, mariadb, partial_revokes)
            place = random.randrange(len(script) // 2, len(script))
            for part in (script[:place], script[place:]):
                reference.run(server.execute, [*part, "FLUSH PRIVILEGES"])
                session = services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False)
                record = services.run_here(session).records.get()
                assert record.status == "completed", (record.error, record.gaps)
                authenticated = reference.authenticated(server.port)
                steps.append((record.started_at, truth(server.port), authenticated))
            for moment, works, accounts in [(None, *steps[-1][1:]), *steps]:
                said = answered(moment, accounts, mariadb)
                wrong = {what: (said.get(what), works.get(what)) for what, _usable in said.items() ^ works.items()}
                assert not wrong, f"seed {seed}: said, works: {sorted(wrong.items())}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", FEW)
def test_who_can_is_what_works(transactional_db, server, seed):
    """F7.1, F7.9: accounts of the same name, anonymous ones, patterns, roles, PUBLIC: the answer is what works, then and
    now."""
    one_history(server, seed)
