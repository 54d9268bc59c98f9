from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from access.moments import parse_moment, past
from access.where_page import as_rows, where
from accounts.freshness import last_reads
from accounts.serializers import AccountSerializer
from accounts.viewsets import basis
from console.command import add_formats, write_columns, write_csv_lines
from engines.statements import printable
from instances.models import Instance

HEADER = ["instance", "engine", "account", "kind", "superuser", "locked", "grants", "roles", "first seen", "gone"]


class Command(BaseCommand):
    help = (
        "List the instances on which an account exists, now or at a moment. Exits 0 if the answer is complete, 3 if it "
        "is unknown for some instances, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="name of the account; * matches any characters, ? one")
        parser.add_argument("--as-of", metavar="T", help="a moment, or a day (its end), in TAIFISH_TIME_ZONE")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            at = parse_moment(options["as_of"] or "")
            past(at)
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        accounts = where(options["name"], at).with_counts().with_last_seen()
        reads = last_reads(Instance.objects.all(), at)
        unknown = [read for read in reads if read.is_stale and not read.retired_at]
        if options["csv"]:
            write_csv_lines(self.stdout, *as_rows(accounts, reads))
        elif options["json"]:
            document = {"as_of": at, "accounts": AccountSerializer(accounts, many=True).data, **basis(reads)}
            self.stdout.write(json.dumps(document, indent=2, default=str))
        else:
            rows = [
                [
                    *(account.instance.name, account.instance.engine, account),
                    *(
                        "unknown" if account.is_unread(field) else getattr(account, field)
                        for field in ("kind", "is_superuser", "is_locked")
                    ),
                    *(account.n_grants, account.n_roles),
                    *(
                        moment and f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"
                        for moment in (account.first_seen_at, account.gone_at)
                    ),
                ]
                for account in accounts
            ]
            if rows:
                write_columns(self.stdout, HEADER, rows)
            else:
                self.stdout.write("No known account.")
            for read in unknown:
                self.stdout.write(printable(f"{read.instance}: not known: {read.reason}"))
        sys.exit(3 if unknown else 0)
