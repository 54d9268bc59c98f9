"""What a DBA asks first, answered in Chromium on the demo fleet: each from the home page, with its clicks counted."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

#: Clicks and uses of Enter that an answer may take.
CLICKS = 3


class Asker:
    """Somebody at the home page with a question; typing is free."""

    def __init__(self, page: Page, url: str, question: str) -> None:
        self.page, self.question, self.clicks = page, question, 0
        page.goto(f"{url}/admin/")
        self.started = time.monotonic()

    def click(self, what: Locator) -> None:
        self.clicks += 1
        what.click()
        self.page.wait_for_load_state()

    def menu(self, section: str, title: str) -> None:
        self.click(self.page.locator("summary", has_text=section).first)
        self.click(self.page.get_by_role("link", name=title, exact=False).first)

    def enter(self, **fields: str) -> None:
        """Fill in fields by name, and press Enter in the last one."""
        self.clicks += 1
        for name, text in fields.items():
            self.page.locator(f"#content [name={name}], main [name={name}]").first.fill(text)
        self.page.keyboard.press("Enter")
        self.page.wait_for_load_state()

    def search(self, text: str) -> None:
        self.clicks += 1
        self.page.keyboard.press("Control+k")
        self.page.keyboard.type(text)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def reads(self, *texts: str | re.Pattern[str]) -> None:
        shown = self.page.locator("#content, main").first
        for text in texts:
            shown.get_by_text(text).first.wait_for()
        assert self.clicks <= CLICKS, (self.question, self.clicks)
        print(f"{self.question}: {self.clicks} clicks, {time.monotonic() - self.started:.1f} s")


def ask_them(page: Page, url: str) -> None:
    """What it must show (#21). The seconds include the browser, and are printed only."""
    asker = Asker(page, url, "Who can write to shop.orders on demo-orders, and since when?")
    asker.menu("Access", "Who can")
    asker.enter(privilege="any-write", on="shop.public.orders", instance="demo-orders")
    first_visit = timezone.localtime() - timedelta(days=60)
    asker.reads("shop_app", "at login", f"{first_visit:%Y-%m-%d}")

    asker = Asker(page, url, "What changed last night?")
    asker.reads("Latest changes", "granted SUPERUSER")

    asker = Asker(page, url, "Which databases are full in 30 days?")
    asker.menu("Capacity", "Filling up")
    asker.page.locator("[name=days]").select_option("30")
    asker.click(page.get_by_role("button", name="Show"))
    asker.reads("demo-warehouse")
    assert "demo-orders" not in page.locator("table").first.inner_text()

    asker = Asker(page, url, "All superusers, with evidence")
    asker.menu("Access", "Who can")
    asker.enter(privilege="SUPERUSER")
    asker.reads("anna.keller", "sam.okafor", re.compile(r"\d+ instances? (is|are) unknown"), "3 visits failed since")
    row = page.locator("tr", has_text="sam.okafor").first
    assert row.locator("a[href*='/sync/syncsession/']").count() >= 1

    asker = Asker(page, url, "Everything that li.wei has")
    asker.search("li.wei")
    asker.click(page.locator("tr", has_text="demo-orders").get_by_role("link", name="effective rights"))
    asker.reads("shop.public.orders", "analysts", "SELECT")

    asker = Asker(page, url, "Why did demo-crm fail?")
    asker.click(page.get_by_role("link", name="Last account visit failed"))
    asker.click(page.get_by_role("link", name="demo-crm").first)
    asker.reads("auth_failed", "password authentication failed")

    asker = Asker(page, url, "What could li.wei do 30 days ago?")
    asker.search("li.wei")
    asker.click(page.locator("tr", has_text="demo-orders").get_by_role("link", name="effective rights"))
    assert "INSERT" not in page.locator("table").last.inner_text()
    then = timezone.localtime() - timedelta(days=30)
    asker.enter(as_of=f"{then:%Y-%m-%dT%H:%M}")
    asker.reads("INSERT", "Back to now")

    asker = Asker(page, url, "The most dangerous accounts")
    asker.click(page.get_by_role("link", name="critical"))
    asker.reads("sam.okafor", "anna.keller")

    asker = Asker(page, url, "What is new since my holiday?")
    asker.click(page.get_by_role("link", name="All changes"))
    asker.reads("sam.okafor", "joined pg_read_all_data", f"{timezone.localtime() - timedelta(days=6):%Y-%m-%d}")
