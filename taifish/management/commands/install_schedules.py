from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from alerts.services import activate_shipped
from taifish import schedules


class Command(BaseCommand):
    help = (
        "Create new default schedules. Existing schedules are not changed, and deleted ones are not created again. "
        "Only unchanged times follow TAIFISH_TIME_ZONE. In a new store, activate the alert rules."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--deleted", action="store_true", help="also create deleted schedules again")

    def handle(self, *args: Any, deleted: bool, **options: Any) -> None:
        created = schedules.install(deleted)
        self.stdout.write(f"created: {', '.join(created)}" if created else "all schedules exist")
        if moved := schedules.follow_time_zone():
            self.stdout.write(f"now in {settings.TIME_ZONE}: {', '.join(moved)}")
        if count := activate_shipped():
            self.stdout.write(f"alert rules activated: {count}; their alerts are in the inbox")
