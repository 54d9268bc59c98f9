"""Tests run on a store of their own, an embedded PostgreSQL, which is kept from run to run.

Each process of a run takes the first folder in .test-stores that no other process uses. What a run leaves there is
removed when the next one begins, except the server's data: a database with all migrations is kept in it as a template,
by a digest of what makes it. Named with -p in pyproject.toml, because pytest-django reads the settings before any
conftest.py.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from taifish.embedded import Cluster

ROOT = Path(__file__).resolve().parent.parent.parent

_locks: list[IO[str]] = []


def _own_folder() -> Path:
    for number in itertools.count():
        folder = ROOT / ".test-stores" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _locks.append(lock)
            break
        lock.close()
    for left in folder.iterdir():
        if left.name not in ("lock", "postgres"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return folder


FOLDER = _own_folder()

for _name in [name for name in os.environ if name.startswith(("TAIFISH_", "DATABASE_URL", "CELERY_"))]:
    # Servers to test against are the only thing that may come from outside.
    if not _name.startswith(("TAIFISH_TEST_", "TAIFISH_SERVERS")):
        del os.environ[_name]
os.environ["TAIFISH_DATA_DIR"] = str(FOLDER)


def template() -> str:
    """Name of the database to copy: what migrations make depends on them, on the roles, and on the libraries."""
    made_by = [
        *sorted(ROOT.glob("*/migrations/*.py")),
        *(ROOT / name for name in ("taifish/roles.py", "taifish/tracked.py", "taifish/settings.py", "locked/run.txt")),
    ]
    return f"template_{blake2b(b''.join(path.read_bytes() for path in made_by), digest_size=8).hexdigest()}"


def cluster() -> Cluster:
    """The server of the store."""
    from taifish import embedded

    found = embedded.store(FOLDER)
    # What a test commits needs to survive its processes only.
    found._options["fsync"] = "off"
    return found


def empty_trail() -> None:
    """Delete all events, which the guards of the trail refuse."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_event DISABLE TRIGGER audit_refuse_delete")
        cursor.execute("DELETE FROM audit_event")
        cursor.execute("ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_refuse_delete")


def thaw_campaigns() -> None:
    """Make all campaigns drafts, which the guard of campaigns refuses."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('reviews_campaign') IS NOT NULL")
        # Tests of migrations end with older stores.
        if not cursor.fetchone()[0]:
            return
        cursor.execute("SELECT FROM reviews_campaign WHERE state <> 'draft' LIMIT 1")
        if cursor.rowcount:
            cursor.execute("ALTER TABLE reviews_campaign DISABLE TRIGGER reviews_guard")
            cursor.execute("UPDATE reviews_campaign SET state = 'draft'")
            cursor.execute("ALTER TABLE reviews_campaign ENABLE ALWAYS TRIGGER reviews_guard")


#: What `migrate` fills, and tests seldom change.
_KEPT = (
    *("django_content_type", "auth_permission", "auth_group", "auth_group_permissions"),
    *("taifish_role", "taifish_role_offered"),
)
_STATE = f"""
SELECT md5(concat_ws('|', {", ".join(f"(SELECT string_agg(t::text, ',' ORDER BY t::text) FROM {name} t)" for name in _KEPT)},
           (SELECT string_agg(concat(tgrelid, tgname, tgenabled), ',' ORDER BY oid) FROM pg_trigger WHERE NOT tgisinternal)))
"""

#: _STATE as `migrate` left it.
_migrated = ""


def remember_migrated() -> None:
    global _migrated
    _migrated = _state()


def _state() -> str:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(_STATE)
        return str(cursor.fetchone()[0])


def empty() -> None:
    """Empty all tables, but for what `migrate` filled: to fill it anew takes a second, which is more than most tests.
    A test that changed that, or triggers, gets Django's flush."""
    from django.core.management import call_command
    from django.db import OperationalError, connection
    from psycopg2.errors import DeadlockDetected

    if _state() != _migrated:
        call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
        remember_migrated()
        return
    names = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - {*_KEPT}
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"(SELECT {name!r} FROM {quote(name)} LIMIT 1)" for name in sorted(names)))
        if filled := [quote(name) for (name,) in cursor.fetchall()]:
            truncate = f"TRUNCATE {', '.join(filled)} CASCADE"
            try:
                # The kept tables refer to none of the others.
                cursor.execute(truncate)
            except OperationalError as error:
                # With the last request of a page that was closed, which is over now.
                if not isinstance(error.__cause__, DeadlockDetected):
                    raise
                cursor.execute(truncate)
