"""Everything that people who leave have on all instances, SQL to take it away, and proof of what is gone.

A fixed number of queries answers for any number of people.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Exists, OuterRef, Subquery
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from access.revoking import take_away
from accounts.freshness import LastRead, last_reads
from accounts.models import Account, AccountChange, Grant, Membership
from console.visibility import shown_to
from instances.models import Instance

from .end_dates import sessions_of
from .models import Person
from .people import People

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PRESENT, LOCKED, GONE, UNKNOWN = "present", "locked", "gone", "unknown"
STATES = {PRESENT: _("present"), LOCKED: _("locked"), GONE: _("gone"), UNKNOWN: _("unknown")}
#: How an account was found → the words for it.
WAYS = {"owner": _("owner"), "name": _("by name")}


@dataclass(frozen=True)
class LeaverAccount:
    """An account of somebody who leaves. `session` is that which saw it gone or locked first. Without a current read
    its state is unknown, and `reason` says why. `objects` are those that it owns, `roles` those that only accounts of
    this answer hold."""

    account: Account
    leaver: str
    person: Person | None
    way: str
    state: str
    reason: str
    ended_at: datetime | None
    session: int | None
    objects: Sequence[str]
    roles: Sequence[str]
    statements: Sequence[str]
    by_hand: Sequence[str]

    @property
    def label(self) -> str:
        return str(STATES[self.state])

    @property
    def way_label(self) -> str:
        return str(WAYS[self.way])


@dataclass(frozen=True)
class Leavers:
    """The accounts, the names that are of no person and no account, and the instances without a current read."""

    rows: list[LeaverAccount]
    nameless: list[str]
    unknown: list[LastRead]

    @property
    def is_unknown(self) -> bool:
        return bool(self.unknown or any(row.state == UNKNOWN for row in self.rows))


def leavers(names: Collection[str], user: User | None = None) -> Leavers:
    """Answer for people by external id or mail, and for names of accounts. Raises ValueError for a mail of several
    people."""
    names = list(dict.fromkeys(filter(None, (name.strip() for name in names))))
    people = _people(names)
    found = _accounts(names, people, user)
    ids = [account.pk for account, *_rest in found]
    reads = {read.instance.pk: read for read in last_reads(shown_to(Instance.objects.all(), user))}
    ended = {(account.instance_id, at) for account, *_rest in found if (at := _ended_at(account))}
    more = _objects(ids), _sole_roles(ids), take_away([account for account, *_rest in found]), sessions_of(ended)
    rows = [_row(*one, reads[one[0].instance_id], *more) for one in found]
    with_account = {row.leaver for row in rows}
    nameless = [name for name in names if name not in with_account and name not in people]
    unknown = [read for read in reads.values() if read.is_stale and not read.retired_at]
    return Leavers(rows, nameless, unknown)


def _people(names: Sequence[str]) -> dict[str, Person]:
    known = People(names)
    return {name: person for name in names if (person := known.find(name))}


def _accounts(
    names: Sequence[str], people: dict[str, Person], user: User | None
) -> list[tuple[Account, str, Person | None, str]]:
    """Accounts with the name they answer to, the person, and the way they were found: by owner first."""
    seen = shown_to(Account.objects.with_counts(), user).select_related("instance", "ownership__owner")
    locked = AccountChange.objects.filter(account=OuterRef("pk"), events__contains=["locked"]).order_by("-at")
    seen = seen.annotate(low=Lower("name"), locked_at=Subquery(locked.values("at")[:1]))
    seen = seen.order_by("instance__name", "name", "host", "pk")
    asked_by = {person.pk: name for name, person in people.items()}
    called: dict[str, list[str]] = defaultdict(list)
    for name in names:
        person = people.get(name)
        keys = {name, person.external_id, person.mail, person.mail.partition("@")[0]} if person else {name}
        for key in filter(None, keys):
            called[key.lower()].append(name)
    found = [
        (account, name := asked_by[account.ownership.owner_id], people[name], "owner")
        for account in seen.filter(ownership__owner__in=asked_by)
    ]
    owned = {account.pk for account, *_rest in found}
    for account in seen.filter(low__in=called, is_system=False).exclude(pk__in=owned):
        found += [(account, name, people.get(name), "name") for name in called[account.low]]
    return found


def _ended_at(account: Any) -> datetime | None:
    return account.gone_at or (account.locked_at if account.is_locked else None)


def _objects(ids: Collection[int]) -> dict[int, list[str]]:
    rows = Grant.objects.filter(account__in=ids, until=None, privilege="OWNER").order_by("kind", "scope")
    found: dict[int, list[str]] = defaultdict(list)
    for account, kind, scope in rows.values_list("account", "kind", "scope"):
        found[account].append(f"{kind} {scope}")
    return found


def _sole_roles(ids: Collection[int]) -> dict[int, list[str]]:
    """Account → roles that none but accounts of this answer is in."""
    others = Membership.objects.filter(role=OuterRef("role"), until=None).exclude(member__in=ids)
    rows = Membership.objects.filter(~Exists(others), member__in=ids, until=None).select_related("role")
    found: dict[int, list[str]] = defaultdict(list)
    for row in rows.order_by("role__name"):
        found[row.member_id].append(str(row.role))
    return found


def _row(
    account: Account,
    leaver: str,
    person: Person | None,
    way: str,
    read: LastRead,
    objects: dict[int, list[str]],
    roles: dict[int, list[str]],
    remedies: dict[int, dict[str, Any]],
    sessions: dict[tuple[int, datetime], int],
) -> LeaverAccount:
    ended_at = _ended_at(account)
    state = GONE if account.gone_at else LOCKED if account.is_locked else PRESENT
    reason = read.reason or ("" if account.gone_at else read.missing(["accounts"]))
    remedy = remedies.get(account.pk, {})
    return LeaverAccount(
        account=account,
        leaver=leaver,
        person=person,
        way=way,
        state=UNKNOWN if reason else state,
        reason=reason,
        ended_at=ended_at,
        session=sessions.get((account.instance_id, ended_at)) if ended_at else None,
        objects=objects.get(account.pk, []),
        roles=roles.get(account.pk, []),
        statements=remedy.get("statements", []),
        by_hand=[*remedy.get("by_hand", []), *([_CUT] if remedy.get("is_cut") else [])],
    )


_CUT = "The account has more grants. See its page."
