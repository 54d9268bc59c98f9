import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import Progress, add_formats, write_csv
from engines.statements import printable
from instances.models import Instance
from instances.services import check_connection, named


class Command(BaseCommand):
    help = (
        "Connect to instances and print their versions or the error. Exits 0 if all succeed, 3 if some fail, 1 if all "
        "do, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="name of an instance")
        parser.add_argument("--all", action="store_true", help="every active instance")
        add_formats(parser)

    def handle(self, *args: Any, names: list[str], **options: Any) -> None:
        if bool(names) == options["all"]:
            raise CommandError("Name one or more instances, or use --all.", returncode=2)
        try:
            instances = list((named(names) if names else Instance.objects.active()).select_related("credential"))
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        is_text = not (options["json"] or options["csv"])
        found = []
        with Progress(self.stderr, len(instances), "instances") as progress:
            for instance in instances:
                check = check_connection(instance)
                found.append({"instance": instance.name, **asdict(check)})
                progress.clear()
                if is_text:
                    self.stdout.write(printable(f"{instance}: {check}"))
                    self.stdout.flush()
                progress.step()
        if options["csv"]:
            write_csv(self.stdout, found)
        elif options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
        failed = sum(not row["ok"] for row in found)
        sys.exit(0 if not failed else 1 if failed == len(found) else 3)
