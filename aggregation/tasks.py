from celery import Task, shared_task

from . import services


@shared_task(name="aggregation.run", bind=True)
def run(self: Task) -> None:
    """Aggregate what is due. A duplicate message for one scheduled occurrence starts no second session."""
    slot = (self.request.headers or {}).get("taifish_slot")
    services.run_due("schedule", slot=slot)
