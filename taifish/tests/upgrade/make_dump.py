"""Make the dump of a filled store, and note what this release answers about it.

    python -m taifish.tests.upgrade.make_dump

Run by hand, once for a release, before anything is migrated beyond it. Visits PostgreSQL 18 and 16, MariaDB (as the
script of `print_grants` allows, and without reading hashes) and the emulated dictionary of Oracle, with changes between
the visits, whose results are dated back after each round. Every secret in it is made up here.
"""

from __future__ import annotations

import getpass
import gzip
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from taifish.tests import store  # Before Django's settings: it names the folder of the store.
from taifish.tests.upgrade import CREDENTIAL_KEY, LOGIN_PASSWORD

os.environ |= {
    "DJANGO_SETTINGS_MODULE": "taifish.settings",
    "TAIFISH_CREDENTIAL_KEYS": CREDENTIAL_KEY,
    "TAIFISH_LOG_LEVEL": "CRITICAL",
}

import django

django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, connections  # noqa: E402
from django.utils import timezone  # noqa: E402
from rest_framework.test import APIClient  # noqa: E402

from accounts.models import Account, AccountFilter  # noqa: E402
from aggregation.models import InstanceLimit  # noqa: E402
from alerts import services as alerts  # noqa: E402
from alerts.models import AlertRule, Channel  # noqa: E402
from classification import services as classification  # noqa: E402
from classification.models import Classification, ClassificationRule  # noqa: E402
from engines.oracle import session as oracle_session  # noqa: E402
from engines.target import Target  # noqa: E402
from engines.tests.oracle_emulated import READER, SHAPES, Emulated  # noqa: E402
from instances.models import Credential, Instance  # noqa: E402
from sync import services  # noqa: E402
from tagging import services as tagging  # noqa: E402
from tagging.models import Tag, TagLimit  # noqa: E402
from taifish import embedded, schedules  # noqa: E402
from taifish.models import ApiToken  # noqa: E402
from taifish.tests.mariadb import MariadbServer  # noqa: E402
from taifish.tests.postgres import PostgresServer  # noqa: E402
from taifish.tests.upgrade.answers import answers  # noqa: E402

HERE = Path(__file__).parent

POSTGRESQL = """
CREATE ROLE dba CREATEROLE CREATEDB;
CREATE ROLE reporting;
CREATE ROLE analysts IN ROLE reporting;
CREATE ROLE alice LOGIN PASSWORD 'made up' VALID UNTIL '2030-01-01' IN ROLE analysts, dba;
CREATE ROLE bob LOGIN PASSWORD 'made up' IN ROLE analysts;
CREATE ROLE app LOGIN PASSWORD 'made up' CONNECTION LIMIT 20;
CREATE ROLE "odd ""name"".x" LOGIN;
CREATE ROLE "生产账户" LOGIN;
GRANT pg_read_all_data TO reporting;
CREATE DATABASE shop OWNER dba;
"""
SHOP = """
CREATE SCHEMA sales AUTHORIZATION dba;
CREATE TABLE sales.orders (id int, total numeric);
CREATE FUNCTION sales.total(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
GRANT USAGE ON SCHEMA sales TO app, analysts;
GRANT SELECT, INSERT ON sales.orders TO app;
GRANT SELECT ON sales.orders TO PUBLIC;
GRANT UPDATE (total) ON sales.orders TO bob WITH GRANT OPTION;
"""
MARIADB = """
CREATE DATABASE billing; CREATE TABLE billing.invoices (id int, total int);
CREATE DATABASE billing_old;
CREATE ROLE auditor; GRANT SELECT ON *.* TO auditor;
CREATE USER app@'%' IDENTIFIED BY 'made up'; GRANT SELECT, INSERT ON `billing%`.* TO app@'%';
CREATE USER app@'10.%' IDENTIFIED BY 'made up'; GRANT SELECT ON billing.invoices TO app@'10.%';
CREATE USER root@'10.0.0.1' IDENTIFIED BY 'made up' ACCOUNT LOCK; GRANT ALL ON *.* TO root@'10.0.0.1' WITH GRANT OPTION;
GRANT auditor TO app@'%'; SET DEFAULT ROLE auditor FOR app@'%';
"""
ORACLE = (
    "CREATE USER SHOP IDENTIFIED BY x QUOTA 10M ON USERS",
    "CREATE USER ANNA IDENTIFIED BY x ACCOUNT LOCK",
    "CREATE ROLE READERS",
    "CREATE TABLE SHOP.ORDERS (A NUMBER)",
    "GRANT SELECT ON SHOP.ORDERS TO READERS",
    "GRANT READERS TO ANNA WITH ADMIN OPTION",
    "GRANT SELECT ANY TABLE TO SHOP",
)

