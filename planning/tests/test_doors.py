"""Pages, endpoint and commands: what fills, what grows, and what to buy. All of them read what is stored."""

from __future__ import annotations

import csv
import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from capacity.models import Database, DatabaseSize, InstanceSize, Tablespace
from console.units import bytes_label
from instances.models import Instance
from instances.tests.api import client_with, superclient
from instances.tests.pages import staff, superstaff
from tagging.models import Tag

from .. import forecast, reading
from ..models import SizeLimit, Volume
from ..pages import model_label
from ..services import compute
from .stored import GIB, ago, grown

pytestmark = pytest.mark.django_db

API = "/api/filling-up/"


def run(command: str, *arguments: str) -> tuple[int, str]:
    """The exit code and what was printed."""
    out = StringIO()
    try:
        call_command(command, *arguments, stdout=out, stderr=StringIO())
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    raise AssertionError("no exit code")


@pytest.fixture
def fleet() -> dict[str, Instance]:
    """Three instances that grow by 1, 2 and 5 GiB a day, and a new one."""
    Tag.objects.all().delete()
    prod = Tag.objects.create(slug="prod", label="Production")
    made = {
        "slow": grown("slow", {"shop": [100 + n for n in range(120)]}, tags=[prod]),
        "fast": grown("fast", {"crm": [200 + 2 * n for n in range(120)]}, engine="mysql", tags=[prod]),
        "bare": grown("bare", {"logs": [10 + 5 * n for n in range(120)], "still": [50] * 120}),
        "new": grown("new", {"fresh": [1, 2]}),
    }
    limits = {"slow": 319, "fast": 458, "new": 10}
    for name, size in limits.items():
        SizeLimit.objects.create(instance=made[name], size=size * GIB)
    SizeLimit.objects.create(database=Database.objects.get(name="shop"), size=249 * GIB)
    SizeLimit.objects.create(tag=prod, size=777 * GIB)
    volume = Volume.objects.create(name="san", size=3000 * GIB)
    volume.instances.set([made["bare"]])
    compute()
    return made


def names(rows) -> list[str]:
    return [row["name"] for row in rows]


def test_the_page_loads_no_more_than_it_shows(fleet, django_assert_num_queries):
    """What grows is as long as the list of databases: the page reads as many as it shows."""
    client = superstaff()
    with django_assert_num_queries(14) as captured:
        client.get(reverse("filling-up"))
    grown = [query["sql"] for query in captured if '"growth"' in query["sql"]]
    assert grown
    assert all("LIMIT 50" in sql for sql in grown)
    page = client.get(reverse("forecasts"))
    assert len(page.context["rows"]) == page.context["page"].paginator.count == 6


def test_what_is_full_within_days_is_one_answer_behind_three_doors(fleet):
    """F10.4: the page, the endpoint and the command list the same, nearest first, with what is not known beside it."""
    soon = superclient().get(API, {"days": 35}).json()
    # 20 GiB at 2 a day, and 30 at 1.
    assert names(soon["results"]) == ["fast", "slow / shop"]
    assert soon["unknown"] == 1
    page = superstaff().get(reverse("filling-up"), {"days": 30})
    assert [row["ceiling"].name for row in page.context["rows"]] == ["fast", "slow / shop"]
    assert [row["ceiling"].name for row in page.context["unknown"]] == ["new"]
    code, out = run("filling_up", "--days", "30", "--json")
    assert (code, names(json.loads(out)["results"])) == (3, ["fast", "slow / shop"])
    assert names(json.loads(out)["unknown"]) == ["new"]
    row = soon["results"][0]
    assert (row["kind"], row["engine"], row["limit"], row["used_percent"]) == ("instance", "mysql", 458 * GIB, 95.6)
    assert row["earliest_on"] <= row["on"] <= row["latest_on"]
    assert (row["on"], row["as_of"], row["is_stale"]) == (ago(-10).isoformat(), ago(0).isoformat(), False)
    text = run("filling_up", "--days", "30")[1]
    assert f"instance fast: 438 GiB on {ago(0)}, 95.6 % of 458 GiB; full on" in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["fast", "slow / shop", "Production", "slow"]),
        ({"kind": "database"}, ["slow / shop"]),
        ({"engine": "mysql"}, ["fast"]),
        ({"tag": "prod", "kind": "tag"}, ["Production"]),
        ({"tag": "prod", "engine": "postgresql"}, ["slow / shop", "slow"]),
        ({"days": 0}, []),
        ({"days": 365, "kind": "volume"}, []),
    ],
)
def test_it_is_chosen_by_tag_engine_and_kind(fleet, query, expected):
    """F10.4."""
    assert names(superclient().get(API, {"days": 110} | query).json()["results"]) == expected


@pytest.mark.parametrize("query", ["days=400", "days=x", "engine=db2", "tag=none", "kind=house", "day=3"])
def test_a_wrong_question_is_refused(fleet, query):
    assert superclient().get(f"{API}?{query}").status_code == 400


