from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from capacity import services
from capacity.growth import GROWTH_DAYS, table_growth
from capacity.models import Database
from console.command import add_formats, write_csv
from console.units import bytes_label
from engines.errors import AdapterError
from engines.statements import printable


class Command(BaseCommand):
    help = (
        "Read the largest tables of one database from the instance now. Exits 1 if it does not answer. With --growth,"
        " compare stored readings instead; exits 3 if there are no two."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("instance", help="name of the instance")
        parser.add_argument("database", help="name of the database")
        parser.add_argument("--limit", type=int, default=20, metavar="N", help="number of tables (20)")
        parser.add_argument("--growth", action="store_true", help="which tables grew between two stored readings")
        parser.add_argument(
            "--days", type=int, default=GROWTH_DAYS, metavar="N", help=f"days between the readings ({GROWTH_DAYS})"
        )
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["limit"] <= 1000:
            raise CommandError("--limit takes a whole number from 1 to 1000.", returncode=2)
        if not 1 <= options["days"] <= 3650:
            raise CommandError("--days takes a whole number from 1 to 3650.", returncode=2)
        database = Database.objects.filter(instance__name=options["instance"]).named(options["database"]).first()
        if database is None:
            raise CommandError(
                f"No visit has found a database {options['database']!r} on an instance {options['instance']!r}.",
                returncode=2,
            )
        if options["growth"]:
            return self._growth(database, options)
        try:
            tables = services.largest_tables(database, options["limit"])
        except AdapterError as error:
            raise CommandError(f"{error.code}: {error} {error.hint}".strip()) from error
        if options["csv"]:
            return write_csv(self.stdout, (table._asdict() for table in tables))
        if options["json"]:
            return self.stdout.write(json.dumps([table._asdict() for table in tables], indent=2))
        for table in tables:
            self.stdout.write(f"{bytes_label(table.size):>10}  {printable(f'{table.schema}.{table.name}')}")

    def _growth(self, database: Database, options: dict[str, Any]) -> None:
        found = table_growth(database, options["days"], options["limit"])
        if options["csv"]:
            write_csv(self.stdout, (asdict(table) for table in found.tables))
        elif options["json"]:
            self.stdout.write(json.dumps(asdict(found), indent=2, default=str))
        else:
            for table in found.tables:
                note = "" if table.state == "listed" else f" ({table.state})"
                growth = bytes_label(table.growth, signed=True)
                name = printable(f"{table.schema}.{table.name}")
                self.stdout.write(f"{growth:>11} {bytes_label(table.size):>10}  {name}{note}")
        if found.earlier_day is None:
            raise CommandError("There are no two stored readings of this database's tables to compare.", returncode=3)
