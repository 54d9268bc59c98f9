from celery import Task, shared_task

from instances.models import Instance
from sync import services as visits

from . import services


@shared_task(name="accounts.sync", bind=True)
def sync(self: Task) -> None:
    """Visit every active instance. Sent twice for one scheduled occurrence, it starts one session."""
    slot = (self.request.headers or {}).get("taifish_slot")
    visits.start("accounts", Instance.objects.all(), trigger="schedule", slot=slot)


@shared_task(name="accounts.catch_up")
def catch_up() -> None:
    services.catch_up()
