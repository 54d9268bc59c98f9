from __future__ import annotations

from sync.command import EXIT_CODES, VisitCommand
from sync.models import SyncRecord

#: Counts that are shown if they are not zero.
CHANGES = ("appeared", "reappeared", "disappeared", "granted", "revoked", "joined", "left")


class Command(VisitCommand):
    help = f"Visit instances now, in this process: read their accounts and privileges. {EXIT_CODES}"
    kind = "accounts"

    def summary(self, record: SyncRecord) -> list[str]:
        changes = [f"{record.summary[name]} {name}" for name in CHANGES if record.summary.get(name)]
        notes = record.summary.get("notes", "")
        return [f"{record.summary['accounts']} accounts", *changes, *filter(None, [notes])]
