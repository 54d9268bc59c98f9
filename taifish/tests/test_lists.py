"""What lists of the admin have in common: risk, order, numbers, signs for nothing, phones."""

from __future__ import annotations

import unicodedata

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from classification.models import Classification
from classification.services import assign
from console.templatetags.names import visible
from instances.models import Instance
from instances.tests.pages import staff, superstaff
from sync.models import SyncRecord, VisitHealth
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
