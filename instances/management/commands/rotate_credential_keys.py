from typing import Any

from django.core.management.base import BaseCommand, CommandError

from instances.crypto import CredentialKeyError
from instances.services import rotate_credential_keys


class Command(BaseCommand):
    help = (
        "Encrypt every stored password anew under the first of TAIFISH_CREDENTIAL_KEYS, all or none. "
        "Put the new key in front, restart, run this, then take the old key away."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = rotate_credential_keys()
        except CredentialKeyError as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        self.stdout.write(f"{count} passwords are encrypted under the first key now")
