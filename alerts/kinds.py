"""What rules look for, kind by kind: each is one question to the store about all its instances at once.

A question answers with what is so now. What is found again is the same alert, what is no longer found is over; so there
is nothing to remember between two looks, and a look that was missed is made good by the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import AccountChange, account_label
from aggregation.forecast import Forecast
from aggregation.models import DatabaseAggregate, InstanceLimit
from aggregation.periods import Period
from aggregation.reading import forecasts
from capacity.gaps import MissingDays
from console.units import bytes_label
from instances.models import Instance
from sync.lateness import enabled_schedules, is_late
from sync.models import VisitHealth
from sync.registry import KINDS as VISITS

if TYPE_CHECKING:
    from .models import AlertRule

#: What has happened, unlike what lasts, is over after so long.
EVENT_TIME = timedelta(days=7)

#: How many names of accounts an alert lists, and how many characters it quotes of an error.
NAMES, QUOTED = 5, 300


@dataclass(frozen=True)
class Finding:
    """`key` is what makes it the same again at the next look; `text` leaves the name of the instance out."""

    key: str
    text: str
    instance_id: int | None = None


@dataclass(frozen=True)
class AlertKind:
    """`threshold` says what the rule's number means, "" where it has none.

    `is_event`: it has happened rather than lasts. Nobody is told that it is over, nor of what was before the rule was
    switched on.
    """

    label: str | Promise
    help: str | Promise
    find: Callable[[AlertRule, QuerySet[Instance]], Iterable[Finding]]
    threshold: str | Promise = ""
    has_min_bytes: bool = False
    is_event: bool = False
    of_instances: bool = True


def failing(rule: AlertRule, instances: QuerySet[Instance]) -> Iterator[Finding]:
    # Another certificate than the pinned one is not counted, and is worth an alert at once.
    concerned = Q(failures__gte=rule.threshold) | Q(error_code="certificate_changed")
    for health in VisitHealth.objects.filter(concerned, instance__in=instances):
        times = f"{health.failures} times in a row" if health.failures > 1 else "once"
        told = f"{_visits(health.kind)} failed {times}: {_error(health.error_code, health.error)}"
        yield Finding(f"{health.instance_id}:{health.kind}", told, health.instance_id)


def paused(rule: AlertRule, instances: QuerySet[Instance]) -> Iterator[Finding]:
    for health in VisitHealth.objects.paused().filter(instance__in=instances):
        since = timezone.localtime(health.paused_at).strftime("%Y-%m-%d %H:%M")
        told = f"{_visits(health.kind)} are paused since {since}: {_error(health.error_code, health.error)}"
        yield Finding(f"{health.instance_id}:{health.kind}", told, health.instance_id)


def new_superusers(rule: AlertRule, instances: QuerySet[Instance]) -> Iterator[Finding]:
    """Accounts that came as superusers, or became such, and are there and superusers still; filtered ones too."""
    still = {"account__is_superuser": True, "account__gone_at": None}
    changes = _changes(rule, instances).of_new_superusers().filter(**still)
    for change in changes.order_by("pk").select_related("account"):
        when = timezone.localtime(change.at).strftime("%Y-%m-%d %H:%M")
        how = "was made" if {"appeared", "reappeared", "recreated"} & {*change.events} else "became"
        told = f"{change.account} {how} a superuser, seen at {when}"
        yield Finding(str(change.account_id), told, change.account.instance_id)


def privilege_changes(rule: AlertRule, instances: QuerySet[Instance]) -> Iterator[Finding]:
    """Visits that found the privileges or memberships of that many accounts changed. Filtered accounts do not count: an
    upgrade changes many that are the engine's own."""
    changes = _changes(rule, instances).filter(
        events__overlap=["privileges", "memberships"], account__is_filtered=False
    )
    visits: dict[tuple[int, datetime], list[str]] = defaultdict(list)
    fields = ("account__instance", "at", "account__name", "account__host")
    for instance_id, at, name, host in changes.order_by("account__name").values_list(*fields):
        visits[instance_id, at].append(account_label(name, host))
    for (instance_id, at), names in visits.items():
        if len(names) >= (rule.threshold or 1):
            more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
            when = timezone.localtime(at).strftime("%Y-%m-%d %H:%M")
            of = f"{len(names)} accounts" if len(names) > 1 else "one account"
            told = f"privileges of {of} changed, seen at {when}: {', '.join(names[:NAMES])}{more}"
            yield Finding(f"{instance_id}:{at.isoformat()}", told, instance_id)


