from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet

from console.command import add_formats, write_csv_lines
from console.suggestions import nearest
from drift import rows, states
from drift.compare import Drift, compare, drift_of, state_of
from drift.models import Baseline
from engines.statements import printable
from instances.models import Instance
from tagging.models import Tag


class Command(BaseCommand):
    help = (
        "List what instances have otherwise than a reference: those of a baseline, or with --tag those with a tag. "
        "Exits 0 if all of them are compared, 3 if something is unknown, 2 for a wrong call; with --fail, 1 if there "
        "is a deviation that is not accepted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("baseline", nargs="?", metavar="BASELINE")
        parser.add_argument("--reference", metavar="INSTANCE", help="the instance that the others should be like")
        parser.add_argument("--state", metavar="FILE", help="instead of the reference, a saved state, JSON or YAML")
        parser.add_argument("--tag", metavar="SLUG", help="the instances to compare")
        parser.add_argument(
            "--save",
            metavar="FILE",
            help="only write the state of the reference to a new file, .json or .yaml",
        )
        parser.add_argument("--fail", action="store_true", help="exit 1 if there is a deviation")
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        baseline, reference = self._baseline(options["baseline"]), self._instance(options["reference"])
        if options["save"]:
            self._save(options["save"], reference or (baseline and baseline.reference))
            return
        if baseline:
            if reference or options["state"] or options["tag"]:
                raise CommandError("A baseline has its own tag and reference: leave these out.", returncode=2)
            found = drift_of(baseline)
        else:
            if not options["tag"] or bool(reference) == bool(options["state"]):
                text = "Name a baseline, or --tag and one of --reference and --state."
                raise CommandError(text, returncode=2)
            state = self._read(options["state"]) if options["state"] else None
            found = compare(self._group(options["tag"], reference), reference, state)
        self._print(found, options)
        if options["fail"] and found.count:
            sys.exit(1)
        sys.exit(3 if found.unknown else 0)

    def _print(self, found: Drift, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(rows.document(found), indent=2))
            return
        if options["csv"]:
            write_csv_lines(self.stdout, rows.HEADER, rows.lines(found))
        else:
            for one in found.compared:
                for row in one.deviations:
                    self.stdout.write(printable(f"{one.instance}: {row.label}: {row.sentence}"))
        for one in found.compared:
            for why in filter(None, [one.unknown, *one.parts]):
                self.stderr.write(printable(f"{one.instance}: not known: {why}"))
        counts = f"{found.count} deviations, {found.accepted} accepted; {found.unknown} instances unknown"
        self.stderr.write(f"{counts} of {len(found.compared)}")

    def _save(self, file: str, reference: Instance | None) -> None:
        if reference is None:
            raise CommandError("Name the instance with --reference, or a baseline that has one.", returncode=2)
        try:
            # Never over a file that is there.
            with Path(file).open("x", encoding="utf-8") as out:
                try:
                    out.write(states.written(state_of(reference), states.format_of(file)))
                except ValueError:
                    Path(file).unlink()
                    raise
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}", returncode=2) from error
        except ValueError as error:
            raise CommandError(str(error), returncode=3) from error

    def _read(self, file: str) -> dict[str, Any]:
        try:
            return states.parsed(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}", returncode=2) from error
        except ValueError as error:
            raise CommandError(f"{file}: {error}", returncode=2) from error

    def _baseline(self, name: str | None) -> Baseline | None:
        return _named(Baseline.objects.select_related("reference"), name, "name", "baseline")

    def _instance(self, name: str | None) -> Instance | None:
        return _named(Instance.objects.all(), name, "name", "instance")

    def _group(self, slug: str, reference: Instance | None) -> QuerySet[Instance]:
        tag = _named(Tag.objects.all(), slug, "slug", "tag")
        return Instance.objects.active().filter(tags=tag).exclude(pk=reference.pk if reference else 0)


def _named(rows_: QuerySet[Any], name: str | None, field: str, what: str) -> Any:
    """Raises CommandError."""
    if name is None:
        return None
    found = rows_.filter(**{field: name}).first()
    if found is None:
        meant = nearest(name, rows_.order_by().values_list(field, flat=True))
        raise CommandError(f"There is no {what} “{name}”.{meant}", returncode=2)
    return found
