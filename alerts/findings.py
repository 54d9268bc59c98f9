"""What needs attention, each question in one place: the home page, Health, /metrics and alert rules show its rows.

A question runs a fixed number of queries, however many instances there are, and answers for the present: nothing is
remembered between two evaluations of a rule, but for comparisons with baselines, which `drift.news` keeps with their
basis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Count, Q, QuerySet, Value
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import PeriodicTask

from accounts.freshness import LastRead, moment, stale_reads
from accounts.models import Account, AccountChange, account_label
from aggregation.models import DatabaseAggregate
from aggregation.periods import Period
from audit.models import Event
from capacity.gaps import MissingDays
from console.units import bytes_label
from console.visibility import limit_of, shown_to
from drift.models import Baseline
from drift.news import counted
from duties.models import DutyPair
from duties.services import conflicts_of
from instances.destinations import REACH
from instances.models import Instance
from owners.end_dates import Dated, due_soon, overdue
from owners.models import EndDate
from planning.answers import Forecast
from planning.reading import Ceiling, ceilings, chosen, forecasts
from reviews.services import escalated, overdue_reviewers, reviewers_due
from sync.lateness import enabled_schedules, is_late
from sync.models import VisitHealth, with_last_visit
from sync.registry import KINDS as VISITS
from work.days import local_day

from .kinds import KINDS
from .models import Alert, AlertRule, Delivery

#: How long an alert about an event stays open.
EVENT_TIME = timedelta(days=7)

#: An open alert about a limit lasts until the days exceed the threshold by this factor and so many days.
LINGER = (1.2, 3)

#: How many account names an alert lists, and how many characters of an error it quotes.
NAMES, QUOTED = 5, 300


@dataclass(frozen=True)
class Scope:
    """The instances to look at, and since when events count. `is_whole`: all instances, retired ones included."""

    instances: QuerySet[Instance]
    since: datetime
    is_whole: bool = False

    @classmethod
    def of(cls, user: User | None) -> Scope:
        """What a user sees (None: everything), with the events of the last day."""
        instances = shown_to(Instance.objects.all(), user)
        return cls(instances, timezone.now() - timedelta(days=1), limit_of(user) is None)

    @classmethod
    def of_rule(cls, rule: AlertRule) -> Scope:
        """The instances of a rule, with the events since its activation, for EVENT_TIME at most."""
        return cls(rule.instances(), max(rule.active_since or timezone.now(), timezone.now() - EVENT_TIME))


@dataclass(frozen=True)
class Finding:
    """One question. `rows` answers it for a scope; the list `link`, page and query, shows the same rows to users with
    `permission`. `hint` says what to do."""

    title: str | Promise
    permission: str
    rows: Callable[[Scope], QuerySet | Sequence]
    link: tuple[str, str]
    hint: str | Promise

    @property
    def url(self) -> str:
        yesterday = timezone.localtime(timezone.now() - timedelta(days=1))
        return f"{reverse(self.link[0])}?{yesterday.strftime(self.link[1])}"


def counts(rows: Mapping[str, QuerySet | Sequence]) -> dict[str, int]:
    """Name → number of rows. One statement counts all querysets."""
    named = {name: found for name, found in rows.items() if isinstance(found, QuerySet)}
    statements = [
        found.order_by().annotate(finding=Value(name)).values("finding").annotate(n=Count("pk"))
        for name, found in named.items()
    ]
    counted = dict(statements[0].union(*statements[1:], all=True).values_list("finding", "n")) if statements else {}
    return {name: counted.get(name, 0) if name in named else len(found) for name, found in rows.items()}


# Rows


def _last_visit(kind: str, status: str | None) -> Callable[[Scope], QuerySet[Instance]]:
    """Active instances whose last visit of the kind ended so; None: that were never visited."""
    return lambda scope: with_last_visit(scope.instances.active(), kind).filter(**{f"{kind}_status": status})


def _paused(scope: Scope) -> QuerySet[Instance]:
    return scope.instances.active().filter(pk__in=VisitHealth.objects.paused().values("instance"))


def _stale(scope: Scope) -> list[LastRead]:
    return stale_reads(scope.instances.active())


def _changes(scope: Scope) -> QuerySet[AccountChange]:
    """Changes; what an instance's first visit finds is not one."""
    return AccountChange.objects.filter(at__gte=scope.since, baseline=False, account__instance__in=scope.instances)


