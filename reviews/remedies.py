"""SQL that revokes what items are about, for people to read and run. Taifish never runs it."""

from __future__ import annotations

from collections.abc import Iterable

from accounts.models import Account, Grant, Membership
from engines import revocation
from engines.registry import ENGINES
from engines.statements import Held, Remedy, Subject

from .models import Item

What = Item.What


def remedies(items: Iterable[Item]) -> dict[int, Remedy]:
    """Return item id → the SQL, as the account and the object are named now, and what remains to be done by hand. None
    for accounts that are gone: SQL would hit another one that has the name by now. Takes three queries."""
    items = [item for item in items if item.account_id]
    accounts = Account.objects.filter(gone_at=None).select_related("instance")
    found = accounts.in_bulk({item.account_id for item in items})
    grants: dict[tuple[object, ...], Grant] = {}
    for row in Grant.objects.filter(
        account__in={one.account_id for one in items if one.what == What.GRANT}, until=None
    ):
        grants[row.account_id, row.kind, row.database, row.privilege, row.object_id or row.scope] = row
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
        if account is None or account.instance.engine not in ENGINES:
            continue
        subject = Subject(
            account.instance.engine,
            account.name,
            account.host,
            account.kind or "user",
            account.native_id,
            account.instance.product,
        )
        revoke = ENGINES[account.instance.engine].account.revoke
        if item.what == What.ACCOUNT:
            made[item.pk] = revocation.lock(subject)
        elif item.what == What.MEMBERSHIP and (item.account_id, item.object_id) in named:
            made[item.pk] = revoke(subject, [], [named[item.account_id, item.object_id]])
        elif item.what == What.GRANT:
            key = (item.account_id, item.object_kind, item.database, item.privilege, item.native_id or item.object)
            if row := grants.get(key):
                held = Held(row.kind, row.privilege, row.scope, row.database, row.denied, row.grantable)
                made[item.pk] = revoke(subject, [held], [])
    return made
