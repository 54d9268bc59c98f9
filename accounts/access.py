"""Questions to what is stored: what may an account do, who may do this, now or at a moment in the past.

Answers come from intervals alone, so that any moment since the first visit can be asked about, and say what they do
not know: instances whose visits did not read what the question is about.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import TYPE_CHECKING

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext

from console.visibility import shown_to
from engines.paths import segments
from engines.registry import ENGINES
from instances.models import Instance
from sync.models import SyncRecord

from .freshness import LastRead, last_read, last_reads
from .holders import Holders, Question, edges, without_inheritance, without_last_step
from .models import Account, Coverage, Grant
from .paths import Graph, Way

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True)
class Effective:
    """What an account may do: `grants` are those of itself, of its roles and of PUBLIC, and `way(grant)` leads there.

    `read` is what the answer stands on.
    """

    account: Account
    at: datetime
    grants: QuerySet[Grant]
    read: LastRead
    ways: Mapping[int, Way]
    owners: Mapping[str, int]
    stingy: Set[int]

    @property
    def coverage(self) -> LastRead | None:
        """What visits read at that moment, None when there had been none yet."""
        return self.read if self.read.is_visited else None

    def way(self, grant: Grant) -> Way:
        """How the account comes by a grant out of `grants`."""
        if grant.account_id in self.ways:
            return self.ways[grant.account_id]
        owner = self.owners[grant.database]
        to_owner = self.ways[owner]
        if owner in self.stingy:
            to_owner = without_last_step(to_owner)
        return replace(to_owner, path=(*to_owner.path, grant.account_id), switchable=False)

    def at_once(self, grant: Grant) -> bool:
        """Whether a grant out of `grants` applies without switching to a role first."""
        personal = grant.kind in ENGINES[self.account.instance.engine].semantics.personal
        return self.way(grant).at_once and not (personal and grant.account_id != self.account.pk)

    def names(self) -> dict[int, str]:
        """Account id → name, of everybody on the ways."""
        ids = {pk for way in self.ways.values() for pk in way.path} | {*self.ways}
        roles = Account.objects.filter(
            Q(pk__in=ids) | Q(instance=self.account.instance_id, kind="role", name__in=_STAND_INS)
        )
        return {role.pk: str(role) for role in roles}


@dataclass(frozen=True)
class Access:
    """`account` may do it by `grant`, which it holds itself or through the roles of `path`, the holder last.

    `because` is "grant", "superuser" (who holds that grant may do all), "predefined" (a role that may by its nature,
    without a grant) or "owner" (of the schema that the object is in, without a grant too). `at_once`, or only after
    switching to one of the roles. `since` is when the last piece of it, grant or membership, was first seen, and
    `session` the one that saw the grant.
    """

    account: Account
    path: tuple[Account, ...]
    because: str
    grant: Grant | None
    at_once: bool
    since: datetime | None
    session: int | None = None


@dataclass(frozen=True)
class Answer:
    """Who may, as far as it is known, and the instances where it is not, or not wholly: instance → why.

    `reads` is what the answer stands on: instance id → its last read, for every instance asked about.
    """

    at: datetime
    rows: list[Access]
    unknown: dict[Instance, str]
    reads: dict[int, LastRead]


_STAND_INS = {engine.semantics.database_role for engine in ENGINES.values()} - {""}


def effective(account: Account, at: datetime | None = None) -> Effective:
    """Everything the account may do at a moment (default: now), by its own grants, through roles, and as anybody.

    Raises ValueError for a moment to come.
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
    owners: dict[str, int] = {}
    if semantics.database_role:
        owned = Grant.objects.at(at).filter(account__in=list(ways), kind="database", privilege="OWNER")
        owners = dict(owned.order_by().values_list("database", "account"))
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
        stingy=without_inheritance(owners.values(), at),
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
    """Who holds a privilege on an object at a moment (default: now), by whatever way.

    `scope` is the object's path as grants show it ("shop.public.orders"; "" for the instance as a whole) and `kind`
    one of GRANT_KINDS, for a path that several kinds could have. `user` is who asks: what they do not see is not in the
    answer. Retired instances have no rows, and are unknown. What PUBLIC holds is one row, PUBLIC's own. Raises
    ValueError for a path that cannot be read, a privilege nobody ever held, or a moment to come.
    """
    at = _moment(at)
    privilege = privilege.strip().upper()
    question = Question(privilege, segments(scope.strip()), kind)
    asked = Instance.objects.all() if instances is None else instances
    asked = shown_to(asked.filter(engine__in=question.scopes), user)
    instances = asked.active()
    grants = shown_to(Grant.objects.all(), user)
    ways = Holders(question, instances, at).ways()
    if (
        all(way.because == "superuser" for way in ways)
        and not grants.filter(privilege=privilege).exists()
        # Of instances that nobody has visited nothing is known, whatever the word.
        and (Coverage.objects.filter(instance__in=instances).exists() or not instances.exists())
    ):
        raise ValueError(_unheard_of(privilege, grants))
    everybody = {pk for way in ways for pk in (way.account, *way.path)}
    accounts = Account.objects.select_related("instance").in_bulk(everybody)
    seen_by = _sessions(way.grant for way in ways if way.grant)
    rows = [
        Access(
            account=accounts[way.account],
            path=tuple(accounts[pk] for pk in way.path),
            because=way.because,
            grant=way.grant,
            at_once=way.at_once,
            since=way.since,
            session=seen_by.get((accounts[way.account].instance_id, way.grant.since)) if way.grant else None,
        )
        for way in ways
    ]
    rows.sort(key=lambda row: (row.account.instance.name, row.account.name, row.account.host, len(row.path)))
    reads = last_reads(asked, at)
    return Answer(at, rows, _unknown(question, reads), {read.instance.pk: read for read in reads})


