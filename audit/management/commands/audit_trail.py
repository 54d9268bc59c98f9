from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from audit.models import COLUMNS, Event
from audit.reading import CHUNK, as_lines, as_rows
from console.csv import csv_lines
from engines.statements import printable


def moment(text: str) -> datetime:
    """A day or a time, in TAIFISH_TIME_ZONE unless it names another. Raises ValueError."""
    found = parse_datetime(text)
    if found is None:
        day = parse_date(text)
        if day is None:
            raise ValueError
        found = datetime(day.year, day.month, day.day)
    return found if found.tzinfo else timezone.make_aware(found)


class Command(BaseCommand):
    help = "Print the audit trail, oldest event first. Exits 2 for a wrong call."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=moment, metavar="TIME", help="events at or after this day or time")
        parser.add_argument("--until", type=moment, metavar="TIME", help="events before this day or time")
        parser.add_argument("--kind", choices=Event.Kind.values, metavar="KIND", help=", ".join(Event.Kind.values))
        parser.add_argument("--door", choices=Event.Door.values, metavar="DOOR", help=", ".join(Event.Door.values))
        parser.add_argument("--person", metavar="NAME", help="events of this user")
        parser.add_argument("--model", metavar="TYPE", help="object type, such as instances.instance")
        parser.add_argument("--json", action="store_true", help="print one JSON document per line")
        parser.add_argument("--csv", action="store_true", help="print CSV")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["json"] and options["csv"]:
            raise CommandError("Use either --json or --csv.", returncode=2)
        conditions = {
            "at__gte": options["since"],
            "at__lt": options["until"],
            "kind": options["kind"],
            "door": options["door"],
            "user_name": options["person"],
            "model": options["model"] and options["model"].lower(),
        }
        given = {name: value for name, value in conditions.items() if value is not None}
        events = Event.objects.filter(**given).order_by("pk")
        if options["csv"]:
            for text in csv_lines(COLUMNS, as_rows(events)):
                self.stdout.write(text, ending="")
        elif options["json"]:
            for line in as_lines(events.iterator(CHUNK)):
                self.stdout.write(line)
        else:
            for event in events.iterator(CHUNK):
                self.stdout.write(printable(_line(event)))


def _line(event: Event) -> str:
    at = timezone.localtime(event.at).isoformat(sep=" ", timespec="seconds")
    what = " ".join(filter(None, [event.kind, event.model, event.object]))
    names = ", ".join(event.after or event.before or {})
    where = " ".join(filter(None, [event.door, event.address, event.command]))
    return f"{at} {event.user_name or '-'} ({where}): {what}{f' ({names})' if names else ''}"
