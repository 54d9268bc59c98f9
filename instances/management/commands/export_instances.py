from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from instances.models import Instance
from instances.resources import InstanceResource


class Command(BaseCommand):
    help = (
        "Write the active instances as CSV for import_instances: UTF-8 with a byte order mark, formulas disarmed for "
        "spreadsheets, credentials by name only."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="output file (default: standard output)")

    def handle(self, *args: Any, file: Path | None, **options: Any) -> None:
        text = InstanceResource().export(Instance.objects.active().select_related("credential")).export("csv")
        if file is None:
            self.stdout.write("\ufeff" + text, ending="")
            return
        try:
            file.write_text(text, "utf-8-sig", newline="")
        except OSError as error:
            raise CommandError(str(error), returncode=2) from error
        self.stderr.write(f"Written: {file}")
