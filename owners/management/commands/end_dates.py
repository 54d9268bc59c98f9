from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from console.command import add_formats, write_columns, write_csv
from owners.end_dates import OVERDUE, UNKNOWN, dated
from owners.models import EndDate
from owners.serializers import DatedSerializer, as_rows

COLUMNS = ("state", "ends_on", "instance", "account", "what", "days_held", "session", "reason", "ticket", "detail")


class Command(BaseCommand):
    help = (
        "List the end dates of accounts, memberships and grants with what visits have seen of each. Exits 0 if all are "
        "known, 3 if some are unknown because no current read answers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--overdue", action="store_true", help="only what a visit still saw after its end date")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        found = dated(EndDate.objects.all())
        rows = as_rows([one for one in found if not options["overdue"] or one.state == OVERDUE])
        unknown = [one for one in found if one.state == UNKNOWN]
        if options["json"]:
            document = {"results": rows, "unknown": len(unknown)}
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str))
        elif options["csv"]:
            write_csv(self.stdout, rows, list(DatedSerializer().fields))
        else:
            write_columns(self.stdout, COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
        if options["overdue"] and unknown and not options["json"]:
            self.stderr.write(f"{len(unknown)} end dates are unknown.")
        sys.exit(3 if unknown else 0)
