"""Sessions end by themselves, are listed and ended by hand; and what asks for the login again."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from console.recent_login import CONFIRMED, FORM
from instances.models import Credential
from instances.tests.pages import entered, staff
from taifish import roles
from taifish.models import ApiToken
from taifish.tests.test_matrix import somebody
from taifish.tests.test_second_factor import PASSWORD, code_of, set_up, wrong_code

LOGIN, HOME, SESSIONS = reverse("admin:login"), reverse("admin:index"), reverse("login-sessions")
AGAIN = reverse("account_reauthenticate")


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_superuser("ann", password=PASSWORD)


def logged_in(name: str = "ann", password: str = PASSWORD, **how: str) -> Client:
    client = Client(**how)
    assert client.post(LOGIN, {"username": name, "password": password}).status_code == 302
    return client


def is_in(client: Client) -> bool:
    return client.get(HOME).status_code == 200


class Clock:
    """The time of day for what asks `time` and Django's `timezone`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.later = 0.0
        seconds, moment = time.time, timezone.now
        monkeypatch.setattr(time, "time", lambda: seconds() + self.later)
        monkeypatch.setattr(timezone, "now", lambda: moment() + timedelta(seconds=self.later))

    def go(self, **by: float) -> None:
        self.later += timedelta(**by).total_seconds()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# Time-outs


def test_a_session_ends_after_half_an_idle_hour(ann, clock):
    """F8.4: and not while it is used."""
    client = logged_in()
    for _ in range(4):
        clock.go(minutes=20)
        assert is_in(client)
    clock.go(minutes=31)
    assert client.get(HOME).url.startswith(LOGIN)


def test_a_page_that_refreshes_itself_is_no_use_of_a_session(ann, clock):
    """F8.4: whoever leaves a running session of visits open is logged out."""
    client = logged_in()
    for _ in range(3):
        clock.go(minutes=10, seconds=10)
        client.get(HOME, headers={"X-Taifish-Live": "1"})
    assert not is_in(client)


def test_a_session_ends_after_twelve_hours(ann, clock):
    """F8.4: however much it is used."""
    client = logged_in()
    for _ in range(35):
        clock.go(minutes=20)
        assert is_in(client)
    clock.go(minutes=22)
    assert not is_in(client)


def test_both_times_are_settings(ann, clock, settings):
    settings.TAIFISH_SESSION_IDLE = timedelta(minutes=5)
    client = logged_in()
    clock.go(minutes=6)
    assert not is_in(client)
    settings.TAIFISH_SESSION_IDLE = timedelta(hours=2)
    settings.TAIFISH_SESSION_MAX = timedelta(hours=1)
    client = logged_in()
    clock.go(minutes=61)
    assert not is_in(client)


def test_a_session_from_before_the_upgrade_goes_on_and_is_listed(ann, clock):
    client = entered(ann)
    session = client.session
    for key in ("login_started", "login_seen", "second_factor_missing", CONFIRMED, "_session_expiry"):
        session.pop(key, None)
    session.save()
    assert not UserSession.objects.exists()
    assert is_in(client)
    assert UserSession.objects.get().user == ann
    clock.go(minutes=31)
    assert not is_in(client)


def test_a_page_writes_the_session_once_a_minute(ann, clock):
    client = logged_in()

    def written() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert is_in(client)
        return sum("UPDATE" in query["sql"] and "session" in query["sql"] for query in queries)

    assert written() == 0
    clock.go(seconds=61)
    assert written() == 2
    assert written() == 0


# Listing and ending


def test_sessions_are_listed_and_ended(ann):
    """F8.4"""
    here, there = logged_in(), logged_in(REMOTE_ADDR="192.0.2.7", HTTP_USER_AGENT="<b>Old browser")
    page = here.get(SESSIONS)
    assert "192.0.2.7" in page.text
    assert "&lt;b&gt;Old browser" in page.text
    assert page.text.count("this session") == 1
    row = UserSession.objects.get(ip="192.0.2.7")
    assert here.post(SESSIONS, {"session": row.pk}).url == SESSIONS
    assert (is_in(here), is_in(there)) == (True, False)
    assert "192.0.2.7" not in here.get(SESSIONS).text


def test_all_other_sessions_end_at_once_and_ones_own_too(ann):
    here, *others = (logged_in() for _ in range(3))
    here.post(SESSIONS, {"session": "others"})
    assert [is_in(client) for client in (here, *others)] == [True, False, False]
    answer = here.post(SESSIONS, {"session": UserSession.objects.get().pk})
    assert (answer.url, is_in(here)) == (LOGIN, False)


