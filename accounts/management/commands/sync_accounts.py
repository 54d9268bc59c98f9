from __future__ import annotations

from sync.command import EXIT_CODES, VisitCommand
from sync.models import SyncRecord

#: Counts that are worth a word where they are not zero.
NEWS = ("appeared", "reappeared", "disappeared", "granted", "revoked", "joined", "left")


class Command(VisitCommand):
    help = f"Visit instances now, in this process: which accounts exist and what they may do. {EXIT_CODES}"
    kind = "accounts"

    def summary(self, record: SyncRecord) -> list[str]:
        news = [f"{record.summary[name]} {name}" for name in NEWS if record.summary.get(name)]
        notes = record.summary.get("notes", "")
        return [f"{record.summary['accounts']} accounts", *news, *filter(None, [notes])]
