"""First and unchanged account visits to a big server, against doing the same by hand.

Reading by hand: open the same connections, run the statements that the visit sends, in the same order and databases,
and fetch all rows. No facts are made of them. `unchanged_ratio` compares an unchanged visit with that.

Writing by hand: turn the rows that the first visit left, which are Python tuples beforehand, into text, COPY it into
the same tables with all columns, indexes and foreign keys, and commit. `first_ratio` compares a first visit with
reading and writing by hand; what it has above 1 is making facts, comparing, closure, change log and bookkeeping.
`rows_copied_s` is COPY alone, of text made beforehand, and `rows_alone_s` that into tables without indexes and keys.

Two parts of what a visit has above 1 are measured by themselves: session and record of a visit that reads nothing
(`session_s`), and the digest by which an unchanged visit is recognised (`digest_s`). `*_floor` are the ratios of doing
by hand and these alone; for a first visit, with making facts of the rows (`facts_s`).

A visit is a session from its beginning to its closing, at the depth of new instances; the classification that follows
has a bench of its own. A first visit is that of an instance new to a store and a worker that have been at work before.
Each figure in seconds is the best of several.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from io import StringIO
from itertools import groupby
from typing import Any

from ground import quick, report, seconds, store

ACCOUNTS = 200 if quick() else 5000
ROUNDS = 5

POSTGRESQL = f"""
CREATE ROLE team;
DO $$ BEGIN FOR n IN 1..{ACCOUNTS} LOOP
    EXECUTE format('CREATE ROLE u%s LOGIN; GRANT team TO u%s', n, n);
    EXECUTE format('GRANT CREATE, CONNECT, TEMPORARY ON DATABASE postgres TO u%s', n);
END LOOP; END $$
"""
MARIADB = f"""
CREATE ROLE team;
BEGIN NOT ATOMIC FOR n IN 1..{ACCOUNTS} DO
    EXECUTE IMMEDIATE concat('CREATE USER u', n);
    EXECUTE IMMEDIATE concat('GRANT SELECT, INSERT, UPDATE ON shop.* TO u', n);
    EXECUTE IMMEDIATE concat('GRANT team TO u', n);
END FOR; END
"""
MYSQL = f"""
CREATE ROLE team; CREATE DATABASE bench;
CREATE PROCEDURE bench.fill() BEGIN
    DECLARE n INT DEFAULT 1;
    WHILE n <= {ACCOUNTS} DO
        SET @create = concat('CREATE USER u', n, ' IDENTIFIED WITH caching_sha2_password');
        PREPARE s FROM @create; EXECUTE s;
        SET @grant = concat('GRANT SELECT, INSERT, UPDATE ON shop.* TO u', n);
        PREPARE s FROM @grant; EXECUTE s;
        SET @join = concat('GRANT team TO u', n);
        PREPARE s FROM @join; EXECUTE s;
        SET n = n + 1;
    END WHILE;
END;
CALL bench.fill(); DROP DATABASE bench
"""
FILL = {"postgresql": POSTGRESQL, "mariadb": MARIADB, "mysql": MYSQL}
#: The depth of new instances.
LEVEL = "B"


#: Tables that a first sync fills, and whose rows are an instance's; what refers to others comes later.
ACCOUNT_IDS = "(SELECT id FROM accounts_account WHERE instance_id = {0})"
TABLES = {
    "accounts_account": "instance_id = {0}",
    "accounts_membership": f"member_id IN {ACCOUNT_IDS}",
    "accounts_grant": f"account_id IN {ACCOUNT_IDS}",
    "accounts_rolereach": f"member_id IN {ACCOUNT_IDS}",
    "accounts_accountchange": f"account_id IN {ACCOUNT_IDS}",
}


def writes_by_hand(instance_id: int) -> dict[str, float]:
    """Seconds to put back an instance's rows, which are there afterwards as before, and to put them down bare."""
    from django.db import connection, transaction

    rows: dict[str, list[tuple[Any, ...]]] = {}
    with connection.cursor() as cursor:
        for table, owned in TABLES.items():
            cursor.execute(f"SELECT * FROM {table} WHERE {owned.format(instance_id)}")
            rows[table] = cursor.fetchall()
        for table, owned in reversed(TABLES.items()):
            cursor.execute(f"DELETE FROM {table} WHERE {owned.format(instance_id)}")

    def remove() -> None:
        with connection.cursor() as cursor:
            for table, owned in reversed(TABLES.items()):
                cursor.execute(f"DELETE FROM {table} WHERE {owned.format(instance_id)}")

    def copy(texts: dict[str, StringIO], prefix: str = "") -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            for table, text in texts.items():
                text.seek(0)
                cursor.copy_expert(f"COPY {prefix}{table} FROM STDIN", text)

    def written() -> dict[str, StringIO]:
        return {table: text_of(own) for table, own in rows.items()}

    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DROP TABLE IF EXISTS bare_{table}; CREATE UNLOGGED TABLE bare_{table} (LIKE {table})")
    texts = written()
    copied = seconds(lambda: copy(texts))
    remove()
    return {
        "writes_by_hand_s": seconds(lambda: copy(written())),
        "rows_copied_s": copied,
        "rows_alone_s": seconds(lambda: copy(texts, "bare_")),
    }


def text_of(rows: Iterable[tuple[Any, ...]]) -> StringIO:
    """Rows in the text format of COPY."""
    text = StringIO()
    for row in rows:
        text.write("\t".join(map(field, row)))
        text.write("\n")
    return text


