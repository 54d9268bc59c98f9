"""`manage.py demo` on real servers: what people see of it, and that nothing is left of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.models import F, QuerySet
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.questions import who_can
from accounts.models import Account, AccountChange, Grant, Membership
from aggregation.models import InstanceAggregate
from alerts.models import Channel
from capacity.models import Database, DatabaseSize, InstanceSize
from classification.library import install
from classification.models import Assignment, Classification, ClassificationCount
from instances.models import Credential, Instance
from planning.models import SizeLimit
from planning.reading import ceilings, forecasts
from sync.models import SyncRecord, SyncSession, VisitHealth
from tagging.models import InstanceTag, Tag
from taifish.demo import DAYS
from taifish.management.commands import demo
from taifish.management.commands.up import STORE
from taifish.tests.nine_questions import ask_them
from taifish.tests.review_walk import review_it
from taifish.tests.watcher import processes, watch

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ["demo-crm", "demo-orders", "demo-payroll", "demo-warehouse"]


@pytest.fixture
def folder(transactional_db: None) -> Iterator[Path]:
    """Where the servers are; none is left after the test, however it ends."""
    folder = demo._folder()
    watch(folder)
    yield folder
    demo.Command()._remove()
    assert not folder.exists()


def somebodys(name: str) -> Instance:
    credential = Credential.objects.create(name=f"collector of {name}", username="taifish")
    return Instance.objects.create(name=name, engine="postgresql", host="127.0.0.1", credential=credential)


def rows() -> dict[str, object]:
    """What must be the same after the command has run again on the same day."""
    kept = [Account, AccountChange, Grant, Membership, Database, DatabaseSize, InstanceSize, InstanceAggregate]
    kept += [Instance, Credential, Tag, InstanceTag, SizeLimit, Assignment]
    found: dict[str, object] = {
        model.__name__: list(model.objects.order_by("pk").values_list("pk", flat=True)) for model in kept
    }
    # What was counted today was there.
    past = ClassificationCount.objects.filter(day__lt=timezone.localdate()).order_by("pk")
    return {**found, "counts": list(past.values_list("pk", "accounts", "unknown"))}


def details(name: str, instance: str) -> list[str]:
    """What the list of changes shows of an account, newest first."""
    changes = AccountChange.objects.filter(account__name=name, account__instance__name=instance, baseline=False)
    return [f"{', '.join(change.events)}: {change.details}" for change in changes]


def may_update(at: object = None) -> dict[str, set[str]]:
    answer = who_can("UPDATE", "shop.public.orders", at=at)
    found: dict[str, set[str]] = {}
    for row in answer.rows:
        if row.account.instance.name == "demo-orders" and row.because == "grant":
            found.setdefault(row.account.name, set()).add(row.path[-1].name if row.path else "")
    return found


@pytest.mark.slow
@pytest.mark.page
@pytest.mark.timeout(1800)
def test_it_shows_weeks_of_a_plausible_fleet_and_goes_without_a_trace(
    folder: Path,
    admin_client: Client,
    admin_user: User,
    browser_page: Page,
    live_server: Any,
    tmp_path: Path,
    picture: Callable[[str], Path],
) -> None:
    install()
    store = somebodys(STORE)
    now = timezone.now()
    Instance.objects.filter(pk=store.pk).update(created_at=now - timedelta(days=20))
    counted = ClassificationCount.objects.create(
        classification=Classification.objects.get(code="all-powerful"),
        day=timezone.localdate() - timedelta(days=10),
        accounts=77,
        unknown=7,
    )
    before = rows()

    call_command("demo")

    own = Instance.objects.exclude(pk=store.pk)
    assert [instance.name for instance in own] == NAMES
    assert {instance.tags.get().slug for instance in own} == {"demo"}
    history_is_in_order(own)
    gaps_are_shown()

    # Who may: today, and before a grant was revoked.
    everybody = {"shop_app", "shop_worker", "old_shop", "shop_write", "shop_owner", "shop_migrations"}
    assert may_update().keys() == everybody
    assert may_update()["shop_app"] == {"shop_write"}
    assert may_update(timezone.now() - timedelta(days=30)).keys() == {*everybody, "li.wei"}
    assert may_update(timezone.now() - timedelta(days=50)).keys() == everybody
    assert set(who_can("UPDATE", "shop.public.orders").unknown) >= {Instance.objects.get(name="demo-crm")}

    # What changed.
    revoked, granted = details("li.wei", "demo-orders")
    assert "privileges" in revoked
    assert "shop.public.orders" in revoked
    assert "privileges" in granted
    assert details("ext.jones", "demo-orders")[0].startswith("disappeared")
    (new,) = AccountChange.objects.of_the_last(1).of_new_superusers()
    assert str(new.account) == "sam.okafor"

    # Sizes by day, week and month, and the day on which a limit is reached.
    sizes = list(InstanceSize.objects.filter(instance__name="demo-orders").order_by("day"))
    assert len(sizes) == DAYS + 1
    assert all(later.day - size.day == timedelta(days=1) and later.size > size.size for size, later in pairwise(sizes))
    weekly = InstanceAggregate.objects.filter(instance__name="demo-orders", period="weekly")
    assert weekly.count() >= DAYS // 7 - 1
    days = {ceiling.name: told.days for ceiling, told in forecasts(ceilings())}
    assert days.keys() == {"demo-orders", "demo-warehouse"}
    assert all(7 < number < 120 for number in days.values()), days

    # What the rules say, by day, and what they said of the store before.
    kinds = set(Assignment.objects.filter(until=None).values_list("classification__code", flat=True))
    assert kinds >= {"all-powerful", "account-admin", "passes-on", "weak-identity", "left-over", "new-power"}
    assert ClassificationCount.objects.values("day").distinct().count() > DAYS // 7
    counted.refresh_from_db()
    assert (counted.accounts, counted.unknown) == (77, 7)

    pages = {
        reverse("admin:index"): "sam.okafor",
        f"{reverse('trends')}?period=weekly": "demo-warehouse",
        f"{reverse('who-can')}?privilege=UPDATE&scope=shop.public.orders": "shop_migrations",
        reverse("admin:accounts_accountchange_changelist"): "shop.public.orders",
        reverse("capacity-gaps"): "demo-crm",
        reverse("health"): "well",
    }
    for page, shown in pages.items():
        assert shown in admin_client.get(page).content.decode(), page
    session = admin_client.cookies[settings.SESSION_COOKIE_NAME].value
    browser_page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
    ask_them(browser_page, live_server.url)
    review_it(browser_page, live_server.url, admin_user, tmp_path, picture)

    # Again: the servers are started, everything is read again, and nothing is doubled.
    found = rows()
    demo._cluster(demo.SERVERS[0]).stop()
    call_command("demo")
    assert rows() == found
    assert VisitHealth.objects.get(instance__name="demo-orders", kind="accounts").failures == 0

    with pytest.raises(SystemExit) as verified:
        call_command("verify_store")
    assert verified.value.code == 0
    call_command("demo", remove=True)
    assert rows() == before
    assert not folder.exists()
    assert processes([str(folder)]) == []
    assert not SyncSession.objects.exists()
    call_command("demo", remove=True)


def history_is_in_order(own: QuerySet[Instance]) -> None:
    """Each visit began after its session, ended after it began, and on the same day; none is open."""
    records = SyncRecord.objects.filter(instance__in=own)
    assert not records.filter(status__in=SyncRecord.OPEN).exists()
    late = F("session__created_at") + timedelta(minutes=2)
    assert records.count() == records.filter(
        started_at__gte=F("session__created_at"), finished_at__gte=F("started_at"), finished_at__lte=late
    ).count()  # fmt: skip
    assert not SyncSession.objects.exclude(finished_at__gte=F("created_at")).exists()
    first = timezone.now() - timedelta(days=DAYS)
    assert {account.first_seen_at.date() for account in Account.objects.filter(name="anna.keller")} == {first.date()}
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), now() = pg_catalog.now() FROM pg_namespace WHERE nspname = 'demo_clock'")
        assert cursor.fetchone() == (0, True)


def gaps_are_shown() -> None:
    """One instance is read in part, and visits of another fail, each as real ones do."""
    last = SyncRecord.objects.filter(kind="accounts").order_by("instance_id", "-pk").distinct("instance_id")
    states = {record.instance.name: (record.status, record.error_code) for record in last}
    assert states == {
        "demo-crm": ("failed", "auth_failed"),
        "demo-orders": ("completed", ""),
        "demo-payroll": ("partial", ""),
        "demo-warehouse": ("completed", ""),
    }
    unread = Database.objects.get(instance__name="demo-payroll", name="hr_archive")
    assert unread.size is None
    assert not InstanceSize.objects.filter(instance__name="demo-payroll", is_complete=True).exists()


@pytest.mark.parametrize("what", ["an instance", "a channel", "a name"])
def test_a_store_in_use_is_left_alone(folder: Path, what: str) -> None:
    """A history with dates in the past is not mixed with what people have."""
    if what == "an instance":
        somebodys("orders")
    elif what == "a channel":
        Channel.objects.create(name="pager", kind="webhook")
    else:
        somebodys("demo-orders")
    before = rows()
    with pytest.raises(CommandError, match="This store is in use"):
        call_command("demo")
    call_command("demo", remove=True)
    assert rows() == before
    assert not folder.exists()


def test_the_clocks_go_back_together_and_return(transactional_db: None) -> None:
    """Also after an error, which leaves nothing of that day."""
    real = timezone.now

    def fail_a_month_ago() -> None:
        with demo._back_by(30):
            with connection.cursor() as cursor:
                cursor.execute("SELECT now(), statement_timestamp(), pg_catalog.statement_timestamp()")
                now, statement, true = cursor.fetchone()
            assert now == statement == true - timedelta(days=30)
            assert timedelta(0) <= timezone.now() - statement < timedelta(seconds=5)
            Tag.objects.create(slug="x", label="x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_a_month_ago()
    assert timezone.now is real
    assert not Tag.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() = pg_catalog.now()")
        assert cursor.fetchone() == (True,)
