"""Holding rows while work on them is under way: each has a `lease_until`, and who lets it pass has lost them."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

log = logging.getLogger(__name__)


def worker_name() -> str:
    """Host, process and thread, so that two threads of one process differ."""
    return f"{process_name()}{threading.get_ident()}"


def process_name() -> str:
    """The beginning of the names of this process's threads."""
    return f"{socket.gethostname()}:{os.getpid()}:"


def lease_end() -> Combinable:
    return Now() + timedelta(seconds=settings.TAIFISH_LEASE)


@contextmanager
def renewed(rows: QuerySet[Any]) -> Iterator[None]:
    """Renew the lease of these rows in a thread meanwhile. `rows` must select only what is still ours."""
    done = threading.Event()
    thread = threading.Thread(target=_renew, args=(rows, done), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _renew(rows: QuerySet[Any], done: threading.Event) -> None:
    try:
        while not done.wait(settings.TAIFISH_LEASE / 3):
            try:
                rows.update(lease_until=lease_end())
            except OperationalError:
                # The store may be back before the lease is over.
                log.warning("a lease was not renewed", exc_info=True)
                connection.close()
    finally:
        connection.close()


@contextmanager
def brief_transaction() -> Iterator[None]:
    """A transaction that the store ends when its worker says nothing for the length of a lease.

    A machine that freezes, or is cut off, never closes its connections: what it had locked would stay so, and the
    reaper passes over what is locked.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            silence = int(settings.TAIFISH_LEASE * 1000)
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = %s", [silence])
        yield