def _new_superusers(scope: Scope) -> QuerySet[AccountChange]:
    return _changes(scope).of_new_superusers()


def _nothing_collected(scope: Scope) -> MissingDays:
    yesterday = local_day() - timedelta(days=1)
    ids = None if scope.is_whole else list(scope.instances.order_by().values_list("pk", flat=True))
    return MissingDays(yesterday, yesterday, ids, kind="missing")


def _late_schedules(scope: Scope) -> list[PeriodicTask]:
    return [task for task in enabled_schedules() if is_late(task)]


def _undelivered(scope: Scope) -> QuerySet[Delivery]:
    # A delivery may name every instance.
    rows = Delivery.objects if scope.is_whole else Delivery.objects.none()
    return rows.filter(status=Delivery.Status.FAILED, is_test=False, created_at__gte=scope.since)


INSTANCES, CHANGES = "admin:instances_instance_changelist", "admin:accounts_accountchange_changelist"
SCHEDULES, DELIVERIES = "admin:django_celery_beat_periodictask_changelist", "admin:alerts_delivery_changelist"
FAILED_TODAY = "status__exact=failed&is_test__exact=0&created_at_from_0=%Y-%m-%d&created_at_from_1=%H:%M:%S"

#: Title, permission, rows, list of these rows, hint.
FINDINGS = {
    "failed_accounts": Finding(
        _("Last account visit failed"),
        "sync.view_syncrecord",
        _last_visit("accounts", "failed"),
        (INSTANCES, "last_accounts=failed"),
        _("Open the visit: it says what failed."),
    ),
    "failed_capacity": Finding(
        _("Last capacity visit failed"),
        "sync.view_syncrecord",
        _last_visit("capacity", "failed"),
        (INSTANCES, "last_capacity=failed"),
        _("Open the visit: it says what failed."),
    ),
    "never_visited": Finding(
        _("Never visited"),
        "sync.view_syncrecord",
        _last_visit("accounts", None),
        (INSTANCES, "last_accounts=never"),
        _("Check the connection, then sync the accounts."),
    ),
    "stale": Finding(
        _("Accounts not known"), "accounts.view_account", _stale, (INSTANCES, "stale=1"), KINDS["stale"].help
    ),
    "paused": Finding(_("Paused"), "sync.view_visithealth", _paused, (INSTANCES, "paused=1"), KINDS["paused"].help),
    "nothing_collected": Finding(
        _("No size yesterday"),
        "capacity.view_instancesize",
        _nothing_collected,
        ("capacity-gaps", "days=1&kind=missing"),
        KINDS["nothing_collected"].help,
    ),
    "new_superuser": Finding(
        _("New superusers in a day"),
        "accounts.view_accountchange",
        _new_superusers,
        (CHANGES, "new_superusers=1"),
        KINDS["new_superuser"].help,
    ),
    "schedule_late": Finding(
        _("Schedules"),
        "django_celery_beat.view_periodictask",
        _late_schedules,
        (SCHEDULES, "enabled__exact=1"),
        _("Check that the scheduler is running, and read its log."),
    ),
    "unproven": Finding(
        _("Servers not proved"),
        "instances.view_instance",
        lambda scope: scope.instances.active().as_before(),
        (INSTANCES, "proof__exact=as_before"),
        _("Tighten these instances: Taifish sends their password before the server is proved."),
    ),
    "undelivered": Finding(
        _("Alerts not delivered"),
        "alerts.view_delivery",
        _undelivered,
        (DELIVERIES, FAILED_TODAY),
        _("Open the deliveries: each says what failed."),
    ),
}


# Alerts


def alerts_of(rule: AlertRule) -> Iterator[Alert]:
    """What a rule reports now: alerts that are not stored. The same `key` at the next evaluation is the same alert."""
    return _REPORTS[rule.kind](Scope.of_rule(rule), rule)


