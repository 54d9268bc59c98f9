"""Each finding is one question: every page, /metrics and alert rules give the same answer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from accounts.models import AccountChange
from accounts.tests.stored import account
from alerts.findings import FINDINGS, Scope, counts
from alerts.kinds import KINDS
from alerts.models import Alert, Channel, Delivery
from alerts.services import evaluate
from capacity.tests.stored import total
from instances.models import Instance
from instances.tests.pages import entered, superstaff, user_with
from sync.models import SyncRecord, SyncSession, VisitHealth
from tagging.models import InstanceTag, Tag, TagLimit
from taifish import schedules
from taifish.health import checks

#: How many rows each finding has in `fleet`.
EXPECTED = {
    "failed_accounts": 2,
    "failed_capacity": 1,
    "never_visited": 1,
    "stale": 3,
    "paused": 1,
    "nothing_collected": 2,
    "new_superuser": 1,
    "schedule_late": 1,
    "unproven": 3,
    "undelivered": 1,
}


@pytest.fixture
def fleet(make_instance) -> list[Instance]:
    one, two, three, gone = made = [make_instance(name) for name in ("one", "two", "three", "gone")]
    Instance.objects.update(created_at=timezone.now() - timedelta(days=9), proof="as_before")
    gone.retire()
    Instance.objects.filter(pk=gone.pk).update(retired_at=timezone.now() - timedelta(days=3))
    for kind, visited in (("accounts", [one, two, gone]), ("capacity", [one])):
        session = SyncSession.objects.create(kind=kind, trigger="schedule")
        for instance in visited:
            SyncRecord.objects.create(session=session, instance=instance, kind=kind, status="failed")
    for instance in (two, gone):
        VisitHealth.objects.create(
            instance=instance, kind="accounts", failures=5, error_code="x", paused_at=timezone.now()
        )
        VisitHealth.objects.create(
            instance=instance, kind="capacity", failures=5, error_code="x", paused_at=timezone.now()
        )
    total(three, 1, ago=1)
    root = account(one, "root", is_superuser=True)
    AccountChange.objects.create(account=root, at=timezone.now(), events=["appeared"])
    PeriodicTask.objects.all().delete()
    schedules.install()
    PeriodicTask.objects.update(last_run_at=timezone.now(), enabled=False)
    PeriodicTask.objects.filter(task="sync.reap").update(enabled=True, last_run_at=timezone.now() - timedelta(hours=1))
    channel = Channel.objects.create(name="dba", kind="email", addresses="dba@example.com")
    for status, is_test in (("failed", False), ("failed", True), ("sent", False), ("failed", False)):
        last = Delivery.objects.create(channel=channel, digest={"subject": "x"}, status=status, is_test=is_test)
    Delivery.objects.filter(pk=last.pk).update(created_at=timezone.now() - timedelta(days=2))
    return made


@pytest.fixture
def limited(fleet) -> User:
    """A user who sees instance "one" only, with every permission."""
    tag = Tag.objects.create(slug="mine", label="Mine")
    InstanceTag.objects.create(instance=fleet[0], tag=tag)
    user = user_with(*{finding.permission for finding in FINDINGS.values()})
    TagLimit.objects.create(user=user, tag=tag)
    return user


def numbers(user: User | None) -> dict[str, int]:
    scope = Scope.of(user)
    return counts({name: finding.rows(scope) for name, finding in FINDINGS.items()})


def listed(client: Client, url: str) -> int:
    context = client.get(url).context
    return context["page"].paginator.count if "page" in context else context["cl"].result_count


def test_each_link_shows_the_rows_that_are_counted(fleet):
    assert numbers(None) == EXPECTED
    client = superstaff()
    for name, finding in FINDINGS.items():
        assert listed(client, finding.url) == EXPECTED[name], name


def test_a_limited_user_counts_what_the_list_shows(limited):
    """F10: neither a count nor a list includes an instance that the user does not see."""
    client, limited = entered(limited), User.objects.get(pk=limited.pk)
    found = numbers(limited)
    assert found == EXPECTED | {
        "failed_accounts": 1,
        "never_visited": 0,
        "stale": 1,
        "paused": 0,
        "nothing_collected": 1,
        "unproven": 1,
        "undelivered": 0,
    }
    for name, finding in FINDINGS.items():
        if limited.has_perm(finding.permission):
            assert listed(client, finding.url) == found[name], name
        else:
            assert (name, client.get(finding.url).status_code) == ("undelivered", 403)


def test_all_places_show_the_same_numbers(fleet, make_rule, settings):
    client = superstaff()
    titles = {str(finding.title): name for name, finding in FINDINGS.items()}
    figures = client.get(reverse("admin:index")).context["figures"]
    home = {titles[str(figure["label"])]: figure["count"] for figure in figures if "hint" in figure}
    health = {titles[str(check.name)]: int(check.text) for check in checks() if check.text.isdecimal()}
    lines = client.get("/metrics").content.decode().splitlines()
    scraped = {line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith("taifish_findings{")}
    assert len(home) == 7
    assert home.keys() | health.keys() | scraped.keys() == FINDINGS.keys() - {"schedule_late"}
    for shown in (home, health, scraped):
        assert shown == {name: EXPECTED[name] for name in shown}
    rules = {name: make_rule(name) for name in FINDINGS.keys() & KINDS.keys()}
    for rule in rules.values():
        type(rule).objects.filter(pk=rule.pk).update(active_since=timezone.now() - timedelta(days=1))
    evaluate()
    # Of paused visits each kind is an alert.
    alerts = {name: Alert.objects.filter(rule=rule).count() for name, rule in rules.items()}
    assert alerts == {name: EXPECTED[name] for name in rules} | {"paused": 2}


def test_all_counts_take_a_fixed_number_of_queries(fleet, django_assert_num_queries):
    # All querysets, accounts, sizes, schedules.
    with django_assert_num_queries(4):
        numbers(None)
    assert counts({}) == {}
