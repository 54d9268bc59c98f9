"""Tokens for programs: shown once, stored as digests, each a person's own; and what the API answers to whom."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.conf import settings as configured
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny
from rest_framework.throttling import AnonRateThrottle, UserRateThrottle

from instances.tests.api import client_of, client_with, superclient, user_with
from instances.tests.pages import entered, staff, superstaff
from taifish.models import ApiToken

LIST, NEW = reverse("admin:taifish_apitoken_changelist"), reverse("admin:taifish_apitoken_add")
MAY = ["taifish.view_apitoken", "taifish.add_apitoken", "taifish.delete_apitoken"]


@pytest.fixture
def ann(db) -> User:
    return user_with("instances.view_instance", *MAY)


def token_of(user: User, **fields: object) -> str:
    token = ApiToken(user=user, name="report", **fields)
    secret = token.draw()
    token.save()
    return secret


def ask(secret: str, path: str = "/api/instances/", **how: object) -> object:
    return Client(**how).get(path, headers={"Authorization": f"Bearer {secret}"})


def test_a_program_made_a_token_reads_what_the_person_may(ann):
    answer = client_of(ann).post("/api/tokens/", {"name": "nightly report"}, format="json")
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    made = answer.json()
    assert made["token"].startswith("taifish_")
    assert ask(made["token"]).status_code == 200
    assert ask(made["token"], "/api/accounts/").status_code == 403
    listed = client_of(ann).get("/api/tokens/").json()["results"]
    assert [(row["name"], row["user"], "token" in row) for row in listed] == [("nightly report", ann.username, False)]
    assert listed[0]["last_used_at"]
    stored = ApiToken.objects.get()
    assert made["token"] not in str(vars(stored))
    assert stored.digest == ApiToken.digest_of(made["token"])


def test_what_opens_nothing(ann):
    assert ask(token_of(ann, expires_at=timezone.now() + timedelta(minutes=1))).status_code == 200
    expired = token_of(ann, expires_at=timezone.now() - timedelta(seconds=1))
    deleted = token_of(ann)
    ApiToken.objects.latest("pk").delete()
    left = user_with("instances.view_instance")
    retired = token_of(left)
    User.objects.filter(pk=left.pk).update(is_active=False)
    for secret in (
        expired,
        deleted,
        retired,
        "",
        "taifish_",
        "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
        "a b c",
    ):
        answer = ask(secret)
        assert (answer.status_code, list(answer.json())) == (401, ["detail"])
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'


def test_the_last_use_is_noted_once_a_minute(ann, django_assert_num_queries):
    secret = token_of(ann)
    ask(secret)
    first = ApiToken.objects.get().last_used_at
    with django_assert_num_queries(5):
        # Token and user, their permissions and those of their groups, what they are limited to, no row.
        ask(secret)
    assert ApiToken.objects.get().last_used_at == first


def test_a_token_makes_no_tokens_and_expires_in_the_future(ann):
    answer = Client().post("/api/tokens/", {"name": "child"}, headers={"Authorization": f"Bearer {token_of(ann)}"})
    assert (answer.status_code, "A token cannot create tokens" in answer.json()["detail"]) == (403, True)
    answer = client_of(ann).post("/api/tokens/", {"name": "", "expires_at": "2020-01-01T00:00Z"}, format="json")
    assert (answer.status_code, sorted(answer.json())) == (400, ["expires_at", "name"])


def test_tokens_are_seen_and_deleted_by_their_owner_and_by_superusers(ann):
    token_of(ann)
    url = f"/api/tokens/{ApiToken.objects.get().pk}/"
    page = reverse("admin:taifish_apitoken_change", args=[ApiToken.objects.get().pk])
    other = client_with(*MAY)
    assert other.get("/api/tokens/").json()["count"] == 0
    assert (other.get(url).status_code, other.delete(url).status_code) == (404, 404)
    assert staff(*MAY).get(page).status_code == 404
    assert superstaff().get(page).status_code == 200
    assert superclient().get(url).status_code == 200
    assert client_of(ann).delete(url).status_code == 204


def test_the_admin_shows_it_once(ann):
    client = entered(ann)
    assert client.get(NEW).status_code == 200
    past = {"name": "r", "expires_at_0": "2020-01-01", "expires_at_1": "00:00"}
    assert "Enter a time in the future." in client.post(NEW, past).content.decode()
    answer = client.post(NEW, {"name": "nightly report", "expires_at_0": "2030-01-01", "expires_at_1": "00:00"})
    secret = answer.context["secret"]
    assert (answer.status_code, "no-store" in answer["Cache-Control"]) == (200, True)
    assert f"data-token>{secret}<" in answer.content.decode()
    assert ask(secret).status_code == 200
    page = reverse("admin:taifish_apitoken_change", args=[ApiToken.objects.get().pk])
    shown = [client.get(url).content.decode() for url in (LIST, page, reverse("admin:index"))]
    assert "nightly report" in shown[0]
    assert not [text for text in shown if secret in text or ApiToken.objects.get().digest in text]
    # It cannot be edited, into a later end or another's.
    assert client.post(page, {"name": "x"}).status_code == 403


def test_a_token_expires_after_ninety_days_unless_another_end_is_given(ann):
    """F8.6: through both doors; none is made without an end."""
    client_of(ann).post("/api/tokens/", {"name": "by the API"}, format="json")
    form = {"name": "by the page", "addresses": ""}
    shown = entered(ann).get(NEW).content.decode()
    assert (timezone.now() + timedelta(days=90)).date().isoformat() in shown
    end = {"expires_at_0": "2030-01-02", "expires_at_1": "03:04"}
    entered(ann).post(NEW, form | end)
    by_page, by_api = ApiToken.objects.order_by("-pk")
    assert abs(by_api.expires_at - timezone.now() - timedelta(days=90)) < timedelta(minutes=1)
    assert by_page.expires_at.isoformat() == "2030-01-02T03:04:00+00:00"
    without = client_of(ann).post("/api/tokens/", {"name": "x", "expires_at": None}, format="json")
    assert (without.status_code, list(without.json())) == (400, ["expires_at"])
    assert "This field is required." in entered(ann).post(NEW, form).content.decode()
    assert ApiToken.objects.count() == 2


def test_a_read_only_token_changes_nothing(ann):
    """F8.6"""
    ann.user_permissions.add(Permission.objects.get(codename="add_tag"))
    headers = {"Authorization": f"Bearer {token_of(ann, read_only=True)}"}
    assert Client().get("/api/instances/", headers=headers).status_code == 200
    answer = Client().post("/api/tags/", {"slug": "team-x", "label": "Team X"}, "application/json", headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (
        403,
        "This token is read-only. Use one that may change data.",
    )
    answer = Client().delete("/api/tokens/1/", headers=headers)
    assert answer.status_code == 403
    writes = {"Authorization": f"Bearer {token_of(ann)}"}
    assert (
        Client()
        .post("/api/tags/", {"slug": "team-x", "label": "Team X"}, "application/json", headers=writes)
        .status_code
        == 201
    )


@pytest.mark.parametrize(
    ("addresses", "client", "status"),
    [
        ("192.0.2.7", "192.0.2.7", 200),
        ("192.0.2.7", "192.0.2.8", 401),
        ("10.0.0.0/8, 192.0.2.0/24", "192.0.2.8", 200),
        ("10.0.0.0/8\n2001:db8::/32", "2001:db8::1", 200),
        ("10.0.0.0/8", "::ffff:10.1.1.1", 200),
        ("10.0.0.0/8", "", 401),
        ("", "", 200),
    ],
)
def test_a_token_may_be_limited_to_addresses(ann, addresses, client, status):
    """F8.6"""
    answer = ask(token_of(ann, addresses=addresses), REMOTE_ADDR=client)
    assert answer.status_code == status
    used = ApiToken.objects.get()
    assert (used.last_used_from or "", bool(used.last_used_at)) == ((client, True) if status == 200 else ("", False))


def test_wrong_addresses_are_refused(ann):
    answer = client_of(ann).post("/api/tokens/", {"name": "x", "addresses": "10.0.0.0/8, here"}, format="json")
    assert (answer.status_code, list(answer.json())) == (400, ["addresses"])


def test_a_change_of_address_is_noted_within_the_minute(ann):
    secret = token_of(ann)
    for address in ("192.0.2.1", "192.0.2.2"):
        ask(secret, REMOTE_ADDR=address)
        assert ApiToken.objects.get().last_used_from == address


@pytest.mark.parametrize("ended", ["password", "unusable", "deactivated"])
def test_tokens_end_with_the_password_and_with_the_user(ann, ended):
    """F8.6: and do not come back when the user does."""
    ann.set_password("my-0ld-Password")
    ann.save()
    secret = token_of(ann)
    other = token_of(user_with("instances.view_instance"))
    if ended == "password":
        ann.set_password("another-Passw0rd")
    elif ended == "unusable":
        ann.set_unusable_password()
    else:
        ann.is_active = False
    ann.save()
    # Ended once, and not kept ended: what is created afterwards is valid.
    User.objects.filter(pk=ann.pk).update(is_active=True)
    ann.is_active = True
    ann.save()
    assert (ask(secret).status_code, ask(other).status_code, ask(token_of(ann)).status_code) == (401, 200, 200)


def test_a_login_that_only_hashes_the_password_anew_ends_no_token(ann, settings):
    ann.set_password("my-0ld-Password")
    ann.save()
    before = ann.password
    secret = token_of(ann)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher", *settings.PASSWORD_HASHERS]
    assert ann.check_password("my-0ld-Password")
    assert User.objects.get(pk=ann.pk).password != before
    assert ask(secret).status_code == 200


def test_older_tokens_keep_their_terms_and_are_listed(ann):
    """F8.6: a token that does not expire can be found."""
    secret = token_of(ann, expires_at=None)
    token_of(ann)
    assert ask(secret).status_code == 200
    listed = entered(ann).get(LIST, {"expires_at__isempty": "1"})
    assert [row.expires_at for row in listed.context["cl"].result_list] == [None]


def test_a_session_still_needs_the_csrf_token(ann):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    answer = client.post("/api/tokens/", {"name": "x"}, content_type="application/json")
    assert (answer.status_code, list(answer.json())) == (403, ["detail"])


# Refusals have one shape


@pytest.mark.parametrize(
    ("method", "path", "how", "status"),
    [
        ("get", "/api/instances/77/", {}, 404),
        ("get", "/api/nothing/", {}, 404),
        ("get", "/api/nothing/at/all", {}, 404),
        ("delete", "/api/instances/", {}, 405),
        ("post", "/api/instances/", {"data": "<a/>", "content_type": "text/xml"}, 415),
        ("post", "/api/instances/", {"data": "{", "content_type": "application/json"}, 400),
        ("get", "/api/instances/", {"headers": {"Accept": "text/html"}}, 406),
        ("get", "/api/instances/?format=xml", {}, 404),
        ("get", "/api/instances/", {"headers": {"Host": "elsewhere.example"}}, 400),
    ],
)
def test_a_refusal_says_why_in_detail(db, method, path, how, status):
    client = superstaff()
    answer = getattr(client, method)(path, **how)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("data", ["[]", "3", '"text"', "null", '[{"name": 1}]'])
def test_what_is_no_object_is_refused_in_the_same_shape(db, data):
    for path in ("/api/instances/", "/api/tags/bulk/assign/", "/api/sync-sessions/"):
        answer = superclient().post(path, data, content_type="application/json")
        assert (answer.status_code, isinstance(answer.json(), dict)) == (400, True)


def test_a_failure_of_ours_tells_nothing(db, monkeypatch):
    def fail(*args: object) -> None:
        raise RuntimeError("postgresql://taifish:secret@db/")

    monkeypatch.setattr("instances.viewsets.InstanceViewSet.get_queryset", fail)
    client = superstaff()
    client.raise_request_exception = False
    answer = client.get("/api/instances/")
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal error. See the server log."})


def test_people_still_get_pages(db):
    answer = superstaff().get("/nowhere/")
    assert (answer.status_code, answer["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_who_asks_too_often_waits(ann, monkeypatch):
    monkeypatch.setitem(UserRateThrottle.THROTTLE_RATES, "user", "2/min")
    monkeypatch.setitem(AnonRateThrottle.THROTTLE_RATES, "anon", "2/min")
    secret = token_of(ann)
    assert [ask(secret).status_code for _ in range(3)] == [200, 200, 429]
    answer = ask(secret)
    assert (list(answer.json()), int(answer["Retry-After"]) > 0) == (["detail"], True)
    monkeypatch.setattr(SpectacularAPIView, "permission_classes", [AllowAny])
    strangers = [Client(REMOTE_ADDR="192.0.2.1").get("/api/schema/?format=json").status_code for _ in range(3)]
    assert strangers == [200, 200, 429]
    # Whose word for it nobody takes.
    forged = Client(REMOTE_ADDR="192.0.2.1").get("/api/schema/?format=json", headers={"X-Forwarded-For": "192.0.2.2"})
    assert forged.status_code == 429


# The description


def test_the_description_is_for_people_who_log_in(ann):
    """F8.5"""
    answer = Client().get("/api/schema/?format=json")
    assert (answer.status_code, list(answer.json())) == (401, ["detail"])
    assert Client().get(reverse("docs"))["Location"] == f"{reverse('admin:login')}?next={reverse('docs')}"
    assert ask(token_of(ann), "/api/schema/?format=json").status_code == 200


def test_the_docs_page_asks_nobody_but_us(db):
    page = superstaff().get(reverse("docs"))
    assert (page.status_code, page["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = page.content.decode()
    assert "http://" not in text
    assert "https://" not in text
    for file in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"):
        name = f"drf_spectacular_sidecar/swagger-ui-dist/{file}"
        assert f"/{configured.STATIC_URL.strip('/')}/{name}" in text
        assert finders.find(name)


def test_the_description_knows_refusals_and_ways_in(db):
    schema = json.loads(superclient().get("/api/schema/?format=json").content)
    assert set(schema["components"]["securitySchemes"]) == {"token", "password", "cookieAuth"}
    operations = [
        operation for path in schema["paths"].values() for operation in path.values() if "responses" in operation
    ]
    assert len(operations) > 60
    assert {
        operation["responses"]["4XX"]["content"]["application/json"]["schema"]["$ref"] for operation in operations
    } == {"#/components/schemas/Error"}
