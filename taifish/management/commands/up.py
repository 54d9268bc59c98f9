"""One command from an empty checkout to a running Taifish."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections
from django.db.models import QuerySet
from psycopg2.extensions import encrypt_password

from accounts.models import Account
from capacity.models import Database
from console.units import bytes_label
from instances.models import Credential, Instance
from sync import services
from sync.models import SyncRecord
from taifish import embedded, environment
from taifish.embedded import EmbeddedError
from taifish.supervisor import FIRST_DELAY, Child, logger, supervise

STORE = "taifish-store"
COLLECTOR = "taifish_collector"
ADMIN = "admin"
ADMIN_PASSWORD = "TAIFISH_ADMIN_PASSWORD"  # noqa: S105 - a variable's name
LONGEST_TABLE = 60
FLAGS = {"can log in": "can_login", "superuser": "is_superuser", "locked": "is_locked"}


class Command(BaseCommand):
    help = "Prepare the store, visit it as the first instance, and serve web, worker and beat until stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="do everything except serve")
        parser.add_argument("--dev", action="store_true", help="restart web and worker when a file of the code changes")
        parser.add_argument(
            "--bind",
            metavar="HOST:PORT",
            default=environment.text("TAIFISH_BIND", "127.0.0.1:8000"),
            help="address of the web server (TAIFISH_BIND; default %(default)s)",
        )

    def handle(self, *args: Any, once: bool, bind: str, dev: bool = False, **options: Any) -> None:
        # Exit normally, so that the embedded store is stopped if no other process holds it.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        listener = None if once else listen(bind)
        try:
            with connection.cursor() as cursor:
                # Only one process at a time prepares the store. The lock is held until the connection is closed.
                cursor.execute("SELECT pg_advisory_lock(hashtextextended('taifish.up', 0))")
            call_command("migrate", interactive=False, verbosity=0)
            call_command("install_schedules", stdout=self.stdout)
            call_command("install_rules", stdout=self.stdout)
            self._admin()
            complete = not settings.TAIFISH_EMBEDDED or self._visit(register_store())
            connections.close_all()
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=128 + signal.SIGINT) from None
        if listener:
            self._serve(listener, dev)
        elif not complete:
            raise CommandError("the visit did not complete")

    def _admin(self) -> None:
        """Make sure that a superuser exists. A generated password is printed once."""
        users = get_user_model().objects
        given = environment.text(ADMIN_PASSWORD)
        admin = users.filter(username=ADMIN).first()
        if admin is None and (given or not users.filter(is_superuser=True).exists()):
            password = given or secrets.token_urlsafe(12)
            users.create_superuser(ADMIN, password=password)
            self.stdout.write(
                f"Created the user {ADMIN!r} with the password given in {ADMIN_PASSWORD}."
                if given
                else f"Created the user {ADMIN!r} with the password {password} (shown only now)."
            )
        elif admin and given and not admin.check_password(given):
            admin.set_password(given)
            admin.save(update_fields=["password"])
            self.stdout.write(f"Set the password of {ADMIN!r} to the one given in {ADMIN_PASSWORD}.")

    def _visit(self, instance: Instance) -> bool:
        """Read accounts and sizes of the instance and print them. True if everything was read."""
        if instance.is_retired:
            self.stdout.write(f"{instance} is retired: not visited.")
            return True
        accounts = Account.objects.filter(instance=instance).present().with_counts().with_last_seen()
        databases = Database.objects.filter(instance=instance).present()
        complete = self._read("accounts", instance)
        self._print_table(
            ("account", "kind", *FLAGS, "grants", "roles"), accounts.order_by("name", "host"), _account_cells
        )
        complete &= self._read("capacity", instance)
        self._print_table(
            ("database", "size"), databases.order_by("-size", "name"), lambda row: (row.name, bytes_label(row.size))
        )
        return complete

    def _read(self, kind: str, instance: Instance) -> bool:
        """Visit the instance and print the result. True if everything was read."""
        only = Instance.objects.filter(pk=instance.pk)
        # A killed run may have left a visit of this kind pending or running.
        services.reap()
        session = services.run_here(services.start(kind, only, trigger="command", enqueue=False))
        record = services.results(session).get()
        self.stdout.write(f"\n{instance}: {instance.engine}, {kind} visited: {record.get_status_display()}.")
        for problem in (record.error, record.hint, *(gap["message"] for gap in record.not_read)):
            if problem:
                self.stderr.write(problem)
        return record.status == SyncRecord.Status.COMPLETED

    def _print_table(
        self, header: tuple[str, ...], objects: QuerySet[Any], cells: Callable[[Any], tuple[str, ...]]
    ) -> None:
        """Print the first objects in columns, and how many more there are."""
        rows = [header, *map(cells, objects[:LONGEST_TABLE])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            self.stdout.write("  ".join(map(str.ljust, row, widths)).rstrip())
        more = objects.count() - len(rows) + 1
        self.stdout.write(f"… and {more} more\n" if more else "")

    def _serve(self, listener: socket.socket, dev: bool) -> None:
        workers = 1 if dev else environment.number("TAIFISH_WORKERS", 4, 1, 1000)
        python, celery = (sys.executable, "-m"), ("celery", "--quiet", "-A", "taifish")
        web = f"gunicorn taifish.wsgi --bind fd://{listener.fileno()} --workers 1 --worker-class taifish.web.Worker"
        worker = f"worker --concurrency={workers} --without-gossip --without-mingle --without-heartbeat --pidfile="
        children = [
            # The last option prevents a control socket in the user's home.
            Child(
                "web",
                [*python, *web.split(), "--threads=8", "--graceful-timeout=10", "--no-control-socket"],
                keep_open=[listener.fileno()],
            ),
            Child("worker", [*python, *celery, *worker.split(), f"--hostname=taifish-{os.getpid()}@%h"]),
            Child("beat", [*python, *celery, "beat", "--pidfile="]),
        ]
        host, port = listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - to connect, not to bind
        url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        self.stdout.write(f"Taifish is at {url} (Ctrl-C stops it).")
        self.stdout.flush()
        ours = {name: value for name, value in os.environ.items() if not name.startswith(ADMIN_PASSWORD)}
        tend = _restart_on_change(children) if dev else _tend_store
        supervise(children, folder=settings.BASE_DIR, environment=ours, tend=tend)
        self.stdout.write("Taifish has stopped.")


def _tend_store() -> None:
    """Start the embedded store if it does not run."""
    if settings.TAIFISH_EMBEDDED:
        try:
            embedded.store(settings.TAIFISH_DATA_DIR).start()
        except EmbeddedError as error:
            logger.error("%s", error)


def _restart_on_change(children: Sequence[Child]) -> Callable[[], None]:
    """A function to call once a second in place of `_tend_store`. It also stops the children if a file of the tree has
    changed; the supervisor starts them again, and the web's listener stays open meanwhile."""
    before = _versions()

    def tend() -> None:
        nonlocal before
        _tend_store()
        now = _versions()
        if now == before:
            return
        changed = sorted(str(path.relative_to(settings.BASE_DIR)) for path, _ in now ^ before)
        logger.info("Changed: %s. Starting again.", ", ".join(dict.fromkeys(changed)))
        before = now
        for child in children:
            # Restart a failed child at once.
            child.delay, child.moment = FIRST_DELAY, 0.0
            if child.process:
                os.kill(child.process.pid, signal.SIGTERM)

    return tend


