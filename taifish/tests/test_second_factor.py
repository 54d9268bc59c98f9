"""The second step of a login: codes of an app, recovery codes, security keys, and groups that require one of them."""

from __future__ import annotations

import base64
import hmac
import re
import time
from hashlib import sha1
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt
from cryptography.fernet import Fernet
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from instances.services import rotate_credential_keys
from instances.tests.pages import entered, superstaff
from taifish import roles
from taifish.login import AddressLimit
from taifish.models import ApiToken, SecondFactorGroup

LOGIN, STEP, HOME = reverse("admin:login"), reverse("mfa_authenticate"), reverse("admin:index")
PASSWORD = "Tr0ub4dor&3-right"


def code_of(secret: str, step: int = 0) -> str:
    """The code of RFC 6238 so many steps of 30 seconds from now; the step of now does not end in the next 2 s."""
    if (left := 30 - time.time() % 30) < 2:
        time.sleep(left)
    counter = (int(time.time()) // 30 + step).to_bytes(8, "big")
    digest = hmac.digest(base64.b32decode(secret), counter, sha1)
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


def wrong_code(secret: str) -> str:
    right = {code_of(secret, step) for step in range(-2, 3)}
    return next(code for code in ("000000", "111111", "222222", "333333", "444444", "555555") if code not in right)


@pytest.fixture
def ann(db: None, settings: Any) -> User:
    cache.clear()
    settings.TAIFISH_API_BASIC = True
    return User.objects.create_superuser("ann", password=PASSWORD)


def with_password(client: Client, name: str = "ann", **how: str) -> Any:
    return client.post(LOGIN, {"username": name, "password": PASSWORD, "next": "/admin/trends/"}, **how)


def set_up(client: Client) -> tuple[str, list[str]]:
    """Set up an app by the pages. Returns its secret and the recovery codes."""
    page = client.get(reverse("mfa_activate_totp")).text
    secret = re.search(r"data-key>(\w+)<", page)[1]
    answer = client.post(reverse("mfa_activate_totp"), {"code": code_of(secret, -1)})
    assert answer.url == reverse("mfa_view_recovery_codes"), answer
    shown = client.get(answer.url).text
    return secret, re.findall(r"<li>(\d+)</li>", shown)


@pytest.fixture
def factor(ann: User) -> tuple[str, list[str]]:
    return set_up(entered(ann))


def step(client: Client, code: str, **how: str) -> Any:
    return client.post(STEP, {"code": code}, **how)


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_a_password_alone_is_half_a_login(factor):
    """F8.4: until the code is right nobody is logged in, and no page opens."""
    secret, _codes = factor
    client = Client()
    answer = with_password(client)
    assert (answer.status_code, answer.url, is_in(client)) == (302, STEP, False)
    assert client.get(HOME).url.startswith(LOGIN)
    assert client.get("/api/instances/").status_code == 401
    assert "six digits of your app" in client.get(STEP).text
    answer = step(client, wrong_code(secret))
    assert (answer.status_code, "security key is wrong" in answer.text, is_in(client)) == (200, True, False)
    answer = step(client, code_of(secret))
    assert (answer.status_code, answer.url, is_in(client)) == (302, "/admin/trends/", True)
    assert client.get(HOME).status_code == 200


def test_without_a_factor_a_password_is_enough(ann):
    client = Client()
    assert with_password(client).url == "/admin/trends/"
    assert is_in(client)
    assert Client().get(STEP).url == LOGIN


def test_a_code_of_the_app_works_once(factor):
    """F8.4: nor does an earlier one work after a later one; in all web processes, so it is not the cache that knows."""
    secret, _codes = factor
    for number, expected in ((0, True), (0, False), (-1, False), (1, True)):
        cache.clear()
        client = Client()
        with_password(client)
        step(client, code_of(secret, number))
        assert is_in(client) == expected, number


def test_the_code_that_set_up_the_app_does_not_log_in(ann, django_capture_on_commit_callbacks):
    """F8.4"""
    with django_capture_on_commit_callbacks(execute=True):
        secret, _codes = set_up(entered(ann))
    for number, expected in ((-1, False), (0, True)):
        client = Client()
        with_password(client)
        step(client, code_of(secret, number))
        assert is_in(client) == expected, number


def test_a_recovery_code_works_once(factor):
    _secret, codes = factor
    assert len(codes) == 10 == len(set(codes))
    for expected in (True, False):
        client = Client()
        with_password(client)
        step(client, codes[3])
        assert is_in(client) == expected


def test_recovery_codes_are_shown_once(ann):
    client = entered(ann)
    _secret, codes = set_up(client)
    page = client.get(reverse("mfa_view_recovery_codes")).text
    assert "were shown once" in page
    assert not [code for code in codes if code in page]
    answer = client.post(reverse("mfa_generate_recovery_codes"), follow=True)
    new = re.findall(r"<li>(\d+)</li>", answer.text)
    assert (len(new), set(new) & set(codes)) == (10, set())


def test_half_a_login_ends_after_five_minutes(factor, monkeypatch):
    secret, _codes = factor
    client = Client()
    with_password(client)
    code, now = code_of(secret), time.time
    monkeypatch.setattr(time, "time", lambda: now() + 301)
    assert step(client, code).url == LOGIN
    assert not is_in(client)


def test_wrong_codes_lock_the_name_at_this_address(factor, settings):
    """F8.3: as wrong passwords do, and before the code is looked at."""
    settings.AXES_FAILURE_LIMIT = 3
    secret, codes = factor
    client = Client()
    with_password(client)
    assert [step(client, wrong_code(secret)).status_code for _ in range(3)] == [200, 200, 429]
    for code in (code_of(secret), codes[0]):
        answer = step(client, code)
        assert (answer.status_code, is_in(client)) == (429, False)
        assert 0 < int(answer["Retry-After"]) <= 900
    assert with_password(Client()).status_code == 429
    elsewhere = Client(REMOTE_ADDR="10.0.0.9")
    with_password(elsewhere)
    assert step(elsewhere, code_of(secret)).status_code == 302


def test_a_right_password_does_not_reset_wrong_codes(factor, settings):
    """F8.3: whoever has the password gets no more guesses by logging in again."""
    settings.AXES_FAILURE_LIMIT = 3
    secret, _codes = factor
    answers = []
    for _ in range(3):
        client = Client()
        with_password(client)
        answers.append(step(client, wrong_code(secret)).status_code)
    assert answers == [200, 200, 429]


def test_wrong_codes_count_for_the_address(factor, settings):
    """F8.3: together with wrong passwords."""
    settings.TAIFISH_LOGIN_ADDRESS_TRIES = 3
    secret, _codes = factor
    client = Client()
    with_password(client)
    Client().post(LOGIN, {"username": "bob", "password": "wrong"})
    assert [step(client, wrong_code(secret)).status_code for _ in range(2)] == [200, 200]
    answer = step(client, code_of(secret))
    assert (answer.status_code, "from this address" in answer.text, is_in(client)) == (429, True, False)


def test_wrong_codes_of_one_user_are_limited_from_all_addresses(factor):
    """F8.3: a botnet that has the password gets twenty guesses in a quarter of an hour from each web process."""
    secret, _codes = factor
    for number in range(20):
        client = Client(REMOTE_ADDR=f"10.0.0.{number}")
        with_password(client)
        assert step(client, wrong_code(secret)).status_code == 200
    client = Client(REMOTE_ADDR="10.0.1.1")
    with_password(client)
    assert "Too many failed logins of this user" in step(client, code_of(secret)).text
    assert not is_in(client)


def test_a_success_ends_the_count_of_the_name(factor):
    secret, _codes = factor
    client = Client()
    with_password(client)
    step(client, wrong_code(secret))
    assert AccessAttempt.objects.filter(username="ann").exists()
    step(client, code_of(secret))
    assert not AccessAttempt.objects.filter(username="ann").exists()


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": "\0"}, {"code": "9" * 5000}, {"credential": "[1]"},
                                  {"credential": '{"id": 1, "rawId": "x", "response": 7, "type": "public-key"}'},
                                  {"credential": '{"response": {}}'}, {"credential": "null"}])  # fmt: skip
