"""What visits have seen of everything with an end date: reminders before, findings after, and proof of the end.

A fixed number of queries answers for any number of end dates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import (
    BooleanField,
    Case,
    CharField,
    DateTimeField,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.freshness import KIND, LastRead, last_reads
from accounts.models import AccountChange, Ended, Grant, Membership
from instances.models import Instance
from sync.models import SyncRecord
from work.days import local_day, midnight

from .models import EndDate

#: Days before the end on which a date is due soon.
SOON = 14

OVERDUE, UNKNOWN, DUE, UPCOMING, GONE = "overdue", "unknown", "due", "upcoming", "gone"
#: State → its name. In the order of lists.
STATES = {
    OVERDUE: _("overdue"),
    UNKNOWN: _("unknown"),
    DUE: _("due soon"),
    UPCOMING: _("upcoming"),
    GONE: _("gone"),
}


@dataclass(frozen=True)
class Dated:
    """An end date and what the visits say of it. `session` is that which no longer saw it (gone), or None if it was
    deleted. `held_since` is when uninterrupted possession began, and `seen_at` when a visit saw it last; both None if
    it is not there."""

    end: EndDate
    state: str
    detail: str
    read: LastRead
    held_since: datetime | None = None
    seen_at: datetime | None = None
    ended_at: datetime | None = None
    session: int | None = None

    @property
    def label(self) -> str:
        return str(STATES[self.state])

    @property
    def days_left(self) -> int:
        """Days until the end; negative after it."""
        return (self.end.ends_on - local_day()).days

    @property
    def days_held(self) -> int | None:
        return None if self.held_since is None else (timezone.now() - self.held_since).days


def dated(rows: QuerySet[EndDate], soon: int = SOON) -> list[Dated]:
    """Return each end date with its state, those that need attention first."""
    found = list(_with_sight(rows).select_related("account__instance", "role", "created_by"))
    instances = Instance.objects.filter(pk__in={row.account.instance_id for row in found})
    reads = {read.instance.pk: read for read in last_reads(instances)} if found else {}
    sessions = sessions_of({(row.account.instance_id, row.ended_at) for row in found if not row.held and row.ended_at})
    order = list(STATES)
    answers = [_dated(row, reads[row.account.instance_id], sessions, soon) for row in found]
    return sorted(answers, key=lambda one: (order.index(one.state), one.end.ends_on, one.end.pk))


def due_soon(rows: QuerySet[EndDate], days: int) -> list[Dated]:
    """What ends within so many days and is still there as far as is known."""
    until = local_day() + timedelta(days=days)
    near = rows.filter(ends_on__gte=local_day(), ends_on__lte=until)
    return [one for one in dated(near, days) if one.state == DUE]


def overdue(rows: QuerySet[EndDate]) -> list[Dated]:
    """What a visit has seen after its last day."""
    return [one for one in dated(rows.filter(ends_on__lt=local_day())) if one.state == OVERDUE]


def _with_sight(rows: QuerySet[EndDate]) -> QuerySet[EndDate]:
    """Each end date with held (whether the store has it now), held_from, unobserved, ended_at and ended_why."""
    membership = Membership.objects.filter(member=OuterRef("account"), role=OuterRef("role"))
    same = {name: OuterRef(name) for name in ("account", "database", "scope", "privilege", "denied")}
    grant = Grant.objects.filter(kind=OuterRef("grant_kind"), **same)
    locked = AccountChange.objects.filter(account=OuterRef("account"), events__contains=["locked"]).order_by("-at")
    of_account = Q(of=EndDate.Of.ACCOUNT)
    of_membership, of_grant = Q(of=EndDate.Of.MEMBERSHIP), Q(of=EndDate.Of.GRANT)

    def now(field: str) -> list[When]:
        return [
            When(of_membership, then=Subquery(membership.filter(until=None).values(field)[:1])),
            When(of_grant, then=Subquery(grant.filter(until=None).values(field)[:1])),
        ]

    def last(field: str) -> list[When]:
        return [
            When(of_membership, then=Subquery(membership.exclude(until=None).order_by("-until").values(field)[:1])),
            When(of_grant, then=Subquery(grant.exclude(until=None).order_by("-until").values(field)[:1])),
        ]

    is_over = Q(account__gone_at__isnull=False) | Q(account__is_locked=True)
    return rows.annotate(
        held=Case(
            When(of_account & is_over, then=Value(False)),
            When(of_account, then=Value(True)),
            When(of_membership, then=Exists(membership.filter(until=None))),
            default=Exists(grant.filter(until=None)),
            output_field=BooleanField(),
        ),
        held_from=Case(
            When(of_account, then=F("account__first_seen_at")), *now("held_since"), output_field=DateTimeField()
        ),
        unobserved=Case(
            When(of_account, then=F("account__unobserved_since")),
            *now("unobserved_since"),
            output_field=DateTimeField(),
        ),
        ended_at=Case(
            When(of_account, then=Coalesce(F("account__gone_at"), Subquery(locked.values("at")[:1]))),
            *last("until"),
            output_field=DateTimeField(),
        ),
        ended_why=Case(*last("ended"), output_field=CharField()),
    )


def sessions_of(visits: set[tuple[int, datetime]]) -> dict[tuple[int, datetime], int]:
    """Instance and beginning of an account visit → its session. Takes one query, and none for no visits."""
    if not visits:
        return {}
    instances, moments = {pk for pk, _at in visits}, {at for _pk, at in visits}
    found = SyncRecord.objects.filter(kind=KIND, instance__in=instances, started_at__in=moments)
    return {(pk, at): session for pk, at, session in found.values_list("instance", "started_at", "session")}


def _dated(row: EndDate, read: LastRead, sessions: dict[tuple[int, datetime], int], soon: int) -> Dated:
    if not row.held:
        return _not_there(row, read, sessions)
    seen_at = row.unobserved or read.read_at
    found = {"read": read, "held_since": row.held_from, "seen_at": seen_at}
    days = (row.ends_on - local_day()).days
    if days >= 0:
        return Dated(row, DUE if days <= soon else UPCOMING, "", **found)
    if seen_at is not None and seen_at >= midnight(row.ends_on + timedelta(days=1)):
        return Dated(row, OVERDUE, gettext("A visit after that day still saw it."), **found)
    return Dated(row, UNKNOWN, read.reason or gettext("No visit has looked since that day."), **found)


def _not_there(row: EndDate, read: LastRead, sessions: dict[tuple[int, datetime], int]) -> Dated:
    """Gone is what a complete read no longer saw, if nothing has hidden it since."""
    kinds = {EndDate.Of.ACCOUNT: "accounts", EndDate.Of.MEMBERSHIP: "memberships"}
    missing = read.missing([kinds.get(row.of, row.grant_kind)], row.database)
    session = sessions.get((row.account.instance_id, row.ended_at)) if row.ended_at else None
    found = {"read": read, "ended_at": row.ended_at, "session": session}
    if reason := read.reason or missing:
        return Dated(row, UNKNOWN, reason, **found)
    if row.ended_at is None or row.ended_why == Ended.UNRECORDED:
        return Dated(row, UNKNOWN, gettext("No visit has recorded how it ended."), **found)
    is_locked = row.of == EndDate.Of.ACCOUNT and row.account.gone_at is None
    return Dated(row, GONE, gettext("The account is locked.") if is_locked else "", **found)
