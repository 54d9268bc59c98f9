"""Logging in by an OpenID provider that is really asked over HTTP, and all that may be wrong with it."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse
from joserfc.jwk import RSAKey

from instances.tests.pages import superstaff
from taifish import oidc, roles
from taifish.models import ApiToken, Identity, SecondFactorGroup
from taifish.provider import Provider, provider
from taifish.tests.browser import leave
from taifish.tests.oidc_provider import CLIENT, SECRET
from taifish.tests.test_environment import check
from taifish.tests.test_pages import faults

LOGIN, START, HOME = reverse("admin:login"), reverse("oidc-login"), reverse("admin:index")
TOKEN = reverse("admin:taifish_apitoken_add")
NEW_TOKEN = {"name": "nightly report", "expires_at_0": "2099-01-01", "expires_at_1": "00:00"}
GROUPS = (("dba-team", "Manager"), ("auditors", "viewer"), ("on call", "Night shift"))


@pytest.fixture
def trusted(db, oidc_provider, settings):
    """The provider, which is the one of the settings; whoever comes is of the DBA team."""
    roles.install()
    oidc.app_of.cache_clear()
    settings.TAIFISH_OIDC = Provider(
        oidc_provider.url, CLIENT, SECRET, "Example SSO", groups=GROUPS, requires_group=True
    )
    policy = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": {**policy, "form-action": ["'self'", "http:", "https:"]}}
    oidc_provider.claims["groups"] = ["dba-team"]
    yield oidc_provider
    oidc.app_of.cache_clear()


def begun(client: Client, after: str = "") -> str:
    """Press the button, and be sent back by the provider: to this address."""
    sent = client.post(START, {"next": after})
    assert sent.status_code == 302, sent.text
    return requests.get(sent.url, allow_redirects=False, timeout=10).headers["Location"]


def came_back(client: Client, address: str) -> object:
    parts = urlsplit(address)
    return client.get(f"{parts.path}?{parts.query}")


def logged_in(client: Client | None = None, after: str = "") -> object:
    client = client or Client()
    return came_back(client, begun(client, after))


def who(client: Client) -> User | None:
    return User.objects.filter(pk=client.session.get("_auth_user_id")).first()


def held(name: str = "ann") -> set[str]:
    return set(User.objects.get(username=name).groups.values_list("name", flat=True))


def change(settings, **fields: object) -> None:
    settings.TAIFISH_OIDC = replace(settings.TAIFISH_OIDC, **fields)


def test_somebody_new_gets_an_account_with_the_roles_of_the_groups(trusted):
    trusted.claims |= {"email": "ann@example.org", "given_name": "Ann", "family_name": "Lee"}
    client = Client()
    answer = logged_in(client, "/admin/instances/instance/")
    assert (answer.status_code, answer.url) == (302, "/admin/instances/instance/")
    user = who(client)
    assert (user.username, user.email, user.get_full_name()) == ("ann", "ann@example.org", "Ann Lee")
    assert (user.is_staff, user.is_superuser, user.has_usable_password()) == (True, False, False)
    assert held() == {"Manager"}
    assert (user.identity.issuer, user.identity.subject) == (trusted.url, "1")
    assert client.get(HOME).status_code == 200


def test_a_person_is_a_subject_whatever_the_name(trusted):
    logged_in()
    trusted.claims["preferred_username"] = "ann.married"
    client = Client()
    logged_in(client)
    assert (who(client).username, User.objects.count()) == ("ann", 1)
    trusted.claims |= {"sub": "2", "preferred_username": "bob"}
    logged_in(client)
    assert who(client).username == "bob"


def test_elsewhere_is_nowhere_to_go_afterwards(trusted):
    assert logged_in(after="https://evil.example/").url == HOME


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": "another", "azp": CLIENT},
        {"aud": None},
        {"iss": "https://another.example"},
        {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200},
        {"exp": None},
        {"sub": None},
        {"at_hash": "wrong"},
    ],
    # Processes collect at different seconds, and must agree on names.
    ids=lambda claims: " ".join(claims),
)
def test_a_token_that_is_not_right_lets_nobody_in(trusted, claims):
    trusted.claims |= claims
    nobody_enters()


@pytest.mark.parametrize("forger", ["another's key", "the public key", "the client's secret", "none"])
def test_a_token_of_somebody_elses_lets_nobody_in(trusted, forger):
    trusted.forger = {
        "another's key": RSAKey.generate_key(2048, {"kid": "one"}),
        "the public key": trusted.key.as_pem(private=False),
        "the client's secret": SECRET.encode(),
        "none": b"",
    }[forger]
    nobody_enters()


def nobody_enters() -> None:
    client = Client()
    answer = logged_in(client)
    assert (answer.status_code, "invalid or too old" in answer.text) == (403, True)
    assert who(client) is None
    assert not User.objects.exists()


def test_a_key_that_was_changed_is_fetched_again(trusted):
    logged_in()
    trusted.key = RSAKey.generate_key(2048, {"kid": "two"})
    client = Client()
    logged_in(client)
    assert who(client).username == "ann"


def test_an_answer_counts_once_and_for_who_asked(trusted):
    client = Client()
    address = begun(client)
    stranger = came_back(Client(), address)
    assert (stranger.status_code, User.objects.count()) == (403, 0)
    assert came_back(client, address).status_code == 302
    assert came_back(client, address).status_code == 403
    state = parse_qs(urlsplit(begun(client)).query)["state"][0]
    assert client.get(reverse("oidc-callback"), {"state": state, "code": "made up"}).status_code == 403
    assert client.get(reverse("oidc-callback")).status_code == 403
    # By a link, or from a page elsewhere, nothing begins.
    assert client.get(START).status_code == 405
    assert Client(enforce_csrf_checks=True).post(START).status_code == 403


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/jwks", "/userinfo"])
@pytest.mark.parametrize("status", [500, 200])
def test_a_provider_that_fails_is_said_on_a_page(trusted, path, status):
    trusted.broken[path] = status
    trusted.claims["groups"] = None
    client = Client()
    sent = client.post(START)
    if sent.status_code == 302:
        sent = came_back(client, requests.get(sent.url, allow_redirects=False, timeout=10).headers["Location"])
    assert sent.status_code == (503 if status == 500 else sent.status_code)
    assert sent.status_code in (403, 503)
    assert "Back to the login" in sent.text
    assert not User.objects.exists()


def test_a_provider_that_is_down_is_said_on_a_page_and_comes_back(trusted, settings):
    url = trusted.url
    change(settings, issuer="http://127.0.0.1:1")
    answer = Client().post(START)
    assert (answer.status_code, "Example SSO does not respond" in answer.text) == (503, True)
    change(settings, issuer=url)
    assert logged_in().status_code == 302


def test_metadata_of_another_issuer_is_not_believed(trusted):
    trusted.metadata["issuer"] = "https://another.example"
    assert Client().post(START).status_code == 403
    trusted.metadata.clear()
    assert logged_in().status_code == 302


def test_endpoints_may_be_given_instead_of_discovered(trusted, settings):
    found = trusted.discovery()
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    change(settings, endpoints=tuple((name, found[name]) for name in names))
    assert logged_in().status_code == 302
    assert "/.well-known/openid-configuration" not in trusted.asked


def test_who_says_no_there_is_told_so(trusted):
    answer = Client().get(reverse("oidc-callback"), {"error": "access_denied", "error_description": "<b>no</b>"})
    assert (answer.status_code, "Example SSO denied access." in answer.text) == (403, True)
    assert "<b>no" not in answer.text


# Who that is here


@pytest.mark.parametrize("link", ["", "username", "email"])
@pytest.mark.parametrize("is_superuser", [False, True])
def test_an_account_that_is_there_is_not_taken_over_unless_a_setting_says_so(trusted, settings, link, is_superuser):
    local = User.objects.create_user("ann", "ann@example.org", "x", is_staff=True, is_superuser=is_superuser)
    change(settings, link=link)
    trusted.claims |= {"email": "Ann@example.org", "email_verified": True}
    client = Client()
    answer = logged_in(client)
    if link and not is_superuser:
        assert (answer.status_code, who(client)) == (302, local)
    else:
        assert answer.status_code == 403
        assert "A user with your name already exists" in answer.text
        assert (who(client), Identity.objects.count(), held()) == (None, 0, set())


def test_an_address_that_nobody_verified_is_no_link(trusted, settings):
    User.objects.create_user("local", "ann@example.org", "x")
    change(settings, link="email")
    trusted.claims |= {"email": "ann@example.org", "email_verified": "true"}
    client = Client()
    logged_in(client)
    assert who(client).username == "ann"


def test_a_linked_account_is_nobody_elses(trusted, settings):
    change(settings, link="username")
    logged_in()
    trusted.claims["sub"] = "2"
    assert logged_in().status_code == 403
    assert Identity.objects.count() == 1


def test_a_superuser_connects_the_two_by_hand(trusted):
    local = User.objects.create_superuser("ann", password="x")
    client = superstaff()
    page = client.get(reverse("admin:auth_user_change", args=[local.pk]))
    assert "Identity" in page.text
    Identity.objects.create(user=local, issuer=trusted.url, subject="1")
    client = Client()
    logged_in(client)
    assert who(client) == local
    # The mapping does not speak of superusers.
    assert who(client).is_superuser


@pytest.mark.parametrize("field", ["is_active", "is_staff"])
def test_who_is_switched_off_here_stays_so(trusted, field):
    logged_in()
    User.objects.update(**{field: False})
    client = Client()
    answer = logged_in(client)
    assert (answer.status_code, "account is disabled" in answer.text, who(client)) == (403, True, None)


@pytest.mark.parametrize("name", ["two words", "<b>", "a/b"])
def test_a_name_that_cannot_be_one_here_is_said(trusted, name):
    trusted.claims["preferred_username"] = name
    answer = logged_in()
    assert (answer.status_code, "user name is invalid in Taifish" in answer.text) == (403, True)


@pytest.mark.parametrize("claim", ["sub", "preferred_username", "email", "given_name", "groups"])
@pytest.mark.parametrize("value", [["a"], {"a": 1}, 7, "a\0b", "a" * 5000])
def test_claims_of_any_shape_do_no_harm(trusted, claim, value):
    trusted.claims[claim] = value
    assert logged_in().status_code in (302, 403)


# What they may do


def test_roles_are_what_the_groups_say_now(trusted):
    night = Group.objects.create(name="Night shift")
    by_hand = Group.objects.create(name="By hand")
    logged_in()
    user = User.objects.get()
    user.groups.add(by_hand)
    trusted.claims["groups"] = ["auditors", "on call", "unheard of"]
    logged_in()
    assert held() == {"Viewer", night.name, by_hand.name}
    Group.objects.filter(name="Manager").update(name="Chefs")
    trusted.claims["groups"] = "dba-team"
    logged_in()
    assert held() == {"Chefs", by_hand.name}


def test_who_has_lost_every_group_is_refused_and_loses_the_roles(trusted, settings):
    logged_in()
    trusted.claims["groups"] = ["cooks"]
    client = Client()
    answer = logged_in(client)
    assert (answer.status_code, "None of your groups" in answer.text) == (403, True)
    assert (who(client), held()) == (None, set())
    trusted.claims |= {"sub": "2", "preferred_username": "bob"}
    logged_in()
    assert not User.objects.filter(username="bob").exists()
    change(settings, requires_group=False)
    logged_in()
    assert held("bob") == set()


def test_groups_may_come_from_the_userinfo_endpoint_if_it_is_of_the_same_person(trusted):
    trusted.claims["groups"] = None
    trusted.more = {"groups": ["auditors"]}
    logged_in()
    assert held() == {"Viewer"}
    trusted.more = {"sub": "2", "groups": ["dba-team"]}
    assert logged_in().status_code == 403
    assert held() == {"Viewer"}


def test_a_superuser_comes_from_a_claim_where_the_mapping_says_so(trusted, settings):
    trusted.claims |= {"is_superuser": True, "groups": ["dba-team", "superuser"]}
    logged_in()
    assert not User.objects.get().is_superuser
    change(settings, groups=(*GROUPS, ("chiefs", "superuser")))
    trusted.claims["groups"] = ["chiefs"]
    logged_in()
    assert User.objects.get().is_superuser
    trusted.claims["groups"] = ["dba-team"]
    logged_in()
    assert not User.objects.get().is_superuser


def test_a_group_that_is_not_there_is_said_in_the_log(trusted, caplog):
    with caplog.at_level(logging.WARNING, "taifish.oidc"):
        logged_in()
    assert "names 'Night shift', which is neither a role nor a group" in caplog.text


# The door


def test_the_login_page_has_the_button_beside_the_passwords(trusted, settings):
    page = Client().get(f"{LOGIN}?next=/admin/trends/").text
    assert "Log in with Example SSO" in page
    assert 'name="next" value="/admin/trends/"' in page
    assert 'name="password"' in page
    settings.TAIFISH_OIDC = None
    page = Client().get(LOGIN).text
    assert "Log in with" not in page
    assert 'name="password"' in page
    assert Client().post(START).status_code == 404
    assert Client().get(reverse("oidc-callback")).status_code == 404


def test_without_passwords_only_the_provider_lets_in(trusted, settings):
    settings.TAIFISH_OIDC_PASSWORDS = False
    settings.AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "taifish.login.NoPasswords"]
    User.objects.create_superuser("root", password="Tr0ub4dor&3")
    client = Client()
    page = client.get(LOGIN).text
    assert "Log in with Example SSO" in page
    assert 'name="password"' not in page
    client.post(LOGIN, {"username": "root", "password": "Tr0ub4dor&3"})
    assert who(client) is None
    logged_in(client)
    assert client.get(HOME).status_code == 200
    assert client.get("/admin/instances/instance/").status_code == 200


def test_wrong_passwords_are_counted_as_ever_and_keep_nobody_from_the_provider(trusted, settings):
    settings.AXES_FAILURE_LIMIT = 2
    logged_in()
    wrong = {"username": "ann", "password": "wrong"}
    assert [Client().post(LOGIN, wrong).status_code for _ in range(3)] == [200, 429, 429]
    assert logged_in().status_code == 302


def test_logging_out_ends_it_here_and_there_where_a_setting_says_so(trusted, settings):
    client = Client()
    logged_in(client)
    assert client.post(reverse("admin:logout")).status_code == 200
    assert who(client) is None
    change(settings, logs_out=True)
    logged_in(client)
    sent = client.post(reverse("admin:logout"))
    assert sent.url.startswith(f"{trusted.url}/logout?client_id=taifish&post_logout_redirect_uri=http")
    assert who(client) is None
    # Who came by a password was never there; a provider that is down keeps nobody in.
    assert superstaff().post(reverse("admin:logout")).status_code == 200
    logged_in(client)
    oidc.app_of.cache_clear()
    trusted.broken["/.well-known/openid-configuration"] = 500
    assert client.post(reverse("admin:logout")).status_code == 200
    assert who(client) is None


def test_no_secret_is_in_logs_pages_or_the_session(trusted, settings, caplog):
    caplog.set_level(logging.DEBUG)
    client = Client()
    pages = [logged_in(client).text, client.get(HOME).text]
    kept = str(dict(client.session))
    for fault in ({"/token": 500}, {"/jwks": 500}):
        oidc.app_of.cache_clear()
        trusted.broken = fault
        pages.append(logged_in().text)
    trusted.broken = {}
    trusted.forger = RSAKey.generate_key(2048, {"kid": "one"})
    pages.append(logged_in().text)
    told = [record.getMessage() for record in caplog.records]
    # The test's own request, in the browser's place.
    logs = "\n".join(line for line in told if "GET /authorize?" not in line)
    shown = "\n".join([*pages, kept, logs, repr(settings.TAIFISH_OIDC)])
    assert trusted.secrets
    assert [secret for secret in [SECRET, *trusted.secrets] if secret in shown] == []
    # Authlib tells more when it debugs, and is not let.
    assert settings.LOGGING["loggers"]["authlib"] == {"level": "WARNING"}


# Asking again


@pytest.fixture
def old_login(trusted) -> Client:
    """A client of the provider's user, who logged in more than five minutes ago and may make tokens."""
    client = Client()
    logged_in(client)
    session = client.session
    session["login_confirmed"] -= 301
    session.save()
    return client


