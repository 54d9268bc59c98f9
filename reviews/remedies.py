"""SQL that revokes what items are about, for people to read and run. Taifish never runs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from access.question import ALL_POWERFUL, Question
from access.questions import Access, Rows, holdings
from access.revoking import held_of, subject_of
from accounts.models import Account, Grant, Membership
from engines import revocation
from engines.statements import Held, Remedy

from .models import Item

What = Item.What


def remedies(items: Iterable[Item]) -> dict[int, Remedy]:
    """Return item id → the SQL, as the account and the object are named now, and what remains to be done by hand. None
    for accounts that are gone: SQL would hit another one that has the name by now. Takes four queries, and eight for
    each question of items about access by any path."""
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
    by_question: dict[Question, list[Item]] = defaultdict(list)
    for item in items:
        if item.what == What.ACCESS and item.account_id in found:
            by_question[Question(item.privilege, item.object)].append(item)
    for question, asked in by_question.items():
        made |= _of_access(question, asked, found)
    return made


def _of_access(question: Question, items: Sequence[Item], accounts: Mapping[int, Account]) -> dict[int, Remedy]:
    """Return item id → what ends each path by which the account has the privilege now. None where there is no path."""
    ids = {item.account_id for item in items}
    rows, needs = holdings(question, {accounts[pk].instance_id for pk in ids}, accounts=ids)
    paths: dict[int, list[Access]] = defaultdict(list)
    for row in Rows(rows, needs, timezone.now()):
        paths[row.account.pk].append(row)
    members = set(Membership.objects.filter(member__in=paths, until=None).values_list("member", "role"))
    grants = {row.grant.pk: row.grant for held in paths.values() for row in held if row.grant}
    helds = {grant.pk: held for grant, held in held_of(grants.values())}
    return {
        item.pk: _joined(_of_path(question, path, members, helds) for path in paths[item.account_id])
        for item in items
        if item.account_id in paths
    }


def _of_path(question: Question, path: Access, members: set[tuple[int, int]], helds: Mapping[int, Held]) -> Remedy:
    """The SQL that takes the first step of a path away: the membership, or the account's own grant of this right."""
    subject, grant = subject_of(path.account), path.grant
    if path.path:
        role = path.path[0]
        if (path.account.pk, role.pk) not in members:
            sentence = _OF_PUBLIC if role.kind == "public" else _NO_STATEMENT
            return Remedy([], [gettext(sentence)])
        ended = revocation.take_one(subject, role=(role.name, role.host))
        return Remedy(ended.statements, [*ended.by_hand, *([gettext(_WHOLE_ROLE)] if ended.statements else [])])
    if path.because in ("owner", "ownership") or (grant and grant.privilege == "OWNER"):
        return Remedy([], [gettext(_OF_OWNER)])
    if grant is None or grant.account_id != path.account.pk:
        return Remedy([], [gettext(_NO_STATEMENT)])
    is_same = question.fits(grant.privilege) and grant.scope == question.on
    if question.privilege != ALL_POWERFUL and not is_same:
        return Remedy([], [gettext(_WIDER)])
    return revocation.take_one(subject, helds[grant.pk])


def _joined(remedies: Iterable[Remedy]) -> Remedy:
    """One remedy of all, with every statement and sentence once."""
    statements: dict[str, None] = {}
    by_hand: dict[str, None] = {}
    for one in remedies:
        statements |= dict.fromkeys(one.statements)
        by_hand |= dict.fromkeys(one.by_hand)
    return Remedy([*statements], [*by_hand])


_WHOLE_ROLE = gettext_noop("Ending a membership takes away everything that the role gives.")
_OF_PUBLIC = gettext_noop("PUBLIC has this right. Revoking it from PUBLIC takes it away from every account.")
_OF_OWNER = gettext_noop("The account owns the object or its schema, or the role that does. Change the owner.")
_WIDER = gettext_noop(
    "A wider grant or another privilege includes this right. No SQL is offered, because it would take away more."
)
_NO_STATEMENT = gettext_noop("No statement takes this right alone from the account. See the path.")
