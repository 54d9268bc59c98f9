"""Changes of accounts as a stream that is forwarded beside the audit trail."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from audit.forwarding import Stream

from .models import AccountChange


def _rows() -> QuerySet[AccountChange]:
    return AccountChange.objects.filter(baseline=False).select_related("account__instance")


def _shown(change: AccountChange) -> dict[str, Any]:
    account = change.account
    return {
        "id": change.pk,
        "at": change.at.isoformat(),
        "instance_id": account.instance_id,
        "instance": account.instance.name,
        "account_id": account.pk,
        "account": account.name,
        "host": account.host,
        "events": change.events,
        "details": change.details,
    }


#: The name of the lock is also in the migration that makes the trigger.
CHANGES = Stream("account_changes", "taifish account changes", _rows, _shown)
