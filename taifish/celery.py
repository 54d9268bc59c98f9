"""The Celery application (celery -A taifish worker, celery -A taifish beat)."""

import gc
import logging
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taifish.settings")
# Celery would ignore what the checks find, and they load all pages.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

from celery import Celery, signals

app = Celery("taifish", task_cls="taifish.release:OfOneRelease")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# A visit makes tens of thousands of tuples without cycles. By default the garbage collector runs after 700 new objects,
# which takes up to a third of a visit's time.
gc.set_threshold(50_000)


@signals.celeryd_init.connect
@signals.beat_init.connect
def wake_store(**kwargs: Any) -> None:
    """Start the embedded store unless another process has started it."""
    from django.conf import settings

    if settings.TAIFISH_EMBEDDED:
        from taifish import embedded

        embedded.hold(settings.TAIFISH_DATA_DIR)


@signals.celeryd_init.connect
def wait_for_services(**kwargs: Any) -> None:
    """Return when store and broker answer, and the store is of this release. Each is waited for with one line in the
    log, and tried again after 1 s, 2 s and so on up to LONGEST_WAIT."""
    from django.db import OperationalError, connection
    from kombu.exceptions import OperationalError as BrokerError

    from work.store import explained

    from .release import conflict

    def reach_store() -> None:
        # The processes of the pool must not inherit a connection.
        own = connection.copy()
        try:
            if why := conflict(own):
                raise OSError(why)
        except OperationalError as error:
            wake_store()
            raise OSError(explained(error)) from error
        finally:
            own.close()

    def reach_broker() -> None:
        with app.connection_for_write() as broker:
            try:
                broker.ensure_connection(max_retries=1, interval_start=0)
            except BrokerError as error:
                raise OSError(f"the broker {broker.as_uri()} does not answer: {error}") from error

    use_django_logging()
    for name, reach in (("store", reach_store), ("broker", reach_broker)):
        _wait(name, reach)


LONGEST_WAIT = 30.0


def _wait(name: str, reach: Callable[[], None]) -> None:
    log = logging.getLogger(__name__)
    delay, waiting = 1.0, False
    while True:
        try:
            reach()
        except OSError as error:
            if not waiting:
                log.warning("waiting: %s", " ".join(str(error).split()))
            waiting = True
        else:
            if waiting:
                log.info("the %s is ready now", name)
            return
        time.sleep(delay)
        delay = min(2 * delay, LONGEST_WAIT)


@signals.setup_logging.connect
def use_django_logging(**kwargs: Any) -> None:
    """Otherwise Celery replaces the root logger's handlers."""
    from logging.config import dictConfig

    from django.conf import settings

    dictConfig(settings.LOGGING)
