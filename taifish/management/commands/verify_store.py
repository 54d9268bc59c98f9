import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from console.command import add_formats, write_csv
from engines.statements import printable
from taifish.verification import INVARIANTS, verify


class Command(BaseCommand):
    help = (
        "Check that the rows of the store agree with each other: intervals, changes, sizes, aggregates, sessions. "
        "Reads whole tables, on one snapshot, and changes nothing. Exits 0 without "
        "a violation, 3 with some, 1 if it failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--app", nargs="+", default=[], choices=list(INVARIANTS), metavar="APP", help=", ".join(INVARIANTS)
        )
        parser.add_argument("--limit", type=int, default=20, help="violations to print of each kind; default: 20")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        checked = []
        for app, result in verify(options["app"], max(options["limit"], 1)):
            name = f"{app}.{result.invariant.name}"
            checked.append(
                {
                    "invariant": name,
                    "rule": result.invariant.rule,
                    "count": result.count,
                    "violations": result.violations,
                }
            )
            if not (options["json"] or options["csv"]) and result.count:
                self._print(name, result.invariant.rule, result.count, result.violations)
        total = sum(each["count"] for each in checked)
        if options["csv"]:
            write_csv(self.stdout, checked)
        elif options["json"]:
            self.stdout.write(json.dumps({"violations": total, "invariants": checked}, indent=2))
        else:
            self.stdout.write(f"{len(checked)} invariants checked, {total} violations.")
        sys.exit(3 if total else 0)

    def _print(self, name: str, rule: str, count: int, violations: list[dict[str, Any]]) -> None:
        self.stdout.write(f"{name}: {count} violations. Broken: {rule}")
        for row in violations:
            self.stdout.write(printable("  " + ", ".join(f"{column} {_text(value)}" for column, value in row.items())))
        if count > len(violations):
            self.stdout.write(f"  and {count - len(violations)} more; --limit shows them")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
