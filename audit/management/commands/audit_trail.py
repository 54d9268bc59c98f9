from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from audit.models import COLUMNS, Event
from audit.reading import CHUNK, as_lines, as_rows
from console.command import add_formats, since, write_csv_lines
from engines.statements import printable


class Command(BaseCommand):
    help = "Print the audit trail, oldest event first; as JSON, one document per line. Exits 2 for a wrong call."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=since, metavar="TIME", help="events at or after this day or time")
        parser.add_argument("--until", type=since, metavar="TIME", help="events before this day or time")
        parser.add_argument("--kind", choices=Event.Kind.values, metavar="KIND", help=", ".join(Event.Kind.values))
        parser.add_argument("--door", choices=Event.Door.values, metavar="DOOR", help=", ".join(Event.Door.values))
        parser.add_argument("--person", metavar="NAME", help="events of this user")
        parser.add_argument("--model", metavar="TYPE", help="object type, such as instances.instance")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
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
            write_csv_lines(self.stdout, COLUMNS, as_rows(events))
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
