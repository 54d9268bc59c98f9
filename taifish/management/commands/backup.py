"""Write the store to a file, without the keys."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from console.units import bytes_label
from taifish import environment
from taifish.backup import BackupError, backup

KEYS = {"TAIFISH_CREDENTIAL_KEYS": "credential_keys", "TAIFISH_SECRET_KEY": "secret_key"}


def places_of_keys() -> str:
    """Where each key is."""
    return ", ".join(
        f"{name} ({settings.TAIFISH_DATA_DIR / 'keys' / file})" if not environment.text(name) else name
        for name, file in KEYS.items()
    )


class Command(BaseCommand):
    help = "Write the store, embedded or external, to a new file. It may be in use. The keys are not in the file."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="a file that does not exist yet")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            size = backup(file.absolute())
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Wrote {file} ({bytes_label(size)}). Back up the keys too, in another place: {places_of_keys()}. Without "
            "them the stored passwords cannot be decrypted; with them, whoever has the file can read the passwords."
        )
