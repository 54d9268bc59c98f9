"""Which visits saw a grant or membership first and last: the evidence for each link of an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from django.db.models import BooleanField, Case, DateTimeField, F, OuterRef, QuerySet, Subquery, Value, When
from django.utils import timezone
from django.utils.translation import gettext

from engines.statements import printable
from sync.models import SyncRecord

from .freshness import KIND, moment
from .models import Coverage, Grant


class Possession(Protocol):
    """A grant, a membership, or an edge made of one."""

    pk: int
    grantors: list[str] | None
    held_since: datetime
    until: datetime | None
    unobserved_since: datetime | None


@dataclass(frozen=True)
class Link:
    """A grant or membership on a path. Held since `since`, when the visit of `first_session` saw it first. The visit of
    `last_session`, which began at `last_seen_at`, saw it last. Each is None if no longer kept. `grantors` are None if
    not recorded yet, and empty if the engine names none.
    """

    kind: str
    pk: int
    text: str
    grantors: list[str] | None
    since: datetime
    first_session: int | None
    last_seen_at: datetime | None
    last_session: int | None

    @property
    def words(self) -> str:
        """The link in one line of plain text: "bob in readers; since …, session 1; last seen …, session 9"."""
        parts = [printable(self.text), _visit(gettext("since %s"), self.since, self.first_session)]
        if self.last_seen_at:
            parts.append(_visit(gettext("last seen %s"), self.last_seen_at, self.last_session))
        if self.grantors:
            parts.append(gettext("granted by %s") % granted_by(self.grantors))
        return "; ".join(parts)


def granted_by(grantors: list[str] | None) -> str:
    """The names in one line of plain text."""
    return ", ".join(map(printable, grantors or ()))


def _visit(words: str, at: datetime, session: int | None) -> str:
    text = words % moment(at)
    return gettext("%(visit)s (session %(session)d)") % {"visit": text, "session": session} if session else text


class Evidence:
    """The visits that saw these rows, given as (instance id, row). Takes one query, none without rows."""

    def __init__(self, rows: Iterable[tuple[int, Possession]]) -> None:
        began, ended = set(), set()
        instances = set()
        for instance, row in rows:
            instances.add(instance)
            began.add(row.held_since)
            if row.unobserved_since:
                began.add(row.unobserved_since)
            elif row.until:
                ended.add(row.until)
        self._visits = {
            (instance, at, is_end): (seen_at, session)
            for instance, at, is_end, seen_at, session in (_visits(instances, began, ended) if instances else ())
        }

    def link(self, instance: int, row: Possession, text: str) -> Link:
        """`text` names the row for people."""
        seen = row.unobserved_since
        last_at, last_session = (
            (seen, self._session(instance, seen))
            if seen
            else self._visits.get((instance, row.until or _NOW, row.until is not None), (None, None))
        )
        first = self._session(instance, row.held_since)
        return Link(
            "grant" if isinstance(row, Grant) else "membership",
            row.pk,
            text,
            row.grantors,
            row.held_since,
            first,
            last_at,
            last_session,
        )

    def _session(self, instance: int, at: datetime) -> int | None:
        return self._visits.get((instance, at, False), (None, None))[1]


#: Stands for the last visit: rows that hold were seen by it.
_NOW = datetime.max.replace(tzinfo=timezone.get_default_timezone())


def _visits(instances: set[int], began: set[datetime], ended: set[datetime]) -> QuerySet:
    """Return (instance, moment, whether a row ended then, start of the visit that last saw it, its session)."""
    done = SyncRecord.objects.filter(kind=KIND, status__in=SyncRecord.DONE)
    of_instance = done.filter(instance=OuterRef("instance"))
    no, yes = (Value(value, BooleanField()) for value in (False, True))
    columns = ("instance_id", "moment", "is_end", "seen_at", "of_session")
    at_moment = done.filter(instance__in=instances, started_at__in=began)
    found = at_moment.annotate(moment=F("started_at"), is_end=no, seen_at=F("started_at"), of_session=F("session"))
    # The newest visit up to the read is the read itself, or its record was deleted.
    session = Case(When(started_at=OuterRef("read_at"), then="session"))
    read = of_instance.filter(started_at__lte=OuterRef("read_at")).order_by("-pk").values(its_own=session)[:1]
    now = Coverage.objects.filter(instance__in=instances, until=None).annotate(
        moment=Value(_NOW, DateTimeField()), is_end=no, seen_at=F("read_at"), of_session=Subquery(read)
    )
    rows = [now.values_list(*columns)]
    if ended:
        before = of_instance.filter(pk__lt=OuterRef("pk")).order_by("-pk")
        rows.append(
            done.filter(instance__in=instances, started_at__in=ended)
            .annotate(
                moment=F("started_at"),
                is_end=yes,
                seen_at=Subquery(before.values("started_at")[:1]),
                of_session=Subquery(before.values("session")[:1]),
            )
            .values_list(*columns)
        )
    return found.order_by().values_list(*columns).union(*(one.order_by() for one in rows), all=True)
