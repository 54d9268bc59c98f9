"""A review of the demo fleet in Chromium: from a draft to a sealed pack, by a manager and three reviewers (#23)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.urls import reverse

from accounts.models import Account
from instances.tests.pages import entered
from reviews.models import Campaign, Item
from reviews.tests.campaigns import owned, reviewer
from taifish.management.commands import demo
from taifish.tests.servers import psql
from work.days import local_day

if TYPE_CHECKING:
    from playwright.sync_api import Page

Keep = Callable[[str], object]


def run(sql: str) -> None:
    """Run SQL on the server of demo-orders, as a DBA would."""
    server = demo._cluster(demo.SERVERS[0])
    at = ["-h", server.socket_dir, "-p", str(server.port), "-U", server.superuser, "-d", "shop"]
    command = [psql(), "-X", "-w", "-q", "-v", "ON_ERROR_STOP=1", *at]
    subprocess.run(command, input=sql, text=True, check=True, capture_output=True)


def review_it(page: Page, url: str, manager: User, folder: Path, keep: Keep) -> None:
    """Files go into `folder`, pictures to `keep`."""

    def enter(user: User) -> None:
        session = entered(user).cookies[settings.SESSION_COOKIE_NAME].value
        page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": url}])

    def press(label: str) -> None:
        page.get_by_role("button", name=label, exact=True).first.click()
        page.wait_for_load_state()

    def shown(text: str) -> None:
        page.get_by_text(text).first.wait_for()

    # What will be revoked, and who reviews whose accounts.
    run("CREATE ROLE audit_test LOGIN; GRANT SELECT ON orders TO audit_test")
    demo._visit("accounts")
    ann, bob, carol = (reviewer(name) for name in ("ann", "bob", "carol"))
    for account in Account.objects.filter(gone_at=None, instance__name__in=("demo-orders", "demo-warehouse")):
        owned(account, ann if account.instance.name == "demo-orders" else bob, kind="application")

    enter(manager)
    page.goto(f"{url}{reverse('admin:reviews_campaign_add')}")
    page.fill("[name=name]", "Quarter 4")
    page.fill("[name=due_on]", str(local_day() + timedelta(days=14)))
    page.select_option("[name=by]", "owner")
    page.select_option("[name=reviewers-0-user]", label="carol")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_load_state()
    campaign = Campaign.objects.get()
    board = f"{url}{reverse('admin:reviews_campaign_change', args=[campaign.pk])}"
    page.goto(board)
    shown("A draft: start it")
    press("Start")
    shown("The population is copied as it is known now")
    press("Start")
    shown("Started with")
    keep("review-board")
    assert Item.objects.filter(reviewer=None).count() == 0
    assert {item.reviewer.username for item in Item.objects.select_related("reviewer")} == {"ann", "bob", "carol"}
    shown("demo-crm")

    mine = f"{url}{reverse('my-items')}"
    enter(ann)
    page.goto(f"{mine}?q=audit_test")
    row = page.locator("tr", has_text="shop.public.orders").filter(has_text="SELECT")
    row.locator("[name=items]").check()
    press("Revoke")
    shown("A reason is needed")
    page.fill("[name=reason]", "the audit is over")
    press("Revoke")
    shown("1 decision made.")
    page.goto(f"{mine}?q=audit_test&state=open")
    page.get_by_text("SQL for you to run").click()
    sql = page.locator("pre").inner_text()
    assert "REVOKE SELECT" in sql
    keep("review-my-items")

    # Of what carol got, bob takes one.
    enter(carol)
    page.goto(mine)
    page.locator("[name=items]").first.check()
    page.fill("[name=reason]", "he knows this server")
    page.fill("[name=to]", "bob")
    press("Delegate")
    shown("1 item delegated.")

    for user in (ann, bob, carol):
        enter(user)
        page.goto(mine)
        while page.locator("[name=items]").count():
            page.locator("[data-all]").check()
            page.fill("[name=reason]", "needed for the work")
            press("Keep")
            shown("made.")
    assert not Item.objects.filter(verdict="").exists()

    # Closed by observation.
    enter(manager)
    page.goto(board)
    shown("1 to be revoked, not seen gone")
    run(sql)
    demo._visit("accounts")
    page.goto(board)
    shown("0 to be revoked, not seen gone")
    press("Close")
    press("Close")
    shown("Closed.")
    press("Acknowledge")
    page.fill("[name=text]", "Seen. demo-crm could not be read, which is known.")
    press("Acknowledge")
    shown("Acknowledged.")
    press("Seal")
    press("Seal")
    shown("Sealed.")
    keep("review-sealed")
    with page.expect_download() as download:
        page.get_by_role("button", name="Evidence pack", exact=True).first.click()
    pack, key = folder / "pack.zip", folder / "key"
    download.value.save_as(pack)
    with key.open("w") as file:
        call_command("review", "key", stdout=file)
    call_command("verify_pack", str(pack), key=key)