def test_only_superusers_see_and_end_those_of_others(ann):
    """F8.4"""
    User.objects.create_user("bob", password=PASSWORD, is_staff=True)
    root, bob = logged_in(REMOTE_ADDR="192.0.2.1"), logged_in("bob", REMOTE_ADDR="192.0.2.2")
    of_root, of_bob = UserSession.objects.get(ip="192.0.2.1"), UserSession.objects.get(ip="192.0.2.2")
    assert "192.0.2.1" not in bob.get(SESSIONS).text
    assert bob.post(SESSIONS, {"session": of_root.pk}).status_code == 404
    assert is_in(root)
    assert "192.0.2.2" in root.get(SESSIONS).text
    root.post(SESSIONS, {"session": of_bob.pk})
    assert (is_in(root), is_in(bob)) == (True, False)


def test_what_has_ended_is_deleted_at_the_next_login(ann, clock):
    """Also of users who never come back."""
    User.objects.create_user("bob", password=PASSWORD, is_staff=True)
    logged_in("bob")
    clock.go(minutes=31)
    logged_in()
    assert [row.user.username for row in UserSession.objects.all()] == ["ann"]
    assert Session.objects.count() == 1


@pytest.mark.parametrize("chosen", ["", "\0", "abc", "9" * 30, "-1", "0"])
def test_no_chosen_session_is_a_failure(ann, chosen):
    assert logged_in().post(SESSIONS, {"session": chosen}).status_code == 404


def test_a_page_of_sessions_takes_as_many_queries_for_many(ann):
    client = logged_in()
    User.objects.create_user("bob", password=PASSWORD, is_staff=True)
    logged_in("bob")

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            client.get(SESSIONS)
        return len(asked)

    few = queries()
    for number in range(5):
        User.objects.create_user(f"user{number}", password=PASSWORD, is_staff=True)
        logged_in(f"user{number}")
        logged_in()
    assert queries() == few


def test_a_deactivated_user_has_no_session(ann):
    User.objects.create_user("bob", password=PASSWORD, is_staff=True)
    root, bob = logged_in(), logged_in("bob", REMOTE_ADDR="192.0.2.2")
    User.objects.filter(username="bob").update(is_active=False)
    assert not is_in(bob)
    assert "192.0.2.2" not in root.get(SESSIONS).text


def test_a_changed_password_ends_all_other_sessions(ann):
    here, there = logged_in(), logged_in()
    new = "Tr0ub4dor&3-new"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert here.post(reverse("admin:password_change"), form).status_code == 302
    assert (is_in(here), is_in(there)) == (True, False)
    assert here.get(SESSIONS).text.count("this session") == 1


def test_a_new_password_has_twelve_characters_and_an_old_one_works(ann):
    """F8.4"""
    ann.set_password("Tr0ub4d")
    ann.save()
    client = logged_in(password="Tr0ub4d")
    for new, status in (("Tr0ub4dor&3", 200), ("Tr0ub4dor&34", 302)):
        form = {"old_password": "Tr0ub4d", "new_password1": new, "new_password2": new}
        answer = client.post(reverse("admin:password_change"), form)
        assert answer.status_code == status, new
    assert logged_in(password="Tr0ub4dor&34")


# Asking for the login again


def named(name: str) -> dict[str, str]:
    """The form of a new token."""
    return {"name": name, "expires_at_0": "2099-01-01", "expires_at_1": "00:00"}


def path_of(url: str) -> str:
    return url.partition("?")[0]


def confirm(client: Client, answer: Any, url: str = AGAIN, **form: str) -> Any:
    """Follow to the page that asks, prove the identity there, and follow back."""
    assert path_of(answer.url) == AGAIN, answer
    asking = client.get(answer.url.replace(AGAIN, url))
    assert asking.status_code == 200
    hidden = re.search(r'name="next"\s+value="([^"]*)"', asking.text)[1].replace("&amp;", "&")
    back = client.post(url, {"next": hidden, **form})
    return client.get(back.url) if back.status_code == 302 else back


def test_making_a_token_asks_for_the_password_and_loses_nothing(ann, clock):
    """F8.4: five minutes after a login."""
    client, url = logged_in(), reverse("admin:taifish_apitoken_add")
    assert "taifish_" in client.post(url, named("at once")).text
    clock.go(minutes=5, seconds=1)
    answer = client.post(url, named("nightly report"))
    assert ApiToken.objects.count() == 1
    page = confirm(client, answer, password=PASSWORD)
    assert "taifish_" in page.text
    assert [token.name for token in ApiToken.objects.order_by("pk")] == ["at once", "nightly report"]
    assert "taifish_" in client.post(url, named("third")).text


