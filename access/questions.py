"""Compute access from the store: what an account may do and who may do something, now or at a past moment.

Answers use intervals only, so they cover any moment since the first visit. They name the instances where the answer is
unknown because visits did not read what it depends on.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import TYPE_CHECKING

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext

from accounts.evidence import Evidence, Link
from accounts.freshness import LastRead, last_read, last_reads
from accounts.models import Account, Coverage, Grant
from console.visibility import shown_to
from engines.paths import segments
from engines.registry import ENGINES
from instances.models import Instance

from .holding import Holders, Question, edges, without_inheritance, without_last_step
from .ways import Edge, Graph, Way

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True)
class Effective:
    """What an account may do: `grants` are its own, those of its roles and of PUBLIC; `way(grant)` is the path to one.

    `read` is the last read that the answer is based on.
    """

    account: Account
    at: datetime
    grants: QuerySet[Grant]
    read: LastRead
    ways: Mapping[int, Way]
    owners: Mapping[str, Grant]
    noinherit: Set[int]

    @property
    def coverage(self) -> LastRead | None:
        """The read at that moment, or None before the first visit."""
        return self.read if self.read.is_visited else None

    def way(self, grant: Grant) -> Way:
        """Return the path from the account to one of `grants`."""
        if grant.account_id in self.ways:
            return self.ways[grant.account_id]
        owner = self.owners[grant.database].account_id
        to_owner = self.ways[owner]
        if owner in self.noinherit:
            to_owner = without_last_step(to_owner)
        return replace(to_owner, path=(*to_owner.path, grant.account_id), switchable=False)

    def at_once(self, grant: Grant) -> bool:
        """Return whether one of `grants` applies without SET ROLE."""
        personal = grant.kind in ENGINES[self.account.instance.engine].semantics.personal
        return self.way(grant).at_once and not (personal and grant.account_id != self.account.pk)

    def links(self, grants: Sequence[Grant], names: Mapping[int, str]) -> dict[int, list[Link]]:
        """Return id of each of these `grants` → the links of the path to it, itself last. `names` is what `names()`
        returned. Takes one query."""
        chains = []
        for grant in grants:
            owner = [] if grant.account_id in self.ways else [self.owners[grant.database]]
            chains.append((self.account.instance_id, [*self.way(grant).links, *owner, grant]))
        links = _links(chains, names)
        return {grant.pk: links[number] for number, grant in enumerate(grants)}

    def names(self) -> dict[int, str]:
        """Return account id → name, for all accounts on the paths."""
        ids = {pk for way in self.ways.values() for pk in way.path} | {*self.ways}
        roles = Account.objects.filter(
            Q(pk__in=ids) | Q(instance=self.account.instance_id, kind="role", name__in=_STAND_INS)
        )
        return {role.pk: str(role) for role in roles}


@dataclass(frozen=True)
class Access:
    """`account` has the privilege by `grant`, which it holds itself or through the roles of `path`, the holder last.

    `because` is "grant", "superuser" (the grant allows everything), "predefined" (a role with built-in privileges, no
    grant) or "owner" (of the object's schema, no grant). If not `at_once`, the account must first switch to one of the
    roles. `links` are the memberships of the path and the grant.
    """

    account: Account
    path: tuple[Account, ...]
    because: str
    grant: Grant | None
    at_once: bool
    links: list[Link]

    @property
    def since(self) -> datetime | None:
        """When the newest possession on the path began; changes of options do not interrupt it."""
        return max((link.since for link in self.links), default=None)

    @property
    def session(self) -> int | None:
        """The session that first saw the grant."""
        return self.links[-1].first_session if self.grant else None


@dataclass(frozen=True)
class Answer:
    """The known accesses, and the instances where the answer is unknown or incomplete: instance → reason.

    `reads` is the basis of the answer: instance id → its last read, for every instance of the question. `taken_away`
    are rights on a built-in object that the engine ships with and that an account, or PUBLIC, no longer has.
    """

    at: datetime
    rows: list[Access]
    unknown: dict[Instance, str]
    reads: dict[int, LastRead]
    taken_away: list[Grant]


_STAND_INS = {engine.semantics.database_role for engine in ENGINES.values()} - {""}


def effective(account: Account, at: datetime | None = None) -> Effective:
    """Return what the account may do at a moment (default: now), by its own grants, through roles and through PUBLIC.

    Raises ValueError for a future moment.
    """
    at = _moment(at)
    semantics = ENGINES[account.instance.engine].semantics
    ways = {
        pk: way for pk, way in Graph(edges([account.pk], at, up=True)).from_member(account.pk).items() if way.is_open
    }
    everyone = Account.objects.filter(instance=account.instance_id, kind=Account.Kind.PUBLIC)
    if semantics.host_is_database:
        everyone = everyone.filter(host=account.host)
    for pk in everyone.values_list("pk", flat=True):
        ways.setdefault(pk, Way(path=(pk,), switchable=False))
    switchable = [pk for pk, way in ways.items() if way.switchable]
    held = Q(account__in=list(ways)) & (~Q(kind__in=semantics.personal) | Q(account__in=switchable))
    owners: dict[str, Grant] = {}
    if semantics.database_role:
        owned = Grant.objects.at(at).filter(account__in=list(ways), kind="database", privilege="OWNER")
        owners = {grant.database: grant for grant in owned.order_by()}
        held |= Q(
            account__instance=account.instance_id, account__name=semantics.database_role, database__in=list(owners)
        )
    return Effective(
        account=account,
        at=at,
        grants=Grant.objects.at(at).filter(held).select_related("account"),
        read=last_read(account.instance, at),
        ways=ways,
        owners=owners,
        noinherit=without_inheritance({owner.account_id for owner in owners.values()}, at),
    )


def who_can(
    privilege: str,
    scope: str = "",
    *,
    kind: str = "",
    at: datetime | None = None,
    instances: QuerySet[Instance] | None = None,
    user: User | None = None,
) -> Answer:
    """Return the accounts with a privilege on an object at a moment (default: now), by any path.

    `scope` is the object's path as grants show it ("shop.public.orders"; "" for the whole instance). `kind` is one of
    GRANT_KINDS, for a path that several kinds can have. The answer is limited to what `user` may see. Retired instances
    are unknown and have no rows. A privilege of PUBLIC is one row, for PUBLIC. Raises ValueError for an invalid path,
    an unknown privilege, or a future moment.
    """
    at = _moment(at)
    privilege = privilege.strip().upper()
    question = Question(privilege, segments(scope.strip()), kind)
    selected = Instance.objects.all() if instances is None else instances
    selected = shown_to(selected.filter(engine__in=question.scopes), user)
    instances = selected.active()
    grants = shown_to(Grant.objects.all(), user)
    holders = Holders(question, instances, at)
    ways = holders.ways()
    if (
        all(way.because == "superuser" for way in ways)
        and not question.is_possible
        and not grants.filter(privilege=privilege).exists()
        # Skip the spelling check if none of the instances has been visited.
        and (Coverage.objects.filter(instance__in=instances).exists() or not instances.exists())
    ):
        raise ValueError(_unknown_privilege(privilege, grants))
    ids = {pk for way in ways for pk in (way.account, *way.path)}
    accounts = Account.objects.select_related("instance").in_bulk(ids)
    names = {pk: str(account) for pk, account in accounts.items()}
    links = _links(
        ((accounts[way.account].instance_id, [*way.links, *filter(None, (way.owner, way.grant))]) for way in ways),
        names,
    )
    rows = [
        Access(
            account=accounts[way.account],
            path=tuple(accounts[pk] for pk in way.path),
            because=way.because,
            grant=way.grant,
            at_once=way.at_once,
            links=chain,
        )
        for way, chain in zip(ways, links, strict=True)
    ]
    rows.sort(key=lambda row: (row.account.instance.name, row.account.name, row.account.host, len(row.path)))
    reads = last_reads(selected, at)
    return Answer(at, rows, _unknown(question, reads), {read.instance.pk: read for read in reads}, holders.taken_away())


def parse_moment(text: str) -> datetime | None:
    """Parse a moment ("2026-05-03 14:00") or a day (its end; for today, now) in TAIFISH_TIME_ZONE; None for "".

    Raises ValueError.
    """
    text = text.strip()
    if not text:
        return None
    try:
        moment, day = parse_datetime(text), parse_date(text)
    except ValueError:
        moment = day = None
    if day:
        moment = datetime.combine(day, time.max)
        if day == timezone.localdate():
            return timezone.now()
    if moment is None:
        raise ValueError(gettext("%r is neither a day (2026-05-03) nor a moment (2026-05-03 14:00).") % text)
    return aware(moment)


def aware(moment: datetime) -> datetime:
    """Convert a moment to TAIFISH_TIME_ZONE: ISO 8601 allows offsets of 16 hours or more, the store does not.

    Raises ValueError.
    """
    try:
        return timezone.localtime(moment) if timezone.is_aware(moment) else timezone.make_aware(moment)
    except OverflowError:
        raise ValueError(gettext("“%s” is not a time.") % moment.isoformat()) from None


def _moment(at: datetime | None) -> datetime:
    now = timezone.now()
    if at and at > now:
        raise ValueError(gettext("%s is in the future.") % at.isoformat())
    return at or now


def _links(chains: Iterable[tuple[int, Sequence[Edge | Grant]]], names: Mapping[int, str]) -> list[list[Link]]:
    """Return the links of each path, given as its instance and its memberships and grants. Takes one query."""
    chains = list(chains)
    evidence = Evidence((instance, row) for instance, rows in chains for row in rows)
    # Paths have memberships in common.
    made: dict[tuple[type, int], Link] = {}
    for instance, rows in chains:
        for row in rows:
            if (type(row), row.pk) not in made:
                made[type(row), row.pk] = evidence.link(instance, row, _text(row, names))
    return [[made[type(row), row.pk] for row in rows] for _instance, rows in chains]


def _text(row: Edge | Grant, names: Mapping[int, str]) -> str:
    if isinstance(row, Grant):
        return str(row)
    return gettext("%(member)s in %(role)s") % {"member": names[row.member], "role": names[row.role]}


def _unknown(question: Question, reads: Iterable[LastRead]) -> dict[Instance, str]:
    """Return the instances with a stale read, or a read without what the answer depends on → reason."""
    unknown = {}
    for read in reads:
        needed = question.needed(read.instance.engine)
        reasons = [read.reason] if read.is_stale else []
        if beyond := sorted(needed.intersection(read.beyond)):
            reasons.append(
                gettext("read depth %(level)s leaves out: %(kinds)s")
                % {"level": read.level, "kinds": ", ".join(beyond)}
            )
        elif gaps := [gap["message"] for gap in read.gaps if _touches(gap, needed, question.database)]:
            reasons.append(gaps[0])
        if read.instance.engine in question.built_in:
            reasons.append(gettext("on built-in objects, the rights that the engine ships with are not recorded"))
        if reasons:
            unknown[read.instance] = "; ".join(reasons)
    return unknown


def _touches(gap: Mapping[str, str], needed: Collection[str], database: str) -> bool:
    return gap["scope"] in {*needed, "accounts"} and gap["database"] in ("", database)


def _unknown_privilege(privilege: str, grants: QuerySet[Grant]) -> str:
    known = grants.order_by().values_list("privilege", flat=True).distinct()
    close = difflib.get_close_matches(privilege, known, n=3, cutoff=0.5)
    text = gettext("No visit has ever seen a privilege %r.") % privilege
    return text + gettext(" Did you mean %s?") % gettext(" or ").join(close) if close else text