def test_a_wrong_command_is_refused(fleet):
    assert run("filling_up", "--days", "400") == (2, "--days takes a whole number from 0 to 365.")
    assert run("filling_up", "--tag", "none") == (2, "There is no tag 'none'.")
    assert run("filling_up", "--kind", "tag", "--without-limit")[0] == 2


def test_growth_without_a_limit(fleet):
    """F10.4: ranked by what is expected in 30 days, with its range, the time to double, and what is unusual."""
    rows = superclient().get(API, {"without_limit": "true"}).json()["results"]
    assert names(rows) == ["bare / logs", "fast / crm", "bare / still"]
    assert (rows[0]["limit"], rows[0]["grown_7_days"], rows[0]["grown_30_days"]) == (None, 35 * GIB, 150 * GIB)
    assert rows[0]["in_30_days"]["expected"] == pytest.approx((605 + 150) * GIB, rel=0.02)
    assert rows[0]["doubling_days"] == pytest.approx(121, abs=5)
    assert (rows[2]["doubling_days"], rows[2]["is_unusual"]) == (None, False)
    page = superstaff().get(reverse("filling-up"), {"tag": Tag.objects.get().pk})
    assert [row["ceiling"].name for row in page.context["growing"]] == ["fast / crm"]
    assert names(superclient().get(API, {"without_limit": "true", "kind": "instance"}).json()["results"]) == ["bare"]
    assert superclient().get(API, {"without_limit": "true", "kind": "tag"}).status_code == 400
    code, out = run("filling_up", "--without-limit", "--top", "1")
    assert code == 0
    assert out.startswith("database bare / logs: 605 GiB")
    # Sizes of databases need their permission too.
    limited = client_with("planning.view_sizelimit")
    assert limited.get(API, {"without_limit": "true"}).status_code == 403
    assert staff("planning.view_sizelimit").get(reverse("filling-up")).context["growing"] is None


def test_files(fleet):
    """F10.4: what the lists show, with bytes."""
    client = superstaff()

    def rows(url: str, **query: object) -> list[dict[str, str]]:
        answer = client.get(reverse(url), query)
        return list(csv.DictReader(StringIO(answer.getvalue().decode("utf-8-sig"))))

    full = rows("filling-up", csv="full", days=30)
    assert [(row["name"], row["limit"]) for row in full] == [("fast", str(458 * GIB)), ("slow / shop", str(249 * GIB))]
    assert int(full[0]["in_90_days_low"]) <= int(full[0]["in_90_days_expected"])
    assert [row["name"] for row in rows("filling-up", csv="growing")] == ["bare / logs", "fast / crm", "bare / still"]
    assert [row["name"] for row in rows("planning-report", csv=1)] == ["Production", "without a tag", "whole fleet"]


def test_the_planning_report(fleet):
    """F10.4: by tag, the size in 3, 6 and 12 months, and what to buy by when."""
    SizeLimit.objects.filter(tag__isnull=False).delete()
    seen = {"first_seen_at": timezone.now(), "last_seen_at": timezone.now()}
    users = Tablespace.objects.create(instance=fleet["slow"], name="users", **seen)
    # It is no limit of the fleet.
    SizeLimit.objects.create(tablespace=users, size=GIB)
    code, out = run("planning_report", "--json")
    production, untagged, whole = json.loads(out)
    assert code == 0
    assert (production["n_instances"], production["limit_of"], production["limit"]) == (2, "instances", 777 * GIB)
    assert production["size"] == 657 * GIB
    assert production["in_12_months"]["expected"] == pytest.approx((657 + 3 * 365) * GIB, rel=0.05)
    assert production["buy"] == production["in_12_months"]["high"] - 777 * GIB
    assert ago(-36).isoformat() <= production["buy_by"] <= ago(-40).isoformat()
    assert (untagged["limit"], untagged["buy"], whole["limit_of"]) == (None, None, "")
    SizeLimit.objects.create(tag=Tag.objects.get(), size=9000 * GIB)
    SizeLimit.objects.create(size=2000 * GIB)
    lines = run("planning_report")[1].splitlines()
    assert lines[0].endswith("limit 8.79 TiB: enough for a year")
    assert "buy" in lines[2]
    assert run("planning_report", "--csv")[1].startswith("kind,name,n_instances")
    page = superstaff().get(reverse("planning-report")).content.decode()
    assert "enough for a year" in page
    InstanceSize.objects.filter(instance__name="bare", day__gt=ago(20)).delete()
    compute()
    assert run("planning_report")[0] == 3


