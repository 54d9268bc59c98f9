from celery import Task, shared_task

from . import services


@shared_task(name="aggregation.run", bind=True)
def run(self: Task) -> None:
    """Aggregate whatever is due. Sent twice for one scheduled occurrence, it starts one session."""
    slot = (self.request.headers or {}).get("taifish_slot")
    services.run_due("schedule", slot=slot)
