from typing import Any

from django.core.management.base import BaseCommand

from classification import library


class Command(BaseCommand):
    help = "Create the shipped rules that are missing. Rules that people edited or deleted stay as they left them."

    def handle(self, *args: Any, **options: Any) -> None:
        created = library.install()
        # At an upgrade their codes are what to look up; the first time they are all, and explain nothing.
        told = f"{len(created)} rules" if len(created) > 20 else ", ".join(created)
        self.stdout.write(f"created: {told}" if created else "all rules are there already")
