from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from console.command import add_formats, write_csv
from console.units import bytes_label
from engines.statements import printable
from planning.answers import NoForecast
from planning.pages import flat, size_label
from planning.report import Line, report
from planning.serializers import ReportSerializer


class Command(BaseCommand):
    help = (
        "The planning report: by tag and for the fleet, the size now and in 3, 6 and 12 months, and what to buy by "
        "when. Exits 0 if all of it is known, 3 if a line has no forecast, or one of sizes older than "
        "TAIFISH_STALE_AFTER."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        lines = report()
        rows = ReportSerializer(lines, many=True).data
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
        elif options["csv"]:
            write_csv(self.stdout, map(flat, rows))
        else:
            for line in lines:
                self.stdout.write(printable(_text(line)))
        sys.exit(3 if any(line.is_unknown for line in lines) else 0)


def _text(line: Line) -> str:
    forecast = line.forecast
    if isinstance(forecast, NoForecast):
        return f"{line.name}: " + "; ".join(filter(None, [size_label(forecast), forecast.reason]))
    words = [f"{line.name}: {size_label(forecast)} on {forecast.as_of}"]
    for months, days in ((3, 90), (6, 180), (12, 365)):
        size = forecast.ahead[days]
        low, expected, high = map(bytes_label, (size.low, size.expected, size.high))
        words.append(f"in {months} months {expected} ({low} to {high})")
    if line.limit is None:
        words.append("no limit")
    elif line.buy:
        words.append(f"limit {bytes_label(line.limit)}: buy {bytes_label(line.buy)} by {line.buy_by}")
    else:
        words.append(f"limit {bytes_label(line.limit)}: enough for a year")
    return "; ".join(words)
