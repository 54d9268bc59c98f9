import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import Progress, add_formats, write_csv
from engines.statements import printable
from instances.services import chosen, tighten


class Command(BaseCommand):
    help = (
        'Set instances that are "as before" to strict if a strict connection succeeds. Exits 0 if all are strict now, '
        "3 if some are still as before, 1 if all are, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="name of an instance")
        parser.add_argument("--all", action="store_true", help="every active instance")
        parser.add_argument("--tag", metavar="SLUG", help="every active instance with this tag")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            instances = chosen(options["names"], every=options["all"], tag=options["tag"]).active().as_before()
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        with Progress(self.stderr, instances.count(), "instances") as progress:
            tried = tighten(instances, progress.step)
        found = [{"instance": instance.name, **asdict(check)} for instance, check in tried]
        if options["csv"]:
            write_csv(self.stdout, found)
        elif options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
        else:
            for instance, check in tried:
                self.stdout.write(printable(f"{instance}: {'strict' if check.ok else f'as before: {check}'}"))
            if not tried:
                self.stdout.write("None of these instances is as before.")
        left = sum(not check.ok for _, check in tried)
        if left:
            sys.exit(1 if left == len(tried) else 3)
