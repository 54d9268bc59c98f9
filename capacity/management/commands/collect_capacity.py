from __future__ import annotations

from console.units import bytes_label
from sync.command import EXIT_CODES, VisitCommand
from sync.models import SyncRecord

#: Counts that are worth a word where they are not zero.
NEWS = ("appeared", "reappeared", "recreated", "disappeared", "filtered")


class Command(VisitCommand):
    help = f"Visit instances now, in this process: which databases there are and how big they are. {EXIT_CODES}"
    kind = "capacity"

    def summary(self, record: SyncRecord) -> list[str]:
        told = record.summary
        measured = f"{told['measured']} of {told['databases']} databases measured"
        news = [f"{told[name]} {name}" for name in NEWS if told.get(name)]
        total = bytes_label(told["bytes"]) + (f" ({told['complete']})" if told["complete"] else "")
        return [measured, f"{total} on {told['day']}", *news]
