"""The base of commands that visit instances in this process and report the results."""

from __future__ import annotations

import json
import sys
from abc import abstractmethod
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from instances.services import chosen

from . import services
from .models import SyncRecord, SyncSession

FIELDS = ("status", "phase", "error_code", "parameters", "error", "hint", "summary")

EXIT_CODES = (
    "Exits 0 when every visit was complete, 3 when some were not, 1 when all failed, 2 for a wrong call, 130 when "
    "interrupted."
)


class VisitCommand(BaseCommand):
    """A command that makes visits of one `kind`. `summary` returns the counts of a finished visit in words."""

    kind: str

    @abstractmethod
    def summary(self, record: SyncRecord) -> list[str]: ...

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="name of an instance")
        parser.add_argument("--all", action="store_true", help="every active instance")
        parser.add_argument("--tag", metavar="SLUG", help="every active instance with this tag")
        parser.add_argument("--retries", type=int, default=0, metavar="N", help="retries after a transient error")
        parser.add_argument(
            "--confirm-shrink",
            action="store_true",
            help="accept at most as many disappearances as the last visit was held for",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            instances = chosen(options["names"], every=options["all"], tag=options["tag"])
            if options["retries"] < 0:
                raise ValueError("--retries must be a whole number from 0.")
            confirmed = services.held_counts(self.kind, instances) if options["confirm_shrink"] else {}
            if options["confirm_shrink"] and not confirmed:
                raise ValueError("There is nothing to confirm: the last visits of these instances were not held.")
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        # Visits of processes that died would be skipped as pending, or waited for.
        services.reap()
        session = services.start(
            self.kind,
            instances,
            trigger=SyncSession.Trigger.COMMAND,
            enqueue=False,
            attempts=1 + options["retries"],
            confirmed=confirmed,
        )
        try:
            services.run_here(session)
        except KeyboardInterrupt:
            session.refresh_from_db()
            self._report(session, as_json=options["json"])
            sys.exit(130)
        sys.exit(self._report(session, as_json=options["json"]))

    def _report(self, session: SyncSession, *, as_json: bool) -> int:
        """Print the results of the visits, those in other sessions included. Returns the exit code."""
        records = list(services.results(session).select_related("instance").order_by("instance__name"))
        counts = Counter(record.status for record in records)
        if as_json:
            document = {
                "session": session.pk,
                "status": session.status,
                "counts": counts,
                "records": [
                    {field: getattr(record, field) for field in FIELDS}
                    | {"instance": record.instance.name, "session": record.session_id, "gaps": record.not_read}
                    for record in records
                ],
            }
            self.stdout.write(json.dumps(document, indent=2))
        else:
            for record in records:
                self.stdout.write(self._line(record))
            elsewhere = Counter(record.session_id for record in records if record.session_id != session.pk)
            parts = [
                ", ".join(f"{count} {status}" for status, count in counts.items()) + f" of {len(records)}",
                *(f"{count} of them in session {other}" for other, count in sorted(elsewhere.items())),
            ]
            self.stdout.write(f"{session}: {session.status}; {'; '.join(parts)}")
        if counts[SyncRecord.Status.COMPLETED] == len(records):
            return 0
        none_done = not any(counts[status] for status in SyncRecord.DONE)
        return 1 if none_done and (counts[SyncRecord.Status.FAILED] or counts[SyncRecord.Status.CANCELLED]) else 3

    def _line(self, record: SyncRecord) -> str:
        words = [f"{record.instance}: {record.status}", *(self.summary(record) if record.summary else [])]
        if record.error:
            words.append(f"{record.error_code}: {record.error} {record.hint}")
        words += [
            f"not read: {gap['scope']}{' in ' + gap['database'] if gap['database'] else ''}: {gap['message']} "
            f"{gap['hint']}"
            for gap in record.not_read
        ]
        return " ".join("; ".join(words).split())
