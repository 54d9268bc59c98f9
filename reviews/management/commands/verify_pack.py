import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from engines.statements import printable
from reviews.stamps import StampError, roots
from reviews.verification import key_of, problems, stamp_of, stamped_at


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
        parser.add_argument(
            "--tsa-ca",
            type=Path,
            metavar="FILE",
            help="certificates in PEM format, to one of which the time stamp must chain; a pack without one is wrong",
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
        found, stamp = problems(path, key), None
        if options["tsa_ca"] and not found:
            try:
                trusted = roots(options["tsa_ca"])
            except StampError as error:
                raise CommandError(str(error), returncode=2) from error
            try:
                stamp = stamp_of(path, trusted)
            except StampError as error:
                found = [str(error)]
        if found:
            for problem in found:
                self.stderr.write(f"{path.name}: {problem}")
            sys.exit(1)
        self.stdout.write(f"{path.name}: unchanged since it was signed with the key {key_of(path)}")
        if not key:
            self.stdout.write("That key is the pack's own. Compare it with the published one, or give --key.")
        if stamp:
            self.stdout.write(f"Time stamp: {stamp.at:%Y-%m-%d %H:%M:%S} UTC, by {printable(stamp.authority)}")
        elif at := stamped_at(path):
            self.stdout.write(f"Time stamp: {at:%Y-%m-%d %H:%M:%S} UTC. Its authority is not checked: give --tsa-ca.")
