"""Pairs of duties through pages, API, command and alerts: who sees what, and what is accepted."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from access.tests.test_questions import grant, instance
from accounts.models import Account, Coverage
from accounts.tests.stored import account, join
from alerts.findings import alerts_of
from alerts.models import Alert, AlertRule
from alerts.services import evaluate
from classification.models import Assignment, Classification
from duties.models import AcceptedConflict, DutyPair
from duties.services import accept
from instances.models import Instance
from instances.tests.api import client_of, client_with
from instances.tests.pages import entered, staff, superstaff, told
from owners.models import Ownership, Person
from owners.tests.test_owners import limited_to

VIEW = ("duties.view_dutypair", "duties.view_acceptedconflict")
ACCEPT = (*VIEW, "duties.add_acceptedconflict")
EVIL = "eve\x1b[2J\u202e"


@pytest.fixture
def pair(db: None) -> DutyPair:
    return DutyPair.objects.create(
        name="Payments",
        reason="four eyes",
        first_privilege="INSERT",
        first_on="shop.public.payments",
        second_privilege="UPDATE",
        second_on="bank.approvals",
    )


@pytest.fixture
def fleet(pair) -> dict[str, Instance]:
    """Alice enters payments on pg as a clerk, and approves them on my. eve, who has no owner, does both on my; nobody
    has read the instance new."""
    made = {"pg": instance("pg", "postgresql"), "my": instance("my", "mysql")}
    enters, clerks = account(made["pg"], "alice"), account(made["pg"], "clerks", kind="role", can_login=False)
    join(enters, clerks)
    grant(clerks, "INSERT", "table", "shop.public.payments", database="shop")
    approves = account(made["my"], "approver", host="%")
    grant(approves, "UPDATE", "table", "bank.approvals", database="bank")
    alice = Person.objects.create(name="Alice Li")
    for one in (enters, approves):
        Ownership.objects.create(account=one, owner=alice)
    made["new"] = instance("new", "postgresql")
    Coverage.objects.filter(instance=made["new"]).delete()
    return made


@pytest.fixture
def eve(fleet, pair) -> Account:
    """An account with a hostile name and both sides of another pair."""
    made = account(fleet["my"], EVIL, host="%")
    for side in ("first", "second"):
        of = Classification.objects.create(code=side, name=f"{side} duty")
        Assignment.objects.create(
            account=made, instance=made.instance, classification=of, reason=f"{side} by hand", since=timezone.now()
        )
    first, second = Classification.objects.order_by("code")
    DutyPair.objects.create(name="By class", reason="r", first_classification=first, second_classification=second)
    return made


def page_of(pair: DutyPair) -> str:
    return reverse("admin:duties_dutypair_change", args=[pair.pk])


def text_of(answer) -> str:
    return b"".join(answer.streaming_content).decode("utf-8-sig")


def test_the_page(pair, fleet):
    """Per person: which account on which instance gives which side, by which path; unknown instances stay above."""
    client = staff(*VIEW)
    page = client.get(page_of(pair)).content.decode()
    assert page.index("1 instance is unknown") < page.index("not visited by then") < page.index("Alice Li")
    for text in (
        "INSERT on shop.public.payments",
        "UPDATE on bank.approvals",
        "clerks → INSERT on table",
        "approver@%",
    ):
        assert text in page
    assert "?tab=effective" in page
    assert 'type="checkbox"' not in page
    changelist = client.get(reverse("admin:duties_dutypair_changelist")).content.decode()
    assert '<span class="tf-badge tf-failed">at least 1</span>' in changelist
    fleet["new"].delete()
    assert '<span class="tf-badge tf-failed">1</span>' in list_page(client)
    Account.objects.filter(name="approver").update(gone_at=timezone.now())
    assert '<span class="tf-badge tf-completed">none</span>' in list_page(client)
    assert "No conflict." in client.get(page_of(pair)).content.decode()
    assert "1 account has" not in client.get(page_of(pair)).content.decode()
    DutyPair.objects.update(second_privilege="UPDAT")
    assert '<span class="tf-badge tf-unknown">unknown</span>' in list_page(client)
    page = client.get(page_of(pair)).content.decode()
    assert "There is no answer:" in page
    assert "No conflict" not in page


def list_page(client) -> str:
    return client.get(reverse("admin:duties_dutypair_changelist")).content.decode()


def test_an_object_that_visits_have_not_listed_is_warned_about(pair, fleet):
    """Without a grant on it, a misspelt path and one without a conflict look the same."""
    fleet["new"].delete()
    DutyPair.objects.update(first_on="shop.public.paymnets")
    client = staff(*VIEW)
    page = client.get(page_of(pair)).content.decode()
    assert "No grant names shop.public.paymnets itself" in page
    assert '<span class="tf-badge tf-unknown">none known</span>' in list_page(client)
    assert "note: No grant names shop.public.paymnets itself" in run("Payments")[2]
    (warning,) = client_with(*VIEW).get(f"/api/duty-pairs/{pair.pk}/conflicts/").json()["warnings"]
    assert "shop.public.paymnets" in warning


def test_an_account_without_owner_with_a_hostile_name(eve):
    page = staff(*VIEW).get(page_of(DutyPair.objects.get(name="By class"))).content.decode()
    assert "no owner" in page
    assert "by hand: first by hand" in page
    assert "?tab=classifications" in page
    assert {"\x1b", "\u202e"}.isdisjoint(page)
    _code, out, _err = run("By class")
    assert "eve\\x1b[2J\\u202e@% on my, by hand: first by hand" in out
    assert {"\x1b", "\u202e"}.isdisjoint(out)


def test_accepted_on_the_page(pair, fleet):
    """With a reason and a last day; without a reason nothing is accepted."""
    client = staff(*ACCEPT)
    url = reverse("admin:duties_dutypair_do", args=[pair.pk, "accept"])
    chosen = {"chosen": [f"owner-{Person.objects.get().pk}"]}
    assert "1 row is selected" in client.post(url, chosen).content.decode()
    assert "This field is required" in client.post(url, chosen | {"confirmed": "1"}).content.decode()
    past = timezone.localdate() - timedelta(days=1)
    late = client.post(url, chosen | {"confirmed": "1", "reason": "x", "ends_on": past}).content.decode()
    assert "This day has passed." in late
    gone = client.post(url, {"chosen": ["owner-0"], "confirmed": "1", "reason": "x"}).content.decode()
    assert "1 of the conflicts are no longer there" in gone
    assert "Choose conflicts." in told(client.post(url, follow=True))
    assert not AcceptedConflict.objects.exists()
    answer = client.post(url, chosen | {"confirmed": "1", "reason": "small branch", "ticket": "T-1"}, follow=True)
    assert told(answer) == "1 conflict is accepted."
    page = answer.content.decode()
    assert "1 accepted conflict." in page
    assert "small branch, T-1" in page
    rows = staff(*VIEW).get(reverse("admin:duties_acceptedconflict_changelist")).content.decode()
    assert "small branch" in rows
    assert staff(*VIEW).post(url, chosen | {"confirmed": "1", "reason": "x"}).status_code == 403


def test_the_form(fleet, pair):
    """Clear errors for a side with neither or both, and for a path that is not one."""
    client = superstaff()
    side = {"first_classification": "", "first_privilege": "", "first_on": ""}
    values = {"name": "New", "reason": "r", "active": "on", "second_privilege": "SELECT", "second_on": "shop"} | side
    url = reverse("admin:duties_dutypair_add")
    assert "Give a classification or a privilege." in client.post(url, values).content.decode()
    risky = Classification.objects.create(code="risky", name="Risky")
    both = values | {"first_classification": risky.pk, "first_privilege": "INSERT"}
    assert "not both" in client.post(url, both).content.decode()
    wrong = client.post(url, values | {"first_privilege": "INSERT", "first_on": "shop..x"}).content.decode()
    assert "is invalid at character" in wrong
    client.post(url, values | {"first_classification": risky.pk})
    assert DutyPair.objects.get(name="New").first == "Risky"
    assert 'name="first_on"' in client.get(page_of(pair) + "?edit=1").content.decode()


def test_limited_users(pair, fleet, eve):
    """A conflict with a side on a hidden instance is not shown at all; nothing of pairs is edited or accepted."""
    accept(pair, [f"owner-{Person.objects.get().pk}"], None, reason="small branch")
    user = limited_to(fleet["my"], permissions=(*ACCEPT, "duties.change_dutypair", "duties.delete_acceptedconflict"))
    client, api = entered(user), client_of(user)
    page = client.get(page_of(pair)).content.decode()
    assert "Alice" not in page
    assert "not visited by then" not in page
    assert "Conflicts with a side on other instances are not shown." in page
    assert '<span class="tf-badge tf-unknown">none known</span>' in list_page(client)
    by_class = DutyPair.objects.get(name="By class")
    assert "no owner" in client.get(page_of(by_class)).content.decode()
    assert 'name="first_on"' not in client.get(page_of(pair) + "?edit=1").content.decode()
    answer = api.get(f"/api/duty-pairs/{pair.pk}/conflicts/").json()
    assert (answer["results"], answer["conflicts"], answer["unknown"], answer["limited"]) == ([], 0, [], True)
    found = api.get(f"/api/duty-pairs/{by_class.pk}/conflicts/").json()
    assert [row["key"] for row in found["results"]] == [f"account-{eve.pk}"]
    body = {"conflicts": [f"account-{eve.pk}"], "reason": "x"}
    assert api.post(f"/api/duty-pairs/{by_class.pk}/accept/", body, format="json").status_code == 403
    assert api.patch(f"/api/duty-pairs/{pair.pk}/", {"reason": "x"}, format="json").status_code == 403
    assert api.get("/api/accepted-conflicts/").json()["results"] == []
    accept(by_class, [f"account-{eve.pk}"], None, reason="r")
    (row,) = api.get("/api/accepted-conflicts/").json()["results"]
    assert row["account"] == eve.pk
    assert api.delete(f"/api/accepted-conflicts/{row['id']}/").status_code == 403
    assert "small branch" not in client.get(reverse("admin:duties_acceptedconflict_changelist")).content.decode()


def test_the_api(pair, fleet):
    """Pairs are made and checked; conflicts with their paths, acceptance of all or none, and its withdrawal."""
    api = client_with(*ACCEPT, "duties.delete_acceptedconflict", "duties.add_dutypair")
    url = f"/api/duty-pairs/{pair.pk}/"
    answer = api.get(url + "conflicts/").json()
    (row,) = answer["results"]
    assert (row["owner_name"], row["accepted"]) == ("Alice Li", None)
    assert [(one["account"], one["instance_name"], one["by"]) for one in row["second"]] == [
        ("approver@%", "my", "UPDATE on table bank.approvals (at login)")
    ]
    assert (answer["conflicts"], answer["accepted"], answer["without_owner"]) == (1, 0, 0)
    assert [one["instance_name"] for one in answer["unknown"]] == ["new"]
    assert api.get(url + "conflicts/?acepted=true").status_code == 400
    body = {"reason": "small branch", "ends_on": timezone.localdate().isoformat()}
    wrong = api.post(url + "accept/", body | {"conflicts": [row["key"], "owner-0"]}, format="json")
    assert (wrong.status_code, AcceptedConflict.objects.count()) == (400, 0)
    for _again in range(2):
        assert api.post(url + "accept/", body | {"conflicts": [row["key"]]}, format="json").json() == {"accepted": 1}
    assert api.get(url + "conflicts/?accepted=false").json()["results"] == []
    assert api.get(url + "conflicts/").json()["results"][0]["accepted"]["reason"] == "small branch"
    (kept,) = api.get("/api/accepted-conflicts/").json()["results"]
    assert (kept["pair_name"], kept["owner_name"], kept["account"]) == ("Payments", "Alice Li", None)
    assert api.delete(f"/api/accepted-conflicts/{kept['id']}/").status_code == 204
    assert len(api.get(url + "conflicts/?accepted=false").json()["results"]) == 1
    values = {"name": "New", "reason": "r", "second_privilege": "SELECT", "second_on": "shop"}
    refused = api.post("/api/duty-pairs/", values, format="json")
    assert refused.json() == {"first_privilege": ["Give a classification or a privilege."]}
    assert api.post("/api/duty-pairs/", values | {"first_privilege": "INSERT"}, format="json").status_code == 201


def test_files(pair, fleet):
    """The question above the rows, each account with its side, and what is not known."""
    client = superstaff()
    lines = list(csv.reader(StringIO(text_of(client.get(page_of(pair) + "?file=csv")))))
    assert ["first side", "INSERT on shop.public.payments"] in lines
    assert ["conflicts", "1"] in lines
    rows = lines[lines.index([]) + 2 :]
    assert [(row[1], row[3], row[5], row[6], row[11]) for row in rows] == [
        ("Alice Li", "1", "pg", "alice", ""),
        ("Alice Li", "2", "my", "approver@%", ""),
        ("", "", "new", "", "not visited by then"),
    ]
    assert client.get(page_of(pair) + "?file=xlsx").content[:2] == b"PK"


def run(*args: str, **options: object) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("duties", *args, stdout=out, stderr=err, **options)
    return exit_.value.code, out.getvalue(), err.getvalue()


def test_the_command(pair, fleet):
    code, out, err = run("Payments")
    assert (code, len(out.splitlines())) == (3, 2)
    assert "Payments: Alice Li: UPDATE on bank.approvals: approver@% on my, UPDATE on table bank.approvals" in out
    assert err.splitlines() == [
        "Payments: new: not known: not visited by then",
        "Payments: 1 conflicts, 0 accepted; 0 accounts with one side and no owner; 1 instances unknown",
    ]
    assert run("Payments", fail=True)[0] == 1
    fleet["new"].delete()
    assert run()[0] == 0
    (document,) = json.loads(run("Payments", json=True)[1])
    assert (document["conflicts"][0]["owner_name"], document["unknown"]) == ("Alice Li", [])
    assert len(list(csv.reader(StringIO(run("Payments", csv=True)[1])))) == 3
    DutyPair.objects.update(second_privilege="UPDAT")
    assert run(fail=True)[0] == 3
    DutyPair.objects.update(active=False)
    assert run() == (0, "", "")
    with pytest.raises(CommandError, match=r"There is no duty pair “Payment”\. Did you mean Payments\?") as error:
        call_command("duties", "Payment")
    assert error.value.returncode == 2


def test_an_alert_for_each_conflict(pair, fleet, eve):
    """It stays while an instance of the pair is not known, and ends when the conflict is accepted. Limited users do
    not see one across instances."""
    rule = AlertRule.objects.create(name="duties", kind="duty_conflict", active=True, active_since=timezone.now())
    evaluate()
    texts = dict(Alert.objects.filter(rule=rule).values_list("text", "instance__name"))
    assert texts == {
        "Alice Li holds both sides of the duty pair “Payments”: INSERT on shop.public.payments; UPDATE on"
        " bank.approvals": None,
        "the account eve�[2J�@% holds both sides of the duty pair “By class”: first duty; second duty": "my",
    }
    api = client_of(limited_to(fleet["my"], permissions=("alerts.view_alert",)))
    assert [row["instance_name"] for row in api.get("/api/alerts/").json()["results"]] == ["my"]
    Account.objects.filter(name="approver").update(gone_at=timezone.now())
    evaluate()
    # The instance new was never read: Alice may hold the other side there.
    assert Alert.objects.filter(rule=rule, resolved_at=None).count() == 2
    fleet["new"].delete()
    evaluate()
    assert Alert.objects.get(rule=rule, resolved_at=None).instance == fleet["my"]
    accept(DutyPair.objects.get(name="By class"), [f"account-{eve.pk}"], None, reason="r")
    evaluate()
    assert not Alert.objects.filter(rule=rule, resolved_at=None).exists()


def test_an_alert_takes_no_more_queries_for_more_accounts(pair, fleet, django_assert_max_num_queries):
    rule = AlertRule.objects.create(name="duties", kind="duty_conflict", active=True, active_since=timezone.now())
    with django_assert_max_num_queries(40) as before:
        assert len(list(alerts_of(rule))) == 1
    for number in range(4):
        bob = Person.objects.create(name=f"Bob {number}")
        for where, privilege, path in (("pg", "INSERT", "shop.public.payments"), ("my", "UPDATE", "bank.approvals")):
            one = account(fleet[where], f"bob{number}")
            grant(one, privilege, "table", path, database=path.partition(".")[0])
            Ownership.objects.create(account=one, owner=bob)
    with django_assert_max_num_queries(len(before.captured_queries)):
        assert len(list(alerts_of(rule))) == 5
