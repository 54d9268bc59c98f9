"""What the commands that read a feed have in common."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from engines.statements import printable
from owners.feeds import Plan

CODES = "all of its rows or none. Exits 0 when that is done, 1 when rows are wrong, 2 when the file cannot be read."


class FeedCommand(BaseCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", default="-", help="CSV in UTF-8; default: standard input")
        parser.add_argument("--dry-run", action="store_true", help="only say what would change")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def plan(self, text: str) -> Plan:
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        file = options["file"]
        try:
            data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
            plan = self.plan(data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise CommandError("The file is not UTF-8.", returncode=2) from error
        except (OSError, ValueError) as error:
            raise CommandError(str(error), returncode=2) from error
        if not (plan.problems or options["dry_run"]):
            plan.save()
        if options["json"]:
            problems = [vars(problem) for problem in plan.problems]
            document = {"dry_run": options["dry_run"], "counts": plan.counts, "problems": problems}
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
        elif plan.problems:
            for problem in plan.problems:
                self.stdout.write(printable(f"line {problem.number}: {problem.field}: {problem.message}"))
        else:
            counts = "{new} new, {changed} changed, {unchanged} as they were".format(**plan.counts)
            self.stdout.write(f"{'Would be: ' if options['dry_run'] else ''}{counts}")
        if plan.problems:
            raise CommandError("Nothing was stored.", returncode=1)