#: Tables of ours, and their columns of time. What a server said of an account's password is no time of ours.
COLUMNS = """
SELECT c.table_name, string_agg(quote_ident(c.column_name), ',')
  FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
 WHERE table_schema = 'public' AND t.table_type = 'BASE TABLE' AND split_part(table_name, '_', 1) = ANY(%s)
   AND c.data_type IN ('timestamp with time zone', 'date')
   AND c.column_name NOT IN ('valid_until', 'password_changed_at')
 GROUP BY 1
"""
APPS = ["instances", "tagging", "sync", "accounts", "capacity", "aggregation", "classification", "alerts", "taifish"]


def days_pass(days: int) -> None:
    """Date back all that is stored. Far away and back, so that no unique day meets another on the way."""
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS, [APPS])
        tables = cursor.fetchall()
        cursor.execute("SET session_replication_role = replica")
        for step in ("+ interval '36500 days'", f"- interval '{36500 + days} days'"):
            for table, columns in tables:
                cursor.execute(
                    f"UPDATE {table} SET " + ", ".join(f"{name} = {name} {step}" for name in columns.split(","))
                )
        cursor.execute("SET session_replication_role = origin")


def add(name: str, target: Target, **fields: Any) -> Instance:
    credential = Credential.objects.create(name=f"collector of {name}", username=target.username)
    credential.password = target.password
    credential.save()
    values = {"host": target.host, "port": target.port, "database": target.database, "level": target.level, **fields}
    return Instance.objects.create(name=name, engine=target.engine, credential=credential, **values)


def visit(*kinds: str) -> str:
    """Visit everything, with what follows a visit. Returns a moment after it."""
    for kind in kinds:
        services.run_here(services.start(kind, Instance.objects.all(), trigger="schedule", attempts=1, enqueue=False))
    for kind in ("classification", "aggregation"):
        services.finish_open(kind)
    return timezone.now().isoformat()


@contextmanager
def running(server: Any) -> Iterator[Any]:
    server.start()
    try:
        yield server
    finally:
        server.remove()


def people() -> User:
    admin = User.objects.create_superuser("admin", password=LOGIN_PASSWORD)
    vera = User.objects.create_user("vera", password=LOGIN_PASSWORD, is_staff=True)
    group = Group.objects.create(name="shop people")
    vera.groups.add(group, Group.objects.get(name="Viewer"))
    TagLimit.objects.create(group=group, tag=Tag.objects.get_or_create(slug="shop", defaults={"label": "Shop"})[0])
    token = ApiToken(user=vera, name="nightly report")
    token.draw()
    token.save()
    return admin


def rules(admin: User) -> None:
    call_command("install_rules", verbosity=0, stdout=StringIO())
    privileged = Classification.objects.create(code="house-privileged", name="Privileged here", risk="critical")
    rule = ClassificationRule(classification=privileged, code="house-admins", name="Admins", expression="superuser")
    classification.keep_rule(rule, admin)
    rule.expression = 'superuser or member_of("dba") or has("SELECT", on="shop.sales.*")'
    classification.keep_rule(rule, admin)
    AccountFilter.objects.create(pattern="odd*")
    channel = Channel(name="on call", kind="feishu")
    channel.url, channel.secret = "https://open.example.org/hook/made-up", "made up"
    channel.save()
    for kind in ("new_superuser", "paused"):
        AlertRule.objects.create(name=f"look for {kind}", kind=kind, active=True).channels.add(channel)


