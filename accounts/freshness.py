"""How current the stored facts about instances are: the basis of every answer about accounts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.timesince import TIME_STRINGS
from django.utils.translation import gettext, ngettext

from instances.models import Instance
from sync.lateness import SCHEDULES, longest_gap

KIND = "accounts"
TASK = "accounts.sync"


@dataclass(frozen=True)
class LastRead:
    """The last account visit that read `instance` by the moment `at`, and the failures since.

    `level`, `covered`, `beyond`, `gaps`, `unread`, `since` and `until` are those of its `Coverage`. `read_at` is None
    if no visit had read the instance. `session` is None if the session was deleted. `failures` counts failed visits in
    a row; `failed_at` and `error_code` are those of the last one, and empty if none has failed since the read.
    """

    instance: Instance
    at: datetime
    level: str
    covered: list[str]
    beyond: list[str]
    gaps: list[dict[str, str]]
    unread: list[str]
    since: datetime | None
    read_at: datetime | None
    until: datetime | None
    session: int | None
    failures: int
    failed_at: datetime | None
    error_code: str
    paused_at: datetime | None
    retired_at: datetime | None
    #: The age above which the read is stale.
    limit: timedelta

    @property
    def is_visited(self) -> bool:
        return self.read_at is not None

    @property
    def gap_messages(self) -> list[str]:
        """The messages of the gaps, each once."""
        return list(dict.fromkeys(gap["message"] for gap in self.gaps))

    @property
    def is_overdue(self) -> bool:
        return self.read_at is not None and self.at - self.read_at > self.limit

    @property
    def is_stale(self) -> bool:
        """Whether the facts may be outdated at the moment."""
        return bool(not self.is_visited or self.is_overdue or self.failed_at or self.paused_at or self.retired_at)

    @property
    def reason(self) -> str:
        """Why the read is stale, or "": "last read 2026-11-20 03:00 UTC (7 days ago); 3 visits failed since"."""
        return reason_of(self.staleness) if self.is_stale else ""

    def missing(self, kinds: Collection[str], database: str = "") -> str:
        """Return why the read does not have all facts of these kinds, in this database if they are in one; "" if it
        has."""
        if left_out := self.left_out(kinds):
            return left_out
        gaps = (gap for gap in self.gaps if gap["scope"] in {*kinds, "accounts"} and gap["database"] in ("", database))
        return next((gap["message"] for gap in gaps), "")

    def left_out(self, kinds: Collection[str]) -> str:
        """Return which of these kinds the read depth leaves out, in words; "" if none."""
        beyond = sorted({*kinds}.intersection(self.beyond))
        if not beyond:
            return ""
        words = gettext("read depth %(level)s leaves out: %(kinds)s")
        return words % {"level": self.level, "kinds": ", ".join(beyond)}

    @property
    def staleness(self) -> dict[str, Any]:
        """What the reason is made of, for JSON. Durations are in minutes."""
        state: dict[str, Any] = {}
        if self.read_at:
            state |= {"read": moment(self.read_at), "age": _minutes(self.at - self.read_at)}
            state["is_now"] = timezone.now() - self.at < timedelta(minutes=1)
        if self.failed_at:
            # Resuming a paused instance resets the count.
            state |= {"failures": self.failures, "code": self.error_code or "?"}
        elif self.is_overdue:
            state["limit"] = _minutes(self.limit)
        if self.paused_at:
            state["paused"] = moment(self.paused_at)
        if self.retired_at:
            state["retired"] = moment(self.retired_at)
        return state


def reason_of(state: Mapping[str, Any]) -> str:
    """`LastRead.reason`, from its `staleness`."""
    parts = [_read(state) if "read" in state else gettext("not visited by then")]
    if "code" in state:
        parts.append(_failed(state))
    elif "limit" in state:
        parts.append(gettext("no visit since; the limit is %s") % _span(state["limit"]))
    if "paused" in state:
        parts.append(gettext("visits are paused since %s") % state["paused"])
    if "retired" in state:
        parts.append(gettext("retired %s") % state["retired"])
    return "; ".join(parts)


def _read(state: Mapping[str, Any]) -> str:
    words = {"moment": state["read"], "age": _span(state["age"])}
    if state["is_now"]:
        return gettext("last read %(moment)s (%(age)s ago)") % words
    return gettext("last read %(moment)s (%(age)s before)") % words


def _failed(state: Mapping[str, Any]) -> str:
    if "read" not in state:
        return gettext("visits failed (%s)") % state["code"]
    if not state["failures"]:
        return gettext("visits failed since (%s)") % state["code"]
    words = ngettext(
        "%(count)d visit failed since (%(code)s)", "%(count)d visits failed since (%(code)s)", state["failures"]
    )
    return words % {"count": state["failures"], "code": state["code"]}


def last_reads(
    instances: QuerySet[Instance], at: datetime | None = None, *, only_stale: bool = False
) -> list[LastRead]:
    """Return the last read of each instance at a moment (default: now), by name. Takes one query.

    Only name, engine and retirement of the instances are loaded. With `only_stale`, those that are not stale are left
    out, and `session` is None.
    """
    at = at or timezone.now()
    try:
        chosen, values = Instance.objects.filter(pk__in=instances).values("pk").query.sql_with_params()
    except EmptyResultSet:
        return []
    sql = _READS.format(instances=chosen, stale=_MAY_BE_STALE if only_stale else "")
    limit = timedelta(hours=settings.TAIFISH_STALE_AFTER)
    with connection.cursor() as cursor:
        cursor.execute(sql, [only_stale, TASK, at, at, *values, *([at - limit] if only_stale else [])])
        rows = cursor.fetchall()
    if not rows:
        return []
    # The same in each row.
    limit = max(limit, 1.5 * longest_gap(json.loads(rows[0][-1])))
    reads = [_last_read(row, at, limit) for row in rows]
    return [read for read in reads if read.is_stale] if only_stale else reads


#: The newest visit up to the read is the read itself, or its record was deleted: no other needs checking. Without a
#: read, all visits of the instance would be searched.
_READS = f"""
SELECT i.id, i.name, i.engine, i.retired_at,
       c.level, c.covered, c.beyond, c.gaps, c.unread, c.since, c.read_at, c.until,
       h.failures, h.succeeded_at, h.failed_at, h.error_code, h.paused_at,
       CASE WHEN c.read_at IS NOT NULL AND NOT %s THEN (
           SELECT CASE WHEN v.started_at = c.read_at THEN v.session_id END FROM sync_syncrecord v
            WHERE v.kind = '{KIND}' AND v.instance_id = i.id AND v.started_at <= c.read_at
              AND v.status IN ('completed', 'partial') ORDER BY v.id DESC LIMIT 1) END,
       {SCHEDULES}
  FROM instances_instance i
  LEFT JOIN accounts_coverage c ON c.instance_id = i.id AND c.since <= %s AND (c.until IS NULL OR c.until > %s)
  LEFT JOIN sync_visithealth h ON h.instance_id = i.id AND h.kind = '{KIND}'
 WHERE i.id IN ({{instances}}){{stale}}
 ORDER BY i.name
