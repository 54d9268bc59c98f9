from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import Progress
from instances.services import named
from planning.services import compute


class Command(BaseCommand):
    help = (
        "Compute the stored forecasts now, in this process, as after each collection: of all active instances or of "
        "those named, of their databases, and of all totals. Exits 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="name of an instance; default: all")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            instances = named(options["names"]) if options["names"] else None
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        with Progress(self.stderr, 0, "forecasts") as progress:
            counts = compute(instances, progress.show)
        self.stdout.write("computed: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
