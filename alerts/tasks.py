from celery import shared_task

from . import services


@shared_task(name="alerts.evaluate")
def evaluate() -> None:
    services.evaluate()


@shared_task(name="alerts.deliver")
def deliver() -> None:
    services.deliver()


@shared_task(name="alerts.summarize")
def summarize() -> None:
    services.summarize()


@shared_task(name="alerts.purge")
def purge() -> None:
    services.purge()
