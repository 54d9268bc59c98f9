import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from instances.models import Instance
from instances.services import check_connection, named


class Command(BaseCommand):
    help = "Connect to instances and print their versions or the error. Exits 0 if all succeed, 1 if one fails."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="name of an instance")
        parser.add_argument("--all", action="store_true", help="every active instance")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, names: list[str], **options: Any) -> None:
        if bool(names) == options["all"]:
            raise CommandError("Name one or more instances, or use --all.", returncode=2)
        try:
            instances = list((named(names) if names else Instance.objects.active()).select_related("credential"))
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        checks = [(instance, check_connection(instance)) for instance in instances]
        if options["json"]:
            found = [{"instance": instance.name, **asdict(check)} for instance, check in checks]
            self.stdout.write(json.dumps(found, indent=2))
        else:
            for instance, check in checks:
                self.stdout.write(f"{instance}: {check}")
        if not all(check.ok for _, check in checks):
            sys.exit(1)
