import json
import sys
from argparse import SUPPRESS
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from access.asking import Answered, Asked, ask
from access.exports import as_rows
from access.moments import parse_moment
from access.questions import Answer
from access.wording import BROAD, usable
from accounts.freshness import moment
from accounts.serializers import LastReadSerializer, LinkSerializer
from console.command import add_formats, write_columns, write_csv_lines
from engines.facts import GRANT_KINDS
from engines.registry import ENGINES
from engines.statements import printable


class Command(BaseCommand):
    help = (
        "List the accounts with a privilege: instance, path, first seen. Exits 0 if the answer is complete, "
        "3 if it is unknown for some instances (never read, stale, or read without the needed depth), 2 for a wrong "
        "call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "privilege",
            metavar="PRIVILEGE",
            help=f"as the engine calls it: SELECT, CONNECT, SUPERUSER; or {', '.join(BROAD)}",
        )
        parser.add_argument(
            "--on",
            default="",
            metavar="PATH",
            help='path of the object: shop, shop.public.orders, shop.public."odd name"; default: the whole instance',
        )
        parser.add_argument(
            "--kind", default="", choices=list(GRANT_KINDS), metavar="KIND", help=", ".join(GRANT_KINDS)
        )
        parser.add_argument("--as-of", metavar="T", help="a moment, or a day (its end), in TAIFISH_TIME_ZONE")
        parser.add_argument("--instance", nargs="+", default=[], metavar="NAME", help="only these; default: all")
        parser.add_argument("--tag", default="", metavar="SLUG", help="only instances with this tag")
        parser.add_argument("--engine", default="", metavar="ENGINE", help=f"only of this engine: {', '.join(ENGINES)}")
        parser.add_argument("--scope", default="", help=SUPPRESS)
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        question = {name: options[name] for name in ("privilege", "on", "kind", "instance", "tag", "engine", "scope")}
        try:
            answered = ask(Asked(**question, at=parse_moment(options["as_of"] or "")))
        except ValueError as error:
            raise CommandError(printable(str(error)), returncode=2) from error
        answer = answered.answer
        for warning in answered.warnings:
            self.stderr.write(printable(f"Note: {warning}"))
        if options["json"]:
            self.stdout.write(json.dumps(_document(answered), indent=2, default=str))
        elif options["csv"]:
            write_csv_lines(self.stdout, *as_rows(answered, by="who_can"))
        else:
            if answer.rows or answer.taken_away:
                write_columns(self.stdout, HEADER, _rows(answer))
            else:
                self.stdout.write("No known account.")
            for instance, reason in answer.unknown.items():
                self.stdout.write(printable(f"{instance}: not known: {reason}"))
            if answer.reads:
                self.stderr.write(_basis(answered))
        sys.exit(3 if answer.unknown else 0)


def _document(answered: Answered) -> dict[str, Any]:
    answer = answered.answer
    return {
        "as_of": answer.at,
        "on": answered.on,
        "warnings": answered.warnings,
        "accounts": [
            {
                "instance": row.account.instance.name,
                "account": str(row.account),
                "path": [str(role) for role in row.path],
                "because": row.because,
                "grant": str(row.grant) if row.grant else None,
                "usable": row.usable,
                "blocked": list(row.blocked),
                "clients": row.clients,
                "columns": list(row.columns),
                "at_once": row.at_once,
                "since": row.since,
                "session": row.session,
                "unobserved_since": row.grant.unobserved_since if row.grant else None,
                "links": LinkSerializer(row.links, many=True).data,
            }
            for row in answer.rows
        ],
        "taken_away": [
            {
                "instance": grant.account.instance.name,
                "account": str(grant.account),
                "grant": str(grant),
                "since": grant.held_since,
            }
            for grant in answer.taken_away
        ],
        "unknown": {instance.name: reason for instance, reason in answer.unknown.items()},
        "absent": [instance.name for instance in answered.absent],
        "instances": LastReadSerializer(answer.reads.values(), many=True).data,
    }


HEADER = ["instance", "account", "through", "right", "only columns", "usable", "since", "session", "not observed since"]


def _rows(answer: Answer) -> Iterator[list[object]]:
    """Yield one row for each chain, then the rights that were taken away."""
    for row in answer.rows:
        yield [
            row.account.instance.name,
            row.account,
            " → ".join(str(role) for role in row.path),
            row.grant or _NATURES.get(row.because, row.because),
            ", ".join(row.columns),
            usable(row),
            _minute(row.since),
            row.session,
            _minute(row.grant and row.grant.unobserved_since),
        ]
    for grant in answer.taken_away:
        words = "taken away; the engine ships with it"
        yield [grant.account.instance.name, grant.account, "", grant, "", words, _minute(grant.held_since), "", ""]


def _minute(at: datetime | None) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M}" if at else ""


def _basis(answered: Answered) -> str:
    """Return the basis of the answer in one line."""
    answer = answered.answer
    absent = f" {len(answered.absent)} have no such object." if answered.absent else ""
    times = sorted(read.read_at for read in answer.reads.values() if read.read_at)
    if not times:
        return f"{len(answer.reads)} instances, none ever read.{absent}"
    between = " to ".join(dict.fromkeys(map(moment, (times[0], times[-1]))))
    return f"{len(answer.reads)} instances, last read {between}; --json lists each.{absent}"


#: Reasons without a grant.
_NATURES = {"predefined": "a predefined role", "owner": "the owner of the schema"}
