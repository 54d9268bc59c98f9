"""SIGKILL at random moments of the production form, while first visits, aggregation, classification and tagging write.

Afterwards every session ends, `verify_store` finds nothing, nothing false was written and nothing lost. The targets do
not change, so each change that is logged, and each interval that ended, would be false.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg2
import pytest

from engines.target import Target
from taifish.tests.brokers import Broker, RabbitMQ, Redis
from taifish.tests.mariadb import MariadbServer
from taifish.tests.postgres import PostgresServer
from taifish.tests.production import MANAGE, Production, own_store
from taifish.tests.results import record

BROKERS: dict[str, Callable[[], Broker]] = {
    "Redis without persistence": partial(Redis, False),
    "Redis with persistence": partial(Redis, True),
    "RabbitMQ": RabbitMQ,
}
ROLES, HISTORY = 150, 200

#: More often what works.
VICTIMS = {"worker": 5, "child": 5, "store": 3, "broker": 3, "tag": 2, "beat": 1, "web": 1}

#: 200 days of sizes for databases without a past, and their totals. The triggers note each day as changed.
_HISTORY = """
WITH bare AS (
    SELECT d.id, d.instance_id FROM capacity_database d
     WHERE NOT EXISTS (SELECT FROM capacity_databasesize s WHERE s.database_id = d.id AND s.day < current_date - 1)
       AND d.instance_id NOT IN (SELECT instance_id FROM capacity_instancesize WHERE day < current_date - 1)),
sizes AS (
    INSERT INTO capacity_databasesize (database_id, day, size, collected_at)
    SELECT b.id, current_date - n, 1000000 + b.id * 701 + (400 - n) * 5000, now()
      FROM bare b, generate_series(2, %s) n WHERE (b.id + n) %% 17 <> 0
    RETURNING database_id, day, size)
INSERT INTO capacity_instancesize (instance_id, day, size, shared_size, shared, n_databases, is_complete, collected_at)
SELECT b.instance_id, s.day, sum(s.size), 0, '{}', count(*), true, now()
  FROM sizes s JOIN bare b ON b.id = s.database_id GROUP BY 1, 2
