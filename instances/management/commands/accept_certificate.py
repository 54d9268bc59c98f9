from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from engines.certificates import spelled
from instances.services import accept_certificates, named


class Command(BaseCommand):
    help = (
        "Accept the certificate of an instance after you have compared its SHA-256 fingerprint with the one on the "
        "server. Without FINGERPRINT, print the fingerprint to compare. Exits 0 if done, 1 if the fingerprint differs, "
        "2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="name of an instance")
        parser.add_argument("fingerprint", metavar="FINGERPRINT", nargs="?", default="", help="in openssl's format")

    def handle(self, *args: Any, name: str, fingerprint: str, **options: Any) -> None:
        try:
            instance = named([name]).get()
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        waiting = instance.certificate_to_compare
        if not waiting:
            raise CommandError(f"{name!r} has no certificate to compare. Test the connection first.")
        if not fingerprint:
            self.stdout.write(spelled(waiting))
        elif accept_certificates({instance.pk: fingerprint.replace(":", "").lower()}):
            self.stdout.write(f"Accepted for {name}: {spelled(waiting)}")
        else:
            raise CommandError(f"Not accepted: the fingerprint of {name!r} is {spelled(waiting)}.")
