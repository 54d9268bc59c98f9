"""Load a backup into the store."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from instances import crypto
from instances.models import Credential
from taifish.backup import BackupError, restore

from .backup import places_of_keys


class Command(BaseCommand):
    help = (
        "Load a file made by `backup` into the store, all or nothing. Web, workers and beat must be stopped. Exits 3 "
        "if the present keys do not decrypt the stored passwords."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="a file made by `backup`")
        parser.add_argument("--replace", action="store_true", help="delete what the store contains first")

    def handle(self, *args: Any, file: Path, replace: bool, **options: Any) -> None:
        try:
            restore(file.absolute(), replace=replace)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Restored {file}. Now run `manage.py migrate`, then start web, workers and beat.")
        if locked := undecrypted():
            self.stderr.write(
                f"The present keys do not decrypt {locked} of the stored passwords. Put back the keys that belong to "
                f"the backup: {places_of_keys()}."
            )
            sys.exit(3)


def undecrypted() -> int:
    """How many stored passwords the present keys do not decrypt."""
    count = 0
    for token in Credential.objects.exclude(token="").values_list("token", flat=True):
        try:
            crypto.decrypt(token)
        except crypto.CredentialKeyError:
            count += 1
    return count
