from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import add_formats, write_csv
from console.suggestions import nearest
from console.units import bytes_label
from engines.registry import ENGINES, engine_named
from engines.statements import printable
from planning import reading
from planning.answers import Forecast, NoForecast
from planning.pages import flat, size_label
from planning.serializers import FillingSerializer
from tagging.models import Tag


class Command(BaseCommand):
    help = (
        "List what may be full within some days, the nearest first: by the upper bound of its stored forecast. With "
        "--without-limit, what grows most and has no limit. Exits 0 if all of the selection is known, 3 if something "
        "has no forecast, or one of sizes older than TAIFISH_STALE_AFTER, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=90, metavar="N", help="days from today, 0 to 365 (90)")
        parser.add_argument("--tag", metavar="SLUG", help="only instances with this tag, and its total")
        parser.add_argument("--engine", default="", type=engine_named, choices=[*ENGINES], metavar="ENGINE")
        parser.add_argument("--kind", default="", choices=reading.KINDS, metavar="KIND", help=", ".join(reading.KINDS))
        parser.add_argument("--without-limit", action="store_true", help="instead, what has no limit, by growth")
        parser.add_argument("--top", type=int, default=50, metavar="N", help="with --without-limit: rows (50)")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 <= options["days"] <= 365:
            raise CommandError("--days takes a whole number from 0 to 365.", returncode=2)
        if options["top"] < 1:
            raise CommandError("--top takes a whole number from 1.", returncode=2)
        selection = {name: options[name] for name in ("engine", "kind")} | {"tag": tag_named(options["tag"])}
        if options["without_limit"]:
            try:
                rows = reading.named(list(reading.growing(**selection)[: options["top"]]))
            except ValueError as error:
                raise CommandError(str(error), returncode=2) from error
            unknown = [item for item in rows if item[1].is_stale]
        else:
            found = reading.filling(options["days"], **selection)
            rows, unknown = found.rows, found.unknown
        report(self, rows, unknown, options)


def report(
    command: BaseCommand, rows: Sequence[reading.Answer], unknown: Sequence[reading.Answer], how: dict[str, Any]
) -> NoReturn:
    """Print forecasts, and exit with 3 if some are unknown."""
    of_rows, of_unknown = (FillingSerializer(reading.as_rows(found), many=True).data for found in (rows, unknown))
    if how["csv"]:
        write_csv(command.stdout, map(flat, of_rows))
    elif how["json"]:
        command.stdout.write(json.dumps({"results": of_rows, "unknown": of_unknown}, indent=2))
    else:
        for ceiling, forecast in rows:
            command.stdout.write(printable(_line(ceiling, forecast)))
    if not how["json"]:
        for ceiling, forecast in unknown:
            command.stderr.write(printable(f"{ceiling.kind} {ceiling.name}: {_unknown(forecast)}"))
    sys.exit(3 if unknown else 0)


def tag_named(slug: str | None) -> Tag | None:
    """Raises CommandError."""
    if slug is None:
        return None
    tag = Tag.objects.filter(slug=slug).first()
    if tag is None:
        meant = nearest(slug, Tag.objects.order_by().values_list("slug", flat=True))
        raise CommandError(f"There is no tag {slug!r}.{meant}", returncode=2)
    return tag


def _unknown(forecast: Forecast | NoForecast) -> str:
    if isinstance(forecast, Forecast):
        return f"the last size is of {forecast.as_of}"
    return "; ".join(filter(None, [size_label(forecast), forecast.reason]))


def _line(ceiling: reading.Ceiling, forecast: Forecast | NoForecast) -> str:
    if isinstance(forecast, NoForecast):
        return f"{ceiling.kind} {ceiling.name}: {_unknown(forecast)}"
    words = [f"{ceiling.kind} {ceiling.name}: {size_label(forecast)} on {forecast.as_of}"]
    if forecast.limit is not None:
        words[0] += f", {forecast.used_percent} % of {bytes_label(forecast.limit)}"
        latest = forecast.latest_on or "later than in a year"
        words.append(f"full on {forecast.on or 'no day within a year'}, between {forecast.earliest_on} and {latest}")
    for days in (30, 90):
        size = forecast.ahead[days]
        low, expected, high = map(bytes_label, (size.low, size.expected, size.high))
        words.append(f"in {days} days {expected} ({low} to {high})")
    if forecast.limit is None and forecast.doubling:
        words.append(f"doubled in {forecast.doubling} days")
    return "; ".join([*words, *(["growth is unusual"] if forecast.is_unusual else [])])