def field(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        value = "{" + ",".join(json.dumps(one, ensure_ascii=False) for one in value) + "}"
    elif isinstance(value, dict):
        value = json.dumps(value)
    value = str(value)
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n") if not value.isalnum() else value


def connect(target: Any, database: str) -> Any:
    """A connection by the driver that the visit uses, with the same checks of the server."""
    if target.engine == "postgresql":
        from engines.postgresql.session import certificate_of
        from engines.postgresql.session import connect as connect_postgresql

        seen = certificate_of(target, 10) if target.is_guarded else None
        return connect_postgresql(target, database, 10, seen)
    from engines.mysql.session import driver, open_connection

    return open_connection(driver(target), target, 10, 60)


def measure(name: str, server: Any) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from accounts.coverage import digest_of
    from accounts.services import read
    from engines.registry import adapter_for
    from instances.models import Credential, Instance
    from sync import services
    from sync.models import SyncRecord
    from sync.registry import KINDS, Outcome
    from sync.visits import visit

    KINDS["accounts"].follow_ups.clear()

    target = server.collector(level=LEVEL)
    server.execute(FILL[name])
    credential = Credential.objects.create(name=name, username=target.username, password=target.password)

    def instance(suffix: str) -> Instance:
        return Instance.objects.create(
            name=f"{name} {suffix}",
            engine=target.engine,
            host=target.host,
            port=target.port,
            credential=credential,
            proof=target.proof,
            level=LEVEL,
        )

    target = instance("statements").target()
    asked: list[tuple[str, str, Any]] = []
    adapter = adapter_for(target)
    session = adapter.session
    execute = session._execute

    def record(sql: str, parameters: Any) -> Any:
        asked.append((getattr(session, "database", ""), sql, parameters))
        return execute(sql, parameters)

    session._execute = record
    with adapter:
        adapter.inventory()
        adapter.permissions()

    def by_hand() -> None:
        for database, statements in groupby(asked, key=lambda one: one[0]):
            connection = connect(target, database)
            with connection.cursor() as cursor:
                for _, sql, parameters in statements:
                    cursor.execute(sql, parameters)
                    if cursor.description:
                        cursor.fetchall()
            connection.close()

    def sync_nothing(visited: Instance) -> None:
        """The session and record of a visit that reads and stores nothing."""
        kind = KINDS["accounts"]
        KINDS["accounts"] = replace(
            kind,
            read=lambda instance, phase: [phase("inventory"), phase("permissions")],
            write=lambda instance, facts, record: Outcome({}),
        )
        try:
            sync(visited)
        finally:
            KINDS["accounts"] = kind

    def parts(visited: Instance) -> dict[str, float]:
        facts = read(visited, lambda phase: None)
        lists = facts.inventory.accounts, facts.permissions.memberships, facts.permissions.grants
        return {
            "session_s": seconds(lambda: sync_nothing(visited), 5),
            "digest_s": seconds(lambda: digest_of(facts, ())),
            "facts_s": seconds(lambda: [len(one) for one in lists]),
        }

    def sync(visited: Instance) -> None:
        session = services.start("accounts", Instance.objects.filter(pk=visited.pk), trigger="command", enqueue=False)
        visit(session.records.values_list("pk", flat=True).get())

    def timed(visited: Instance) -> dict[str, float]:
        return {
            "by_hand_s": seconds(by_hand, 3),
            "first_s": seconds(lambda: sync(visited)),
            "unchanged_s": seconds(lambda: sync(visited), 5),
            **parts(visited),
            **writes_by_hand(visited.pk),
        }

    figures: dict[str, Any] = {}
    last = instance("warm-up")
    sync(last)
    rounds = [timed(instance(f"round {number}")) for number in range(ROUNDS)]
    figures |= {figure: min(taken[figure] for taken in rounds) for figure in rounds[0]}
    wrong = SyncRecord.objects.filter(instance__credential=credential).exclude(status="completed")
    assert not wrong.exists(), wrong.first().error
    with CaptureQueriesContext(connection) as captured:
        sync(last)
    figures["store_queries_unchanged"] = len(captured)
    figures["statements"] = SyncRecord.objects.latest("pk").summary["statements"]
    reads = figures["by_hand_s"]
    figures["unchanged_ratio"] = figures["unchanged_s"] / reads
    beside = figures["session_s"] + figures["digest_s"]
    by_hand_s = reads + figures["writes_by_hand_s"]
    figures["first_ratio"] = figures["first_s"] / by_hand_s
    figures["first_floor"] = 1 + (beside + figures["facts_s"]) / by_hand_s
    figures["unchanged_floor"] = 1 + beside / reads
    return {f"{name}_{figure}": value for figure, value in figures.items()}


def main() -> None:
    figures: dict[str, Any] = {"accounts": ACCOUNTS}
    with store():
        from taifish.tests.mariadb import MariadbServer, MysqlServer
        from taifish.tests.postgres import PostgresServer

        makers = {"postgresql": lambda: PostgresServer(18), "mariadb": MariadbServer, "mysql": MysqlServer}
        for name, make in makers.items():
            server = make()
            try:
                server.start()
                figures |= measure(name, server)
            finally:
                server.remove()
    bounds = {"first_ratio": 1.5, "unchanged_ratio": 1.4}
    targets = {f"{name}_{figure}": ("<=", bound) for name in makers for figure, bound in bounds.items()}
    report("account_sync", figures, targets)


if __name__ == "__main__":
    main()
