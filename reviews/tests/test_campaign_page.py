"""A campaign played in Chromium by three reviewers, from the draft to the sealed pack."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from accounts.tests.visits import Visits, grant, role
from classification.models import Assignment, Classification
from engines.facts import MembershipFact
from reviews.models import Campaign, Decision, Item
from reviews.tests.campaigns import owned
from reviews.verification import problems
from taifish import roles

pytestmark = [pytest.mark.page, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def people(transactional_db) -> dict[str, User]:
    roles.install()
    made = {"root": User.objects.create_superuser("root")}
    for name in ("carol", "dave", "erin"):
        made[name] = User.objects.create_user(name, is_staff=True)
        made[name].groups.add(Group.objects.get(name="Reviewer"))
    return made


@pytest.fixture
def fleet(people, instances) -> None:
    visits = Visits(instances[0])
    names = ("alice", "bob", "app", "<b>bold</b>", "two\nlines")
    visits.visit(
        [*(role(name, n, can_login=True) for n, name in enumerate(names, 1)), role("team", 9)],
        [grant(name, "SELECT", "table", "shop.a.t", "5/51") for name in names],
        [MembershipFact(("alice", ""), ("team", ""))],
    )
    alice = Account.objects.get(name="alice")
    own = Classification.objects.create(code="own", name="Privileged", risk="critical")
    Assignment.objects.create(
        account=alice, instance=alice.instance, classification=own, reason="x", since=timezone.now()
    )
    owned(alice, people["carol"])


def enter(page: object, live_server: object, user: User) -> None:
    client = Client()
    client.force_login(user)
    page.context.clear_cookies()
    page.context.add_cookies(
        [
            {
                "name": settings.SESSION_COOKIE_NAME,
                "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
                "url": live_server.url,
            }
        ]
    )


def looked_at(page: object, picture: Callable[[str], Path], name: str, *, again: bool = True) -> None:
    """Take the page wide and narrow, light and dark; no width scrolls sideways."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        if again:
            page.reload()
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            picture(f"{name}-{scheme}-{width}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1440, "height": 900})
    if again:
        page.reload()


def test_three_reviewers_play_a_campaign_to_the_sealed_pack(
    browser_page, live_server, picture, people, fleet, tmp_path
):
    """F9.3, F9.4, F9.6."""
    page, home = browser_page, live_server.url
    enter(page, live_server, people["root"])
    page.goto(home + reverse("admin:reviews_campaign_add"))
    page.fill("[name=name]", "Quarter 4")
    page.fill("[name=due_on]", str(timezone.localdate() + timedelta(days=14)))
    for n, name in enumerate(("carol", "dave", "erin")):
        if n:
            page.get_by_text(re.compile("Add another reviewer", re.IGNORECASE)).first.click()
        page.select_option(f"[name=reviewers-{n}-user]", label=name)
    looked_at(page, picture, "campaign-form", again=False)
    page.click("[name=_save]")
    made = Campaign.objects.get()
    board = home + reverse("admin:reviews_campaign_change", args=[made.pk])
    page.goto(board)
    looked_at(page, picture, "campaign-draft")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(board)
    assert "2 instances were unknown" in page.inner_text("main, #content, body")
    assert {item.reviewer for item in Item.objects.filter(account_label="alice")}.isdisjoint({people["carol"]})

    for name in ("carol", "dave", "erin"):
        enter(page, live_server, people[name])
        page.goto(home + reverse("my-items"))
        mine = Item.objects.filter(reviewer=people[name])
        assert page.locator("[name=items]").count() == mine.count() > 0
        looked_at(page, picture, f"my-items-{name}")
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.get_by_role("button", name="Revoke").click()
        assert "Give a reason" in page.inner_text("[role=alert]")
        assert page.locator("[name=items]:checked").count() == 1, "what was chosen stays chosen"
        page.fill("[name=reason]", "not needed any more")
        page.get_by_role("button", name="Revoke").click()
        page.wait_for_selector("text=1 decision made")
        if mine.filter(verdict="").exists():
            page.check("[data-all]")
            page.fill("[name=reason]", "checked with the team")
            page.get_by_role("button", name="Keep").click()
            page.wait_for_selector("text=made")
        page.goto(home + reverse("my-items") + "?state=all")
        assert "not seen gone" in page.inner_text("table")
        looked_at(page, picture, f"my-items-{name}-decided")
        assert not mine.filter(verdict="").exists()
    assert all(one.seconds is not None for one in Decision.objects.all())

    enter(page, live_server, people["root"])
    page.goto(board)
    assert "3 to be revoked, not seen gone" in page.inner_text("body")
    looked_at(page, picture, "campaign-board")
    page.goto(home + reverse("admin:reviews_item_changelist"))
    looked_at(page, picture, "items")
    page.goto(home + reverse("admin:reviews_item_change", args=[Item.objects.filter(verdict="revoke").first().pk]))
    looked_at(page, picture, "item")
    page.goto(board)
    page.get_by_role("button", name="Close", exact=False).first.click()
    page.locator("main button, form button").get_by_text("Close").last.click()
    page.wait_for_url(board)
    page.get_by_role("button", name="Acknowledge").click()
    page.fill("[name=text]", "Seen and accepted, with three revokes open.")
    looked_at(page, picture, "campaign-acknowledge", again=False)
    page.get_by_role("button", name="Acknowledge").click()
    page.wait_for_url(board)
    page.get_by_role("button", name="Seal").click()
    page.get_by_role("button", name="Seal").click()
    page.wait_for_url(board)
    looked_at(page, picture, "campaign-sealed")
    with page.expect_download() as download:
        page.get_by_role("button", name="Evidence pack").click()
    file = tmp_path / "pack.zip"
    download.value.save_as(file)
    assert problems(file) == []
    assert Campaign.objects.get().state == "sealed"
