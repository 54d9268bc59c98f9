from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sync.lateness import scheduler_runs


class Command(BaseCommand):
    help = "Whether the scheduler runs: exits 3 unless a schedule ran in the last 10 minutes. For probes of beat."

    def handle(self, *args: Any, **options: Any) -> None:
        alive, last = scheduler_runs()
        if not alive:
            when = f"the last schedule ran at {last:%Y-%m-%d %H:%M:%S %Z}" if last else "no schedule has run yet"
            raise CommandError(f"{when}. Start one process of celery beat, or `manage.py up`.", returncode=3)
        self.stdout.write(f"the last schedule ran at {last:%Y-%m-%d %H:%M:%S %Z}")
