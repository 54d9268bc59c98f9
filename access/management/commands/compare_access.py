import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from access.compare import Asked, Comparison, Difference, compare
from access.compare_page import as_rows, sides, without
from access.moments import parse_moment
from accounts.serializers import LastReadSerializer
from console.command import add_formats, write_csv_lines
from engines.statements import printable


class Command(BaseCommand):
    help = (
        "List the rights that two accounts, two instances, one account at two moments, or one account on the instances "
        "with a tag do not have alike. Exits 0 if the answer is complete, 3 if it is unknown for a side (never read, "
        "stale, or read without the needed depth), 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--instance", default="", metavar="NAME")
        parser.add_argument("--account", default="", metavar="NAME", help="name or name@host; default: all, by name")
        parser.add_argument("--as-of", default="", metavar="T", help="a moment, or a day (its end); default: now")
        for name in ("instance", "account", "as-of"):
            parser.add_argument(f"--other-{name}", default="", metavar=name.upper(), help="default: the same")
        parser.add_argument("--tag", default="", metavar="SLUG", help="the account on all instances with this tag")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            words = {name: options[name] for name in ("instance", "account", "other_instance", "other_account", "tag")}
            at, other_at = parse_moment(options["as_of"]), parse_moment(options["other_as_of"])
            found = compare(Asked(**words, at=at, other_at=other_at))
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        if options["csv"]:
            write_csv_lines(self.stdout, *as_rows(found))
        elif options["json"]:
            self.stdout.write(json.dumps(_document(found), indent=2, default=str))
        else:
            for one in found.differences():
                self.stdout.write(printable(_line(one, found)))
            if found.without_columns:
                self.stdout.write("Grants on columns are not compared: the read depth of all sides leaves them out.")
            for name, reason in found.unknown.items():
                self.stdout.write(printable(f"{name}: not known: {reason}"))
        sys.exit(3 if found.unknown else 0)


def _document(found: Comparison) -> dict[str, Any]:
    return {
        "differences": [
            {
                "account": one.account,
                "object": one.object.path,
                "kind": one.object.kind,
                "every": one.object.every,
                "privilege": one.privilege,
                "sides": {name: right._asdict() for name, right in one.sides.items()},
                "without": one.without,
            }
            for one in found.differences()
        ],
        "absent": found.absent,
        "without_columns": found.without_columns,
        "unknown": found.unknown,
        "instances": LastReadSerializer(found.reads.values(), many=True).data,
    }


def _line(one: Difference, found: Comparison) -> str:
    words = [" ".join(filter(None, [one.account, one.object.kind, str(one.object), one.what])), sides(one)]
    if one.without:
        words.append(f"not: {without(one, found)}")
    return "; ".join(words)
