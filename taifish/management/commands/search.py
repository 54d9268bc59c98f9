import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from console.command import add_formats, write_csv
from engines.statements import printable
from taifish.search import search


class Command(BaseCommand):
    help = (
        "Search for instances, accounts and roles, databases, sessions (#17), tags, classifications and rules by name: "
        "the first rows of each kind, and the number of all."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("text", metavar="TEXT", help="words that must all be contained")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        found = [group.as_dict() for group in search(options["text"])]
        if options["json"]:
            self.stdout.write(json.dumps({"results": found}, indent=2))
            return
        if options["csv"]:
            rows = ({"kind": group["kind"], **row} for group in found for row in group["rows"])
            write_csv(self.stdout, rows, ("kind", "id", "name", "instance", "instance_name", "marks"))
            return
        for group in found:
            self.stdout.write(f"{group['kind']}: {group['count']}")
            for row in group["rows"]:
                on = f" on {row['instance_name']}" if row["instance_name"] else ""
                marks = f" ({', '.join(row['marks'])})" if row["marks"] else ""
                self.stdout.write(printable(f"  {row['name']}{on}{marks}"))
        if not found:
            self.stdout.write("Nothing found.")
