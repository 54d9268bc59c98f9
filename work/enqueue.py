"""Sending tasks to the workers.

A message that cannot be sent is no error: the rows in the store are the truth, and a schedule sends again what they
still ask for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError as BrokerError

log = logging.getLogger(__name__)


class Message(NamedTuple):
    """A task by its name, and in how many seconds it is to be run."""

    task: str
    arguments: tuple[int, ...] = ()
    delay: float = 0


def enqueue(task: str) -> None:
    """Send a task when the transaction commits."""
    transaction.on_commit(lambda: send([Message(task)]))


def send(messages: Iterable[Message]) -> int:
    """Send messages now, in their order. Returns how many were sent before the broker could not be reached."""
    sent = 0
    try:
        with current_app.producer_or_acquire() as producer:
            for task, arguments, delay in messages:
                current_app.send_task(task, arguments, countdown=delay or None, producer=producer)
                sent += 1
    except (BrokerError, OSError) as error:
        log.warning("broker not reachable (%s): messages wait to be sent again", error)
    return sent
