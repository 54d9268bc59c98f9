from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from console.command import add_formats, write_columns, write_csv
from instances.models import Instance
from instances.services import named
from instances.timeline import LIMIT, PERIODS, newest_first


class Command(BaseCommand):
    help = "List the visits, changes and edits of one instance, newest first. Exits 2 for a wrong call."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="name of an instance, also of a retired one")
        parser.add_argument("--days", type=int, default=PERIODS[0], metavar="N", help=f"days until now ({PERIODS[0]})")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["days"] <= 3650:
            raise CommandError("--days takes a whole number from 1 to 3650.", returncode=2)
        try:
            instance = Instance.objects.filter(name=options["name"]).first() or named([options["name"]]).get()
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        events, is_cut = newest_first(instance, None, timezone.now() - timedelta(days=options["days"]))
        columns = ("at", "badge", "label", "text")
        rows = [{name: getattr(event, name) for name in columns} for event in events]
        if options["csv"]:
            write_csv(self.stdout, rows, columns)
        elif options["json"]:
            document = {"instance": instance.name, "events": rows, "is_cut": is_cut}
            self.stdout.write(json.dumps(document, indent=2, default=str))
        else:
            cells = [[f"{timezone.localtime(e.at):%Y-%m-%d %H:%M}", e.label, e.text] for e in events]
            write_columns(self.stdout, ["at", "event", "details"], cells)
            if is_cut:
                self.stderr.write(f"There are more than {LIMIT} events: these are the newest.")
