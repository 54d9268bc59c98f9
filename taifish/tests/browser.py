"""Headless Chromium to look at pages with: a pytest plugin.

`browser_page` is a page that fails its test for what a person would not see: errors in the console, requests that
failed, and requests to anywhere but the server under test. Where Chromium is not installed these tests are skipped, but
not in CI (the environment variable CI): there it is an error. TAIFISH_TEST_SCREENSHOTS names a folder that keeps the
pictures.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def network(lock: int) -> Iterator[None]:
    """Hold the addresses of this machine as they are (`fcntl.LOCK_SH`), or change them (`fcntl.LOCK_EX`).

    Chromium ends its requests (ERR_NETWORK_CHANGED) when an address comes or goes, also those to this machine.
    """
    with (Path(tempfile.gettempdir()) / f"taifish-network-{os.getuid()}").open("w") as file:
        fcntl.flock(file, lock)
        yield


@pytest.fixture(autouse=True)
def network_holds(request: pytest.FixtureRequest) -> Iterator[None]:
    if "browser_context" not in request.fixturenames:
        yield
        return
    with network(fcntl.LOCK_SH):
        yield


@pytest.fixture(scope="session")
def browser_context(
    # The browser goes before the database does: the server keeps a connection for each that the browser holds.
    django_db_setup: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[BrowserContext]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        told = "Chromium is not installed: apt-get install chromium"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    from playwright.sync_api import sync_playwright

    # Playwright's own loop runs in this thread, and Django takes the test for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=chromium,
            args=FLAGS,
            viewport={"width": 1500, "height": 950},
            locale="en",
            timeout=120_000,
        )
        context.set_default_timeout(90_000)
        yield context
        context.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def leave(page: Page) -> None:
    """Forget the login. A request that is still under way would bring the cookie back."""
    page.goto("about:blank")
    page.context.clear_cookies()


@pytest.fixture
def browser_page(browser_context: BrowserContext, live_server) -> Iterator[Page]:
    browser_context.clear_cookies()
    page = browser_context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("response", lambda answer: wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((live_server.url, "data:", "blob:"))
            else wrong.append(f"elsewhere: {request.url}")
        ),
    )
    yield page
    page.close()
    assert wrong == []


@pytest.fixture
def picture(browser_page: Page) -> Callable[[str], None]:
    """Keep what the page looks like, whole, under a name, in the folder that TAIFISH_TEST_SCREENSHOTS names, if any."""
    folder = os.environ.get("TAIFISH_TEST_SCREENSHOTS")

    def take(name: str) -> None:
        if folder:
            browser_page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)

    return take
