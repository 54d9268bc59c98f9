from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from taifish import schedules


class Command(BaseCommand):
    help = (
        "Create the default schedules that are new. Those that exist are left as people made them, and those that "
        "people deleted stay deleted; only times that are still as shipped follow TAIFISH_TIME_ZONE."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--deleted", action="store_true", help="create those again that people deleted")

    def handle(self, *args: Any, deleted: bool, **options: Any) -> None:
        created = schedules.install(deleted)
        self.stdout.write(f"created: {', '.join(created)}" if created else "all schedules are there already")
        if moved := schedules.follow_time_zone():
            self.stdout.write(f"now in {settings.TIME_ZONE}: {', '.join(moved)}")
