"""What each kind of rule finds, once, and when that is over."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone, translation
from django_celery_beat.models import PeriodicTask

from accounts.freshness import moment
from accounts.models import AccountChange, Coverage
from accounts.tests.stored import account
from aggregation.models import DatabaseAggregate
from alerts import findings
from alerts.findings import EVENT_TIME
from alerts.kinds import KINDS
from alerts.models import Alert, AlertRule, Delivery, shown_alerts
from alerts.services import evaluate
from alerts.tests.conftest import GIB
from capacity.models import Database, DatabaseSize, InstanceSize
from capacity.tests.stored import database, total
from instances.models import Instance
from planning.models import Projection, SizeLimit
from planning.services import compute
from sync.models import SyncRecord, SyncSession, VisitHealth
from tagging.models import InstanceTag, Tag
from taifish import schedules


def texts() -> list[str]:
    return [alert.text for alert in Alert.objects.open().order_by("pk")]


def health(instance: Instance, failures: int, **fields: object) -> VisitHealth:
    values = {"kind": "accounts", "error_code": "auth_failed", "message": "Access denied"} | fields
    return VisitHealth.objects.create(instance=instance, failures=failures, **values)


def change(account, *events: str, **fields: object) -> AccountChange:
    values = {"at": timezone.now(), "events": list(events)} | fields
    return AccountChange.objects.create(account=account, **values)


def grew(database: Database, change: int, percent: float, ago: int = 1) -> DatabaseAggregate:
    """A closed day of a database that took 100 GiB at its end."""
    day = timezone.localdate() - timedelta(days=ago)
    size = 100 * GIB
    return DatabaseAggregate.objects.create(
        database=database,
        period="daily",
        start=day,
        end=day,
        avg_size=size,
        min_size=size,
        max_size=size,
        first_size=size,
        last_size=size,
        days_collected=1,
        days_expected=1,
        change=change,
        change_percent=percent,
        computed_at=timezone.now(),
    )


def since(rule: AlertRule, days: int) -> None:
    AlertRule.objects.filter(pk=rule.pk).update(active_since=timezone.now() - timedelta(days=days))


# The kinds


def test_failures_in_a_row(make_rule, make_instance):
    make_rule("failing", threshold=3)
    one, two, retired = make_instance("one"), make_instance("two"), make_instance("retired")
    row = health(one, 3)
    health(two, 2)
    health(retired, 9)
    retired.retire()
    evaluate()
    assert texts() == ["visits of the kind “Accounts” failed 3 times in a row: auth_failed: Access denied"]
    assert Alert.objects.get().instance == one
    VisitHealth.objects.filter(pk=row.pk).update(failures=4)
    evaluate()
    assert "4 times" in texts()[0]
    assert Alert.objects.count() == 1
    VisitHealth.objects.filter(pk=row.pk).update(failures=0)
    evaluate()
    assert texts() == []
    assert Alert.objects.get().resolved_at


def test_each_failed_visit(make_rule, make_instance):
    """F1.4: as TAIFISH_ALERT_EMAILS did, every failure is reported, catch-ups and other certificates included."""
    rule = make_rule("visit_failed")
    since(rule, 1)
    one, two = make_instance("one"), make_instance("two")
    at = timezone.now() - timedelta(hours=2)
    row = health(one, 1, failed_at=at)
    shrink = {"what": "databases", "present": 9, "ending": 9}
    health(one, 0, kind="capacity", failed_at=at, error_code="suspicious_shrink", parameters=shrink, message="")
    health(two, 0, failed_at=at, error_code="", message="")
    health(two, 3, kind="capacity", failed_at=at - timedelta(days=2))
    evaluate()
    assert texts() == [
        f"visits of the kind “Accounts” failed at {moment(at)}: auth_failed: Access denied",
        f"visits of the kind “Capacity” failed at {moment(at)}: suspicious_shrink: 9 of 9 databases would end at once; "
        "nothing was stored.",
    ]
    # The next failure is another alert, though the visits were failing before.
    VisitHealth.objects.filter(pk=row.pk).update(failures=2, failed_at=at + timedelta(hours=1))
    assert [alert.instance_id for alert in evaluate().opened] == [one.pk]
    VisitHealth.objects.update(failures=0, error_code="", message="")
    evaluate()
    assert texts() == []
    assert Alert.objects.count() == 3


def test_accounts_that_are_not_known(make_rule, make_instance, settings):
    """F3: what the home page counts as unknown is an alert."""
    make_rule("stale")
    fresh, old, never = (make_instance(name) for name in ("fresh", "old", "never"))
    retired = make_instance("retired")
    retired.retire()
    for instance, hours in ((fresh, 1), (old, settings.TAIFISH_STALE_AFTER + 12)):
        at = timezone.now() - timedelta(hours=hours)
        Coverage.objects.create(instance=instance, level="A", covered=[], beyond=[], since=at, read_at=at)
    # A user may read Chinese; the message may be for somebody else.
    with translation.override("zh-hans"):
        evaluate()
    assert {alert.instance: alert.text.split(" (")[0] for alert in Alert.objects.open()} == {
        old: f"accounts are not known: last read {moment(at)}",
        never: "accounts are not known: not visited by then",
    }
    Coverage.objects.filter(instance=old).update(read_at=timezone.now())
    evaluate()
    assert [alert.instance for alert in Alert.objects.open()] == [never]


def test_paused(make_rule, make_instance):
    make_rule("paused")
    row = health(make_instance("one"), 5, paused_at=timezone.now())
    health(make_instance("two"), 5)
    evaluate()
    (text,) = texts()
    assert text.startswith("visits of the kind “Accounts” are paused since 20")
    VisitHealth.objects.filter(pk=row.pk).update(paused_at=None)
    evaluate()
    assert texts() == []


def test_new_superusers(make_rule, make_instance):
    rule = make_rule("new_superuser")
    since(rule, 1)
    instance = make_instance("one")
    root = account(instance, "root", is_superuser=True)
    change(root, "appeared", baseline=True)
    made = account(instance, "eve", is_superuser=True, host="%")
    change(made, "appeared", "privileges")
    raised = account(instance, "bob", is_superuser=True, is_filtered=True)
    change(raised, "attributes", details={"attributes": {"is_superuser": [False, True]}})
    lowered = account(instance, "ann", is_superuser=False)
    change(lowered, "attributes", details={"attributes": {"is_superuser": [True, False]}})
    change(account(instance, "joe", is_superuser=False), "appeared")
    change(account(instance, "sue", is_superuser=True), "attributes", details={"attributes": {"can_login": [0, 1]}})
    change(account(instance, "old", is_superuser=True), "appeared", at=timezone.now() - timedelta(days=2))
    evaluate()
    assert sorted(text.split(", seen")[0] for text in texts()) == [
        "bob became a superuser",
        "eve@% was made a superuser",
    ]
    made.is_superuser = False
    made.save()
    evaluate()
    assert [text.split()[0] for text in texts()] == ["bob"]


def test_moved_instances(make_rule, make_instance):
    """F8.2, F8.4: whoever changes where a password is sent is named, through whatever door."""
    rule = make_rule("moved")
    since(rule, 1)
    instance, other = make_instance("one"), make_instance("two")
    instance.note = "not a move"
    instance.save()
    evaluate()
    assert texts() == []
    Instance.objects.filter(pk=instance.pk).update(host="elsewhere", port=5433)
    other.database = "other"
    other.save()
    evaluate()
    said = sorted(texts())
    assert [text.partition(" changed ")[2].partition(" at ")[0] for text in said] == ["database", "host, port"]
    assert {alert.instance for alert in Alert.objects.all()} == {instance, other}


def test_changed_privileges(make_rule, make_instance):
    make_rule("privilege_changes", threshold=2, name="two")
    make_rule("privilege_changes", threshold=1, name="any")
    one, two = make_instance("one"), make_instance("two")
    at = timezone.now()
    for name in "abcdef":
        change(account(one, name), "privileges", at=at)
    # F7.10: an added grant option, admin option … changes what an account may do; other grantors and names do not.
    change(account(one, "g"), "options", at=at)
    change(account(one, "h"), "locked", "grantors", "objects", "renamed", at=at)
    change(account(one, "engine's", is_filtered=True), "privileges", at=at)
    change(account(two, "a"), "appeared", "memberships", at=at)
    change(account(two, "b"), "privileges", baseline=True, at=at)
    evaluate()
    told = [(alert.rule.name, alert.instance.name, alert.text.split(", seen")[0]) for alert in Alert.objects.all()]
    assert sorted(told) == [
        ("any", "one", "privileges of 7 accounts changed"),
        ("any", "two", "privileges of one account changed"),
        ("two", "one", "privileges of 7 accounts changed"),
    ]
    assert Alert.objects.filter(instance=one)[0].text.endswith(": a, b, c, d, e and 2 more")
    # Another visit is another alert, though the first is still there.
    change(account(two, "c"), "privileges")
    evaluate()
    assert Alert.objects.filter(instance=two).count() == 2


def test_abnormal_growth(make_rule, make_instance):
    rule = make_rule("growth", threshold=50, min_bytes=10 * GIB)
    since(rule, 3)
    instance = make_instance("one")
    grew(database(instance, "shop"), 40 * GIB, 66.7)
    grew(database(instance, "small"), 9 * GIB, 900)
    grew(database(instance, "large"), 100 * GIB, 49)
    grew(database(instance, "shrunk"), -100 * GIB, -60)
    grew(database(instance, "hidden", is_filtered=True), 100 * GIB, 70)
    grew(database(instance, "before"), 40 * GIB, 66.7, ago=4)
    DatabaseAggregate.objects.filter(database__name="large").update(change=None, change_percent=None)
    evaluate()
    day = timezone.localdate() - timedelta(days=1)
    assert texts() == [f"database shop grew on {day}: +40.0 GiB, +67 %, to 100 GiB"]
    evaluate()
    assert Alert.objects.count() == 1


def test_a_limit_that_is_near(make_rule, make_instance):
    """F10.4: by the upper bound of the stored forecast, of every kind that has a limit."""
    make_rule("limit_near", threshold=30)
    for name, limit in (("near", 145), ("far", 1000), ("reached", 100), ("unknown", 1)):
        instance = make_instance(name)
        SizeLimit.objects.create(instance=instance, size=limit * GIB)
        for ago in range(40 if name != "unknown" else 3):
            total(instance, (130 - ago) * GIB, ago)
    total(make_instance("without"), 10 * GIB)
    near = Instance.objects.get(name="near")
    tag = Tag.objects.create(slug="erp", label="ERP")
    InstanceTag.objects.create(instance=near, tag=tag)
    SizeLimit.objects.create(tag=tag, size=135 * GIB)
    SizeLimit.objects.create(size=10**15)
    shop = database(near, "shop", 130 * GIB, 1)
    DatabaseSize.objects.bulk_create(
        DatabaseSize(
            database=shop,
            day=timezone.localdate() - timedelta(days=ago),
            size=(130 - ago) * GIB,
            collected_at=timezone.now(),
        )
        for ago in range(1, 40)
    )
    SizeLimit.objects.create(database=shop, size=140 * GIB)
    compute()
    evaluate()
    on = {days: timezone.localdate() + timedelta(days=days) for days in (5, 10, 15)}
    assert {(str(alert.instance), alert.text) for alert in Alert.objects.open()} == {
        ("near", f"may reach its limit of 145 GiB on {on[15]}, probably on {on[15]}; it takes 130 GiB now"),
        (
            "near",
            f"database shop may reach its limit of 140 GiB on {on[10]}, probably on {on[10]}; it takes 130 GiB now",
        ),
        ("None", f"tag ERP may reach its limit of 135 GiB on {on[5]}, probably on {on[5]}; it takes 130 GiB now"),
        ("reached", "has reached its limit of 100 GiB; it takes 130 GiB now"),
    }
    SizeLimit.objects.filter(instance__name="near").update(size=500 * GIB)
    evaluate()
    assert len(texts()) == 3
    make_rule("limit_near", name="of the tag", threshold=30, tag=tag)
    evaluate()
    assert Alert.objects.open().filter(rule__name="of the tag").count() == 2


@pytest.mark.parametrize(("limit", "n"), [(159, 1), (160, 1), (161, 1), (168, 1), (169, 1), (170, 0), (500, 0)])
def test_an_alert_about_a_limit_does_not_flap(make_rule, make_instance, limit, n):
    """F10.4: opened at 30 days, it lasts up to 39 days and ends beyond; a new one needs 30 days again."""
    make_rule("limit_near", threshold=30)
    instance = make_instance("near")
    row = SizeLimit.objects.create(instance=instance, size=160 * GIB)
    for ago in range(40):
        total(instance, (130 - ago) * GIB, ago)
    compute()
    evaluate()
    assert len(texts()) == 1
    SizeLimit.objects.filter(pk=row.pk).update(size=limit * GIB)
    evaluate()
    assert len(texts()) == n
    SizeLimit.objects.filter(pk=row.pk).update(size=165 * GIB)
    evaluate()
    assert len(texts()) == n


def test_an_alert_about_a_limit_lasts_while_nothing_is_known(make_rule, make_instance):
    """Sizes that are missing are no sign that there is room again."""
    make_rule("limit_near", threshold=30)
    instance = make_instance("near")
    SizeLimit.objects.create(instance=instance, size=145 * GIB)
    for ago in range(40):
        total(instance, (130 - ago) * GIB, ago)
    compute()
    evaluate()
    before = texts()
    Projection.objects.all().delete()
    evaluate()
    assert texts() == before != []
    InstanceSize.objects.filter(day__gt=timezone.localdate() - timedelta(days=5)).delete()
    compute()
    evaluate()
    assert texts()[0].endswith(f"it takes 125 GiB on {timezone.localdate() - timedelta(days=5)}")


def test_limited_users_see_no_alert_about_a_total(make_rule, make_instance):
    rule, instance = make_rule("limit_near", threshold=30), make_instance("one")
    seen = {"rule": rule, "first_seen_at": timezone.now(), "last_seen_at": timezone.now()}
    Alert.objects.create(key="tag:1", text="tag Hidden may reach its limit", **seen)
    mine = Alert.objects.create(key="1", text="may reach its limit", instance=instance, **seen)
    assert list(Alert.objects.filter(shown_alerts(Instance.objects.values("pk")))) == [mine]


def test_nothing_collected_yesterday(make_rule, make_instance):
    make_rule("nothing_collected")
    one, two, partly = make_instance("one"), make_instance("two"), make_instance("partly")
    make_instance("new")
    Instance.objects.exclude(name="new").update(created_at=timezone.now() - timedelta(days=9))
    session = SyncSession.objects.create(kind="capacity", trigger="schedule")
    SyncSession.objects.update(created_at=timezone.now() - timedelta(days=1))
    SyncRecord.objects.create(
        session=session, instance=one, kind="capacity", status="failed", error_code="unreachable", message="no route"
    )
    total(two, 1, ago=2)
    total(partly, 1, ago=1, is_complete=False)
    evaluate()
    day = timezone.localdate() - timedelta(days=1)
    assert texts() == [
        f"no size of {day}; last visit: failed, unreachable: no route",
        f"no size of {day}; it was not visited",
    ]
    for instance in (one, two):
        InstanceSize.objects.filter(instance=instance).delete()
        total(instance, 1, ago=1)
    evaluate()
    assert texts() == []


def test_a_late_schedule(make_rule):
    PeriodicTask.objects.all().delete()
    schedules.install()
    PeriodicTask.objects.update(last_run_at=timezone.now())
    make_rule("schedule_late")
    evaluate()
    assert texts() == []
    PeriodicTask.objects.filter(task="sync.reap").update(last_run_at=timezone.now() - timedelta(hours=1))
    evaluate()
    (text,) = texts()
    assert text.startswith("the schedule “Reap lost visits” is late; it last ran: 20")
    assert Alert.objects.get().instance is None


# What is true of all of them


def test_rules_come_switched_off(first_rules):
    assert {rule.kind for rule in AlertRule.objects.all()} == KINDS.keys()
    assert not AlertRule.objects.filter(active=True).exists()
    for rule in AlertRule.objects.all():
        rule.full_clean()
    assert evaluate().opened == []


def test_a_rule_for_a_tag_is_about_its_instances(make_rule, make_instance):
    tag = Tag.objects.create(slug="mine", label="Mine")
    for name in ("one", "two"):
        health(make_instance(name), 5)
    InstanceTag.objects.create(instance=Instance.objects.get(name="two"), tag=tag)
    make_rule("failing", threshold=3, tag=tag)
    evaluate()
    assert [alert.instance.name for alert in Alert.objects.all()] == ["two"]


def test_what_happened_is_over_after_a_week_and_never_told_to_be(make_rule, make_instance, make_channel):
    rule = make_rule("new_superuser", make_channel("email", addresses="dba@example.com"), tell_resolved=True)
    since(rule, 30)
    row = change(account(make_instance("one"), "eve", is_superuser=True), "appeared")
    evaluate()
    assert Delivery.objects.count() == 1
    AccountChange.objects.filter(pk=row.pk).update(at=timezone.now() - EVENT_TIME)
    evaluate()
    assert Alert.objects.get().resolved_at
    assert Delivery.objects.count() == 1


def test_what_was_before_it_was_switched_on_is_not_told(make_rule, make_instance):
    instance = make_instance("one")
    change(account(instance, "eve", is_superuser=True), "appeared")
    grew(database(instance, "shop"), 40 * GIB, 66.7)
    rule = make_rule("new_superuser")
    make_rule("growth", threshold=1, min_bytes=0)
    evaluate()
    assert texts() == []
    change(account(instance, "mallory", is_superuser=True), "appeared")
    evaluate()
    assert len(texts()) == 1
    rule.active = False
    rule.save()
    assert rule.active_since is None


def test_switched_off_a_rule_leaves_nothing_open(make_rule, make_instance, make_channel):
    channel = make_channel("email", addresses="dba@example.com")
    rule = make_rule("failing", channel, threshold=1, tell_resolved=True)
    health(make_instance("one"), 5)
    evaluate()
    rule.active = False
    rule.save()
    evaluate()
    assert texts() == []
    assert Delivery.objects.count() == 1


def test_a_clock_that_went_back_leaves_the_times_of_an_alert_in_order(make_rule, make_instance):
    make_rule("failing", threshold=3)
    row = health(make_instance("one"), 3)
    evaluate()
    ahead = timezone.now() + timedelta(hours=1)
    Alert.objects.update(first_seen_at=ahead, last_seen_at=ahead)
    evaluate()
    assert Alert.objects.get().last_seen_at == ahead
    VisitHealth.objects.filter(pk=row.pk).update(failures=0)
    evaluate()
    assert Alert.objects.get().resolved_at == ahead


def test_a_fault_undoes_the_whole_look(make_rule, make_instance, monkeypatch):
    make_rule("failing", threshold=1)
    row = health(make_instance("one"), 5)
    evaluate()
    make_rule("paused")
    VisitHealth.objects.filter(pk=row.pk).update(failures=0)

    def broken(scope: object, rule: AlertRule) -> None:
        raise RuntimeError

    monkeypatch.setitem(findings._REPORTS, "paused", broken)
    with pytest.raises(RuntimeError):
        evaluate()
    assert len(texts()) == 1


def test_names_cannot_break_a_line(make_rule, make_instance):
    make_rule("new_superuser")
    change(account(make_instance("one"), "a\n- two: all is well\x07", is_superuser=True), "appeared")
    evaluate()
    assert texts()[0].startswith("a - two: all is well� was made a superuser")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"kind": "failing"}, "threshold"),
        ({"kind": "failing", "threshold": 0}, "threshold"),
        ({"kind": "paused", "threshold": 3}, "threshold"),
        ({"kind": "growth", "threshold": 3}, "min_bytes"),
        ({"kind": "paused", "min_bytes": 3}, "min_bytes"),
        ({"kind": "vanished"}, "kind"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(db, fields, wrong):
    with pytest.raises(ValidationError) as refused:
        AlertRule(name="x", **fields).full_clean()
    assert list(refused.value.message_dict) == [wrong]


def test_a_thousand_instances_take_no_more_queries(first_rules, make_instance, make_channel, django_assert_num_queries):
    """Locking, rules and channels, open alerts; a query or two for each rule; and as many to write it all down."""
    channel = make_channel("email", addresses="dba@example.com")
    AlertRule.objects.update(active=True, active_since=timezone.now() - timedelta(days=1))
    for rule in AlertRule.objects.all():
        rule.channels.add(channel)
    first = make_instance("db")
    made = [first, *Instance.objects.bulk_create(_like(first, number) for number in range(999))]
    Instance.objects.update(created_at=timezone.now() - timedelta(days=9))
    VisitHealth.objects.bulk_create(
        VisitHealth(instance=instance, kind="accounts", failures=5, failed_at=timezone.now(), paused_at=timezone.now())
        for instance in made
    )
    PeriodicTask.objects.all().delete()
    schedules.install()
    PeriodicTask.objects.update(last_run_at=timezone.now())
    # Two more for each thousand alerts, to store them.
    with django_assert_num_queries(41):
        found = evaluate()
    assert len(found.opened) == 5000
    (delivery,) = found.deliveries
    assert delivery.digest["subject"] == "Taifish: 5000 new alerts"
    assert [(group["count"], len(group["alerts"])) for group in delivery.digest["opened"]] == [(1000, 50)] * 5
    with django_assert_num_queries(35):
        found = evaluate()
    assert (found.opened, found.n_lasting) == ([], 5000)


def _like(instance: Instance, number: int) -> Instance:
    return Instance(
        name=f"db{number:04}", engine="postgresql", host=f"host{number}", credential_id=instance.credential_id
    )


def test_two_looks_at_a_time_find_a_thing_once(transactional_db, make_rule, make_instance, make_channel):
    make_rule("failing", make_channel("email", addresses="dba@example.com"), threshold=1, name="Failing")
    for number in range(20):
        health(make_instance(f"db{number}"), 5)
    together = threading.Barrier(4)

    def look(_: int) -> int:
        try:
            together.wait()
            return len(evaluate().opened)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(look, range(4))) == [0, 0, 0, 20]
    assert Alert.objects.count() == 20
    assert Delivery.objects.count() == 1
