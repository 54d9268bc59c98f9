"""The login page and the API count wrong passwords, and make who has too many wait."""

from __future__ import annotations

import base64
import logging
from datetime import timedelta

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from instances.tests.pages import staff, superstaff
from taifish.login import client_address

LOGIN = reverse("admin:login")
RIGHT, WRONG = "Tr0ub4dor&3-right", "Tr0ub4dor&3-wrong"


@pytest.fixture
def ann(db, settings) -> User:
    settings.AXES_FAILURE_LIMIT = 3
    return User.objects.create_superuser("ann", password=RIGHT)


def enter(password: str, name: str = "ann", **headers: str) -> object:
    return Client().post(LOGIN, {"username": name, "password": password}, **headers)


def ask(password: str, name: str = "ann", **headers: str) -> object:
    given = base64.b64encode(f"{name}:{password}".encode()).decode()
    return Client().get("/api/instances/", headers={"Authorization": f"Basic {given}"}, **headers)


def test_three_wrong_passwords_and_the_right_one_waits(ann):
    assert [enter(WRONG).status_code for _ in range(3)] == [200, 200, 429]
    answer = enter(RIGHT)
    assert answer.status_code == 429
    assert "Try again in 15 minutes." in answer.content.decode()
    # Of whoever comes from elsewhere, or under another name, nothing is known.
    assert enter(RIGHT, REMOTE_ADDR="10.0.0.9").status_code == 302
    assert enter(WRONG, "bob").status_code == 200


def test_the_pause_ends_when_it_was_said_to(ann):
    for _ in range(4):
        enter(WRONG)
    assert enter(WRONG).status_code == 429
    assert AccessAttempt.objects.get().failures_since_start == 3
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=15, seconds=1))
    assert enter(RIGHT).status_code == 302


def test_who_gets_in_starts_anew(ann):
    for _ in range(2):
        assert [enter(WRONG).status_code for _ in range(2)] == [200, 200]
        assert enter(RIGHT).status_code == 302
    assert not AccessAttempt.objects.exists()
    assert not AccessLog.objects.exists()


def test_the_api_counts_with_the_login_page(ann):
    assert [ask(WRONG).status_code for _ in range(2)] == [401, 401]
    assert enter(WRONG).status_code == 429
    answer = ask(RIGHT)
    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    assert answer.json() == {"detail": "Too many wrong passwords. Try again in 15 minutes."}
    assert ask(RIGHT, REMOTE_ADDR="10.0.0.9").status_code == 200


def test_a_name_that_no_store_can_hold_is_nobody(ann):
    answer = ask(RIGHT, "an\0n")
    assert (answer.status_code, list(answer.json())) == (401, ["detail"])


@pytest.mark.parametrize(
    ("behind", "forwarded", "address"),
    [
        (False, None, "10.0.0.1"),
        (False, "192.0.2.7", "10.0.0.1"),
        (True, "192.0.2.7", "192.0.2.7"),
        (True, "made up, 192.0.2.7", "192.0.2.7"),
        (True, "192.0.2.7, 2001:DB8::1", "2001:db8::1"),
        (True, None, "10.0.0.1"),
        (True, "nonsense", None),
    ],
)
def test_whose_address_it_is(settings, behind, forwarded, address):
    """Only behind a proxy is believed what it says, and of that only what it wrote itself."""
    settings.TAIFISH_BEHIND_PROXY = behind
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", headers=headers, REMOTE_ADDR="10.0.0.1")) == address


def test_a_forged_address_opens_no_second_door(ann):
    for number in range(3):
        enter(WRONG, HTTP_X_FORWARDED_FOR=f"192.0.2.{number}")
    assert enter(RIGHT, HTTP_X_FORWARDED_FOR="192.0.2.99").status_code == 429


def test_who_runs_taifish_lets_them_in_again(ann):
    for _ in range(3):
        enter(WRONG)
    page = reverse("admin:axes_accessattempt_changelist")
    client = superstaff()
    assert "ann" in client.get(page).content.decode()
    chosen = {"action": "delete_selected", "_selected_action": [AccessAttempt.objects.get().pk], "post": "yes"}
    assert staff("axes.view_accessattempt").post(page, chosen).status_code == 403
    assert client.post(page, chosen).status_code == 302
    assert enter(RIGHT).status_code == 302


def test_no_password_is_kept_or_logged(ann, caplog):
    with caplog.at_level(logging.DEBUG):
        for _ in range(4):
            enter(WRONG)
            ask(WRONG)
        enter(RIGHT)
    kept = str(list(AccessAttempt.objects.values()))
    assert "ann" in kept
    assert not [secret for secret in (RIGHT, WRONG) if secret in kept + caplog.text]
