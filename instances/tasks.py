from celery import shared_task

from . import services


@shared_task(name="instances.purge")
def purge() -> None:
    services.purge_retired()
