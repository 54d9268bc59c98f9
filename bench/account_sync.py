"""First and no-change account sync of a big server, as a ratio to reading its catalogues by hand.

By hand means: connect, run the adapter's own statements through the bare driver, fetch every row.
"""

from __future__ import annotations

from typing import Any

from ground import quick, report, seconds, store

ACCOUNTS = 200 if quick() else 5000

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
    instance = Instance.objects.create(
        name=engine, engine=engine, host=target.host, port=target.port, credential=credential
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

    def sync() -> None:
        session = services.start("accounts", Instance.objects.filter(pk=instance.pk), trigger="command", enqueue=False)
        visit(session.records.get().pk)
        record = session.records.get()
        assert record.status == "completed", record.error
        figures["statements"] = record.summary["statements"]

    figures: dict[str, Any] = {"by_hand_s": seconds(by_hand, 5)}
    figures["first_s"] = seconds(sync)
    figures["no_change_s"] = seconds(sync, 5)
    with CaptureQueriesContext(connection) as captured:
        sync()
    figures["store_queries_no_change"] = len(captured)
    figures["first_ratio"] = figures["first_s"] / figures["by_hand_s"]
    figures["no_change_ratio"] = figures["no_change_s"] / figures["by_hand_s"]
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
    bounds = {"first_ratio": 3.0, "no_change_ratio": 1.5}
    targets = {
        f"{engine}_{name}": ("<=", bound) for engine in ("postgresql", "mysql") for name, bound in bounds.items()
    }
    report("account_sync", figures, targets)


if __name__ == "__main__":
    main()
