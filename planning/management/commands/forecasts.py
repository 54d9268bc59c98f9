from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from console.command import add_formats
from engines.registry import ENGINES, engine_named
from planning import reading
from planning.answers import Forecast

from .filling_up import report, tag_named


class Command(BaseCommand):
    help = (
        "List the stored forecasts of everything with a limit, the nearest first. Exits 0 if all are known, 3 if "
        "something has no forecast, or one of sizes older than TAIFISH_STALE_AFTER, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tag", metavar="SLUG", help="only instances with this tag, and its total")
        parser.add_argument("--engine", default="", type=engine_named, choices=[*ENGINES], metavar="ENGINE")
        parser.add_argument("--kind", default="", choices=reading.KINDS, metavar="KIND", help=", ".join(reading.KINDS))
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        tag = tag_named(options["tag"])
        selected = reading.chosen(reading.ceilings(), tag=tag, engine=options["engine"], kind=options["kind"])
        found = reading.forecasts(selected)
        rows = [item for item in found if isinstance(item[1], Forecast)]
        unknown = [item for item in found if not isinstance(item[1], Forecast) or item[1].is_stale]
        report(self, rows, unknown, options)
