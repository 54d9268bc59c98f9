from celery import Task, shared_task

from instances.models import Instance

from . import services


@shared_task(name="classification.run", bind=True)
def run(self: Task) -> None:
    """Apply every rule to every active instance. Sent twice for one scheduled occurrence, it starts one session."""
    slot = (self.request.headers or {}).get("taifish_slot")
    services.run(Instance.objects.all(), trigger="schedule", slot=slot)
