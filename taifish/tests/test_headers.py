"""F8.5: what browsers are told about every answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from instances.tests.pages import superstaff

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGES = ["/admin/login/", "/admin/", "/admin/instances/instance/", "/api/instances/", "/nowhere/", "/api/docs/?x=1"]


def policy_of(answer: object) -> dict[str, str]:
    rules = (rule.strip().partition(" ") for rule in answer["Content-Security-Policy"].split(";"))
    return {name: sources for name, _, sources in rules}


@pytest.mark.parametrize("path", [*PAGES, "/admin/instances/instance/?q=%00"])
def test_every_answer_has_a_policy(db, path):
    for client in (Client(), superstaff(f"s{len(path)}")):
        answer = client.get(path)
        policy = policy_of(answer)
        assert policy["default-src"] == "'self'"
        assert (policy["frame-ancestors"], policy["object-src"], policy["base-uri"]) == ("'none'",) * 3
        assert policy["form-action"] == "'self'"
        assert "'unsafe-inline'" not in policy["script-src"]
        assert "http" not in policy["script-src"]
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert "camera=()" in answer["Permissions-Policy"]


def test_answers_of_the_api_are_kept_nowhere(db):
    assert superstaff().get("/api/instances/")["Cache-Control"] == "no-store"
    assert Client().get("/api/instances/")["Cache-Control"] == "no-store"


def test_trace_is_refused(db):
    assert [superstaff(f"t{n}").trace(path).status_code for n, path in enumerate(PAGES)] == [405] * len(PAGES)


def test_a_request_above_the_limit_is_not_read(db):
    """F8.7: in front of the login too, with the size that would be taken."""
    for client in (Client(), superstaff()):
        answer = client.post("/admin/instances/instance/import/", bytes(16 * 2**20 + 1), "text/csv")
        assert (answer.status_code, "at most 16.0 MiB" in answer.text) == (413, True), answer.text


@pytest.fixture
def admin_page(browser_context, live_server, transactional_db) -> Iterator[Page]:
    """A page of Chromium with a superuser's session."""
    page = browser_context.new_page()
    session = superstaff().cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
    yield page
    page.close()


@pytest.mark.page
def test_the_policy_leaves_the_description_its_scripts(admin_page, live_server):
    wrong = []
    admin_page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    admin_page.goto(live_server.url + reverse("docs"))
    admin_page.wait_for_selector("#swagger-ui .info")
    assert wrong == []


@pytest.mark.page
def test_scripts_in_a_page_do_not_run(admin_page, live_server):
    """Were a name shown unescaped, the browser would still not run it."""
    admin_page.goto(live_server.url + reverse("admin:index"))
    admin_page.evaluate(
        """() => {
            window.reported = [];
            document.addEventListener("securitypolicyviolation", (e) => window.reported.push(e.violatedDirective));
            const place = document.createElement("div");
            place.innerHTML = "<img src='none:x' onerror='window.ran = true'>";
            document.body.append(place);
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
        }"""
    )
    admin_page.wait_for_function("window.reported.includes('script-src-elem') && window.reported.includes('img-src')")
    assert admin_page.evaluate("window.ran") is None
