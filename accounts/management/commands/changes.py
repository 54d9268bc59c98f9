from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils import timezone

from accounts.filters import AccountChangeFilters
from accounts.freshness import unknown_instances
from accounts.models import AccountChange
from accounts.serializers import AccountChangeSerializer
from accounts.viewsets import unknown_rows
from accounts.wording import details, events
from console.command import add_formats, since, write_columns, write_csv
from engines.statements import printable
from instances.models import Instance
from instances.services import chosen

HEADER = ["seen", "instance", "account", "change", "details"]
CHUNK = 2000


class Command(BaseCommand):
    help = (
        "List the changes of accounts and privileges that visits found, oldest first. What an instance's first visit "
        "finds is not a change. Exits 0 if all is known, 3 if some instances were not read lately, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=since, required=True, metavar="TIME", help="seen at or after this time")
        parser.add_argument("--until", type=since, metavar="TIME", help="seen before this day or time")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--instance", metavar="NAME")
        where.add_argument("--tag", metavar="SLUG", help="only instances with this tag")
        parser.add_argument("--account", metavar="NAME", help="only this account: its name, or name@host")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        names, tag = [options["instance"]] if options["instance"] else [], options["tag"]
        try:
            instances = chosen(names, tag=tag) if names or tag is not None else Instance.objects.all()
        except ValueError as error:
            raise CommandError(printable(str(error)), returncode=2) from error
        words = {
            "since": options["since"].isoformat(),
            "until": options["until"].isoformat() if options["until"] else "",
            "instance_name": options["instance"] or "",
            "tag": tag or "",
            "account_name": options["account"] or "",
            "baseline": "false",
        }
        filters = AccountChangeFilters(words, AccountChange.objects.select_related("account__instance", "record"))
        rows = filters.qs.order_by("at", "pk")
        unknown = unknown_instances(instances)
        if options["csv"]:
            found = (AccountChangeSerializer(change).data for change in rows.iterator(CHUNK))
            write_csv(self.stdout, found, list(AccountChangeSerializer().fields))
        elif options["json"]:
            document = {
                "changes": AccountChangeSerializer(rows.iterator(CHUNK), many=True).data,
                "unknown": unknown_rows(unknown),
            }
            self.stdout.write(json.dumps(document, indent=2, default=str))
        else:
            self._print(rows)
        for instance, reason in unknown.items():
            out = self.stderr if options["json"] or options["csv"] else self.stdout
            out.write(printable(f"{instance}: not known: {reason}"))
        sys.exit(3 if unknown else 0)

    def _print(self, changes: QuerySet[AccountChange]) -> None:
        rows = [
            [
                f"{timezone.localtime(change.at):%Y-%m-%d %H:%M}",
                change.account.instance.name,
                change.account,
                ", ".join(str(label) for _event, label in events(change)),
                "; ".join(f"{label} {text}" for _word, label, text in details(change)),
            ]
            for change in changes.iterator(CHUNK)
        ]
        if rows:
            write_columns(self.stdout, HEADER, rows)
        else:
            self.stdout.write("No change was found.")
