import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import add_formats, write_csv
from engines.statements import printable
from planning.models import Volume
from planning.volumes import read_volumes


class Command(BaseCommand):
    help = (
        "Read the volumes of all hosts from Prometheus now. Exits 0 if every host has one, 3 if some have none, 1 if "
        "Prometheus gave no complete answer, 2 if TAIFISH_PROMETHEUS_URL is not set."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        attempt = read_volumes()
        if attempt is None:
            raise CommandError("TAIFISH_PROMETHEUS_URL is not set.", returncode=2)
        volumes = [] if attempt.error else list(Volume.objects.filter(read_at=attempt.read_at))
        rows = [{"name": volume.name, "size": volume.size, "available": volume.available} for volume in volumes]
        if options["csv"]:
            write_csv(self.stdout, rows)
        elif options["json"]:
            document = {
                "error": attempt.error,
                "volumes": rows,
                "skipped": [] if attempt.error else attempt.skipped,
            }
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
        if attempt.error:
            raise CommandError(f"No volume was changed. {attempt.error}", returncode=1)
        if not (options["json"] or options["csv"]):
            for text in (f"{len(volumes)} volumes read", *attempt.skipped):
                self.stdout.write(printable(text))
        sys.exit(3 if attempt.skipped else 0)
