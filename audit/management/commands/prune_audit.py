from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, transaction
from django.utils import timezone

from audit.models import Event, Position
from audit.services import record


class Command(BaseCommand):
    help = (
        "Remove old events from the audit trail. An event that stays says who removed how many, and up to when. Exits "
        "1 if it is refused, 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", type=int, required=True, metavar="DAYS", help="age of events to remove")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["older_than"] < 1:
            raise CommandError("--older-than takes a whole number from 1.", returncode=2)
        until = timezone.now() - timedelta(days=options["older_than"])
        old = Event.objects.filter(at__lt=until).exclude(kind=Event.Kind.PRUNE)
        if settings.TAIFISH_AUDIT_FORWARD:
            sent = Position.objects.filter(stream="audit").values_list("last_id", flat=True).first() or 0
            if old.filter(pk__gt=sent).exists():
                raise CommandError("Some of these events are not forwarded yet. Check that workers and beat run.")
        count = old.count()
        if not options["yes"]:
            self.stdout.write(
                f"Remove {count} events older than {until.isoformat(timespec='seconds')}? [y/N] ", ending=""
            )
            if input().strip().lower() not in ("y", "yes"):
                raise CommandError("Nothing was removed.")
        with transaction.atomic(), connection.cursor() as cursor:
            # The trigger that refuses deletions looks for this event in the same transaction. Rows are counted before.
            count = old.count()
            cursor.execute("SELECT txid_current()::text")
            number = cursor.fetchone()[0]
            record(Event.Kind.PRUNE, until=until.isoformat(), removed=count, transaction=number)
            old._raw_delete(using=old.db)
        self.stdout.write(f"{count} events removed")
