from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import add_formats
from sync import services
from sync.command import EXIT_CODES, run_and_report
from sync.models import SyncRecord, SyncSession


def session_of(pk: int) -> SyncSession:
    """Raises CommandError for an unknown id."""
    found = SyncSession.objects.filter(pk=pk).first()
    if found is None:
        raise CommandError(f"There is no session {pk}. `sessions` lists the latest.", returncode=2)
    return found


class Command(BaseCommand):
    help = f"Visit the instances that failed in a session again, in this process. {EXIT_CODES}"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("session", type=int, metavar="SESSION", help="id of a session")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        failed = session_of(options["session"])
        services.reap()
        session = services.retry_failed(failed, None, SyncSession.Trigger.COMMAND, enqueue=False)
        if session is None:
            raise CommandError("No visit of an active instance failed in this session.", returncode=2)
        run_and_report(self, session, options, summary)


def summary(record: SyncRecord) -> list[str]:
    """The counts of a visit of any kind that are not zero."""
    counts = ((name, count) for name, count in record.summary.items() if isinstance(count, int) and count)
    return [f"{count} {name}" for name, count in counts]
