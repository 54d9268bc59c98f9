"""Who can, on MariaDB and MySQL, against trying it: at every step of random histories, from several addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from random import Random
from typing import Any

import pytest
from django.db import connection

from access.matrix import matrix
from access.question import Question
from access.questions import effective, who_can
from access.relation import Relation
from access.tests import reference_mysql as reference
from accounts.models import Account, Grant
from instances.models import Instance
from sync import services
from sync.tests.targets import history_of
from taifish.tests.mariadb import MARIADBS, MYSQLS, MariadbServer, MysqlServer, new_server

#: Set-ups that one server gets in `make test`, and at length.
FEW, MANY = range(20), range(100)
#: Of the questions after each of the few, chosen at random: to ask all of them takes 20 s.
ASKED = 8


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


def having(question: Question, at: datetime | None) -> set[int]:
    """Ids of the accounts with the privilege, as rules ask for it; without accounts that are gone."""
    query = Relation(at is not None)
    sql = query.holders(question)
    values = {"instances": [one.pk for one in Instance.objects.all()], "at": at}
    with connection.cursor() as cursor:
        cursor.execute(f"{query.with_clause()} {sql}", query.parameters | values)
        return {pk for (pk,) in cursor.fetchall()}


Best = dict[tuple[str, str, str], dict[int, str]]


def in_matrix(at: datetime | None) -> Best:
    """What the matrix of each database says: (privilege, kind, object) → id of the account → its best use of it."""
    found: Best = {what: {} for what in reference.TRIED if what[1] != "system"}
    for database in reference.DATABASES:
        for cell in matrix(database, instances=Instance.objects.all(), at=at).cells():
            for right in cell.rights:
                for (privilege, kind, path), best in found.items():
                    # Columns are told with their table.
                    table = path.removesuffix(".a") if kind == "column" else path
                    mine = (cell.object.kind, cell.object.path) == ("table" if kind == "column" else kind, table)
                    every = cell.object.every and cell.object.kind in ("", kind) and path.startswith(f"{database}.")
                    if privilege == right.privilege and (every or (mine and (kind == "column" or not right.columns))):
                        usable = "login" if "login" in (right.usable, best.get(cell.account.pk)) else right.usable
                        best[cell.account.pk] = usable if kind != "column" else "has it"
    return found


def in_effective(at: datetime | None) -> dict[tuple[str, str, str], dict[int, dict[int, bool]]]:
    """What the effective rights of each account say: (privilege, kind, object) → id of the account → id of a grant on
    the instance, the table or what is in it → whether it has it at login. Which grants on databases count depends on
    the database."""
    found: dict[tuple[str, str, str], dict[int, dict[int, bool]]] = {what: {} for what in reference.TRIED}
    for account in Account.objects.select_related("instance"):
        if account.gone_at is None or (at and account.gone_at > at):
            rights = effective(account, at)
            assert len(rights.links(list(rights.grants))) == len(rights.grants)
            for grant in rights.grants.exclude(denied=True).exclude(kind="database"):
                assert (rights.path_of(grant) or [str(account)])[-1] == str(grant.account)
                for (privilege, _kind, path), of_account in found.items():
                    if grant.privilege == privilege and grant.scope in ("", path, path.removesuffix(".a")):
                        of_account.setdefault(account.pk, {})[grant.pk] = rights.at_once(grant)
    return found


def answered(
    at: datetime | None, accounts: Iterable[str], mariadb: bool, asked_for: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, ...], str]:
    """As `truth()`, of what is asked for, from the store. `accounts` are those that PUBLIC stands for."""
    found: dict[tuple[str, ...], str] = {}
    of_matrix, of_accounts = in_matrix(at), in_effective(at)
    everyone = {*Account.objects.filter(kind="public").values_list("pk", flat=True)}
    for privilege, kind, path in asked_for:
        asked = "RELOAD" if mariadb and privilege == "FLUSH_USER_RESOURCES" else privilege
        try:
            answer = who_can(asked, path, kind=kind, at=at)
        except ValueError:
            # No visit has ever seen the privilege.
            continue
        rows = [row for row in answer.rows if row.because == "grant"]
        every = list(Account.objects.values_list("pk", flat=True))
        ids = [every if row.account.kind == "public" else [row.account.pk] for row in rows]
        assert having(Question(asked, path, kind), at) == {pk for some in ids for pk in some}
        if kind != "system":
            best: dict[int, str] = {}
            for row in rows:
                usable = "login" if "login" in (row.usable, best.get(row.account.pk)) else row.usable
                best[row.account.pk] = usable if kind != "column" else "has it"
            assert of_matrix[privilege, kind, path] == best, (privilege, kind, path)
        # A privilege that is revoked for the database of the question counts on others.
        instance_wide = Grant.objects.filter(denied=True).exists()
        held: dict[int, dict[int, bool]] = {}
        for holding in answer.rows.holdings:
            if holding.because == "grant":
                mine = held.setdefault(holding.account, {})
                mine[holding.grant] = mine.get(holding.grant, False) or holding.session == holding.account
        grants = Grant.objects.exclude(kind="database")
        if instance_wide:
            grants = grants.exclude(kind="system")
        compared = {*grants.values_list("pk", flat=True)}
        of_public = {pk for one in everyone for pk in held.get(one, {})}
        for pk, mine in of_accounts[privilege, kind, path].items():
            told = {grant: at_once for grant, at_once in held.get(pk, {}).items() if grant in compared}
            shown = {grant: at_once for grant, at_once in mine.items() if grant in compared}
            if pk not in everyone:
                # What PUBLIC has is told once by who can, and for each account here.
                assert of_public & compared <= shown.keys()
                shown = {grant: at_once for grant, at_once in shown.items() if grant not in of_public or grant in told}
                told |= dict.fromkeys(told.keys() & of_public, True)
            assert told == shown, (privilege, kind, path, pk)
        for row in rows:
            others = row.account.kind == "user" and row.account.name not in (*reference.LOGINS, "")
            if row.usable in ("login", "switch") and not others:
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


def without_nested_roles_of_public(script: list[str]) -> list[str]:
    """Without roles of roles that PUBLIC has. MariaDB 10.11 loses the rights on databases of such a role at FLUSH
    PRIVILEGES and at a restart, until the next GRANT to it, if its own roles have none: no answer is right for long."""
    grants = [found.groups() for one in script if (found := _ROLE.fullmatch(one))]
    nested = {role for role, to in grants if to == "PUBLIC"} & {to for _role, to in grants}
    return [one for one in script if not ((found := _ROLE.fullmatch(one)) and found[2] in nested)]


_ROLE = re.compile("GRANT (`[^`]+`) TO (`[^`@]+`|PUBLIC)")


def one_history(server: MariadbServer | MysqlServer, seed: int, questions: int = len(reference.TRIED)) -> None:
    """A set-up in two halves, a visit after each; then the store is asked so many questions, now and as of then."""
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
            if server.name == "mariadb-bookworm":
                script = without_nested_roles_of_public(script)
            place = random.randrange(len(script) // 2, len(script))
            for part in (script[:place], script[place:]):
                reference.run(server.execute, [*part, "FLUSH PRIVILEGES"])
                session = services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False)
                record = services.run_here(session).records.get()
                assert record.status == "completed", (record.error, record.gaps)
                authenticated = reference.authenticated(server.port)
                steps.append((record.started_at, truth(server.port), authenticated))
            for moment, works, accounts in [(None, *steps[-1][1:]), *steps]:
                asked = random.sample([*reference.TRIED], questions)
                said = answered(moment, accounts, mariadb, asked)
                works = {what: usable for what, usable in works.items() if what[1:] in asked}
                wrong = {what: (said.get(what), works.get(what)) for what, _usable in said.items() ^ works.items()}
                assert not wrong, f"seed {seed}: said, works: {sorted(wrong.items())}"


@pytest.mark.parametrize("seed", FEW)
def test_who_can_is_what_works(transactional_db, server, seed):
    """F7.1, F7.9, F7.12: accounts of the same name, anonymous ones, patterns, roles, PUBLIC: who can, the holders of
    rules and the matrix are what works, then and now."""
    one_history(server, seed, ASKED)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", MANY)
def test_who_can_is_what_works_at_length(transactional_db, server, seed):
    """F7.1, F7.9: the same, 100 histories on each version."""
    one_history(server, 1000 + seed)


def rows_of_u(privilege: str) -> dict[str, tuple[list[str], str]]:
    """Host of each account u → path and clients of its row for shop.t."""
    rows = who_can(privilege, "shop.t", kind="table").rows
    return {row.account.host: ([str(one) for one in row.path], row.clients) for row in rows if row.account.name == "u"}


def test_rights_from_some_clients_only(transactional_db, mysql_family):
    """F7.9: a row of an account of the same name is a step of the path, and the clients that it serves are named."""
    server = mysql_family
    before = server.snapshot()
    try:
        server.execute("CREATE DATABASE shop; CREATE TABLE shop.t (a int, b int)")
        server.execute("CREATE USER u@'127.0.0.%'; CREATE USER u@'local%'; CREATE USER u@'%'; FLUSH PRIVILEGES")
        server.execute("GRANT SELECT ON shop.* TO u@'local%'; GRANT DELETE ON shop.t TO u@'%'; FLUSH PRIVILEGES")
        works = {
            (account, client, privilege)
            for account, client, cursor in reference.logins(server.port, ["u"])
            for privilege in ("SELECT", "DELETE")
            if reference.works(cursor, reference.TRIED[privilege, "table", "shop.t"])
        }
        assert {one for one in works if one[0] == "u@127.0.0.%" and one[2] == "SELECT"} == {
            ("u@127.0.0.%", "127.0.0.1", "SELECT")
        }
        assert ("u@127.0.0.%", "127.0.0.2", "DELETE") in works
        with history_of(server.collector(level="C")):
            services.run_here(services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False))
            assert rows_of_u("SELECT")["127.0.0.%"] == (["u@local%"], "local%, 127.0.0.%")
            assert rows_of_u("SELECT")["local%"] == ([], "")
            assert rows_of_u("DELETE")["127.0.0.%"] == (["u@%"], "")
            rights = effective(Account.objects.select_related("instance").get(name="u", host="127.0.0.%"))
            shown = {grant.privilege: (rights.path_of(grant), rights.way(grant).clients) for grant in rights.grants}
            assert shown == {"SELECT": (["u@local%"], "local%, 127.0.0.%"), "DELETE": (["u@%"], "")}
            assert rights.by_database is False
    finally:
        server.reset()
        server.restore(before)


WIDE, NARROW = "GRANT DELETE ON `shop%`.* TO u0@'%'", "GRANT SELECT ON `shop_x`.* TO u0@'%'"


def of_u0(found: Iterable[tuple[str, ...]]) -> set[tuple[str, str]]:
    return {(what[1], what[3]) for what in found if what[0] == "u0@%" and what[2] == "table"}


def test_of_patterns_alike_mysql_takes_the_one_granted_first(transactional_db, mysql):
    """The grant tables are the same, the rights are not: answers count both."""
    before = mysql.snapshot()
    try:
        reference.prepare(mysql.execute)
        for script, first in (([WIDE, NARROW], "DELETE"), ([NARROW, WIDE], "SELECT")):
            mysql.restore(before)
            reference.run(mysql.execute, ["CREATE USER u0@'%'", *script])
            rows = mysql.execute("SELECT Db, Select_priv, Delete_priv FROM mysql.db WHERE User = 'u0'")
            assert set(rows) == {("shop%", "N", "Y"), ("shop_x", "Y", "N")}
            works = {("DELETE", "shop.t"), (first, "shop_x.t"), (first, "shopYx.t")}
            assert of_u0(truth(mysql.port)) == works
            mysql.execute("FLUSH PRIVILEGES")
            assert of_u0(truth(mysql.port)) == {("DELETE", f"{name}.t") for name in ("shop", "shop_x", "shopYx")}
        with history_of(mysql.collector(level="C")):
            services.run_here(services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False))
            both = {(privilege, f"{name}.t") for privilege in ("SELECT", "DELETE") for name in ("shop_x", "shopYx")}
            assert of_u0(answered(None, [], False, reference.TRIED)) == {("DELETE", "shop.t"), *both}
    finally:
        mysql.reset()


def test_roles_hold_what_they_have(transactional_db, mysql_family):
    """F7.1: a role is an account that has its rights and those of the roles within it, and cannot log in."""
    server = mysql_family
    before = server.snapshot()
    try:
        server.execute("CREATE DATABASE shop; CREATE TABLE shop.t (a int); CREATE ROLE app; CREATE ROLE team")
        server.execute("GRANT SELECT ON `sho_`.* TO app; GRANT app TO team; GRANT DELETE ON shop.t TO team")
        with history_of(server.collector(level="C")):
            services.run_here(services.start("accounts", Instance.objects.all(), trigger="manual", enqueue=False))
            for privilege, names in (("SELECT", {"app", "team"}), ("DELETE", {"team"})):
                rows = [row for row in who_can(privilege, "shop.t").rows if row.account.kind == "role"]
                assert {(row.account.name, row.usable) for row in rows} == {(name, "blocked") for name in names}
    finally:
        server.reset()
        server.restore(before)