def _versions() -> set[tuple[Path, int]]:
    """The files that a running process does not reload, with their times: Python, templates, static, translations."""
    base = settings.BASE_DIR
    folders = [path.parent for path in base.glob("*/__init__.py")]
    files = [*base.glob("templates/**/*.*"), *base.glob("locale/**/*.mo")]
    files += [path for folder in folders for pattern in ("**/*.py", "static/**/*.*") for path in folder.glob(pattern)]
    found = set()
    for path in files:
        # An editor may replace a file meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.add((path, path.stat().st_mtime_ns))
    return found


def listen(bind: str) -> socket.socket:
    """A socket bound to "HOST:PORT", "[IPv6]:PORT" or ":PORT", so that no other process can take the port. Raises
    CommandError for any other text and if the port is in use."""
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise CommandError(f"cannot bind {bind!r}: use HOST:PORT, such as 127.0.0.1:8000")
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise CommandError(
            f"cannot bind {bind}: {error.strerror}. Stop the program that uses it, or set --bind or TAIFISH_BIND."
        ) from error
    return listener


def register_store() -> Instance:
    """The instance of the embedded server, visited as a separate role that may only read statistics.

    Users' changes of the instance are kept, except its address, which follows the data folder.
    """
    credential = Credential.objects.filter(name=STORE).first()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [COLLECTOR])
        exists = cursor.fetchone() is not None
        if credential is None or not exists:
            password = credential.password if credential else secrets.token_urlsafe(24)
            verifier = encrypt_password(password, COLLECTOR, connection.connection, "scram-sha-256")
            verb = "ALTER" if exists else "CREATE"
            cursor.execute(f"{verb} ROLE {COLLECTOR} LOGIN PASSWORD %s", [verifier])
            if credential is None:
                credential = Credential(name=STORE, username=COLLECTOR)
                credential.password = password
                credential.save()
        cursor.execute(f"GRANT pg_read_all_stats TO {COLLECTOR}")
    store = embedded.store(settings.TAIFISH_DATA_DIR)
    address = {"host": str(store.socket_dir), "port": store.port}
    instance, _ = Instance.objects.get_or_create(
        name=STORE,
        defaults={**address, "engine": "postgresql", "database": embedded.DATABASE, "credential": credential},
    )
    if (instance.host, instance.port) != (address["host"], address["port"]):
        Instance.objects.filter(pk=instance.pk).update(**address)
        instance.refresh_from_db()
    return instance


def _account_cells(account: Account) -> tuple[str, ...]:
    words = {True: "yes", False: "no", None: "-"}
    return (
        str(account),
        str(account.get_kind_display() or "unknown"),
        *("unknown" if account.is_unread(field) else words[getattr(account, field)] for field in FLAGS.values()),
        str(account.n_grants),
        str(account.n_roles),
    )
