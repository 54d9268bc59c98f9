import json
import sys
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet

from instances.models import Instance
from instances.services import named
from sync import services
from sync.models import SyncRecord, SyncSession

#: Counts that are worth a word where they are not zero.
NEWS = ("appeared", "reappeared", "disappeared", "granted", "revoked", "joined", "left")
TOLD = ("status", "phase", "error_code", "error", "hint", "gaps", "summary")


class Command(BaseCommand):
    help = (
        "Visit instances now, in this process: which accounts exist and what they may do. Exits 0 when every visit "
        "was complete, 3 when some were not, 1 when all failed, 2 for a wrong call, 130 when interrupted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="name of an instance")
        parser.add_argument("--all", action="store_true", help="every active instance")
        parser.add_argument("--tag", metavar="SLUG", help="every active instance with this tag")
        parser.add_argument("--retries", type=int, default=0, metavar="N", help="try again so often when that may help")
        parser.add_argument(
            "--confirm-shrink",
            action="store_true",
            help="accept the disappearances that the last visit was held for, and no more than those",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            instances = _chosen(options["names"], options["all"], options["tag"])
            if options["retries"] < 0:
                raise ValueError("--retries takes a whole number from 0.")
            confirmed = services.held_counts("accounts", instances) if options["confirm_shrink"] else {}
            if options["confirm_shrink"] and not confirmed:
                raise ValueError("No last visit of these instances was held: there is nothing to confirm.")
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        session = services.start(
            "accounts",
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
        """Print how the visits went. Returns the exit code."""
        records = list(session.records.select_related("instance").order_by("instance__name"))
        counts = Counter(record.status for record in records)
        if as_json:
            document = {
                "session": session.pk,
                "status": session.status,
                "counts": counts,
                "records": [
                    {"instance": record.instance.name} | {field: getattr(record, field) for field in TOLD}
                    for record in records
                ],
            }
            self.stdout.write(json.dumps(document, indent=2))
        else:
            for record in records:
                self.stdout.write(_line(record))
            totals = ", ".join(f"{count} {status}" for status, count in counts.items())
            self.stdout.write(f"{session}: {session.status}; {totals} of {len(records)}")
        if session.status == SyncSession.Status.COMPLETED:
            # A visit left to another session may not have happened yet.
            return 3 if counts[SyncRecord.Status.SKIPPED] else 0
        return 3 if session.status == SyncSession.Status.PARTIAL else 1


def _chosen(names: list[str], every: bool, tag: str | None) -> QuerySet[Instance]:
    """The active instances asked for. Raises ValueError."""
    if [bool(names), every, tag is not None].count(True) != 1:
        raise ValueError("Say which instances: by name, with --tag, or --all.")
    if names:
        return named(names)
    active = Instance.objects.active()
    chosen = active.filter(tags__slug=tag) if tag is not None else active
    if not chosen.exists():
        raise ValueError(
            f"No active instance has the tag {tag!r}." if tag is not None else "There is no active instance."
        )
    return chosen


def _line(record: SyncRecord) -> str:
    words = [f"{record.instance}: {record.status}"]
    if "accounts" in record.summary:
        words.append(f"{record.summary['accounts']} accounts")
        words += [f"{record.summary[name]} {name}" for name in NEWS if record.summary.get(name)]
    if record.error:
        words.append(f"{record.error_code}: {record.error} {record.hint}")
    words += [
        f"not read: {gap['scope']}{' in ' + gap['database'] if gap['database'] else ''}: {gap['message']} {gap['hint']}"
        for gap in record.gaps
    ]
    return " ".join("; ".join(words).split())