def test_a_wrong_password_confirms_nothing_and_counts(ann, clock, settings):
    """F8.3: guesses at an open browser are limited as at the login."""
    settings.AXES_FAILURE_LIMIT = 3
    client, url = logged_in(), reverse("admin:taifish_apitoken_add")
    clock.go(minutes=6)
    answer = client.post(url, named("report"))
    asked = [client.post(answer.url, {"password": "wrong"}).status_code for _ in range(3)]
    assert (asked, ApiToken.objects.count()) == ([200, 200, 429], 0)
    assert client.post(answer.url, {"password": PASSWORD}).status_code == 429


@pytest.mark.parametrize("how", ["add", "change", "delete", "delete_selected"])
def test_changing_credentials_asks_for_the_password(ann, clock, how):
    """F8.4: and the secret that was typed waits encrypted."""
    client = logged_in()
    credential = Credential.objects.create(name="old", username="collector")
    secret = "Hidden-collector-password"
    form = {"name": "new", "username": "collector", "kind": "password", "password": secret, "note": ""}
    url, posted = {
        "add": (reverse("admin:instances_credential_add"), form),
        "change": (reverse("admin:instances_credential_change", args=[credential.pk]), form),
        "delete": (reverse("admin:instances_credential_delete", args=[credential.pk]), {"post": "yes"}),
        "delete_selected": (
            reverse("admin:instances_credential_changelist"),
            {"action": "delete_selected", "_selected_action": credential.pk, "post": "yes"},
        ),
    }[how]
    clock.go(minutes=6)
    assert client.get(url).status_code == 200
    answer = client.post(url, posted)
    assert [row.name for row in Credential.objects.all()] == ["old"]
    kept = str(list(Session.objects.values())) + json.dumps(dict(client.session)) + answer.url
    assert secret not in kept
    assert "Hidden" not in str([row.get_decoded() for row in Session.objects.all()])
    confirm(client, answer, password=PASSWORD)
    names = {"add": {"old", "new"}, "change": {"new"}}.get(how, set())
    assert set(Credential.objects.values_list("name", flat=True)) == names
    if how in ("add", "change"):
        assert Credential.objects.get(name="new").password == secret


def test_the_api_asks_a_session_for_a_recent_login_and_no_program(ann, clock):
    """F8.4: an open browser is no way around, and reading needs none."""
    client = logged_in()
    token = ApiToken(user=ann, name="report")
    secret = token.draw()
    token.save()
    new = {"name": "new", "username": "collector", "password": "Hidden-1"}
    clock.go(minutes=6)
    for path, body in (("/api/tokens/", {"name": "more"}), ("/api/credentials/", new)):
        assert client.get(path).status_code == 200
        answer = client.post(path, body, content_type="application/json")
        assert (answer.status_code, "older than five minutes" in answer.json()["detail"]) == (403, True), path
    assert client.delete(f"/api/tokens/{token.pk}/").status_code == 403
    program = {"headers": {"Authorization": f"Bearer {secret}"}, "content_type": "application/json"}
    assert Client().post("/api/credentials/", new, **program).status_code == 201
    client.post(AGAIN, {"password": PASSWORD})
    assert client.post("/api/tokens/", {"name": "more"}, content_type="application/json").status_code == 201


