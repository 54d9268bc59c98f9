"""Peak memory of a worker that visits a server with 200,000 grants.

A worker is a process of its own: it sets up Django, makes a first visit, waits until the server has changed, and visits
it again. The change grants one role another privilege on tables; the second one, on PostgreSQL, renames a schema, so
that half of the grants continue under another path. The figure is the peak of its resident set (VmHWM of
/proc/self/status) in MB. `idle_mb` is that of a worker before its first visit.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ground import ROOT, quick, report, store

#: In each of these databases, half of the tables: of one, a visit reads 200,000 rows at most, owners and all. For the
#: same reason, the grants of one table of MariaDB are on a database.
DATABASES = ("postgres", "second")
STAFF = """
DO $$ BEGIN FOR n IN 1..{roles} LOOP EXECUTE format('CREATE ROLE "member of the staff %s"', n); END LOOP; END $$
"""
POSTGRESQL = """
CREATE SCHEMA big;
DO $$ DECLARE everybody text; BEGIN
    SELECT string_agg(quote_ident(rolname), ', ') INTO everybody FROM pg_roles WHERE rolname LIKE 'member of%';
    FOR n IN 1..{tables} LOOP
        EXECUTE format('CREATE TABLE big."table with a long name %s" (a int)', n);
        EXECUTE format('GRANT SELECT ON big."table with a long name %s" TO %s', n, everybody);
    END LOOP;
END $$
"""
MARIADB = """
CREATE DATABASE big;
BEGIN NOT ATOMIC FOR n IN 1..{roles} DO
    EXECUTE IMMEDIATE concat('CREATE USER `member of the staff ', n, '`');
END FOR; END;
INSERT INTO mysql.tables_priv (Host, Db, User, Table_name, Grantor, Table_priv, Column_priv)
WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000)
SELECT '%', 'big', concat('member of the staff ', r.n), concat('table with a long name ', t.n), 'root@localhost',
       'Select', ''
  FROM n r, n t WHERE r.n <= {roles} AND t.n < {tables};
INSERT INTO mysql.db (Host, Db, User, Select_priv)
WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {roles})
SELECT '%', 'small', concat('member of the staff ', n), 'Y' FROM n;
FLUSH PRIVILEGES
"""
CHANGE = {
    "postgresql": 'GRANT INSERT ON ALL TABLES IN SCHEMA big TO "member of the staff 1"',
    "mariadb": (
        "UPDATE mysql.tables_priv SET Table_priv = 'Select,Insert' WHERE User = 'member of the staff 1';"
        "FLUSH PRIVILEGES"
    ),
}
RENAME = {"postgresql": "ALTER SCHEMA big RENAME TO bigger"}


def peak() -> float:
    """The peak of this process's resident set, in MB. Not getrusage(), which begins with that of the parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def work(instance_id: int) -> None:
    """The worker: a visit for each line of its input, and a line with its peak after each."""
    sys.path.insert(0, str(ROOT))
    sys.argv[0] = "celery"
    import django

    django.setup()
    from instances.models import Instance
    from sync import services
    from sync.registry import KINDS
    from sync.visits import visit

    # The classification that follows is a visit too, of another worker.
    KINDS["accounts"].follow_ups.clear()
    print(peak(), flush=True)
    for _ in sys.stdin:
        chosen = Instance.objects.filter(pk=instance_id)
        session = services.start("accounts", chosen, trigger="command", enqueue=False)
        visit(session.records.values_list("pk", flat=True).get())
        record = session.records.get()
        assert record.status == "completed", (record.status, record.error, record.gaps)
        print(peak(), flush=True)


def measure(name: str, server: Any, n_grants: int) -> dict[str, float]:
    from accounts.models import Grant
    from instances.models import Credential, Instance

    roles = 1000
    tables = n_grants // roles
    if name == "postgresql":
        server.execute(STAFF.format(roles=roles))
        server.fresh_database(DATABASES[1])
        for database in DATABASES:
            server.execute(POSTGRESQL.format(tables=tables // len(DATABASES)), None, database)
    else:
        server.execute(MARIADB.format(roles=roles, tables=tables))
    target = server.collector(level="B")
    credential = Credential.objects.create(name=name, username=target.username, password=target.password)
    instance = Instance.objects.create(
        name=name, engine=target.engine, host=target.host, port=target.port, credential=credential, level="B",
        proof=target.proof,
    )  # fmt: skip
    command = [sys.executable, __file__, "--work", str(instance.pk)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as worker:

        def next_peak(before: Callable[[], object] = lambda: None) -> float:
            before()
            worker.stdin.write("\n")
            worker.stdin.flush()
            return float(worker.stdout.readline())

        figures = {"idle_mb": float(worker.stdout.readline()), "first_mb": next_peak()}
        held = Grant.objects.filter(account__instance=instance, until=None)
        assert held.count() >= n_grants, held.count()
        figures["changed_mb"] = next_peak(lambda: server.execute(CHANGE[name]))
        assert held.filter(privilege="INSERT", scope__contains="table with a long name").count() > 1
        if name in RENAME:
            figures["renamed_mb"] = next_peak(lambda: server.execute(RENAME[name]))
            assert held.filter(scope__startswith="postgres.bigger").count() >= n_grants / len(DATABASES)
        worker.stdin.close()
    return {f"{name}_{figure}": value for figure, value in figures.items()}


def main() -> None:
    n_grants = 20_000 if quick() else 200_000
    figures: dict[str, Any] = {"grants": n_grants}
    with store():
        from taifish.tests.mariadb import MariadbServer
        from taifish.tests.postgres import PostgresServer

        for name, make in (("postgresql", lambda: PostgresServer(18)), ("mariadb", MariadbServer)):
            server = make()
            try:
                server.start()
                figures |= measure(name, server, n_grants)
            finally:
                server.remove()
    targets = {figure: ("<=", 300) for figure in figures if figure.endswith(("first_mb", "changed_mb", "renamed_mb"))}
    report("memory", figures, targets)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(int(sys.argv[2]))
    else:
        main()
