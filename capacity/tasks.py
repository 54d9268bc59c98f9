from celery import Task, shared_task

from instances.models import Instance
from sync import services as sync

from . import services


@shared_task(name="capacity.collect", bind=True)
def collect(self: Task) -> None:
    """Visit every active instance. A duplicate message for one scheduled occurrence starts no second session."""
    slot = (self.request.headers or {}).get("taifish_slot")
    sync.start("capacity", Instance.objects.all(), trigger="schedule", slot=slot)


@shared_task(name="capacity.catch_up")
def catch_up() -> None:
    services.catch_up()


@shared_task(name="capacity.purge")
def purge() -> None:
    services.purge_sizes()