def parse_moment(text: str) -> datetime | None:
    """A moment ("2026-05-03 14:00") or a day (its end; now, if it is today) in TAIFISH_TIME_ZONE; None for "".

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
    """The moment in TAIFISH_TIME_ZONE: the store knows no offset of 16 hours or more, which ISO 8601 does.

    Raises ValueError.
    """
    try:
        return timezone.localtime(moment) if timezone.is_aware(moment) else timezone.make_aware(moment)
    except OverflowError:
        raise ValueError(gettext("“%s” is not a time.") % moment.isoformat()) from None


def _moment(at: datetime | None) -> datetime:
    now = timezone.now()
    if at and at > now:
        raise ValueError(gettext("%s is still to come.") % at.isoformat())
    return at or now


def _sessions(grants: Iterable[Grant]) -> dict[tuple[int, datetime], int]:
    """(instance id, time of a visit) → its session."""
    times: dict[int, set[datetime]] = defaultdict(set)
    for grant in grants:
        times[grant.account.instance_id].add(grant.since)
    records = SyncRecord.objects.filter(
        kind="accounts",
        instance__in=list(times),
        started_at__in=list(set().union(*times.values())),
        status__in=SyncRecord.DONE,
    )
    rows = records.values_list("instance_id", "started_at", "session_id")
    return {(instance, started_at): session for instance, started_at, session in rows}


def _unknown(question: Question, reads: Iterable[LastRead]) -> dict[Instance, str]:
    """The instances that were not read lately, or whose last read lacks what the answer depends on."""
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
        if reasons:
            unknown[read.instance] = "; ".join(reasons)
    return unknown


def _touches(gap: Mapping[str, str], needed: Collection[str], database: str) -> bool:
    return gap["scope"] in {*needed, "accounts"} and gap["database"] in ("", database)


def _unheard_of(privilege: str, grants: QuerySet[Grant]) -> str:
    known = grants.order_by().values_list("privilege", flat=True).distinct()
    close = difflib.get_close_matches(privilege, known, n=3, cutoff=0.5)
    told = gettext("No visit has ever seen a privilege %r.") % privilege
    return told + gettext(" Did you mean %s?") % gettext(" or ").join(close) if close else told
