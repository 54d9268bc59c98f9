import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from access.moments import parse_moment
from access.questions import Access, Answer, who_can
from accounts.freshness import moment
from accounts.serializers import LastReadSerializer, LinkSerializer
from engines.facts import GRANT_KINDS
from engines.statements import printable
from instances.services import named


class Command(BaseCommand):
    help = (
        "List the accounts with a privilege: instance, path, first seen. Exits 0 if the answer is complete, "
        "3 if it is unknown for some instances (never read, stale, or read without the needed depth), 2 for a wrong "
        "call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("privilege", metavar="PRIVILEGE", help="as the engine calls it: SELECT, CONNECT, SUPERUSER")
        parser.add_argument(
            "--on",
            default="",
            metavar="SCOPE",
            help='path of the object: shop, shop.public.orders, shop.public."odd name"; default: the whole instance',
        )
        parser.add_argument(
            "--kind", default="", choices=list(GRANT_KINDS), metavar="KIND", help=", ".join(GRANT_KINDS)
        )
        parser.add_argument("--as-of", metavar="T", help="a moment, or a day (its end), in TAIFISH_TIME_ZONE")
        parser.add_argument("--instance", nargs="+", metavar="NAME", help="only these; default: all active instances")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            answer = who_can(
                options["privilege"],
                options["on"],
                kind=options["kind"],
                at=parse_moment(options["as_of"] or ""),
                instances=named(options["instance"]) if options["instance"] else None,
            )
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps(_document(answer), indent=2, default=str))
        else:
            for line in _lines(answer):
                self.stdout.write(line)
            if answer.reads:
                self.stderr.write(_basis(answer))
        sys.exit(3 if answer.unknown else 0)


def _document(answer: Answer) -> dict[str, Any]:
    return {
        "as_of": answer.at,
        "accounts": [
            {
                "instance": row.account.instance.name,
                "account": str(row.account),
                "path": [str(role) for role in row.path],
                "because": row.because,
                "grant": str(row.grant) if row.grant else None,
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
        "instances": LastReadSerializer(answer.reads.values(), many=True).data,
    }


def _lines(answer: Answer) -> list[str]:
    lines = [_line(row) for row in answer.rows] or ["No known account."]
    lines += [
        f"{grant.account.instance}: {printable(str(grant.account))}; {printable(str(grant))}; the engine ships "
        f"with this right, and it was taken away; since {timezone.localtime(grant.held_since):%Y-%m-%d %H:%M}"
        for grant in answer.taken_away
    ]
    return lines + [f"{instance}: not known: {reason}" for instance, reason in answer.unknown.items()]


def _basis(answer: Answer) -> str:
    """Return the basis of the answer in one line."""
    times = sorted(read.read_at for read in answer.reads.values() if read.read_at)
    if not times:
        return f"{len(answer.reads)} instances, none ever read."
    between = " to ".join(dict.fromkeys(map(moment, (times[0], times[-1]))))
    return f"{len(answer.reads)} instances, last read {between}; --json lists each."


#: Reasons without a grant.
_NATURES = {"predefined": "a predefined role", "owner": "the owner of the schema"}


def _line(row: Access) -> str:
    words = [f"{row.account.instance}: {row.account!s}"]
    if row.path:
        words.append(f"through {' → '.join(str(role) for role in row.path)}")
    words.append(str(row.grant) if row.grant else _NATURES[row.because])
    if not row.at_once:
        words.append("only after switching role")
    if row.since:
        words.append(f"since {timezone.localtime(row.since):%Y-%m-%d %H:%M}")
    if row.session:
        words.append(f"seen by session {row.session}")
    if row.grant and row.grant.unobserved_since:
        words.append(f"not observed since {timezone.localtime(row.grant.unobserved_since):%Y-%m-%d %H:%M}")
    return "; ".join(words)
