import json
import sys
from argparse import SUPPRESS
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from access.asking import Answered, Asked, ask
from access.moments import parse_moment
from access.questions import Access, Answer
from access.wording import BROAD, usable
from accounts.freshness import moment
from accounts.serializers import LastReadSerializer, LinkSerializer
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
        parser.add_argument("--json", action="store_true", help="print one JSON document")

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
        else:
            for line in _lines(answer):
                self.stdout.write(printable(line))
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


def _lines(answer: Answer) -> list[str]:
    lines = [_line(row) for row in answer.rows] or ["No known account."]
    lines += [
        f"{grant.account.instance}: {grant.account}; {grant}; the engine ships "
        f"with this right, and it was taken away; since {timezone.localtime(grant.held_since):%Y-%m-%d %H:%M}"
        for grant in answer.taken_away
    ]
    return lines + [f"{instance}: not known: {reason}" for instance, reason in answer.unknown.items()]


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


def _line(row: Access) -> str:
    words = [f"{row.account.instance}: {row.account!s}"]
    if row.path:
        words.append(f"through {' → '.join(str(role) for role in row.path)}")
    words.append(str(row.grant) if row.grant else _NATURES.get(row.because, row.because))
    if row.columns:
        words.append(f"only columns {', '.join(row.columns)}")
    if row.usable != "login":
        words.append(usable(row))
    if row.since:
        words.append(f"since {timezone.localtime(row.since):%Y-%m-%d %H:%M}")
    if row.session:
        words.append(f"seen by session {row.session}")
    if row.grant and row.grant.unobserved_since:
        words.append(f"not observed since {timezone.localtime(row.grant.unobserved_since):%Y-%m-%d %H:%M}")
    return "; ".join(words)