def fill() -> list[str]:
    """Fill the store. Returns moments to ask about."""
    moments: list[str] = []

    def passed(days: int) -> None:
        days_pass(days)
        moments[:] = [(datetime.fromisoformat(one) - timedelta(days=days)).isoformat() for one in moments]

    with ExitStack() as stack:
        pg18, pg16, dictionary, maria = (
            stack.enter_context(running(server))
            for server in (PostgresServer(18), PostgresServer(16), PostgresServer(18), MariadbServer())
        )
        dictionary.execute("CREATE DATABASE oracle")
        dictionary.execute(f"CREATE ROLE {READER}")
        oracle = Emulated(dictionary, *SHAPES["19c PDB"])
        stack.callback(setattr, oracle_session, "open_connection", oracle_session.open_connection)
        oracle_session.open_connection = lambda *_: oracle.connect()
        oracle.execute(*ORACLE)
        for server in (pg18, pg16):
            for statement in POSTGRESQL.strip().split("\n"):
                server.execute(statement)
            server.execute(SHOP, None, "shop")
        maria.execute(MARIADB)
        orders = add("orders-prod", pg18.collector(level="C"))
        pg18.execute("GRANT CONNECT ON DATABASE shop TO taifish_collector")
        lab = add("orders-lab", pg16.collector(level="A"))
        billing = add("billing-prod", maria.collector(level="C"))
        add("billing-without-hashes", maria.collector("blind", hash_blind=True))
        add("erp-prod", oracle.collector())
        admin = people()
        rules(admin)
        schedules.install()
        shop, prod = (Tag.objects.get_or_create(slug=slug, defaults={"label": slug})[0] for slug in ("shop", "prod"))
        tagging.assign([orders.pk, lab.pk], [shop.pk], admin)
        tagging.undo(tagging.assign([orders.pk, billing.pk, lab.pk], [prod.pk], admin), admin)
        tagging.assign([orders.pk, billing.pk], [prod.pk], admin)
        InstanceLimit.objects.create(instance=orders, size=1 << 30, note="its disk")

        visit("accounts", "capacity")
        passed(30)
        visit("capacity")
        passed(20)
        pg18.execute("GRANT reporting TO app; ALTER ROLE alice NOLOGIN; ALTER ROLE bob SUPERUSER")
        pg18.execute("REVOKE INSERT ON sales.orders FROM app; CREATE TABLE sales.items (a int)", None, "shop")
        maria.execute("DROP USER app@'10.%'; GRANT DELETE ON billing.invoices TO app@'%' WITH GRANT OPTION")
        oracle.execute("CREATE USER NEWCOMER IDENTIFIED BY x")
        moments.append(visit("accounts", "capacity"))
        classification.assign(
            Account.objects.get(instance=orders, name="bob"),
            Classification.objects.get(code="house-privileged"),
            "on call",
            admin,
        )
        for day in range(9):
            pg18.execute(
                f"INSERT INTO sales.orders SELECT n, n FROM generate_series(1, {2000 + 1000 * day}) n", None, "shop"
            )
            passed(1)
            visit("capacity")
        pg18.execute('ALTER ROLE bob NOSUPERUSER; DROP ROLE "生产账户"; CREATE ROLE "新账户" LOGIN SUPERUSER')
        moments.append(visit("accounts"))
        passed(1)
        maria.execute("CREATE DATABASE billing_new; REVOKE auditor FROM app@'%'")
        # From here on nothing can log in there; after so many failures in a row it is paused.
        pg16.execute("ALTER ROLE taifish_collector PASSWORD 'another'")
        for _ in range(6):
            visit("accounts")
        alerts.evaluate()
        moments.append(visit("capacity"))
    return moments


#: Where nothing answers; and what names this machine.
CLEAN = """
UPDATE instances_instance SET host = name || '.invalid', port = NULL;
UPDATE sync_syncrecord SET worker = 'worker-1' WHERE worker <> '';
DELETE FROM django_session;
"""


def dumped(cluster: embedded.Cluster) -> str:
    """The store as SQL that a plain connection takes: no commands of psql, no settings that older servers lack."""
    name = connection.settings_dict["NAME"]
    made = subprocess.run(
        [
            *(embedded.binaries() / "pg_dump", "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=200"),
            *("-h", cluster.socket_dir, "-p", str(cluster.port), "-U", cluster.superuser, "-d", name),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = made.stdout.splitlines(keepends=True)
    return "".join(
        line
        for line in lines
        if not re.match(r"\\(un)?restrict |SET transaction_timeout|-- |--$|SELECT pg_catalog.set_config", line)
    )


def header() -> str:
    def said(*command: str) -> str:
        return subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True).stdout.strip()

    with connection.cursor() as cursor:
        cursor.execute("SELECT app, max(name) FROM django_migrations GROUP BY app ORDER BY app")
        state = "".join(f"--   {app} {name}\n" for app, name in cursor.fetchall())
    return (
        f"-- A filled store of Taifish, release of {said('git', 'show', '-s', '--format=%cs', 'HEAD')}"
        f" (commit {said('git', 'rev-parse', '--short', 'HEAD')}), for tests of upgrades.\n"
        "-- Made by taifish/tests/upgrade/make_dump.py. All names and passwords in it are made up.\n"
        f"-- Last migrations:\n{state}"
    )


def harmless(text: str) -> str:
    """Refuse to keep what names this machine or who works on it."""
    # MariaDB's superuser has our own name: run this as root.
    local = {socket.gethostname(), getpass.getuser(), str(Path.home()), str(HERE.parents[2]), "/tmp"} - {"root"}
    for word in local:
        if found := re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text):
            raise SystemExit(f"The dump holds {word!r}: …{text[max(0, found.start() - 200) : found.end() + 100]}…")
    return text


def keep(name: str, text: str) -> None:
    path = HERE / name
    path.write_bytes(gzip.compress(harmless(text).encode(), 9, mtime=0))
    print(f"{path.name}: {path.stat().st_size:,} bytes, {len(text):,} of text")


def main() -> None:
    cluster = embedded.store(store.FOLDER)
    try:
        embedded.hold(store.FOLDER)
        call_command("migrate", verbosity=0)
        moments = fill()
        with connection.cursor() as cursor:
            cursor.execute(CLEAN)
        client = APIClient(SERVER_NAME="localhost")
        client.force_authenticate(User.objects.get(username="admin"))
        told = {"moments": moments, "answers": answers(client, moments)}
        keep("answers.json.gz", json.dumps(told, ensure_ascii=False, separators=(",", ":")))
        keep("store.sql.gz", header() + dumped(cluster))
    finally:
        connections.close_all()
        cluster.stop()
        store.pytest_unconfigure()


if __name__ == "__main__":
    main()
