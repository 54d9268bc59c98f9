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
from sync import services as sync
from sync.models import SyncSession


def day(text: str) -> date:
    return date.fromisoformat(text)


class Command(BaseCommand):
    help = (
        "Aggregate sizes of closed periods, in this process. Without dates: the last closed period. Exits 0 when every "
        "instance was done, 3 when some were not, 1 when none was, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("period", metavar="PERIOD", help="daily, weekly, monthly, quarterly or all")
        parser.add_argument("--on", type=day, metavar="DATE", help="the closed period that this day is in")
        parser.add_argument("--from", type=day, dest="first", metavar="DATE", help="every closed period from this day")
        parser.add_argument("--to", type=day, dest="last", metavar="DATE", help="to this day")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asked = _asked(options)
            sync.finish_open("aggregation")
            sessions = [
                services.backfill(name, first, last, trigger=SyncSession.Trigger.COMMAND, enqueue=False)
                for name, first, last in asked
            ]
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        told = [self._run(session) for session in sessions]
        if options["json"]:
            self.stdout.write(json.dumps(told if len(told) > 1 else told[0], indent=2))
        else:
            for document in told:
                self.stdout.write(_line(document))
        statuses = {document["status"] for document in told}
        sys.exit(0 if statuses == {"completed"} else 1 if statuses == {"failed"} else 3)

    def _run(self, session: SyncSession) -> dict[str, Any]:
        sync.run_here(session)
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


def _asked(options: dict[str, Any]) -> list[tuple[str, date, date]]:
    """Period, first and last day: one session each, but one for all that share a range. Raises ValueError."""
    name, on, first, last = (options[key] for key in ("period", "on", "first", "last"))
    periods = named(name)
    if on and (first or last):
        raise ValueError("Either --on, or --from and --to.")
    if bool(first) != bool(last):
        raise ValueError("--from and --to go together.")
    if on or first:
        return [(name, on or first, on or last)]
    spans = [last_closed(period, timezone.localdate()) for period in periods]
    return [(span.period.value, span.first, span.last) for span in spans]


def _line(told: dict[str, Any]) -> str:
    asked, counts, sums = told["asked"], told["counts"], told["aggregates"]
    words = [
        f"aggregation #{told['session']}: {told['status']}",
        f"{asked['period']} from {asked['first']} to {asked['last']}",
        ", ".join(f"{count} {status}" for status, count in counts.items()),
        f"{sums['instances']} aggregates of instances and {sums['databases']} of databases",
    ]
    words += [f"{name} failed: {error}" for name, error in told["failed"].items()]
    if told["without_sizes"]:
        words.append(f"no size of: {', '.join(told['without_sizes'])}")
    return "; ".join(words)
