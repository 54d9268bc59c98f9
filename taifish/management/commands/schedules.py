from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from console.command import add_formats, write_columns, write_csv
from taifish.serializers import ScheduleSerializer


class Command(BaseCommand):
    help = "List the schedules: when each ran last, and which are late. Exits 0, 3 if one is late, 2 for a wrong call."

    def add_arguments(self, parser: CommandParser) -> None:
        add_formats(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        schedules = PeriodicTask.objects.select_related("crontab", "interval").order_by("name")
        rows = ScheduleSerializer(schedules, many=True).data
        if options["csv"]:
            write_csv(self.stdout, rows)
        elif options["json"]:
            self.stdout.write(json.dumps(rows, indent=2, default=str))
        else:
            cells = [
                [
                    *(row["name"], row["task"], row["when"], "on" if row["enabled"] else "off"),
                    f"{timezone.localtime(task.last_run_at):%Y-%m-%d %H:%M}" if task.last_run_at else "never",
                    "late" if row["is_late"] else "",
                ]
                for task, row in zip(schedules, rows, strict=True)
            ]
            write_columns(self.stdout, ["name", "task", "when", "state", "last run", "late"], cells)
        sys.exit(3 if any(row["is_late"] for row in rows) else 0)
