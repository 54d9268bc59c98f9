from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from alerts import services
from alerts.models import Alert
from console.command import add_formats, write_csv
from engines.statements import printable


class Command(BaseCommand):
    help = "Evaluate all active alert rules now and print new and closed alerts. A worker sends the messages."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="store and send nothing")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        found = services.evaluate(dry_run=options["dry_run"])
        document = {
            "dry_run": options["dry_run"],
            "opened": _rows(found.opened),
            "resolved": _rows(found.resolved),
            "lasting": found.n_lasting,
            "messages": [delivery.channel.name for delivery in found.deliveries],
        }
        if options["csv"]:
            rows = [{"state": word, **row} for word in ("opened", "resolved") for row in document[word]]
            return write_csv(self.stdout, rows, ("state", "rule", "kind", "instance", "text"))
        if options["json"]:
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
            return
        for word, alerts in (("new", document["opened"]), ("over", document["resolved"])):
            for alert in alerts:
                where = f"{alert['instance']}: " if alert["instance"] else ""
                self.stdout.write(printable(f"{word}: {alert['rule']}: {where}{alert['text']}"))
        self.stdout.write(
            f"{len(found.opened)} new, {len(found.resolved)} over, {found.n_lasting} continue; "
            f"{'nothing was stored' if options['dry_run'] else f'{len(found.deliveries)} messages will be sent'}"
        )


def _rows(alerts: Iterable[Alert]) -> list[dict[str, Any]]:
    return [
        {
            "rule": alert.rule.name,
            "kind": alert.rule.kind,
            "instance": str(alert.instance) if alert.instance else None,
            "text": alert.text,
        }
        for alert in alerts
    ]
