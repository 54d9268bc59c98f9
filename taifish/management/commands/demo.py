"""A small fleet for trying out Taifish: real servers, real visits, and weeks of history."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import encrypt_password

from alerts.models import AlertRule, Channel
from classification import library
from classification.models import ClassificationCount
from instances.models import Credential, Instance, InstanceQuerySet
from planning.models import SizeLimit
from planning.services import compute
from sync import services
from sync.models import SyncSession
from sync.visits import visit
from sync.work import work
from tagging.models import InstanceTag, Tag
from taifish import embedded
from taifish.demo import DAYS, SERVERS, Server
from taifish.embedded import Cluster, EmbeddedError

from .up import COLLECTOR, STORE

NAMES = [server.name for server in SERVERS]
TAG = {"slug": "demo", "label": "Demo", "category": "environment"}
#: Accounts are visited every EVERY days, and daily in the last DAILY_SINCE days; sizes are collected every day.
EVERY, DAILY_SINCE = 7, 7
OPTIONS = {
    "shared_buffers": "16MB",
    "max_connections": "20",
    "synchronous_commit": "off",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
}


class Command(BaseCommand):
    help = (
        f"Create {len(SERVERS)} small PostgreSQL servers with accounts, changes and {DAYS} days of history, to try out "
        "Taifish. They keep running until they are removed. After a restart of the machine, this command starts them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--remove", action="store_true", help="stop the servers and delete them with their data")

    def handle(self, *args: Any, remove: bool, **options: Any) -> None:
        if settings.TAIFISH_EMBEDDED:
            call_command("migrate", interactive=False, verbosity=0)
        failures = logging.getLogger("sync.alerts")
        try:
            # Some visits fail on purpose.
            failures.disabled = True
            with _alone():
                if remove:
                    self._remove()
                    self.stdout.write("The demo has been removed.")
                else:
                    self._provide()
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted. Run it again to start over, or with --remove to delete the demo.", returncode=130
            ) from None
        finally:
            failures.disabled = False

    def _provide(self) -> None:
        """Start the servers and visit them. Creates the demo first if it is missing or incomplete."""
        if not (_complete().exists() and _own().exists()):
            _refuse_a_store_in_use()
            self._remove()
            library.install()
            self._make()
        for server in SERVERS:
            _cluster(server).start()
        for kind in ("capacity", "accounts"):
            services.run_here(services.start(kind, _own(), trigger="command", enqueue=False))
        for kind in ("aggregation", "classification"):
            services.finish_open(kind)
        compute()
        self.stdout.write(
            f"The instances {', '.join(NAMES)}, tagged “{TAG['label']}”, have {DAYS} days of history. On purpose, "
            "parts of demo-payroll cannot be read, and visits of demo-crm fail.\n"
            "`manage.py up` serves them. Their servers keep running after it. `manage.py demo --remove` deletes them."
        )

    def _make(self) -> None:
        days = ClassificationCount.objects.order_by("day").values_list("day", flat=True).distinct()
        counted = [str(day) for day in (timezone.localdate(), *days)]
        for days_ago in range(DAYS, -1, -1):
            with _back_by(days_ago):
                if days_ago == DAYS:
                    for server in SERVERS:
                        _register(server)
                    _counted().write_text("\n".join(counted))
                for server in SERVERS:
                    _pass_a_day(server, days_ago)
                if days_ago:
                    _visit("capacity")
                if days_ago and _is_visited(days_ago):
                    with _counts_kept():
                        _visit("accounts")
            if days_ago % 15 == 0:
                self.stdout.write(f"{days_ago} days ago" if days_ago else "today")
                self.stdout.flush()
        _complete().touch()

    def _remove(self) -> None:
        """Stop the servers and delete them with their data, and nothing else."""
        for server in SERVERS:
            cluster = _cluster(server)
            cluster.stop("immediate")
            shutil.rmtree(cluster.socket_dir, ignore_errors=True)
        if _counted().exists():
            made_on, *days = _counted().read_text().split()
            ClassificationCount.objects.filter(day__lt=made_on).exclude(day__in=days).delete()
        if _folder().exists():
            shutil.rmtree(_folder())
        own = _own()
        sessions = list(SyncSession.objects.filter(records__instance__in=own).values_list("pk", flat=True).distinct())
        credentials = list(own.values_list("credential", flat=True))
        own.delete()
        SyncSession.objects.filter(pk__in=sessions, records=None).delete()
        Credential.objects.filter(pk__in=credentials, name__in=NAMES, instances=None).delete()
        # A tag that limits users is kept.
        with suppress(ProtectedError):
            Tag.objects.filter(**TAG, instance_tags=None).delete()


def _folder() -> Path:
    """The folder of the servers' data, next to that of the embedded store."""
    home = embedded.store(settings.TAIFISH_DATA_DIR).home
    return home.with_name(f"{home.name}-demo")


def _complete() -> Path:
    """A file that exists when the history is complete."""
    return _folder() / "complete"


def _counted() -> Path:
    """A file with the day on which the history was begun, and the days that already had counts of accounts."""
    return _folder() / "counted"


def _cluster(server: Server) -> Cluster:
    bin_dir = embedded.binaries(server.major) if server.major else None
    return Cluster(_folder() / server.name, bin_dir=bin_dir, superuser="postgres", options=OPTIONS)


def _own() -> InstanceQuerySet:
    """The instances of the demo, by name and address: a user's instance may have the same name."""
    places = [str(_cluster(server).socket_dir) for server in SERVERS]
    return Instance.objects.filter(name__in=NAMES, host__in=places)


