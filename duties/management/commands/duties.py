from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import add_formats, write_csv_lines
from console.suggestions import nearest
from duties import rows
from duties.models import DutyPair
from duties.services import Found, conflicts_of
from engines.statements import printable


class Command(BaseCommand):
    help = (
        "List who holds both sides of a duty pair: of one, or of all active ones. Exits 0 if all instances are known, "
        "3 if something is unknown, 2 for a wrong call; with --fail, 1 if there is a conflict that is not accepted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pair", nargs="?", metavar="NAME", help="default: all active pairs")
        parser.add_argument("--fail", action="store_true", help="exit 1 if there is a conflict")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        found = [(pair.name, conflicts_of(pair)) for pair in self._pairs(options["pair"])]
        if options["json"]:
            self.stdout.write(json.dumps([rows.document(name, one) for name, one in found], indent=2))
        elif options["csv"]:
            lines = (line for name, one in found for line in rows.lines(name, one))
            write_csv_lines(self.stdout, rows.HEADER, lines)
        else:
            for name, one in found:
                self._print(name, one)
        if options["fail"] and any(one.conflicts for _name, one in found):
            sys.exit(1)
        sys.exit(3 if any(one.is_unknown for _name, one in found) else 0)

    def _print(self, name: str, found: Found) -> None:
        for row in rows.documents(found, found.conflicts):
            for side, label in zip(("first", "second"), found.sides, strict=True):
                for one in row[side]:
                    place = f"{one['account']} on {one['instance_name']}, {one['by']}"
                    self.stdout.write(printable(f"{name}: {row['label']}: {label.label}: {place}"))
        if found.error:
            self.stderr.write(printable(f"{name}: not known: {found.error}"))
            return
        for text in found.warnings:
            self.stderr.write(printable(f"{name}: note: {text}"))
        for instance, reason in found.unknown.items():
            self.stderr.write(printable(f"{name}: {instance}: not known: {reason}"))
        counts = f"{len(found.conflicts)} conflicts, {len(found.accepted)} accepted"
        rest = f"{found.without_owner} accounts with one side and no owner; {len(found.unknown)} instances unknown"
        self.stderr.write(printable(f"{name}: {counts}; {rest}"))

    def _pairs(self, name: str | None) -> list[DutyPair]:
        """Raises CommandError."""
        pairs = DutyPair.objects.select_related("first_classification", "second_classification")
        if name is None:
            return list(pairs.filter(active=True))
        found = list(pairs.filter(name=name))
        if not found:
            meant = nearest(name, DutyPair.objects.order_by().values_list("name", flat=True))
            raise CommandError(f"There is no duty pair “{name}”.{meant}", returncode=2)
        return found
