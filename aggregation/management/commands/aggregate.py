from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from aggregation import services
from aggregation.periods import last_closed, named
from console.command import Progress, add_formats, write_csv
from sync import services as sync
from sync.models import SyncSession


def day(text: str) -> date:
    return date.fromisoformat(text)


class Command(BaseCommand):
    help = (
        "Aggregate sizes of closed periods, in this process. Default: the last closed period. Exits 0 if every "
        "instance was aggregated, 3 if some were not, 1 if none was, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("period", metavar="PERIOD", help="daily, weekly, monthly, quarterly or all")
        parser.add_argument("--on", type=day, metavar="DATE", help="the closed period that contains this day")
        parser.add_argument("--from", type=day, dest="first", metavar="DATE", help="every closed period from this day")
        parser.add_argument("--to", type=day, dest="last", metavar="DATE", help="to this day")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            ranges = _ranges(options)
            sync.finish_open("aggregation")
            sessions = [
                services.backfill(name, first, last, trigger=SyncSession.Trigger.COMMAND, enqueue=False)
                for name, first, last in ranges
            ]
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        documents = [self._run(session) for session in sessions]
        if options["csv"]:
            write_csv(self.stdout, documents)
        elif options["json"]:
            self.stdout.write(json.dumps(documents if len(documents) > 1 else documents[0], indent=2))
        else:
            for document in documents:
                self.stdout.write(_line(document))
        statuses = {document["status"] for document in documents}
        sys.exit(0 if statuses == {"completed"} else 1 if statuses == {"failed"} else 3)

    def _run(self, session: SyncSession) -> dict[str, Any]:
        with Progress(self.stderr, session.records.count(), "instances") as progress:
            sync.run_here(session, on_end=lambda record_id: progress.step())
        records = list(session.records.select_related("instance").order_by("instance__name"))
        sums: Counter[str] = Counter()
        for record in records:
            sums.update({name: count for name, count in record.summary.items() if isinstance(count, int)})
        return {
            "session": session.pk,
            "status": session.status,
            "asked": session.params,
            "counts": Counter(record.status for record in records),
            "aggregates": sums,
            "failed": {record.instance.name: record.error for record in records if record.status == "failed"},
            "without_sizes": [record.instance.name for record in records if record.error_code == "no_sizes"],
        }


def _ranges(options: dict[str, Any]) -> list[tuple[str, date, date]]:
    """Return period, first and last day of each session; periods with one range share it. Raises ValueError."""
    name, on, first, last = (options[key] for key in ("period", "on", "first", "last"))
    periods = named(name)
    if on and (first or last):
        raise ValueError("Use either --on, or --from and --to.")
    if bool(first) != bool(last):
        raise ValueError("Use --from and --to together.")
    if on or first:
        return [(name, on or first, on or last)]
    spans = [last_closed(period, timezone.localdate()) for period in periods]
    return [(span.period.value, span.first, span.last) for span in spans]


def _line(document: dict[str, Any]) -> str:
    params, counts, sums = document["asked"], document["counts"], document["aggregates"]
    words = [
        f"aggregation #{document['session']}: {document['status']}",
        f"{params['period']} from {params['first']} to {params['last']}",
        ", ".join(f"{count} {status}" for status, count in counts.items()),
        f"{sums['instances']} instance aggregates and {sums['databases']} database aggregates",
    ]
    words += [f"{name} failed: {error}" for name, error in document["failed"].items()]
    if document["without_sizes"]:
        words.append(f"without sizes: {', '.join(document['without_sizes'])}")
    return "; ".join(words)
