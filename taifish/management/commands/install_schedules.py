from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from taifish import schedules


class Command(BaseCommand):
    help = (
        "Create new default schedules. Existing schedules are not changed, and deleted ones are not created again. "
        "Only unchanged times follow TAIFISH_TIME_ZONE."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--deleted", action="store_true", help="also create deleted schedules again")

    def handle(self, *args: Any, deleted: bool, **options: Any) -> None:
        created = schedules.install(deleted)
        self.stdout.write(f"created: {', '.join(created)}" if created else "all schedules exist")
        if moved := schedules.follow_time_zone():
            self.stdout.write(f"now in {settings.TIME_ZONE}: {', '.join(moved)}")
