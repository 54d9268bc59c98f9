"""Charts and dates of the pages about sizes, as the browser shows them."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, AccountChange
from aggregation import services as aggregation
from capacity.models import Database
from capacity.tests.stored import database, total
from instances.models import Credential, Instance
from instances.tests.pages import entered as entered_client
from sync import services as sync
from taifish import schedules

TIB = 1024**4
TRENDS = reverse("trends")


def measured() -> Instance:
    """An instance with sizes from 0.684 TiB to 1.62 TiB, for which Chart.js counts 0.6, 0.8000000000000002 and so on."""
    credential = Credential.objects.create(name="c", username="u")
    instance = Instance.objects.create(name="big", engine="mysql", host="h", credential=credential)
    Instance.objects.update(created_at=timezone.now() - timedelta(days=60))
    for ago in range(1, 60):
        total(instance, int((1.62 - (ago - 1) * 0.936 / 58) * TIB), ago=ago)
    return instance


def lacking_a_day() -> Database:
    """A database that grew by 3 GiB a day, without sizes 30, 31 and 32 days ago."""
    made = database(Instance.objects.get(name="big"), "shop", TIB)
    today = made.size_day
    for ago in (10, 29, 33, 34):
        made.sizes.create(day=today - timedelta(days=ago), size=TIB - ago * 3 * 1024**3, collected_at=timezone.now())
    return made


def test_growth_over_a_day_without_a_size_takes_the_nearest_before(db):
    """Fault 14: and says how many days it covers, on each page and in the API."""
    instance = measured()
    made = lacking_a_day()
    young = database(instance, "young", 5000, days=20)
    whole = database(instance, "whole", 50_000, days=40)
    rows = {row.name: (row.growth, row.growth_days, row.growth_label) for row in Database.objects.with_growth()}
    assert rows == {
        "shop": (99 * 1024**3, 33, "+99.0 GiB (in 33 days)"),
        "young": (None, None, "–"),
        "whole": (30_000, 30, "+29.3 KiB"),
    }
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    for page in (
        reverse("admin:capacity_database_change", args=[made.pk]),
        reverse("admin:capacity_database_changelist"),
        reverse("admin:instances_instance_change", args=[instance.pk]),
    ):
        assert "+99.0 GiB (in 33 days)" in client.get(page).content.decode(), page
    listed = {
        row["name"]: (row["growth"], row["growth_days"]) for row in client.get("/api/databases/").json()["results"]
    }
    assert listed == {made.name: (99 * 1024**3, 33), young.name: (None, None), whole.name: (30_000, 30)}


@pytest.mark.parametrize("language", [code for code, _ in settings.LANGUAGES])
def test_date_fields_have_the_form_that_browsers_take(db, language):
    """Fault 14: <input type="date"> shows nothing for any other form, such as 2026/11/27."""
    client = Client(headers={"Accept-Language": language})
    client.force_login(User.objects.create_superuser("root"))
    dates = re.findall(r'<input type="date"[^>]*>', client.get(TRENDS).content.decode())
    assert len(dates) == 2
    for field in dates:
        assert re.search(r'value="\d{4}-\d\d-\d\d"', field), field


@pytest.fixture
def root(browser_page, live_server, transactional_db):
    session = entered_client(User.objects.create_superuser("admin")).cookies[settings.SESSION_COOKIE_NAME].value
    browser_page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
    browser_page.emulate_media(color_scheme="light")
    yield browser_page
    browser_page.set_viewport_size({"width": 1500, "height": 950})
    browser_page.emulate_media(color_scheme="light")


@pytest.fixture
def stored(transactional_db) -> Database:
    instance = measured()
    days = timezone.localdate() - timedelta(days=60), timezone.localdate() - timedelta(days=1)
    sync.run_here(aggregation.backfill("all", *days, trigger="manual", enqueue=False))
    boss = Account.objects.create(
        instance=instance, name="boss", kind="user", is_superuser=True, first_seen_at=timezone.now(), gone_at=timezone.now()
    )  # fmt: skip
    AccountChange.objects.create(account=boss, at=timezone.now() - timedelta(hours=2), events=["appeared"])
    AccountChange.objects.create(account=boss, at=timezone.now(), events=["disappeared"])
    return lacking_a_day()


@pytest.mark.page
def test_the_axis_of_trends_has_short_figures(root, live_server, stored):
    """Fault 14: not 1.2000000000000002 TiB."""
    root.goto(f"{live_server.url}{TRENDS}?period=daily")
    root.wait_for_function(
        "document.querySelectorAll('canvas.chart').length && Chart.getChart(document.querySelector('canvas.chart'))"
    )
    axes = root.evaluate(
        "[...document.querySelectorAll('canvas.chart')].map(chart =>"
        " Chart.getChart(chart).scales.y.ticks.map(tick => tick.label))"
    )
    assert len(axes) == 3
    for labels in axes:
        assert len(labels) > 3
        assert not [label for label in labels if not re.fullmatch(r"-?\d+(\.\d{1,4})? [GT]iB", label)], labels


@pytest.mark.page
def test_a_chart_is_zoomed_and_its_points_open_what_they_sum_up(root, live_server, stored):
    root.goto(f"{live_server.url}{TRENDS}?period=daily")
    canvas, note = root.locator("canvas.chart").first, root.locator(".tf-zoomed").first
    box = canvas.bounding_box()
    middle = box["y"] + box["height"] / 2
    chart = "Chart.getChart(document.querySelector('canvas.chart'))"
    root.wait_for_function(chart)
    assert root.evaluate(f"{chart}.scales.y.min") == 0
    root.mouse.move(box["x"] + box["width"] * 0.5, middle)
    root.mouse.down()
    root.mouse.move(box["x"] + box["width"] * 0.8, middle, steps=4)
    root.mouse.up()
    note.get_by_text("does not begin at 0").wait_for()
    first, last = root.evaluate(f"[{chart}.scales.x.min, {chart}.scales.x.max]")
    assert 0 < first < last < root.evaluate(f"{chart}.data.labels.length") - 1
    note.get_by_role("button", name="Show all").click()
    assert not note.is_visible()
    assert root.evaluate(f"{chart}.scales.y.min") == 0
    day = root.evaluate(f"{chart}.data.labels[{first}]")
    x = root.evaluate(f"{chart}.scales.x.getPixelForValue({first})")
    root.mouse.click(box["x"] + x, middle)
    root.wait_for_url("**/instanceaggregate/**")
    assert re.findall(r"\d{4}-\d\d-\d\d", " ".join(root.locator(".field-when").all_inner_texts())) == [day]


@pytest.mark.page
def test_the_chart_of_an_instance_stacks_its_databases(root, live_server, stored, picture):
    root.goto(live_server.url + reverse("admin:instances_instance_change", args=[stored.instance_id]))
    chart = "Chart.getChart(document.querySelector('canvas.chart'))"
    root.wait_for_function(chart)
    labels = root.evaluate(f"{chart}.data.labels")
    datasets = root.evaluate(f"{chart}.data.datasets.map(one => [one.label, one.data])")
    assert [name for name, _ in datasets] == ["shop", "other databases and shared parts"]
    sums = {
        date.fromisoformat(day): sum(cell or 0 for cell in cells)
        for day, *cells in zip(labels, *(cells for _, cells in datasets), strict=True)
    }
    sizes = dict(stored.instance.sizes.values_list("day", "size"))
    assert len(sizes) > 20
    assert [day for day, size in sizes.items() if abs(sums[day] - size / TIB) > 0.002] == []
    root.locator("canvas.chart").first.scroll_into_view_if_needed()
    picture("instance-stacked")


@pytest.mark.page
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_pages_fit_their_window(root, live_server, stored, picture, width, scheme, language):
    """Fault 14: the pages changed, in each language, wide and narrow, light and dark."""
    schedules.install()
    root.context.add_cookies([{"name": settings.LANGUAGE_COOKIE_NAME, "value": language, "url": live_server.url}])
    root.set_viewport_size({"width": width, "height": 900})
    root.emulate_media(color_scheme=scheme)
    pages = {
        "trends": f"{TRENDS}?period=daily",
        "database": reverse("admin:capacity_database_change", args=[stored.pk]),
        "databases": reverse("admin:capacity_database_changelist"),
        "instance": reverse("admin:instances_instance_change", args=[stored.instance_id]),
        "home": reverse("admin:index"),
        "superusers": reverse("admin:accounts_accountchange_changelist") + "?new_superusers=1",
        "locked": reverse("admin:axes_accessattempt_changelist"),
        "password": reverse("admin:password_change"),
    }
    for name, url in pages.items():
        assert root.goto(live_server.url + url).status == 200, name
        picture(f"{name}-{width}-{scheme}-{language}")
        # The tables of the other pages are wider than a telephone.
        if name in ("home", "trends"):
            assert root.evaluate("document.documentElement.scrollWidth") <= width, name
        if name == "trends":
            assert all(field.input_value() for field in root.locator("input[type=date]").all())
