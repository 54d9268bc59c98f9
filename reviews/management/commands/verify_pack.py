import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from reviews.verification import key_of, problems


class Command(BaseCommand):
    help = (
        "Check that an evidence pack is as it was signed. Works offline and needs no store. Exits 0 if it is, 1 if "
        "not, 2 for a wrong call."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the ZIP file")
        parser.add_argument(
            "--key",
            type=Path,
            metavar="FILE",
            help="the public key, printed by `review key`; default: the pack's own",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path, key = options["file"], ""
        try:
            path.open("rb").close()
            key = options["key"].read_text("ascii").strip() if options["key"] else ""
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(str(error), returncode=2) from error
        if options["key"] and len(key) != 64:
            raise CommandError(f"{options['key']} has no public key: 64 hex digits.", returncode=2)
        if found := problems(path, key):
            for problem in found:
                self.stderr.write(f"{path.name}: {problem}")
            sys.exit(1)
        self.stdout.write(f"{path.name}: unchanged since it was signed with the key {key_of(path)}")
        if not key:
            self.stdout.write("That key is the pack's own. Compare it with the published one, or give --key.")
