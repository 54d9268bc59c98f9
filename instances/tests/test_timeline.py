"""What happened to an instance, from all that know something of it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from accounts.models import Account, AccountChange
from aggregation.models import DatabaseAggregate
from capacity.tests.stored import database
from classification.models import Assignment, Classification
from instances.models import Credential, Instance
from instances.tests.pages import staff, superstaff
from instances.timeline import Event
from sync.models import SyncRecord, SyncSession
from tagging.models import InstanceTag, Tag

GIB = 1024**3


@pytest.fixture
def lived(db: None) -> Instance:
    """An instance that something of each kind happened to, and another with the same."""
    credential = Credential.objects.create(name="c", username="u")
    now = timezone.now()
    for name in ("other", "prod"):
        instance = Instance.objects.create(name=name, engine="postgresql", host=name, credential=credential)
        session = SyncSession.objects.create(kind="accounts", trigger="schedule")
        SyncRecord.objects.create(
            session=session, instance=instance, kind="accounts", status="failed", message="too slow",
            finished_at=now - timedelta(hours=5),
        )  # fmt: skip
        SyncRecord.objects.create(
            session=SyncSession.objects.create(kind="accounts", trigger="schedule"),
            instance=instance,
            kind="accounts",
            status="skipped",
            finished_at=now,
        )
        row = Account.objects.create(instance=instance, name="app", kind="user", first_seen_at=now)
        granted = {"kind": "database", "privilege": "CREATE", "scope": "shop", "grantable": False, "denied": False}
        for baseline in (False, True):
            AccountChange.objects.create(
                account=row, at=now - timedelta(hours=3), events=["privileges"], details={"granted": [granted]},
                baseline=baseline,
            )  # fmt: skip
        risky = Classification.objects.get_or_create(code="risky", defaults={"name": "Risky"})[0]
        Assignment.objects.create(
            account=row, instance=instance, classification=risky, reason="known", since=now - timedelta(hours=4)
        )
        tag, _ = Tag.objects.get_or_create(slug="gold", defaults={"label": "Gold"})
        InstanceTag.objects.create(instance=instance, tag=tag)
        shop = database(instance, "shop", 5 * GIB)
        for ago, change, percent in ((2, 2 * GIB, 66), (3, GIB, 3), (50, -3 * GIB, -50)):
            day = timezone.localdate() - timedelta(days=ago)
            DatabaseAggregate.objects.create(
                database=shop, period="daily", start=day, end=day, avg_size=1, min_size=1, max_size=1, first_size=1,
                last_size=1, days_collected=1, days_expected=1, change=change, change_percent=percent, computed_at=now,
            )  # fmt: skip
    return instance


def url(instance: Instance, **query: object) -> str:
    return f"{reverse('admin:instances_instance_timeline', args=[instance.pk])}?{urlencode(query)}"


def events(page) -> list[Event]:
    return [event for _day, events in page.context["by_day"] for event in events]


def test_everything_in_one_line_newest_first(lived, django_assert_num_queries):
    client = superstaff()
    data = {"name": "prod", "engine": "postgresql", "host": "prod2", "credential": lived.credential_id}
    data |= {
        "tls_mode": "prefer",
        "proof": "strict",
        "connect_timeout": 10,
        "statement_timeout": 60,
        "budget": 600,
        "level": "B",
    }
    data |= {"instance_tags-TOTAL_FORMS": 0, "instance_tags-INITIAL_FORMS": 0}
    client.post(reverse("admin:instances_instance_change", args=[lived.pk]), data)
    with django_assert_num_queries(11):
        page = client.get(url(lived))
    told = [(event.badge, event.label, event.text) for event in events(page)]
    assert sorted(told) == sorted(
        [
            ("attributes", "edited", "root: host: prod → prod2"),
            ("added", "tag added", "Gold"),
            ("attributes", "edited", f"{connection.settings_dict['USER']}: added"),
            ("privileges", "privileges changed", "app: granted CREATE on database shop"),
            ("held", "classified", "app: Risky"),
            ("failed", "failed", "accounts: too slow"),
            ("privileges", "size jump", "shop: +2.00 GiB (+66 %)"),
        ]
    )
    far = [event.text for event in events(client.get(url(lived, days=90)))]
    assert far[-1] == "shop: -3.00 GiB (-50 %)"
    assert "Timeline" in client.get(reverse("admin:instances_instance_change", args=[lived.pk])).content.decode()
    assert client.get(reverse("admin:instances_instance_timeline", args=[99999])).status_code == 404


def test_each_part_is_for_those_who_may_see_it(lived):
    seen = events(staff("instances.view_instance", "tagging.view_tag").get(url(lived)))
    assert [event.label for event in seen] == ["tag added"]
    assert "No events in this period" in staff("instances.view_instance").get(url(lived)).content.decode()
    assert staff("sync.view_syncrecord").get(url(lived)).status_code == 403


def test_a_long_line_says_that_it_is_cut(lived, monkeypatch):
    monkeypatch.setattr("instances.timeline.LIMIT", 1)
    page = superstaff().get(url(lived, days=90))
    # Of size jumps there are more; what is older than the last one shown is left out of all.
    assert "shop: +2.00 GiB (+66 %)" in page.content.decode()
    assert "shop: -3.00 GiB" not in page.content.decode()
    assert "Older events are not shown." in page.content.decode()


def visit(instance: Instance, kind: str, at: datetime, summary: dict, status: str = "completed") -> None:
    session = SyncSession.objects.create(kind=kind, trigger="schedule")
    SyncRecord.objects.create(
        session=session, instance=instance, kind=kind, status=status, summary=summary,
        started_at=at - timedelta(milliseconds=340), finished_at=at,
    )  # fmt: skip


def test_visits_that_changed_nothing_are_one_line_a_day_after_the_rest(lived):
    noon = timezone.localtime().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
    zero = {"accounts": 113, "appeared": 0, "granted": 0}
    for hour in range(5):
        visit(lived, "accounts", noon + timedelta(hours=hour), zero)
    visit(lived, "capacity", noon, {"databases": 10, "measured": 10, "appeared": 0, "bytes": 1024**2})
    visit(lived, "accounts", noon - timedelta(hours=1), zero | {"appeared": 1, "granted": 2})
    visit(lived, "accounts", noon + timedelta(hours=9), zero, status="partial")
    earlier = noon - timedelta(days=1)
    visit(lived, "accounts", earlier, zero | {"appeared": 113, "granted": 868})
    sizes = {"databases": 12, "measured": 10, "appeared": 2, "bytes": 104648000, "complete": "incomplete"}
    visit(lived, "capacity", earlier + timedelta(minutes=1), sizes)
    page = superstaff().get(url(lived, what="syncrecord"))
    days = {day: [event.text for event in events] for day, events in page.context["by_day"]}
    # Partly read is not “nothing changed”.
    assert days[noon.date()] == [
        "accounts: 113 accounts; 340 ms",
        "accounts: 113 accounts: 1 appeared, 2 grants added; 340 ms",
        "6 visits changed nothing",
    ]
    assert days[earlier.date()] == [
        "capacity: 99.8 MiB in 10 databases: 2 appeared; some sizes could not be read; 340 ms",
        "accounts: first visit: 113 accounts, 868 grants; 340 ms",
    ]
    assert list(days) == sorted(days, reverse=True)


def test_people_come_first_within_a_day(lived):
    for _day, found in superstaff().get(url(lived)).context["by_day"]:
        labels = [event.label for event in found]
        assert "failed" not in labels[:-1], labels


def test_one_kind_of_event_is_chosen_and_pages_keep_the_choice(lived, monkeypatch):
    monkeypatch.setattr("instances.timeline.ROWS_PER_PAGE", 1)
    client = superstaff()
    page = client.get(url(lived, days=90, what="databaseaggregate"))
    assert [event.label for event in events(page)] == ["size jump"]
    assert "?days=90&amp;what=databaseaggregate&amp;page=2" in page.content.decode()
    second = client.get(url(lived, days=90, what="databaseaggregate", page=2))
    assert [event.text for event in events(second)] == ["shop: -3.00 GiB (-50 %)"]
    # Of an app that the user may not see there is no filter.
    assert "databaseaggregate" not in staff("instances.view_instance").get(url(lived)).content.decode()
