from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from capacity import services
from capacity.models import Database
from console.units import bytes_label
from engines.errors import AdapterError


class Command(BaseCommand):
    help = "Read the largest tables of one database from the instance now. Exits 1 if it does not answer."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("instance", help="name of the instance")
        parser.add_argument("database", help="name of the database")
        parser.add_argument("--limit", type=int, default=20, metavar="N", help="number of tables (20)")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["limit"] <= 1000:
            raise CommandError("--limit takes a whole number from 1 to 1000.", returncode=2)
        database = Database.objects.filter(instance__name=options["instance"], name=options["database"]).first()
        if database is None:
            raise CommandError(
                f"No visit has found a database {options['database']!r} on an instance {options['instance']!r}.",
                returncode=2,
            )
        try:
            tables = services.largest_tables(database, options["limit"])
        except AdapterError as error:
            raise CommandError(f"{error.code}: {error} {error.hint}".strip()) from error
        if options["json"]:
            self.stdout.write(json.dumps([table._asdict() for table in tables], indent=2))
            return
        for table in tables:
            self.stdout.write(f"{bytes_label(table.size):>10}  {table.schema}.{table.name}")
