from celery import shared_task

from . import services


@shared_task(name="planning.forecast")
def forecast(session_id: int | None = None) -> None:
    """Forecast all sizes, or those of the instances that a capacity session visited, and store the answers."""
    if session_id is None:
        services.compute()
    else:
        services.compute_after(session_id)
