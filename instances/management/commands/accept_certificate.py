from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from engines.certificates import spelled
from instances.services import accept_certificates, named


class Command(BaseCommand):
    help = (
        "Accept the certificate that an instance shows, once its SHA-256 fingerprint has been compared with that on "
        "the server. Without a fingerprint, print the one that waits. Exits 0, 1 when the server shows another, 2 for "
        "a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="name of an instance")
        parser.add_argument("fingerprint", metavar="FINGERPRINT", nargs="?", default="", help="as openssl prints it")

    def handle(self, *args: Any, name: str, fingerprint: str, **options: Any) -> None:
        try:
            instance = named([name]).get()
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        waiting = instance.certificate_to_compare
        if not waiting:
            raise CommandError(f"No certificate of {name!r} waits to be compared: test the connection first.")
        if not fingerprint:
            self.stdout.write(spelled(waiting))
        elif accept_certificates({instance.pk: fingerprint.replace(":", "").lower()}):
            self.stdout.write(f"Accepted for {name}: {spelled(waiting)}")
        else:
            raise CommandError(f"{name!r} shows another certificate: {spelled(waiting)}. Nothing was accepted.")
