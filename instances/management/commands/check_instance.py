import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.command import add_formats, write_csv
from engines.statements import printable
from instances.services import Diagnosis, examine, named

MARKS = {True: "yes", False: "NO", None: "?"}


class Command(BaseCommand):
    help = (
        "Try all reads of a visit on an instance: which work, which fail, the exact GRANT that is missing, and what "
        "stays unknown without it. Also lists rights that the collection account does not need. Exits 0 if everything "
        "works, 3 if something is missing, 1 if the connection fails."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="name of an instance")
        parser.add_argument("--hash-blind", action="store_true", help="the account must not see password hashes")
        add_formats(parser)

    def handle(self, *args: Any, name: str, hash_blind: bool, **options: Any) -> None:
        try:
            instance = named([name]).select_related("credential").get()
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        found = examine(instance, hash_blind=hash_blind)
        if options["csv"]:
            write_csv(self.stdout, (asdict(capability) for capability in found.capabilities))
        elif options["json"]:
            self.stdout.write(json.dumps({"instance": instance.name, "ok": found.ok, **asdict(found)}, indent=2))
        else:
            # Names on the server may contain line breaks and terminal control sequences.
            self.stdout.write("\n".join(map(printable, _lines(instance.name, found))))
        if not found.ok:
            sys.exit(3 if found.connection.ok else 1)


def _lines(instance: str, found: Diagnosis) -> list[str]:
    connection = found.connection
    warnings = [f"Warning: {warning}" for warning in found.warnings]
    lines = [f"{instance}: {connection}"]
    if not connection.ok:
        return lines + warnings
    names = [" ".join(capability.name.split()) for capability in found.capabilities]
    width = max(map(len, names))
    for name, capability in zip(names, found.capabilities, strict=True):
        message = " ".join(capability.message.split())
        lines.append(f"{MARKS[capability.works]:<4}{name:<{width}}  {message}".rstrip())
        if not capability.works:
            lines += _sql("missing", capability.missing, capability.database)
            lines.append(f"        without it unknown: {capability.cost}")
    lines += warnings
    if found.excess:
        lines.append("Beyond need:")
    for excess in found.excess:
        lines.append(f"    {excess.right}: {excess.message}")
        lines += _sql("remedy", excess.remedy, excess.database)
    return lines


def _sql(label: str, statements: str, database: str) -> list[str]:
    where = f" (in database {database})" if database else ""
    return [f"        {label}{where}: {statement}" for statement in statements.splitlines()]