"""


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Target]]:
    """A PostgreSQL and a MariaDB with a few hundred accounts, and much that they may do."""
    postgres = PostgresServer(18, max_connections="200")
    mariadb = MariadbServer("mariadb-sid", max_connections="100")
    postgres.start()
    mariadb.start()
    try:
        postgres.execute(
            "".join(f"CREATE ROLE r{n}; " for n in range(ROLES))
            + "".join(f"GRANT r{n // 2} TO r{n}; " for n in range(1, ROLES))
        )
        for name in ("shop", "books", "wages"):
            postgres.fresh_database(name)
            postgres.execute(
                "DO $$BEGIN FOR i IN 0..19 LOOP EXECUTE format('CREATE TABLE t%s (id int)', i); FOR k IN 0..9 LOOP"
                f" EXECUTE format('GRANT SELECT, INSERT ON t%s TO r%s', i, (i * 10 + k) % {ROLES}); END LOOP;"
                " END LOOP; END$$",
                database=name,
            )
        mariadb.execute("CREATE DATABASE shop; CREATE TABLE shop.t (id int)")
        for n in range(60):
            mariadb.execute(f"CREATE USER u{n}@'%'; GRANT SELECT, INSERT ON shop.* TO u{n}@'%'")
        yield {
            "pg": postgres.collector(level="B"),
            "maria": mariadb.collector(level="B"),
        }
    finally:
        postgres.remove()
        mariadb.remove()


class Chaos:
    """Makes work, kills, and counts both. Everything random comes from the seed."""

    def __init__(self, production: Production, targets: dict[str, Target], seed: int) -> None:
        self.production, self.targets = production, targets
        self.random = random.Random(seed)
        self.batches = 0
        self.killed: Counter[str] = Counter()
        self.worked: Counter[str] = Counter()

    def run(self, kills: int) -> None:
        self.first_visits()
        while self.killed.total() < kills:
            self.production.supervise()
            if self.killed.total() % 3 == 0 or self.random.random() < 0.2:
                # Where store or broker has just died, an operator's command may fail.
                with contextlib.suppress(AssertionError, psycopg2.Error, subprocess.TimeoutExpired):
                    self.make_work()
            time.sleep(self.random.uniform(0.05, 1.5))
            self.kill()
            print(self.killed.total(), end=" ", flush=True)

    def make_work(self) -> None:
        work = self.random.choice(["first visits", "first visits", "aggregation", "classification", "all visits"])
        if work == "first visits":
            self.first_visits()
        elif work == "aggregation":
            self.production.rows(_HISTORY, [HISTORY])
            self.production.start_sessions("aggregation")
        elif work == "classification":
            self.production.start_sessions("classification")
        else:
            self.production.start_sessions("accounts", "capacity")
        self.worked[work] += 1

    def first_visits(self) -> None:
        batch = f"b{self.batches}-"
        self.batches += 1
        production = self.production
        codes = [
            production.added([f"{batch}{name}{n}" for n in range(number)], self.targets[name])
            for name, number in (("pg", 5), ("maria", 2))
        ]
        production.shell("".join(codes) + production.started("accounts", "capacity", prefix=batch))

    def kill(self) -> None:
        victim = self.random.choices(list(VICTIMS), VICTIMS.values())[0]
        getattr(self, f"kill_{victim}")()
        self.killed[victim] += 1

    def kill_worker(self) -> None:
        self._workers()[0].kill9()

    def kill_child(self) -> None:
        worker = self._workers()[0]
        if children := worker.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(children), signal.SIGKILL)

    def _workers(self) -> list[Any]:
        workers = [service for name, service in self.production.services.items() if name.startswith("worker")]
        self.random.shuffle(workers)
        return workers

    def kill_beat(self) -> None:
        self.production.services["beat0"].kill9()

    def kill_web(self) -> None:
        self.production.services["web"].kill9()

    def kill_store(self) -> None:
        self.production.store.kill9()
        time.sleep(self.random.uniform(0, 1))
        self.production.store.start()

    def kill_broker(self) -> None:
        self.production.broker.kill9()
        time.sleep(self.random.uniform(0, 1))
        self.production.broker.start()

    def kill_tag(self) -> None:
        """Tags every instance with 200 tags, or takes them off; dies somewhere on the way."""
        action = self.random.choice(["add", "remove"])
        tags = [f"t{n}" for n in range(200)]
        process = subprocess.Popen(
            [sys.executable, str(MANAGE), "tag", action, *tags, "--all"],
            env=self.production.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0.8, 3))
        process.kill()
        process.wait()


def ends_well(production: Production) -> int:
    """Check everything that must be true when the kills are over. Returns the number of records."""
    production.verify()
    failed = production.rows("SELECT kind, error_code, message FROM sync_syncrecord WHERE status = 'failed'")
    assert {code for _, code, _ in failed} <= {"worker_lost"}, failed
    assert production.rows("SELECT count(*) FROM accounts_accountchange WHERE NOT baseline") == [(0,)]
    for table in ("accounts_grant", "accounts_membership"):
        assert production.rows(f"SELECT count(*) FROM {table} WHERE until IS NOT NULL") == [(0,)], table
    for table in ("accounts_account", "capacity_database"):
        assert production.rows(f"SELECT count(*) FROM {table} WHERE gone_at IS NOT NULL") == [(0,)], table
    # Every operation is whole, with its receipt, or left nothing.
    tagged = production.rows("SELECT count(*) FROM tagging_instancetag")[0][0]
    pairs = """
        SELECT coalesce(sum(CASE x.key WHEN 'added' THEN 1 WHEN 'removed' THEN -1 ELSE 0 END
                            * jsonb_array_length(b -> 'tags') * jsonb_array_length(b -> 'instances')), 0)
          FROM tagging_tagoperation o, jsonb_each(o.outcomes) x, jsonb_array_elements(x.value) b"""
    assert production.rows(pairs) == [(tagged,)]
    # A visit in peace finds nothing to begin, to end or to rename: nothing was lost, and nothing is too much.
    (before,) = production.rows("SELECT max(id) FROM sync_syncsession")
    production.start_sessions("accounts", "capacity", "aggregation")
    production.finish()
    last = "FROM sync_syncrecord WHERE session_id > %s"
    assert production.rows(f"SELECT DISTINCT status {last} AND kind <> 'aggregation'", before) == [("completed",)]
    names = ("appeared", "disappeared", "reappeared", "changed", "granted", "revoked", "joined", "left")
    sums = ", ".join(f"coalesce(sum((summary ->> '{name}')::int), 0)" for name in names)
    visited_before = """
        AND kind = 'accounts' AND instance_id IN (SELECT instance_id FROM sync_syncrecord
                                                   WHERE status = 'completed' AND kind = 'accounts' AND session_id <= %s)"""
    assert production.rows(f"SELECT {sums} {last} {visited_before}", before * 2) == [(0,) * len(names)]
    expected = {"pg": ROLES + 1, "maria": 60}
    for name, least in expected.items():
        found = production.rows(
            "SELECT i.name, count(a.id) FROM instances_instance i LEFT JOIN accounts_account a ON a.instance_id = i.id"
            " WHERE i.name LIKE %s GROUP BY 1",
            [f"b%-{name}%"],
        )
        assert len({count for _, count in found}) == 1, found
        assert found[0][1] >= least
    assert production.rows("SELECT count(*) FROM aggregation_changedday WHERE day < current_date - 1") == [(0,)]
    production.verify()
    return int(production.rows("SELECT count(*) FROM sync_syncrecord")[0][0])


def wreak(broker: str, major: int, targets: dict[str, Target], kills: int) -> None:
    seed = int(os.environ.get("TAIFISH_TEST_SEED") or random.randrange(10**6))
    print(f"TAIFISH_TEST_SEED={seed}: {broker}, store {major}, {kills} kills")
    started = time.monotonic()
    production = Production(own_store(major), BROKERS[broker]())
    try:
        production.shell(
            "from tagging.models import Tag\n"
            "Tag.objects.bulk_create(Tag(slug=f't{n}', label=f't{n}') for n in range(200))"
        )
        chaos = Chaos(production, targets, seed)
        print(f"{time.monotonic() - started:.0f} s to set up")
        started = time.monotonic()
        chaos.run(kills)
        print(f"{time.monotonic() - started:.0f} s of kills")
        seconds = production.finish()
        started = time.monotonic()
        records = ends_well(production)
        print(f"{time.monotonic() - started:.0f} s to check")
        print(f"seed {seed}: {dict(chaos.killed)}, {dict(chaos.worked)}, {records} records, {seconds:.0f} s to the end")
        victims = "worker, pool process, store, broker, tagging command, beat or web"
        record("SIGKILL", f"{victims}: {broker}, store PostgreSQL {major}", kills, seconds)
    finally:
        production.remove()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("broker", "major"), [("Redis without persistence", 14), ("RabbitMQ", 18)])
def test_fifteen_kills(broker: str, major: int, targets: dict[str, Target]) -> None:
    """F11.1, F11.5"""
    wreak(broker, major, targets, 15)


@pytest.mark.chaos
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("major", [14, 18])
@pytest.mark.parametrize("broker", BROKERS)
def test_kills_of_production(broker: str, major: int, targets: dict[str, Target]) -> None:
    """F11.1, F11.5: TAIFISH_TEST_KILLS in all, 1000 unless it says otherwise."""
    wreak(broker, major, targets, -(-int(os.environ.get("TAIFISH_TEST_KILLS") or 1000) // (2 * len(BROKERS))))
