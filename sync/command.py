"""The base of commands that visit instances in this process and report the results."""

from __future__ import annotations

import json
import sys
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import Progress, add_formats, write_csv
from engines.statements import printable
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
        add_formats(parser)

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
        run_and_report(self, session, options, self.summary)


def run_and_report(
    command: BaseCommand, session: SyncSession, how: dict[str, Any], summary: Callable[[SyncRecord], list[str]]
) -> NoReturn:
    """Run the visits of a session here, print each result when it is there, and exit with the code of EXIT_CODES."""
    report = Report(command, session, how, summary)
    try:
        report.run()
    except KeyboardInterrupt:
        session.refresh_from_db()
        report.finish()
        sys.exit(130)
    sys.exit(report.finish())


@dataclass
class Report:
    """Prints the results of visits: lines when they end, or one document in the end."""

    command: BaseCommand
    session: SyncSession
    how: dict[str, Any]
    summary: Callable[[SyncRecord], list[str]]
    printed: set[int] = field(default_factory=set)

    def run(self) -> None:
        with Progress(self.command.stderr, self.session.records.count(), "visits") as self.progress:
            services.run_here(self.session, on_end=self._ended)

    def _ended(self, record_id: int) -> None:
        record = SyncRecord.objects.select_related("instance").filter(pk=record_id).first()
        if record and record.status not in SyncRecord.OPEN:
            self.progress.clear()
            self._print(record)
            self.progress.step()

    def _print(self, record: SyncRecord) -> None:
        if not (self.how["json"] or self.how["csv"]) and record.pk not in self.printed:
            self.printed.add(record.pk)
            self.command.stdout.write(self._line(record))
            self.command.stdout.flush()

    def finish(self) -> int:
        """Print what is not printed yet, visits in other sessions included. Returns the exit code."""
        session = self.session
        records = list(services.results(session).select_related("instance").order_by("instance__name"))
        counts = Counter(record.status for record in records)
        rows = [
            {name: getattr(record, name) for name in FIELDS}
            | {"instance": record.instance.name, "session": record.session_id, "gaps": record.not_read}
            for record in records
        ]
        if self.how["csv"]:
            write_csv(self.command.stdout, rows, ("instance", *FIELDS, "gaps", "session"))
        elif self.how["json"]:
            document = {"session": session.pk, "status": session.status, "counts": counts, "records": rows}
            self.command.stdout.write(json.dumps(document, indent=2))
        else:
            for record in records:
                self._print(record)
            elsewhere = Counter(record.session_id for record in records if record.session_id != session.pk)
            parts = [
                ", ".join(f"{count} {status}" for status, count in counts.items()) + f" of {len(records)}",
                *(f"{count} of them in session {other}" for other, count in sorted(elsewhere.items())),
            ]
            self.command.stdout.write(f"{session}: {session.status}; {'; '.join(parts)}")
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
        return printable(" ".join("; ".join(words).split()))
