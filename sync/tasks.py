from celery import shared_task

from . import services, sessions, visits, work


@shared_task(name="sync.visit")
def visit(record_id: int) -> None:
    if visits.visit(record_id):
        sessions.feed(1)


@shared_task(name="sync.feed")
def feed() -> None:
    sessions.feed()


@shared_task(name="sync.work")
def work_on(session_id: int) -> None:
    work.work(session_id)


@shared_task(name="sync.reap")
def reap() -> None:
    services.reap()


@shared_task(name="sync.purge")
def purge() -> None:
    services.purge_sessions()
