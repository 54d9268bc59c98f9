"""The pages of one's own login in a real browser, with a security key that Chromium emulates."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from instances.tests.pages import entered as entered_client
from taifish.models import ApiToken, SecondFactorGroup
from taifish.tests.browser import leave
from taifish.tests.test_pages import faults
from taifish.tests.test_second_factor import PASSWORD, code_of

pytestmark = pytest.mark.page

LOGIN = reverse("admin:login")


@pytest.fixture
def bob(transactional_db: None) -> User:
    """A user who must have a second factor."""
    user = User.objects.create_superuser("bob", password=PASSWORD)
    group = Group.objects.create(name="Careful people")
    user.groups.add(group)
    SecondFactorGroup.objects.create(group=group)
    return user


@pytest.fixture
def site(live_server: Any) -> str:
    """Browsers know security keys at names of hosts only."""
    return live_server.url.replace("127.0.0.1", "localhost")


@pytest.fixture
def browser(browser_context: Any) -> Any:
    """A page with an emulated key of the kind that is built in."""
    browser_context.clear_cookies()
    page = browser_context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    tools = browser_context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    key = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    tools.send("WebAuthn.addVirtualAuthenticator", {"options": key})
    yield page
    page.close()
    assert wrong == []


def enter(page: Any, site: str) -> None:
    page.goto(site + LOGIN)
    page.fill("[name=username]", "bob")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")


def test_a_security_key_is_set_up_and_used_to_log_in_and_to_confirm(browser, site, bob, settings):
    """F8.4: WebAuthn in Chromium, and a token that needs a recent login."""
    settings.ALLOWED_HOSTS = ["localhost"]
    enter(browser, site)
    browser.wait_for_url(f"**{reverse('mfa_index')}")
    browser.get_by_text("must have a second factor").wait_for()
    browser.get_by_role("link", name="Add a security key").click()
    browser.fill("[name=name]", "laptop")
    browser.get_by_role("button", name="Add a security key").click()
    browser.wait_for_url(f"**{reverse('mfa_view_recovery_codes')}")
    assert browser.locator("[data-codes] li").count() == 10
    browser.get_by_role("link", name="I have copied them").click()
    browser.get_by_text("laptop").wait_for()
    assert {row.type for row in Authenticator.objects.filter(user=bob)} == {"webauthn", "recovery_codes"}

    leave(browser)
    enter(browser, site)
    browser.wait_for_url(f"**{reverse('mfa_authenticate')}")
    browser.get_by_role("button", name="Use a security key").click()
    browser.wait_for_url(f"**{reverse('admin:index')}")

    # As if the login was long ago.
    cookie = next(one for one in browser.context.cookies() if one["name"] == settings.SESSION_COOKIE_NAME)
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = cookie["value"]
    session = client.session
    session["login_confirmed"] -= 301
    session.save()
    browser.goto(site + reverse("admin:taifish_apitoken_add"))
    browser.fill("[name=name]", "nightly report")
    browser.get_by_role("button", name="Save", exact=True).click()
    browser.get_by_role("link", name="Use a security key").click()
    browser.get_by_role("button", name="Use a security key").click()
    browser.get_by_text("taifish_").first.wait_for()
    assert ApiToken.objects.get().name == "nightly report"


def test_the_answer_to_another_challenge_lets_nobody_in(browser, site, bob, settings):
    """F8.4: what a key signed for one login is worth nothing for another."""
    settings.ALLOWED_HOSTS = ["localhost"]
    enter(browser, site)
    browser.wait_for_url(f"**{reverse('mfa_index')}")
    browser.get_by_role("link", name="Add a security key").click()
    browser.get_by_role("button", name="Add a security key").click()
    browser.wait_for_url(f"**{reverse('mfa_view_recovery_codes')}")
    # The answer to one challenge, sent to another login.
    leave(browser)
    enter(browser, site)
    browser.wait_for_url(f"**{reverse('mfa_authenticate')}")
    posted: list[str] = []
    browser.route("**/login/second-factor/", lambda route: (posted.append(route.request.post_data), route.abort()))
    browser.get_by_role("button", name="Use a security key").click()
    while not posted:
        browser.wait_for_timeout(20)
    browser.unroute("**/login/second-factor/")
    client = Client(SERVER_NAME="localhost")
    client.post(LOGIN, {"username": "bob", "password": PASSWORD})
    answer = parse_qs(posted[0])["credential"][0]
    assert client.get(reverse("mfa_authenticate")).status_code == 200
    assert client.post(reverse("mfa_authenticate"), {"credential": answer}).status_code == 200
    assert "_auth_user_id" not in client.session


def shown(browser_page: Any, live_server: Any, user: User) -> Any:
    """Each page of one's own login, one after the other, by the name of its picture."""
    base = live_server.url

    def go(name: str) -> None:
        assert browser_page.goto(base + reverse(name)).status == 200, name

    client = entered_client(user)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    browser_page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": base}])
    go("mfa_index")
    yield "second-factor-required"
    go("mfa_activate_totp")
    yield "second-factor-app"
    browser_page.fill("[name=code]", "0")
    browser_page.locator("form .tf-button-main").click()
    browser_page.locator(".errorlist, [data-key]").first.wait_for()
    yield "second-factor-app-wrong"
    secret = browser_page.locator("[data-key]").inner_text()
    browser_page.fill("[name=code]", code_of(secret))
    browser_page.locator("form .tf-button-main").click()
    browser_page.wait_for_url(f"**{reverse('mfa_view_recovery_codes')}")
    yield "second-factor-codes"
    for name in ("mfa_view_recovery_codes", "mfa_index", "mfa_deactivate_totp", "mfa_generate_recovery_codes",
                 "mfa_add_webauthn", "account_reauthenticate", "mfa_reauthenticate", "login-sessions"):  # fmt: skip
        go(name)
        yield f"own-{name}"
    half = Client()
    half.post(LOGIN, {"username": user.username, "password": PASSWORD})
    cookie = half.cookies[settings.SESSION_COOKIE_NAME].value
    browser_page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": base}])
    go("mfa_authenticate")
    yield "login-second-factor"