def asked_again(client: Client) -> str:
    """Post a form that needs a recent login, and be sent to the provider: to the address that comes back."""
    answer = client.post(TOKEN, NEW_TOKEN)
    page = client.get(client.get(answer.url).url)
    assert "Log in with Example SSO" in page.text
    after = re.search(r'name="next" value="([^"]+)"', page.text)[1].replace("&amp;", "&")
    sent = client.post(START, {"next": after, "again": "1"})
    query = parse_qs(urlsplit(sent.url).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
    return requests.get(sent.url, allow_redirects=False, timeout=10).headers["Location"]


def test_a_fresh_login_at_the_provider_confirms_and_the_form_goes_on(trusted, old_login):
    """F8.4: the session stays the same one, and nothing that was entered is lost."""
    trusted.claims["auth_time"] = int(time.time())
    before = old_login.session.session_key
    back = came_back(old_login, asked_again(old_login))
    assert back.status_code == 302
    assert "taifish_" in old_login.get(back.url).text
    assert ApiToken.objects.get().name == "nightly report"
    assert old_login.session.session_key == before


@pytest.mark.parametrize("ago", [None, True, -3600, 400, 3600])
def test_an_old_login_at_the_provider_confirms_nothing(trusted, old_login, ago):
    """F8.4: a provider that answers from a session there has not asked anybody."""
    trusted.claims["auth_time"] = ago if ago in (None, True) else int(time.time()) - ago
    answer = came_back(old_login, asked_again(old_login))
    assert (answer.status_code, "did not ask you to log in again" in answer.text) == (403, True)
    assert old_login.post(TOKEN, NEW_TOKEN).status_code == 302
    assert not ApiToken.objects.exists()


def test_another_user_of_the_provider_confirms_nothing(trusted, old_login):
    """F8.4"""
    address = asked_again(old_login)
    logged_in()
    trusted.claims |= {"sub": "2", "preferred_username": "bob", "auth_time": int(time.time())}
    logged_in()
    answer = came_back(old_login, asked_again(old_login))
    assert (answer.status_code, "as another user" in answer.text) == (403, True)
    assert who(old_login).username == "ann"
    assert came_back(Client(), address).status_code == 403


def test_users_of_the_provider_need_no_second_factor_here(trusted):
    """F8.4: it is the provider's to ask for; a password here would need one."""
    SecondFactorGroup.objects.create(group=Group.objects.get(role__key="manager"))
    client = Client()
    logged_in(client)
    assert client.get(HOME).status_code == 200
    user = who(client)
    user.set_password("Tr0ub4dor&3")
    user.save()
    client = Client()
    client.post(LOGIN, {"username": "ann", "password": "Tr0ub4dor&3"})
    assert client.get(HOME).url == reverse("mfa_index")


def test_a_login_by_the_provider_is_listed(trusted):
    client = Client()
    logged_in(client)
    assert "this session" in client.get(reverse("login-sessions")).text


# The settings

GIVEN = {
    "TAIFISH_OIDC_ISSUER": "https://sso.example.org/realms/ops",
    "TAIFISH_OIDC_CLIENT_ID": "taifish",
    "TAIFISH_OIDC_CLIENT_SECRET": SECRET,
}


def test_nothing_is_on_that_is_not_configured(monkeypatch):
    assert provider() is None


def test_a_provider_from_the_environment(monkeypatch, tmp_path):
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    assert (provider().name, provider().requires_group, provider().is_discovered) == ("sso.example.org", False, True)
    file = tmp_path / "groups"
    file.write_text("cn=dba,ou=groups:Manager\nchiefs: Superuser\n")
    monkeypatch.setenv("TAIFISH_OIDC_GROUPS_FILE", str(file))
    assert provider().groups == (("cn=dba,ou=groups", "Manager"), ("chiefs", "superuser"))
    assert provider().requires_group
    for name in ("AUTHORIZATION", "TOKEN", "JWKS"):
        monkeypatch.setenv(f"TAIFISH_OIDC_{name}_URL", f"https://sso.example.org/{name}")
    assert not provider().is_discovered


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CLIENT_ID", "", "TAIFISH_OIDC_CLIENT_ID is not"),
        ("ISSUER", "http://sso.example.org", "TAIFISH_OIDC_ISSUER is .* set it to an https:// address"),
        ("ISSUER", "sso.example.org", "set it to an https:// address"),
        ("ISSUER", "https://[sso", "set it to an https:// address"),
        ("SCOPES", "profile", "it must contain openid"),
        ("TOKEN_URL", "https://sso.example.org/token", "or none"),
        ("GROUPS", "dba-team", "TAIFISH_OIDC_GROUPS has 'dba-team'; write it as dba-team:Manager"),
        ("REQUIRE_GROUP", "yes", "needs TAIFISH_OIDC_GROUPS"),
        ("LINK", "name", "set it to username or email"),
        ("LOGOUT", "maybe", "set it to yes or no"),
    ],
)
def test_what_cannot_be_right_stops_the_start(monkeypatch, name, value, told):
    for given, said in GIVEN.items():
        monkeypatch.setenv(given, said)
    monkeypatch.setenv(f"TAIFISH_OIDC_{name}", value)
    with pytest.raises(ImproperlyConfigured, match=told) as caught:
        provider()
    assert SECRET not in str(caught.value)


