from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sync import services

from .retry_failed import session_of


class Command(BaseCommand):
    help = (
        "Cancel a session: pending visits end at once, running ones after their phase. Exits 1 if it has ended, 2 for "
        "a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("session", type=int, metavar="SESSION", help="id of a session")

    def handle(self, *args: Any, **options: Any) -> None:
        session = session_of(options["session"])
        if not session.is_open:
            raise CommandError(f"{session} has ended: it is {session.status}.")
        count = services.cancel(session)
        session.refresh_from_db()
        self.stdout.write(f"{session}: {count} pending visits cancelled; it is {session.status} now")
