from typing import Any

from django.core.management.base import BaseCommand

from classification import library


class Command(BaseCommand):
    help = "Create the shipped rules that are missing. Rules that people edited or deleted stay as they left them."

    def handle(self, *args: Any, **options: Any) -> None:
        created = library.install()
        self.stdout.write(f"created: {', '.join(created)}" if created else "all rules are there already")
