"""What lists of the admin have in common: risk, order, numbers, signs for nothing, phones."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.timesince import timesince

from accounts.models import Account
from classification.models import Classification
from classification.services import assign
from console.display import ago
from console.templatetags.names import visible
from instances.models import Instance
from instances.tests.pages import staff, superstaff
from sync.models import SyncRecord, VisitHealth
from tagging.models import Tag
from taifish.tests.fleet import small_fleet
from taifish.tests.test_list_files import file_of

ACCOUNTS = reverse("admin:accounts_account_changelist")


@pytest.fixture
def instance(db: None) -> Instance:
    return small_fleet()


@pytest.fixture
def classified(instance) -> Instance:
    """An account of high and low risk, one of low risk, and "app" without."""
    user = User.objects.create_user("judge")
    labels = {
        risk: Classification.objects.create(code=f"t-{risk}", name=f"T {risk}", risk=risk) for risk in ("high", "low")
    }
    for name, risks in {"both": ["low", "high"], "harmless": ["low"]}.items():
        account = Account.objects.create(instance=instance, name=name, kind="user", first_seen_at=timezone.now())
        for risk in risks:
            assign(account, labels[risk], "because", user)
    return instance


def names(client, url: str, **query: str) -> list[str]:
    return [row.name for row in client.get(url, query).context["cl"].result_list]


def by(client, url: str, name: str, **query: str) -> list:
    """The rows, sorted by the column of that name."""
    items = client.get(url).context["cl"].list_display
    column = [getattr(item, "__name__", item) for item in items].index(name)
    return list(client.get(url, {"o": column, **query}).context["cl"].result_list)


def test_accounts_have_their_highest_risk_and_are_filtered_and_sorted_by_it(classified):
    client = superstaff()
    page = client.get(ACCOUNTS).text
    assert '<span class="tf-badge tf-risk-high">high</span>' in page
    assert names(client, ACCOUNTS, risk="high") == ["both"]
    assert names(client, ACCOUNTS, risk="low") == ["harmless"]
    assert names(client, ACCOUNTS, risk="unclassified") == ["app"]
    assert [row.name for row in by(client, ACCOUNTS, "risk")] == ["both", "harmless", "app"]
    assert [row["Risk"] for row in file_of(client, "accounts_account")[1]] == ["", "high", "low"]


def test_risk_takes_the_permission_to_see_assignments(classified):
    page = staff("accounts.view_account").get(ACCOUNTS, {"risk": "high"}, follow=True)
    assert "tf-risk-high" not in page.text
    assert len(page.context["cl"].result_list) == 3


def test_risk_costs_no_statement_per_account(classified):
    client = superstaff()
    client.get(ACCOUNTS)

    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(ACCOUNTS, {"risk": "low"})
        return len(captured)

    few = statements()
    user, label = User.objects.get(username="judge"), Classification.objects.get(code="t-low")
    for number in range(5):
        one = Account.objects.create(instance=classified, name=f"n{number}", first_seen_at=timezone.now())
        assign(one, label, "because", user)
    assert statements() == few


def test_failing_comes_first_where_the_state_is_sorted(instance):
    record = SyncRecord.objects.filter(kind="accounts").get()
    for status in ("completed", "partial", "skipped"):
        SyncRecord.objects.create(
            session=record.session,
            instance=Instance.objects.create(name=status, engine="mysql", host=status, credential=instance.credential),
            kind="accounts",
            status=status,
        )
    client = superstaff()
    rows = by(client, reverse("admin:sync_syncrecord_changelist"), "status", kind="accounts")
    assert [row.status for row in rows] == ["failed", "partial", "skipped", "completed"]
    VisitHealth.objects.filter(kind="capacity").update(paused_at=None, failures=0)
    rows = by(client, reverse("admin:sync_visithealth_changelist"), "state")
    assert [bool(row.paused_at) for row in rows] == [True, False]


def test_numbers_stand_at_the_right_and_nothing_is_a_dash(instance):
    page = superstaff().get(ACCOUNTS).text
    assert '<td class="field-n_grants tf-right tf-secondary" data-label="grants">1</td>' in page
    assert "column-n_grants tf-right" in page
    assert '<td class="field-host tf-secondary" data-label="host">–</td>' in page
    databases = superstaff("second").get(reverse("admin:capacity_database_changelist")).text
    assert '<td class="field-size tf-right"' in databases
    assert '<td class="field-state tf-secondary" data-label="state">–</td>' in databases


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        (unicodedata.normalize("NFC", "José"), False),
        (unicodedata.normalize("NFD", "José"), True),
        ("admin", False),
        ("аdmin", True),
        ("админ", False),
        ("生产账户", False),
    ],
)
def test_a_name_that_may_look_like_another_has_a_mark_with_a_title(name, marked):
    """F1.9: "é" in two characters, and "а" of Cyrillic."""
    assert ("≈" in visible(name) and 'title="' in visible(name)) == marked


def chosen(text: str) -> dict[str, str]:
    """Filter → what is chosen in it: the label of an option, or the value of an input."""
    drawer = text.partition('id="changelist-filter"')[2]
    found = {}
    for name, options in re.findall(r'<select name="(\w+)".*?>(.*?)</select>', drawer, re.DOTALL):
        found[name] = " ".join(re.findall(r"<option[^>]* selected[^>]*>([^<]*)</option>", options))
    for tag in re.findall(r"<input[^>]*>", drawer):
        word = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if word.get("type") == "text" or (word.get("type") == "radio" and re.search(r" checked(?![:\w])", tag)):
            found[word["name"]] = word.get("value", "")
    return found


def test_a_filter_that_is_made_once_is_as_the_page_is_asked_for(instance):
    """A filter in use shows its value, and only to whom it applies; otherwise the same for everybody, by language and
    by what can be chosen."""
    client, other = superstaff(), superstaff("other")
    Tag.objects.create(slug="shop", label="Shop")
    before = chosen(client.get(ACCOUNTS).text)
    assert before["gone"] == "Present"
    assert before["is_superuser__exact"] == ""
    used = f"?gone=yes&is_superuser__exact=1&tag=shop&instance__id__exact={instance.pk}"
    after = chosen(client.get(ACCOUNTS + used).text)
    expected = {
        "gone": "Gone",
        "is_superuser__exact": "1",
        "tag": "Shop",
        "instance__id__exact": instance.name,
    }
    assert {name: after[name] for name in expected} == expected
    assert {name: value for name, value in after.items() if name not in expected} == {
        name: value for name, value in before.items() if name not in expected
    }
    assert chosen(other.get(ACCOUNTS).text) == before
    changes = reverse("admin:accounts_accountchange_changelist")
    assert chosen(client.get(changes).text)["at_from_0"] == ""
    assert chosen(client.get(f"{changes}?at_from_0=2020-01-02&at_from_1=").text)["at_from_0"] == "2020-01-02"
    assert chosen(client.get(changes).text)["at_from_0"] == ""
    Tag.objects.update(label="Store <b>")
    assert "Store &lt;b&gt;" in other.get(ACCOUNTS).text
    chinese = other.get(ACCOUNTS, HTTP_ACCEPT_LANGUAGE="zh-hans")
    assert chosen(chinese.text)["gone"] == "存在"
    assert chosen(other.get(ACCOUNTS).text) == before


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_moment_is_told_by_its_age_as_django_tells_it(language):
    """In whole units below a month, and by the calendar above."""
    now = timezone.now()
    ages = [timedelta(seconds=-30), timedelta(), timedelta(seconds=90), timedelta(minutes=59, seconds=30)]
    ages += [timedelta(hours=n, minutes=30) for n in (1, 23, 24, 100, 671, 672, 700, 1000, 9000, 20000)]
    with translation.override(language):
        for age in [*ages, *ages]:
            shown = ago(now - age)
            assert f">{translation.gettext('%s ago') % timesince(now - age, now, depth=1)}<" in shown, age
            (moment,) = re.findall(r'datetime="([^"]+)"', shown)
            assert datetime.fromisoformat(moment) == (now - age).replace(microsecond=0)
