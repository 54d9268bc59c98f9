"""The inbox and its bell, the daily summary, rules that are active from the start, and the kinds about expiry."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from accounts.tests.stored import account
from alerts import services
from alerts.models import Alert, AlertRule, Channel, Delivery
from instances.tests.api import client_of
from instances.tests.pages import entered, told, user_with
from sync.models import VisitHealth
from tagging.models import InstanceTag, Tag, TagLimit
from taifish.health import checks

COUNT, LIST = reverse("unread-alerts"), reverse("admin:alerts_alert_changelist")


@pytest.fixture
def two(make_rule, make_instance) -> list[Alert]:
    """An open alert for each of two instances."""
    make_rule("failing", threshold=2, name="Failing")
    for name in ("one", "two"):
        VisitHealth.objects.create(instance=make_instance(name), kind="accounts", failures=2, error_code="x")
    services.evaluate()
    return list(Alert.objects.order_by("instance__name"))


@pytest.fixture
def user(db) -> User:
    return user_with("alerts.view_alert")


def unread(user: User) -> int:
    return entered(user).get(COUNT).json()["unread"]


# The inbox


def test_the_bell_counts_what_is_unread_by_user(two, user, django_assert_num_queries):
    other = User.objects.create_superuser("other")
    assert (unread(user), unread(other)) == (2, 2)
    page = entered(user).get(LIST).content.decode()
    assert f'data-unread="{COUNT}"' in page
    answer = entered(user).post(
        LIST, {"action": "mark_read", "_selected_action": [two[0].pk], "select_across": "0"}, follow=True
    )
    assert "1 alert is marked as read." in told(answer)
    assert (unread(user), unread(other)) == (1, 2)
    shown = entered(user).get(LIST, {"unread": "yes"}).context["cl"].result_list
    assert [alert.pk for alert in shown] == [two[1].pk]
    entered(user).post(reverse("admin:alerts_alert_do_on_list", args=["read"]))
    assert (unread(user), unread(other)) == (0, 2)
    with django_assert_num_queries(1):
        assert Alert.objects.unread(other).count() == 2


def test_an_alert_that_is_over_is_not_unread_and_a_new_one_is(two, user):
    services.mark_read(user)
    VisitHealth.objects.filter(instance__name="one").update(failures=0)
    services.evaluate()
    VisitHealth.objects.filter(instance__name="one").update(failures=3)
    services.evaluate()
    assert unread(user) == 1
    VisitHealth.objects.update(failures=0)
    services.evaluate()
    assert unread(user) == 0


def test_the_inbox_is_limited_to_what_one_sees(two, user):
    """A user who is limited to a tag neither counts nor marks alerts of other instances."""
    tag = Tag.objects.create(slug="mine", label="Mine")
    InstanceTag.objects.create(instance=two[0].instance, tag=tag)
    TagLimit.objects.create(user=user, tag=tag)
    user = User.objects.get(pk=user.pk)
    assert unread(user) == 1
    assert client_of(user).post("/api/alerts/mark-read/", {"ids": [two[1].pk]}, format="json").json() == {"marked": 0}
    assert client_of(user).get("/api/alerts/", {"unread": "true"}).json()["count"] == 1
    assert client_of(user).post("/api/alerts/mark-read/", {}, format="json").json() == {"marked": 1}
    assert client_of(user).get("/api/alerts/", {"unread": "true"}).json()["count"] == 0
    assert two[1].read_by.count() == 0


def test_nobody_without_the_permission_has_a_bell(db):
    nobody = user_with("instances.view_instance")
    assert entered(nobody).get(COUNT).status_code == 403
    assert "data-unread" not in entered(nobody).get(reverse("admin:index")).content.decode()


# On by default


def test_rules_of_a_new_store_are_activated_once(first_rules):
    AlertRule.objects.update(active=False, evaluated_at=None)
    assert not services.nobody_informed().startswith("No active rule has")
    call_command("install_schedules", verbosity=0)
    assert not AlertRule.objects.filter(active=False).exists()
    assert AlertRule.objects.filter(active_since=None).count() == 0
    services.evaluate()
    AlertRule.objects.update(active=False)
    assert services.activate_shipped() == 0


def test_rules_that_somebody_has_set_up_stay_as_they_are(first_rules, make_channel):
    AlertRule.objects.update(active=False, evaluated_at=None)
    AlertRule.objects.first().channels.add(make_channel("email", addresses="dba@example.com"))
    assert services.activate_shipped() == 0


def test_health_says_when_nobody_would_be_informed(db, make_rule, make_channel, django_assert_num_queries):
    """Off does not look like failed."""
    AlertRule.objects.update(active=False)
    page = entered(User.objects.create_superuser("root"))

    def state() -> tuple[bool, bool, str]:
        (check,) = [check for check in checks() if check.name == "Alerts"]
        return check.ok, check.is_off, check.text

    assert state() == (True, True, "No alert rule is active: nothing is looked at. Activate rules.")
    text = page.get(reverse("health")).content.decode()
    assert '<span class="tf-badge tf-off">off</span>' in text
    rule = make_rule("paused")
    assert "listed in the inbox only" in state()[2]
    rule.channels.add(make_channel("email", addresses="dba@example.com", active=False))
    assert "listed in the inbox only" in state()[2]
    Channel.objects.update(active=True)
    assert state()[:2] == (True, False)
    with django_assert_num_queries(1):
        assert services.nobody_informed() == ""


def test_a_rule_that_is_off_does_not_look_failed(make_rule):
    make_rule("paused", active=False)
    page = entered(User.objects.create_superuser("root")).get(reverse("admin:alerts_alertrule_changelist"))
    assert 'tf-badge tf-off">off<' in page.content.decode()


# The daily summary


def test_the_daily_summary_goes_to_mail_channels_that_take_it(two, make_channel):
    make_channel("email", addresses="dba@example.com", name="dba")
    make_channel("email", addresses="off@example.com", name="off", daily=False)
    make_channel("email", addresses="gone@example.com", name="gone", active=False)
    make_channel("webhook", url="https://hooks.example.com/x", name="hook")
    Alert.objects.filter(pk=two[1].pk).update(first_seen_at=timezone.now() - timedelta(days=3))
    services.summarize()
    services.deliver()
    (message,) = mail.outbox
    assert (message.to, message.subject) == (["dba@example.com"], "Taifish, daily: 1 new in the last day, 2 open")
    assert "- one: visits of the kind" in message.body
    assert "- two: " not in message.body


def test_the_summary_says_so_when_there_is_nothing_new(make_rule, make_channel):
    make_channel("email", addresses="dba@example.com")
    AlertRule.objects.update(active=False)
    assert services.summarize() == []
    make_rule("paused")
    (delivery,) = services.summarize()
    assert delivery.digest["subject"] == "Taifish, daily: 0 new in the last day, 0 open"
    assert Delivery.objects.count() == 1


# Expiry


def texts() -> list[str]:
    return [alert.text for alert in Alert.objects.open().order_by("pk")]


def test_accounts_that_expire_soon(make_rule, make_instance):
    """Unknown is not "never", and neither is reported as expiring."""
    make_rule("account_expires", threshold=14)
    pg, now = make_instance("pg"), timezone.now()
    soon = account(pg, "soon", valid_until=now + timedelta(days=13), can_login=True)
    account(pg, "later", valid_until=now + timedelta(days=15), can_login=True)
    account(pg, "over", valid_until=now - timedelta(days=1), can_login=True)
    account(pg, "unknown", valid_until=None, can_login=True)
    account(pg, "locked", valid_until=now + timedelta(days=1), is_locked=True)
    account(pg, "nologin", valid_until=now + timedelta(days=1), can_login=False)
    account(pg, "gone", valid_until=now + timedelta(days=1), gone_at=now)
    account(pg, "unread", valid_until=now + timedelta(days=1), can_login=None, is_locked=None)
    services.evaluate()
    assert [text.partition(" is valid until")[0] for text in texts()] == ["soon", "unread"]
    assert Alert.objects.earliest("pk").instance == pg
    # Prolonged.
    soon.valid_until = now + timedelta(days=90)
    soon.save()
    services.evaluate()
    assert [text.partition(" is valid until")[0] for text in texts()] == ["unread"]


def test_passwords_that_have_expired(make_rule, make_instance):
    make_rule("password_expired")
    my = make_instance("my", engine="mysql")
    account(my, "app", host="%", password_expired=True, can_login=True)
    account(my, "fine", host="%", password_expired=False, can_login=True)
    account(my, "unknown", host="%", password_expired=None, can_login=True)
    account(my, "locked", host="%", password_expired=True, is_locked=True)
    services.evaluate()
    assert texts() == ["the password of app@% has expired"]


@pytest.mark.page
def test_the_bell_in_the_browser(
    transactional_db, live_server, browser_context, browser_page, make_rule, make_instance
):
    """Two unread, one marked, one unread; then no number."""
    user = User.objects.create_superuser("root")
    make_rule("failing", threshold=2, name="Failing")
    for name in ("one", "two"):
        VisitHealth.objects.create(instance=make_instance(name), kind="accounts", failures=2, error_code="x")
    services.evaluate()
    cookie = entered(user).cookies["sessionid"].value
    browser_context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    browser_page.goto(live_server.url + reverse("admin:index"))
    bell = browser_page.locator(".tf-bell")
    bell.locator("b").get_by_text("2", exact=True).wait_for()
    assert bell.get_attribute("aria-label") == "Unread alerts: 2"
    services.mark_read(user, Alert.objects.filter(instance__name="one"))
    bell.click()
    browser_page.locator(".tf-bell b").get_by_text("1", exact=True).wait_for()
    assert browser_page.locator("#result_list tbody").count() == 1
    browser_page.get_by_role("button", name="Mark all as read").click()
    browser_page.get_by_text("1 alert is marked as read.").wait_for()
    browser_page.wait_for_load_state("networkidle")
    assert browser_page.locator(".tf-bell b").is_hidden()
