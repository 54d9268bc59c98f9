"""The scheduler: django-celery-beat's, made safe for several processes and for downtime.

It changes five things. Two beat processes would send each job twice: only the holder of an advisory lock of the store
sends, and each message carries its occurrence, which `sync.services.start` serves once. A run missed during downtime
would be skipped if its hour is more than two away: this scheduler considers all enabled schedules, so that any number
of missed runs becomes one. A run would count even if its message was not sent: here it stays due.
Whoever may edit schedules could have workers run anything: only our tasks run, without arguments. A beat of another
release would send what workers of this one do not know: it does not lead.
"""

from __future__ import annotations

import logging
from datetime import UTC
from typing import Any

from celery.beat import SchedulingError
from django.db import Error, connection
from django.db.models import QuerySet
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

from .celery import wait_for_services
from .release import conflict
from .schedules import runnable

log = logging.getLogger(__name__)

SLOT_HEADER = "taifish_slot"
RETRY_SECONDS = 10

_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('taifish.beat', 0))"


class LeaderScheduler(DatabaseScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A separate connection: Django closes and reopens the default one, which would release the lock.
        self._own = connection.copy()
        self._leading = False
        self._unsent = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        # It reads the store, before any signal of Celery.
        wait_for_services()
        super().setup_schedule()

    def enabled_models_qs(self) -> QuerySet[PeriodicTask]:
        enabled: QuerySet[PeriodicTask] = self.Model.objects.enabled().filter(runnable())
        return enabled

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Run due jobs if this process leads. Returns the seconds until the next tick."""
        if not self._lead():
            return float(self.max_interval)
        self._unsent = False
        delay = super().tick(*args, **kwargs)
        return RETRY_SECONDS if self._unsent else delay

    def _lead(self) -> bool:
        try:
            if why := conflict(self._own):
                if self._leading:
                    log.warning("this beat no longer leads: %s", why)
                self._own.close()
                self._leading = False
                return False
            with self._own.cursor() as cursor:
                # The lock is held until the connection ends, so a dead leader is replaced at once. Locks stack.
                cursor.execute("SELECT true" if self._leading else _LOCK)
                leading = cursor.fetchone()[0]
        except Error as error:
            log.warning("the store does not answer: %s", error)
            self._own.close()
            leading = False
        if leading and not self._leading:
            log.info("this beat leads now")
            # Read what the last leader ran from the store.
            self._schedule = None
            self._heap = None
            self._initial_read = True
        self._leading = leading
        return leading

    def reserve(self, entry: ModelEntry) -> ModelEntry:
        # The library keeps the entry without this run, and would run it again after rebuilding its heap.
        self._schedule[entry.name] = reserved = super().reserve(entry)
        return reserved

    def apply_entry(self, entry: ModelEntry, producer: Any = None) -> None:
        occurrence = entry.last_run_at.astimezone(UTC).isoformat()
        entry.options.setdefault("headers", {})[SLOT_HEADER] = f"{entry.name} after {occurrence}"
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            log.error("%s stays due: %s", entry.name, error)
            entry.model.last_run_at = entry.last_run_at
            entry.model.total_run_count -= 1
            self._schedule[entry.name] = entry
            self._dirty.add(entry.name)
            # It was stored as run before sending. Undo that now, because the next leader may read it.
            self.sync()
            self._heap = None
            self._unsent = True

    def close(self) -> None:
        super().close()
        self._own.close()
