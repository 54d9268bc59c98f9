"""SQL that revokes what items are about, for people to read and run. Taifish never runs it."""

from __future__ import annotations

from collections.abc import Iterable

from access.revoking import held_of, subject_of
from accounts.models import Account, Grant, Membership
from engines import revocation
from engines.statements import Held, Remedy

from .models import Item

What = Item.What


def remedies(items: Iterable[Item]) -> dict[int, Remedy]:
    """Return item id → the SQL, as the account and the object are named now, and what remains to be done by hand. None
    for accounts that are gone: SQL would hit another one that has the name by now. Takes four queries."""
    items = [item for item in items if item.account_id]
    accounts = Account.objects.filter(gone_at=None).select_related("instance")
    found = accounts.in_bulk({item.account_id for item in items})
    rows = Grant.objects.filter(
        account__in={one.account_id for one in items if one.what == What.GRANT}, until=None
    ).select_related("account")
    grants: dict[tuple[object, ...], Held] = {}
    for row, held in held_of(rows):
        grants[row.account_id, row.kind, row.database, row.privilege, row.object_id or row.scope] = held
    roles = Membership.objects.filter(
        member__in={one.account_id for one in items if one.what == What.MEMBERSHIP}, until=None
    )
    named = {
        (member, role): (name, host)
        for member, role, name, host in roles.values_list("member", "role", "role__name", "role__host")
    }
    made = {}
    for item in items:
        account = found.get(item.account_id)
        if account is None:
            continue
        subject = subject_of(account)
        if item.what == What.ACCOUNT:
            made[item.pk] = revocation.lock(subject)
        elif item.what == What.MEMBERSHIP and (role := named.get((item.account_id, item.object_id))):
            made[item.pk] = revocation.take_one(subject, role=role)
        elif item.what == What.GRANT:
            key = (item.account_id, item.object_kind, item.database, item.privilege, item.native_id or item.object)
            if held := grants.get(key):
                made[item.pk] = revocation.take_one(subject, held)
    return made