def test_no_answer_is_a_failure(factor, body):
    """F8.7: nothing that is posted is a server error, or a login."""
    client = Client()
    with_password(client)
    assert client.post(STEP, body).status_code < 500
    assert not is_in(client)


def test_secrets_are_encrypted_and_rotated(factor, settings):
    """F8.4: neither the app's secret nor a recovery code can be read in the store; a new key encrypts them again."""
    secret, codes = factor
    stored = str(list(Authenticator.objects.values()))
    assert not [text for text in (secret, *codes) if text in stored]
    settings.TAIFISH_CREDENTIAL_KEYS = [Fernet.generate_key().decode(), *settings.TAIFISH_CREDENTIAL_KEYS]
    assert rotate_credential_keys() == 2
    settings.TAIFISH_CREDENTIAL_KEYS = settings.TAIFISH_CREDENTIAL_KEYS[:1]
    client = Client()
    with_password(client)
    assert step(client, code_of(secret)).status_code == 302


def test_basic_authentication_is_no_way_around(factor, ann):
    """F8.4: it has no second step. A token has, where it is made."""
    basic = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()

    def ask(scheme: str, secret: str) -> Any:
        return Client().get("/api/instances/", headers={"Authorization": f"{scheme} {secret}"})

    answer = ask("Basic", basic)
    assert (answer.status_code, "second factor" in answer.json()["detail"]) == (401, True)
    token = ApiToken(user=ann, name="report")
    secret = token.draw()
    token.save()
    assert ask("Bearer", secret).status_code == 200
    Authenticator.objects.all().delete()
    assert ask("Basic", basic).status_code == 200


# Groups that require it


