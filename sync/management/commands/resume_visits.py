from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from instances.services import chosen
from sync import services
from sync.models import VisitHealth
from sync.registry import KINDS


class Command(BaseCommand):
    help = (
        "Resume paused visits of instances, and reset their failure counts. Exits 0 also if none is paused, 2 for a "
        "wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="name of an instance")
        parser.add_argument("--all", action="store_true", help="every active instance")
        parser.add_argument("--tag", metavar="SLUG", help="every active instance with this tag")
        parser.add_argument("--kind", choices=list(KINDS), metavar="KIND", help="only visits of this kind")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            instances = chosen(options["names"], every=options["all"], tag=options["tag"])
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        of_kind = {"kind": options["kind"]} if options["kind"] else {}
        count = services.resume(VisitHealth.objects.filter(instance__in=instances, **of_kind))
        self.stdout.write(f"{count} resumed")
