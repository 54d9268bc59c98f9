import csv
import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.csv import disarmed
from planning import bulk
from planning.filters import SizeLimitFilters
from planning.models import KINDS, SizeLimit


class Command(BaseCommand):
    help = (
        "List size limits as CSV, or set them from such a file: all of its rows or none. Exits 0 when that is done, 1 "
        "when rows are wrong, 2 when the file cannot be read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["list", "set"])
        parser.add_argument("file", nargs="?", default="-", help="to set from, UTF-8; default: standard input")
        parser.add_argument("--kind", choices=[kind for kind, _label in KINDS], help="list these only")
        parser.add_argument("--dry-run", action="store_true", help="only say what would change")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self._list(options["kind"], as_json=options["json"])
        else:
            self._set(options["file"], dry_run=options["dry_run"], as_json=options["json"])

    def _list(self, kind: str | None, *, as_json: bool) -> None:
        limits = SizeLimitFilters({"kind": kind}, SizeLimit.objects.all()).qs
        rows = bulk.exported(limits)
        if as_json:
            found = [dict(zip(bulk.COLUMNS, row, strict=True)) for row in rows]
            self.stdout.write(json.dumps(found, indent=2, ensure_ascii=False))
            return
        writer = csv.writer(self.stdout, lineterminator="\n")
        writer.writerow(bulk.COLUMNS)
        writer.writerows([disarmed(str(cell)) for cell in row] for row in rows)

    def _set(self, file: str, *, dry_run: bool, as_json: bool) -> None:
        try:
            data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
            plan = bulk.read_csv(data.decode("utf-8-sig"), None)
        except UnicodeDecodeError as error:
            raise CommandError("The file is not UTF-8.", returncode=2) from error
        except (OSError, ValueError) as error:
            raise CommandError(str(error), returncode=2) from error
        if not (plan.problems or dry_run):
            plan.save(None)
        if as_json:
            problems = [vars(problem) for problem in plan.problems]
            document = {"dry_run": dry_run, "counts": plan.counts, "problems": problems}
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            self._report(plan, dry_run=dry_run)
        if plan.problems:
            raise CommandError("No limit was set.", returncode=1)

    def _report(self, plan: bulk.Plan, *, dry_run: bool) -> None:
        for problem in plan.problems:
            column = f"{problem.field}: " if problem.field else ""
            self.stdout.write(f"line {problem.number}: {column}{problem.message}")
        if plan.problems:
            return
        for change in plan.changes:
            if change.is_changed:
                sizes = f"{change.before_label} → {change.after_label}"
                self.stdout.write(f"line {change.row.number}: {change.row.name}: {sizes}")
        counts = "{new} new, {changed} changed, {unchanged} as they were".format(**plan.counts)
        self.stdout.write(f"{'Would be: ' if dry_run else ''}{counts}")
