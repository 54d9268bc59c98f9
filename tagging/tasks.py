from celery import shared_task

from . import services


@shared_task(name="tagging.run")
def run(operation_id: int) -> None:
    services.run(operation_id)


@shared_task(name="tagging.resume")
def resume() -> None:
    services.resume()