"""  # noqa: S608 -- constants

#: True of every instance with a stale read, and false of most others, which need not be loaded. `LastRead.is_stale`
#: decides.
_MAY_BE_STALE = """
   AND (c.read_at IS NULL OR c.read_at < %s OR h.failed_at > c.read_at OR h.paused_at IS NOT NULL
        OR i.retired_at IS NOT NULL)"""


def last_read(instance: Instance, at: datetime | None = None) -> LastRead:
    """Return the last read of one instance."""
    return last_reads(Instance.objects.filter(pk=instance.pk), at)[0]


def stale_reads(instances: QuerySet[Instance], at: datetime | None = None) -> list[LastRead]:
    """Return the stale reads at the moment, without their sessions. Takes one query."""
    return last_reads(instances, at, only_stale=True)


def unknown_instances(instances: QuerySet[Instance], at: datetime | None = None) -> dict[Instance, str]:
    """Return the instances with a stale read at the moment → reason. Takes one query."""
    return {read.instance: read.reason for read in stale_reads(instances, at)}


class Known(NamedTuple):
    """From when to when the rights on an instance are known: from the first visit that read, without gaps, all that the
    last one reads, which was at `until`. What a right that the first found has been before is not known."""

    since: datetime | None
    until: datetime


def known_of(instances: Iterable[int]) -> dict[int, Known]:
    """Return each instance that was read. Takes one query."""
    now: dict[int, set[str]] = {}
    found: dict[int, Known] = {}
    ended: set[int] = set()
    rows = Instance.objects.filter(pk__in=instances, coverage__isnull=False)
    rows = rows.order_by(F("coverage__until").desc(nulls_first=True), "-coverage__since")
    columns = ("pk", "coverage__covered", "coverage__gaps", "coverage__since", "coverage__read_at")
    for instance, covered, gaps, since, read_at in rows.values_list(*columns):
        known = found.setdefault(instance, Known(None, read_at))
        if gaps or not now.setdefault(instance, {*covered}) <= {*covered}:
            ended.add(instance)
        elif instance not in ended:
            found[instance] = known._replace(since=since)
    return found


def is_at_least(since: datetime, known: datetime | None) -> bool:
    """Whether a right may be older than it is known to be: the first visit that could see it did."""
    return known is None or since <= known


def days_between(since: datetime | None, seen: datetime | None) -> int | None:
    """Days from when a right is known to be held to when it was last seen; None if that is not known."""
    return None if since is None or seen is None else max(0, (seen - since).days)


def days_held(since: datetime | None, known: datetime | None, seen: datetime | None) -> str:
    """How long a right was held when it was last seen, in words; "" if that is not known."""
    days = days_between(since, seen)
    if since is None or days is None:
        return ""
    if is_at_least(since, known):
        return ngettext("at least %d day", "at least %d days", days) % days
    return ngettext("%d day", "%d days", days) % days


def moment(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M %Z")


_INSTANCE = ("id", "name", "engine", "retired_at")


def _last_read(row: Sequence[Any], at: datetime, limit: timedelta) -> LastRead:
    """Of a row of `_READS`."""
    instance = Instance.from_db(DEFAULT_DB_ALIAS, _INSTANCE, row[:4])
    level, covered, beyond, gaps, unread, since, read_at, until = row[4:12]
    failures, succeeded_at, failed_at, error_code, paused_at, session = row[12:18]
    # A later read confirms what held at the moment, so later failures do not matter.
    is_after = read_at is None or read_at < at
    failed = is_after and _had_failed(read_at, until, failures, succeeded_at, failed_at, at)
    paused = is_after and until is None and paused_at is not None and paused_at <= at
    return LastRead(
        instance=instance,
        at=at,
        level=level or "",
        covered=covered or [],
        beyond=beyond or [],
        gaps=[] if gaps in (None, "[]") else json.loads(gaps),
        unread=unread or [],
        since=since,
        read_at=read_at,
        until=until,
        session=session,
        failures=(failures or 0) if failed else 0,
        failed_at=failed_at if failed else None,
        error_code=error_code if failed else "",
        paused_at=paused_at if paused else None,
        # Answers have no rows of retired instances, even for a moment before they were retired.
        retired_at=instance.retired_at,
        limit=limit,
    )


def _had_failed(
    read_at: datetime | None,
    until: datetime | None,
    failures: int,
    succeeded_at: datetime | None,
    failed_at: datetime | None,
    at: datetime,
) -> bool:
    """Return whether a visit failed between the read and the moment. Only the last failure is stored."""
    if failed_at is None or (read_at and failed_at <= read_at):
        return False
    if until:
        return failed_at <= at
    if succeeded_at and failed_at <= succeeded_at:
        return False
    # The first of several failures in a row may be before the moment.
    return failed_at <= at or (read_at is not None and failures > 1)


def _minutes(delta: timedelta) -> int:
    return max(0, int(delta.total_seconds())) // 60


def _span(minutes: int) -> str:
    """Return a duration in one unit: "7 days", "36 hours", "5 minutes"."""
    unit, number = (
        ("minute", minutes)
        if minutes < 60
        else ("hour", minutes // 60)
        if minutes < 48 * 60
        else ("day", minutes // 1440)
    )
    return (TIME_STRINGS[unit] % {"num": number}).replace("\xa0", " ")
