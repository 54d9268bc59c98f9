"""Pages show and take moments in the time zone of the browser that chose one; days stay the installation's (#21)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.moments import parse_moment
from accounts.models import AccountChange
from accounts.tests.stored import account
from instances.models import Credential, Instance
from instances.tests.pages import superstaff
from work.days import local_day, midnight

PAGE = reverse("time-zone")
LATE = datetime(2026, 5, 3, 22, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    timezone.deactivate()


def chosen(client: Client, zone: str) -> Any:
    return client.post(PAGE, {"zone": zone})


def test_pages_and_their_files_follow_the_choice_and_programs_do_not(admin_client):
    credential = Credential.objects.create(name="c", username="u")
    alice = account(Instance.objects.create(name="pg", engine="postgresql", host="pg", credential=credential), "alice")
    AccountChange.objects.create(account=alice, at=LATE, events=["locked"])
    page = f"{reverse('admin:accounts_account_change', args=[alice.pk])}?tab=changes"
    file_of_changes = reverse("admin:accounts_accountchange_file", args=["csv"])
    assert "2026-05-03 22:30" in admin_client.get(page).content.decode()

    answer = chosen(admin_client, "Asia/Shanghai")
    assert answer.status_code == 302
    cookie = answer.cookies["taifish_time_zone"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    shown = admin_client.get(page).content.decode()
    assert "2026-05-04 06:30" in shown
    assert "Asia/Shanghai" in shown
    file = b"".join(admin_client.get(file_of_changes)).decode()
    assert "2026-05-04T06:30:00+08:00" in file
    assert "Asia/Shanghai" in file
    api = admin_client.get("/api/account-changes/")
    assert "2026-05-03T22:30:00Z" in api.content.decode()

    chosen(admin_client, "")
    assert "Moments are shown in UTC." in admin_client.get(PAGE).content.decode()
    assert "2026-05-03 22:30" in admin_client.get(page).content.decode()


def test_another_browser_keeps_its_own(admin_client, db):
    chosen(admin_client, "Asia/Shanghai")
    admin_client.get(PAGE)
    assert 'value="UTC"' in superstaff().get(PAGE).content.decode()
    assert timezone.get_current_timezone_name() == "UTC"


def test_an_unknown_zone_is_refused_with_a_suggestion_and_a_forged_cookie_is_ignored(admin_client):
    answer = chosen(admin_client, "Asia/Shanghia<b>")
    assert answer.status_code == 400
    assert "taifish_time_zone" not in answer.cookies
    assert "Did you mean Asia/Shanghai?" in answer.content.decode()
    assert "<b>”" not in answer.content.decode()
    for forged in ("../../etc/passwd", "Nowhere", "Asia/Shanghai\x00", "x" * 4000):
        admin_client.cookies["taifish_time_zone"] = forged
        assert 'value="UTC"' in admin_client.get(PAGE).content.decode()


def test_people_without_login_have_no_page(client):
    assert client.get(PAGE).status_code == 302
    assert "taifish_time_zone" not in chosen(client, "Asia/Shanghai").cookies


def test_moments_are_taken_as_shown_and_days_are_the_installation_s(monkeypatch):
    now = datetime(2026, 5, 3, 23, 30, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    with timezone.override("Asia/Shanghai"):
        assert parse_moment("2026-05-04 06:30") == LATE
        assert parse_moment("2026-05-03") == datetime(2026, 5, 3, 16, tzinfo=UTC) - timedelta(microseconds=1)
        assert (local_day(), local_day(LATE)) == (date(2026, 5, 3), date(2026, 5, 3))
        assert midnight(date(2026, 5, 3)) == datetime(2026, 5, 3, tzinfo=UTC)
