from celery import shared_task

from . import forwarding


@shared_task(name="audit.forward")
def forward() -> None:
    forwarding.forward()