@pytest.mark.parametrize(
    ("width", "scheme", "language"),
    [
        (1440, "light", "en"),
        (390, "dark", "zh-hans"),
        *(
            pytest.param(width, scheme, language, marks=pytest.mark.looks)
            for width, scheme, language in [
                (1440, "light", "zh-hans"),
                (1440, "dark", "en"),
                (1440, "dark", "zh-hans"),
                (390, "light", "en"),
                (390, "light", "zh-hans"),
                (390, "dark", "en"),
            ]
        ),
    ],
)
def test_every_page_of_ones_own_login_fits_and_is_readable(
    browser_page, live_server, bob, picture, width, scheme, language
):
    """F8.4"""
    for number in range(3):
        Client(HTTP_USER_AGENT=f"Browser {number} " + "x" * 60).post(LOGIN, {"username": "bob", "password": PASSWORD})
    browser_page.context.add_cookies(
        [{"name": settings.LANGUAGE_COOKIE_NAME, "value": language, "url": live_server.url}]
    )
    browser_page.emulate_media(color_scheme=scheme)
    browser_page.set_viewport_size({"width": width, "height": 950})
    wrong, names = [], []
    for name in shown(browser_page, live_server, bob):
        names.append(name)
        found = faults(browser_page)
        if (wide := browser_page.evaluate("document.documentElement.scrollWidth")) > width:
            found.append(f"{wide} px wide")
        wrong += [f"{name}: {fault}" for fault in found]
        picture(f"{name}-{width}-{scheme}-{language}")
    browser_page.emulate_media(color_scheme="light")
    assert ("\n".join(wrong), len(names)) == ("", 13)
