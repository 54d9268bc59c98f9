from typing import Any

from django.core.management.base import BaseCommand, CommandError

from instances.crypto import CredentialKeyError
from instances.services import rotate_credential_keys


class Command(BaseCommand):
    help = (
        "Encrypt all stored passwords again with the first of TAIFISH_CREDENTIAL_KEYS, all or none. "
        "Put the new key first, restart, run this command, then remove the old key."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = rotate_credential_keys()
        except CredentialKeyError as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        self.stdout.write(f"{count} passwords are now encrypted with the first key")
