"""The release of a process beside that of its store. Workers and beat work only with a store of their own release.

A worker of another one would fail at columns that are not there, or write what the other does not expect.
"""

from __future__ import annotations

import logging
import os
import pkgutil
import signal
from typing import Any

from billiard.process import current_process
from celery import Task
from celery.exceptions import Reject
from django.apps import apps
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

log = logging.getLogger(__name__)

#: The newest migration of the store when it was last found to be of this release.
_newest: int | None = None


def conflict(store: BaseDatabaseWrapper = connection) -> str:
    """Say why this process must not work with the store, and what to do; "" if it may. Raises django.db.Error."""
    global _newest
    if _newest is not None and _newest == _newest_of(store):
        return ""
    _newest = None
    ours = {
        (each.label, module.name)
        for each in apps.get_app_configs()
        for module in pkgutil.iter_modules([f"{each.path}/migrations"])
    }
    labels = {label for label, _ in ours}
    found = MigrationRecorder(store).applied_migrations()
    applied = {key for key in found if key[0] in labels}
    if later := sorted(applied - ours):
        return f"the store was migrated by another release ({'.'.join(later[-1])}): install that release here"
    if lacking := sorted(ours - applied):
        return f"the store was not migrated to this release ({'.'.join(lacking[-1])}): run manage.py migrate"
    # Of the rows that were compared: another release may migrate meanwhile.
    _newest = max(migration.pk for migration in found.values())
    return ""


def _newest_of(store: BaseDatabaseWrapper) -> int | None:
    with store.cursor() as cursor:
        cursor.execute("SELECT max(id) FROM django_migrations")
        newest: int | None = cursor.fetchone()[0]
        return newest


class OfOneRelease(Task):
    """A task that puts its message back, and ends its worker, when the store has gone to another release."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        by_message = not self.request.called_directly and not self.request.is_eager
        if by_message and (why := conflict()):
            log.warning("this worker takes no more work: %s", why)
            in_pool = current_process().name != "MainProcess"
            os.kill(os.getppid() if in_pool else os.getpid(), signal.SIGTERM)
            raise Reject(why, requeue=True)
        return super().__call__(*args, **kwargs)
