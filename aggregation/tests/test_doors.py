"""Pages, the API and the command."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import date, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from aggregation import pages, reading, services
from aggregation.periods import DAY, Period, last_closed, span_of
from capacity.models import Database
from instances.models import Instance
from instances.tests.api import client_with, superclient
from instances.tests.pages import staff, superstaff, told
from planning.models import SizeLimit
from planning.reading import ceilings, forecasts
from planning.services import compute
from sync import services as sync
from sync.models import SyncSession
from tagging.models import InstanceTag, Tag

from ..models import DatabaseAggregate, InstanceAggregate

GIB = 1024**3


def today() -> date:
    return timezone.localdate()


def ago(days: int) -> date:
    return today() - timedelta(days=days)


def run(*arguments: str) -> tuple[int, str]:
    """The exit code and what was printed; a wrong call prints its complaint."""
    out = StringIO()
    try:
        call_command("aggregate", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    raise AssertionError("aggregate did not set its exit code")


@pytest.fixture
def fleet(sized) -> list[Instance]:
    """Two instances that grow, one of them tagged, for 200 days; the second misses yesterday. All is aggregated."""
    days = [ago(n) for n in range(200, 0, -1)]
    one = sized("one", {"shop": {day: GIB * (100 + n) for n, day in enumerate(days)}, "=lab": dict.fromkeys(days, GIB)})
    two = sized("two", {"crm": {day: GIB * (50 + n // 10) for n, day in enumerate(days[:-1])}})
    Instance.objects.filter(pk=two.pk).update(engine="mysql")
    InstanceTag.objects.create(instance=one, tag=Tag.objects.get_or_create(slug="prod", defaults={"label": "P"})[0])
    sync.run_here(services.backfill("all", days[0], today(), trigger="command", enqueue=False))
    return [one, two]


# Reading


def test_the_running_period_is_read_and_never_stored(fleet, sized):
    """F3.2: so far, today included, and in no aggregate."""
    one = sized("one", {"shop": {today(): GIB * 300}, "=lab": {today(): GIB}})
    told = reading.so_far(Period.QUARTERLY, one)
    span = span_of(Period.QUARTERLY, today())
    sizes = [row.size for row in one.sizes.filter(day__gte=span.first).order_by("day")]
    assert (told.start, told.end) == (span.first, span.last)
    assert (told.min_size, told.max_size, told.last_size) == (min(sizes), max(sizes), sizes[-1])
    assert told.avg_size * len(sizes) == pytest.approx(sum(sizes))
    assert (told.days_collected, told.days_so_far) == (len(sizes), (today() - span.first).days + 1)
    assert not InstanceAggregate.objects.filter(end__gte=today()).exists()
    assert reading.so_far(Period.DAILY, fleet[1]) is None


def test_trends_growers_totals_and_what_is_lacking(fleet):
    """F3.3, F3.6: sums of what is there; what is not is told beside them."""
    two = fleet[1]
    month, yesterday = last_closed(Period.MONTHLY, today()), last_closed(Period.DAILY, today())
    everything = Instance.objects.active()
    rows = reading.trend(Period.DAILY, everything, 3)
    assert [(row.start, row.n_instances) for row in rows] == [(ago(3), 2), (ago(2), 2), (ago(1), 1)]
    assert rows[1].change == GIB + (two.aggregates.get(period="daily", start=ago(2)).change or 0)
    growers = reading.top_growers(month, everything, 5)
    assert [row.database.name for row in growers] == ["shop", "crm"]
    assert growers[0].change == GIB * month.days
    assert [row.database.name for row in reading.top_growers(month, reading.chosen_instances(engine="mysql"), 5)] == [
        "crm"
    ]
    for by, names in (("instance", ["one", "two"]), ("engine", ["postgresql", "mysql"]), ("tag", ["prod"])):
        found = reading.totals(by, month, everything)
        assert [total.name for total in found] == names
        assert all(total.n_with_change == total.n_instances for total in found)
    assert reading.totals("instance", month, everything)[0].change == GIB * month.days
    with pytest.raises(ValueError, match="instance, engine, tag"):
        reading.totals("host", month, everything)
    (lacking,) = reading.lacking(yesterday, everything)
    assert (lacking.instance, lacking.collected, lacking.expected) == (two, 0, 1)
    # Yesterday may be the last day of the month.
    assert [row.instance for row in reading.lacking(month, everything)] == ([two] if month.last == ago(1) else [])


def test_forecasts_come_nearest_first(fleet, django_assert_num_queries):
    one, two = fleet
    SizeLimit.objects.create(instance=two, size=10**15)
    SizeLimit.objects.create(instance=one, size=GIB * 320)
    compute()
    with django_assert_num_queries(4):
        found = forecasts(ceilings())
    assert [ceiling.instance for ceiling, _ in found] == [one, two]
    assert found[0][1].days == 20
    assert found[1][1].days is None


# The command


def test_the_command_aggregates_the_last_closed_period(sized):
    """F3.1, F3.2"""
    sized("one", {"shop": {ago(2): 1, ago(1): 2}})
    code, printed = run("daily")
    assert code == 0, printed
    assert f"completed; daily from {ago(1)} to {ago(1)}; 1 completed; 1 instance aggregates and 1 " in printed
    assert list(InstanceAggregate.objects.values_list("start", flat=True)) == [ago(1)]
    code, printed = run("daily", "--on", ago(2).isoformat(), "--json")
    assert json.loads(printed)["aggregates"]["databases"] == 1
    code, printed = run("all", "--from", ago(9).isoformat(), "--to", today().isoformat(), "--json")
    assert json.loads(printed)["aggregates"]["daily"] == 2
    sized("two", {"shop": {}})
    code, printed = run("daily")
    assert (code, "without sizes: two" in printed) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["yearly"], "daily, weekly, monthly, quarterly, all"),
        (["daily", "--on", "2026-01-01", "--from", "2026-01-01", "--to", "2026-01-02"], "Use either --on"),
        (["daily", "--from", "2026-01-01"], "Use --from and --to together"),
        (["daily", "--from", "2026-02-01", "--to", "2026-01-01"], "before it begins"),
        (["monthly", "--on", "2999-01-01"], "is closed"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(db, arguments, complaint):
    """F3.4"""
    code, printed = run(*arguments)
    assert (code, complaint in printed) == (2, True), printed
    assert not SyncSession.objects.exists()


# The API


def test_aggregates_over_the_api(fleet, django_assert_num_queries):
    client = superclient()
    url = reverse("databaseaggregate-list")
    month = last_closed(Period.MONTHLY, today())
    with django_assert_num_queries(2):
        rows = client.get(url, {"period": "monthly", "start": month.first.isoformat()}).json()["results"]
    assert [(row["database_name"], row["change"]) for row in rows[:1]] == [("shop", GIB * month.days)]
    assert rows[0]["avg_size"].endswith(".0000")
    assert client.get(url, {"period": "daily", "whole": "false"}).json()["count"] == 0
    assert client.get(url, {"period": "weekly", "engine": "mysql"}).json()["count"] > 20
    assert client.get(url, {"period": "daily", "tag": "prod", "instance_name": "two"}).json()["count"] == 0
    answer = client.get(url, {"period": "yearly"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"period": ["There is no period “yearly”: daily, weekly, monthly, quarterly."]},
    )
    totals = client.get(reverse("aggregate-totals-list"), {"by": "engine"}).json()
    assert ([row["name"] for row in totals["results"]], totals["start"]) == (
        ["postgresql", "mysql"],
        month.first.isoformat(),
    )
    lacking = client.get(reverse("aggregate-lacking-list"), {"period": "daily"}).json()
    assert [row["instance_name"] for row in lacking["results"]] == ["two"]
    open_one = client.get(reverse("aggregate-totals-list"), {"on": today().isoformat()})
    assert (open_one.status_code, "not over" in str(open_one.json())) == (400, True)
    for name in ("aggregate-totals-list", "aggregate-lacking-list", "sizes-so-far-list"):
        answer = client.get(reverse(name), {"period": "hourly", "instance": "one"})
        assert "There is no period “hourly”" in str(answer.json()) or "Unknown parameter" in str(answer.json())


def test_so_far_over_the_api(fleet, sized):
    one = sized("one", {"shop": {today(): GIB * 300}, "=lab": {today(): GIB}}).pk
    client, url = superclient(), reverse("sizes-so-far-list")
    answer = client.get(url, {"period": "quarterly", "instance": one, "database": "shop"}).json()
    assert (answer["last_size"], answer["end"]) == (300 * GIB, span_of(Period.QUARTERLY, today()).last.isoformat())
    assert client.get(url, {"period": "daily", "instance": fleet[1].pk}).status_code == 404
    assert client.get(url, {"period": "daily", "instance": one, "database": "x"}).status_code == 400


def test_limits_and_forecasts_over_the_api(fleet):
    client = superclient()
    made = client.post(reverse("sizelimit-list"), {"instance": fleet[0].pk, "size": 320 * GIB}, format="json")
    assert made.status_code == 201
    assert SizeLimit.objects.get().set_by is not None
    assert (
        client.post(reverse("sizelimit-list"), {"instance": fleet[1].pk, "size": 0}, format="json").status_code == 400
    )
    compute()
    (row,) = client.get(reverse("forecasts-list")).json()["results"]
    assert (row["instance_name"], row["days"], row["reason"]) == ("one", 20, "")
    assert row["on"] == (ago(1) + timedelta(days=20)).isoformat()
    SizeLimit.objects.create(
        instance=Instance.objects.create(name="new", engine="mysql", host="n", credential=fleet[0].credential), size=1
    )
    assert "nothing was computed yet" in client.get(reverse("forecasts-list")).json()["results"][-1]["reason"]


def test_a_backfill_over_the_api_is_a_session(fleet):
    """F3.7: audited: who, when, what was asked; refused where it makes no sense."""
    url = reverse("instanceaggregate-backfill")
    asked = {"period": "weekly", "first": ago(60).isoformat(), "last": ago(30).isoformat()}
    asked["instance_ids"] = [fleet[0].pk]
    assert client_with("aggregation.view_instanceaggregate").post(url, asked, format="json").status_code == 403
    answer = superclient().post(url, asked, format="json")
    assert answer.status_code == 202
    session = SyncSession.objects.get(pk=answer.json()["id"])
    assert (session.trigger, session.params["period"], session.requested_by is not None) == ("api", "weekly", True)
    assert [record.instance.name for record in session.records.all()] == ["one"]
    sync.run_here(session)
    assert session.records.get().summary["weekly"] >= 4
    for wrong, complaint in (
        ({"period": "yearly"}, "daily, weekly, monthly, quarterly, all"),
        ({"first": today().isoformat(), "last": today().isoformat()}, "is closed"),
        ({"instance_ids": [10**9]}, "Unknown or retired: 1000000000."),
        ({"last": "soon"}, "format"),
    ):
        answer = superclient().post(url, asked | wrong, format="json")
        assert (answer.status_code, complaint in str(answer.json())) == (400, True), answer.json()


# Pages


def test_trends_before_the_first_period_is_over_do_not_say_that_all_is_whole(db):
    text = superstaff().get(reverse("trends")).content.decode()
    assert "No instance existed in this period" in text
    assert "Every instance has a complete size" not in text


def test_the_trends_page(fleet):
    """F3.3, F3.6: charts, growers, what is not whole; period, tag and engine narrow it."""
    client, url = superstaff(), reverse("trends")
    page = client.get(url, {"period": "daily"})
    text = page.content.decode()
    assert page.context["n_lacking"] == 1
    for words in (
        "Grown most",
        "Incomplete in the last period",
        "Aggregate again",
        "Per engine",
        "Per tag",
        'data-type="bar"',
    ):
        assert words in text, words
    assert [row.database.name for row in page.context["growers"]] == ["shop"]
    month = client.get(url)
    assert month.context["span"].period == "monthly"
    assert [row.database.name for row in client.get(url, {"engine": "mysql"}).context["growers"]] == ["crm"]
    tag = Tag.objects.get(slug="prod")
    assert client.get(url, {"tag": tag.pk, "period": "daily"}).context["n_lacking"] == 0
    wrong = client.get(url, {"period": "hourly"})
    assert "hourly is not one of the available choices" in wrong.content.decode()
    seen = staff("aggregation.view_instanceaggregate").get(url).content.decode()
    assert "Grown most" not in seen
    assert "Aggregate again" not in seen
    assert staff("instances.view_instance").get(url).status_code == 403


def test_the_largest_instances_are_stacked_up_to_the_total(fleet, monkeypatch):
    """Each instance apart, and above them the others: the edge is the average of all, in each period."""
    client, url = superstaff(), reverse("trends")

    def stacked(**query: str) -> tuple[list[str], list[float]]:
        data = json.loads(client.get(url, query).context["stacked"].data)
        assert data["stacked"]
        cells = [each["data"] for each in data["datasets"]]
        return [each["label"] for each in data["datasets"]], [
            sum(filter(None, column)) for column in zip(*cells, strict=True)
        ]

    def averages(**of: str) -> list[float]:
        rows = InstanceAggregate.objects.filter(period="monthly", **of).values_list("start", "avg_size")
        sums = Counter()
        for start, size in rows:
            sums[start] += size / GIB
        return [pytest.approx(float(sums[start]), abs=0.003) for start in sorted(sums)]

    assert stacked() == (["one", "two"], averages())
    assert stacked(engine="mysql") == (["two"], averages(instance__engine="mysql"))
    monkeypatch.setattr(pages, "STACKED", 1)
    assert stacked() == (["one", "other instances"], averages())
    # Who was not read in the last period is among the others, in the periods before.
    assert stacked(period="daily")[0] == ["one", "other instances"]
    assert [each.get("link") for each in json.loads(client.get(url).context["stacked"].data)["datasets"]] == [
        reverse("admin:instances_instance_change", args=[fleet[0].pk]),
        None,
    ]


def test_csv_opens_in_a_spreadsheet_and_runs_nothing(fleet):
    """UTF-8 with a byte order mark; a name that begins like a formula is disarmed."""
    shop = Database.objects.get(name="=lab")
    Database.objects.filter(name="crm").update(name="\n ＝1+1\u202e")
    DatabaseAggregate.objects.filter(database=shop, period="monthly").update(change=10**15)
    client = superstaff()
    answer = client.get(reverse("trends"), {"csv": "growers"})
    file = answer.getvalue()
    assert file.startswith("\ufeff".encode())
    rows = list(csv.DictReader(StringIO(file.decode("utf-8-sig"))))
    assert rows[0]["database"] == "'=lab"
    assert "\\n ＝1+1\\u202e" in [row["database"] for row in rows]
    assert rows[1]["change"] == str(GIB * last_closed(Period.MONTHLY, today()).days)
    trend = list(
        csv.DictReader(StringIO(client.get(reverse("trends"), {"csv": "trend"}).getvalue().decode("utf-8-sig")))
    )
    assert trend[-1]["from"] == last_closed(Period.MONTHLY, today()).first.isoformat()
    chosen = DatabaseAggregate.objects.filter(period="monthly").values_list("pk", flat=True)[:2]
    data = {"action": "as_csv", "_selected_action": list(chosen)}
    answer = client.post(reverse("admin:aggregation_databaseaggregate_changelist") + "?which=all", data)
    assert len(list(csv.reader(StringIO(answer.getvalue().decode("utf-8-sig"))))) == 3


def test_lists_show_the_last_closed_period_unless_asked(fleet, django_assert_num_queries):
    client = superstaff()
    url = reverse("admin:aggregation_databaseaggregate_changelist")
    with django_assert_num_queries(5):
        first = client.get(url)
    assert {row.start for row in first.context["cl"].result_list} == {last_closed(Period.MONTHLY, today()).first}
    assert [row.database.name for row in first.context["cl"].result_list] == ["shop", "crm", "=lab"]
    assert client.get(url, {"period": "daily"}).context["cl"].result_count == 2
    assert client.get(url, {"period": "weekly", "which": "all"}).context["cl"].result_count > 60
    row = DatabaseAggregate.objects.filter(period="weekly").first()
    assert client.get(reverse("admin:aggregation_databaseaggregate_change", args=[row.pk])).status_code == 200
    of_instance = client.get(reverse("admin:aggregation_instanceaggregate_changelist"))
    assert [row.instance.name for row in of_instance.context["cl"].result_list] == ["one", "two"]


def test_a_person_aggregates_a_range_again(fleet):
    """F3.7: from the page to its session, with who asked."""
    url = reverse("backfill")
    client = superstaff()
    assert client.get(url).status_code == 405
    answer = client.post(url, {"period": "daily", "first": ago(9), "last": ago(5)})
    session = SyncSession.objects.latest("pk")
    assert answer.url == reverse("admin:sync_syncsession_change", args=[session.pk])
    assert (session.requested_by.username, session.params["first"]) == ("root", ago(9).isoformat())
    wrong = client.post(url, {"period": "daily", "first": today(), "last": today()}, follow=True)
    assert "is closed" in told(wrong)
    assert "Enter a valid date" in told(
        client.post(url, {"period": "daily", "first": "x", "last": ago(1)}, follow=True)
    )
    assert staff("aggregation.view_instanceaggregate").post(url, {}).status_code == 403


def test_a_limit_is_set_in_words_and_forecast(fleet):
    client = superstaff()
    one = fleet[0]
    page = client.get(reverse("admin:instances_instance_change", args=[one.pk])).content.decode()
    assert "There is no size limit." in page
    add = reverse("admin:planning_sizelimit_add")
    wrong = client.post(add, {"instance": one.pk, "size": "much"})
    assert "is not a size. Enter a size such as 500 GiB" in wrong.content.decode()
    assert client.post(add, {"instance": one.pk, "size": "320 GiB"}).status_code == 302
    assert SizeLimit.objects.get().size == 320 * GIB
    assert str(SizeLimit.objects.get().set_by) == "root"
    compute()
    for url in (reverse("forecasts"), reverse("admin:instances_instance_change", args=[one.pk])):
        assert f"in 20 days, on {ago(1) + 20 * DAY}" in client.get(url).content.decode()
    assert staff("instances.view_instance").get(reverse("forecasts")).status_code == 403
