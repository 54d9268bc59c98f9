"""The scheduler: django-celery-beat's, made safe to run twice and to be down for a while.

Three things that it leaves open matter to us. Two beat processes would send every job twice: here only the holder of an
advisory lock of the store sends, and each message carries the occurrence it stands for, which `sync.services.start`
serves once. A run missed while no beat was alive would be skipped when its hour is more than two away: here every
enabled schedule is looked at, so that any number of missed runs becomes one. And a run whose message could not be sent
counted as run: here it stays due.
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

log = logging.getLogger(__name__)

SLOT_HEADER = "taifish_slot"
RETRY_SECONDS = 10

_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('taifish.beat', 0))"


class LeaderScheduler(DatabaseScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A connection of its own: Django closes and reopens the usual one, and the lock would go with it.
        self._own = connection.copy()
        self._leading = False
        self._unsent = False
        super().__init__(*args, **kwargs)

    def enabled_models_qs(self) -> QuerySet[PeriodicTask]:
        enabled: QuerySet[PeriodicTask] = self.Model.objects.enabled()
        return enabled

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round; seconds until the next. Whoever does not lead only asks whether it may."""
        if not self._lead():
            return float(self.max_interval)
        self._unsent = False
        delay = super().tick(*args, **kwargs)
        return RETRY_SECONDS if self._unsent else delay

    def _lead(self) -> bool:
        try:
            with self._own.cursor() as cursor:
                # Held until the connection ends, so a dead leader is replaced at once; asking again stacks it.
                cursor.execute("SELECT true" if self._leading else _LOCK)
                leading = cursor.fetchone()[0]
        except Error as error:
            log.warning("the store does not answer: %s", error)
            self._own.close()
            leading = False
        if leading and not self._leading:
            log.info("this beat leads now")
            # What the last leader ran is in the store, not in our memory.
            self._schedule = None
            self._heap = None
            self._initial_read = True
        self._leading = leading
        return leading

    def reserve(self, entry: ModelEntry) -> ModelEntry:
        # The library keeps the entry as it was before it ran, and runs it again when it rebuilds its heap from it.
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
            # Stored as run before it was sent: take that back now, for the next leader may be reading it.
            self.sync()
            self._heap = None
            self._unsent = True

    def close(self) -> None:
        super().close()
        self._own.close()
