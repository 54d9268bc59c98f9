"""First and no-change account sync of a big server, as a ratio to reading its catalogues by hand.

By hand means: connect, run the adapter's own statements through the bare driver, fetch every row. `first_ratio` and
`no_change_ratio` are issue 3's, and so are their bounds. MariaDB misses both, and will: it reads these rows in some
30 ms. Storing them alone takes ten times as long, whoever does it; and without news a visit still fingerprints them,
writes last_seen_at, and keeps its record and its session, which takes another 30.

So beside them stands the ratio to reading and writing by hand: COPY of the very rows that the first sync left, indexes,
foreign keys and commit included; for the sync without news the one UPDATE of last_seen_at. Its bound for the first sync
says that making facts, comparing and logging take no longer than the work itself.

A first sync is that of an instance new to a store and a worker that have been at work before. Each figure in seconds is
the best of several.
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


def writes_by_hand(instance_id: int) -> float:
    """Seconds to put back an instance's rows, which are there afterwards as before."""
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

    def copy() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            for table, rows in copies.items():
                rows.seek(0)
                cursor.copy_expert(f"COPY {table} FROM STDIN", rows)

    return seconds(copy)


def update_by_hand(instance_id: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_account SET last_seen_at = now() WHERE instance_id = %s AND gone_at IS NULL", [instance_id]
        )


def measure(engine: str, server: Any) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from instances.adapters import adapter_for
    from instances.models import Credential, Instance
    from sync import services
    from sync.visits import visit

    target = server.collector()
    server.execute(POSTGRESQL if engine == "postgresql" else MARIADB)
    credential = Credential.objects.create(name=engine, username=target.username, password=target.password)

    def instance(name: str) -> Instance:
        return Instance.objects.create(
            name=f"{engine} {name}", engine=engine, host=target.host, port=target.port, credential=credential
        )

    asked: list[tuple[str, Any]] = []
    adapter = adapter_for(target)
    execute = adapter._execute
    adapter._execute = lambda sql, parameters: (asked.append((sql, parameters)), execute(sql, parameters))[1]
    with adapter:
        adapter.inventory()
        adapter.permissions()

    def by_hand() -> None:
        with adapter_for(target) as bare, bare._connection.cursor() as cursor:
            for sql, parameters in asked:
                cursor.execute(sql, parameters)
                if cursor.description:
                    cursor.fetchall()

    def sync(visited: Instance) -> None:
        session = services.start("accounts", Instance.objects.filter(pk=visited.pk), trigger="command", enqueue=False)
        visit(session.records.get().pk)
        record = session.records.get()
        assert record.status == "completed", record.error
        figures["statements"] = record.summary["statements"]

    def timed(visited: Instance) -> dict[str, float]:
        return {
            "by_hand_s": seconds(by_hand, 3),
            "first_s": seconds(lambda: sync(visited)),
            "no_change_s": seconds(lambda: sync(visited), 5),
            "update_by_hand_s": seconds(lambda: update_by_hand(visited.pk), 5),
            "writes_by_hand_s": writes_by_hand(visited.pk),
        }

    figures: dict[str, Any] = {}
    last = instance("warm-up")
    sync(last)
    rounds = [timed(instance(f"round {number}")) for number in range(ROUNDS)]
    figures |= {figure: min(taken[figure] for taken in rounds) for figure in rounds[0]}
    with CaptureQueriesContext(connection) as captured:
        sync(last)
    figures["store_queries_no_change"] = len(captured)
    reads = figures["by_hand_s"]
    figures["first_ratio"] = figures["first_s"] / reads
    figures["no_change_ratio"] = figures["no_change_s"] / reads
    figures["first_to_reads_and_writes"] = figures["first_s"] / (reads + figures["writes_by_hand_s"])
    figures["no_change_to_reads_and_update"] = figures["no_change_s"] / (reads + figures["update_by_hand_s"])
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
