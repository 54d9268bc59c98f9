from __future__ import annotations

from console.units import bytes_label
from engines.statements import printable
from sync.command import EXIT_CODES, VisitCommand
from sync.models import SyncRecord

#: Counts that are shown if they are not zero.
CHANGES = ("appeared", "reappeared", "renamed", "recreated", "disappeared", "filtered")


class Command(VisitCommand):
    help = f"Visit instances now, in this process: read their databases and sizes. {EXIT_CODES}"
    kind = "capacity"

    def summary(self, record: SyncRecord) -> list[str]:
        row = record.summary
        measured = f"{row['measured']} of {row['databases']} databases measured"
        changes = [f"{row[name]} {name}" for name in CHANGES if row.get(name)]
        changes += [f"renamed from {printable(old)} to {printable(new)}" for old, new in row.get("renames", ())]
        total = bytes_label(row["bytes"]) + (f" ({row['complete']})" if row["complete"] else "")
        return [measured, f"{total} on {row['day']}", *changes]