@pytest.fixture
def required(ann: User) -> User:
    roles.install()
    group = Group.objects.get(role__key="viewer")
    SecondFactorGroup.objects.create(group=group)
    user = User.objects.create_user("bob", password=PASSWORD, is_staff=True)
    user.groups.add(group)
    return user


def test_a_member_opens_nothing_until_there_is_a_factor(required):
    """F8.4"""
    client = Client()
    with_password(client, "bob")
    for path in (HOME, "/admin/instances/instance/", reverse("admin:password_change"), reverse("login-sessions")):
        assert client.get(path).url == reverse("mfa_index"), path
    answer = client.get("/api/instances/")
    assert (answer.status_code, "second factor" in answer.json()["detail"]) == (403, True)
    page = client.get(reverse("mfa_index"))
    assert (page.status_code, "must have a second factor" in page.text) == (200, True)
    basic = base64.b64encode(f"bob:{PASSWORD}".encode()).decode()
    assert client.get("/api/instances/", headers={"Authorization": f"Basic {basic}"}).status_code in (401, 403)
    secret, _codes = set_up(client)
    assert "must have" not in client.get(reverse("mfa_index")).text
    assert client.get(HOME).status_code == 200
    client = Client()
    with_password(client, "bob")
    step(client, code_of(secret))
    assert client.get(HOME).status_code == 200


def test_a_new_requirement_reaches_who_is_logged_in_within_a_minute(required, monkeypatch):
    SecondFactorGroup.objects.all().delete()
    client = entered(required)
    assert client.get(HOME).status_code == 200
    SecondFactorGroup.objects.create(group=required.groups.get())
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 61)
    assert client.get(HOME).url == reverse("mfa_index")
    SecondFactorGroup.objects.all().delete()
    assert client.get(HOME).status_code == 200


def test_a_member_can_log_out(required):
    client = Client()
    with_password(client, "bob")
    assert client.post(reverse("admin:logout")).status_code == 200
    assert not is_in(client)


def inlines(page: str) -> dict[str, str]:
    """The hidden fields that say how many rows each table of a form has."""
    return dict(re.findall(r'name="(\w+-(?:TOTAL|INITIAL)_FORMS)" value="(\d+)"', page))


def test_a_superuser_requires_it_on_the_page_of_a_group(required):
    group, client = required.groups.get(), superstaff()
    url = reverse("admin:auth_group_change", args=[group.pk])
    page = client.get(url).text
    assert re.search(r'name="needs_second_factor"[^>]*checked', page)
    held = [str(pk) for pk in group.permissions.values_list("pk", flat=True)]
    client.post(url, {"name": group.name, "permissions": held, **inlines(page)})
    assert not SecondFactorGroup.objects.exists()
    client.post(url, {"name": group.name, "permissions": held, "needs_second_factor": "on", **inlines(page)})
    assert SecondFactorGroup.has(required)


def test_a_superuser_removes_factors_that_were_lost(factor, ann):
    url = reverse("admin:auth_user_change", args=[ann.pk])
    client = superstaff()
    page = client.get(url).text
    assert "TOTP" in page
    stored = [value for row in Authenticator.objects.all() for value in row.data.values() if isinstance(value, str)]
    assert not [value for value in stored if value in page]
    for name in ("mfa_authenticator", "account_emailaddress", "usersessions_usersession"):
        assert client.get(f"/admin/{name.replace('_', '/')}/").status_code == 404
    rows = Authenticator.objects.filter(user=ann)
    form = {"username": "ann", "is_active": "on", "is_staff": "on", "is_superuser": "on", "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00"} | inlines(page)  # fmt: skip
    for number, row in enumerate(rows):
        form |= {f"authenticator_set-{number}-id": row.pk, f"authenticator_set-{number}-user": ann.pk,
                 f"authenticator_set-{number}-DELETE": "on"}  # fmt: skip
    answer = client.post(url, form)
    assert answer.status_code == 302, re.findall(r"errorlist.*", answer.text)
    client = Client()
    with_password(client)
    assert is_in(client)


def test_removing_the_app_removes_the_recovery_codes(ann):
    client = entered(ann)
    set_up(client)
    assert client.get(reverse("mfa_deactivate_totp")).status_code == 200
    assert client.post(reverse("mfa_deactivate_totp")).url == reverse("mfa_index")
    assert not Authenticator.objects.exists()


def test_codes_are_checked_a_few_at_a_time(factor, monkeypatch):
    """F8.3: the second step takes its turn with the passwords of its address, and is refused at once if many wait."""
    secret, _codes = factor
    client = Client()
    with_password(client)
    with AddressLimit.queue.turn("10.0.0.9", 0, 1):
        monkeypatch.setattr("taifish.login.WAITING", 0)
        answer = step(client, code_of(secret))
        assert (answer.status_code, answer["Retry-After"], is_in(client)) == (429, "1", False)
    monkeypatch.undo()
    assert step(client, code_of(secret)).status_code == 302