def _refuse_a_store_in_use() -> None:
    """Raise CommandError if the store contains users' data, with which the demo's history would be mixed."""
    others = Instance.objects.exclude(name=STORE).exclude(pk__in=_own().values("pk"))
    found = others.first() or Credential.objects.filter(name__in=NAMES).exclude(instances__in=_own()).first()
    found = found or AlertRule.objects.filter(active=True).exclude(channels=None).first() or Channel.objects.first()
    if found:
        raise CommandError(
            f"This store is in use: it contains the {found._meta.verbose_name} {str(found)!r}. The demo writes a "
            "history with dates in the past, and needs a store without other data. Use another data folder: "
            "TAIFISH_DATA_DIR=/path/to/demo make run, then TAIFISH_DATA_DIR=/path/to/demo manage.py demo."
        )


@contextmanager
def _alone() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended('taifish.demo', 0))")
        if not cursor.fetchone()[0]:
            raise CommandError("Another `manage.py demo` is running. Wait until it has ended.")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended('taifish.demo', 0))")


@contextmanager
def _back_by(days: int) -> Iterator[None]:
    """A transaction in which the time is `days` ago, for Django and for the store.

    The functions that replace the store's exist in this transaction only. Workers see its visits after they have ended,
    so they do not consider them lost.
    """
    if not days:
        yield
        return
    real_now, back = timezone.now, timedelta(days=days)
    try:
        # A failed visit calls it, and inside a transaction it would close a working connection.
        connection.close_if_unusable_or_obsolete = lambda: None
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(_SET_CLOCK, {"back": back})
            timezone.now = lambda: real_now() - back
            yield
            with connection.cursor() as cursor:
                cursor.execute("DROP SCHEMA demo_clock CASCADE")
    finally:
        timezone.now = real_now
        del connection.close_if_unusable_or_obsolete


@contextmanager
def _counts_kept() -> Iterator[None]:
    """Restore the counts of accounts on this day, if there were any: current accounts did not exist then."""
    counts = list(ClassificationCount.objects.filter(day=timezone.localdate()))
    yield
    if counts:
        ClassificationCount.objects.filter(day=timezone.localdate()).delete()
        ClassificationCount.objects.bulk_create(counts)


def _visit(kind: str) -> None:
    """Visit all instances and run the follow-ups, like `run_here`, but in this thread and transaction."""
    session = services.start(kind, _own(), trigger="command", enqueue=False, attempts=1)
    for record in session.records.values_list("pk", flat=True):
        visit(record)
    for following in SyncSession.objects.filter(status="running", records__instance__in=_own()).distinct():
        work(following.pk)


def _is_visited(days_ago: int) -> bool:
    happened = any(event.days_ago == days_ago for server in SERVERS for event in server.events)
    return happened or days_ago <= DAILY_SINCE or days_ago % EVERY == 0 or days_ago == DAYS


def _register(server: Server) -> None:
    """Create the server with its accounts and databases, and the instance with its tag and limit."""
    cluster = _cluster(server)
    cluster.start()
    password = secrets.token_urlsafe(24)
    with _connected(cluster, "postgres") as own:
        verifier = encrypt_password(password, COLLECTOR, own, "scram-sha-256")
        _run(own, f"CREATE ROLE {COLLECTOR} LOGIN PASSWORD %s", verifier)
        for sql in (server.accounts, server.collector, *(f"CREATE DATABASE {name}" for name in server.setup)):
            if sql:
                _run(own, sql)
    for name, sql in server.setup.items():
        with _connected(cluster, name) as own:
            _run(own, "GRANT CREATE ON SCHEMA public TO PUBLIC")
            _run(own, sql)
            _run(own, "RESET ROLE; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    credential = Credential(name=server.name, username=COLLECTOR)
    credential.password = password
    credential.save()
    instance = Instance.objects.create(
        name=server.name,
        engine="postgresql",
        host=str(cluster.socket_dir),
        port=cluster.port,
        tls_mode=Instance.TLS.DISABLE,
        level=server.level,
        note=server.note,
        credential=credential,
    )
    InstanceTag.objects.create(instance=instance, tag=Tag.objects.get_or_create(**TAG)[0])
    if server.limit:
        SizeLimit.objects.create(instance=instance, size=server.limit, note="Demo")


def _pass_a_day(server: Server, days_ago: int) -> None:
    cluster = _cluster(server)
    for event in server.events:
        if event.days_ago == days_ago:
            with _connected(cluster, event.database) as own:
                _run(own, event.sql)
    for growth in server.growth:
        with _connected(cluster, growth.database) as own:
            _run(own, growth.insert, growth.rows(days_ago))


@contextmanager
def _connected(cluster: Cluster, database: str) -> Iterator[Connection]:
    place = {"host": str(cluster.socket_dir), "port": cluster.port}
    with closing(psycopg2.connect(**place, user=cluster.superuser, dbname=database)) as own:
        own.autocommit = True
        yield own


def _run(own: Connection, sql: str, *values: Any) -> None:
    with own.cursor() as cursor:
        cursor.execute(sql, values or None)


#: Schemas before pg_catalog in the search path hide its functions. `now` is the time of the statement: separate
#: transactions of the product are one transaction here.
_SET_CLOCK = """
CREATE SCHEMA demo_clock;
CREATE FUNCTION demo_clock.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT pg_catalog.statement_timestamp() - current_setting('demo.back')::interval $$;
CREATE FUNCTION demo_clock.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT demo_clock.statement_timestamp() $$;
SELECT set_config('demo.back', %(back)s::interval::text, true),
       set_config('search_path', 'demo_clock, pg_catalog, ' || current_setting('search_path'), true);
"""
