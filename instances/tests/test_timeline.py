"""What happened to an instance, from all that know something of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, AccountChange
from aggregation.models import DatabaseAggregate
from capacity.tests.stored import database
from classification.models import Assignment, Classification
from instances.models import Credential, Instance
from instances.tests.pages import staff, superstaff
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
    more = "".join(f"?{name}={value}" for name, value in query.items())
    return reverse("admin:instances_instance_timeline", args=[instance.pk]) + more


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
    with django_assert_num_queries(10):
        page = client.get(url(lived))
    told = [(event.badge, event.label, event.text) for event in page.context["events"]]
    assert told == [
        ("attributes", "edited", "root: host: prod → prod2"),
        ("added", "tag added", "Gold"),
        ("attributes", "edited", f"{connection.settings_dict['USER']}: added"),
        ("privileges", "privileges changed", "app: granted CREATE on database shop"),
        ("held", "classified", "app: Risky"),
        ("failed", "failed", "accounts: too slow"),
        ("privileges", "size jump", "shop: +2.00 GiB (+66 %)"),
    ]
    far = [event.text for event in client.get(url(lived, days=90)).context["events"]]
    assert far[-1] == "shop: -3.00 GiB (-50 %)"
    assert "Timeline" in client.get(reverse("admin:instances_instance_change", args=[lived.pk])).content.decode()
    assert client.get(reverse("admin:instances_instance_timeline", args=[99999])).status_code == 404


def test_each_part_is_for_those_who_may_see_it(lived):
    seen = staff("instances.view_instance", "tagging.view_tag").get(url(lived)).context["events"]
    assert [event.label for event in seen] == ["tag added"]
    assert "No events in this period" in staff("instances.view_instance").get(url(lived)).content.decode()
    assert staff("sync.view_syncrecord").get(url(lived)).status_code == 403


def test_a_long_line_says_that_it_is_cut(lived, monkeypatch):
    monkeypatch.setattr("instances.timeline.LIMIT", 2)
    page = superstaff().get(url(lived))
    assert len(page.context["events"]) == 2
    assert "Only the newest events are shown." in page.content.decode()
