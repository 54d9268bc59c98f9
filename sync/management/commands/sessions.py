from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from console.command import add_formats, write_columns, write_csv
from sync.models import SyncSession
from sync.registry import KINDS

HEADER = ["id", "kind", "status", "started", "trigger", "visits", "failed", "open"]


class Command(BaseCommand):
    help = "List the latest sessions, newest first. Exits 2 for a wrong call."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--kind", choices=list(KINDS), metavar="KIND", help=", ".join(KINDS))
        parser.add_argument("--status", choices=SyncSession.Status.values, metavar="STATUS")
        parser.add_argument("--limit", type=int, default=20, metavar="N", help="sessions to list (20)")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        given = {name: options[name] for name in ("kind", "status") if options[name]}
        found = SyncSession.objects.filter(**given).with_counts(None).order_by("-pk")[: max(options["limit"], 1)]
        rows = [
            [
                *(session.pk, session.kind, session.status, session.created_at, session.trigger),
                *(session.n_total, session.n_failed, session.n_pending + session.n_running),
            ]
            for session in found
        ]
        documents = (dict(zip(HEADER, row, strict=True)) for row in rows)
        if options["csv"]:
            write_csv(self.stdout, documents, HEADER)
        elif options["json"]:
            self.stdout.write(json.dumps(list(documents), indent=2, default=str))
        else:
            for row in rows:
                row[3] = f"{timezone.localtime(row[3]):%Y-%m-%d %H:%M}"
            write_columns(self.stdout, HEADER, rows)
