"""First and no-change account sync of a big server, as a ratio to reading its catalogues by hand.

By hand means: connect, run the adapter's own statements through the bare driver, fetch every row. `first_ratio` and
`no_change_ratio` are issue 3's, and so are their bounds. MariaDB misses the first, and will: its rows are read in some
30 ms, and storing them takes ten times as long, whoever does it.

So beside it stands the ratio to reading and writing by hand: COPY of the very rows that the first sync left, indexes,
foreign keys and commit included. Its bound says that making facts, comparing and logging take no longer than the work
itself. `rows_alone_s` is the COPY of the same rows into tables that have neither.

A sync is a session of one visit, from its beginning to its closing; the classification that follows it has a bench of
its own. A first sync is that of an instance new to a store and a worker that have been at work before. Each figure in
seconds is the best of several.
"""

from __future__ import annotations

from io import StringIO
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

    copies = {}
    with connection.cursor() as cursor:
        for table, owned in TABLES.items():
            copies[table] = StringIO()
            cursor.copy_expert(
                f"COPY (SELECT * FROM {table} WHERE {owned.format(instance_id)}) TO STDOUT", copies[table]
            )
        for table, owned in reversed(TABLES.items()):
            cursor.execute(f"DELETE FROM {table} WHERE {owned.format(instance_id)}")

    def copy(prefix: str = "") -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            for table, rows in copies.items():
                rows.seek(0)
                cursor.copy_expert(f"COPY {prefix}{table} FROM STDIN", rows)

    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DROP TABLE IF EXISTS bare_{table}; CREATE UNLOGGED TABLE bare_{table} (LIKE {table})")
    return {"writes_by_hand_s": seconds(copy), "rows_alone_s": seconds(lambda: copy("bare_"))}


def measure(engine: str, server: Any) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from engines.registry import adapter_for
    from instances.models import Credential, Instance
    from sync import services
    from sync.models import SyncRecord
    from sync.registry import KINDS
    from sync.visits import visit

    KINDS["accounts"].follow_ups.clear()

    target = server.collector()
    server.execute(POSTGRESQL if engine == "postgresql" else MARIADB)
    credential = Credential.objects.create(name=engine, username=target.username, password=target.password)

    def instance(name: str) -> Instance:
        return Instance.objects.create(
            name=f"{engine} {name}",
            engine=engine,
            host=target.host,
            port=target.port,
            credential=credential,
            proof="hashes",
        )

    asked: list[tuple[str, Any]] = []
    adapter = adapter_for(target)
    execute = adapter.session._execute
    adapter.session._execute = lambda sql, parameters: (asked.append((sql, parameters)), execute(sql, parameters))[1]
    with adapter:
        adapter.inventory()
        adapter.permissions()

    def by_hand() -> None:
        with adapter_for(target) as bare, bare.session._connection.cursor() as cursor:
            for sql, parameters in asked:
                cursor.execute(sql, parameters)
                if cursor.description:
                    cursor.fetchall()

    def sync(visited: Instance) -> None:
        session = services.start("accounts", Instance.objects.filter(pk=visited.pk), trigger="command", enqueue=False)
        visit(session.records.values_list("pk", flat=True).get())

    def timed(visited: Instance) -> dict[str, float]:
        return {
            "by_hand_s": seconds(by_hand, 3),
            "first_s": seconds(lambda: sync(visited)),
            "no_change_s": seconds(lambda: sync(visited), 5),
            **writes_by_hand(visited.pk),
        }

    figures: dict[str, Any] = {}
    last = instance("warm-up")
    sync(last)
    rounds = [timed(instance(f"round {number}")) for number in range(ROUNDS)]
    figures |= {figure: min(taken[figure] for taken in rounds) for figure in rounds[0]}
    wrong = SyncRecord.objects.filter(instance__engine=engine).exclude(status="completed")
    assert not wrong.exists(), wrong.first().error
    figures["statements"] = SyncRecord.objects.latest("pk").summary["statements"]
    with CaptureQueriesContext(connection) as captured:
        sync(last)
    figures["store_queries_no_change"] = len(captured)
    reads = figures["by_hand_s"]
    figures["first_ratio"] = figures["first_s"] / reads
    figures["no_change_ratio"] = figures["no_change_s"] / reads
    figures["first_to_reads_and_writes"] = figures["first_s"] / (reads + figures["writes_by_hand_s"])
    return {f"{engine}_{name}": value for name, value in figures.items()}


def main() -> None:
    figures: dict[str, Any] = {"accounts": ACCOUNTS}
    with store():
        from taifish.tests.mariadb import MariadbServer
        from taifish.tests.postgres import PostgresServer

        for engine, make in (("postgresql", lambda: PostgresServer(18)), ("mysql", MariadbServer)):
            server = make()
            try:
                server.start()
                figures |= measure(engine, server)
            finally:
                server.remove()
    bounds = {"first_ratio": 3.0, "no_change_ratio": 1.5, "first_to_reads_and_writes": 2.0}
    targets = {
        f"{engine}_{name}": ("<=", bound) for engine in ("postgresql", "mysql") for name, bound in bounds.items()
    }
    report("account_sync", figures, targets)


if __name__ == "__main__":
    main()
