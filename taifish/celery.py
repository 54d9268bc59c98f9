"""The Celery application (celery -A taifish worker, celery -A taifish beat)."""

import gc
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taifish.settings")

from celery import Celery, signals

app = Celery("taifish")
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


@signals.setup_logging.connect
def use_django_logging(**kwargs: Any) -> None:
    """Otherwise Celery replaces the root logger's handlers."""
    from logging.config import dictConfig

    from django.conf import settings

    dictConfig(settings.LOGGING)
