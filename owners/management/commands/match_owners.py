from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from console.command import add_formats, write_columns, write_csv
from owners.matching import matching
from owners.serializers import MatchSerializer

COLUMNS = ("outcome", "instance", "account", "people", "rule")


class Command(BaseCommand):
    help = (
        "Set the owners of accounts that have none, by the owner rules. Accounts that several people match stay open "
        "and are listed with them. Exits 0 if none is ambiguous, 3 if some are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would change")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        result = matching()
        if not options["dry_run"]:
            result.save()
        named = (("ambiguous", result.ambiguous), ("matched", result.found))
        rows = [
            {"outcome": outcome, **row, "people": ", ".join(row["people"])}
            for outcome, matches in named
            for row in MatchSerializer(matches, many=True).data
        ]
        if options["json"]:
            document = {"dry_run": options["dry_run"], "results": rows}
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
        elif options["csv"]:
            write_csv(self.stdout, rows, COLUMNS)
        else:
            write_columns(self.stdout, COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
        sys.exit(3 if result.ambiguous else 0)
