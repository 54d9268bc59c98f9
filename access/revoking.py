"""SQL that takes away what accounts have, for people to read and run. Taifish never runs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import md5
from typing import Any

from django.db.models import Window
from django.db.models.functions import MD5, RowNumber

from accounts.models import Account, Grant, Membership
from engines import revocation as remedies
from engines.paths import segments
from engines.statements import Held, Subject

#: Grants of an account with revoke statements.
GRANTS = 20


def take_away(accounts: list[Account]) -> dict[int, dict[str, Any]]:
    """Return account id → `statements` that lock it and revoke its current roles and direct grants, what remains
    `by_hand`, and `is_cut` if it has more grants. Takes three queries."""
    ids = [account.pk for account in accounts]
    roles: dict[int, list[tuple[str, str]]] = defaultdict(list)
    memberships = Membership.objects.filter(member__in=ids, until=None).order_by("role__name")
    for member, name, host in memberships.values_list("member_id", "role__name", "role__host"):
        roles[member].append((name, host))
    number = Window(RowNumber(), partition_by="account_id", order_by=["kind", "scope", "privilege", "id"])
    grants: dict[int, list[Held]] = defaultdict(list)
    rows = Grant.objects.filter(account__in=ids, until=None).annotate(number=number).filter(number__lte=GRANTS + 1)
    rows = rows.order_by("account_id", "number").select_related("account")
    for row, held in held_of(rows):
        grants[row.account_id].append(held)
    return {
        account.pk: {
            **remedies.take_away(subject_of(account), grants[account.pk][:GRANTS], roles[account.pk])._asdict(),
            "is_cut": len(grants[account.pk]) > GRANTS,
        }
        # SQL names accounts: for one that is gone, it would hit another that has the name now.
        for account in accounts
        if account.gone_at is None
    }


def held_of(rows: Iterable[Grant]) -> Iterator[tuple[Grant, Held]]:
    """Yield each grant, which has its account loaded, and what SQL is made of. Takes one query for the owners of
    objects."""
    rows = list(rows)
    owners = _owners(rows)
    for row in rows:
        owner = owners.get((row.account.instance_id, *_owned(row)))
        grantors = tuple(name for name in row.grantors or () if name != owner)
        yield row, Held(row.kind, row.privilege, row.scope, row.database, row.denied, row.grantable, grantors)


def _owned(grant: Grant) -> tuple[str, str]:
    """Return kind and scope of the object with the owner: of a column, its table."""
    if grant.kind == "column":
        return "table", ".".join(segments(grant.scope)[:-1])
    return grant.kind, grant.scope


def _owners(grants: Iterable[Grant]) -> dict[tuple[int, str, str], str]:
    """Return (instance id, kind, scope) → the name of the owner, for the objects of these grants."""
    objects = {_owned(grant) for grant in grants}
    rows = Grant.objects.alias(digest=MD5("scope")).filter(
        until=None,
        privilege="OWNER",
        kind__in={kind for kind, _scope in objects},
        digest__in=[md5(scope.encode(), usedforsecurity=False).hexdigest() for _kind, scope in objects],
        account__instance__in={grant.account.instance_id for grant in grants},
    )
    found = rows.order_by().values_list("account__instance", "kind", "scope", "account__name")
    return {(instance, kind, scope): name for instance, kind, scope, name in found}


def subject_of(account: Account) -> Subject:
    instance = account.instance
    return Subject(instance.engine, account.name, account.host, account.kind, account.native_id, instance.product)
