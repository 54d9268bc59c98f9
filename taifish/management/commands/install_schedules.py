from typing import Any

from django.core.management.base import BaseCommand

from taifish import schedules


class Command(BaseCommand):
    help = "Create the default schedules that are missing. Schedules that exist are left as people made them."

    def handle(self, *args: Any, **options: Any) -> None:
        created = schedules.install()
        self.stdout.write(f"created: {', '.join(created)}" if created else "all schedules are there already")
