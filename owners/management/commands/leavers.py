from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import add_formats, write_columns, write_csv
from engines.statements import printable
from owners.leavers import leavers
from owners.serializers import LeaverSerializer

COLUMNS = ("leaver", "way", "state", "instance", "account", "session", "superuser", "n_grants", "n_roles")


class Command(BaseCommand):
    help = (
        "List the accounts of people who leave on all instances: rights, objects they own, roles that only they hold, "
        "SQL to lock and revoke, and the visits that saw them gone. Exits 0 if all is known, 3 if some instances are "
        "unknown, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "people",
            nargs="+",
            metavar="FILE|PERSON",
            help="external id, mail or name of an account, or a file with one a line; - reads standard input",
        )
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = leavers([name for one in options["people"] for name in _names(one)])
        except (OSError, ValueError) as error:
            raise CommandError(str(error), returncode=2) from error
        rows = LeaverSerializer(found.rows, many=True).data
        unknown = [{"instance": read.instance.name, "reason": read.reason} for read in found.unknown]
        if options["json"]:
            document = {"results": rows, "nameless": found.nameless, "unknown": unknown}
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str))
        elif options["csv"]:
            write_csv(self.stdout, rows, list(LeaverSerializer().fields))
        else:
            write_columns(self.stdout, COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
            for row in found.rows:
                for statement in row.statements:
                    self.stdout.write(f"{row.account.instance.name}: {printable(statement)}")
        if not options["json"]:
            for name in found.nameless:
                self.stderr.write(printable(f"{name}: no known person, and no account has this name"))
            for one in unknown:
                self.stderr.write(printable(f"{one['instance']}: not known: {one['reason']}"))
        sys.exit(3 if found.is_unknown else 0)


def _names(text: str) -> list[str]:
    if text == "-":
        return sys.stdin.read().splitlines()
    path = Path(text)
    return path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else [text]