@pytest.mark.parametrize("value", ["%00", "%FF", "https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_no_address_to_return_to_is_a_failure_or_elsewhere(ann, value):
    """F8.7"""
    client = logged_in()
    page = f"{AGAIN}?next={value}"
    for answer in (client.get(page), client.post(page, {"password": PASSWORD})):
        assert answer.status_code < 500
        assert "evil" not in answer.headers.get("Location", "")
        assert "javascript" not in answer.headers.get("Location", "")
    assert client.get(f"{reverse('admin:taifish_apitoken_add')}?_resume={value}").status_code < 500


def test_changing_users_and_groups_asks_for_the_password(ann, clock):
    """F8.4: an open browser of a superuser makes nobody else one, and takes no second factor away."""
    client, group = logged_in(), Group.objects.create(name="people")
    clock.go(minutes=6)
    new = "Tr0ub4dor&3-new"
    for name, args, form in (
        ("auth_user_add", [], {"username": "eve", "password1": new, "password2": new, "usable_password": "true"}),
        ("auth_user_change", [ann.pk], {"username": "eve"}),
        ("auth_user_password_change", [ann.pk], {"password1": new, "password2": new, "usable_password": "true"}),
        ("auth_user_delete", [ann.pk], {"post": "yes"}),
        ("auth_group_change", [group.pk], {"name": "others"}),
    ):
        url = reverse(f"admin:{name}", args=args)
        assert client.get(url).status_code == 200
        answer = client.post(url, form)
        assert (answer.status_code, path_of(answer.url)) == (302, AGAIN), name
    assert [user.username for user in User.objects.all()] == ["ann"]
    answer = client.post(
        reverse("admin:auth_user_password_change", args=[ann.pk]), {"password1": new, "password2": new}
    )
    confirm(client, answer, password=PASSWORD)
    ann.refresh_from_db()
    assert ann.check_password(new)


def test_what_asks_for_a_login_is_still_the_page_that_it_was(ann):
    """The views of the classes below are called: that of lists refuses unknown actions."""
    for name in ("instances_credential", "taifish_apitoken"):
        answer = logged_in().post(reverse(f"admin:{name}_changelist"), {"action": "nonsense", "_selected_action": "1"})
        assert answer.status_code == 403, name


def test_who_may_only_read_credentials_is_not_asked(db, clock):
    credential = Credential.objects.create(name="old", username="collector")
    client = staff("instances.view_credential")
    clock.go(minutes=6)
    assert client.get(reverse("admin:instances_credential_change", args=[credential.pk])).status_code == 200


def test_a_kept_form_is_posted_once_at_its_address_and_not_later(ann, clock):
    client, url = logged_in(), reverse("admin:taifish_apitoken_add")
    clock.go(minutes=6)
    answer = client.post(url, named("report"))
    back = client.post(answer.url, {"password": PASSWORD}).url
    token = back.partition("_resume=")[2]
    # Neither another address nor another token has it, and asking for it uses it up.
    assert client.get(f"{reverse('admin:instances_credential_add')}?_resume={token}").status_code == 200
    assert "taifish_" not in client.get(back).text
    clock.go(minutes=6)
    back = client.post(client.post(url, named("report")).url, {"password": PASSWORD}).url
    clock.go(minutes=11)
    client.post(AGAIN, {"password": PASSWORD})
    client.get(back)
    assert (ApiToken.objects.count(), FORM in client.session) == (0, False)


def test_a_code_or_a_security_key_confirms_too(ann, clock):
    """F8.4"""
    client = logged_in()
    secret, _codes = set_up(client)
    url = reverse("admin:taifish_apitoken_add")
    clock.go(minutes=6)
    answer = client.post(url, named("report"))
    assert "Use a code" in client.get(answer.url).text
    by_code = reverse("mfa_reauthenticate")
    assert "security key is wrong" in confirm(client, answer, by_code, code=wrong_code(secret)).text
    assert "taifish_" in confirm(client, answer, by_code, code=code_of(secret)).text
    assert ApiToken.objects.get().name == "report"


def test_pages_of_second_factors_need_a_recent_login(ann, clock):
    """F8.4: an open browser is not enough to add a factor, or to remove one."""
    client = logged_in()
    set_up(client)
    clock.go(minutes=6)
    assert client.get(reverse("mfa_index")).status_code == 200
    for name in (
        "mfa_activate_totp",
        "mfa_deactivate_totp",
        "mfa_add_webauthn",
        "mfa_view_recovery_codes",
        "mfa_generate_recovery_codes",
    ):
        for ask in (client.get, client.post):
            assert path_of(ask(reverse(name)).url) == AGAIN, name
    assert ann.authenticator_set.count() == 2


@pytest.mark.parametrize("name", ["mfa_index", "mfa_activate_totp", "login-sessions", "account_reauthenticate"])
def test_ones_own_pages_are_for_every_role_and_no_stranger(db, name):
    roles.install()
    url = reverse(name)
    assert Client().get(url).url.startswith(LOGIN)
    for role in ("nobody", *roles.ROLES):
        user = somebody(role)
        user.set_password(PASSWORD)
        user.save()
        client = entered(user)
        assert client.get(url).status_code == 200, role
        home = client.get(HOME)
        if home.status_code == 200:
            assert reverse("mfa_index") in home.text
            assert SESSIONS in home.text


def test_whoever_has_no_way_to_confirm_is_refused(db, clock):
    """A user without a password and a provider."""
    client = entered(User.objects.create_superuser("script"))
    clock.go(minutes=6)
    answer = client.post(reverse("admin:taifish_apitoken_add"), named("report"))
    assert client.get(answer.url).status_code == 403
    assert not ApiToken.objects.exists()
