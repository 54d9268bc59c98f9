import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import add_formats, write_csv
from engines.statements import printable
from instances.resources import InstanceResource, problems, read_csv


class Command(BaseCommand):
    help = (
        "Add and change instances from a CSV file, all rows or none. Credentials are given by name and must exist. "
        "Lists every invalid value with its line. Exits 0 if done, 1 if rows are invalid, 2 if the file cannot be read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="UTF-8, with a header: name,engine,host,port,credential,tags …")
        parser.add_argument("--dry-run", action="store_true", help="only print what would change")
        add_formats(parser)

    def handle(self, *args: Any, file: Path, dry_run: bool, **options: Any) -> None:
        try:
            dataset = read_csv(file.read_text("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise CommandError(f"{file} is not UTF-8.", returncode=2) from error
        except (OSError, ValueError) as error:
            raise CommandError(str(error), returncode=2) from error
        result = InstanceResource().import_data(dataset, dry_run=dry_run, rollback_on_validation_errors=True)
        wrong = problems(result, dataset)
        done = {word: 0 if wrong else result.totals[word] for word in ("new", "update", "skip")}
        if options["csv"]:
            write_csv(self.stdout, wrong, ("line", "name", "field", "message"))
        elif options["json"]:
            document = {"dry_run": dry_run, "counts": done, "problems": wrong}
            self.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            for problem in wrong:
                field = f"{problem['field']}: " if problem["field"] else ""
                text = f"line {problem['line']} ({problem['name']}): {field}{problem['message']}"
                self.stdout.write(printable(text))
            if not wrong:
                counts = "{new} new, {update} changed, {skip} unchanged".format(**done)
                self.stdout.write(f"{'Would be: ' if dry_run else ''}{counts}")
        if wrong:
            raise CommandError("Nothing was imported.", returncode=1)