def test_a_start_with_a_provider(tmp_path):
    done = check(tmp_path, **GIVEN, TAIFISH_OIDC_PASSWORDS="no")
    assert done.returncode == 0, done.stderr
    done = check(tmp_path, **GIVEN, TAIFISH_OIDC_LINK="x")
    assert "TAIFISH_OIDC_LINK is 'x'" in done.stderr


@pytest.mark.page
def test_the_way_through_in_a_browser(browser_context, live_server, transactional_db, trusted, picture, browser_page):
    for scheme in ("light", "dark"):
        browser_page.emulate_media(color_scheme=scheme)
        browser_page.goto(f"{live_server.url}{LOGIN}")
        assert faults(browser_page) == []
        picture(f"{scheme}-oidc-login")
    browser_page.emulate_media(color_scheme="light")
    # A page of its own: this one leaves our server, for the provider's.
    page = browser_context.new_page()
    page.goto(f"{live_server.url}{reverse('admin:instances_instance_changelist')}")
    page.get_by_role("button", name="Log in with Example SSO").click()
    page.wait_for_url(f"**{reverse('admin:instances_instance_changelist')}")
    assert page.get_by_text("ann", exact=True).count()
    assert page.locator("h1").count() == 1
    leave(page)
    trusted.claims["groups"] = []
    page.goto(f"{live_server.url}{LOGIN}")
    page.get_by_role("button", name="Log in with Example SSO").click()
    page.get_by_text("None of your groups may use Taifish").wait_for()
    assert faults(page) == []
    page.screenshot(path=picture("oidc-refused"))
    page.close()
