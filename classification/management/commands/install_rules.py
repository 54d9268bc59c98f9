from typing import Any

from django.core.management.base import BaseCommand

from classification import library


class Command(BaseCommand):
    help = "Create missing shipped rules. Edited and deleted rules stay as they are."

    def handle(self, *args: Any, **options: Any) -> None:
        created = library.install()
        # List the codes after an upgrade; a first installation creates all rules.
        text = f"{len(created)} rules" if len(created) > 20 else ", ".join(created)
        self.stdout.write(f"created: {text}" if created else "all rules exist already")