def test_a_total_says_of_how_many_instances_it_is(fleet):
    """F2.5, F10.4: an instance that was never read is unknown, not empty; so is the total, which says what it holds."""
    tag = Tag.objects.get()
    SizeLimit.objects.create(size=9000 * GIB)
    parts = Instance.objects.active().count()
    (before,) = [row for row in json.loads(run("planning_report", "--json")[1]) if row["kind"] == "fleet"]
    assert (before["n_instances"], before["n_sized"], before["reason"]) == (parts, parts, "")
    unread = grown("unread", {}, tags=[tag])
    compute()
    code, out = run("planning_report", "--json")
    rows = {row["kind"]: row for row in json.loads(out)}
    assert code == 3
    assert (rows["fleet"]["n_instances"], rows["fleet"]["n_sized"]) == (parts + 1, parts)
    assert (rows["fleet"]["size"], rows["fleet"]["in_3_months"], rows["fleet"]["buy"]) == (before["size"], None, None)
    words = f"{bytes_label(before['size'])} of {parts} of {parts + 1} instances"
    reason = f"Cannot tell: the size is that of {parts} of {parts + 1} instances."
    assert rows["fleet"]["reason"].startswith(reason)
    assert rows["tag"]["n_sized"] < rows["tag"]["n_instances"]
    client = superstaff()
    url = f"{reverse('filling-up')}?of=fleet-0"
    for page in (reverse("planning-report"), url, reverse("forecasts")):
        text = client.get(page).content.decode()
        assert reason in text, page
        assert words in text, page
    assert f"whole fleet: {words}; {reason}" in run("planning_report")[1]
    err = StringIO()
    with pytest.raises(SystemExit, match="3"):
        call_command("filling_up", stdout=StringIO(), stderr=err)
    assert f"whole fleet: {words}; {reason}" in err.getvalue()
    (found,) = [row for row in superclient().get("/api/forecasts/").json()["results"] if row["kind"] == "fleet"]
    assert (found["n_instances"], found["n_sized"], found["in_90_days"]) == (parts + 1, parts, None)
    unread.retire()
    compute()
    assert run("planning_report")[0] == 0


def test_no_page_computes(fleet, monkeypatch, django_assert_num_queries):
    """Pages, endpoints and commands read what is stored; the number of queries does not depend on the fleet."""
    monkeypatch.setattr(forecast, "choose", None)
    client, shop = superstaff(), Database.objects.get(name="shop")
    pages = {
        reverse("filling-up"): 14,
        f"{reverse('filling-up')}?of=tag-{Tag.objects.get().pk}": 10,
        reverse("forecasts"): 10,
        reverse("planning-report"): 8,
        reverse("admin:index"): 29,
        reverse("admin:instances_instance_change", args=[fleet["slow"].pk]): 28,
        reverse("admin:capacity_database_change", args=[shop.pk]): 10,
    }
    for url, most in pages.items():
        client.get(url)
        with django_assert_num_queries(most):
            assert client.get(url).status_code == 200, url
    assert superclient().get("/api/forecasts/").json()["count"] == 5


def test_the_picture_has_history_and_the_range_ahead(fleet):
    """F10.2: on the pages of a database and of an instance, and of what has no page."""
    client, shop = superstaff(), Database.objects.get(name="shop")
    model = model_label(reading.one("database", shop)[1].model)
    assert model in client.get(reverse("admin:capacity_database_change", args=[shop.pk])).content.decode()
    for url in (
        reverse("admin:capacity_database_change", args=[shop.pk]),
        reverse("admin:instances_instance_change", args=[fleet["slow"].pk]),
        f"{reverse('filling-up')}?of=tag-{Tag.objects.get().pk}",
    ):
        page = client.get(url).content.decode()
        for words in ("low (p10)", "high (p90)", "30 days ahead", ago(-90).isoformat()):
            assert words in page, (url, words)
    assert client.get(f"{reverse('filling-up')}?of=tag-0").status_code == 404
    new = Database.objects.get(name="fresh")
    page = client.get(reverse("admin:capacity_database_change", args=[new.pk])).content.decode()
    assert "There is no size limit." in page
    assert "of the last 60 days 2 have a size" in page
    seen = staff("capacity.view_database").get(reverse("admin:capacity_database_change", args=[new.pk]))
    assert "There is no size limit." not in seen.content.decode()


def test_old_sizes_are_marked(fleet):
    """A forecast from old sizes is listed with their day, and counted as not known."""
    DatabaseSize.objects.filter(database__name="shop", day__gt=ago(9)).delete()
    compute()
    answer = superclient().get(API, {"kind": "database"}).json()
    assert (answer["unknown"], answer["results"][0]["is_stale"]) == (1, True)
    assert f"old: of {ago(9)}" in superstaff().get(reverse("filling-up")).content.decode()
    assert run("filling_up", "--kind", "database")[0] == 3


def test_names_cannot_act_in_a_terminal_or_hide_on_a_page(fleet):
    """A database may be called anything."""
    Database.objects.filter(name="shop").update(name="shop\x1b[2J\u202e")
    page = superstaff().get(f"{reverse('filling-up')}?days=365").content.decode()
    out, err = StringIO(), StringIO()
    for more in ((), ("--without-limit",)):
        with pytest.raises(SystemExit):
            call_command("filling_up", "--days", "365", *more, stdout=out, stderr=err)
    said = out.getvalue() + err.getvalue()
    assert "\x1b" not in page + said
    assert "\u202e" not in page + said
    assert r"shop\x1b[2J\u202e" in said
