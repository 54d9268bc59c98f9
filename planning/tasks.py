from celery import shared_task

from . import services, volumes


@shared_task(name="planning.forecast")
def forecast(session_id: int | None = None) -> None:
    """Forecast all sizes, or those of the instances that a capacity session visited, and store the answers."""
    if session_id is None:
        services.compute()
    else:
        services.compute_after(session_id)


@shared_task(name="planning.read_volumes")
def read_volumes() -> None:
    volumes.read_volumes()