def growth(rule: AlertRule, instances: QuerySet[Instance]) -> Iterator[Finding]:
    """Databases that grew within a closed day by more than so many percent, and no less than so many bytes."""
    rows = DatabaseAggregate.objects.filter(
        period=Period.DAILY,
        start__gte=timezone.localdate(_since(rule)),
        change__gte=rule.min_bytes,
        change_percent__gt=rule.threshold,
        database__instance__in=instances,
        database__is_filtered=False,
    )
    for row in rows.order_by("start", "pk").select_related("database"):
        grown = f"{bytes_label(row.change, signed=True)}, {row.change_percent:+.0f} %"
        told = f"database {row.database.name} grew on {row.start}: {grown}, to {bytes_label(row.last_size)}"
        yield Finding(f"{row.database_id}:{row.start}", told, row.database.instance_id)


def limit_near(rule: AlertRule, instances: QuerySet[Instance]) -> Iterator[Finding]:
    limits = InstanceLimit.objects.filter(instance__in=instances).select_related("instance")
    for limit, told in forecasts(limits):
        if isinstance(told, Forecast) and told.days is not None and told.days <= rule.threshold:
            size, most = bytes_label(told.size), bytes_label(limit.size)
            when = f"will reach its limit of {most} on {told.on}" if told.days else f"has reached its limit of {most}"
            yield Finding(str(limit.instance_id), f"{when}; it takes {size} now", limit.instance_id)


def nothing_collected(rule: AlertRule, instances: QuerySet[Instance]) -> Iterator[Finding]:
    yesterday = timezone.localdate() - timedelta(days=1)
    asked = list(instances.values_list("pk", flat=True))
    for gap in MissingDays(yesterday, yesterday, asked, kind="missing"):
        visit = f"last visit: {gap.status}" if gap.status else "it was not visited"
        why = f", {_error(gap.code, gap.error)}" if gap.error else ""
        yield Finding(str(gap.instance), f"no size of {gap.day}; {visit}{why}", gap.instance)


def late_schedules(rule: AlertRule, instances: QuerySet[Instance]) -> Iterator[Finding]:
    for task in filter(is_late, enabled_schedules()):
        ran = timezone.localtime(task.last_run_at).strftime("%Y-%m-%d %H:%M") if task.last_run_at else "never"
        yield Finding(str(task.pk), f"the schedule “{task.name}” is late; it last ran: {ran}")


def _visits(kind: str) -> str:
    return f"visits of the kind “{VISITS[kind].label if kind in VISITS else kind}”"


def _error(code: str, message: str) -> str:
    return f"{code}: {message[:QUOTED]}" if code else message[:QUOTED] or "no reason is known"


def _since(rule: AlertRule) -> datetime:
    """From when on events are told."""
    return max(rule.active_since or timezone.now(), timezone.now() - EVENT_TIME)


def _changes(rule: AlertRule, instances: QuerySet[Instance]) -> QuerySet[AccountChange]:
    """What was found changed; the first visit of an instance finds things, and no changes."""
    return AccountChange.objects.filter(at__gte=_since(rule), baseline=False, account__instance__in=instances)


KINDS: dict[str, AlertKind] = {
    "failing": AlertKind(
        _("visits keep failing"),
        _("Visits of one kind failed so many times in a row on an instance. Catch-ups do not count."),
        failing,
        threshold=_("failures in a row"),
    ),
    "paused": AlertKind(
        _("visits are paused"),
        _("An instance is no longer visited, after TAIFISH_PAUSE_AFTER failures in a row, until somebody resumes it."),
        paused,
    ),
    "new_superuser": AlertKind(
        _("new superuser"),
        _("An account was made a superuser, or became one. What an instance's first visit finds is not new."),
        new_superusers,
        is_event=True,
    ),
    "privilege_changes": AlertKind(
        _("privileges changed"),
        _("One visit found privileges or roles of so many accounts changed. Filtered accounts do not count."),
        privilege_changes,
        threshold=_("accounts"),
        is_event=True,
    ),
    "growth": AlertKind(
        _("abnormal growth"),
        _("A database grew within one day by more than so many percent, and by so many bytes at least."),
        growth,
        threshold=_("percent"),
        has_min_bytes=True,
        is_event=True,
    ),
    "limit_near": AlertKind(
        _("size limit near"),
        _("An instance reaches its size limit within so many days, by its forecast. One without a limit is left out."),
        limit_near,
        threshold=_("days"),
    ),
    "nothing_collected": AlertKind(
        _("nothing collected"),
        _("An instance has no size for yesterday."),
        nothing_collected,
    ),
    "schedule_late": AlertKind(
        _("schedule late"),
        _(
            "A schedule is more than ten minutes behind its time. A dead scheduler cannot tell of itself: have "
            "/metrics watched for that."
        ),
        late_schedules,
        of_instances=False,
    ),
}