def _alert(key: object, text: str, instance_id: int | None = None) -> Alert:
    """`text` omits the name of the instance. It is put on one line: account names may contain anything, and one alert
    must not look like several in a message."""
    text = "".join(char if char.isprintable() else "�" for char in " ".join(text.split()))
    return Alert(key=str(key), text=text, instance_id=instance_id)


def _visits(scope: Scope, *conditions: Q) -> QuerySet[VisitHealth]:
    return VisitHealth.objects.filter(*conditions, instance__in=scope.instances)


def _visit(health: VisitHealth, what: str, *more: str) -> Alert:
    kind = VISITS[health.kind].label if health.kind in VISITS else health.kind
    text = f"visits of the kind “{kind}” {what}: {_error(health.error_code, health.error)}"
    return _alert(":".join([str(health.instance_id), health.kind, *more]), text, health.instance_id)


def _error(code: str, message: str) -> str:
    return f"{code}: {message[:QUOTED]}" if code else message[:QUOTED] or "no reason is known"


def _failing(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    # A certificate other than the pinned one is not counted as a failure, but needs attention at once.
    for health in _visits(scope, Q(failures__gte=rule.threshold) | Q(error_code="certificate_changed")):
        yield _visit(health, f"failed {health.failures} times in a row" if health.failures > 1 else "failed once")


def _visit_failed(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    for health in _visits(scope, Q(failures__gt=0) | ~Q(error_code=""), Q(failed_at__gte=scope.since)):
        yield _visit(health, f"failed at {moment(health.failed_at)}", health.failed_at.isoformat())


def _visits_paused(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    for health in _visits(scope).paused():
        yield _visit(health, f"are paused since {moment(health.paused_at)}")


def _accounts_unknown(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    for read in _stale(scope):
        yield _alert(read.instance.pk, f"accounts are not known: {read.reason}", read.instance.pk)


def _superusers(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    """Accounts that are still superusers, filtered ones included."""
    still = {"account__is_superuser": True, "account__gone_at": None}
    for change in _new_superusers(scope).filter(**still).order_by("pk").select_related("account"):
        how = "was made" if {"appeared", "reappeared", "recreated"} & {*change.events} else "became"
        text = f"{change.account} {how} a superuser, seen at {moment(change.at)}"
        yield _alert(change.account_id, text, change.account.instance_id)


def _moved(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    """Changes of where stored passwords are sent, by the audit trail. Instances that are added are not moved."""
    columns = [Instance._meta.get_field(name).attname for name in REACH]
    events = Event.objects.filter(
        model="instances.instance", kind=Event.Kind.UPDATE, at__gte=scope.since, instance_id__in=scope.instances
    )
    for event in events.filter(after__has_any_keys=columns).order_by("pk"):
        changed = ", ".join(column.removesuffix("_id") for column in columns if column in event.after)
        text = f"{event.user_name} changed {changed} at {moment(event.at)} ({event.get_door_display()})"
        yield _alert(event.pk, text, event.instance_id)


def _usable(scope: Scope) -> QuerySet[Account]:
    """Accounts that can log in, as far as visits know. Filtered ones do not count, nor those of the engine."""
    found = Account.objects.present().visible().filter(instance__in=scope.instances, is_system=False)
    return found.exclude(is_locked=True).exclude(can_login=False).exclude(kind__in=("role", "public")).order_by("pk")


def _expiring(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    """Accounts that expire within the threshold, in days. Accounts that have expired were reported before."""
    now = timezone.now()
    for account in _usable(scope).filter(valid_until__gt=now, valid_until__lte=now + timedelta(days=rule.threshold)):
        text = f"{account} is valid until {moment(account.valid_until)}"
        yield _alert(f"{account.pk}:{account.valid_until.isoformat()}", text, account.instance_id)


def _expired_passwords(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    for account in _usable(scope).filter(password_expired=True):
        yield _alert(account.pk, f"the password of {account} has expired", account.instance_id)


def _end_dates(scope: Scope) -> QuerySet[EndDate]:
    return EndDate.objects.filter(account__instance__in=scope.instances)


def _end_dates_near(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    for found in due_soon(_end_dates(scope), rule.threshold):
        yield _alert(_key(found), f"{found.end} has to end after {found.end.ends_on}", found.read.instance.pk)


def _end_dates_passed(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    for found in overdue(_end_dates(scope)):
        text = f"{found.end} had to end after {found.end.ends_on}; last seen {moment(found.seen_at)}"
        yield _alert(_key(found), text, found.read.instance.pk)


def _key(found: Dated) -> str:
    """Another end date of the same thing is another alert."""
    return f"{found.end.pk}:{found.end.ends_on}"


def _privileges_changed(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    """Visits that found changes. Filtered accounts do not count: a server's upgrade changes many of its own."""
    changes = _changes(scope).filter(
        events__overlap=["privileges", "memberships", "options"], account__is_filtered=False
    )
    by_name = ("account__name", "account__host", "pk")
    parts = {part: ArrayAgg(f"account__{part}", order_by=by_name) for part in ("name", "host")}
    visits = changes.order_by("at", "account__instance").values("at", "account__instance")
    for visit in visits.annotate(n=Count("pk"), **parts).filter(n__gte=rule.threshold or 1):
        n, at, instance_id = visit["n"], visit["at"], visit["account__instance"]
        names = ", ".join(map(account_label, visit["name"][:NAMES], visit["host"][:NAMES]))
        of = f"{n} accounts" if n > 1 else "one account"
        more = f" and {n - NAMES} more" if n > NAMES else ""
        text = f"privileges of {of} changed, seen at {moment(at)}: {names}{more}"
        yield _alert(f"{instance_id}:{at.isoformat()}", text, instance_id)


def _growth(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    """Databases that grew within a closed day by more than the threshold, in percent, and by `min_bytes` at least."""
    rows = DatabaseAggregate.objects.filter(
        period=Period.DAILY,
        start__gte=local_day(scope.since),
        change__gte=rule.min_bytes,
        change_percent__gt=rule.threshold,
        database__instance__in=scope.instances,
        database__is_filtered=False,
    )
    for row in rows.order_by("start", "pk").select_related("database"):
        grown = f"{bytes_label(row.change, signed=True)}, {row.change_percent:+.0f} %"
        text = f"database {row.database.name} grew on {row.start}: {grown}, to {bytes_label(row.last_size)}"
        yield _alert(f"{row.database_id}:{row.start}", text, row.database.instance_id)


def _limits_near(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    """What may be full soon, by the upper bound. An open alert stays while nothing is known of it, and until its limit
    is clearly further away, so that it does not come and go with the sizes of a day."""
    still_open = dict(Alert.objects.open().filter(rule=rule).values_list("key", "text"))
    for ceiling, found in forecasts(chosen(ceilings(), tag=rule.tag)):
        key = str(ceiling.pk) if ceiling.kind == "instance" else f"{ceiling.kind}:{ceiling.pk or 0}"
        instance_id = ceiling.instance.pk if ceiling.instance else None
        threshold = rule.threshold * LINGER[0] + LINGER[1] if key in still_open else rule.threshold
        if not isinstance(found, Forecast):
            if key in still_open:
                yield _alert(key, still_open[key], instance_id)
        elif found.earliest_on and (found.earliest_on - local_day()).days <= threshold:
            yield _alert(key, f"{_of(ceiling)}{_filling(found)}", instance_id)


def _of(ceiling: Ceiling) -> str:
    """What fills, where that is not the instance itself."""
    if ceiling.kind == "instance":
        return ""
    if ceiling.kind == "fleet":
        return "the whole fleet "
    name = ceiling.name.removeprefix(f"{ceiling.instance.name} / ") if ceiling.instance else ceiling.name
    return f"{ceiling.kind} {name} "


def _filling(found: Forecast) -> str:
    most, size = bytes_label(found.limit), bytes_label(found.size)
    now = f"it takes {size} on {found.as_of}" if found.is_stale else f"it takes {size} now"
    if found.days == 0:
        return f"has reached its limit of {most}; {now}"
    expected = f"probably on {found.on}" if found.on else "probably not within a year"
    return f"may reach its limit of {most} on {found.earliest_on}, {expected}; {now}"


def _drifting(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    """Instances with deviations that are not accepted. Takes a fixed number of queries for each baseline."""
    instances = set(scope.instances.order_by().values_list("pk", flat=True))
    # What cannot be compared now is not over.
    still_open = dict(Alert.objects.filter(rule=rule, resolved_at=None).values_list("key", "text"))
    for baseline in Baseline.objects.active().select_related("reference").defer("state"):
        for one in counted(baseline):
            key = f"{baseline.pk}:{one.instance_id}"
            if one.instance_id not in instances:
                continue
            if one.n:
                names = ", ".join(one.accounts[:NAMES]) + (" …" if len(one.accounts) > NAMES else "")
                text = f"deviates from the baseline “{baseline}” in {_items(one.n)}: {names}"
                yield _alert(key, text, one.instance_id)
            elif one.is_unknown and key in still_open:
                yield _alert(key, still_open[key], one.instance_id)


def _duty_conflicts(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    """Conflicts that are not accepted. Takes a fixed number of queries for each pair."""
    pairs = DutyPair.objects.filter(active=True).select_related("first_classification", "second_classification")
    for pair in pairs:
        found = conflicts_of(pair)
        settled = {f"{pair.pk}:{one.key}" for one in (*found.conflicts, *found.accepted)}
        for one in found.conflicts:
            what = "" if one.owner else "the account "
            instance, *others = one.instances
            text = f"{what}{one.label} holds both sides of the duty pair “{pair}”: {pair.first}; {pair.second}"
            yield _alert(f"{pair.pk}:{one.key}", text, None if others else instance)
        if found.is_unknown:
            # What is not known now is not over.
            still_open = Alert.objects.filter(rule=rule, resolved_at=None, key__startswith=f"{pair.pk}:")
            for alert in still_open.exclude(key__in=settled):
                yield _alert(alert.key, alert.text, alert.instance_id)


def _sizes_missing(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    for gap in _nothing_collected(scope):
        visit = f"last visit: {gap.status}" if gap.status else "it was not visited"
        why = f", {_error(gap.code, gap.error)}" if gap.error else ""
        yield _alert(gap.instance, f"no size of {gap.day}; {visit}{why}", gap.instance)


def _schedules_late(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    for task in _late_schedules(scope):
        ran = moment(task.last_run_at) if task.last_run_at else "never"
        yield _alert(task.pk, f"the schedule “{task.name}” is late; it last ran: {ran}")


def _reviews_near(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    return _undecided(reviewers_due(rule.threshold), "is")


def _items(n: int) -> str:
    return f"{n} item" if n == 1 else f"{n} items"


def _undecided(rows: Iterable[dict[str, Any]], is_or_was: str) -> Iterator[Alert]:
    for row in rows:
        whose = f"of {row['reviewer__username']}" if row["reviewer"] else "without a reviewer"
        due = f"the review “{row['campaign__name']}” {is_or_was} due on {row['campaign__due_on']}"
        yield _alert(f"{row['campaign']}:{row['reviewer']}", f"{due}; without a decision: {_items(row['n'])} {whose}")


def _reviews_due(scope: Scope, rule: AlertRule) -> Iterator[Alert]:
    yield from _undecided(overdue_reviewers(), "was")
    for row in escalated():
        person = row["campaign__escalate_to__username"] or "a user who was deleted"
        text = (
            f"the review “{row['campaign__name']}” is escalated to {person}: it was due on {row['campaign__due_on']};"
            f" without a decision: {_items(row['n'])}; reviewers: {row['n_reviewers']}"
        )
        yield _alert(f"{row['campaign']}:escalated", text)


#: Every alert kind.
_REPORTS: dict[str, Callable[[Scope, AlertRule], Iterator[Alert]]] = {
    "failing": _failing,
    "visit_failed": _visit_failed,
    "paused": _visits_paused,
    "stale": _accounts_unknown,
    "new_superuser": _superusers,
    "moved": _moved,
    "account_expires": _expiring,
    "password_expired": _expired_passwords,
    "end_date_near": _end_dates_near,
    "end_date_passed": _end_dates_passed,
    "privilege_changes": _privileges_changed,
    "drift": _drifting,
    "duty_conflict": _duty_conflicts,
    "growth": _growth,
    "limit_near": _limits_near,
    "nothing_collected": _sizes_missing,
    "review_near": _reviews_near,
    "review_due": _reviews_due,
    "schedule_late": _schedules_late,
}
